"""What an independent check measured on the shipped model with code of its own, measured again here; minutes.

The check's portraits and their number are not known, so a value agrees if it lies where 99 % of single further
portraits would, by the spread over ours (Student's prediction interval, one spread for all timesteps of a table).
Fig. 9's values are in ``test_claims_on_faces.py``, those of the exact tangent space in ``test_tangent_truth.py``.
"""

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.stats import t as student

from diffgeo.api import run_study, settings
from diffgeo.data.factor_faces import render, sample_factors
from diffgeo.geometry import best_match, effective_dimension, half_energy_rank, random_overlaps
from diffgeo.jacobian import JacobianOperator
from diffgeo.metrics.attributes import load_predictor
from diffgeo.session import Context
from diffgeo.session.samples import Sample
from diffgeo.studies.curvedness.claims import _ends, _longer
from diffgeo.studies.dataset_complexity.claims import _by_sample
from diffgeo.studies.global_consistency.claims import _cosine_agrees
from diffgeo.studies.shared.matching import random_in_x

pytestmark = pytest.mark.nightly

COMMON = ("device=cpu", "tracking=none", "store.enabled=false", "scale=smoke")
SAMPLES = 3


def context_of(model, *words, study="spectrum"):
    return Context(model, settings(*COMMON, f"study=[{study}]", f"scale.samples={SAMPLES}", *words))


def prediction_interval(values, level=0.99):
    """Ends of where single further values lie; values of shape (cells, samples), with one relative spread for all."""
    values = np.asarray(values, dtype=float)
    cells, n = values.shape
    mean = values.mean(1)
    relative = np.sqrt(((values / mean[:, None] - 1) ** 2).sum() / (cells * (n - 1)))
    width = student.ppf(0.5 + level / 2, cells * (n - 1)) * relative * np.sqrt(1 + 1 / n) * mean
    return mean - width, mean + width


def assert_agrees(values, known):
    low, high = prediction_interval(values)
    inside = (low <= known) & (known <= high)
    assert inside.all(), f"measured {np.round(np.mean(values, 1), 3)}, from {low} to {high}, known {known}"


def test_fig_3b_the_spectrum_flattens_from_t_to_03_and_widens_again_towards_the_picture(shipped):
    fractions, known = [1.0, 0.7, 0.5, 0.3, 0.1, 0.05], np.array([38.7, 34.5, 27.3, 26.5, 34.5, 36.1])
    context = context_of(shipped, "schedule.steps=20", f"schedule.edit={fractions}", "svd.rank=50", "svd.tol=1e-2")
    bases = [[context.bases.of(sample, t) for sample in context.samples] for _, t in context.edit_times]
    found = np.array([[effective_dimension(basis.s) for basis in row] for row in bases])
    by_fraction = dict(zip(fractions, found, strict=True))
    assert (by_fraction[1.0] > by_fraction[0.7]).all()
    assert (by_fraction[0.7] > by_fraction[0.3]).all()
    assert (by_fraction[0.05] > by_fraction[0.3]).all()
    assert_agrees(found, known)


def test_half_of_the_energy_lies_in_more_directions_than_are_kept(shipped):
    """Half of ‖J‖² at T: 17 directions of the leading 50's, 116 of the whole J's.

    ‖J‖² is that of all columns here. The estimate by 64 probes, which tables rest on, is about 1 % above it on these
    portraits, by which 116 becomes 119: within its standard error √(2 / (probes · r)).
    """
    context = context_of(shipped, "svd.rank=130", "svd.tol=1e-2", "schedule.edit=[1.0]")
    t, among_kept, of_all = shipped.schedule.T, [], []
    for sample in context.samples:
        x, basis = context.latents.of(sample, t), context.bases.of(sample, t)
        s, jacobian = basis.s.double(), JacobianOperator(context.bases.feature_map(t), x)
        columns = torch.eye(jacobian.shape[1]).split(256, dim=1)
        exact = sum(jacobian.mv(some).double().square().sum().item() for some in columns)
        among_kept.append(half_energy_rank(s[:50], s[:50].square().sum().item()))
        of_all.append(half_energy_rank(s, exact))
        error = math.sqrt(2 / (64 * effective_dimension(s)))
        assert context.bases.energy(x, t, basis) == pytest.approx(exact, rel=3 * error)
    assert not any(math.isnan(one) for one in of_all)
    np.testing.assert_allclose(among_kept, 17, atol=1)
    np.testing.assert_allclose(of_all, 116, atol=2)


def ratios(context, directions_of):
    """‖x'−x‖/γ of the formula alone, shape (timesteps, samples), means over directions."""
    gamma, found = context.editor.gammas[-1], []
    for _, t in context.edit_times:
        row = []
        for sample in context.samples:
            x, steps = context.latents.of(sample, t), gamma * directions_of(sample, t)
            moved = context.editor.displace(x, steps.T.reshape(-1, *x.shape), t, sample)
            row.append(((moved - x).flatten(1).norm(dim=1) / gamma).mean().item())
        found.append(row)
    return np.array(found)


def test_the_formula_alone_steps_several_times_as_far_as_gamma_and_the_default_steps_gamma(shipped):
    """‖x'−x‖/γ of the leading five directions: 6.2, 8.9, 8.2, 2.6; of random ones 1.9 to 0.3.

    How many directions the check's mean is over is not known: of two it is 8.4 at T here, of five 6.2, of ten 4.7.
    """
    times = ("schedule.steps=20", "schedule.edit=[1.0,0.75,0.5,0.25]", "svd.rank=5", "svd.tol=1e-2")
    bounded = context_of(shipped, *times)
    formula = context_of(shipped, *times, "edit.rescale=false")
    local, random = (lambda sample, t: formula.bases.of(sample, t).V), lambda sample, _: random_in_x(formula, 5, sample)
    np.testing.assert_allclose(ratios(bounded, local), 1, rtol=1e-3)
    far, near = ratios(formula, local).mean(axis=1), ratios(formula, random).mean(axis=1)
    np.testing.assert_allclose(far, [6.2, 8.9, 8.2, 2.6], rtol=0.15)
    np.testing.assert_allclose(near[[0, -1]], [1.9, 0.3], rtol=0.2)
    assert (np.diff(near) < 0).all()


def test_noise_follows_a_step_less_than_the_normalisation_takes_it_to(shipped):
    """‖Δε‖/‖Δx‖ along local directions of generated samples, where P23a takes .99: .957 at T, .724 at 0.5T."""
    context = context_of(shipped, "schedule.steps=40", "schedule.edit=[1.0,0.5]", "svd.rank=2", "svd.tol=1e-2")
    gamma, found = context.editor.gammas[-1], []
    for _, t in context.edit_times:
        for sample in context.samples:
            x, v = context.latents.of(sample, t), context.bases.of(sample, t).V
            points = torch.cat([x[None], x + gamma * v.T.reshape(-1, *x.shape)])
            with torch.no_grad():
                noise = shipped.predict_noise(points, t)
            found.append(((noise[1:] - noise[0]).flatten(1).norm(dim=1) / gamma).mean().item())
    np.testing.assert_allclose(np.reshape(found, (2, SAMPLES)).mean(axis=1), [0.957, 0.724], atol=0.04)


def saturated(context, sample, t):
    """Share of pixel values at 0 or 255 of edits along two directions: by half of the strength, by all of it."""
    x, v = context.latents.of(sample, t), context.bases.of(sample, t).V
    moved = torch.cat([context.editor.move(x, v[:, i], context.editor.gammas, t, sample) for i in range(2)])
    pictures = (context.decoder(moved, t, sample).clamp(-1, 1) + 1) * 127.5
    limits = ((pictures.round() == 0) | (pictures.round() == 255)).float().mean((1, 2, 3)).reshape(2, 5)
    return [limits[:, [1, 3]].mean().item(), limits[:, [0, 4]].mean().item()]


def test_the_formula_alone_saturates_inverted_pictures_and_the_plain_step_does_not(shipped):
    """Three renders, |γ| = 1.66 and 3.33: .53 and .85 at T, .17 and .63 at 0.75T."""
    words = ("schedule.steps=40", "schedule.edit=[1.0,0.75]", "svd.rank=2", "svd.tol=1e-2", "scale.frames=5")
    factors = torch.cat([sample_factors(1, generator=torch.Generator().manual_seed(seed)) for seed in range(SAMPLES)])
    samples = [Sample(i, f"face {i}", x0, None) for i, x0 in enumerate(render(factors).clamp(-1, 1))]
    formula = context_of(shipped, *words, "edit.normalise=true", "edit.rescale=false")
    plain = context_of(shipped, *words)
    assert formula.editor.gammas.abs().unique()[1:].tolist() == pytest.approx([1.66, 3.33], abs=0.01)
    for (_, t), known in zip(formula.edit_times, [(0.53, 0.85), (0.17, 0.63)], strict=True):
        assert max(max(saturated(plain, sample, t)) for sample in samples) < 0.02
        np.testing.assert_allclose(np.mean([saturated(formula, one, t) for one in samples], axis=0), known, atol=0.15)


def test_the_formula_alone_saturates_samples_that_no_step_clips_and_the_default_does_not(shipped):
    """Generated samples with ``schedule.clip=false``, |γ| = 3.33: .94."""
    words = ("schedule.steps=40", "schedule.edit=[1.0]", "schedule.clip=false", "svd.rank=2", "svd.tol=1e-2")
    formula = context_of(shipped, *words, "scale.frames=5", "edit.normalise=true", "edit.rescale=false")
    default, t = context_of(shipped, *words, "scale.frames=5"), shipped.schedule.T
    assert max(max(saturated(default, sample, t)) for sample in default.samples) < 0.02
    assert np.mean([saturated(formula, one, t)[1] for one in formula.samples]) == pytest.approx(0.94, abs=0.03)


def assert_same_mean(values, known, of=8):
    """A mean of ``of`` values that are not known lies where that of as many further ones would, at 99 %."""
    n = len(values)
    width = student.ppf(0.995, n - 1) * np.std(values, ddof=1) * np.sqrt(1 / n + 1 / of)
    assert abs(np.mean(values) - known) < width, f"measured {np.mean(values):.3f} ± {width:.3f}, known {known}"


def test_untrained_networks_align_their_directions_more_than_random_frames_do(shipped):
    """Fig. 3a at n = 25: of random frames 95 % of best matches are below .034; an untrained network's mean is .128."""
    context = context_of(shipped, "schedule.steps=20", "schedule.edit=[1.0]", "svd.rank=25", "svd.tol=1e-2")
    t, found = shipped.schedule.T, []
    points = [context.latents.of(sample, t) for sample in context.samples]
    for seed in range(3):
        bases = [context.with_model(shipped.untrained(seed)).bases.at(x, t) for x in points]
        pairs = permutations(bases, 2)
        found.append(np.mean([best_match(a, b)[:3].mean().item() for a, b in pairs]))
    limit = random_overlaps(len(bases[0].U), 25, 1, draws=999, seed=0).abs().amax(dim=-1).quantile(0.95).item()
    assert limit == pytest.approx(0.034, abs=0.001)
    assert min(found) > 2 * limit
    assert np.mean(found) == pytest.approx(0.128, rel=0.25)


def test_fig_6_one_global_direction_changes_held_out_samples_alike(shipped):
    """Signed cosine of its changes less that of two directions, five held-out samples: .92 [.71, 1.13], all above 0."""
    words = ("schedule.steps=20", "schedule.edit=[1.0]", "svd.rank=25", "svd.tol=1e-2", "data.samples=8")
    cfg = context_of(shipped, *words, study="global_consistency").cfg
    result = run_study("global_consistency", Context(shipped, cfg, load_predictor()), cfg.study["global_consistency"])
    values = _cosine_agrees(result.tables())
    assert len(values) == 5
    assert (values > 0).all()
    assert_same_mean(values, 0.92, of=5)
    table = result.tables()["global_consistency_agreement"]
    same = table["direction"] == table["other_direction"]
    unsigned = table[same]["cosine"].mean() - table[~same]["cosine"].abs().mean()
    assert unsigned < values.mean() / 2, "absolute cosines of other directions hide it"


def curvedness_of(model, pairs, pool, paths):
    """Tables of paths of ten segments at T, tangent spaces of 25 directions."""
    sizes = ("segments=10", "rank=25", "perceptual=false", f"pairs={pairs}", f"pools=[{pool}]")
    words = [f"study.curvedness.{word}" for word in (*sizes, f"paths=[{','.join(paths)}]")]
    context = context_of(model, "schedule.steps=20", *words, study="curvedness")
    return run_study("curvedness", context, context.cfg.study["curvedness"]).tables()


def test_two_pairs_of_whole_h_differ_in_the_order_of_their_paths(shipped):
    """Two pairs: lerp 5.1, 6.6; slerp 5.3, 6.0; shooting 6.3, 6.1 rad, which depends on how the walk is aimed."""
    table = curvedness_of(shipped, 2, "none", ["lerp", "slerp", "shooting"])["curvedness"]
    lengths = table.pivot_table(index="path", columns="pair", values="length")
    np.testing.assert_allclose(lengths.loc["lerp"], [5.1, 6.6], atol=0.06)
    np.testing.assert_allclose(lengths.loc["slerp"], [5.3, 6.0], atol=0.06)
    np.testing.assert_allclose(lengths.loc["shooting"], [6.3, 6.1], rtol=0.15)
    assert np.sign(lengths.loc["lerp"] - lengths.loc["slerp"]).tolist() == [-1, 1]


def test_shooting_walks_in_the_tangent_spaces_that_it_is_measured_by(shipped):
    """Mean of eight pairs, pooled h: 2.155 rad; by a walk of one direction more it was 2.226."""
    table = curvedness_of(shipped, 8, "sum", ["shooting"])["curvedness"]
    assert table["length"].mean() == pytest.approx(2.155, abs=0.02)
    assert table["miss_x"].mean() == pytest.approx(0.996, abs=0.005), "it ends hardly nearer to the other sample"


def test_the_soft_cut_finds_lerp_curved_at_its_ends_and_a_geodesic_shorter_than_slerp(shipped):
    """Lerp +0.036 [0.028, 0.043], slerp 0 (Fig. 7c); slerp less a geodesic +0.033 [0.018, 0.048] (Table 1)."""
    tables = curvedness_of(shipped, 4, "sum", ["lerp", "slerp", "geodesic"])
    ends = {path: _ends(path, "curvedness_soft")(tables) for path in ("lerp", "slerp")}
    assert (ends["lerp"] > 0).all()
    assert_same_mean(ends["lerp"], 0.036)
    assert_same_mean(ends["slerp"], 0.0)
    shorter = _longer("slerp", "geodesic", column="length_soft")(tables)
    assert (shorter > 0).all()
    assert_same_mean(shorter, 0.033)
    hard = _ends("lerp", "curvedness")(tables)
    assert np.std(hard, ddof=1) > 5 * np.std(ends["lerp"], ddof=1), "what a cut at n directions adds drowns it"


def test_simpler_data_are_more_consistent_at_t_and_less_so_near_the_picture(shipped):
    """Of the largest distance, 14 − 4 varying factors: T +.033 [.021, .045], .25T −.030, whose mean would hide both."""
    words = ("schedule.steps=20", "schedule.edit=[1.0,0.25]", "svd.rank=25", "svd.tol=1e-2")
    context = context_of(shipped, *words, "study.dataset_complexity.samples=8", study="dataset_complexity")
    tables = run_study("dataset_complexity", context, context.cfg.study["dataset_complexity"]).tables()
    noise, picture = (_by_sample(end)(tables) for end in ("max", "min"))
    assert noise.mean() > 0 > picture.mean()
    assert abs(noise.mean() + picture.mean()) / 2 < noise.mean() / 2, "the mean over t hides both"
    assert_same_mean(noise, 0.033)
    assert_same_mean(picture, -0.030)
