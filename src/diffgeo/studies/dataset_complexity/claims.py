"""The papers' claims that ``dataset_complexity`` can answer, and how each is measured."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from diffgeo.claims import Claim, Tables, Values, pseudo_values, pseudo_values_of_difference


def _at(tables: Tables, end: str) -> tuple[pd.DataFrame, str, str]:
    """The rows of one end, and the names of the simplest and of the most complex data, as they were listed."""
    table = tables["dataset_complexity"]
    order = table["data"].unique()
    if len(order) < 2:
        raise KeyError("one kind of data alone")  # :func:`judge` takes it for no values
    return table[table["t_frac"] == getattr(table["t_frac"], end)()], order[0], order[-1]


def _by_training(end: str) -> Callable[[Tables], Values]:
    """Mean distance over samples of each training, most complex data minus simplest."""

    def values(tables: Tables) -> Values:
        table, simple, complex_ = _at(tables, end)
        means = table.groupby(["data", "training"])["distance_normalized"].mean()
        return pseudo_values_of_difference(means[simple].to_numpy(), means[complex_].to_numpy())

    return values


def _by_sample(end: str) -> Callable[[Tables], Values]:
    """Difference of the first training of each kind of data, by sample."""

    def values(tables: Tables) -> Values:
        table, simple, complex_ = _at(tables, end)
        wide = table[table["training"] == 0].pivot_table(
            index=["sample_a", "sample_b"], columns="data", values="distance_normalized"
        )
        further = (wide[complex_] - wide[simple]).dropna().rename("further").reset_index()
        return pseudo_values(further, "sample_a", "sample_b", "further")

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
            because="A claim about data is about networks trained on them: one value per training, the mean over "
            "samples, whose seeds all trainings share. Samples of one network each cannot tell data from chance "
            "in training.",
            refuted="Over several trainings, samples of the simpler data lie further apart.",
            unit="training",
        )
        for name, end in ENDS
    ),
    *(
        Claim(
            "P23b data sets",
            "p23b/datasets",
            f"the same over samples of the first network of each, at {name}",
            _by_sample(end),
            role="second",
        )
        for name, end in ENDS
    ),
)
