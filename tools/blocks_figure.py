"""Where is h? The blocks of several networks in one figure, and a table of each: from runs of ``experiment=blocks``.

python tools/blocks_figure.py RUN [RUN …]     draws docs/images/blocks.png, and prints its tables
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from diffgeo.metrics.statistics import mean_interval

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "blocks.png"
MAPS = ("output", "update", "normalised", "trimmed")


def tables_of(run: Path) -> tuple[str, dict[str, pd.DataFrame]]:
    """(name of the network, its tables) of a run folder."""
    name = json.loads((run / "run.json").read_text(encoding="utf-8"))["settings"]["model"]["path"]
    names = ("blocks", "blocks_consistency", "blocks_edits")
    return name, {one: pd.read_parquet(run / "tables" / f"{one}.parquet") for one in names}


def draw(networks: dict[str, dict[str, pd.DataFrame]]) -> None:
    """Share of the true tangent space by depth, a panel per noise level, a line per network; rings are bottlenecks."""
    times = sorted(next(iter(networks.values()))["blocks"]["t_frac"].unique(), reverse=True)
    figure, axes = plt.subplots(1, len(times), figsize=(11, 3.6), sharey=True, layout="constrained")
    for axis, t_frac in zip(axes, times, strict=True):
        titles = []
        for name, tables in networks.items():
            rows = tables["blocks"]
            rows = rows[(rows["map"] == "output") & np.isclose(rows["t_frac"], t_frac, atol=0.01)]
            by_depth = rows.groupby("depth")["tangent_share"]
            means, low, high = np.array([mean_interval(values.dropna().to_numpy()) for _, values in by_depth]).T
            depths = list(by_depth.groups)
            line = axis.errorbar(depths, means, [means - low, high - means], marker="o", ms=4, lw=1.4, capsize=2)
            line.set_label(name)
            middle = rows[rows["block"] == "mid"].groupby("depth")["tangent_share"].mean()
            axis.plot(middle.index, middle, "o", ms=11, mfc="none", color=line.lines[0].get_color())
            titles.append(f"{rows['log_snr'].iloc[0]:.1f}".replace("-", "−").replace("inf", "∞"))
        axis.set(
            title=f"t = {t_frac:.2g} T\nlog-SNR {', '.join(titles)}", xlabel="share of the network's multiply-adds"
        )
    axes[0].set(ylabel="share of the true tangent space", ylim=(0, None))
    axes[-1].legend(fontsize=8)
    figure.savefig(PICTURE, dpi=110)


def times_of(rows: pd.DataFrame) -> tuple[list[float], float]:
    """Fractions of T from noise to picture, and the middle one."""
    times = sorted(rows["t_frac"].unique(), reverse=True)
    return times, times[len(times) // 2]


def table(tables: dict[str, pd.DataFrame]) -> str:
    """Blocks down; the share at every t, and at the middle one what else was measured, with 95 % intervals."""
    rows = tables["blocks"]
    own = rows[rows["map"] == "output"]
    times, middle = times_of(own)
    heads = [f"share at {t:.2g} T" for t in times] + ["effective dimension", "shared", "vitality", "precision gain"]
    lines = [f"| block | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    pairs, edits = tables["blocks_consistency"], tables["blocks_edits"]
    edits = edits[np.isclose(edits["t_frac"], middle)]
    logs = np.log(edits["precision"].clip(lower=1e-8)).groupby([edits["sample"], edits["block"]]).mean().unstack()
    gains = logs.sub(logs["random"], axis=0)
    for block in own.sort_values("depth")["block"].unique():
        of = own[own["block"] == block]
        at = of[of["t_frac"] == middle]
        shared = pairs[(pairs["block"] == block) & (pairs["map"] == "output") & (pairs["t_frac"] == middle)]["shared"]
        cells = [say(of[of["t_frac"] == t]["tangent_share"]) for t in times]
        cells += [say(at["effective_dimension"], 1), f"{shared.mean():.2f}", say(at["vitality"]), say(gains[block])]
        lines.append(f"| `{block}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def of_maps(tables: dict[str, pd.DataFrame]) -> str:
    """Blocks down, maps across: the share at the middle t, and how many channels were left out as massive."""
    rows = tables["blocks"]
    _, middle = times_of(rows)
    rows = rows[rows["t_frac"] == middle]
    lines = [f"| block | {' | '.join(MAPS)} | channels left out |", "|---" * (len(MAPS) + 2) + "|"]
    for block in rows.sort_values("depth")["block"].unique():
        of = rows[rows["block"] == block]
        cells = [say(of[of["map"] == name]["tangent_share"]) if name in set(of["map"]) else "–" for name in MAPS]
        left_out = of[of["map"] == "trimmed"]["left_out"]
        lines.append(f"| `{block}` | {' | '.join(cells)} | {left_out.min():g} to {left_out.max():g} |")
    return "\n".join(lines)


def say(values: pd.Series, digits: int = 2) -> str:
    """Mean and interval over samples."""
    mean, low, high = (f"{value:.{digits}f}".replace("-", "−") for value in mean_interval(values.dropna().to_numpy()))
    return f"{mean} [{low}, {high}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="run folders of one experiment, one a network")
    networks = dict(map(tables_of, parser.parse_args().runs))
    draw(networks)
    for name, tables in networks.items():
        near = tables["blocks"].dropna(subset=["tangent_share"])["sample"].nunique()
        print(f"\n{name}: {tables['blocks']['sample'].nunique()} samples, {near} of them near the data\n")
        print(f"{table(tables)}\n\n{of_maps(tables)}")


if __name__ == "__main__":
    main()
