"""Charts of ``frequency``: power of the directions by spatial frequency, and its low share by timestep."""

from __future__ import annotations

from diffgeo.report.charts import Chart, Tables, by_time, curves, in_figure, t_name


def charts(tables: Tables) -> list[Chart]:
    """Radial power, and its low share against t."""
    table = tables["frequency"]
    power = curves(
        "frequency-power",
        "Power spectral density of the directions",
        "Curves that fall faster belong to coarser directions; bands reach from the least to the most of the samples.",
        table,
        x=("nyquist_fraction", "radial frequency / Nyquist"),
        y=("power", "share of power"),
        by="t_frac",
        label=t_name,
        of="frequency",
        log=True,
        digits=2,
    )
    once = table[table["radius"] == 0].rename(columns={"t_frac": "x", "low_share": "y"})
    share = by_time(
        "frequency-share",
        "Low-frequency share",
        "Thin lines are samples; the thick line is their mean with its 95 % interval. It falls if directions grow "
        "finer.",
        {"mean over samples": once[["x", "y", "sample"]]},
        "share of power at low frequencies",
        limits=(0, 1),
    )
    return in_figure([power, share], "power")
