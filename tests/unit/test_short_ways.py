"""From a study to its solver it is a short way, and what is asked of the solver is the key under which it is kept."""

import traceback
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import diffgeo
from diffgeo.api import run_study
from diffgeo.composition import composed
from diffgeo.session import Context
from diffgeo.session.bases import MapName
from diffgeo.session.digests import digest
from diffgeo.session.store import Store
from diffgeo.svd import Dense, GolubKahan, Randomized, SolveSpec, Subspace

MOST = 6
PACKAGE = Path(diffgeo.__file__).parent
WORDS = ["schedule.steps=4", "schedule.edit=[0.5]", "svd.rank=2", "data.samples=2", "predictor=none", "device=cpu"]
STACKS = []
"""Where each call of a recording solver came from, outermost frame first."""


@dataclass(frozen=True)
class Recording(Dense):
    """A stranger's solver."""

    name = "recording"

    def solve(self, jacobian, rank, *, tol, seed=0):
        STACKS.append(traceback.extract_stack()[:-1])
        return super().solve(jacobian, rank, tol=tol, seed=seed)

    def forms_whole(self, shape, rank):
        return False


@dataclass(frozen=True)
class RecordingTogether(GolubKahan):
    """One that serves several points at once."""

    def routine(self, *args, **kwargs):
        STACKS.append(traceback.extract_stack()[:-1])
        return (yield from super().routine(*args, **kwargs))

    def forms_whole(self, shape, rank):
        return False


@cache
def settings(*words):
    """Composed once, as that takes longest."""
    return composed([*WORDS, *words])


def ours_between(stack, caller):
    """Our frames after the last one in the caller's file."""
    files = [Path(frame.filename) for frame in stack]
    last = max(i for i, file in enumerate(files) if file == caller)
    return [
        frame.name for frame, file in zip(stack[last + 1 :], files[last + 1 :], strict=True) if PACKAGE in file.parents
    ]


def falling(x):
    """A map that stretches the first numbers of x most."""
    return x.flatten() / torch.arange(1, x.numel() + 1)


@pytest.fixture
def context(tiny_model, tmp_path):
    """``context(*words, store=False)``: of a run with the recording solver."""
    STACKS.clear()

    def make(*words, store=False, solver=Recording):
        cfg = settings(f"svd={solver.mro()[1].name}", f"svd._target_={__name__}.{solver.__name__}", *words)
        return Context(tiny_model, cfg, store=Store(tmp_path / "store") if store else None)

    return make


@pytest.mark.parametrize("store", [False, True])
@pytest.mark.parametrize("share", [[], ["svd.share=0.1"]])
@pytest.mark.parametrize(
    "ask",
    [
        lambda bases, sample, x, t: bases.of(sample, t),
        lambda bases, sample, x, t: bases.at(x, t),
        lambda bases, sample, x, t: bases.at_each([x, 2 * x], t),
        lambda bases, sample, x, t: bases.of_map(falling, x, name=MapName(t, output="falling")),
    ],
    ids=["of", "at", "at_each", "of_map"],
)
def test_at_most_six_of_our_frames_lie_between_a_study_and_a_solver(context, ask, share, store):
    run = context(*share, store=store)
    sample, t = run.samples[0], run.edit_times[0][1]
    ask(run.bases, sample, run.latents.of(sample, t), t)
    assert STACKS
    for stack in STACKS:
        frames = ours_between(stack, Path(__file__))
        assert 2 <= len(frames) <= MOST, frames


@pytest.mark.parametrize("store", [False, True])
def test_several_points_together_are_as_near(context, store):
    run = context("svd.points=2", store=store, solver=RecordingTogether)
    run.bases.of(run.samples[0], run.edit_times[0][1])
    assert len(STACKS) == 2
    for stack in STACKS:
        frames = ours_between(stack, Path(__file__))
        assert 2 <= len(frames) <= MOST, frames


def test_a_real_study_is_as_near(context):
    run = context("study=[spectrum]", store=True)
    run_study("spectrum", run, run.cfg.study["spectrum"])
    assert len(STACKS) >= 2
    for stack in STACKS:
        frames = ours_between(stack, PACKAGE / "studies" / "spectrum" / "measure.py")
        assert 2 <= len(frames) <= MOST, frames


# --- the key

SPEC = SolveSpec(rank=2)
OTHER = {"rank": 3, "share": 0.1, "tol": 1e-3, "seed": 1, "chunk_size": 7}
"""Another value of each field of a spec beside its solver."""
SETTINGS = {"block_size": 3, "max_passes": 90, "oversample": 2, "power_steps": 1}
"""Another value of each solver's own settings."""
CHANGES = [pytest.param(SPEC, replace(SPEC, **{name: value}), id=name) for name, value in OTHER.items()] + [
    pytest.param(
        replace(SPEC, solver=kind()),
        replace(SPEC, solver=kind(**{f.name: SETTINGS[f.name]})),
        id=f"{kind.name}.{f.name}",
    )
    for kind in (GolubKahan, Subspace, Randomized, Dense)
    for f in fields(kind)
    if f.name != "probe"  # it becomes a block size
]


@dataclass(frozen=True)
class Twin(Subspace):
    """Another solver with the same settings, and the same name."""


def test_every_field_of_a_spec_is_tried():
    assert {f.name for f in fields(SolveSpec)} == {"solver", *OTHER}


@pytest.mark.filterwarnings("ignore::diffgeo.errors.ConvergenceWarning")
@pytest.mark.parametrize(
    ("first", "other"),
    [*CHANGES, pytest.param(replace(SPEC, solver=Subspace()), replace(SPEC, solver=Twin()), id="class")],
)
def test_whatever_is_asked_of_a_solver_is_part_of_the_key(tiny_model, tmp_path, first, other):
    """The same again comes from the store, in another context too; anything else does not."""
    x, store, cfg = torch.ones(3, 8, 8), Store(tmp_path / "store"), settings()
    for spec, misses in ((first, 1), (first, 1), (replace(first), 1), (other, 2), (first, 2), (other, 2)):
        bases = Context(tiny_model, cfg, store=store).bases
        bases.spec = spec
        bases.at(x, 500)
        assert store.misses == misses, spec


@pytest.mark.parametrize(
    ("word", "solved"),
    [
        ("svd.rank=3", 1),
        ("svd.tol=1e-3", 1),
        ("svd.share=0.1", 1),
        ("feature.chunk_size=7", 1),
        ("edit.strength=0.1", 0),
    ],
)
def test_settings_reach_the_key_by_the_spec(context, word, solved):
    x = torch.ones(3, 8, 8)
    context(store=True).bases.at(x, 500)
    STACKS.clear()
    context(word, store=True).bases.at(x, 500)
    assert len(STACKS) == solved


SOLVERS = st.one_of(
    st.builds(GolubKahan, st.none() | st.integers(1, 4), st.none() | st.integers(1, 4)),
    st.builds(Subspace, st.integers(0, 4), st.none() | st.integers(1, 4)),
    st.builds(Twin, st.integers(0, 4), st.none() | st.integers(1, 4)),
    st.builds(Randomized, st.integers(0, 4), st.integers(0, 4)),
    st.sampled_from([Dense(), Recording()]),
)
SPECS = st.builds(
    SolveSpec,
    SOLVERS,
    st.none() | st.integers(1, 3),
    st.none() | st.sampled_from([0.1, 0.5]),
    st.sampled_from([1e-4, 1e-3]),
    st.integers(0, 1),
    st.integers(1, 2),
)


@given(SPECS, SPECS)
def test_keys_agree_exactly_if_specs_do(one, other):
    assert (digest({"spec": one}) == digest({"spec": other})) == (one == other)
    assert digest({"spec": one}) == digest({"spec": replace(one, solver=replace(one.solver))})
