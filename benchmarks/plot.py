"""Figures of what ``benchmarks/solvers.py`` measured.

python benchmarks/plot.py outputs/benchmarks                     tables in one or several folders, PNG into the first
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

COLOURS = {
    "golub_kahan": "C0",
    "papers": "C3",
    "subspace": "C1",
    "svd_lowrank": "C2",
    "randomized": "C4",
    "scipy svds": "C5",
}
FLOOR = 1e-7


def accuracy(rows: pd.DataFrame, figure_path: Path) -> None:
    """Angle of V against passes and against seconds, one row of axes an architecture."""
    rows = rows[(rows["kind"] == "solver") & (rows["status"] == "ok") & rows["solver"].isin(list(COLOURS))]
    names = list(dict.fromkeys(rows["architecture"]))
    rows = rows.assign(products=rows["settings"].str.extract(r"^(products [^,]+)", expand=False).fillna(""))
    figure, axes = plt.subplots(len(names), 2, figsize=(10, 3.6 * len(names)), squeeze=False, sharey="row")
    for line, name in zip(axes, names, strict=True):
        here = rows[rows["architecture"] == name]
        for axis, cost in zip(line, ("passes", "seconds"), strict=True):
            for (solver, products), part in here.groupby(["solver", "products"], sort=False):
                ordered = part.sort_values(cost)
                style = "o" if not products else "o-" if "ours" in products else "o:"  # one run, seen several times
                label = f"{solver}, {products}" if products else solver
                axis.loglog(
                    ordered[cost], ordered["angle"].clip(lower=FLOOR), style, color=COLOURS[solver], label=label
                )
                for _, row in ordered.iterrows():
                    note = row["settings"].split(",")[-1 if products else 0].split()[-1]
                    point = (row[cost], max(row["angle"], FLOOR))
                    axis.annotate(note, point, fontsize=7, xytext=(4, 3), textcoords="offset points")
            axis.set_xlabel(cost)
            axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.xaxis.set_major_formatter(ScalarFormatter())
            axis.xaxis.set_minor_formatter(NullFormatter())
            axis.set_ylim(top=6)
            axis.grid(alpha=0.3)
        line[0].set_ylabel("largest angle of V to the truth, rad")
        line[0].set_title(f"{name}, n = {here['rank'].iloc[0]}", loc="left")
        line[1].set_title(here["device_name"].iloc[0], loc="right", fontsize=8)
    axes[0][1].legend(fontsize=8)
    save(figure, figure_path)


def chunks(rows: pd.DataFrame, figure_path: Path) -> None:
    """Milliseconds a pass by chunk_size."""
    rows = rows[(rows["kind"] == "chunk") & (rows["status"] == "ok")]
    names = list(dict.fromkeys(rows["architecture"]))
    figure, axes = plt.subplots(1, max(len(names), 1), figsize=(4.2 * max(len(names), 1), 3.6), squeeze=False)
    for axis, name in zip(axes[0], names, strict=False):
        for product, part in rows[rows["architecture"] == name].groupby("solver", sort=False):
            ordered = part.sort_values("chunk_size")
            axis.loglog(ordered["chunk_size"], ordered["ms_per_pass"], "o-", base=2, label=product)
        axis.set_yscale("log", base=10)
        finish(axis, name, "chunk_size", "ms per pass")
    save(figure, figure_path)


def growth(rows: pd.DataFrame, figure_path: Path) -> None:
    """Passes and seconds of the default solver as n grows, and seconds a basis as more points are solved together."""
    rows = rows[rows["status"] == "ok"]
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.6))
    for name, part in rows[rows["kind"] == "points"].groupby("architecture", sort=False):
        axes[2].plot(part["settings"].str.split().str[-1].astype(int), part["seconds"], "o-", label=name)
    finish(axes[2], "local_bases", "points at once", "seconds a basis")
    rows, axes = rows[rows["kind"] == "rank"], axes[:2]
    for name, part in rows.groupby("architecture", sort=False):
        ordered = part.sort_values("rank")
        for axis, cost in zip(axes, ("passes", "seconds"), strict=True):
            axis.plot(ordered["rank"], ordered[cost], "o-", label=name)
    for axis, cost in zip(axes, ("passes", "seconds"), strict=True):
        finish(axis, "golub_kahan", "n", cost)
    save(figure, figure_path)


def finish(axis: Axes, title: str, x: str, y: str) -> None:
    """Labels and grid."""
    axis.set_title(title, loc="left")
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    if axis.get_yscale() == "linear":
        axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=8)


def save(figure: plt.Figure, path: Path) -> None:
    """Write and close."""
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)
    print(path)


def main(argv: list[str] | None = None) -> None:
    """Read the tables, draw what they hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    args = parser.parse_args(argv)
    rows = pd.concat([pd.read_parquet(folder / "solvers.parquet") for folder in args.folders])
    rows["settings"] = rows["settings"].fillna("")
    for kind, draw in (("solver", accuracy), ("chunk", chunks), ("rank", growth)):
        if ((rows["kind"] == kind) & (rows["status"] == "ok")).any():
            draw(rows, args.folders[0] / f"{draw.__name__}.png")


if __name__ == "__main__":
    main()
