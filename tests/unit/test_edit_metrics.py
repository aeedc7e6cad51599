"""Definitions of what edits do, by hand."""

import math

import pytest
import torch

from diffgeo.errors import ShapeError, ValueRangeError
from diffgeo.metrics.attributes import label_direction
from diffgeo.metrics.edits import (
    attribute_dependency,
    binned_dependency,
    directional_similarity,
    edit_precision,
    local_success,
    locality,
    rescoring_interval,
    rescoring_matrix,
    standardise,
    targets,
    transfer_success,
)
from diffgeo.metrics.statistics import resample


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


CHANGES = torch.tensor([[[3.0, -1.0, 0.5]], [[-2.0, 0.2, 0.2]]])  # (2 samples, 1 direction, 3 attributes)


def test_standardised_changes_are_in_standard_deviations():
    unedited = torch.tensor([[1.0, 5.0], [3.0, 5.0], [5.0, 5.0]])
    found = standardise(torch.tensor([4.0, 7.0]), unedited)
    assert found.tolist() == [2.0, 0.0]  # the second never varies: it has no scale
    with pytest.raises(ShapeError, match=r"N >= 2"):
        standardise(torch.ones(2), unedited[:1])
    with pytest.raises(ValueRangeError, match="NaN"):
        standardise(torch.tensor([math.nan, 0.0]), unedited)


def test_targets_are_the_largest_changes_of_oneself_or_of_the_others():
    changes = torch.tensor([[[3.0, 1.0]], [[3.0, 1.0]], [[0.0, 2.0]]])
    assert targets(changes, held_out=False)[:, 0].tolist() == [0, 0, 1]
    assert targets(changes, held_out=True)[:, 0].tolist() == [0, 0, 0]
    with pytest.raises(ValueRangeError, match="2 or more"):
        targets(changes[:1], held_out=True)


def test_rescoring_dependency_and_precision_by_hand():
    assert rescoring_matrix(CHANGES).tolist() == [pytest.approx([0.5, -0.4, 0.35])]
    target = torch.tensor([[0], [0]])
    mean, largest = attribute_dependency(CHANGES, target)
    assert mean[:, 0].tolist() == pytest.approx([0.75, 0.2])
    assert largest[:, 0].tolist() == pytest.approx([1.0, 0.2])
    assert edit_precision(CHANGES, target)[:, 0].tolist() == pytest.approx([4.0, 10.0])
    assert edit_precision(torch.zeros(1, 3), torch.tensor([1])).tolist() == [0]


def test_binned_dependency_averages_the_edits_of_each_bin():
    flat, target = CHANGES[:, 0], torch.tensor([0, 0])
    found = binned_dependency(flat, target, torch.tensor([0.0, 1.0, 2.5, 4.0]))
    assert math.isnan(found[0])
    assert found[1:].tolist() == pytest.approx([0.2, 0.75])
    with pytest.raises(ValueRangeError, match="ascend"):
        binned_dependency(flat, target, torch.tensor([1.0, 1.0]))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([2.0, 0.1, 0.4], True),
        ([2.0, 0.1, 0.6], False),  # another one is not still
        ([2.0, 1.5, 0.0], False),  # two moved
        ([0.9, 0.0, 0.0], False),  # none moved
        ([-2.0, 0.1, -0.4], True),
    ],
)
def test_local_success_is_one_attribute_and_nothing_else(changes, expected):
    assert bool(local_success(torch.tensor(changes))) is expected


def test_transfer_is_the_same_attribute_the_same_way():
    source = torch.tensor([[2.0, 0.0], [2.0, 0.0], [-2.0, 0.0], [0.0, 0.0]])
    other = torch.tensor([[1.5, 3.0], [-1.5, 0.0], [-1.5, 0.0], [5.0, 0.0]])
    found = transfer_success(source, other)
    assert found[:3].tolist() == [1, 0, 1]
    assert math.isnan(found[3])  # nothing to transfer
    with pytest.raises(ValueRangeError, match="still"):
        local_success(source, still=0)


def test_locality_of_a_change_inside_outside_and_half():
    mask = torch.zeros(4, 4)
    mask[:, :2] = 1
    change = torch.zeros(4, 1, 4, 4)
    change[0, :, :, :2] = 1
    change[1, :, :, 2:] = 1
    change[2] = 1
    found = locality(change, mask)
    assert found[:3].tolist() == pytest.approx([0, 1, 0.5])
    assert math.isnan(found[3])
    with pytest.raises(ValueRangeError, match="0 to 1"):
        locality(change, mask * 2)
    with pytest.raises(ShapeError):
        locality(change, torch.ones(3, 3))


def test_directional_similarity_is_a_cosine_in_its_range():
    a = draw(50, 8)
    found = directional_similarity(a, draw(8, seed=1))
    assert bool((found.abs() <= 1).all())
    assert directional_similarity(a, a).tolist() == pytest.approx([1] * 50)
    assert directional_similarity(a, -3 * a).tolist() == pytest.approx([-1] * 50)
    assert directional_similarity(torch.zeros(1, 8), a[:1]).item() == 0
    with pytest.raises(ValueRangeError, match="NaN"):
        directional_similarity(a * math.nan, a)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_anywhere_is_loud(bad):
    broken, target = CHANGES.clone(), torch.tensor([[0], [0]])
    broken[1, 0, 2] = bad
    for call in (
        lambda: rescoring_matrix(broken),
        lambda: edit_precision(broken, target),
        lambda: attribute_dependency(broken, target),
        lambda: local_success(broken),
        lambda: transfer_success(CHANGES, broken),
        lambda: targets(broken, held_out=False),
    ):
        with pytest.raises(ValueRangeError, match="NaN or infinity"):
            call()


def test_a_label_says_how_sure_it_is():
    changes = torch.tensor([[2.0, -1.0, 0.0], [2.0, -1.0, 0.1], [2.0, 0.2, 0.0], [2.0, -1.0, 0.0]])
    label, confidence = label_direction(["hair", "skin", "eyes"], changes)
    assert label == "hair + (1.00), skin − (0.75)"
    assert confidence == 1
    nothing, unsure = label_direction(["hair", "skin", "eyes"], changes * 0.01)
    assert nothing == "no attribute"
    assert math.isnan(unsure)
    with pytest.raises(ShapeError):
        label_direction(["hair"], changes)


# intervals


def test_the_bootstrap_interval_of_a_mean_has_its_known_width():
    x = draw(400, seed=11)
    found = resample(lambda v: v.mean().item(), x, draws=2000)
    half = 1.96 * x.std().item() / 20
    assert found.value == pytest.approx(x.mean().item())
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)
    assert found.low < found.value < found.high
    assert found.n == 400


def test_halves_without_replacement_give_the_same_width():
    x = draw(400, seed=12)
    found = resample(lambda v: v.mean().item(), x, draws=1000, halves=True)
    assert found.high - found.low == pytest.approx(2 * 1.96 * x.std().item() / 20, rel=0.1)
    assert math.isnan(resample(lambda v: v.mean().item(), x[:3], halves=True).low)


def test_resampling_keeps_rows_together_and_skips_degenerate_draws():
    x = draw(30)

    def correlation(a, b):
        if len(torch.unique(a)) < 20:
            raise ValueRangeError("degenerate", "give others")
        return torch.corrcoef(torch.stack([a, b]))[0, 1].item()

    found = resample(correlation, x, 2 * x, draws=50)
    assert found.low == pytest.approx(1)
    assert resample(lambda v: v.sum().item(), x[:1]).low != resample(lambda v: v.sum().item(), x[:1]).low  # NaN
    with pytest.raises(ShapeError, match="one length"):
        resample(correlation, x, x[:3])
    with pytest.raises(ValueRangeError, match="one sample"):
        resample(lambda v: 0.0, x[:0])


def test_the_rescoring_matrix_has_an_interval_for_every_entry():
    changes = draw(200, 2, 3) + torch.tensor([1.0, 0.0, -1.0])
    value, (low, high) = rescoring_matrix(changes), rescoring_interval(changes)
    assert bool((low < value).all() and (value < high).all())
    assert (high - low).mean().item() == pytest.approx(2 * 1.96 / math.sqrt(200), rel=0.15)
    assert bool(torch.stack(rescoring_interval(changes[:1])).isnan().all())


def test_the_confidence_of_a_label_is_judged_on_samples_that_did_not_choose_it():
    # one sample alone carries the mean over the threshold: without it no label is given, so none comes true there
    changes = torch.tensor([[4.0, 0.0], [0.1, 0.0], [0.1, 0.0], [0.1, 0.0]])
    label, confidence = label_direction(["hair", "skin"], changes)
    assert label == "hair + (0.00)"
    assert confidence == 0
    assert label_direction(["hair", "skin"], changes[:1])[0] == "hair +"
