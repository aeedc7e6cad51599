"""The papers' claims that ``dataset_complexity`` can answer, and how each is measured."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from diffgeo.claims import Claim, Tables, Values, pseudo_values

__all__ = ["CLAIMS"]


def _further(tables: Tables, end: str) -> pd.DataFrame:
    """Distance between two samples, most complex data minus simplest, per training and pair of samples, at one end."""
    table = tables["dataset_complexity"]
    table = table[table["t_frac"] == getattr(table["t_frac"], end)()]
    keys = ["training", "sample_a", "sample_b"]
    wide = table.pivot_table(index=keys, columns="data", values="distance_normalized")
    order = table["data"].unique()
    if len(order) < 2:
        raise KeyError("one kind of data alone")  # :func:`judge` takes it for no values
    further: pd.DataFrame = (wide[order[-1]] - wide[order[0]]).dropna().rename("further").reset_index()
    return further


def _by_training(end: str) -> Callable[[Tables], Values]:
    """The mean over samples of each training of the one kind of data and the same one, by number, of the other."""
    return lambda tables: _further(tables, end).groupby("training")["further"].mean().to_numpy()


def _by_sample(end: str) -> Callable[[Tables], Values]:
    def values(tables: Tables) -> Values:
        further = _further(tables, end)
        return pseudo_values(further[further["training"] == 0], "sample_a", "sample_b", "further")

    return values


ENDS = (("T", "max"), ("the lowest t", "min"))


CLAIMS: tuple[Claim, ...] = (
    *(
        Claim(
            "P23b data sets",
            "p23b/datasets",
            f"distance between samples as a share of the largest, 14 − 4 varying factors, at {name}",
            _by_training(end),
            asserts=f"Simpler data sets give more consistent tangent spaces at each t, here at {name}.",
            because="A claim about data is about networks trained on them: one value per pair of trainings, the mean "
            "over samples. Samples of one pair of networks cannot tell data from chance in training.",
            refuted="Over several trainings, samples of the simpler data lie further apart.",
            unit="training",
        )
        for name, end in ENDS
    ),
    *(
        Claim(
            "P23b data sets",
            "p23b/datasets",
            f"the same over samples of the two networks at hand, at {name}",
            _by_sample(end),
            role="second",
        )
        for name, end in ENDS
    ),
)
