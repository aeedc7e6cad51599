"""Colours of figures and pages: Okabe and Ito's, which stay apart for colour-blind readers and in print."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Of series, in their order."""
INK, MUTED, RULE, PAPER = "#1b1d22", "#5b6270", "#e3e0d9", "#fdfcfa"
"""Text, lesser text, grid lines, background."""
LOW, HIGH = "#62aee0", "#f0935a"
"""Ends of a heat map's colours, which run through ``PAPER``."""
DARK = {
    "#0072B2": "#3d9ad6",
    "#D55E00": "#e57a2b",
    "#009E73": "#2bb48b",
    "#000000": "#e9e7e2",
    INK: "#e9e7e2",
    MUTED: "#a0a7b3",
    RULE: "#31353e",
    PAPER: "#14161a",
    LOW: "#0a659b",
    HIGH: "#b3500a",
}
"""What stands for each of these colours on a dark page; the others stay."""
WARNING = "#b3261e"
"""Text that warns."""
