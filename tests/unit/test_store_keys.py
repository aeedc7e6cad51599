"""Results of other code are not taken from the store: which modules its keys hold."""

import ast
import importlib
import shlex
import shutil
import sys
from dataclasses import fields
from functools import partial
from pathlib import Path
from types import ModuleType
from unittest import mock

import pytest
import torch

import diffgeo
from diffgeo.composition import composed
from diffgeo.config.fields import rule_of
from diffgeo.jacobian import Masked
from diffgeo.runner.finish import _determinants
from diffgeo.session import Context
from diffgeo.session.bases import MapName
from diffgeo.session.cache import Cache
from diffgeo.session.digests import code_version, makes_no_results
from diffgeo.session.entries import Record
from diffgeo.session.inputs import named_files, own_code
from diffgeo.session.store import Store
from diffgeo.studies import Study, studies, study_named
from diffgeo.studies.comparison.settings import ComparisonConfig
from stored import fetch

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
    fetch(store, stage, keys, lambda: Record({"x": torch.ones(1)}))
    with mock.patch("diffgeo.session.store.code_version", return_value="other"):
        again = fetch(store, stage, keys, lambda: Record({"x": torch.zeros(1)}))
        assert again.tensors["x"].item() == 0
        cache = Cache(store, torch.device("cpu"))
        kept = cache.tensor(stage, keys, lambda: pytest.fail("computed again"))
    assert kept.item() == 0
    assert fetch(store, stage, keys, lambda: pytest.fail("computed again")).tensors["x"].item() == 1


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """``stranger(**files)``: writes a package of another's, ``mine``, and gives its module ``maps``."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(**files):
        folder = tmp_path / "mine"
        folder.mkdir(exist_ok=True)
        for name, text in ({"__init__": "", "maps": MAPS} | files).items():
            folder.joinpath(*name.split(".")).with_suffix(".py").parent.mkdir(exist_ok=True)
            folder.joinpath(*name.split(".")).with_suffix(".py").write_text(text)
        for name in [name for name in sys.modules if name.partition(".")[0] == "mine"]:
            del sys.modules[name]
        importlib.invalidate_caches()
        return importlib.import_module("mine.maps")

    yield write
    for name in [name for name in sys.modules if name.partition(".")[0] == "mine"]:
        del sys.modules[name]


MAPS = """
import torch
from torch import nn

def stretched(x):
    return 2 * x.flatten()

def made():
    return lambda x: stretched(x)

class Map:
    def __call__(self, x):
        return stretched(x)

    def method(self, x):
        return stretched(x)

class Network(nn.Module):
    def forward(self, x):
        return stretched(x)
"""


def test_code_that_is_edited_after_its_import_keeps_its_digest(stranger, tmp_path):
    first = own_code(stranger().made())
    (tmp_path / "mine" / "maps.py").write_text(MAPS.replace("2", "3"))
    assert own_code(sys.modules["mine.maps"].stretched) == first, "the process still runs the first one"
    assert own_code(importlib.reload(sys.modules["mine.maps"]).stretched) != first


@pytest.mark.parametrize("file", ["helpers", "api", "cli.words", "report.page"])
def test_every_file_of_a_strangers_package_counts(stranger, file):
    first = own_code(stranger(**{file: "one = 1"}).Map)
    assert first == own_code(stranger(**{file: "one = 1"}).Map)
    assert first != own_code(stranger(**{file: "one = 2"}).Map)


def test_what_a_strangers_package_holds_beside_code_counts_but_pythons_caches_do_not(stranger, tmp_path):
    first = own_code(stranger().Map)
    (tmp_path / "mine" / "__pycache__").mkdir()
    (tmp_path / "mine" / "__pycache__" / "maps.pyc").write_bytes(b"compiled")
    assert own_code(stranger().Map) == first
    (tmp_path / "mine" / "words.json").write_text("[]")
    assert own_code(stranger().Map) != first


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda maps: maps.stretched,
        lambda maps: maps.made(),
        lambda maps: maps.Map(),
        lambda maps: maps.Map().method,
        lambda maps: maps.Network(),
        lambda maps: torch.nn.Sequential(torch.nn.Identity(), maps.Network()),
        lambda maps: partial(maps.stretched),
        lambda maps: partial(torch.func.jvp, maps.stretched),
        lambda maps: Masked(maps.stretched, torch.ones(2, 2, dtype=torch.bool)),
        lambda maps: torch.func.vmap(maps.stretched),
        lambda maps: chained(maps.stretched),
    ],
)
def test_code_is_found_in_whatever_wraps_it(stranger, wrapped):
    maps = stranger()
    assert set(own_code(maps.stretched)) <= set(own_code(wrapped(maps)))


def chained(f):
    """Another's function in a closure of ours."""
    return lambda x: f(x) + 1


def test_code_of_this_package_and_of_its_libraries_does_not_count_again():
    assert own_code(torch.nn.Linear(1, 1), torch.sigmoid, torch.func.vmap, Store, composed, len) == []


def test_code_that_lies_in_no_file_is_of_this_process_alone(monkeypatch):
    names = {"__name__": "__main__"}
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    exec("def typed(x):\n    return x", names)
    first = own_code(names["typed"])
    assert len(first) == 1
    monkeypatch.setattr("diffgeo.session.inputs._PROCESS", "another")
    assert own_code(names["typed"]) != first


def test_an_edited_map_of_a_stranger_has_another_basis(stranger, tiny_model, tmp_path):
    store, x = Store(tmp_path / "store"), torch.ones(3, 8, 8)

    def leading(maps):
        context = Context(tiny_model, composed(["svd=dense"]), store=store)
        name = MapName(500, output="stretched")
        return context.bases.of_map(maps.made(), x, name=name, rank=1).s.item()

    assert leading(stranger()) == pytest.approx(2)
    assert leading(stranger(maps=MAPS.replace("2", "3"))) == pytest.approx(3)


def test_an_edited_file_that_a_solver_reads_is_another_key_of_bases(tiny_model, tmp_path):
    file = tmp_path / "start.pt"
    cfg = composed(["svd=dense"])
    cfg.svd.options = {"start": str(file)}
    keys = []
    for contents in (b"first", b"second"):
        file.write_bytes(contents)
        keys.append(Context(tiny_model, cfg).cache._own)
    assert keys[0] != keys[1]


def test_an_edited_file_of_a_strangers_study_is_another_key(stranger, tiny_model):
    def key(text):
        stranger(api=text)
        study = Study("mine", "Mine", "Is it?", ComparisonConfig, "mine")
        return _determinants(study, Context(tiny_model, composed([])), ComparisonConfig())["own study"]

    assert key("one = 1") == key("one = 1") != key("one = 2")


NAMING = [(study.name, one.name) for study in studies().values() for one in fields(study.settings) if rule_of(one).path]


@pytest.mark.parametrize(("name", "field"), NAMING)
def test_an_edited_file_that_a_study_names_is_another_key(tiny_model, tmp_path, name, field):
    file = tmp_path / "named.png"
    cfg = composed([f"study=[{name}]"])
    setattr(cfg.study[name], field, [str(file), str(tmp_path / "other.png")])
    context, keys = Context(tiny_model, cfg), []
    for contents in (b"first", b"second"):
        file.write_bytes(contents)
        keys.append(_determinants(study_named(name), context, cfg.study[name])["read"])
    assert keys[0] != keys[1]


def test_the_model_and_the_pictures_are_not_read_again(tiny_model, tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    cfg = composed([f"data.images={tmp_path}", f"model.path={tmp_path}"])
    spectrum = study_named("spectrum")
    assert tmp_path.as_posix() not in _determinants(spectrum, Context(tiny_model, cfg), spectrum.settings())["read"]


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
    assert file.as_posix() in named_files(composed(shlex.split(words.format(file))))


@pytest.mark.parametrize("text", ["x" * 300, "~nobody-of-this-name/net.pt", "a b"])
def test_texts_that_are_no_paths_are_passed_over(text):
    words = [f"metric.extra.mine={{_target_: my.Metric, words: '{text}'}}"]
    assert text not in named_files(composed(words))
