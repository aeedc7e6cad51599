"""What the study ``denoiser`` found, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from diffgeo.report.findings import Finding, mean_of
from diffgeo.report.formatting import counted, number, timestep
from diffgeo.report.reading import Run

SYMMETRIC = 0.1
"""Asymmetry below which a Jacobian is called nearly symmetric."""


def findings(run: Run) -> Iterator[Finding]:
    """The main findings of a run; none if this study left no rows."""
    table = run.table("denoiser")
    if table is None:
        return
    samples = counted(table["sample"].nunique(), "sample")
    at = [
        f"{mean_of(table.loc[table['t_frac'] == t_frac, 'asymmetry'])} at {timestep(t_frac)}"
        for t_frac in table["t_frac"].unique()
    ]
    nearly = table["asymmetry"].max() < SYMMETRIC
    yield Finding(
        "denoiser",
        f"The denoiser's Jacobian is {'nearly' if nearly else 'not'} symmetric; an exact denoiser's is.",
        f"‖J − Jᵀ‖ / ‖J‖ is {', '.join(at)} (0 is symmetric, √2 a J without symmetry; {samples}).",
    )
    if (dimension := run.table("denoiser_dimension")) is not None:
        yield _of_dimension(dimension)


def _of_dimension(table: pd.DataFrame) -> Finding:
    t_frac = table["t_frac"].max()
    rows = table[table["t_frac"] == t_frac]

    def median(column: str) -> str:
        return number(float(rows[column].median()), 2)

    resolved = rows["resolved"]
    headline = (
        f"The data have more than {rows['rank'].max()} dimensions that the denoiser resolves"
        if resolved.isna().all()
        else f"The denoiser resolves {median('resolved')} dimensions of the data"
    )
    true = f"; the truth is {median('true_dimension')}" if "true_dimension" in rows else ""
    return Finding(
        "denoiser",
        f"{headline} at {timestep(t_frac)}{true}.",
        f"So many singular values of a J lie above a half; its trace gives {median('posterior_dimension')}, the normal "
        f"bundle {median('normal_bundle_centred')}, FLIPD {median('flipd')} (medians over "
        f"{counted(rows['sample'].nunique(), 'sample')}).",
    )
