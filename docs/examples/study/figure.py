"""The chart of ``greyness``."""

from diffgeo.report.charts import CHARTS, Chart, Tables, by_time, in_figure


def charts(tables: Tables) -> list[Chart]:
    """Greyness by timestep: thin lines are samples, each the mean over its directions."""
    means = tables["greyness"].groupby(["sample", "t_frac"], as_index=False)["greyness"].mean()
    values = means.rename(columns={"t_frac": "x", "greyness": "y"})
    caption = "Thin lines are samples; the thick line is their mean with its 95 % interval."
    lines = {"mean over samples": values}
    chart = by_time("greyness", "Brightness (1) or colour (0)?", caption, lines, "greyness", limits=(0, 1))
    return in_figure([chart], "by_timestep")


CHARTS["greyness"] = charts
