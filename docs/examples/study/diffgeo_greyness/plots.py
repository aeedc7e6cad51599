"""The chart of ``greyness``, drawn from its table alone."""

from __future__ import annotations

from diffgeo.report.charts import Chart, Tables, by_time, in_figure


def charts(tables: Tables) -> list[Chart]:
    """Greyness by timestep; each sample counts with the mean over its directions."""
    means = tables["greyness"].groupby(["sample", "t_frac"], as_index=False)["greyness"].mean()
    values = means.rename(columns={"t_frac": "x", "greyness": "y"})
    chart = by_time(
        "greyness",
        "Brightness (1) or colour (0)?",
        "Thin lines are samples; the thick line is their mean with its 95 % interval.",
        {"mean over samples": values},
        "greyness",
        limits=(0, 1),
    )
    return in_figure([chart], "by_timestep")
