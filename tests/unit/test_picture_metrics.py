"""Metrics of the user's own: what they are given, and what they may return."""

import pytest
import torch

from diffgeo.errors import ConfigError, ShapeError, ValueRangeError
from diffgeo.metrics.pictures import measured, try_out

PICTURES = torch.linspace(-1.5, 1.5, 4 * 3 * 8 * 8).reshape(4, 3, 8, 8)


def brightness(edited, original):
    return (edited - original).mean(dim=(1, 2, 3))


def test_a_metric_sees_pictures_as_they_are_stored():
    found = measured({"brightness": brightness, "highest": lambda e, o: e.amax(dim=(1, 2, 3))}, PICTURES, PICTURES[:1])
    clipped = PICTURES.clamp(-1, 1)
    torch.testing.assert_close(found["brightness"], (clipped - clipped[:1]).mean(dim=(1, 2, 3)))
    assert found["highest"].max() == 1
    assert measured({}, PICTURES, PICTURES[:1]) == {}


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (lambda e, o: e, r"metric.extra.mine returned \(4, 3, 8, 8\); return one number per picture, \(4,\)"),
        (lambda e, o: e.mean(), r"metric.extra.mine returned \(\); return"),
        (lambda e, o: 0.5, "metric.extra.mine returned no tensor but a float; return"),
    ],
)
def test_another_shape_is_refused(metric, said):
    with pytest.raises(ShapeError, match=said):
        measured({"mine": metric}, PICTURES, PICTURES[:1])


def test_what_is_not_finite_is_refused_with_its_number():
    with pytest.raises(ValueRangeError, match=r"metric.extra.mine returned NaN or infinity for 3 of 4"):
        measured({"mine": lambda e, o: 1 / (e[:, 0, 0, 0] == e[0, 0, 0, 0]).float()}, PICTURES, PICTURES[:1])


def test_a_metric_that_cannot_work_fails_on_noise():
    def broken(edited, original):
        return edited @ original.flatten()

    with pytest.raises(ConfigError, match=r"mine failed on edited \(2, 3, 8, 8\), .*\(RuntimeError: "):
        try_out({"mine": broken}, 8, torch.device("cpu"))
    with pytest.raises(ShapeError):
        try_out({"mine": lambda e, o: e}, 8, torch.device("cpu"))
    seen = []
    try_out({"mine": lambda e, o: seen.append((e.shape, o.shape)) or brightness(e, o)}, 8, torch.device("cpu"))
    assert seen == [((2, 3, 8, 8), (1, 3, 8, 8))]


def test_a_metric_that_fails_later_than_the_try_out_is_named_with_what_it_was_given():
    def at_night(edited, original):
        if edited.mean() < -0.2:
            raise KeyError("no light")
        return brightness(edited, original)

    try_out({"mine": at_night}, 8, torch.device("cpu"))
    said = r"extra.mine failed on edited \(4, 3, 8, 8\), values -1.00 to .*, and original \(1, 3, 8, 8\) \(KeyError: "
    with pytest.raises(ConfigError, match=said):
        measured({"mine": at_night}, PICTURES - 1, PICTURES[:1])


def test_an_empty_memory_stays_what_it_is_for_others_mend_it():
    def large(edited, original):
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        measured({"mine": large}, PICTURES, PICTURES[:1])
