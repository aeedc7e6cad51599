"""Contexts that share their latents and bases under other settings never take one that those settings do not give."""

from copy import deepcopy
from dataclasses import replace
from functools import cache

import pytest
import torch
from PIL import Image

from diffgeo.composition import composed
from diffgeo.session import Context

WORDS = ["schedule.steps=8", "schedule.edit=[0.5]", "svd.rank=2", "data.samples=1", "edit.normalise=false"]


@cache
def once_composed(*words):
    return composed([*WORDS, *words])


def settings(*words):
    return deepcopy(once_composed(*words))


def shared(context, *words):
    """The same context, dictionaries and all, under other settings; as the explorer makes it of its preview."""
    return replace(context, cfg=settings(*words))


@pytest.fixture
def picture(tmp_path):
    Image.effect_noise((8, 8), 60).convert("RGB").save(tmp_path / "picture.png")
    return f"data.images={tmp_path}/picture.png"


@pytest.mark.parametrize("own_picture", [False, True])
@pytest.mark.parametrize("other", ["schedule.steps=4", "schedule.clip=true", "schedule.clip=false", "seed=0"])
def test_shared_latents_are_those_of_a_context_alone(tiny_model, picture, own_picture, other):
    data = [picture] if own_picture else []
    first = Context(tiny_model, settings(*data))
    second = shared(first, *data, other)
    alone = Context(tiny_model, settings(*data, other))
    t = first.edit_times[0][1]
    assert t == alone.edit_times[0][1], "a preview has the timesteps of the run"
    for time in (tiny_model.schedule.T, t):
        before = first.latents.of(first.samples[0], time)
        found = second.latents.of(second.samples[0], time)
        assert torch.equal(found, alone.latents.of(alone.samples[0], time))
        assert torch.equal(first.latents.of(first.samples[0], time), before)


@pytest.mark.parametrize("other", ["schedule.steps=4", "feature.pool=sum", "svd.rank=3", "svd.tol=1e-2"])
def test_shared_bases_are_those_of_a_context_alone(tiny_model, other):
    first = Context(tiny_model, settings())
    t = first.edit_times[0][1]
    first.bases.of(first.samples[0], t)
    second, alone = shared(first, other), Context(tiny_model, settings(other))
    found, wanted = (one.bases.of(one.samples[0], t) for one in (second, alone))
    assert torch.equal(found.V, wanted.V)
    assert torch.equal(found.s, wanted.s)


def test_what_the_settings_leave_as_it_is_is_still_shared(tiny_model):
    first = Context(tiny_model, settings())
    t = first.edit_times[0][1]
    second = shared(first, "edit.strength=0.1", "schedule.edit=[0.5,0.25]")
    assert second.latents.of(second.samples[0], t) is first.latents.of(first.samples[0], t)
    assert second.bases.of(second.samples[0], t) is first.bases.of(first.samples[0], t)
