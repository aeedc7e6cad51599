"""The figure of ``greyness``."""

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from diffgeo.report.figures import FIGURES
from diffgeo.report.figures.style import by_time
from diffgeo.results import Result


def greyness(result: Result) -> dict[str, Figure]:
    """Greyness by timestep: the mean over samples and directions, in a band from least to most."""
    figure, axes = plt.subplots(figsize=(3.6, 2.7), layout="constrained")
    by_time(axes, result.table.groupby(["sample", "t_frac"], as_index=False)["greyness"].mean(), "greyness")
    axes.set(ylabel="greyness", ylim=(0, 1.02), title="brightness (1) or colour (0)?")
    return {"by_timestep": figure}


FIGURES["greyness"] = greyness
