"""Bases that miss their tolerance are counted, whichever way a study comes by them, and said wherever it is read."""

import json
import warnings
from unittest import mock

import pytest

from diffgeo.api import run_study
from diffgeo.composition import typed
from diffgeo.errors import ConvergenceWarning
from diffgeo.runner.prepare import prepare
from diffgeo.runner.run import execute
from diffgeo.svd import GolubKahan, local_basis

FEW = "svd.max_passes=6"


@pytest.fixture
def settings(composed, tiny_pipeline):
    def make(*overrides):
        words = ["model=local", f"model.path={tiny_pipeline}", "scale=smoke", "schedule.steps=4", "device=cpu"]
        words += ["schedule.edit=[1.0,0.5]", "data.samples=2", "tracking=none", "study=[spectrum,frequency]"]
        return typed(composed(*words, *overrides))

    return make


def measured(context, name):
    """A study's convergence, and its ConvergenceWarnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = run_study(name, context, context.cfg.study[name])
    return result.convergence, [one for one in caught if issubclass(one.category, ConvergenceWarning)]


def test_every_basis_of_a_study_is_counted_also_those_that_lie_in_memory(settings):
    context = prepare(settings(FEW))
    first, said = measured(context, "spectrum")
    assert (first.bases, first.missed) == (4, 4)
    certificates = [context.bases.of(s, t).certificate for s in context.samples for _, t in context.edit_times]
    assert first.worst == max(c.residual / c.tol for c in certificates)
    assert first.worst > 10
    assert len(said) == 1, "one warning a study, not one a basis"
    assert "spectrum: 4 of 4 local bases missed svd.tol" in str(said[0].message)
    second, said = measured(context, "frequency")  # takes all of them from memory
    assert second == first
    assert len(said) == 1


def test_bases_that_met_their_tolerance_are_counted_without_a_warning(settings):
    found, said = measured(prepare(settings()), "spectrum")
    assert (found.bases, found.missed, said) == (4, 0, [])
    assert 0 < found.worst <= 1


def test_bases_short_of_svd_share_are_counted(settings):
    found, said = measured(prepare(settings("svd.share=0.99", "svd.rank=3")), "spectrum")
    assert (found.bases, found.short) == (4, 4)
    assert "svd.share" in str(said[0].message)
    assert len(said) == 1


@pytest.mark.slow
def test_bases_off_the_runs_own_path_are_counted(settings):
    cfg = settings(FEW, "study=[tangent_distance,curvedness,ablation]", "study.curvedness.paths=[slerp]")
    context = prepare(cfg)
    own = {(s.index, t) for s in context.samples for _, t in context.edit_times}
    found, _ = measured(context, "tangent_distance")
    controls = 2 * min(cfg.study["tangent_distance"].controls, 2)
    assert found.bases == len(own) + controls
    assert measured(context, "curvedness")[0].missed > 0


def test_bases_of_other_models_are_counted(settings, tiny_pipeline):
    cfg = settings(
        FEW, "study=[dataset_complexity]", f"study.dataset_complexity.models=[{tiny_pipeline},{tiny_pipeline}]"
    )
    found, said = measured(prepare(cfg), "dataset_complexity")
    assert found.missed == found.bases > 0
    assert len(said) == 1


def test_outside_of_a_study_a_basis_still_warns(settings):
    context = prepare(settings(FEW))
    with pytest.warns(ConvergenceWarning, match=r"svd\.tol"):
        context.bases.of(context.samples[0], 999)
    measured(context, "spectrum")
    x = context.latents.of(context.samples[0], 999)
    with pytest.warns(ConvergenceWarning, match=r"svd\.tol"):
        local_basis(context.bases.feature_map(999), x, 3, solver=GolubKahan(max_passes=6))


LOGGED = pytest.mark.filterwarnings("default::diffgeo.errors.ConvergenceWarning")
"""The tests' own setting makes it an error."""


@LOGGED
@pytest.mark.parametrize("stored", [pytest.param("studies", marks=pytest.mark.slow), "bases"])
@pytest.mark.slow
def test_the_count_survives_a_run_from_the_store(settings, tmp_path, stored, caplog):
    cfg = settings(FEW, f"store.path={tmp_path / 'store'}")
    counts = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        execute(cfg, tmp_path / name)
        counts.append(json.loads((tmp_path / name / "run.json").read_text())["convergence"])
        assert caplog.text.count("local bases missed svd.tol") == 2, "one a study, in either run"
        assert "ConvergenceWarning" not in caplog.text, "in words, not as Python has it"
        caplog.clear()
        if stored == "bases":
            for path in (tmp_path / "store" / "studies").rglob("*.safetensors"):
                path.unlink()
    assert counts[0] == counts[1]
    assert {study: (one["bases"], one["missed"]) for study, one in counts[0].items()} == {
        "spectrum": (4, 4),
        "frequency": (4, 4),
    }
    page = (tmp_path / "b" / "report.html").read_text()
    assert "4 of 4 in Spectrum, 4 of 4 in Frequencies" in page


@LOGGED
def test_whole_studies_of_the_store_are_not_computed_again_for_their_count(settings, tmp_path):
    cfg = settings(FEW, f"store.path={tmp_path / 'store'}")
    (tmp_path / "a").mkdir()
    execute(cfg, tmp_path / "a")
    with mock.patch("diffgeo.studies.Study.run", side_effect=AssertionError("computed again")):
        execute(cfg, tmp_path / "a")
    assert json.loads((tmp_path / "a" / "run.json").read_text())["convergence"]["spectrum"]["missed"] == 4
