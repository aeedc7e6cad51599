import re
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffgeo.data.captions import WORDS, prompted_values
from diffgeo.data.factor_faces import FACTOR_NAMES, FACTORS, render, sample_factors
from diffgeo.errors import ShapeError
from training.captions import VOCABULARY, caption


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def portraits(n, seed=0):
    return sample_factors(n, generator=generator(seed))


def face(**changes):
    """One factor vector: all factors 0, no glasses, and what is asked for."""
    z = torch.zeros(1, len(FACTORS))
    for name, value in {"glasses": -1.0, **changes}.items():
        z[0, FACTOR_NAMES.index(name)] = value
    return z


@given(seed=st.integers(0, 2**31))
def test_captions_claim_only_what_is_clearly_true(seed):
    z = portraits(16, seed)
    for row, text in zip(z, caption(z, generator(seed)), strict=True):
        for claim in prompted_values(text):
            value = row[FACTOR_NAMES.index(claim.factor)]
            assert claim.clear[0] - 1e-6 <= value <= claim.clear[1] + 1e-6, (text, claim)
            assert claim.holds(value), (text, claim)


def test_captions_use_every_word_of_the_vocabulary_and_no_other():
    z = portraits(4000)
    used = {word for text in caption(z, generator()) for word in re.findall(r"[^\s,]+", text)}
    assert used == set(VOCABULARY)


def test_every_factor_is_named_often_and_left_out_often():
    z = portraits(2000)
    named = [{claim.factor for claim in prompted_values(text)} for text in caption(z, generator())]
    for name in FACTOR_NAMES:
        share = sum(name in factors for factors in named) / len(named)
        assert 0.25 < share < 0.75, name


def test_captions_are_a_function_of_the_seed():
    z = portraits(50)
    assert caption(z, generator(1)) == caption(z, generator(1))
    assert caption(z, generator(1)) != caption(z, generator(2))


def test_a_face_about_which_nothing_is_clear_still_has_a_caption():
    texts = set(caption(face(background_hue=75 / 147.6 - 1).repeat(200, 1), generator()))
    assert "a face" in texts
    assert all("background" not in text for text in texts)


@pytest.mark.parametrize(
    ("prompt", "claimed"),
    [
        ("long hair", {"hair_length": 0.9}),
        ("short hair", {"hair_length": -0.9}),
        ("portrait of a smiling face", {"smile": 0.9}),
        ("a SAD face", {"smile": -0.9}),
        ("dark red hair", {"hair_hue": -0.9, "hair_lightness": -0.9}),
        ("blond hair", {"hair_hue": 0.9, "hair_lightness": 0.9}),
        ("dark skin", {"skin_tone": 0.9}),
        ("a face without glasses", {"glasses": -1.0}),
        ("no beard, glasses", {"beard": -0.9, "glasses": 1.0}),
        ("an open mouth and wide eyes", {"mouth_opening": 0.9, "eye_opening": 0.9}),
        ("a wide face looking left", {"face_width": 0.9, "yaw": -0.9}),
        ("green background", {"background_hue": -0.2}),
        ("a green dragon on a hill", {}),
    ],
)
def test_prompts_claim_what_they_say(prompt, claimed):
    claims = prompted_values(prompt)
    assert {claim.factor for claim in claims} == set(claimed)
    for claim in claims:
        value = torch.tensor(claimed[claim.factor])
        assert claim.holds(value)
        if not (claim.low > -1 and claim.high < 1):
            assert not claim.holds(-value)


def test_words_that_exclude_each_other_share_a_boundary_and_leave_no_gap():
    for noun in ("background", "skin", "mouth", "eyes", "brows", "glasses", "beard", "freckles"):
        cells = sorted({(claims[0].low, claims[0].high) for claims in WORDS[noun].values()})
        assert cells[0][0] == -torch.inf
        assert cells[-1][1] == torch.inf
        assert all(left[1] == right[0] for left, right in pairwise(cells))


@pytest.mark.parametrize(
    ("colour", "channels"), [("red", (0,)), ("green", (1,)), ("blue", (2,)), ("yellow", (0, 1)), ("turquoise", (1, 2))]
)
def test_a_background_has_the_colour_that_its_word_says(colour, channels):
    low, high = WORDS["background"][colour][0].clear
    corner = render(face(background_hue=(low + high) / 2), 64)[0, :, 2, 2]
    others = [c for c in range(3) if c not in channels]
    assert corner[list(channels)].min() > corner[others].max() + 0.3


def test_factors_of_another_shape_are_refused():
    with pytest.raises(ShapeError, match="expected"):
        caption(torch.zeros(3, 5))
