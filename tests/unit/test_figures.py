"""Grids of pictures show the pictures that their labels name."""

from unittest import mock

import pandas as pd
import pytest
import torch

from diffgeo.results import Result
from diffgeo.studies.global_consistency import plots


@pytest.mark.parametrize("frames", [3, 5, 7])
def test_columns_of_global_edits_are_the_ends_and_the_middle(frames):
    rows = [
        {
            "t_frac": 1.0, "direction": k, "held_out": 3, "name": "seed 3", "gamma": 2.0, "frame": frames * k,
            "frames": frames,
        }
        for k in (0, 1)
    ]  # fmt: skip
    flat = torch.arange(2 * frames, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 2, 2).clone()
    result = Result("global_consistency", pd.DataFrame(), {}, {"frames": flat}, {"edits": pd.DataFrame(rows)})
    with mock.patch.object(plots, "picture_grid") as drawn:
        plots.figures(result)
    (row,) = drawn.call_args.args[0]
    middle, last = frames // 2, frames - 1
    assert [int(picture[0, 0, 0]) for picture in row] == [0, middle, last, frames, frames + middle, frames + last]
    assert [label.split("\n")[-1] for label in drawn.call_args.kwargs["top"]] == ["−γ", "0", "+γ"] * 2
