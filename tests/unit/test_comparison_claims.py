"""The claims of LOCO Edit and Asyrp on synthetic tables with known answers, both ways round."""

import math

import numpy as np
import pandas as pd
import pytest

from diffgeo.claims import decide, judge
from diffgeo.studies.comparison.claims import CLAIMS, cosines, duels

N = 8


def verdict(quantity, tables):
    (one,) = [claim for claim in CLAIMS if claim.quantity.startswith(quantity)]
    row = judge(one, tables, "shipped")
    return decide([row])[0] | {"values": row["values"], "remark": row["remark"]}


def edits(matched=True, **methods):
    """A row per method and sample; of a method, columns with a value or one per sample."""
    rows = [
        {"sample": i, "direction": 0, "method": method, "matched": matched}
        | {key: value[i] if isinstance(value, list) else value for key, value in columns.items()}
        for method, columns in methods.items()
        for i in range(N)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("loco", "local", "found"), [(1, 0, "holds"), (0, 1, "contradicted"), (1, 1, "not found")])
def test_locos_success_against_the_pullbacks(loco, local, found):
    table = edits(loco={"local_success": loco}, local={"local_success": local})
    assert verdict("local success", {"comparison": table})["verdict"] == found


def test_a_success_that_was_none_has_nothing_to_transfer_and_counts():
    loco = {"transfer_success": [1.0] * 4 + [math.nan] * 4, "transfer": [0.5] * 7 + [math.nan]}
    table = edits(loco=loco, local={"transfer_success": math.nan, "transfer": [0.5] * 7 + [math.nan]})
    row = verdict("success that transfers", {"comparison": table})
    assert row["values"] == [1, 1, 1, 1, 0, 0, 0], "the last one's directions were tried nowhere else"


def test_who_cannot_reach_the_attributes_change_loses_against_who_can():
    table = edits(loco={"ssim": [0.9] * 4 + [0.1] * 4, "change": 1.0}, local={"ssim": 0.5, "change": 2.0})
    table.loc[(table["method"] == "local") & table["sample"].isin([4, 5]), "matched"] = False
    table.loc[(table["method"] == "loco") & table["sample"].isin([3, 5]), "matched"] = False
    found = duels(table, "ssim", "loco", "local", better=1)
    assert found.to_list() == [1, 1, 1, -1, 1, 0, -1, -1]
    assert duels(table, "change", "loco", "local", better=-1).to_list() == [1, 1, 1, -1, 1, 0, 1, 1]
    row = verdict("perceptual change", {"comparison_target": table})
    assert row["ours"] == pytest.approx(5 / 8)
    assert row["remark"] == "4 of 16 edits missed the wanted change"


def test_a_sample_that_one_method_lacks_is_no_duel():
    table = edits(loco={"ssim": 0.9}, local={"ssim": 0.5}).drop(index=0)
    assert duels(table, "ssim", "loco", "local", better=1).index.tolist() == list(range(1, N))


def test_the_change_outside_is_compared_in_logarithms():
    table = edits(
        loco={"outside": [0.1 * (i + 1) for i in range(N)]}, x0={"outside": [0.2 * (i + 1) for i in range(N)]}
    )
    row = verdict("log of the change outside the mask, ∂x̂0/∂x", {"comparison_inside": table})
    assert row["values"] == pytest.approx([math.log(2)] * N)
    assert row["verdict"] == "holds"


def test_effects_are_alike_by_the_cosine_of_all_pairs():
    spread = {"delta_a": [1.0, 0.0] * 4, "delta_b": [0.0, 1.0] * 4}
    table = edits(asyrp={"delta_a": [2.0, 3.0] * 4, "delta_b": 0.0}, supervised=spread)
    assert (cosines(table, "asyrp")["cosine"] == 1).all()
    pairs = cosines(table, "supervised")
    assert len(pairs) == N * (N - 1) / 2
    assert pairs["cosine"].mean() == pytest.approx(12 / 28)
    row = verdict("cosine between two samples' changes of attributes, one Δh − one Δx", {"comparison": table})
    assert row["ours"] == pytest.approx(16 / 28)
    assert row["verdict"] == "holds"
    assert cosines(edits(asyrp={"delta_a": 0.0, "delta_b": 0.0}), "asyrp")["cosine"].isna().all()


@pytest.mark.parametrize(("departure", "found"), [(0.1, "holds"), (0.9, "contradicted"), (0.5, "not found")])
def test_half_a_change_of_h_has_half_the_effect_if_it_is_nearer_to_that_than_to_none(departure, found):
    table = pd.concat(
        edits(asyrp={"departure": value, "cosine": 1.0}, supervised={"departure": 1.0, "cosine": 1.0}).assign(
            share=share
        )
        for share, value in ((0.5, departure), (-1.0, 5.0))
    )
    assert verdict("½ −", {"comparison_strengths": table})["verdict"] == found
    row = verdict("relative departure from linearity at half", {"comparison_strengths": table})
    np.testing.assert_allclose(row["values"], 1 - departure)


@pytest.mark.parametrize(("cosine", "found"), [(0.8, "holds"), (-0.8, "contradicted")])
def test_the_opposite_change_of_h(cosine, found):
    table = edits(asyrp={"departure": 0.0, "cosine": cosine}).assign(share=-1.0)
    assert verdict("cosine of the effect of −Δh", {"comparison_strengths": table})["verdict"] == found


def test_random_changes_of_h_and_of_x():
    table = edits(random={"off_data": 0.25}, random_h={"off_data": 0.05})
    assert verdict("distance from the data, random", {"comparison": table})["verdict"] == "holds"
    assert verdict("distance from the data, random", {"comparison": table.drop(columns="off_data")})["n"] == 0
