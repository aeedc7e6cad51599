"""Copy the figures of run folders into docs/images/, small: python tools/docs_figures.py RUN_FOLDER [RUN_FOLDER …].

Their captions in docs/studies.md say by which commands the runs were made.
"""

import argparse
from pathlib import Path

from PIL import Image

PICTURES = {
    "spectrum_summary": "spectrum_summary",
    "frequency_power": "frequency",
    "tangent_truth_share": "tangent_truth",
    "global_consistency_overlap": "global_overlap",
    "curvedness_paths": "curvedness",
    "tangent_distance_distances": "tangent_distance",
    "denoiser_components": "denoiser_components",
    "denoiser_linearity": "denoiser_linearity",
    "ablation_edits": "ablation_edits",
    "ablation_damage": "ablation_damage",
    "disentanglement_scorecard": "scorecard",
    "disentanglement_rescoring_1T": "rescoring",
    "disentanglement_timing": "timing",
    "dataset_complexity_distances": "dataset_complexity",
    "prompts_similarity": "prompts",
}
"""Figure of a run → picture of the documentation."""
FOLDER = Path(__file__).parent.parent / "docs" / "images"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", help="run folders")
    for run in parser.parse_args().runs:
        for figure, picture in PICTURES.items():
            source = run / "figures" / f"{figure}.png"
            if source.is_file():
                with Image.open(source) as opened:  # at 256 colours a figure takes half of its bytes
                    opened.convert("RGB").quantize(256).save(FOLDER / f"{picture}.png", optimize=True)
                print(f"{source} -> {FOLDER.name}/{picture}.png")


if __name__ == "__main__":
    main()
