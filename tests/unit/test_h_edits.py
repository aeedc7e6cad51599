"""Edits of h: against forward hooks by hand, in every noise process, and as ``edit=h`` of a run."""

import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import pandas as pd
import pytest
import torch
from PIL import Image

from diffgeo.composition import composed
from diffgeo.diffusion.h_edits import Injection, changed_h, noise_of_h
from diffgeo.diffusion.models import PixelDiffusion, load_model
from diffgeo.diffusion.rectified_flow import RectifiedFlow
from diffgeo.diffusion.sampling import ddim_sample, predicted
from diffgeo.errors import ConfigError, ShapeError
from diffgeo.results import Result
from diffgeo.session import Context, editor
from diffgeo.session.editor import HSpace
from diffgeo.session.store import Store
from diffgeo.studies import Study
from diffgeo.studies.shared.matching import Edit, match_edits, pictures
from diffgeo.svd import local_basis
from folders import joint_pipeline

F64 = torch.float64


def drawn(*shape, seed=0, dtype=F64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64).to(dtype)


def flow(unet):
    return PixelDiffusion(unet, RectifiedFlow(torch.arange(1, 1001, dtype=F64) / 1000), name="flow", source="random")


@pytest.fixture(params=["vp", "flow"])
def model(request, tiny_unet, schedule):
    unet = tiny_unet(dtype=F64)
    return flow(unet) if request.param == "flow" else PixelDiffusion(unet, schedule, name="vp", source="random")


def by_hand(model, x, t, s, delta, *, symmetric):
    """One DDIM step whose mid block is given on h + Δh, by a plain hook and the formula of each process."""
    plain = model.unet(x, model.schedule.network_time(t)).sample
    handle = model.unet.mid_block.register_forward_hook(lambda _module, _inputs, output: output + delta)
    changed = model.unet(x, model.schedule.network_time(t)).sample
    handle.remove()
    a, b = model.schedule.a(t), model.schedule.b(t)
    if isinstance(model.schedule, RectifiedFlow):
        clean, noises = x - b * changed, [x + a * v for v in (changed, plain)]
    else:
        clean, noises = (x - b * changed) / a, [changed, plain]
    return model.schedule.a(s) * clean + model.schedule.b(s) * noises[0 if symmetric else 1]


@pytest.mark.parametrize("symmetric", [True, False])
def test_one_step_is_that_of_a_forward_hook(model, symmetric):
    t, s = 499, 249
    x, delta = drawn(2, 3, 8, 8), drawn(2, 16, 4, 4, seed=1)
    injection = Injection(delta, "mid", t, t, symmetric)
    found = ddim_sample(model, x, steps=4, start=t, stop=s, predict=injection.predict)
    with torch.no_grad():
        wanted = by_hand(model, x, t, s, delta, symmetric=symmetric)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    plain = ddim_sample(model, x, steps=4, start=t, stop=s)
    assert (found - plain).abs().max() > 1e-3
    assert [len(module._forward_hooks) for module in model.unet.modules() if module._forward_hooks] == []


@pytest.mark.parametrize("symmetric", [True, False])
def test_no_change_of_h_is_no_change_to_the_last_digit(model, symmetric):
    x = drawn(2, 3, 8, 8)
    injection = Injection(torch.zeros(2, 16, 4, 4, dtype=F64), "mid", 999, 0, symmetric)
    for how in ({}, {"eta": 1.0, "shared_noise": True}, {"clip": True}):
        one, other = (
            ddim_sample(model, x, steps=4, generator=torch.Generator().manual_seed(0), predict=predict, **how)
            for predict in (None, injection.predict)
        )
        assert torch.equal(one, other)


def test_a_step_outside_of_the_interval_is_the_models_own(model):
    injection = Injection(drawn(1, 16, 4, 4), "mid", 749, 499)
    x = drawn(1, 3, 8, 8, seed=2)
    for t in (999, 249):
        for one, other in zip(injection.predict(model, x, t), predicted(model, x, t), strict=True):
            assert one is other is None or torch.equal(one, other)
    inside = [(injection.predict(model, x, t)[0] - model.predict_x0(x, t)).abs().max() for t in (749, 499)]
    assert min(inside) > 1e-3


def test_weights_over_the_interval():
    plain, fading = (Injection(torch.zeros(1, 1, 1, 1), "mid", 9, 5, fading=fading) for fading in (False, True))
    assert [plain.weight(t) for t in (10, 9, 7, 5, 4)] == [0, 1, 1, 1, 0]
    assert [fading.weight(t) for t in (10, 9, 7, 5, 4)] == pytest.approx([0, 1, 0.6, 0.2, 0])
    assert Injection(torch.zeros(1, 1, 1, 1), "mid", 9, 9, fading=True).weight(9) == 1


def test_each_latent_has_its_own_change_and_guidance_runs_them_twice(tiny_model64):
    injection = Injection(drawn(3, 16, 4, 4), "mid", 999, 0)
    x = drawn(3, 3, 8, 8, seed=1)
    whole = injection.predict(tiny_model64, x, 500)[0]
    parts = [part.predict(tiny_model64, row, 500)[0] for part, row in zip(injection.split(1), x.split(1), strict=True)]
    torch.testing.assert_close(whole, torch.cat(parts), rtol=0, atol=1e-12)

    class Guided(PixelDiffusion):
        def output(self, x, t):
            without, prompted = super().output(torch.cat([x, x]), t).chunk(2)
            return without + 3 * (prompted - without)

    guided = Guided(tiny_model64.unet, tiny_model64.schedule, name="guided", source="random")
    torch.testing.assert_close(injection.predict(guided, x, 500)[0], whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("block", ["down.0", "mid", "up.0"])
def test_any_block_of_a_unet_can_be_changed(tiny_model64, block):
    x = drawn(1, 3, 8, 8)
    delta = drawn(*tiny_model64.feature_map(500, block)(x).shape, seed=1)
    injection = Injection(delta, block, 999, 0)
    assert (injection.predict(tiny_model64, x, 500)[0] - tiny_model64.predict_x0(x, 500)).abs().max() > 1e-3


def test_a_transformers_image_tokens_are_changed(tmp_path):
    joint_pipeline().save_pretrained(tmp_path)
    model = load_model(tmp_path, prompt="a face")
    x = drawn(1, 4, 8, 8, dtype=torch.float32)
    block = "transformer_blocks.1"
    delta = drawn(*model.feature_map(500, block)(x).shape, seed=1, dtype=torch.float32)
    with torch.no_grad():
        plain = model.predict(x, 500)[0]
        found = Injection(delta, block, 999, 0).predict(model, x, 500)[0]
        zero = Injection(0 * delta, block, 999, 0).predict(model, x, 500)[0]
    assert (found - plain).abs().max() > 1e-3
    torch.testing.assert_close(zero, plain, rtol=0, atol=1e-6)


def test_what_cannot_be_changed_is_said(tiny_model64):
    x = drawn(1, 3, 8, 8)
    with pytest.raises(ShapeError, match=r"Δh has shape \(1, 16, 3, 3\), the output of mid \(1, 16, 4, 4\)"):
        Injection(drawn(1, 16, 3, 3), "mid", 999, 0).predict(tiny_model64, x, 500)
    with pytest.raises(ConfigError, match=r"feature.block is 'middle', which this network lacks"):
        Injection(drawn(1, 16, 4, 4), "middle", 999, 0).predict(tiny_model64, x, 500)
    with (
        pytest.raises(ConfigError, match="never ran block 'mid'; choose another"),
        changed_h(tiny_model64, (8, 8), "mid", lambda h: h),
    ):
        pass


def test_noise_as_a_function_of_h_and_its_certified_directions(tiny_model64):
    x, t = drawn(3, 8, 8), 500
    h = tiny_model64.feature_map(t)(x)
    f = noise_of_h(tiny_model64, x, t, "mid")
    torch.testing.assert_close(f(h), tiny_model64.predict_noise(x[None], t)[0], rtol=0, atol=1e-12)
    dense = torch.autograd.functional.jacobian(f, h).reshape(192, 256)
    basis = local_basis(f, h, rank=4, tol=1e-10)
    assert basis.certificate.converged
    torch.testing.assert_close(basis.s, torch.linalg.svdvals(dense)[:4], rtol=1e-10, atol=0)
    torch.testing.assert_close((dense @ basis.V).norm(dim=0), basis.s, rtol=1e-10, atol=0)


# a run's edits

WORDS = ("schedule.steps=8", "svd.rank=2", "data.samples=1", "edit=h", "edit.frames=3", "svd.tol=1e-3")


@pytest.fixture
def picture(tmp_path):
    Image.effect_noise((8, 8), 60).convert("RGB").save(tmp_path / "picture.png")
    return f"data.images={tmp_path}/picture.png"


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("kind", ["vp", "flow"])
def test_a_run_walks_along_u(tiny_model, tiny_unet, picture, kind, real):
    model = flow(tiny_unet()) if kind == "flow" else tiny_model
    context = Context(model, composed([*WORDS, *([picture] if real else [])]))
    sample, (_, t) = context.samples[0], context.times_of([0.75], "t")[0]
    editor, basis = context.editor, context.bases.of(sample, t)
    assert isinstance(editor, HSpace)
    latents, injection = editor.traverse(sample, t, 1), editor.injection(sample, t, 2)
    assert torch.equal(latents, context.latents.of(sample, t).expand(3, -1, -1, -1))
    wanted = editor.gammas[2] * basis.s[1] * basis.U[:, 1]
    torch.testing.assert_close(injection.offsets.flatten(1)[5], wanted)
    assert (injection.first, injection.last) == (t, 499)
    shown = context.decoder(latents, t, sample, injection=injection.split(3)[1])
    assert torch.equal(shown[1], context.decoder(latents, t, sample)[1]), "the middle frame is the unedited picture"
    assert (shown[0] - shown[1]).abs().max() > 1e-4


def test_the_store_tells_edits_of_h_apart(tiny_model, tmp_path):
    context = Context(tiny_model, composed([*WORDS]), store=Store(tmp_path))
    sample, (_, t) = context.samples[0], context.times_of([0.75], "t")[0]
    x, injection = context.latents.of(sample, t)[None], context.editor.injection(sample, t, 1).split(1)[2]
    ways = [
        None,
        injection,
        replace(injection, symmetric=True),
        replace(injection, last=t),
        replace(injection, fading=True),
    ]
    first, again = ([context.decoder(x, t, sample, injection=one) for one in ways] for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert len({one.sum().item() for one in first}) == len(ways)


def test_a_discovery_shows_these_edits(tiny_model):
    from diffgeo.api import run_study

    result = run_study("discovery", Context(tiny_model, composed([*WORDS, "predictor=none", "schedule.edit=[0.75]"])))
    frames = result.more_tables["traversals"]
    assert frames["pixel_change"].max() > 1e-4
    assert frames["x_change"].max() == 0
    assert set(frames["edit_method"]) == {"h"}


class Bent(editor.Edit):
    """A stranger's edit, whose traversals alone are of its kind."""

    mixes = False


@pytest.mark.parametrize(
    ("words", "traversals", "steps"),
    [
        (["edit=single"], "single", "single"),
        (["edit=guidance"], "guidance", "guidance"),
        (["edit=h"], "h", "single"),
        (["edit=shooting"], "shooting", "single"),
        (["edit=single", f"edit._target_={__name__}.Bent", "edit.method=bent"], "bent", "single"),
    ],
)
def test_tables_of_any_study_say_which_edits_they_hold(tiny_model, monkeypatch, words, traversals, steps):
    measure = ModuleType("theirs.measure")
    measure.run = lambda context, settings: Result("theirs", pd.DataFrame({"change": [1.0]}), {})
    monkeypatch.setitem(sys.modules, "theirs", ModuleType("theirs"))
    monkeypatch.setitem(sys.modules, "theirs.measure", measure)
    context = Context(tiny_model, composed([*(word for word in WORDS if word != "edit=h"), *words]))
    for own, method in (({}, steps), ({"traverses": True}, traversals)):
        result = Study("theirs", "Theirs", "Does it?", SimpleNamespace, "theirs", **own).run(context, None)
        assert set(result.table["edit_method"]) == {method}


def test_settings_that_h_edits_cannot_have_are_refused(tiny_model):
    for words, message in (
        (["feature.pool=sum"], r"feature\.pool=sum is not possible; allowed: null with edit=h"),
        (["edit.until=0.9"], r"edit\.until=0\.9 is not possible; allowed: 0 to the edit timestep, 0\.5 T"),
    ):
        context = Context(tiny_model, composed([*WORDS, *words]))
        with pytest.raises(ConfigError, match=message):
            context.editor.injection(context.samples[0], context.times_of([0.5], "t")[0][1], 1)


def test_edits_of_h_and_of_x_are_brought_to_one_change(tiny_model):
    context = Context(tiny_model, composed([*WORDS, "metric=rmse"]))
    sample, (_, t) = context.samples[0], context.times_of([0.75], "t")[0]
    basis = context.bases.of(sample, t)
    through = context.editor.through(basis.U.T, sample, t)
    in_h = Edit("h", 0, lambda gamma: gamma * basis.U[:, 0], 500.0, through=through)
    in_x = Edit("local", 0, lambda gamma: gamma * basis.V[:, 0].reshape(3, 8, 8), 50.0)
    found = match_edits(context, sample, t, [in_h, in_x, replace(in_h, direction=1)], 0.02)
    torch.testing.assert_close(found.changes, torch.full((3,), 0.02), rtol=0.1, atol=0)
    assert torch.equal(found.edited[0], found.edited[2])
    assert found.x_changes[0] == 0
    assert found.x_changes[1] > 0
    shown, _ = pictures(context, sample, t, [in_x, in_h], found.gammas[[1, 0]].tolist())
    torch.testing.assert_close(shown, found.edited[[1, 0]], rtol=0, atol=1e-4)
