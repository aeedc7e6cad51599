"""The explorer without its page: what it shows is what the library computes, and can be had again."""

import io
import shlex
import struct
import zlib
from copy import deepcopy
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image

import diffgeo
from diffgeo.cli.line import quoted_prompts
from diffgeo.composition import composed
from diffgeo.errors import ConfigError, DataError, DirectionsError, ValueRangeError
from diffgeo.explore import Explorer, page, uploads
from diffgeo.explore.commands import with_defaults
from diffgeo.explore.links import link_of, linked
from diffgeo.explore.parts import preview_steps
from diffgeo.explore.session import SEEN, STRENGTHS
from diffgeo.geometry import global_directions, pull_back
from diffgeo.metrics.attributes import AttributePredictor
from diffgeo.session import Context
from diffgeo.session.store import Store
from diffgeo.svd import SolveSpec

WORDS = ("schedule.steps=8", "svd.rank=3", "data.samples=2", "edit.normalise=false", "seed=5")


class Brightness(AttributePredictor):
    """Reads the mean of every colour."""

    names = ("red_light", "green", "blue")

    def scores(self, images):
        return images.mean(dim=(2, 3))


@cache
def settings_of(*overrides):
    return composed(with_defaults(overrides))


def explorer_of(model, *words, store=None, **options):
    overrides = [*WORDS, *words]
    context = Context(model, deepcopy(settings_of(*overrides)), Brightness(), store=store)
    return Explorer(context, overrides=overrides, preview=4, **options)


@pytest.fixture
def explorer(tiny_model):
    return explorer_of(tiny_model)


@pytest.fixture
def place(explorer):
    return explorer.place(replace(explorer.start, t_frac=0.5))


def file_of(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def photo(width=12, height=8):
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


# what it shows


def test_directions_are_the_local_basis_at_that_latent(explorer, place, tiny_model):
    t = tiny_model.schedule.nearest(0.5, 8)
    x = diffgeo.ddim_sample(tiny_model, diffgeo.initial_noise(tiny_model, [5]), steps=8, stop=t, clip=True)[0]
    assert place.t == t
    torch.testing.assert_close(place.x, x)
    basis = diffgeo.local_basis(tiny_model.feature_map(t), x, rank=3, spec=SolveSpec(seed=5))
    torch.testing.assert_close(place.V, basis.V, atol=1e-3, rtol=0)


def test_zero_weights_leave_the_picture_exactly(explorer, place):
    for full in (False, True):
        edited = explorer.edit(place, [0.0, 0.0], full=full)
        assert torch.equal(edited.before, edited.after)
        assert edited.difference.max() == 0
        assert edited.changes.tolist() == [0, 0, 0]
        assert edited.steps == (8 if full else 4)


def test_weights_combine_linearly_in_x(explorer, place):
    gamma = 0.06 * (3 * 8 * 8) ** 0.5
    moved = explorer.moved(place, torch.tensor([[1.0, 0, 0], [0, 0, -0.5], [1.0, 0, -0.5]])) - place.x
    torch.testing.assert_close(moved[2], moved[0] + moved[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(moved[0].flatten(), gamma * place.V[:, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(moved[1].flatten(), -gamma / 2 * place.V[:, 2], atol=1e-5, rtol=0)


def test_an_edit_is_what_the_library_does(tiny_model):
    explorer = explorer_of(tiny_model, "edit.normalise=true")
    place = explorer.place(replace(explorer.start, t_frac=0.5))
    v = (2 * place.V[:, 0] - place.V[:, 1]) / 5**0.5
    gamma = torch.tensor([5**0.5 * 0.06 * (3 * 8 * 8) ** 0.5])
    moved = diffgeo.single_step(place.x, v, gamma)
    moved = diffgeo.normalise_distortion(
        tiny_model.predict_noise, tiny_model.schedule, place.x[None], moved, place.t, rescale=True
    )
    for steps, full in ((4, False), (8, True)):
        expected = diffgeo.ddim_sample(tiny_model, moved, steps=steps, start=place.t, clip=True).clamp(-1, 1)[0]
        edited = explorer.edit(place, [2.0, -1.0], full=full)
        torch.testing.assert_close(edited.after, expected, atol=1e-4, rtol=0)
        change = edited.after.mean(dim=(1, 2)) - edited.before.mean(dim=(1, 2))
        torch.testing.assert_close(edited.changes, change)
        torch.testing.assert_close(edited.difference, (edited.after - edited.before).abs().mean(dim=0) / 2)


def test_previews_share_the_timesteps_of_the_whole_schedule(schedule):
    for steps in (8, 16, 40, 41, 50, 97, 100):
        few = preview_steps(steps, 20)
        assert steps % few == 0
        assert set(schedule.timesteps(few)) <= set(schedule.timesteps(steps))
        for i in range(1, few + 1):
            assert schedule.nearest(i / few, steps) == schedule.nearest(i / few, few)
    assert (preview_steps(40, 20), preview_steps(50, 20), preview_steps(97, 20)) == (20, 10, 97)


def test_cards_show_both_ends_of_each_direction(explorer, place):
    cards = explorer.cards(place, 1, 8)
    assert [card.index for card in cards] == [1, 2]
    for card in cards:
        weights = [0.0] * card.index + [1.0]
        torch.testing.assert_close(card.plus, explorer.edit(place, weights).after, atol=1e-4, rtol=0)
        assert card.value == place.basis.s[card.index].item()
    assert explorer.cards(place, 1, 8) is cards, "the next visitor waits for nothing"


def test_global_directions_are_those_of_the_first_samples(explorer, tiny_model):
    place = explorer.place(replace(explorer.start, sample=9, source="global"))
    x = diffgeo.initial_noise(tiny_model, [5, 6])
    f = tiny_model.feature_map(tiny_model.schedule.T)
    shared = global_directions([diffgeo.local_basis(f, one, rank=3, spec=SolveSpec(seed=5)) for one in x])
    for i in range(3):
        cosine = pull_back(shared.U[:, i], place.basis) @ place.V[:, i]
        assert cosine > 0.999
    coordinates = place.basis.U.T @ shared.U
    torch.testing.assert_close(place.fit, coordinates.norm(dim=0), atol=1e-3, rtol=0)


def test_a_saved_direction_comes_back_as_the_same_mixture(explorer, place, tmp_path, tiny_model):
    weights = [1.0, 0.0, -0.5]
    path = diffgeo.save_directions(tmp_path / "d.safetensors", explorer.direction(place, weights, "greener"))
    found = diffgeo.load_directions(path)
    assert found.labels == ("greener",)
    assert found.provenance["weights"] == weights
    again = explorer_of(tiny_model, directions=found, file=str(path))
    there = again.place(replace(place.choice, source="file"))
    assert again.start.source == "file"
    torch.testing.assert_close(there.V[:, 0], place.V @ torch.tensor(weights) / 1.25**0.5, atol=1e-3, rtol=0)
    assert [card.label for card in again.cards(there)] == ["greener"]
    with pytest.raises(DirectionsError, match="belong to timestep"):
        again.place(replace(place.choice, source="file", t_frac=1.0))


def test_what_cannot_be_is_refused(explorer, place, tiny_model):
    with pytest.raises(ValueRangeError, match="move one first"):
        explorer.direction(place, [0.0, 0.0])
    with pytest.raises(ValueRangeError, match="4 weights for 3"):
        explorer.edit(place, [0, 0, 0, 1.0])
    with pytest.raises(ConfigError, match="directions=FILE"):
        explorer.place(replace(explorer.start, source="file"))
    with pytest.raises(ConfigError, match="lacks"):
        explorer.place(replace(explorer.start, block="up.9"))
    with pytest.raises(ConfigError, match="shooting"):
        explorer_of(tiny_model, "edit=shooting")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("schedule.edit=[1.0]", "belong to timestep 499"),
        ("++schedule.edit=[0.25]", "belong to timestep 499"),
        ("schedule.edit_log_snr=[1.0]", "belong to timestep 499"),
        ("feature.pool=sum", "belong to pool null"),
        ("feature.block=down.0", "belong to block mid"),
    ],
)
def test_a_setting_that_a_files_directions_do_not_fit_is_refused(explorer, place, tmp_path, tiny_model, word, said):
    path = diffgeo.save_directions(tmp_path / "d.safetensors", explorer.direction(place, [1.0]))
    found = diffgeo.load_directions(path)
    assert explorer_of(tiny_model, "schedule.edit=[0.5]", directions=found).start.t_frac == 0.5
    with pytest.raises(ConfigError, match=said):
        explorer_of(tiny_model, word, directions=found, file=str(path))


def test_progress_is_told(explorer):
    told = []
    explorer.place(replace(explorer.start, t_frac=0.25), report=lambda *step: told.append(step))
    denoising = [step for step in told if "to t =" in step[0]]
    assert [done for _, done, _ in denoising] == [1, 2, 3, 4, 5, 6]
    assert all(total == 6 for *_, total in denoising)
    assert any("local basis" in what for what, *_ in told)


# the same again


ELSEWHERE = {"t_frac": 0.5, "block": "down.1", "pool": "sum", "rank": 2, "strength": 0.025}


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ((), {}),
        (("model=factor_faces_t2i", "prompt=a face, smiling: it's 3", "feature=mid_pooled"), {"t_frac": 0.5}),
        (("scale=smoke", "svd=dense", "edit=guidance", "seed=3"), ELSEWHERE),
        (("schedule.edit_log_snr=[-2]",), {}),
        (("data=images",), {**ELSEWHERE, "sample": 1}),
    ],
)
def test_the_command_line_composes_to_the_same_settings(tiny_model, tmp_path, words, changes):
    if words == ("data=images",):
        for name in ("a b", "it's, [b]"):
            photo().save(tmp_path / f"{name}.png")
        words = ("data=images", f"data.images={tmp_path}")
    overrides = [*WORDS, *words]
    cfg = composed(quoted_prompts(with_defaults(overrides)))
    explorer = Explorer(Context(tiny_model, cfg, None), overrides=overrides)
    place = explorer.place(replace(explorer.start, **changes))
    lines = [line for line in explorer.command(place, [1.0, 0.0]).splitlines() if not line.startswith("#")]
    explore, run = (shlex.split(line) for line in lines)
    assert (explore[0], run[0]) == ("diffgeo-explore", "diffgeo")
    assert explore[-2:] == ["weights=[1]", "out=edit"]
    for line, extra in ((with_defaults(explore[1:-2]), []), (run[1:], ["tracking=none"])):
        found = composed(quoted_prompts([*line, *extra]))
        for part in ("model", "data", "schedule", "feature", "svd", "edit", "predictor", "prompt", "seed", "device"):
            assert getattr(found, part) == getattr(place.context.cfg, part), part
    assert list(composed(quoted_prompts(run[1:])).study) == ["discovery"]


def test_the_command_line_names_whose_directions(explorer, place):
    place = explorer.place(replace(place.choice, source="global"))
    lines = explorer.command(place, [0.5, -0.25, 0])
    assert "directions=global" in lines
    assert "'weights=[0.5,-0.25]'" in lines
    assert "diffgeo data" not in lines, "no run mixes global directions"


# uploads


def test_an_uploaded_picture_is_inverted_and_nothing_of_it_is_kept(tiny_model, tmp_path):
    explorer = explorer_of(tiny_model, store=Store(tmp_path / "store"))
    picture = explorer.upload(file_of(photo()), "my $face's.png")
    place = explorer.place(explorer.start, picture)
    explorer.edit(place, [1.0])
    explorer.cards(place)
    assert list(tmp_path.rglob("*.safetensors")) == []
    expected = diffgeo.ddim_invert(tiny_model, picture.x0[None], steps=8)[0]
    torch.testing.assert_close(place.x, expected)
    lower = explorer.place(replace(explorer.start, t_frac=0.5), picture, earlier=place)
    assert lower.context.latents.of(lower.sample, lower.context.model.schedule.T) is place.x, "it is inverted once"
    assert "data.images=['my _face\\'s.png']" in shlex.split(explorer.command(place, [1.0]))
    weaker = explorer.place(replace(explorer.start, strength=0.01), picture, earlier=place)
    assert weaker.basis is place.basis, "another strength needs no other directions"
    ratio = (explorer.moved(weaker, torch.eye(3)) - place.x).norm() / (
        explorer.moved(place, torch.eye(3)) - place.x
    ).norm()
    torch.testing.assert_close(ratio, torch.tensor(1 / 6), atol=1e-3, rtol=0)
    assert place not in explorer._places.values()
    own = explorer.place(explorer.start, earlier=place)
    assert not torch.equal(own.x, place.x)
    assert list(tmp_path.rglob("*.safetensors")) != [], "a seed's latents and bases are"


def test_uploads_are_read_as_files_are(tmp_path):
    photo().save(tmp_path / "a.png")
    from diffgeo.data.images import load_image

    assert torch.equal(
        uploads.picture_of((tmp_path / "a.png").read_bytes(), 8, 8), load_image(tmp_path / "a.png", 8, 8)
    )


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_the_allowed_kinds_are_read(kind):
    picture = uploads.picture_of(file_of(Image.new("RGB", (20, 10), "white"), kind), 8, 8)
    torch.testing.assert_close(picture, torch.ones(3, 8, 8), atol=0.02, rtol=0)


def test_exif_turns_and_the_first_frame_counts():
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90°
    sideways = Image.fromarray(np.repeat(np.array([[255], [0]], np.uint8), 8, axis=0).repeat(16, axis=1))
    turned = uploads.picture_of(file_of(sideways.convert("RGB"), "PNG", exif=exif), 16, 16)
    assert turned[:, :, -1].mean() > 0.9
    assert turned[:, :, 0].mean() < -0.9
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("white", "black")]
    for kind in ("PNG", "WEBP"):
        animated = file_of(frames[0], kind, save_all=True, append_images=frames[1:])
        assert uploads.picture_of(animated, 8, 8).mean() > 0.9


def png_claiming(width, height):
    """A PNG of a few bytes whose header claims any size."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no PNG, JPEG or WebP"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "no PNG, JPEG or WebP"),
        (b"<html><script>alert(1)</script></html>", "no PNG, JPEG or WebP"),
        (b"\x80\x04\x95cposix\nsystem\n", "no PNG, JPEG or WebP"),
        (file_of(photo(), "GIF"), "no PNG, JPEG or WebP"),
        (file_of(photo(), "TIFF"), "no PNG, JPEG or WebP"),
        (file_of(photo(), "BMP"), "no PNG, JPEG or WebP"),
        (file_of(photo())[:200], "damaged"),
        (file_of(photo(64, 64), "JPEG")[:400], "damaged"),
        (file_of(photo(64, 64), "WEBP")[:400], "damaged|no PNG"),
        (png_claiming(8000, 8000), "8000 × 8000 pixels; at most 24 million"),
        (png_claiming(12000, 12000), "shrink it"),
        (png_claiming(60000, 60000), "shrink it"),
        (png_claiming(64, 64), "damaged"),
        (file_of(Image.new("L", (9000, 8))), "crop it"),
        (file_of(Image.new("L", (4, 4))), "crop it"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * (10 * 2**20), "at most 10 MB"),
    ],
)
def test_what_is_no_picture_or_too_much_of_one_is_refused(content, said):
    with pytest.raises(DataError, match=said):
        uploads.picture_of(content, 8, 8)


# the page's parts


def test_words_of_strangers_are_escaped_on_the_page(explorer):
    picture = explorer.upload(file_of(photo()), "<img src=x onerror=alert(1)>.png")
    place = explorer.place(explorer.start, picture)
    shown = page.figures(explorer.edit(place, [0.0]), place, 8)
    assert "<img src=x" not in shown
    assert "&lt;img src=x" in shown
    assert "<b>" not in page.head("a", 8, "<b>").replace("<b></b>", "").split("·")[-1]


def test_the_steps_of_a_saved_picture_are_told_if_they_are_others(explorer):
    place = explorer.place(explorer.start, None)
    edited = explorer.edit(place, [1.0])
    assert "; a saved picture takes 99." in page.figures(edited, place, 99)
    same = page.figures(edited, place, edited.steps)
    assert f"Shown in {edited.steps} DDIM steps, as a saved picture is made." in same
    assert "takes" not in same


def test_the_difference_map_is_dark_where_nothing_changes():
    shown = np.asarray(page.heat_map(torch.tensor([[0.0, 0.25, 0.5, 1.0]]))).astype(int)
    light = shown.sum(axis=-1)[0]
    assert light[0] < light[1] < light[2] == light[3]


def test_a_saved_picture_holds_its_command_line():
    opened = Image.open(io.BytesIO(page.png(photo(), "diffgeo-explore seed=1")))
    assert opened.text["Comment"] == "diffgeo-explore seed=1"
    assert np.array_equal(np.asarray(opened), np.asarray(photo()))


# links, steps back, and a strength for uploads


def test_a_link_comes_back_to_what_is_shown(explorer):
    choice = replace(explorer.start, t_frac=0.25, pool="sum", rank=2, source="global", strength=0.02, sample=7)
    query = link_of(choice, [1.5, 0.0])
    assert query.endswith("weights=1.5")
    assert linked(query, explorer) == (choice, (1.5,))
    assert linked("", explorer) == (explorer.start, (0.0,))
    assert linked("?__theme=dark", explorer)[0] == explorer.start


@pytest.mark.parametrize(
    "query",
    [
        "?t_frac=x", "?t_frac=0.3", "?t_frac=nan", "?rank=0", "?rank=9999", "?block=up.9", "?source=file",
        "?weights=3", "?weights=nan", "?weights=1,1,1,1", "?sample=-1", "?strength=inf", "?strength=0", "?pool=mean",
    ],
)  # fmt: skip
def test_a_link_that_does_not_fit_is_refused(explorer, query):
    with pytest.raises(DataError, match="the link"):
        linked(query, explorer)


def test_the_suggested_strength_is_seen_and_does_not_saturate(tiny_model):
    explorer = explorer_of(tiny_model)
    place = explorer.place(explorer.start, explorer.upload(file_of(photo()), "a.png"))
    found, why = explorer.suggested(place)
    strength = found.choice.strength
    assert strength in STRENGTHS
    assert found.picture is place.picture
    torch.testing.assert_close(found.V, place.V)

    def change(strength):
        there = replace(found, choice=replace(found.choice, strength=strength))
        return explorer.edit(there, [1.0]).difference.mean().item()

    assert f"{100 * change(strength):.1f} %" in why
    if strength > STRENGTHS[0]:
        assert change(strength) <= SEEN


def test_a_drag_is_one_step_back(place):
    pytest.importorskip("gradio")
    from diffgeo.explore.actions import Visitor

    def at(*weights):
        return [*weights, *[0.0] * (8 - len(weights))]

    start = Visitor(place, None, (0.0,) * place.rank)
    dragged = start.moved(at(0.5), 10.0).moved(at(0.8), 10.3).moved(at(1.0), 10.6)
    other = dragged.moved(at(1.0, -1.0), 10.8)
    again = other.moved(at(1.0, -0.5), 20.0)
    assert again.weights[:2] == (1.0, -0.5)
    assert again.undone().weights == other.weights
    assert again.undone().undone().weights == dragged.weights
    assert again.undone().undone().undone().weights == start.weights
    assert start.undone() == start
    assert len(again.shown) == 8
