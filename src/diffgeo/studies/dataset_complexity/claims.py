"""The papers' claims that ``dataset_complexity`` can answer, and how each is measured."""

from __future__ import annotations

from diffgeo.claims import Claim, Tables, Values, pseudo_values

__all__ = ["CLAIMS"]


def _simpler_agrees(tables: Tables) -> Values:
    """Distance between two samples (seeds), most complex data minus simplest, mean over timesteps."""
    table = tables["dataset_complexity"]
    wide = table.pivot_table(index=["sample_a", "sample_b"], columns="data_model", values="distance_normalized")
    order = table["data_model"].unique()
    further = (wide[order[-1]] - wide[order[0]]).rename("further").reset_index()
    return pseudo_values(further, "sample_a", "sample_b", "further")


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "P23b data sets",
        "p23b/datasets",
        "distance between samples, 14 above 4 varying factors, mean over t, by",
        "claim",
        _simpler_agrees,
    ),
)
