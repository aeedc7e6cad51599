"""When edits act: scales of the factors, and their order along the timesteps."""

import pandas as pd
import pytest

from diffgeo.studies.disentanglement.timing import coarse_to_fine, factor_scale


def test_factor_scales_run_from_the_background_to_the_freckles():
    scale = factor_scale()
    assert scale["background_hue"] > scale["smile"]
    assert scale["hair_length"] > scale["freckles"]
    assert min(scale, key=scale.get) in ("freckles", "mouth_opening", "smile", "brow_angle", "eye_opening", "glasses")


def test_coarse_to_fine_is_a_rank_correlation():
    scale = factor_scale()
    names = sorted(scale, key=scale.get)
    rows = []
    for place in range(3):
        for j, name in enumerate(names):
            for t_frac in (0.25, 0.5, 1.0):
                best = (0.25, 0.5, 1.0)[3 * j // len(names)]
                rows.append((t_frac, "local", place, name, 1.0 if t_frac == best else 0.1))
    table, scalars = coarse_to_fine(pd.DataFrame(rows, columns=["t_frac", "method", "place", "attribute", "share"]))
    assert scalars["coarse_to_fine_rho"] > 0.9
    assert scalars["coarse_to_fine_p"] == pytest.approx(0.001)  # none of 999 shuffles comes near
    assert table.groupby("attribute")["best_t_frac"].first()[names[0]] == 0.25
