"""Verdicts follow from tables alone: synthetic tables with known answers, both ways round."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from diffgeo.claims import CELEBAHQ, Claim, decide, pseudo_values_of_difference, reading_of
from diffgeo.claims import judge as judged
from diffgeo.config import config_folder
from diffgeo.data.factor_faces import FACTORS
from diffgeo.geometry import boundary_value_geodesic, chord_deviation, flatness_ratio, lerp, slerp
from diffgeo.metrics.statistics import mean_interval, sign_flip_test
from diffgeo.studies import all_claims
from diffgeo.studies.prompts.measure import factor_overlap
from diffgeo.studies.tangent_distance.measure import _trends


def claim(quantity, experiment=""):
    (found,) = [c for c in all_claims() if c.quantity.startswith(quantity) and c.experiment.startswith(experiment)]
    return found


def judge(one, tables, model):
    """A claim decided by itself."""
    return decide([judged(one, tables, model)])[0]


def curvedness(lengths):
    """Path lengths by path, one value a pair."""
    rows = [
        {"pair": pair, "pool": "sum", "path": path, "length": value}
        for path, values in lengths.items()
        for pair, value in enumerate(values)
    ]
    return {"curvedness": pd.DataFrame(rows)}


def by_time(values, column, **more):
    """A column at T (first) and at 0.25T (second), one pair of values a sample."""
    rows = [
        {"sample": sample, "t_frac": t_frac, column: value, **more}
        for sample, pair in enumerate(values)
        for t_frac, value in zip((1.0, 0.25), pair, strict=True)
    ]
    return pd.DataFrame(rows)


def test_every_claim_names_an_experiment_and_every_experiment_has_a_claim():
    root = config_folder() / "experiment"  # others, beside the papers, have no claims
    files = {p.relative_to(root).with_suffix("").as_posix() for p in root.glob("*/*.yaml")}
    assert {c.experiment for c in all_claims()} == files


def test_every_experiment_names_its_source_and_what_it_assumes():
    for path in (config_folder() / "experiment").glob("*/*.yaml"):
        comments = [line for line in path.read_text().splitlines() if line.startswith("# ")]
        assert path.parent.name in comments[1].lower()
        assert any("Assumed:" in line for line in comments), path


def test_every_claim_says_what_is_asserted_why_the_measure_stands_for_it_and_what_would_refute_it():
    for one in all_claims():
        if one.role == "claim":
            assert all(text.endswith((".", "…")) for text in (one.asserts, one.because, one.refuted)), one.quantity
        assert (one.interval is not None) == (one.role == "value") == bool(one.published)


def test_lengths_in_the_published_order_hold_and_in_another_order_contradict():
    lerp, slerp = [10, 11, 12, 10, 12, 11], [7, 8, 8, 7, 7, 8]
    row = judge(claim("path length, lerp − slerp, pooled"), curvedness({"lerp": lerp, "slerp": slerp}), "shipped")
    assert (row["verdict"], row["n"], row["p"], row["q"]) == ("holds", 6, 2 / 2**6, 2 / 2**6)
    assert row["ours"] == pytest.approx(3.5)
    assert row["low"] > 0
    other = judge(claim("path length, lerp − slerp, pooled"), curvedness({"lerp": slerp, "slerp": lerp}), "shipped")
    assert (other["verdict"], other["p"]) == ("contradicted", row["p"])


@pytest.mark.parametrize(("pairs", "verdict"), [(6, "too few to tell"), (20, "not found")])
def test_differences_of_either_sign_are_not_found_or_too_few_to_tell(pairs, verdict):
    """The interval of six values reaches 1.05 standard deviations, that of twenty 0.47."""
    tables = curvedness({"lerp": [5, 7] * (pairs // 2), "slerp": [6] * pairs})
    row = judge(claim("path length, lerp − slerp, pooled"), tables, "shipped")
    assert (row["verdict"], reading_of(row), row["p"]) == (verdict, verdict, 1)
    assert row["low"] < 0 < row["high"]


def test_what_is_excluded_is_the_claimed_effect_not_its_opposite():
    """Clearly below 0, but not by q: an effect in the claim's favour is excluded, which is all that it says."""
    below = Claim("here", "x", "a number", lambda _: -np.arange(1.0, 7))
    noise = [Claim("here", "x", str(i), lambda _: np.array([1.0, -1, 1, -1, 1, -1])) for i in range(9)]
    row = decide([judged(one, {}, "m") for one in (below, *noise)])[0]
    assert (row["verdict"], row["q"]) == ("not found", pytest.approx(10 * 2 / 2**6))
    above = Claim("here", "x", "a number", lambda _: np.arange(1.0, 7))
    assert decide([judged(one, {}, "m") for one in (above, *noise)])[0]["verdict"] == "too few to tell"


def test_a_published_number_is_not_confirmed_by_a_wide_interval():
    published = Claim("here", "x", "a number", lambda _: np.array([1.0, 30, 5, 12]), role="value", interval=(9.0, 11.0))
    assert decide([judged(published, {}, CELEBAHQ)])[0]["verdict"] == "too few to tell"


def test_several_claims_go_by_their_false_discovery_rate():
    alone = Claim("here", "x", "a number", lambda _: np.array([1.0, 2, 3, 4, 5, -0.5]))
    noise = Claim("here", "x", "another", lambda _: np.array([1.0, -1, 1, -1, 1, -1]))
    just = Claim("here", "x", "p is small enough, q is not", lambda _: np.arange(1.0, 7))
    verdicts = [(row["verdict"], row["p"], row["q"]) for row in decide([judged(one, {}, "m") for one in (just, noise)])]
    assert verdicts == [("too few to tell", 2 / 2**6, 4 / 2**6), ("too few to tell", 1, 1)]
    few = Claim("here", "x", "too few to count", lambda _: np.arange(1.0, 6))
    assert decide([judged(one, {}, "m") for one in (just, few)])[0]["verdict"] == "holds"
    first = judged(alone, {}, "m")
    assert first["p"] == pytest.approx(4 / 64)
    strong = Claim("here", "x", "a third", lambda _: np.arange(1.0, 9))
    rows = decide([judged(one, {}, "m") for one in (strong, noise, noise)])
    assert [row["q"] for row in rows] == pytest.approx([3 * 2 / 2**8, 1, 1])
    assert [row["verdict"] for row in rows] == ["holds", "too few to tell", "too few to tell"]
    assert [row["holm"] for row in rows] == pytest.approx([3 * 2 / 2**8, 1, 1])


@pytest.mark.parametrize(("role", "reading"), [("control", "control"), ("second", "second measure")])
def test_controls_and_second_measures_have_no_verdict_and_do_not_count(role, reading):
    clear = np.arange(1.0, 9)
    rows = decide([judged(Claim("here", "x", r, lambda _: clear, role=r), {}, "m") for r in ("claim", role)])
    assert rows[0]["q"] == rows[0]["p"]
    assert math.isnan(rows[1]["q"])
    assert (rows[1]["verdict"], reading_of(rows[1])) == ("", reading)


def test_published_numbers_compare_only_on_the_model_they_are_of():
    tables = curvedness(
        {"lerp": [10.1, 10.4, 10.2, 10.2], "slerp": [7.5, 7.9, 7.6, 7.7], "shooting": [5.8, 6.1, 6.0, 5.9]}
    )
    assert judge(claim("path length of lerp"), tables, "shipped:factor_faces")["verdict"] == "not comparable"
    there = judge(claim("path length of lerp"), tables, "google/ddpm-ema-celebahq-256@main")
    assert there["verdict"] == "holds"
    assert math.isnan(there["p"])
    few = curvedness({name: [10.1, 10.4, 10.2] for name in ("lerp", "slerp", "shooting")})
    few = judge(claim("path length of lerp"), few, "google/ddpm-ema-celebahq-256")
    assert (few["verdict"], math.isnan(few["low"])) == ("not comparable", True), "too few for an interval"
    far = curvedness({"lerp": [5.1, 5.4, 5.2, 5.3], "slerp": [4, 4, 4.1, 4], "shooting": [3, 3, 3.1, 3]})
    assert judge(claim("path length of lerp"), far, "google/ddpm-ema-celebahq-256")["verdict"] == "contradicted"
    assert judge(claim("lerp over shooting"), tables, "ddpm-celebahq")["ours"] == pytest.approx(1.715, abs=0.01)


def test_a_table_that_is_missing_is_not_comparable():
    row = judge(claim("path length, lerp − slerp, pooled"), {}, "shipped")
    assert row["verdict"] == "not comparable"
    assert math.isnan(row["ours"])


@pytest.mark.parametrize("n", [1, 4, 5])
def test_fewer_than_six_samples_decide_nothing(n):
    table = by_time([(20, 10 - i) for i in range(n)], "low_share", radius=0)
    row = judge(claim("low-frequency share of directions"), {"frequency": table}, "shipped")
    assert (row["verdict"], reading_of(row)) == ("too few to tell", "too few to tell")


def spectrum(trend, samples=6, times=11):
    rows = [
        {"kind": "path", "sample": s, "t_frac": t, "half_energy_rank": trend(t) + s, "effective_dimension": 1 - t}
        for s in range(samples)
        for t in np.linspace(0.05, 1, times)
    ]
    return {"spectrum": pd.DataFrame(rows)}


@pytest.mark.parametrize(("sign", "verdict"), [(-1, "holds"), (1, "contradicted")])
def test_a_spectrum_flattens_if_more_directions_hold_half_of_it(sign, verdict):
    row = judge(claim("rank trend (− Kendall's τ) over t"), spectrum(lambda t: sign * t), "shipped")
    assert (row["verdict"], row["ours"]) == (verdict, pytest.approx(-sign))


def test_a_spectrum_that_falls_and_rises_again_has_no_trend():
    row = judge(claim("rank trend (− Kendall's τ) over t"), spectrum(lambda t: (t - 0.525) ** 2), "shipped")
    assert row["ours"] == pytest.approx(0, abs=0.1)


def test_known_pictures_with_noise_are_a_second_measure_and_do_not_count_among_the_paths():
    path, noised = (spectrum(lambda t, sign=sign: sign * t)["spectrum"] for sign in (-1, 1))
    tables = {"spectrum": pd.concat([path.assign(kind="path"), noised.assign(kind="noised")])}
    wordings = ("rank trend (− Kendall's τ) over t of the directions", "the same rank trend at known pictures")
    found = [judge(claim(wording), tables, "m") for wording in wordings]
    assert [(row["role"], row["n"], row["ours"]) for row in found] == [("claim", 6, 1), ("second", 6, -1)]
    ends = judge(claim("effective dimension of the leading n"), tables, "m")
    assert (ends["n"], ends["ours"]) == (6, pytest.approx(0.95))


def test_a_trend_takes_ten_timesteps():
    assert judge(claim("rank trend (− Kendall's τ) over t"), spectrum(lambda t: -t, times=9), "m")["n"] == 0


def test_timesteps_with_more_directions_than_were_computed_count_as_the_flattest():
    tables = spectrum(lambda t: 20 - 10 * t)
    table = tables["spectrum"]
    table.loc[table["t_frac"] < 0.3, "half_energy_rank"] = np.nan
    row = judge(claim("rank trend (− Kendall's τ) over t"), tables, "shipped")
    assert (row["n"], row["verdict"]) == (6, "holds")
    assert row["ours"] > 0.9


def test_a_single_timestep_has_no_first_and_last():
    table = by_time([(1, 2)] * 6, "low_share", radius=0)
    one = table[table["t_frac"] == 1]
    assert judge(claim("low-frequency share of directions"), {"frequency": one}, "m")["verdict"] == "not comparable"


SIGNS = {
    "low-frequency share of picture changes": ("discovery", {"change_low_share": (2, 1)}),
    "low-frequency share of directions": ("frequency", {"low_share": (2, 1), "radius": (0, 0)}),
}


@pytest.mark.parametrize("quantity", SIGNS)
@pytest.mark.parametrize("turned", [False, True])
def test_shares_fall_from_noise_to_picture(quantity, turned):
    name, columns = SIGNS[quantity]
    (column, ends), *more = columns.items()
    table = by_time([ends[::-1] if turned else ends] * 6, column, **{key: value[0] for key, value in more})
    assert judge(claim(quantity), {name: table}, "m")["verdict"] == ("contradicted" if turned else "holds")


PAIRS = [
    ("colours at the limit, decoded without clipping, plain − normalised", "no_normalisation", "clipped_change", 1),
    ("denoising residual, PCA of h − local", "pca_h_gradient", "residual_change", 1),
    ("log precision, local − PCA of h, at", "pca_h_gradient", "precision", -1),
    ("log precision, local − ∂x̂0/∂x", "x0", "precision", -1),
    ("log precision, local − ∂ε/∂x", "eps", "precision", -1),
    ("distance from the data, random − local, at equal change", "random", "off_data", 1),
    ("distance from the data, random − local, at equal length", "random", "off_data", 1),
    ("high-frequency power, random − local, at equal change", "random", "noise_change", 1),
]


@pytest.mark.parametrize(("quantity", "variant", "column", "sign"), PAIRS)
def test_variants_are_compared_in_the_direction_of_the_claim(quantity, variant, column, sign):
    table = ablation(variant, column, [2.0] * 6)
    row = judge(claim(quantity), {"ablation": table, "ablation_equal_length": table}, "m")
    assert np.sign(row["ours"]) == sign


@pytest.mark.parametrize("normalised", [True, False])
def test_random_steps_are_compared_with_local_ones_of_the_same_kind(normalised):
    """With the normalisation random steps do more damage here, without it less; a flow's steps have none anyway."""
    values = {"random": 3.0, "local": 1.0, "random_no_normalisation": 1.0, "no_normalisation": 2.0}
    rows = [
        {"sample": s, "direction": 0, "variant": name, "residual_change": value, "cosine": 0.1 if value == 3 else 0.5}
        | {"normalised": name in ("random", "local"), "matched": True}
        for s in range(6)
        for name, value in values.items()
    ]
    table = pd.DataFrame(rows)
    how = "" if normalised else "without the normalisation, "
    for at in ("length", "change"):
        one = claim(f"denoising residual, random − local, {how}at equal {at}")
        row = judge(one, {"ablation": table, "ablation_equal_length": table}, "m")
        assert row["verdict"] == ("holds" if normalised else "contradicted")
    told = "cosine of the move with its direction 0.10, local 0.50"
    one = claim(f"denoising residual, random − local, {how}at equal length")
    assert judge(one, {"ablation_equal_length": table}, "m")["remark"] == (told if normalised else "")
    flow = table[table["normalised"]].assign(normalised=False)
    of_flow = judge(one, {"ablation_equal_length": flow}, "m")
    assert (of_flow["n"], of_flow["verdict"]) == ((0, "not comparable") if normalised else (6, "holds"))


def test_saturation_is_counted_in_the_unedited_pictures_own_spread():
    values = [("no_normalisation", 0.5), ("local", 0.1)]
    rows = [
        {"sample": s, "direction": 0, "variant": name, "chroma_change": value, "chroma_unedited": float(s)}
        for s in range(6)
        for name, value in values
    ]
    row = judge(claim("mean chroma of the picture"), {"ablation_equal_length": pd.DataFrame(rows)}, "m")
    assert row["ours"] == pytest.approx(0.4 / np.std(range(6), ddof=1))


def test_paths_are_compared_in_the_direction_of_the_claim():
    rows = [
        {"pair": i, "pool": pool, "path": path, "length": value, "length_soft": value, "h_length": 2.0}
        for i in range(6)
        for pool in ("sum", "none")
        for path, value in (("lerp", 4.0), ("slerp", 3.0), ("geodesic", 2.0), ("shooting", 1.0))
    ]
    tables = {"curvedness": pd.DataFrame(rows)}
    for quantity, difference in (
        ("path length, lerp − slerp, pooled", 1),
        ("path length, lerp − slerp, whole", 1),
        ("path length, slerp − geodesic with fixed ends, soft cut, pooled", 1),
        ("path length, slerp − geodesic with fixed ends, soft cut, whole", 1),
        ("path length per length in H", 1),
        ("path length, slerp − shooting, which", 2),
    ):
        assert judge(claim(quantity), tables, "m")["ours"] == difference


def flatness_of(f, pairs=8):
    """Table ``curvedness_flatness`` of lerp and of the geodesic between random ends, under f and f linearised."""
    rows = []
    for pair in range(pairs):
        a, b = torch.randn(2, 3, generator=torch.Generator().manual_seed(pair), dtype=torch.float64)
        weights = torch.linspace(0, 1, 9, dtype=torch.float64)
        paths = {"lerp": lerp(a, b, weights), "geodesic": boundary_value_geodesic(f, slerp(a, b, weights)).points}
        for path, points in paths.items():
            image, linear = f(points), (points - a) @ torch.func.jacrev(lambda x: f(x[None])[0])(a).T
            rows.append({"pair": pair, "path": path, "pool": "none", "metric": "h"})
            for end, one in (("", image), ("_linear", linear)):
                rows[-1] |= {f"flatness_ratio{end}": flatness_ratio(one), f"bend{end}": chord_deviation(one)}
    return {"curvedness_flatness": pd.DataFrame(rows)}


def bend_of(h):
    (found,) = [c for c in all_claims() if c.quantity.startswith("distance of lerp's image") and c.quantity.endswith(h)]
    return found


MATRIX = torch.randn(5, 3, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


def hill(x):
    return torch.cat([x, 5 * (-x.square().sum(1, keepdim=True)).exp()], dim=1)


@pytest.mark.parametrize(
    ("f", "verdict"),
    [(lambda x: x @ MATRIX.T, "contradicted"), (hill, "holds")],
    ids=["linear", "a hill between the ends"],
)
def test_a_path_beats_the_straight_line_unless_f_is_linear(f, verdict):
    tables = flatness_of(f)
    row = judge(claim("flatness ratio R, lerp − geodesic with fixed ends, whole"), tables, "m")
    null = judge(claim("the same two paths under f linearised at the first sample, whole"), tables, "m")
    curved = judge(claim("R − 1 of the geodesic with fixed ends, 0 in a flat space, whole"), tables, "m")
    bend = judge(bend_of("whole h"), tables, "m")
    assert (row["n"], row["verdict"]) == (8, verdict)
    assert max(null["values"]) < 0
    assert all(math.isnan(one["p"]) for one in (bend, null, curved)), "they lie on one side by construction"
    if verdict == "contradicted":
        assert row["values"] == pytest.approx(null["values"], abs=1e-9)
        assert bend["values"] == pytest.approx([0] * 8, abs=1e-9)
    else:
        assert min(bend["values"]) > 0.005


def test_a_flat_space_in_bent_coordinates_beats_the_straight_line_too_and_its_geodesic_tells():
    """x ↦ sinh(Ax), Ax orthogonal, is onto: its space is flat. So the claim is about lines, and R − 1 the bound."""
    axes = torch.linalg.qr(MATRIX[:3]).Q
    tables = flatness_of(lambda x: torch.sinh(x @ axes.T))
    row = judge(claim("flatness ratio R, lerp − geodesic with fixed ends, whole"), tables, "m")
    bound = judge(claim("R − 1 of the geodesic with fixed ends, 0 in a flat space, whole"), tables, "m")
    assert row["verdict"] == "holds"
    assert max(bound["values"]) < 0.01 < np.mean(row["values"])


def test_a_run_without_the_lengths_in_h_is_not_judged_by_them():
    row = judge(claim("path length per length in H"), curvedness({"slerp": [1, 2], "shooting": [1, 2]}), "m")
    assert row["n"] == 0


def test_coarse_shares_count_means_over_the_factors_of_each_kind():
    table = by_time([(0, 0)] * 5, "unused")
    for factor in FACTORS:  # at T coarse factors move by 3 and fine ones by 1; at 0.25T the other way round
        first, last = (3, 1) if factor.scale == "coarse" else (1, 3)
        table[f"delta_{factor.name}"] = np.where(table["t_frac"] == 1, first, -last)
    row = judge(claim("coarse share"), {"discovery": table}, "shipped")
    assert row["ours"] == pytest.approx(0.75 - 0.25)


def ablation(variant, column, values, matched=True):
    """A variant's values against 1 for local directions, one per sample."""
    rows = [
        {"sample": s, "direction": 0, "variant": name, column: value, "matched": matched or name == "local"}
        | {"normalised": True, "cosine": 0.5}
        for s, one in enumerate(values)
        for name, value in (("local", 1.0), (variant, one))
    ]
    return pd.DataFrame(rows)


def test_edits_that_could_not_be_matched_count_and_are_told():
    tables = {"ablation": ablation("random", "residual_change", [1.5] * 5 + [0.9], matched=False)}
    row = judge(claim("denoising residual, random − local, at equal change"), tables, "shipped")
    assert (row["n"], row["remark"]) == (6, "6 of 12 edits missed the wanted change")
    third = ablation("x0", "residual_change", [9.0] * 6, matched=False)
    with_third = {"ablation": pd.concat([tables["ablation"], third[third["variant"] == "x0"]])}
    assert judge(claim("denoising residual, random − local, at equal change"), with_third, "shipped") == row
    assert row["ours"] == pytest.approx((5 * 0.5 - 0.1) / 6)


def test_damage_at_equal_length_has_a_table_of_its_own():
    tables = {
        "ablation_equal_length": ablation("random", "residual_change", [3.0] * 6),
        "ablation": ablation("random", "residual_change", [0.5] * 6),
    }
    assert judge(claim("denoising residual, random − local, at equal length"), tables, "m")["verdict"] == "holds"
    assert judge(claim("denoising residual, random − local, at equal change"), tables, "m")["verdict"] == "contradicted"


def test_distances_from_the_data_have_their_own_tables():
    length, change = (
        claim(f"distance from the data, random − local, at equal {what}") for what in ("length", "change")
    )
    assert (length.role, length.experiment) == ("claim", "p23a/fig9")
    tables = {
        "ablation_equal_length": ablation("random", "off_data", [1.2] * 6),
        "ablation": ablation("random", "off_data", [1.1] * 6),
    }
    assert [judged(one, tables, "m")["ours"] for one in (length, change)] == pytest.approx([0.2, 0.1])
    del tables["ablation_equal_length"]["off_data"]
    assert judged(length, tables, "m")["n"] == 0, "the data are not known"


def test_precision_is_compared_in_logarithms():
    tables = {"ablation": ablation("x0", "precision", [2.0, 4.0, 8.0])}
    row = judge(claim("log precision, local − ∂x̂0/∂x"), tables, "m")
    assert row["ours"] == pytest.approx(-2 * math.log(2))


@pytest.mark.parametrize(("t_frac", "sign"), [(0.5, 1), (0.25, -1)])
def test_variants_are_compared_at_each_of_several_timesteps(t_frac, sign):
    """Directions of h are the better ones at 0.5T here, and the worse ones at 0.25T; at T they are equal."""
    values = {1.0: 1.0, 0.501: 0.5, 0.25: 2.0}  # of the other variant's precision, where that of h is 1
    tables = [ablation("x0", "precision", [value] * 6).assign(t_frac=at) for at, value in values.items()]
    tables = {"ablation_times": pd.concat(tables), "ablation": tables[0]}
    row = judge(claim(f"log precision at {t_frac}T, local − ∂x̂0/∂x"), tables, "m")
    assert (row["n"], row["ours"]) == (6, pytest.approx(sign * math.log(2)))
    assert row["verdict"] == ("holds" if sign > 0 else "contradicted")
    assert judge(claim("log precision, local − ∂x̂0/∂x"), tables, "m")["ours"] == 0
    del tables["ablation_times"]
    assert judge(claim(f"log precision at {t_frac}T, local − ∂x̂0/∂x"), tables, "m")["n"] == 0


def test_the_share_of_the_tangent_space_is_compared_at_half_of_t_too():
    shares = {1.0: (0.2, 0.1), 0.5: (0.3, 0.4), 0.25: (0.1, 0.6)}
    rows = [
        {
            "kind": "path", "n": 13, "tangent_rank": 13, "factor": "span", "scale": "all",
            "sample": sample, "t_frac": t_frac, "map": name, "share": share,
        }
        for sample in range(6) for t_frac, pair in shares.items() for name, share in zip(("h", "x0"), pair, strict=True)
    ]  # fmt: skip
    tables = {"tangent_truth": pd.DataFrame(rows)}
    wording = "share of the data's true tangent space in directions of ∂h/∂x above ∂x̂0/∂x, at"
    found = [judge(claim(f"{wording} {when}"), tables, "m")["ours"] for when in ("T", "0.5T", "the lowest t")]
    assert found == pytest.approx([0.1, -0.1, -0.5])


def over_times(distance, samples=3):
    """Tables of ``tangent_distance`` from the distance of two timesteps."""
    times = np.linspace(0.1, 1, 10).round(3)
    rows = [
        {"kind": "time", "sample_a": i, "sample_b": i, "t_frac_a": a, "t_frac_b": b, "distance": distance(a, b, i)}
        for i in range(samples)
        for k, a in enumerate(times)
        for b in times[k + 1 :]
    ]
    table = pd.DataFrame(rows).assign(distance_normalized=lambda one: one["distance"])
    return {"tangent_distance": table, "tangent_distance_times": pd.DataFrame(_trends(table))}


def test_the_trend_over_timesteps_has_the_p_of_shuffled_timesteps():
    random = np.random.default_rng(0)
    row = judge(
        claim("rank trend (Kendall's τ_b) of |t"), over_times(lambda a, b, _: abs(a - b) + random.normal(0, 0.02)), "m"
    )
    assert row["n"] == 3
    assert row["p"] == 1 / 1000
    assert 0.8 < row["ours"] < 0.96
    assert "is possible" in row["remark"]


def test_samples_that_share_a_chance_pattern_over_timesteps_are_no_evidence():
    fixed = np.random.default_rng(4).random((2000, 2000))
    chance = over_times(lambda a, b, _: fixed[int(1000 * a), int(1000 * b)], samples=8)
    row = judge(claim("rank trend (Kendall's τ_b) of |t"), chance, "m")
    assert sign_flip_test(row["values"]) < 0.01
    assert row["p"] > 0.05


def prompts(distance, samples=6):
    texts = [
        "a smiling face with long hair",
        "a happy face with long hair",
        "a smiling face",
        "a face with a beard",
        "a face",
    ]
    rows = [
        {
            "kind": "path", "guidance": 2.0, "sample": i, "t_frac": t, "prompt_a": a, "prompt_b": b,
            "factor_overlap": overlap, "distance": distance(overlap, t),
        }
        for i in range(samples) for t in (1.0, 0.25) for a in range(5) for b in range(a + 1, 5)
        for overlap in [factor_overlap(texts[a], texts[b])]
    ]  # fmt: skip
    return {"prompts": pd.DataFrame(rows)}


@pytest.mark.parametrize("sign", [1, -1])
def test_alike_prompts_are_near_by_what_their_captions_both_say(sign):
    row = judge(claim("rank correlation of the captions"), prompts(lambda overlap, t: 2 - sign * overlap), "m")
    assert row["ours"] == pytest.approx(sign)
    assert row["p"] < 0.1  # five prompts have 120 orders, and several of them look alike


@pytest.mark.parametrize("sign", [1, -1])
def test_a_prompt_fades_if_its_distances_fall(sign):
    row = judge(claim("distance between prompts on their own paths"), prompts(lambda overlap, t: 2 + sign * t), "m")
    assert (row["verdict"], row["ours"]) == ("holds" if sign > 0 else "contradicted", pytest.approx(sign * 0.75))


def test_a_global_direction_is_compared_with_others_by_attribute_and_sign():
    names = ["delta_smile", "delta_yaw"]
    moves = {0: (0.9, 0.1), 1: (-0.2, -0.8)}  # direction → change, the same in every held-out sample …
    rows = [
        {"t_frac": t, "held_out": s, "direction": k, **dict(zip(names, np.array(change) * flip, strict=True))}
        for t in (1.0, 0.5)
        for s in range(4)
        for k, change in moves.items()
        for flip in (-1 if s == 3 and k == 1 else 1,)  # … but that the last one turns the second round
    ]
    row = judge(claim("share of edits that move"), {"global_consistency_edits": pd.DataFrame(rows)}, "shipped")
    assert row["n"] == 4
    assert row["ours"] == pytest.approx((3 * 1 + 3 * 0.5) / 6)


def test_overlaps_are_compared_with_those_of_the_untrained_network():
    rows = [
        {"t_frac": t, "sample": a, "other": b, "direction": k, "best_match": 0.5, "untrained_best_match": null}
        for t, null in ((1.0, 0.2), (0.5, math.nan))
        for a in range(3)
        for b in range(3)
        for k in range(5)
        if a != b
    ]
    row = judge(
        claim("best match of leading directions at T, trained"),
        {"global_consistency_overlaps": pd.DataFrame(rows)},
        "m",
    )
    assert (row["n"], row["ours"]) == (3, pytest.approx(0.3))


def test_the_agreement_of_one_direction_is_compared_with_that_of_others():
    rows = [
        {"t_frac": t, "sample": a, "other": b, "direction": i, "other_direction": j, "cosine": value}
        for t, same in ((1.0, 0.9), (0.5, 0.0))
        for a, b in ((1, 2), (1, 3), (2, 3))
        for i, j, value in ((0, 0, same), (1, 1, same), (0, 1, -0.2), (1, 0, 0.2))
    ]
    row = judge(
        claim("signed cosine of changes, same"), {"global_consistency_agreement": pd.DataFrame(rows)}, "shipped"
    )
    assert row["ours"] == pytest.approx(0.9)
    assert row["n"] == 3


def test_ends_of_a_straight_path_are_compared_with_its_middle_third():
    rows = [
        {
            "pair": pair,
            "pool": "sum",
            "path": path,
            "segment": i,
            "position": (i + 0.5) / 9,
            "curvedness_soft": value + pair,
        }
        for pair in range(2)
        for path in ("lerp", "slerp")
        for i, value in enumerate([5, 9, 9, 1, 1, 1, 9, 9, 7])
    ]
    assert judge(
        claim("curvedness of lerp, end segments − middle, soft"), {"curvedness_segments": pd.DataFrame(rows)}, "shipped"
    )["ours"] == pytest.approx(5)


def test_a_claim_about_data_counts_trainings():
    rows = [
        {"data": name, "training": i, "t_frac": t, "sample_a": a, "sample_b": b, "distance_normalized": base + 0.1 * a}
        for name, at_top in (("simple", (0.3, 0.3, 0.27)), ("complex", (0.5, 0.6, 0.49)))
        for i, top in enumerate(at_top)
        for t, base in ((1.0, top), (0.25, 0.4))
        for a, b in ((0, 1), (0, 2), (1, 2))
    ]
    table = pd.DataFrame(rows)
    wording = "distance between samples as a share of the largest, 14 − 4 varying factors, at T"
    row = judge(claim(wording), {"dataset_complexity": table}, "shipped")
    assert (row["n"], row["unit"]) == (6, "training")
    assert row["ours"] == pytest.approx(0.24)
    assert (decide([row])[0]["verdict"], row["p"]) == ("holds", pytest.approx(2 / 2**6))
    one_each = judge(claim(wording), {"dataset_complexity": table[table["training"] == 0]}, "shipped")
    assert (one_each["values"], decide([one_each])[0]["verdict"]) == ([pytest.approx(0.2)], "too few to tell")
    at = [
        judge(
            claim(f"the same over samples of the first network of each, at {end}"), {"dataset_complexity": table}, "m"
        )
        for end in ("T", "the")
    ]
    assert [(one["n"], round(one["ours"], 6), decide([one])[0]["verdict"]) for one in at] == [
        (3, 0.2, ""),
        (3, 0.0, ""),
    ]


@pytest.mark.parametrize(("first", "second", "spread"), [(3, 3, 1.0), (3, 3, 3.0), (4, 3, 1.0)])
def test_a_difference_of_a_few_trainings_is_tested_at_its_level(first, second, spread):
    rng, rejected, covered = np.random.default_rng(0), [], []
    for _ in range(1000):
        values = pseudo_values_of_difference(rng.normal(size=first), spread * rng.normal(size=second))
        _, low, high = mean_interval(values)
        rejected.append(sign_flip_test(values) <= 0.05)
        covered.append(low <= 0 <= high)
    assert 0.015 < np.mean(rejected) < 0.065
    assert np.mean(covered) == pytest.approx(0.95, abs=0.025)


def test_pseudo_values_of_two_groups_have_their_difference_as_mean():
    a, b = np.array([1.0, 2.0, 6.0]), np.array([5.0, 7.0])
    values = pseudo_values_of_difference(a, b)
    assert (len(values), values.mean()) == (5, pytest.approx(b.mean() - a.mean()))
    assert pseudo_values_of_difference(a, b[:1]).tolist() == [2.0]


def test_one_kind_of_data_alone_tells_nothing_about_data():
    rows = [
        {"data": "14 factors", "training": i, "t_frac": 1.0, "sample_a": 0, "sample_b": 1, "distance_normalized": 0.5}
        for i in range(3)
    ]
    wording = "distance between samples as a share of the largest, 14 − 4 varying factors, at T"
    assert judge(claim(wording), {"dataset_complexity": pd.DataFrame(rows)}, "shipped")["n"] == 0


def test_pairs_count_as_the_samples_they_are_of():
    """Pseudo-values: their mean is that of the pairs, and their variance over n the U-statistic's, not half of it."""
    rng, rows = np.random.default_rng(0), []
    effect = rng.normal(size=40)  # a pair's value is the sum of its samples' effects: variance of the mean is 4 σ² / n
    for a in range(40):
        for b in range(a + 1, 40):
            for t, value in ((1.0, 0.0), (0.25, effect[a] + effect[b])):
                rows.append({"kind": "sample", "sample_a": a, "sample_b": b, "t_frac_a": t, "distance": value})
    values = claim("distance between samples grows").measure({"tangent_distance": pd.DataFrame(rows)})
    assert values.mean() == pytest.approx(2 * effect.mean())
    np.testing.assert_allclose(values, 2 * effect, atol=1e-9)


def test_a_measure_may_be_anything_that_gives_an_array():
    constant = Claim("here", "x", "a number", lambda _: np.full(6, 2.0))
    row = judge(constant, {}, "m")
    assert (row["low"], row["high"], row["verdict"]) == (2.0, 2.0, "holds")
