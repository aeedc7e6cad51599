"""Directions of the shipped model against the exact tangent space of its data."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from diffgeo.api import run_study, settings
from diffgeo.data.factor_faces import FACTOR_NAMES, render, sample_factors
from diffgeo.data.tangent import tangent_space, tangents
from diffgeo.diffusion.models import load_model
from diffgeo.geometry import random_overlaps
from diffgeo.metrics.attributes import load_predictor
from diffgeo.metrics.residual import denoising_residual
from diffgeo.report.reading import Run
from diffgeo.session import Context
from diffgeo.studies.shared.portraits import share_of_span
from diffgeo.studies.tangent_truth.findings import crossings, findings
from diffgeo.studies.tangent_truth.measure import _axes, _shares, match_axes
from diffgeo.studies.tangent_truth.plots import charts

KEYS = ["kind", "sample", "t", "map", "n"]


def orthonormal(d, n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(d, n, generator=generator, dtype=torch.float64)).Q


@pytest.fixture(scope="module")
def space():
    return tangents(sample_factors(1, generator=torch.Generator().manual_seed(0))[0].double())


def context_of(model, *words, predictor=True):
    cfg = settings(
        *("study=[tangent_truth]", "scale=smoke", "svd.tol=1e-3", "svd.rank=13", "device=cpu", "tracking=none"), *words
    )
    return Context(model, cfg, load_predictor() if predictor else None)


def measured(context):
    return run_study("tangent_truth", context, context.cfg.study["tangent_truth"])


@pytest.fixture(scope="module")
def result(shipped):
    own = "study.tangent_truth"
    words = (f"{own}.maps=[h,x0,random]", f"{own}.samples=1", f"{own}.noise=[1.0,0.1]", f"{own}.rank=13")
    return measured(context_of(shipped, *words, f"{own}.kinds=[render,path]", f"{own}.draws=40", "scale.steps=10"))


# --- the measures, on subspaces that are known


def test_the_share_of_the_space_itself_is_1_and_of_its_complement_0(space):
    assert share_of_span(space.basis, space.basis) == pytest.approx(1, abs=1e-12)
    rows = list(_shares(space.basis, space, 50))
    assert [row["share"] for row in rows] == pytest.approx([1.0] * len(rows), abs=1e-6)
    other = orthonormal(len(space.tau), 20, seed=1)
    outside = torch.linalg.qr(other - space.basis @ (space.basis.T @ other)).Q
    assert max(row["share"] for row in _shares(outside, space, 50)) < 1e-12


def test_chance_is_that_of_random_subspaces(space):
    """Mean n/d, and the share of random subspaces within the stated 95 %, of spans and of single factors."""
    d, n, draws = space.tau.shape[0], 13, 300
    shares = pd.concat(pd.DataFrame(_shares(orthonormal(d, n, seed), space, 400)) for seed in range(100, 100 + draws))
    for factor, part in shares.groupby(["factor", "scale"]):
        spread = part["share"].std() / math.sqrt(draws)
        assert part["share"].mean() == pytest.approx(n / d, abs=4 * spread), factor
        within = part["share"].between(part["null_low"], part["null_high"]).mean()
        assert within == pytest.approx(0.95, abs=0.05), factor
    assert random_overlaps(d, n, 13, draws=500).square().sum(dim=(1, 2)).mean() / 13 == pytest.approx(n / d, rel=0.03)


def test_axes_that_are_the_factors_are_found_whatever_their_order_and_sign():
    overlaps = np.eye(5, 4)[[3, 0, 4, 1, 2]] * np.array([1, -1, 1, -1])
    assert match_axes(overlaps).tolist() == [1, 3, 4, 0]
    assert match_axes(np.eye(2, 3)).tolist() == [0, 1, -1]


def test_a_random_rotation_of_the_axes_is_what_chance_says(space):
    """The p-values of rotated axes are those of chance; the factors' own axes are far beyond."""
    q, _ = torch.linalg.qr(space.tau)
    own = next(_axes(q, space, 99, 0))
    assert own["cos"] > 0.8 > own["null_high"]
    assert own["p"] == pytest.approx(0.01)
    p = []
    for seed in range(20):
        turned = next(_axes(q @ orthonormal(q.shape[1], q.shape[1], seed), space, 99, 1000 + seed))
        assert turned["null"] == pytest.approx(own["null"], abs=0.03)
        p.append(turned["p"])
    assert 0.25 < np.mean(p) < 0.75


def test_of_two_axes_chance_is_known():
    """Turned by any angle φ, two axes have |cos| max(|cos φ|, |sin φ|) with their factors: 2√2/π on average."""
    names = FACTOR_NAMES[:2]
    plane = tangent_space(orthonormal(40, 2), names)
    known = 2 * math.sqrt(2) / math.pi
    spread = math.sqrt(0.5 + 1 / math.pi - known**2)  # E max² = 1/2 + 1/π
    draws = 4000
    for angle in (0, math.pi / 4, 1.0):
        turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]).double()
        mean, *single = _axes(plane.tau @ turn, plane, draws, 0)
        for row in (mean, *single):
            assert row["cos"] == pytest.approx(max(abs(math.cos(angle)), abs(math.sin(angle))), abs=1e-6)
            assert row["null"] == pytest.approx(known, abs=4 * spread / math.sqrt(draws)), row["factor"]
            # φ uniform: max(|cos φ|, |sin φ|) is cos of an angle that is uniform up to π/4
            assert row["null_low"] == pytest.approx(math.cos(0.975 * math.pi / 4), abs=5e-3)
            assert row["null_high"] == pytest.approx(math.cos(0.025 * math.pi / 4), abs=5e-3)


def test_crossings_are_found_by_sample():
    wide = pd.DataFrame(
        {
            "sample": [0, 0, 0, 1, 1, 1],
            "t_frac": [1.0, 0.5, 0.25] * 2,
            "log_snr": [-10.0, -5.0, 0.0] * 2,
            "h": [0.2, 0.2, 0.1, 0.1, 0.1, 0.1],
            "x0": [0.1, 0.3, 0.5, 0.2, 0.2, 0.3],
        }
    )
    found = crossings(wide)
    assert found[0] == pytest.approx(-7.5)
    assert math.isnan(found[1])
    assert crossings(wide, "t_frac")[0] == pytest.approx(0.75)
    noise_alone = wide.assign(log_snr=wide["log_snr"].replace(-10.0, -math.inf))
    assert crossings(noise_alone).isna().all()
    assert crossings(noise_alone, "t_frac")[0] == pytest.approx(0.75)


# --- on the shipped model


@pytest.mark.slow
def test_the_bottleneck_sees_more_near_noise_and_the_denoiser_near_the_picture(result):
    """The values that a script of its own gave: at 0.1 T .67 against .14, at T .10 against .22 (mean over factors)."""
    factors = result.table[(result.table["factor"] != "span") & (result.table["n"] == 13)]
    mean = factors.groupby(["kind", "t_frac", "map"])["share"].mean()
    for kind in ("render", "path"):
        assert mean[kind, 1.0, "h"] == pytest.approx(0.21, abs=0.06)
        assert mean[kind, 1.0, "x0"] == pytest.approx(0.10, abs=0.05)
        assert mean[kind, 0.1, "h"] == pytest.approx(0.145, abs=0.06)
        assert mean[kind, 0.1, "x0"] == pytest.approx(0.67, abs=0.10)
        assert mean[kind, 1.0, "random"] == pytest.approx(13 / 3072, abs=0.003)


@pytest.mark.slow
def test_the_tables_are_tidy(result):
    table, axes = result.table, result.more_tables["axes"]
    assert not table.duplicated([*KEYS, "factor", "scale"]).any()
    assert not axes.duplicated([*KEYS, "factor"]).any()
    assert table["share"].between(0, 1 + 1e-9).all()
    assert (table["null"] == table["n"] / 3072).all()
    assert set(table.loc[table["factor"] == "span", "scale"]) == {"all", "coarse", "fine"}
    one = axes[(axes["map"] == "x0") & (axes["kind"] == "render") & (axes["t_frac"] == 0.1)]
    own = one[one["factor"] != "mean"]
    assert own["direction"].is_unique
    assert own["cos"].mean() == pytest.approx(one.loc[one["factor"] == "mean", "cos"].item())
    assert one.loc[one["factor"] == "mean", "p"].item() < 0.05
    path = table[table["kind"] == "path"]
    assert path["off_data"].between(1e-4, 0.06).all()
    assert result.scalars["pictures_far_from_data"] == 0


@pytest.mark.slow
def test_shares_are_those_of_the_bases(shipped, result):
    """One number of the table, from the dense definition."""
    context = context_of(shipped)
    generator = torch.Generator().manual_seed(9_000_000)
    z = sample_factors(1, generator=generator)
    x0 = render(z)[0]
    noise = torch.randn(x0.shape, generator=generator)
    x = shipped.schedule.add_noise(x0, noise, 99)
    v = context.bases.at(x, 99, rank=13).V.double()
    tau = tangents(z[0].double()).tau[:, FACTOR_NAMES.index("smile")]
    row = result.table.query("kind == 'render' and t == 99 and map == 'h' and n == 13 and factor == 'smile'")
    assert row["share"].item() == pytest.approx((v.T @ tau).square().sum().item(), abs=1e-3)


@pytest.mark.slow
def test_pictures_far_from_the_data_are_left_out_and_counted(shipped, caplog):
    own = "study.tangent_truth"
    words = (f"{own}.maps=[random]", f"{own}.kinds=[render,path]", f"{own}.residual=1e-4", f"{own}.noise=[1.0]")
    found = measured(context_of(shipped, *words, f"{own}.samples=2", f"{own}.rank=13", f"{own}.draws=20"))
    assert set(found.table["kind"]) == {"render"}
    assert found.scalars["pictures_far_from_data"] == 2
    assert "2 of 2 pictures lie further than study.tangent_truth.residual=0.0001" in caplog.text


def test_a_model_whose_data_are_not_known_has_no_such_study(shipped, caplog):
    found = measured(context_of(shipped, predictor=False))
    assert found.table.empty
    assert "tangent_truth was left out" in caplog.text


@pytest.mark.slow
def test_the_model_of_four_factors_is_compared_with_its_own_three_tangents():
    own = "study.tangent_truth"
    words = (f"{own}.maps=[h,x0]", f"{own}.kinds=[render]", f"{own}.samples=1", f"{own}.noise=[0.1]", f"{own}.rank=6")
    context = context_of(load_model("factor_faces_4"), *words, f"{own}.draws=20", "svd.rank=6")
    assert context.known_factors == ("background_hue", "hair_length", "smile", "glasses")
    table = measured(context).table
    assert set(table["tangent_rank"]) == {3}
    assert set(table["factor"]) == {"span", "background_hue", "hair_length", "smile"}
    span = table.query("factor == 'span' and scale == 'all' and n == 3").set_index("map")["share"]
    assert span["x0"] > span["h"] > 0.01


@pytest.mark.slow
def test_a_model_on_latents_is_compared_with_the_tangent_space_of_its_latents():
    own = "study.tangent_truth"
    words = (
        "model=factor_faces_t2i",
        "prompt=a face",
        f"{own}.maps=[x0,random]",
        f"{own}.samples=1",
        f"{own}.noise=[0.1]",
    )
    more = (f"{own}.rank=13", f"{own}.kinds=[render]", f"{own}.draws=20", "svd.tol=1e-2")
    table = measured(context_of(load_model("factor_faces_t2i", prompt="a face"), *words, *more)).table
    span = table.query("factor == 'span' and scale == 'all' and n == 13").set_index("map")
    assert span.loc["x0", "share"] > 5 * span.loc["x0", "null_high"], "the denoiser sees the data near the picture"
    assert span.loc["random", "share"] < 2 * span.loc["random", "null_high"]


@pytest.mark.nightly
def test_the_known_values_of_three_portraits(shipped):
    """Mean share of the 13 factors in n = 13 and n = 50 directions, found by another program on three other portraits.

    Those of twelve of ours must lie where the mean of three others is to be expected: within three standard errors.
    """
    own = "study.tangent_truth"
    words = (f"{own}.maps=[h,x0]", f"{own}.kinds=[render]", f"{own}.samples=12", f"{own}.rank=50", "svd.rank=50")
    more = (f"{own}.output_rank=50", f"{own}.noise=[1.0,0.75,0.5,0.25,0.1,0.02]", f"{own}.draws=20")
    table = measured(context_of(shipped, *words, *more)).table
    factors = table[table["factor"] != "span"].groupby(["map", "n", "t_frac", "sample"])["share"].mean()
    known = {
        ("h", 13): {1.0: 0.22, 0.75: 0.25, 0.5: 0.18, 0.25: 0.14, 0.1: 0.14, 0.02: 0.12},
        ("h", 50): {1.0: 0.35, 0.75: 0.38, 0.5: 0.41, 0.25: 0.29, 0.1: 0.25, 0.02: 0.23},
        ("x0", 13): {1.0: 0.10, 0.75: 0.25, 0.5: 0.40, 0.25: 0.59, 0.1: 0.67, 0.02: 0.73},
        ("x0", 50): {1.0: 0.12, 0.75: 0.31, 0.5: 0.54, 0.25: 0.71, 0.1: 0.76, 0.02: 0.80},
    }
    for (name, n), values in known.items():
        for t_frac, value in values.items():
            found, key = factors[name, n, t_frac], (name, n, t_frac)
            error = found.std() * (1 / len(found) + 1 / 3) ** 0.5
            assert found.mean() == pytest.approx(value, abs=3 * error + 0.005), key  # known to two digits


# --- the distance from the data in tables of edits


def test_every_measured_picture_of_a_model_of_known_data_has_its_distance_from_them(shipped):
    context = context_of(shipped)
    faces = render(sample_factors(3, generator=torch.Generator().manual_seed(4)))
    noisy = faces + 0.05 * torch.randn(faces.shape, generator=torch.Generator().manual_seed(5))
    found = context.measured(torch.cat([faces, noisy]), faces[:1])
    assert list(found) == ["off_data"]
    assert max(found["off_data"][:3]) < 1e-3
    assert min(found["off_data"][3:]) > 0.03


def test_where_the_data_are_not_known_the_denoising_residual_stands_in_for_the_distance(shipped):
    context = context_of(shipped, "max_memory=0.2", predictor=False)
    faces = render(sample_factors(3, generator=torch.Generator().manual_seed(4)))
    noisy = faces + 0.1 * torch.randn(faces.shape, generator=torch.Generator().manual_seed(5))
    found = context.measured(torch.cat([faces, noisy]), faces[:1])
    assert list(found) == ["residual_change"]
    assert found["residual_change"][0] == pytest.approx(0, abs=1e-5)
    residuals = denoising_residual(shipped, torch.cat([faces[:1], noisy]).clamp(-1, 1))
    assert found["residual_change"][3:] == pytest.approx((residuals[1:] - residuals[0]).tolist(), abs=1e-5)
    assert min(found["residual_change"][3:]) > 0.1
    assert context.residual_change.at_once == context.decoder.at_once < 1000, "max_memory bounds it as it does pictures"


# --- what is shown


@pytest.mark.slow
def test_charts_have_a_line_per_map_and_a_pick_per_kind(result):
    found = charts(result.tables())
    assert {chart.figure for chart in found} == {"share", "scales", "axes"}
    share = [chart for chart in found if chart.figure == "share"]
    assert [chart.pick[1] for chart in share] == ["known portraits with noise", "the sampler's own paths"]
    assert "h, at" in share[0].alt
    assert "x̂0, at" in share[0].alt
    only_random = {stem: table[table["map"] == "random"] for stem, table in result.tables().items()}
    assert charts(only_random) == []
    noise_alone = {stem: table.assign(log_snr=-math.inf) for stem, table in result.tables().items()}
    assert charts(noise_alone) == []  # a flow's T has no place on the axis; the table has it


def told(h, x0):
    """The findings of shares by sample (rows) and timestep (columns, T first)."""
    rows = [
        {"sample": sample, "kind": "path", "t_frac": t, "log_snr": snr, "map": name, "share": float(values[sample][i])}
        for i, (t, snr) in enumerate(((1.0, -10.0), (0.25, 0.0)))
        for name, values in (("h", h), ("x0", x0))
        for sample in range(len(values))
    ]
    table = pd.DataFrame(rows).assign(factor="span", scale="all", n=13, tangent_rank=13, null=13 / 3072)
    return list(findings(Run(None, {}, {"tangent_truth": table}, claims=())))


def test_findings_say_which_map_is_better_where_and_when_they_change_places():
    spread = np.linspace(-0.01, 0.01, 6)[:, None]
    both, change = told(np.array([[0.2, 0.1]]) + spread, np.array([[0.1, 0.6]]) - spread)
    assert both.headline == (
        "Near noise the bottleneck sees more of the data's tangent space, near the picture the denoiser does."
    )
    assert "at T 0.200 [" in both.detail
    assert "6 samples" in both.detail
    assert "log-SNR −8.3" in change.detail
    assert "t/T = 0.87" in change.detail
    assert "in 6 of 6 samples" in change.detail
    (few,) = told(np.array([[0.2, 0.7]] * 2), np.array([[0.1, 0.6]] * 2))
    assert few.headline == (
        "The bottleneck sees more of the data's tangent space in these 2 samples, too few for an interval."
    )
    for n in (4, 5):
        steady = np.linspace(-0.01, 0.01, n)[:, None]
        (some,) = told(np.array([[0.2, 0.7]]) + steady, np.array([[0.1, 0.6]]) - steady)
        assert some.headline == (
            f"The bottleneck sees more of the data's tangent space in these {n} samples, too few for a test."
        )
    noisy = np.array([[0.1, 0.1], [-0.1, -0.1]] * 3)
    (still,) = [one for one in told(0.3 + noisy, np.full((6, 2), 0.3)) if "places" not in one.headline]
    assert "stays open" in still.headline
