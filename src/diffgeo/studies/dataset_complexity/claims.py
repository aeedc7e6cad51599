"""The papers' claims that ``dataset_complexity`` can answer, and how each is measured."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from diffgeo.claims import Claim, Tables, Values, pseudo_values

__all__ = ["CLAIMS"]


def _further(tables: Tables, t_frac: float | None = None) -> pd.DataFrame:
    """Distance between two samples (seeds), most complex data minus simplest, per pair; mean over t or at one."""
    table = tables["dataset_complexity"]
    table = table if t_frac is None else table[table["t_frac"] == t_frac]
    wide = table.pivot_table(index=["sample_a", "sample_b"], columns="data_model", values="distance_normalized")
    order = tables["dataset_complexity"]["data_model"].unique()
    further: pd.DataFrame = (wide[order[-1]] - wide[order[0]]).rename("further").reset_index()
    return further


def _at(end: str, tables: Tables) -> pd.DataFrame:
    return _further(tables, getattr(tables["dataset_complexity"]["t_frac"], end)())


def _by_training(end: str) -> Callable[[Tables], Values]:
    """The mean over samples: one value, as one network of each kind of data was trained."""
    return lambda tables: np.array([_at(end, tables)["further"].mean()])


def _by_sample(end: str) -> Callable[[Tables], Values]:
    return lambda tables: pseudo_values(_at(end, tables), "sample_a", "sample_b", "further")


ENDS = (("T", "max"), ("the lowest t", "min"))


CLAIMS: tuple[Claim, ...] = (
    *(
        Claim(
            "P23b data sets",
            "p23b/datasets",
            f"distance between samples as a share of the largest, 14 − 4 varying factors, at {name}",
            _by_training(end),
            asserts=f"Simpler data sets give more consistent tangent spaces at each t, here at {name}.",
            because="A claim about data is about networks trained on them: one value per pair of trainings. Samples of "
            "one pair of networks cannot tell data from chance in training.",
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
