"""Colours of figures and pages: Okabe and Ito's, which stay apart for colour-blind readers and in print."""

__all__ = ["COLOURS"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
