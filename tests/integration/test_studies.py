"""The studies at toy size on the shipped model: what tables say, against the bases and pictures they are made of.

Slow; ``tests/e2e/test_every_study.py`` runs each of them on a smaller model.
"""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from scipy.linalg import subspace_angles
from scipy.stats import beta

from diffgeo.api import run_study, settings
from diffgeo.composition import check, register, typed
from diffgeo.config import config_folder
from diffgeo.diffusion.direction_files import save_directions
from diffgeo.errors import DirectionsError
from diffgeo.geometry import global_directions, pca_directions, semantic_path_length, shoot_between, slerp
from diffgeo.jacobian import JacobianOperator
from diffgeo.metrics.attributes import load_predictor
from diffgeo.metrics.damage import clipped_share
from diffgeo.metrics.residual import denoising_residual
from diffgeo.metrics.spectral import high_frequency_share
from diffgeo.session import Context
from diffgeo.studies.shared.matching import features, gradients_in_h, random_in_x
from diffgeo.studies.shared.portraits import known_portraits
from diffgeo.studies.shared.tangent_spaces import common_rank
from diffgeo.studies.spectrum.settings import SpectrumConfig
from diffgeo.svd import local_basis

pytestmark = pytest.mark.slow

SETTINGS = [
    "scale=smoke",
    "scale.samples=4",
    "scale.steps=4",
    "scale.controls=2",
    "schedule.edit=[1.0,0.5]",
    "svd.tol=1e-3",
    "device=cpu",
    "tracking=none",
    "study=[global_consistency,tangent_distance,curvedness,ablation,disentanglement]",
    "study.curvedness.pairs=1",
    "study.curvedness.segments=2",
    "study.curvedness.paths=[lerp,slerp,shooting,shooting_x,geodesic]",
    "study.global_consistency.untrained=1",
    "study.ablation.variants=[local,global,random,no_normalisation,pooling,pca_h_gradient]",
    "study.ablation.directions=1",
    "study.ablation.t_fracs=[1.0,0.5]",
]


@pytest.fixture(scope="module")
def context(shipped):
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        cfg = typed(compose("config", SETTINGS))
    check(cfg)
    return Context(shipped, cfg, load_predictor())


@pytest.fixture(scope="module")
def consistency(context):
    return run_study("global_consistency", context, context.cfg.study["global_consistency"])


@pytest.fixture(scope="module")
def tangents(context):
    return run_study("tangent_distance", context, context.cfg.study["tangent_distance"])


@pytest.fixture(scope="module")
def curves(context):
    return run_study("curvedness", context, context.cfg.study["curvedness"])


@pytest.fixture(scope="module")
def ablation(context):
    return run_study("ablation", context, context.cfg.study["ablation"])


@pytest.fixture(scope="module")
def bases(context):
    """(sample, fraction of T) → the run's own local basis."""
    return {(s.index, frac): context.bases.of(s, t) for s in context.samples for frac, t in context.edit_times}


def pictures_of(frames):
    return frames.float() / 127.5 - 1


# --- global consistency


def test_global_directions_fit_held_out_samples_beyond_chance_at_the_top(consistency):
    top = consistency.table[consistency.table["t_frac"] == 1]
    assert set(top["method"]) == {"nearest", "hungarian", "frechet"}
    assert (top["p_best_match"] < 0.01).all()
    assert (top["p_share"] < 0.01).all()
    assert (top["best_match"] > top["null_best_match_95"]).all()


def test_held_out_samples_are_compared_with_directions_of_the_first_half_alone(consistency, bases):
    table = consistency.table
    assert set(table["held_out"]) == {2, 3}
    for row in table.itertuples():
        training = [bases[i, row.t_frac] for i in (0, 1)]
        u = global_directions(training, row.method).U[:, row.direction].double()
        overlaps = bases[row.held_out, row.t_frac].U.double().T @ u
        assert row.best_match == pytest.approx(overlaps.abs().max().item(), abs=1e-5)
        assert row.share == pytest.approx(overlaps.norm().item(), abs=1e-5)


def test_the_null_is_that_of_random_subspaces(consistency, bases):
    table = consistency.table
    m, n = bases[0, 1.0].U.shape
    share = beta(n / 2, (m - n) / 2)
    assert (table["rank"] == n).all()
    np.testing.assert_allclose(table["null_share"], share.expect(math.sqrt, lb=0, ub=share.ppf(1 - 1e-12)), rtol=0.03)
    # P(max of n ≤ x) where the overlaps of a high-dimensional vector are nearly independent
    assert table["null_best_match_95"].iloc[0] ** 2 == pytest.approx(
        beta(1 / 2, (m - 1) / 2).ppf(0.95 ** (1 / n)), rel=0.15
    )
    assert (table["null_best_match"] < table["null_best_match_95"]).all()


def test_overlaps_are_the_best_cosines_between_two_samples(consistency, bases):
    table = consistency.more_tables["overlaps"]
    for (t_frac, a, b), part in table.groupby(["t_frac", "sample", "other"]):
        cosines = np.abs(bases[a, t_frac].U.double().numpy().T @ bases[b, t_frac].U.double().numpy())
        np.testing.assert_allclose(part["best_match"], cosines.max(axis=1), atol=1e-5)
    strongest = table.groupby(["t_frac", "sample", "other"])["best_match"].max()
    for t_frac, a, b in strongest.index:
        assert strongest[t_frac, a, b] == pytest.approx(strongest[t_frac, b, a])


def test_agreement_is_the_cosine_of_the_attribute_changes(consistency):
    edits = consistency.more_tables["edits"].set_index(["t_frac", "held_out", "direction"])
    changes = edits.filter(like="delta_")
    agreement = consistency.more_tables["agreement"]
    assert len(agreement) == 2 * 1 * 2 * 2  # timesteps, pairs of held-out samples, directions of each
    for row in agreement.itertuples():
        a = changes.loc[(row.t_frac, row.sample, row.direction)].to_numpy(float)
        b = changes.loc[(row.t_frac, row.other, row.other_direction)].to_numpy(float)
        assert row.cosine == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-4)


def test_edits_by_global_directions_number_their_pictures(consistency, context):
    edits, pictures = consistency.more_tables["edits"], pictures_of(consistency.tensors["frames"])
    count = len(context.editor.gammas)
    assert set(edits["frames"]) == {count}
    assert len(pictures) == count * len(edits)
    assert edits["gamma"].to_numpy() == pytest.approx(0.06 * math.sqrt(3 * 32 * 32))
    names = context.predictor.names
    for row in edits.to_dict("records"):
        seen = context.predictor(pictures[row["frame"] : row["frame"] + count])
        change = torch.tensor([row[f"delta_{name}"] for name in names])
        # pictures are kept in 8 bits
        torch.testing.assert_close(seen[-1] - seen[0], change, rtol=0.05, atol=0.1)
    for _, part in edits.groupby(["t_frac", "held_out"]):  # the picture in the middle is the unedited one
        assert len(torch.unique(consistency.tensors["frames"][part["frame"].to_numpy() + count // 2], dim=0)) == 1


# --- tangent distances


def places(table):
    return [
        frozenset([(row.sample_a, row.t_frac_a), (row.sample_b, row.t_frac_b)]) for row in table.itertuples(index=False)
    ]


def test_every_pair_of_a_kind_is_there_once(tangents):
    table = tangents.table
    for _, part in table.groupby("kind"):
        counts = Counter(places(part))
        assert set(counts.values()) == {1}
        assert all(len(pair) == 2 for pair in counts)
    # 4 samples at 2 timesteps, controls on 2 samples
    assert table["kind"].value_counts().to_dict() == {"sample": 12, "time": 4, "x_fixed": 2, "t_fixed": 2}
    between = table[table["kind"] == "sample"]
    assert (between["t_frac_a"] == between["t_frac_b"]).all()
    along = table[table["kind"] != "sample"]
    assert (along["sample_a"] == along["sample_b"]).all()
    assert (along["t_frac_a"] != along["t_frac_b"]).all()


def test_distances_lie_between_0_and_that_of_orthogonal_spaces(tangents):
    table = tangents.table
    largest = np.sqrt(table["rank"]) * math.pi / 2
    assert (table["distance"] > 0.01).all()
    assert (table["distance"] <= largest).all()
    assert (table["distance_soft"] >= 0).all()
    np.testing.assert_allclose(table["distance"], table["distance_normalized"] * largest, rtol=1e-9)


def test_distances_are_the_principal_angles_of_the_runs_bases(tangents, bases):
    table = tangents.table[tangents.table["kind"].isin(["sample", "time"])]
    for row in table.itertuples():
        u, v = (bases[place].truncated(4) for place in [(row.sample_a, row.t_frac_a), (row.sample_b, row.t_frac_b)])
        angles = subspace_angles(u.U.double().numpy(), v.U.double().numpy())
        assert row.distance == pytest.approx(np.linalg.norm(angles), rel=1e-4)
        assert (row.rank, row.gap_a, row.gap_b) == (4, u.certificate.gap, v.certificate.gap)


def test_the_controls_hold_the_latent_or_the_timestep_fixed(tangents, context, bases):
    (top_frac, top), (low_frac, low) = context.edit_times
    sample, here = context.samples[0], bases[0, top_frac].truncated(4)
    elsewhere = {
        "x_fixed": context.bases.at(context.latents.of(sample, top), low, rank=5),
        "t_fixed": context.bases.at(context.latents.of(sample, low), top, rank=5),
    }
    for kind, basis in elsewhere.items():
        rows = tangents.table[(tangents.table["kind"] == kind) & (tangents.table["sample_a"] == 0)]
        (found,) = rows["distance"]
        angles = subspace_angles(here.U.double().numpy(), basis.truncated(4).U.double().numpy())
        assert found == pytest.approx(np.linalg.norm(angles), rel=1e-3)
        assert {rows["t_frac_a"].item(), rows["t_frac_b"].item()} == {top_frac, low_frac}


# --- curvedness


def path(curves, name, pool):
    table = curves.table
    return table[(table["path"] == name) & (table["pool"] == pool)].iloc[0]


def pieces(curves, name, pool):
    table = curves.more_tables["segments"]
    return table[(table["path"] == name) & (table["pool"] == pool)]


POOLS = ["none", "sum"]


def test_the_pooling_is_that_of_the_path_and_not_of_the_run(curves, context):
    assert context.cfg.feature.pool is None
    for table in curves.tables().values():
        assert table.groupby("path")["pool"].unique().map(list).map(sorted).tolist() == [POOLS] * 5
    # the same walk in X is of another length in another space
    assert path(curves, "lerp", "none")["x_length"] == path(curves, "lerp", "sum")["x_length"]
    assert path(curves, "lerp", "none")["h_length"] != pytest.approx(path(curves, "lerp", "sum")["h_length"], rel=0.05)


@pytest.mark.parametrize("pool", POOLS)
def test_paths_with_fixed_ends_miss_nothing_and_shots_say_what_they_miss(curves, pool):
    for name in ("lerp", "slerp", "geodesic"):
        row = path(curves, name, pool)
        assert row["miss_x"] == 0
        assert row["miss_h"] < 1e-4  # pictures are forwarded in batches of other sizes
    for name in ("shooting", "shooting_x"):
        row = path(curves, name, pool)
        assert row["miss_h"] > 0.01
        assert row["miss_x"] > 0.01


@pytest.mark.parametrize("pool", POOLS)
def test_slerp_keeps_the_norm_between_those_of_its_ends_and_lerp_dips_below(curves, context, pool):
    d = context.model.latent_size
    ends = [context.latents.of(s, context.model.schedule.T).norm().item() / math.sqrt(d) for s in context.samples[:2]]
    arc, chord = path(curves, "slerp", pool), path(curves, "lerp", pool)
    assert (arc["norm_min"], arc["norm_max"]) == pytest.approx((min(ends), max(ends)), abs=1e-5)
    assert chord["norm_max"] == pytest.approx(max(ends), abs=1e-5)
    a, b = (context.latents.of(s, context.model.schedule.T) for s in context.samples[:2])
    assert chord["norm_min"] == pytest.approx(((a + b) / 2).norm().item() / math.sqrt(d), abs=1e-5)
    assert chord["norm_min"] < 0.8 * min(ends)


@pytest.mark.parametrize("pool", POOLS)
def test_the_geodesic_lowers_the_energy_of_the_arc_it_starts_from(curves, pool):
    row = path(curves, "geodesic", pool)
    assert row["energy"] < row["energy_start"]
    assert row["energy_start"] == pytest.approx((pieces(curves, "slerp", pool)["h_step"] ** 2).sum(), rel=1e-3)
    assert row["energy"] == pytest.approx((pieces(curves, "geodesic", pool)["h_step"] ** 2).sum(), rel=1e-3)
    assert curves.table.loc[curves.table["path"] != "geodesic", "energy"].isna().all()


def test_flatness_ratios_are_those_of_the_paths_images_in_every_metric(curves, context):
    table, t = curves.more_tables["flatness"], context.model.schedule.T
    assert len(table) == 5 * 2 * 4  # paths, poolings, metrics
    assert (table["flatness_ratio"] >= 1).all()
    a, b = (context.latents.of(sample, t) for sample in context.samples[:2])
    points = torch.stack([a, (a + b) / 2, b])
    with torch.no_grad():
        clean, noise = context.model.predict(points, t)
        images = {"x0": clean, "score": noise}
        for pool, metric in (("sum", "pooled_h"), (None, "h")):
            images[metric] = context.bases.feature_map(t, replace(context.cfg.feature, pool=pool))(points)
    for metric, one in images.items():
        steps, chord = one.double().diff(dim=0).square().sum(), (one[-1] - one[0]).double().square().sum()
        found = table[(table["path"] == "lerp") & (table["metric"] == metric)]["flatness_ratio"]
        assert list(found) == pytest.approx([2 * (steps / chord).item()] * 2, rel=1e-3)
    # the geodesic is flatter than the arc that it starts from, in the metric that it is made in
    wide = table.pivot(index=["pool", "metric"], columns="path", values="flatness_ratio")
    for pool, metric in (("none", "h"), ("sum", "pooled_h")):
        assert wide.loc[(pool, metric), "geodesic"] < wide.loc[(pool, metric), "slerp"]


def test_the_flat_null_is_the_same_path_under_the_linearised_map(curves, context):
    table, t = curves.more_tables["flatness"], context.model.schedule.T
    own = table[table["metric"].isin(["h", "pooled_h"])]
    lerps, others = own[own["path"] == "lerp"], own[own["path"].isin(["slerp", "geodesic"])]
    assert lerps["flatness_ratio_linear"].to_numpy() == pytest.approx(1, abs=1e-5)
    assert lerps["bend_linear"].to_numpy() == pytest.approx(0, abs=1e-4)
    assert (lerps["bend"] > 0.01).all()
    assert (others["flatness_ratio_linear"] > 1.01).all()
    assert table.loc[~table.index.isin(own.index), "flatness_ratio_linear"].isna().all()
    a, b = (context.latents.of(sample, t) for sample in context.samples[:2])
    middle = slerp(a, b, torch.tensor([0.5]))[0]
    jacobian = JacobianOperator(context.bases.feature_map(t), a)
    half, whole = (jacobian.mv((x - a).reshape(-1, 1)).double().flatten() for x in (middle, b))
    expected = 2 * (half.square().sum() + (whole - half).square().sum()) / whole.square().sum()
    found = own[(own["path"] == "slerp") & (own["metric"] == "h")]["flatness_ratio_linear"]
    assert list(found) == pytest.approx([expected.item()] * 2, rel=1e-4)


def test_straightness_in_the_factors_is_told_with_the_distance_from_the_data(curves):
    assert (curves.table["z_deviation"] > 0).all()
    assert (curves.table["attribute_deviation"] > 0).all()
    assert curves.table["off_data"].between(0, 0.5).all()


@pytest.mark.parametrize("pool", POOLS)
def test_the_control_in_x_is_as_long_as_slerp_in_equal_pieces(curves, pool):
    steps = pieces(curves, "shooting_x", pool)["x_step"]
    assert steps.to_numpy() == pytest.approx(steps.mean(), rel=1e-4)
    assert path(curves, "shooting_x", pool)["x_length"] == pytest.approx(
        path(curves, "slerp", pool)["x_length"], rel=1e-4
    )


@pytest.mark.parametrize("pool", POOLS)
def test_a_shot_walks_about_the_distance_between_its_ends_in_h(curves, context, pool):
    f = context.bases.feature_map(
        context.model.schedule.T, replace(context.cfg.feature, pool=None if pool == "none" else pool)
    )
    a, b = (f(context.latents.of(s, context.model.schedule.T)) for s in context.samples[:2])
    first = pieces(curves, "shooting", pool)["h_step"].iloc[0]
    assert first == pytest.approx((b - a).norm().item() / 2, rel=0.1)  # to first order


def test_lengths_are_the_sums_of_their_segments(curves):
    segments = curves.more_tables["segments"]
    for (pool, name), part in segments.groupby(["pool", "path"]):
        row = path(curves, name, pool)
        assert row["segments"] == len(part) == 2
        for total, piece in (
            ("length", "curvedness"),
            ("length_soft", "curvedness_soft"),
            ("x_length", "x_step"),
            ("h_length", "h_step"),
        ):
            assert row[total] == pytest.approx(part[piece].sum(), rel=1e-6)
        assert row["perceptual_length"] == pytest.approx(part["perceptual"].mean(), rel=1e-5)
        assert (part["curvedness"] <= math.sqrt(4) * math.pi / 2).all()


def test_the_curvedness_of_a_segment_is_the_angle_of_the_dense_tangent_spaces(curves, context):
    top = context.model.schedule.T
    f = context.bases.feature_map(top, replace(context.cfg.feature, pool="sum"))
    a, b = (context.latents.of(s, top) for s in context.samples[:2])
    jacobians = [JacobianOperator(f, x).dense().double() for x in (a, (a + b) / 2)]
    u, v = (torch.linalg.svd(j, full_matrices=False).U[:, :4].numpy() for j in jacobians)
    expected = np.linalg.norm(subspace_angles(u, v))
    assert pieces(curves, "lerp", "sum")["curvedness"].iloc[0] == pytest.approx(expected, rel=1e-3)


def test_walks_and_lengths_use_the_same_number_of_directions(curves, context):
    """The shot is walked again in n directions, and in n + 1, as it was before, whose length is another one."""
    top, n = context.model.schedule.T, context.cfg.study["curvedness"].rank
    feature = replace(context.cfg.feature, pool="sum")
    f = context.bases.feature_map(top, feature)
    a, b = (context.latents.of(s, top) for s in context.samples[:2])

    def length(walked):
        at = lambda x: context.bases.at(x, top, feature=feature, rank=n + 1, tol=1e-3).truncated(walked)  # noqa: E731
        shot = shoot_between(f, at, a, b, segments=2)
        return semantic_path_length([basis.truncated(n) for basis in shot.bases]), shot.points

    expected, points = length(n)
    found = path(curves, "shooting", "sum")
    assert found["rank"] == n
    assert found["length"] == pytest.approx(expected, rel=1e-3)
    assert found["x_length"] == pytest.approx((points[1:] - points[:-1]).flatten(1).norm(dim=1).sum().item(), rel=1e-3)
    assert length(n + 1)[0] != pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("rule", ["share", pytest.param("gap", marks=pytest.mark.nightly)])
def test_a_rule_chooses_n_by_the_ends_and_every_point_has_n_directions(context, rule):
    cfg = replace(context.cfg.study["curvedness"], rule=rule, pools=["sum"], paths=["lerp", "shooting"], rank=6)
    cfg = replace(cfg, perceptual=False)
    table = run_study("curvedness", context, cfg).table
    top, feature = context.model.schedule.T, replace(context.cfg.feature, pool="sum")
    points = [context.latents.of(sample, top) for sample in context.samples.first(2)]
    ends = [context.bases.at(x, top, feature=feature, rank=9, tol=1e-3) for x in points]
    bases = [basis.truncated(7 if rule == "share" else 9) for basis in ends]
    assert set(table["rank"]) == {common_rank(bases, 6, rule)}


# --- spectrum


def test_the_energy_of_the_whole_jacobian_against_the_dense_one(context):
    cfg = replace(context.cfg, data=replace(context.cfg.data, samples=1))
    pooled = replace(context, cfg=replace(cfg, feature=replace(cfg.feature, pool="sum")))
    table = run_study("spectrum", pooled, SpectrumConfig(rank=6, kinds=["path", "noised"])).table
    assert set(table["kind"]) == {"path", "noised"}
    [portrait] = known_portraits(pooled, 1)
    for row in table.to_dict("records"):
        path = row["kind"] == "path"
        x = pooled.latents.of(pooled.samples[0], row["t"]) if path else portrait.latent(pooled, row["t"])
        f = pooled.bases.feature_map(row["t"])
        energy = torch.linalg.svdvals(JacobianOperator(f, x).dense().double()).square()
        assert row["energy"] == pytest.approx(energy.sum().item(), rel=0.15)
        share = energy[: row["rank"]].sum() / energy.sum()
        assert row["energy_share"] == pytest.approx(share.item(), rel=0.15)
        truth = int((energy.cumsum(0) < energy.sum() / 2).sum()) + 1
        if share < 0.4:
            assert math.isnan(row["half_energy_rank"])
        elif share > 0.6:
            assert row["half_energy_rank"] == pytest.approx(truth, abs=1)


# --- ablation


def test_matched_edits_change_the_picture_by_what_was_wanted(ablation):
    table = ablation.table
    assert set(table["variant"]) == {"local", "global", "random", "no_normalisation", "pooled h", "pca_h_gradient"}
    off = (table["change"] / table["change_wanted"] - 1).abs()
    assert (table["matched"] == (off <= 0.1)).all()
    assert table["matched"].sum() >= 3
    assert bool(table.loc[table["variant"] == "local", "matched"].all())
    assert table["change_wanted"].nunique() == 1


def test_edits_at_several_timesteps_have_a_table_of_their_own_and_a_change_for_each(ablation):
    times = ablation.more_tables["times"]
    at_top = times[times["t_frac"] == 1].reset_index(drop=True)
    pd.testing.assert_frame_equal(at_top, ablation.table[list(times.columns)])
    assert set(ablation.table.columns) - set(times.columns) == {"frame"}
    wanted = times.groupby("t_frac")["change_wanted"].unique()
    assert list(wanted.index) == [0.5, 1.0]
    assert all(len(one) == 1 for one in wanted)
    assert wanted[0.5][0] != wanted[1.0][0]
    assert set(times.loc[times["t_frac"] == 0.5, "variant"]) == set(ablation.table["variant"])


def test_the_wanted_change_is_what_the_local_basis_does_at_the_runs_strength(ablation, context):
    sample, t = context.samples[0], context.model.schedule.T
    pictures = context.decoder(context.editor.traverse(sample, t, 0), t, sample)  # −γ, 0, γ
    before, after = context.predictor(pictures[1:])
    wanted = context.perceptual(pictures[2:], pictures[1:2]).item()
    assert ablation.table["change_wanted"].iloc[0] == pytest.approx(wanted, rel=0.02)
    # the local edit therefore needs that strength, and moves those attributes
    (row,) = ablation.table[ablation.table["variant"] == "local"].to_dict("records")
    assert row["gamma"] == pytest.approx(context.editor.gammas[-1].item(), rel=0.2)
    assert row["on_target"] == pytest.approx((after - before).abs().max().item(), rel=0.3)


def test_the_pictures_are_those_that_the_rows_measure(ablation, context):
    table, frames = ablation.table, pictures_of(ablation.tensors["frames"])
    assert len(frames) == 1 + len(table)  # the unedited picture first
    changes = context.perceptual(frames[1 + table["frame"].to_numpy()], frames[:1])
    np.testing.assert_allclose(changes, table["change"], rtol=0.05)
    moved = (context.predictor(frames[1:]) - context.predictor(frames[:1])).abs()
    np.testing.assert_allclose(moved.amax(dim=1), table["on_target"], rtol=0.1, atol=0.1)


def test_strengths_stay_within_the_limit_and_the_rest_moves_less_than_the_target(ablation, context):
    table = ablation.table
    assert (table["gamma"] > 0).all()
    assert (table["gamma"] <= 8 * context.editor.gammas[-1].item() * (1 + 1e-6)).all()
    assert (table["on_target"] >= table["off_target_max"]).all()
    assert (table["off_target_max"] >= table["off_target"]).all()
    np.testing.assert_allclose(table["precision"], table["on_target"] / table["off_target"], rtol=1e-5)


@pytest.mark.slow
def test_pure_noise_of_a_flow_holds_no_picture_to_normalise_an_edit_against():
    few = ["study.ablation.variants=[local,no_normalisation]", "study.ablation.directions=1", "svd.rank=2"]
    words = ["model=factor_faces_flow", "study=[ablation]", "scale=smoke", "schedule.steps=4", "store.path=null"]
    top = run_study("ablation", settings(*words, *few))
    assert set(top.table["variant"]) == {"local"}
    assert "equal_length" not in top.more_tables, "nothing to compare"
    below = run_study("ablation", settings(*words, *few, "study.ablation.t_frac=0.5"))
    assert set(below.table["variant"]) == {"local", "no_normalisation"}


def test_edits_of_equal_length_are_as_long_as_the_local_ones_and_decoded_without_clipping(ablation, context):
    table, sample, t = ablation.tables()["ablation_equal_length"], context.samples[0], context.model.schedule.T
    assert list(table["variant"]) == ["local", "random", "no_normalisation"]
    (local,) = ablation.table.loc[ablation.table["variant"] == "local", "x_change"]
    np.testing.assert_allclose(table["x_change"], local, rtol=1e-5)
    x, v = context.latents.of(sample, t), random_in_x(context, 1, sample)[:, 0]
    moved = context.editor.move(x, v, torch.tensor([0.0, local]), t, sample)
    before, after = context.decoder(moved, t, sample, clip=False).split(1)
    (row,) = table[table["variant"] == "random"].to_dict("records")
    assert row["change"] == pytest.approx(context.perceptual(after, before).item(), rel=1e-2)
    assert row["clipped_change"] == pytest.approx((clipped_share(after) - clipped_share(before)).item(), abs=2e-3)
    residuals = denoising_residual(context.model, torch.cat([before, after]).clamp(-1, 1))
    assert row["residual_change"] == pytest.approx((residuals[1] - residuals[0]).item(), rel=2e-2)
    noise = (high_frequency_share(after) - high_frequency_share(before)).item()
    assert noise > 0
    assert row["noise_change"] == pytest.approx(noise, rel=5e-2)
    assert row["off_data"] == pytest.approx(context.data_distance(after.clamp(-1, 1)).item(), rel=2e-2)


def test_components_of_h_are_pulled_back_by_the_transpose_without_projection(context):
    sample, t = context.samples[0], context.model.schedule.T
    x, u = context.latents.of(sample, t), pca_directions(features(context, 8, t), 2).U
    v = gradients_in_h(context, u, x, t)
    pulled = JacobianOperator(context.bases.feature_map(t), x).rmv(u)
    torch.testing.assert_close(v, pulled / pulled.norm(dim=0), rtol=1e-4, atol=1e-6)
    basis = context.bases.of(sample, t)
    inside = (basis.V.T @ v).norm(dim=0)
    assert bool((inside < 0.95).all()), "components projected to the tangent space would lie in it"


def test_the_untrained_null_is_that_of_the_network_with_random_weights(consistency, context):
    table = consistency.tables()["global_consistency_overlaps"]
    top, low = table[table["t_frac"] == 1], table[table["t_frac"] < 1]
    assert top["untrained_best_match"].between(0, 1).all()
    assert low["untrained_best_match"].isna().all()
    leading = top[top["direction"] < 3]
    assert leading["best_match"].mean() > leading["untrained_best_match"].mean() + 0.2
    other, t, rank = context.model.untrained(), context.model.schedule.T, int(top["rank"].iloc[0])
    pair = [
        local_basis(other.feature_map(t), context.latents.of(context.samples[i], t), rank, tol=1e-3) for i in (0, 1)
    ]
    own = top[(top["sample"] == 0) & (top["other"] == 1)]["untrained_best_match"]
    np.testing.assert_allclose(own, (pair[0].U.T @ pair[1].U).abs().amax(dim=1), atol=0.02)


# --- every study


def test_every_table_tells_the_settings_that_its_numbers_depend_on(consistency, tangents, curves, ablation):
    for result in (consistency, tangents, curves, ablation):
        for table in result.tables().values():
            for column, value in (("steps", 4), ("seed", 0), ("svd_tol", 1e-3), ("solver", "golub_kahan")):
                assert (table[column] == value).all()
        for value in result.scalars.values():
            assert math.isfinite(value)


# --- disentanglement


@pytest.fixture(scope="module")
def scored(context, tmp_path_factory):
    cfg = replace(
        context.cfg.study["disentanglement"],
        methods=["local", "nearest", "pca_h", "random"],
        directions=2,
        codes=24,
        draws=20,
        subspace=1,
        levels=[0.5],
    )
    return run_study("disentanglement", context, cfg)


def test_tables_of_matched_edits_tell_how_far_they_move_the_latent(ablation, scored):
    for table in (ablation.table, scored.table):
        assert table["edit_normalise"].all()  # samples are generated
        assert table["edit_rescale"].all()
        assert table["x_change"].to_numpy() == pytest.approx(table["gamma"].to_numpy(), rel=1e-4)


def test_only_held_out_samples_are_scored(scored, context):
    assert set(scored.table["sample"]) == {2, 3}
    assert set(scored.table["method"]) == {"local", "nearest", "pca_h", "random"}
    assert len(scored.table) == 2 * 2 * 4 * 2  # timesteps, samples, methods, directions


def test_precision_is_that_of_the_rows_own_changes(scored, context):
    deltas = [f"delta_{name}" for name in context.predictor.names]
    for row in scored.table.to_dict("records"):
        sizes = np.abs([row[d] for d in deltas])
        on = deltas.index(f"delta_{row['target']}")
        off = np.delete(sizes, on)
        assert row["precision"] == pytest.approx(sizes[on] / (off.mean() + 1e-8), rel=1e-4)
        assert row["dependency_max"] == pytest.approx(off.max(), rel=1e-4)
        assert row["precision_own"] == pytest.approx(
            sizes.max() / (np.delete(sizes, sizes.argmax()).mean() + 1e-8), rel=1e-4
        )


def test_held_out_targets_come_from_the_other_sample(scored, context):
    deltas = [f"delta_{name}" for name in context.predictor.names]
    table = scored.table.set_index(["t_frac", "method", "direction", "sample"])
    for (t_frac, method, direction, sample), row in table.iterrows():
        other = table.loc[(t_frac, method, direction, 5 - sample)]
        assert row["target"] == context.predictor.names[np.abs(other[deltas].to_numpy(float)).argmax()]


def test_changes_are_those_of_the_pictures_in_standard_deviations(scored, context):
    pictures = pictures_of(scored.tensors["frames"])
    first = scored.table[scored.table["sample"] == scored.table["sample"].iloc[0]]
    ratios = []
    for _, block in first.groupby("t_frac"):
        original = context.predictor(pictures[block["frame"].min() - 1][None])
        for row in block.to_dict("records"):
            raw = (context.predictor(pictures[row["frame"]][None]) - original)[0].numpy()
            found = np.array([row[f"delta_{name}"] for name in context.predictor.names])
            ratios.append(np.where(np.abs(raw) > 0.3, found / raw, np.nan))
    ratios = np.stack(ratios)
    seen = np.isfinite(ratios).sum(axis=0) >= 2
    assert seen.sum() >= 3
    # one scale an attribute: one over its spread among unedited faces (uniform factors: about √3)
    spread = np.nanstd(ratios[:, seen], axis=0) / np.nanmean(ratios[:, seen], axis=0)
    assert (spread < 0.1).all()
    assert np.nanmean(ratios[:, seen]) == pytest.approx(math.sqrt(3), rel=0.3)


def test_the_scorecard_repeats_the_means_of_the_table(scored):
    card = scored.more_tables["scorecard"]
    for (t_frac, method), rows in scored.table.groupby(["t_frac", "method"]):
        part = card[(card["t_frac"] == t_frac) & (card["method"] == method)].set_index("metric")
        for name in ("precision", "precision_own", "dependency_mean", "gamma", "ssim"):
            assert part.loc[name, "value"] == pytest.approx(rows[name].mean(), rel=1e-5)
            assert part.loc[name, ["low", "high"]].isna().all(), "two samples are too few for an interval"
        if method != "random":
            random = scored.table[(scored.table["t_frac"] == t_frac) & (scored.table["method"] == "random")]
            gain = rows["precision"].mean() - random["precision"].mean()
            assert part.loc["precision_gain", "value"] == pytest.approx(gain, rel=1e-4)


def test_codes_are_scored_for_directions_of_h_alone(scored):
    card = scored.more_tables["scorecard"]
    of_codes = card[card["metric"].isin(["dci_d", "dci_c", "dci_i", "mig", "sap", "factor_vae"])]
    assert set(of_codes["method"]) == {"nearest", "pca_h", "random"}
    assert of_codes["value"].between(0, 1).all()
    assert of_codes["null"].between(0, 1).all()


def test_the_rescoring_matrix_is_the_mean_over_samples(scored):
    table = scored.more_tables["rescoring"]
    row = table.iloc[5]
    edits = scored.table[
        (scored.table["t_frac"] == row["t_frac"])
        & (scored.table["method"] == row["method"])
        & (scored.table["direction"] == row["direction"])
    ]
    assert row["score"] == pytest.approx(edits[f"delta_{row['attribute']}"].mean(), rel=1e-5)
    assert row["effect"] == pytest.approx(edits[f"delta_{row['attribute']}"].abs().mean(), rel=1e-5)


def test_two_samples_give_the_rescoring_matrix_no_intervals(scored):
    assert set(scored.more_tables["rescoring"]["samples"]) == {2}
    assert scored.more_tables["rescoring"][["low", "high"]].isna().all(axis=None)


def test_dependency_by_bins_counts_every_edit_at_every_strength(scored):
    table = scored.more_tables["dependency"]
    pareto = scored.more_tables["pareto"]
    assert table["edits"].sum() == len(pareto)
    for row in table.to_dict("records"):
        inside = pareto[
            (pareto["t_frac"] == row["t_frac"])
            & (pareto["method"] == row["method"])
            & pareto["on_target"].between(row["from"], row["to"], inclusive="left")
        ]
        assert row["edits"] == len(inside)
        assert row["dependency"] == pytest.approx(inside["collateral"].mean(), rel=1e-4)


def test_the_gain_of_matched_edits_leaves_the_others_out(scored):
    card = scored.more_tables["scorecard"]
    part = card[card["metric"] == "precision_gain_matched"]
    assert len(part) == 2 * 3  # timesteps, methods other than random
    for row in part.to_dict("records"):
        edits = scored.table[(scored.table["t_frac"] == row["t_frac"]) & scored.table["matched"]]
        means = edits.groupby(["method", "sample"])["precision"].mean()
        if row["method"] in means.index and "random" in means.index:
            difference = (means[row["method"]] - means["random"]).dropna()
            if len(difference):
                assert row["value"] == pytest.approx(difference.mean(), rel=1e-4)
            assert row["n"] == len(difference)


def test_weaker_edits_change_less_on_average(scored):
    pareto = scored.more_tables["pareto"]
    mean = pareto.groupby("level")["on_target"].mean()
    assert mean[0.5] < mean[1.0]


def test_shares_of_effects_add_up_to_one_and_name_the_best_timestep(scored):
    timing = scored.more_tables["timing"]
    total = timing.groupby(["t_frac", "method", "place"])["share"].sum()
    assert total.to_numpy() == pytest.approx(1)
    assert set(timing["best_t_frac"]) <= {1.0, 0.5}


def test_the_tangent_space_holds_at_least_its_best_axis(scored, context):
    inside = scored.more_tables["subspace"]
    assert (inside["subspace"] >= inside["single"] - 1e-6).all()
    assert (inside["subspace"] >= inside["varimax"] - 1e-6).all()
    assert inside["subspace"].between(0, 1 + 1e-6).all()
    # a random axis of a random rotation: between the mean square and the whole
    assert (inside["random"] >= inside["subspace"] / np.sqrt(inside["rank"]) - 1e-9).all()
    assert (inside["random"] <= inside["subspace"]).all()
    row = inside.iloc[0]
    sample = context.samples[row["sample"]]
    basis, x = context.bases.of(sample, row["t"]), context.latents.of(sample, row["t"])
    names = list(context.predictor.names)

    def value(step):
        moved = x + step
        x0 = context.model.schedule.predict_x0(moved, context.model.predict_noise(moved[None], row["t"])[0], row["t"])
        return context.predictor(context.model.decode(x0[None]))[0, names.index(row["attribute"])].item()

    # slopes along every axis, by differences: the steepest is the best single direction's share of the gradient
    slopes = [(value(0.05 * v.reshape(x.shape)) - value(-0.05 * v.reshape(x.shape))) / 0.1 for v in basis.V.T]
    assert max(map(abs, slopes)) == pytest.approx(row["gradient"] * row["single"], rel=0.15, abs=2e-3)
    assert np.linalg.norm(slopes) == pytest.approx(row["gradient"] * row["subspace"], rel=0.15, abs=2e-3)


def test_directions_are_saved_scored_again_and_refused_elsewhere(scored, context, tmp_path):
    found = scored.directions["nearest_1T"]
    assert found.labels is not None
    path = save_directions(tmp_path / "published.safetensors", found)
    cfg = replace(context.cfg.study["disentanglement"], methods=["nearest"], files=[str(path)], t_fracs=[1.0], **SMALL)
    again = run_study("disentanglement", context, cfg).table
    own, file = (again[again["method"] == m].set_index(["sample", "direction"]) for m in ("nearest", "file published"))
    assert file["precision"].to_numpy() == pytest.approx(own["precision"].to_numpy(), rel=1e-5)
    elsewhere = save_directions(tmp_path / "other.safetensors", replace(found, block="down.0"))
    with pytest.raises(DirectionsError, match=r"block down.0, not mid"):
        run_study("disentanglement", context, replace(cfg, files=[str(elsewhere)]))
    between = save_directions(tmp_path / "between.safetensors", replace(found, t=123))
    with pytest.raises(DirectionsError, match=r"schedule.steps=4"):
        run_study("disentanglement", context, replace(cfg, files=[str(between)]))


SMALL = {"directions": 1, "codes": 12, "draws": 5, "subspace": 0, "levels": []}


def test_without_a_predictor_the_study_says_so(context, caplog):
    blind = replace(context, predictor=None)
    result = run_study("disentanglement", blind, context.cfg.study["disentanglement"])
    assert result.table.empty
    assert "needs an attribute predictor" in caplog.text


def test_generated_pictures_serve_where_factors_are_not_known(context):
    cfg = replace(context.cfg.study["disentanglement"], methods=["nearest"], renders=False, t_fracs=[1.0], **SMALL)
    card = run_study("disentanglement", context, cfg).more_tables["scorecard"]
    assert "dci_d" in set(card["metric"])
