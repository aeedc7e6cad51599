"""Masks, the rows of a Jacobian inside them, and the directions that act there."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from diffgeo.composition import check, composed
from diffgeo.data.factor_faces import FACTOR_NAMES, render, sample_factors
from diffgeo.data.masks import checked_mask, factor_mask, load_mask, rectangle, resize_mask
from diffgeo.errors import ConfigError, DataError, ShapeError, UnsuitableModelError, ValueRangeError
from diffgeo.geometry import loco_directions, mean_differences
from diffgeo.jacobian import JacobianOperator, Masked
from diffgeo.session import Context
from diffgeo.session.bases import MapName
from diffgeo.studies.shared.matching import Edit, added, loco, output_map
from diffgeo.svd import local_basis

F64 = torch.float64


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


@pytest.fixture
def x64():
    return drawn(3, 8, 8, seed=1)


@pytest.fixture
def mask():
    return rectangle([0.25, 0.25, 0.75, 0.625], 8, 8)


def maps(model):
    return {"x0": lambda x: model.predict_x0(x[None], 300)[0], "h": model.feature_map(300)}


# the rows inside


@pytest.mark.parametrize("which", ["x0", "h"])
def test_a_masked_jacobian_is_the_masks_rows_of_the_dense_one(tiny_model64, x64, mask, which):
    f = maps(tiny_model64)[which]
    h = f(x64)
    mask = resize_mask(mask, *h.shape[-2:])
    whole = torch.autograd.functional.jacobian(f, x64).reshape(*h.shape, x64.numel())
    rows = whole[:, mask].flatten(0, 1)
    part = JacobianOperator(Masked(f, mask), x64)
    assert part.shape == rows.shape
    assert rows.norm() > 1e-3
    for found in (
        part.dense(),
        part.mv(torch.eye(x64.numel(), dtype=F64)),
        part.rmv(torch.eye(len(rows), dtype=F64)).T,
    ):
        torch.testing.assert_close(found, rows, rtol=0, atol=1e-12)
    outside = JacobianOperator(Masked(f, ~mask), x64).dense()
    assert abs(rows.square().sum() + outside.square().sum() - whole.square().sum()) < 1e-12 * whole.square().sum()


@pytest.mark.parametrize("forward", [True, False])
def test_a_masked_jacobian_and_its_transpose_are_adjoint(tiny_model64, x64, mask, forward):
    part = JacobianOperator(Masked(maps(tiny_model64)["x0"], mask), x64, forward=forward)
    v, u = drawn(part.shape[1], 3, seed=2), drawn(part.shape[0], 3, seed=3)
    torch.testing.assert_close((part @ v).T @ u, v.T @ (part.T @ u), rtol=0, atol=1e-12)


def test_a_mask_of_another_size_than_the_output_is_refused(tiny_model64, x64):
    with pytest.raises(ShapeError, match=r"\(3, 8, 8\), the mask \(4, 4\)"):
        Masked(maps(tiny_model64)["x0"], torch.ones(4, 4, dtype=torch.bool))(x64)
    with pytest.raises(ValueRangeError, match="keeps no place"):
        Masked(maps(tiny_model64)["x0"], torch.zeros(8, 8, dtype=torch.bool))


# LOCO's directions


def bases_of(matrix, split, ranks):
    x = torch.zeros(matrix.shape[1], dtype=F64)
    return [
        local_basis(lambda x, rows=rows: rows @ x, x, rank=rank)
        for rows, rank in zip((matrix[:split], matrix[split:]), ranks, strict=True)
    ]


def test_locos_directions_are_the_explicit_projection():
    matrix = drawn(30, 12)
    inside, outside = bases_of(matrix, 10, (3, 5))
    _, _, vh = torch.linalg.svd(matrix[10:])
    projection = torch.eye(12, dtype=F64) - vh[:5].T @ vh[:5]
    _, _, own = torch.linalg.svd(matrix[:10])
    wanted = torch.nn.functional.normalize(projection @ own[:3].T, dim=0)
    found = loco_directions(inside, outside)
    torch.testing.assert_close((found * wanted).sum(dim=0).abs(), torch.ones(3, dtype=F64), rtol=0, atol=1e-12)
    assert (outside.V.T @ found).abs().max() < 1e-12


def test_a_direction_that_acts_outside_only_is_refused():
    matrix = torch.zeros(4, 3, dtype=F64)
    matrix[0, 0], matrix[2, 0], matrix[3, 1] = 1, 2, 1
    with pytest.raises(ValueRangeError, match="acts outside only"):
        loco_directions(*bases_of(matrix, 2, (1, 2)))


def test_locos_directions_of_a_model_keep_still_what_the_complement_moves_most(tiny_model, mask):
    context = Context(tiny_model, composed(["schedule.steps=8", "svd.tol=1e-5", "data.samples=1"]))
    t = context.times_of([0.5], "t")[0][1]
    x = context.latents.of(context.samples[0], t)
    found, passes = loco(context, x, t, mask, rank=2, null_rank=5)
    dense = JacobianOperator(output_map(context, t, "x0"), x).dense().reshape(3, 8, 8, -1)
    inside, outside = (dense[:, part].flatten(0, 1).double() for part in (mask, ~mask))
    projection = torch.eye(192, dtype=F64) - (v := torch.linalg.svd(outside).Vh[:5].T) @ v.T
    wanted = torch.nn.functional.normalize(projection @ torch.linalg.svd(inside).Vh[:2].T, dim=0)
    assert passes > 7
    assert (found.double() * wanted).sum(dim=0).abs().min() > 1 - 1e-5


def test_bases_of_parts_do_not_take_each_others_place_in_the_store(tiny_model, mask, tmp_path):
    from diffgeo.session.store import Store

    context = Context(tiny_model, composed(["schedule.steps=8"]), store=Store(tmp_path))
    f, x = output_map(context, 500, "x0"), torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0))
    name = MapName(500, output="x0")
    whole = context.bases.of_map(f, x, name=name, rank=1)
    first, second = (context.bases.of_part(f, x, part, name=name, rank=1) for part in (mask, ~mask))
    assert len({round(one.s[0].item(), 6) for one in (whole, first, second)}) == 3
    assert whole.s[0] > max(first.s[0], second.s[0])
    again = replace(context).bases.of_part(f, x, mask, name=name, rank=1)
    assert torch.equal(again.V, first.V)


def test_edits_add_up():
    edits = [Edit("a", i, lambda gamma, i=i: gamma * torch.full((2,), i + 1.0), 3.0 - i) for i in range(2)]
    both = added("both", edits, [1.0, 2.0])
    assert torch.equal(both.offset(0.5), torch.full((2,), 2.5))
    assert (both.variant, both.direction, both.limit) == ("both", 0, 1.0)


# supervised directions


def test_a_mean_difference_is_that_of_the_means_less_the_others_part():
    points, attributes = drawn(40, 6), drawn(40, 3, seed=1)
    plain = torch.cat([mean_differences(points, attributes[:, [j]]) for j in range(3)], dim=1)
    for j in range(3):
        has = attributes[:, j] > 0
        wanted = points[has].mean(dim=0) - points[~has].mean(dim=0)
        torch.testing.assert_close(plain[:, j], wanted / wanted.norm(), rtol=0, atol=1e-12)
    removed = mean_differences(points, attributes)
    for j in range(3):
        others = plain[:, [i for i in range(3) if i != j]]
        solved = torch.linalg.lstsq(others, plain[:, j : j + 1]).solution
        wanted = plain[:, j] - (others @ solved)[:, 0]
        torch.testing.assert_close(removed[:, j], wanted / wanted.norm(), rtol=0, atol=1e-12)


def test_removal_takes_out_an_attribute_that_goes_along():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(4000, 2, generator=generator, dtype=F64)
    z[:, 1] += z[:, 0]  # the second attribute goes with the first
    points = z @ torch.eye(2, 5, dtype=F64)
    plain, other = (mean_differences(points, z[:, [j]])[:, 0] for j in range(2))
    assert plain[1] > 0.5
    assert abs(mean_differences(points, z)[:, 0] @ other) < 1e-12


def test_an_attribute_that_all_pictures_have_is_refused():
    with pytest.raises(ValueRangeError, match="all pictures agree"):
        mean_differences(drawn(5, 3), torch.ones(5, 1))
    with pytest.raises(ShapeError, match=r"\(5, 3\), attributes \(4, 1\)"):
        mean_differences(drawn(5, 3), torch.ones(4, 1))


# masks


@pytest.mark.parametrize("factor", FACTOR_NAMES)
def test_a_factors_mask_holds_every_pixel_that_a_small_change_moves(factor):
    z = sample_factors(1, generator=torch.Generator().manual_seed(3)).double()[0]
    z = torch.where(z.abs() < 1, z * 0.9, z)
    mask, j = factor_mask(z, factor), FACTOR_NAMES.index(factor)
    other = z.clone()
    other[j] = -z[j] if factor == "glasses" else z[j] + 1e-5
    moved = (render(other[None]) - render(z[None]))[0].abs().amax(dim=0)
    step = 1.0 if factor == "glasses" else 1e-5
    assert mask.dtype == torch.bool
    assert (moved[~mask] <= 1e-4 * moved.max()).all()
    assert (moved[mask] > 1e-9 * step).float().mean() > 0.95


def test_a_factor_without_effect_on_a_picture_is_refused(monkeypatch):
    still = FACTOR_NAMES.index("freckles")
    keep = torch.arange(14) != still
    monkeypatch.setattr("diffgeo.data.masks.render", lambda z, size: render(torch.where(keep, z, 0.0), size))
    z = sample_factors(1, generator=torch.Generator().manual_seed(3))[0]
    assert factor_mask(z, "smile").any()
    with pytest.raises(DataError, match="freckles has no effect on this picture; choose another"):
        factor_mask(z, "freckles")
    with pytest.raises(ValueRangeError, match="no factor is called moustache"):
        factor_mask(z, "moustache")
    with pytest.raises(ShapeError, match=r"expected \(14,\)"):
        factor_mask(z[:3], "smile")


@pytest.mark.parametrize(
    ("edges", "count"), [([0, 0, 0.5, 0.5], 4), ([0.25, 0, 0.5, 1], 4), ([0.3, 0.3, 0.7, 0.7], 4), ([0, 0, 1, 0.25], 4)]
)
def test_a_rectangle_holds_the_pixels_whose_centres_lie_in_it(edges, count):
    assert rectangle(edges, 4, 4).sum() == count


@pytest.mark.parametrize("edges", [[0, 0, 0.5], [0.5, 0, 0.5, 1], [0, 0, 1.5, 1], [-0.1, 0, 1, 1], [0.9, 0, 0.1, 1]])
def test_edges_out_of_order_are_refused(edges):
    with pytest.raises(ValueRangeError, match="top, left, bottom, right"):
        rectangle(edges, 4, 4)


@pytest.mark.parametrize(("edges", "word"), [([0, 0, 1, 1], "every pixel"), ([0.4, 0.4, 0.43, 0.43], "no pixel")])
def test_a_rectangle_of_all_or_nothing_is_refused(edges, word):
    with pytest.raises(DataError, match=f"has {word} inside"):
        rectangle(edges, 8, 8)


def saved(path, pixels):
    Image.fromarray((pixels * 255).to(torch.uint8).numpy()).save(path)
    return path


def test_a_file_is_read_as_it_was_painted(tmp_path, mask):
    assert torch.equal(load_mask(saved(tmp_path / "a.png", mask), 8, 8), mask)
    with pytest.raises(DataError, match=r"has 8 × 8 pixels, the model's pictures 16 × 16"):
        load_mask(tmp_path / "a.png", 16, 16)
    for value, word in ((0, "no pixel"), (1, "every pixel")):
        with pytest.raises(DataError, match=f"has {word} inside"):
            load_mask(saved(tmp_path / "b.png", torch.full((8, 8), value)), 8, 8)
    (tmp_path / "c.png").write_text("no picture")
    with pytest.raises(DataError, match="cannot be read"):
        load_mask(tmp_path / "c.png", 8, 8)


def test_a_small_mask_does_not_vanish_on_a_coarse_grid():
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[2, 5] = True
    small = resize_mask(mask, 4, 4)
    assert small.nonzero().tolist() == [[1, 2]]
    with pytest.raises(DataError, match="every pixel"):
        resize_mask(torch.eye(8, dtype=torch.bool).flip(0) | torch.eye(8, dtype=torch.bool), 2, 2)
    with pytest.raises(ShapeError, match="at least"):
        resize_mask(mask, 16, 16)
    assert torch.equal(checked_mask(mask, "it"), mask)


# a run's masks


def masks_of(model, *words, data=None):
    cfg = composed(["schedule.steps=4", *words])
    context = Context(model, cfg if data is None else replace(cfg, data=replace(cfg.data, masks=data)))
    return context, context.masks


def test_a_run_takes_one_mask_for_all_or_one_each(tiny_model, mask, tmp_path):
    context, masks = masks_of(tiny_model, "data.masks=[0.25,0.25,0.75,0.625]")
    assert bool(masks)
    assert torch.equal(masks.of(context.samples.first(1)[0]), mask)
    for i in range(2):
        saved(tmp_path / f"{i}.png", mask if i else ~mask)
    context, masks = masks_of(tiny_model, f"data.masks={tmp_path}")
    first, second, third = context.samples.first(3)
    assert torch.equal(masks.of(first), ~mask)
    assert torch.equal(masks.of(second), mask)
    with pytest.raises(DataError, match="holds 0 masks for seed 2"):
        masks.of(third)
    context, masks = masks_of(tiny_model, f"data.masks={tmp_path}/1.png")
    assert torch.equal(masks.of(context.samples.first(2)[1]), mask)


def test_masks_of_pictures_go_by_name(tiny_model, mask, tmp_path):
    for folder in ("pictures", "masks"):
        (tmp_path / folder).mkdir()
    for name in ("a", "b"):
        Image.effect_noise((8, 8), 60).convert("RGB").save(tmp_path / "pictures" / f"{name}.jpg")
    saved(tmp_path / "masks" / "b.png", mask)
    words = [f"data.images={tmp_path}/pictures", f"data.masks={tmp_path}/masks", "data.samples=2"]
    context, masks = masks_of(tiny_model, *words)
    assert torch.equal(masks.of(context.samples[1]), mask)
    with pytest.raises(DataError, match=r"holds 0 masks for a\.jpg"):
        masks.of(context.samples[0])


def test_what_a_run_cannot_mask_is_said(tiny_model, tmp_path):
    context, masks = masks_of(tiny_model)
    assert not masks
    with pytest.raises(ConfigError, match=r"data\.masks is null"):
        masks.of(context.samples.first(1)[0])
    context, masks = masks_of(tiny_model, "data.masks=smile")
    with pytest.raises(UnsuitableModelError, match="factors are not known"):
        masks.of(context.samples.first(1)[0])
    context, masks = masks_of(tiny_model, f"data.masks={tmp_path}/nothing")
    with pytest.raises(DataError, match=r"data\.masks=.*/nothing does not exist"):
        masks.of(context.samples.first(1)[0])
    with pytest.raises(ConfigError, match=r"data\.masks=.* is not possible; allowed: null"):
        check(composed(["data.masks=[1,2]"]))


def test_a_factors_mask_of_a_generated_face_is_that_of_the_nearest_portrait(shipped):
    from diffgeo.metrics.attributes import load_predictor

    context = Context(shipped, composed(["schedule.steps=20", "data.masks=smile"]), load_predictor())
    sample = context.samples.first(1)[0]
    mask = context.masks.of(sample)
    rows = mask.any(dim=1).nonzero()[:, 0]
    assert mask.shape == (32, 32)
    assert rows.min() >= 16, "the mouth is in the lower half"
    assert 4 <= mask.sum() <= 150
    assert context.masks.of(sample) is mask
