"""Masks in the explorer, without its page: what a painted mask's text is, the directions inside, and the way back."""

import shlex
from copy import deepcopy
from dataclasses import replace
from functools import cache, partial

import pytest
import torch
from PIL import Image

from diffgeo.cli.explore import read
from diffgeo.composition import composed
from diffgeo.data.masks import resize_mask
from diffgeo.errors import ConfigError, DataError, ValueRangeError
from diffgeo.explore import Explorer, page
from diffgeo.explore.commands import with_defaults
from diffgeo.explore.directions import OUTSIDE
from diffgeo.explore.links import link_of, linked
from diffgeo.explore.painting import MAX_TEXT, mask_of, outline_of, text_of
from diffgeo.session import Context
from diffgeo.studies.shared.matching import loco

WORDS = ("schedule.steps=8", "svd.rank=3", "svd.tol=1e-4", "data.samples=2", "edit.normalise=false", "seed=5")
FREE = "paint where the edit should act"


@cache
def settings_of(*overrides):
    return composed(with_defaults(overrides))


def explorer_of(model, *words, **options):
    overrides = [*WORDS, *words]
    return Explorer(Context(model, deepcopy(settings_of(*overrides))), overrides=overrides, preview=4, **options)


@pytest.fixture
def explorer(tiny_model):
    return explorer_of(tiny_model)


@pytest.fixture
def mask():
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[2:5, 3:7] = True
    mask[3, 3] = False
    return mask


@pytest.fixture
def choice(explorer, mask):
    return replace(explorer.start, t_frac=0.5, source="mask", mask=text_of(mask))


# the text


@pytest.mark.parametrize("seed", range(8))
def test_a_text_stands_for_one_mask(seed):
    generator = torch.Generator().manual_seed(seed)
    height, width = (int(n) for n in torch.randint(1, 20, (2,), generator=generator) + 1)
    mask = torch.rand(height, width, generator=generator) < 0.4
    mask[0, 0], mask[-1, -1] = bool(seed % 2), not seed % 2
    text = text_of(mask)
    assert torch.equal(mask_of(text, height, width), mask)
    size, *runs = text.split(",")
    assert size == f"{width}x{height}"
    assert sum(map(int, runs)) == mask.numel()
    assert sum(map(int, runs[1::2])) == mask.sum()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", f"nothing is painted; {FREE}"),
        ("8x8,64", f"the painted mask has no pixel inside; {FREE}"),
        ("8x8,0,64", f"the painted mask has every pixel inside; {FREE}"),
        ("16x16,20,16,220", "the painted mask has 16 × 16 pixels, the model's pictures 8 × 8; give a mask of"),
        ("8x16,20,16,92", "the painted mask has 8 × 16 pixels, the model's pictures 8 × 8"),
        ("8x8", "is no mask's text"),
        ("8x8,1,2,x", "is no mask's text"),
        ("8x8,-1,2,63", "is no mask's text"),
        ("8x8,1,2,61\n", "is no mask's text"),
        ("999999x8,1,2", "is no mask's text"),
        ("<img src=x onerror=alert(1)>", "is no mask's text"),
        ("8x8,1,2,60", "do not make its pixels"),
        ("8x8,1,2,62", "do not make its pixels"),
        ("8x8,1,2,0,3,58", "do not make its pixels"),
        ("8x8,1,999999999,61", "do not make its pixels"),
        ("8x8" + ",1" * MAX_TEXT, f"more than {MAX_TEXT} characters"),
    ],
)
def test_what_is_no_mask_of_the_pictures_is_refused(text, said):
    with pytest.raises(DataError) as refused:
        mask_of(text, 8, 8)
    assert said in f"{refused.value.what}; {refused.value.advice}"
    assert len(str(refused.value)) < 200, "a long text is not shown whole"


def test_the_outline_lies_between_inside_and_outside(mask):
    edges = set()
    for step in outline_of(mask).split("M")[1:]:
        start, line, length = step.partition("h") if "h" in step else step.partition("v")
        x, y = map(int, start.split())
        edges |= {(line, x + i * (line == "h"), y + i * (line == "v")) for i in range(int(length))}
    across = {("h", x, y) for y in range(1, 8) for x in range(8) if mask[y, x] != mask[y - 1, x]}
    down = {("v", x, y) for y in range(8) for x in range(1, 8) if mask[y, x] != mask[y, x - 1]}
    assert edges == across | down


# the directions


def test_directions_of_a_mask_are_those_of_dense_algebra(explorer, choice, mask, tiny_model):
    place = explorer.place(choice)
    model = tiny_model.editor
    J = torch.autograd.functional.jacobian(lambda x: model.predict_x0(x[None], place.t)[0], place.x)
    J = J.reshape(3, 64, -1).double()
    inside, outside = (
        torch.linalg.svd(J[:, part.flatten()].flatten(0, 1), full_matrices=False)[1:] for part in (mask, ~mask)
    )
    v, taken = inside[1][:3].T, outside[1][:OUTSIDE].T
    left = v - taken @ (taken.T @ v)
    cosines = (torch.nn.functional.normalize(left, dim=0) * place.V.double()).sum(dim=0).abs()
    assert cosines.min() > 0.999
    torch.testing.assert_close(place.basis.s.double(), inside[0][:3], rtol=1e-3, atol=0)
    assert torch.equal(place.mask, mask)
    assert place.fit is None


def test_they_are_those_that_the_comparison_calls_loco(explorer, choice, mask):
    place = explorer.place(choice)
    context, sample = place.context, place.sample
    V, _ = loco(context, place.x, place.t, mask, rank=3)
    torch.testing.assert_close(place.V, V)
    first, _ = loco(context, place.x, place.t, mask)
    assert (first[:, 0] @ place.V[:, 0]).abs() > 0.999, "direction 1 is the one of LOCO's own rank"
    assert sample.name == "seed 5"


@pytest.mark.slow
def test_a_mask_of_a_latent_models_picture_is_brought_to_its_grid():
    from diffgeo.diffusion.models import load_model

    model = load_model("factor_faces_t2i", prompt="portrait of a face")
    height, width = model.picture_shape
    assert model.latent_shape[1:] != (height, width)
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[height // 2 : height // 2 + 3, 5:9] = True
    explorer = explorer_of(model, "svd.tol=0.3", "svd.rank=1", "schedule.edit=[1.0]")
    place = explorer.place(replace(explorer.start, source="mask", mask=text_of(mask)))
    assert torch.equal(place.mask, mask)
    grid = resize_mask(mask, *model.latent_shape[1:])
    assert len(place.basis.U) == model.latent_shape[0] * int(grid.sum()), "rows of x̂0 that the mask touches"
    nearly = torch.ones_like(mask)
    nearly[0, 0] = False
    with pytest.raises(DataError, match="grid of this map has every pixel inside"):
        explorer.place(replace(explorer.start, source="mask", mask=text_of(nearly)))


def test_a_tiny_mask_has_as_many_directions_as_rows(explorer, choice, mask):
    one = torch.zeros_like(mask)
    one[4, 4] = True
    place = explorer.place(replace(choice, rank=5, mask=text_of(one)))
    assert place.rank == 3, "a pixel's colours"
    assert len(explorer.cards(place)) == 3


def test_progress_tells_which_of_two_parts_is_in_hand(explorer, choice):
    told = []
    explorer.place(choice, report=lambda *step: told.append(step[0]))
    parts = [what.partition(": ")[0] for what in told if "local basis" in what]
    assert list(dict.fromkeys(parts)) == ["in the mask, 1 of 2", "outside it, 2 of 2"]


def test_bad_masks_are_refused_before_anything_is_computed(explorer, choice):
    told = []
    for text in (None, "8x8,64", "8x8,0,64", "16x16,20,16,220"):
        with pytest.raises(DataError):
            explorer.place(replace(choice, mask=text), report=lambda *step: told.append(step))
    assert told == []


# what is shown, and had again


def test_the_outline_and_the_change_on_both_sides_are_shown(explorer, choice, mask):
    place = explorer.place(choice)
    edited = explorer.edit(place, [1.0])
    shown = page.figures(edited, place, 8)
    assert shown.count(f'viewBox="0 0 8 8" aria-hidden="true"><path d="{outline_of(mask)}"') == 3
    inside, outside = (100 * edited.difference[part].mean().item() for part in (mask, ~mask))
    assert f"{inside:.1f} % of the range inside the mask, {outside:.1f} % outside" in shown
    assert "inside the mask" in page.card(explorer.cards(place)[0], place)
    whole = explorer.place(replace(choice, source="local", mask=None))
    assert "dg-outline" not in page.figures(explorer.edit(whole, [1.0]), whole, 8)
    assert "∂h/∂x" in page.card(explorer.cards(whole)[0], whole)


def test_a_link_comes_back_to_a_mask(explorer, choice):
    query = link_of(choice, [0.0, -1.5])
    assert f"&mask={choice.mask}&" in query, "as it is, and nothing escaped"
    assert linked(query, explorer) == (choice, (0.0, -1.5))
    assert "mask" not in link_of(replace(choice, source="local", mask=None), [])
    assert linked(f"?source=local&mask={choice.mask}", explorer)[0].mask is None


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("?source=mask", "nothing is painted"),
        ("?source=mask&mask=8x8,64", "no pixel inside"),
        ("?source=mask&mask=8x8,0,64", "every pixel inside"),
        ("?source=mask&mask=16x16,20,16,220", "16 × 16 pixels, the model's pictures 8 × 8"),
        ("?source=mask&mask=nonsense", "no mask's text"),
    ],
)
def test_a_link_with_a_bad_mask_is_refused(explorer, query, said):
    with pytest.raises(DataError, match=said):
        linked(query, explorer)


def test_the_command_line_has_the_mask(explorer, choice, tiny_model, mask):
    place = explorer.place(choice)
    command = explorer.command(place, [1.0, 0.0])
    lines = [shlex.split(line) for line in command.splitlines() if not line.startswith("#")]
    (words,) = lines
    assert words[0] == "diffgeo-explore", "no run mixes directions of a mask"
    wanted = read(words[1:])
    assert wanted.mask == choice.mask
    again = explorer_of(tiny_model, *wanted.overrides[len(WORDS) :], mask=wanted.mask)
    assert again.start.source == "mask"
    there = again.place(replace(again.start, t_frac=0.5))
    torch.testing.assert_close(there.V, place.V)
    assert torch.equal(explorer.edit(place, [1.0]).after, again.edit(there, [1.0]).after)


def test_a_file_cannot_keep_a_direction_of_a_mask(explorer, choice):
    with pytest.raises(ValueRangeError, match="save the picture"):
        explorer.direction(explorer.place(choice), [1.0])


def test_data_masks_is_the_mask_at_the_start(tiny_model, mask, tmp_path):
    explorer = explorer_of(tiny_model, "data.masks=[0.25,0.25,0.75,0.5]")
    assert explorer.start.source == "mask"
    assert mask_of(explorer.start.mask, 8, 8).sum() == 8
    place = explorer.place(explorer.start)
    assert "data.masks" not in explorer.command(place, [1.0]), "the mask itself is in the command"
    assert explorer.whole == "local"
    Image.new("L", (9, 8)).save(tmp_path / "wide.png")
    with pytest.raises(DataError, match="9 × 8 pixels, the model's pictures 8 × 8"):
        explorer_of(tiny_model, f"data.masks={tmp_path}/wide.png")
    with pytest.raises(DataError, match="no pixel inside"):
        explorer_of(tiny_model, mask="8x8,64")


def test_a_mask_and_other_directions_exclude_each_other():
    with pytest.raises(ConfigError, match="leave one of them out"):
        read(["mask=8x8,1,2,61", "directions=global"])


# the actions


@pytest.fixture
def acting(explorer):
    """The page's actions, and one that is given a mask: ``ask(action, visitor, mask)``."""
    pytest.importorskip("gradio")
    from diffgeo.explore.actions import Actions
    from diffgeo.explore.panels import SOURCES, WHOLE

    actions, start = Actions(explorer), explorer.start

    def ask(action, visitor, mask, source="local", sample=start.sample):
        where = (sample, 0.5, start.block, WHOLE, start.rank, SOURCES[source], mask, start.strength)
        return getattr(actions, action)(visitor, *where)

    return actions, ask


def test_asking_for_a_mask_turns_to_it_and_back(acting, mask):
    from diffgeo.explore.panels import SOURCES

    actions, ask = acting
    source, visitor, figures, *_ = ask("inside", None, text_of(mask))
    assert source == SOURCES["mask"]
    assert "dg-outline" in figures
    assert torch.equal(visitor.place.mask, mask)
    moved, *_ = actions.move(visitor, 1.0, *[0.0] * 7)
    undone, figures, _, _, link, *_ = actions.undo(moved)
    assert undone.weights == visitor.weights
    assert "dg-outline" in figures
    assert f"mask={text_of(mask)}" in link
    visitor, figures, *_ = ask("pick", moved, text_of(mask), source="mask", sample=9)
    assert (visitor.place.sample.name, "dg-outline" in figures) == ("seed 9", True), "another picture, the same mask"
    source, visitor, figures, *_ = ask("whole", visitor, text_of(mask), source="mask")
    assert source == SOURCES["local"]
    assert visitor.place.mask is None
    assert "dg-outline" not in figures


def test_what_is_painted_anew_is_told_to_be_stale(acting, mask):
    _, ask = acting
    _, visitor, *_ = ask("inside", None, text_of(mask))
    assert ask("stale", visitor, text_of(mask), source="mask") == ""
    assert "Find directions" in ask("stale", visitor, text_of(~mask), source="mask")
    _, visitor, *_ = ask("whole", visitor, text_of(mask), source="mask")
    assert ask("stale", visitor, text_of(mask)) == "", "a mask is no setting of the whole picture's directions"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Nothing is painted. Paint where"),
        ("8x8,64", "The painted mask has no pixel inside. Paint where"),
        ("8x8,0,64", "The painted mask has every pixel inside. Paint where"),
        ("16x16,20,16,220", "The painted mask has 16 × 16 pixels, the model's pictures 8 × 8. Give a mask"),
    ],
)
def test_a_bad_mask_is_a_message_on_the_page(acting, text, said):
    import gradio as gr

    _, ask = acting
    for action in (partial(ask, "inside"), partial(ask, "find", source="mask")):
        with pytest.raises(gr.Error, match=said):
            action(None, text)


def test_a_link_sets_the_controls(acting, choice):
    actions, _ = acting
    *_, source, mask, visitor = actions.arrive(link_of(choice, [1.0]))[:8]
    assert mask == choice.mask
    assert "painted mask" in source
    assert visitor.place.mask is not None
    assert visitor.weights[0] == 1.0
