"""The study of the denoiser's Jacobian: what its tables say, against the dense Jacobian of a small network."""

import math

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler

from diffgeo.api import run_study
from diffgeo.composition import check, composed
from diffgeo.errors import ConfigError
from diffgeo.jacobian import JacobianOperator
from diffgeo.runner.prepare import prepare
from diffgeo.studies.shared.matching import output_map
from folders import joint_pipeline

D = 3 * 8 * 8


@pytest.fixture(scope="module")
def settings(tiny_unet, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "8x8"
    DDPMPipeline(tiny_unet(), DDPMScheduler(num_train_timesteps=1000)).save_pretrained(folder)

    def make(*overrides, model=("model=local", "model.dtype=float64")):
        place = [f"model.path={folder}"] if model[0] == "model=local" else []
        words = [*model, *place, "scale=smoke", "device=cpu", "data.samples=2", "tracking=none", "study=[denoiser]"]
        return composed([*words, *overrides])

    return make


def run(cfg):
    context = prepare(cfg)
    return context, run_study("denoiser", context, context.cfg.study["denoiser"])


@pytest.fixture(scope="module")
def exact(settings):
    """With as many probes as dimensions, at one sample and timestep; tests only read it."""
    words = ["samples=1", "t_fracs=[0.5]", f"probes={D}", "rank=6", "directions=2", "lengths=[0.05]"]
    return run(settings("svd.tol=1e-8", *(f"study.denoiser.{word}" for word in words)))


def test_the_tables_agree_with_the_dense_jacobian(exact):
    context, result = exact
    [row] = result.table.to_dict("records")
    sample, t, schedule = context.samples[0], row["t"], context.model.schedule
    a, b = math.sqrt(schedule.alpha(t)), math.sqrt(1 - schedule.alpha(t))
    x = context.latents.of(sample, t)
    f = output_map(context, t, "x0")
    j = JacobianOperator(f, x).dense()
    s = torch.linalg.svdvals(j)
    assert row["energy"] == pytest.approx(j.square().sum().item())
    assert row["norm_share"] == pytest.approx((s[:6].norm() / s.norm()).item())
    assert row["asymmetry"] == pytest.approx(((j - j.T).norm() / j.norm()).item())
    assert row["trace"] == pytest.approx(j.trace().item())
    assert row["posterior_variance"] == pytest.approx(b**2 / a * j.trace().item())
    assert row["energy_error"] == row["asymmetry_error"] == row["trace_error"] == 0
    assert row["log_snr"] == pytest.approx(math.log(a**2 / b**2))

    components = result.more_tables["components"]
    values = torch.linalg.eigvalsh((j + j.T) / 2).flip(0)
    found = components["variance"].to_numpy() * a / b**2
    assert (components["residual"] < 0.2).all()
    # Rayleigh–Ritz: an eigenvalue lies within the residual of each
    for value, residual in zip(found, components["residual"], strict=True):
        assert (values - value).abs().min() <= residual * abs(found[0]) + 1e-9
    np.testing.assert_allclose(components["variance_share"], components["variance"] / row["posterior_variance"])
    assert list(components["frame"]) == [0, 3]
    assert len(result.tensors["frames"]) == 6

    basis = torch.linalg.svd(j)
    for line in result.more_tables["linearity"].to_dict("records"):
        i, step = line["direction"], line["lambda"]
        sign = torch.sign(basis.Vh[i][basis.Vh[i].abs().argmax()])
        v, image = sign * basis.Vh[i].reshape(x.shape), sign * (s[i] * basis.U[:, i]).reshape(x.shape)
        moved, expected = f(x + step * v), f(x) + step * image
        assert abs(step) == pytest.approx(0.05 * math.sqrt(D))
        assert line["norm_ratio"] == pytest.approx((moved.norm() / expected.norm()).item(), rel=1e-5)
        assert line["change_error"] == pytest.approx(((moved - expected).norm() / abs(step) / s[i]).item(), rel=1e-3)

    isometry = result.more_tables["isometry"].set_index("map")
    h = context.bases.of(sample, t)
    assert isometry.loc["x0", "condition"] == pytest.approx((s[0] / s[5]).item(), rel=1e-5)
    assert isometry.loc["h", "condition"] == pytest.approx((h.s[0] / h.s[5]).item(), rel=1e-5)


def test_flipd_is_taken_at_the_clean_picture(exact):
    context, result = exact
    [row] = result.more_tables["dimension"].to_dict("records")
    assert row["t"] == 99  # not among the 8 timesteps of the run
    schedule = context.model.schedule
    a, b = math.sqrt(schedule.alpha(99)), math.sqrt(1 - schedule.alpha(99))
    x = a * context.latents.of(context.samples[0], -1)
    eps = output_map(context, 99, "eps")
    slope = JacobianOperator(eps, x).dense().trace()
    assert row["flipd"] == pytest.approx((D - b * slope + eps(x).square().sum()).item())  # as published
    assert 1 <= row["normal_bundle_centred"] < row["rank"] == 6


@pytest.mark.slow
def test_the_whole_of_j_gives_the_numerical_rank(settings):
    _, part = run(settings("study.denoiser.samples=1", "study.denoiser.t_fracs=[0.5]", "study.denoiser.rank=3"))
    assert part.table["numerical_rank"].isna().all()
    words = [f"rank={D}", "samples=1", "t_fracs=[0.5]", f"probes={D}"]
    context, whole = run(settings(*(f"study.denoiser.{word}" for word in words)))
    t = whole.table["t"].iloc[0]
    s = torch.linalg.svdvals(
        JacobianOperator(output_map(context, t, "x0"), context.latents.of(context.samples[0], t)).dense()
    )
    held = s.square().cumsum(0).sqrt() / s.norm()
    assert whole.table["numerical_rank"].iloc[0] == int((held <= 0.99).sum()) + 1
    assert whole.table["norm_share"].iloc[0] == pytest.approx(1)


@pytest.mark.slow
def test_one_picture_of_ones_own_is_enough(settings, tmp_path):
    from PIL import Image

    Image.new("RGB", (16, 16), "orange").save(tmp_path / "one.png")
    words = ["data=images", f"data.images={tmp_path / 'one.png'}", "data.samples=1", "study.denoiser.rank=4"]
    _, result = run(settings(*words))
    assert set(result.table["name"]) == {"one.png"}
    for table in result.tables().values():
        assert len(table)
        assert set(table["sample"]) == {0}


def test_settings_out_of_range_are_refused(settings):
    for word in ("t_fracs=[0.01]", "probes=1", "rank=1", "lengths=[]", "dimension_t_fracs=[0.0]"):
        with pytest.raises(ConfigError, match=f"study.denoiser.{word.split('=')[0]}"):
            check(settings(f"study.denoiser.{word}"))


@pytest.mark.nightly
def test_it_runs_on_the_latents_of_a_text_to_image_model(settings):
    words = ["prompt=portrait of a face", "study.denoiser.rank=8", "study.denoiser.samples=1"]
    context, result = run(settings(*words, model=("model=factor_faces_t2i",)))
    assert set(result.table["t_frac"]) == {0.5, 0.25}
    assert result.tensors["frames"].shape[-2:] == context.model.picture_shape
    for table in result.tables().values():
        assert np.isfinite(
            table.drop(columns=["numerical_rank", "resolved"], errors="ignore").select_dtypes("number")
        ).all(None)


def test_a_flow_has_no_posterior_components_at_noise_alone(tmp_path):
    joint_pipeline().save_pretrained(tmp_path)
    words = ("model=local_sd", f"model.path={tmp_path}", "prompt=a face", "feature.block=transformer_blocks.0")
    own = ("samples=1", "t_fracs=[1.0,0.5]", "dimension_t_fracs=[0.5]", "probes=4", "rank=4", "directions=1")
    fixed = ("scale=smoke", "device=cpu", "tracking=none", "study=[denoiser]", "model.guidance=1", "predictor=none")
    _, found = run(composed([*words, *fixed, *(f"study.denoiser.{word}" for word in own)]))
    table = found.table.set_index("t_frac")
    assert math.isnan(table.loc[1.0, "posterior_variance"])
    assert math.isfinite(table.loc[0.5, "posterior_variance"])
    assert set(found.more_tables["components"]["t_frac"]) == {0.5}
    assert set(found.more_tables["linearity"]["t_frac"]) == {1.0, 0.5}
