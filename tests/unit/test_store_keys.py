"""Results of other code are not taken from the store: which modules its keys hold."""

import ast
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import torch

import diffgeo
from diffgeo.composition import composed
from diffgeo.runner.finish import _files
from diffgeo.session.cache import Cache
from diffgeo.session.digests import code_version, file_digest, makes_no_results, own_code_digest
from diffgeo.session.store import Record, Store

PACKAGE = Path(diffgeo.__file__).parent
COMPUTING = [
    "studies/shared/matching.py",  # output_map
    "studies/shared/provenance.py",
    "studies/shared/tangent_spaces.py",
    "studies/study.py",
    "studies/disentanglement/reference.py",  # follow, denoise
    "studies/disentanglement/edits.py",
    "studies/spectrum/measure.py",
    "studies/spectrum/plots.py",
    "session/context.py",
    "session/samples.py",
    "session/latents.py",
    "session/bases.py",
    "session/editor.py",
    "session/decoder.py",  # _decoded
    "session/cache.py",
    "session/digests.py",
    "session/store.py",
    "session/processes.py",
    "svd/solve.py",
    "svd/spec.py",
    "svd/golub_kahan.py",
    "svd/dense.py",
    "svd/_linalg.py",
    "geometry/curves.py",
    "geometry/directions.py",
    "jacobian/operator.py",
    "jacobian/product_modes.py",
    "jacobian/transposable.py",
    "jacobian/memory.py",
    "diffusion/editing.py",
    "diffusion/sampling.py",
    "diffusion/noise_schedule.py",
    "diffusion/rectified_flow.py",
    "diffusion/scheduler_fields.py",
    "diffusion/feature_map.py",
    "diffusion/direction_files.py",
    "diffusion/models/latent.py",
    "data/images.py",
    "metrics/statistics.py",
    "report/charts/lines.py",
    "report/figures.py",
    "report/picture_grids.py",
    "report/formatting.py",
    "results.py",
    "convergence.py",
    "runner/finish.py",
    "runner/prepare.py",
    "composition/hydra.py",
    "config/fields.py",
]
SILENT = [
    "report/page/sections.py",
    "report/findings.py",
    "report/reading.py",
    "report/runs.py",
    "report/comparison.py",
    "studies/spectrum/findings.py",
    "studies/spectrum/page.py",
    "runner/console.py",
    "runner/dry_run.py",
    "explore/session.py",
    "explore/app.py",
    "cli/explore.py",
    "cli/store.py",
    "cli/report.py",
    "cli/command.py",
    "cli/help.py",
    "cli/paper.py",
    "cli/network.py",
    "__main__.py",
    "api.py",
]


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """A copy of the package."""
    folder = tmp_path_factory.mktemp("package") / "diffgeo"
    shutil.copytree(PACKAGE, folder, ignore=shutil.ignore_patterns("__pycache__", "assets"))
    return folder


@pytest.fixture
def version_after_editing(copied):
    """``version_after_editing(file)``: the code's version after a function of that file in the copy was edited."""

    def version(file):
        path = copied / file
        text = path.read_text()
        lines = text.splitlines()
        function = next(node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef))
        lines.insert(function.body[-1].lineno - 1, " " * function.body[-1].col_offset + "edited = True")
        try:
            path.write_text("\n".join(lines))
            ast.parse(path.read_text())
            code_version.cache_clear()
            return code_version(copied)
        finally:
            path.write_text(text)
            code_version.cache_clear()

    return version


@pytest.mark.parametrize("file", COMPUTING)
def test_an_edited_function_of_what_computes_is_another_key(version_after_editing, file):
    assert version_after_editing(file) != code_version()


@pytest.mark.parametrize("file", SILENT)
def test_an_edited_page_command_or_explorer_is_the_same_key(version_after_editing, file):
    assert version_after_editing(file) == code_version()


NUMBERS = ("jacobian", "svd", "geometry", "diffusion", "data", "metrics", "session", "composition", "config")


@pytest.mark.parametrize("folder", NUMBERS)
def test_every_module_of_a_folder_that_computes_counts(folder):
    files = [path.relative_to(PACKAGE) for path in (PACKAGE / folder).rglob("*.py")]
    assert files
    assert not any(map(makes_no_results, files))


def test_of_studies_only_what_is_told_of_their_tables_is_left_out():
    files = [path.relative_to(PACKAGE) for path in (PACKAGE / "studies").rglob("*.py")]
    assert {path.name for path in files if makes_no_results(path)} == {"findings.py", "page.py"}


def test_a_new_module_and_another_name_are_other_keys(copied):
    before = code_version(copied)
    (copied / "svd" / "new.py").write_text("")
    code_version.cache_clear()
    added = code_version(copied)
    (copied / "svd" / "new.py").rename(copied / "svd" / "newer.py")
    code_version.cache_clear()
    renamed = code_version(copied)
    (copied / "svd" / "newer.py").unlink()
    code_version.cache_clear()
    assert len({before, added, renamed}) == 3


def test_another_version_of_a_library_is_another_key():
    before = code_version()
    code_version.cache_clear()
    with mock.patch("diffgeo.session.digests.version", return_value="99"):
        other = code_version()
    code_version.cache_clear()
    assert other != before == code_version()


@pytest.mark.parametrize("stage", ["latents", "pictures", "bases", "probes", "studies"])
def test_what_other_code_stored_is_missed_in_every_stage(tmp_path, stage):
    store, keys = Store(tmp_path / "store"), {"x": torch.ones(2)}
    store.fetch(stage, keys, lambda: Record({"x": torch.ones(1)}))
    with mock.patch("diffgeo.session.store.code_version", return_value="other"):
        again = store.fetch(stage, keys, lambda: Record({"x": torch.zeros(1)}))
        assert again.tensors["x"].item() == 0
        cache = Cache(store, torch.device("cpu"))
        kept = cache.tensor(stage, keys, lambda: pytest.fail("computed again"))
    assert kept.item() == 0
    assert store.fetch(stage, keys, lambda: pytest.fail("computed again")).tensors["x"].item() == 1


def test_code_that_is_edited_after_its_import_keeps_its_digest(tmp_path):
    file = tmp_path / "metric.py"
    file.write_text("one = 1")
    imported = type("Imported", (), {})
    before = own_code_digest(imported, file)
    file.write_text("one = 2")
    assert own_code_digest(imported, file) == before, "the process still runs the first one"
    again = type("Imported", (), {})
    assert own_code_digest(again, file) == file_digest(file) != before


@pytest.mark.parametrize(
    "words",
    [
        "predictor=classifier predictor.names=[a] predictor.path={}",
        "predictor=clip predictor.path={}",
        "svd.options.start={}",
        "edit.options.mask={}",
        "model.options.weights={}",
        "metric.identity={}",
        "metric._target_=my.Measure metric.options.weights={}",
        "'metric.extra.mine={{_target_: my.Metric, weights: {}}}'",
        "'metric.extra.mine={{_target_: my.Metric, nets: [{{a: [{}]}}]}}'",
        "'edit.options.masks=[{{eyes: {}}}]'",
    ],
)
def test_a_file_that_a_setting_names_counts_by_what_is_in_it(tmp_path, words):
    file = tmp_path / "net.pt"
    file.write_bytes(b"weights")
    context = SimpleNamespace(cfg=composed(shlex.split(words.format(file))), perceptual=SimpleNamespace(name="rmse"))
    assert file in list(_files(context, SimpleNamespace()))


@pytest.mark.parametrize("text", ["x" * 300, "~nobody-of-this-name/net.pt", "a b"])
def test_texts_that_are_no_paths_are_passed_over(text):
    words = [f"metric.extra.mine={{_target_: my.Metric, words: '{text}'}}"]
    context = SimpleNamespace(cfg=composed(words), perceptual=SimpleNamespace(name="rmse"))
    assert text not in map(str, _files(context, SimpleNamespace()))
