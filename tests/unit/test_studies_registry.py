"""Every study is one folder with one object, and studies of other packages join as those do."""

import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from unittest import mock

import pytest

import diffgeo.studies.study as registry
from diffgeo.config.documentation import documented, headline
from diffgeo.errors import ConfigError
from diffgeo.studies import GROUP, Study, all_claims, studies, study_named

HOME = Path(registry.__file__).parent
FOLDERS = sorted(path.parent.name for path in HOME.glob("*/__init__.py") if path.parent.name != "shared")


@dataclass
class TheirSettings:
    """Study ``theirs``: nothing to set."""


def theirs(name="theirs", **more):
    return Study(name, "Theirs", "Does it?", TheirSettings, "their_package.study", **more)


@pytest.fixture
def installed(monkeypatch):
    """``installed(object, ...)``: the studies, if entry points of other packages name these objects."""

    def install(*objects):
        points = [mock.Mock(spec=EntryPoint, value="their_package:STUDY", load=lambda one=one: one) for one in objects]
        for point in points:
            point.name = "theirs"
        monkeypatch.setattr(registry, "entry_points", lambda group: points if group == GROUP else [])
        studies.cache_clear()
        return studies()

    yield install
    studies.cache_clear()


# our own


def test_every_folder_is_a_study_and_every_study_a_folder():
    own = {name for name, study in studies().items() if study.package.startswith("diffgeo.")}
    assert own == set(FOLDERS)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_has_a_study_of_its_name_with_settings_and_a_measurement(folder):
    study = importlib.import_module(f"diffgeo.studies.{folder}").STUDY
    assert isinstance(study, Study)
    assert study.name == folder
    assert study.package == f"diffgeo.studies.{folder}"
    assert study is study_named(folder)
    assert study.question.endswith("?")
    assert study.rows
    assert is_dataclass(study.settings)
    assert study.settings.__module__ == f"{study.package}.settings"
    assert headline(study.settings)
    assert set(documented(study.settings)) == {field.name for field in fields(study.settings)}
    context, settings = inspect.signature(study.part("measure", "run")).parameters.values()
    assert context.name == "context"
    assert settings.annotation in (study.settings.__name__, study.settings)


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_other_parts_of_a_folder_are_what_is_looked_for(folder):
    """A part under another name would be left out without a word."""
    known = {
        "plots": {"charts", "figures"},
        "page": {"tables", "pictures", "viewer", "hero"},
        "findings": {"findings"},
        "claims": {"CLAIMS"},
    }
    for module, names in known.items():
        if (HOME / folder / f"{module}.py").is_file():
            own = importlib.import_module(f"diffgeo.studies.{folder}.{module}")
            offered, text = names & set(vars(own)), Path(own.__file__).read_text()
            assert offered, (folder, module)
            functions = set(re.findall(r"^def ([a-z]\w*)", text, re.MULTILINE)) - names
            assert all(len(re.findall(rf"\b{name}\(", text)) > 1 for name in functions), (folder, module)
            parts = [study_named(folder).part(module, name) for name in offered]
            assert all(isinstance(part, Callable | tuple) for part in parts)
    assert study_named(folder).part("nonsense", "charts", "default") == "default"


def test_titles_and_places_are_told_apart():
    for what in ("title", "place", "question"):
        values = [getattr(study, what) for study in studies().values()]
        assert len(set(values)) == len(values), what
    assert list(studies().values()) == sorted(studies().values(), key=lambda study: study.place)


def test_claims_are_those_of_the_studies():
    assert sorted(map(id, all_claims())) == sorted(id(claim) for study in studies().values() for claim in study.claims)
    assert all_claims()


def test_naming_all_studies_loads_nothing_heavy():
    code = (
        "import sys; from diffgeo.studies import studies; found = studies(); "
        "heavy = {'torch', 'numpy', 'pandas', 'matplotlib', 'altair', 'diffusers'}; "
        "print(len(found), sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{len(FOLDERS)} []\n"


def test_an_unknown_study_is_refused_with_those_that_are_known():
    with pytest.raises(ConfigError, match=r"there is no study spectra; known are .*spectrum"):
        study_named("spectra")


def test_a_module_that_fails_to_import_is_not_taken_for_one_that_is_missing(tmp_path, monkeypatch):
    package = tmp_path / "their_broken_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "plots.py").write_text("import no_such_library")
    monkeypatch.syspath_prepend(tmp_path)
    study = Study("theirs", "Theirs", "Does it?", TheirSettings, "their_broken_package")
    assert study.part("page", "tables", "none") == "none"
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        study.part("plots", "charts")


# those of other packages


def test_a_study_of_another_package_joins_in_its_place(installed):
    found = installed(theirs(place=studies()["spectrum"].place + 1))
    assert found["theirs"].package == "their_package.study"
    names = list(found)
    assert names[names.index("spectrum") + 1] == "theirs"
    assert set(names) == {*FOLDERS, "theirs"}


@pytest.mark.parametrize("names", [("spectrum",), ("theirs", "theirs")])
def test_two_studies_of_one_name_are_refused(installed, names):
    with pytest.raises(ConfigError, match=rf"both bring a study called {names[0]}; .*rename one"):
        installed(*map(theirs, names))


@pytest.mark.parametrize("thing", [theirs, TheirSettings, Study, "theirs", None])
def test_what_an_entry_point_names_has_to_be_a_study(installed, thing):
    with pytest.raises(ConfigError, match=r"theirs.*Study"):
        installed(thing)
