"""Redraw the README's pictures from a run's tables and tensors: python tools/readme_figures.py RUN_FOLDER."""

import argparse
from pathlib import Path

import pandas as pd
from safetensors.torch import load_file

from diffgeo.report.figures import draw, save_figure
from diffgeo.results import Result
from diffgeo.studies.study import studies

PICTURES = {
    "discovery_traversals_1T": "traversals_T",
    "discovery_traversals_0.5T": "traversals_half_T",
    "discovery_directions": "directions",
    "discovery_spectrum": "spectrum",
    "global_consistency_edits_1T": "global_directions",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run folder of `diffgeo` with its default settings")
    parser.add_argument("--samples", type=int, default=2, help="samples to show")
    args = parser.parse_args()
    tables = [pd.read_parquet(args.run / "tables" / f"discovery{part}.parquet") for part in ("", "_traversals")]
    directions, traversals = (table[table["sample"] < args.samples] for table in tables)
    tensors = load_file(args.run / "tensors" / "discovery.safetensors")
    figures = draw(studies()["discovery"], Result("discovery", directions, {}, tensors, {"traversals": traversals}))
    table = pd.read_parquet(args.run / "tables" / "global_consistency.parquet")
    folder = args.run / "tables"
    more = {part: pd.read_parquet(folder / f"global_consistency_{part}.parquet") for part in ("overlaps", "edits")}
    tensors = load_file(args.run / "tensors" / "global_consistency.safetensors")
    figures |= draw(studies()["global_consistency"], Result("global_consistency", table, {}, tensors, more))
    for name, picture in PICTURES.items():
        _, vector = save_figure(figures[name], Path(__file__).parent.parent / "docs" / "images" / picture)
        vector.unlink()


if __name__ == "__main__":
    main()
