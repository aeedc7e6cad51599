"""Runs from Python: the same settings, tables and refusals as on the command line."""

import re
from datetime import datetime
from types import SimpleNamespace
from unittest import mock

import pandas as pd
import pytest
import yaml

import diffgeo
from diffgeo.config import config_folder
from diffgeo.errors import ConfigError

SMALL = ("scale=smoke", "schedule.steps=4", "schedule.edit=[1.0,0.5]", "tracking=none", "store.enabled=false")


@pytest.fixture
def words(tiny_pipeline):
    return ("model=local", f"model.path={tiny_pipeline}", "device=cpu", "predictor=none", "svd.rank=3", *SMALL)


@pytest.mark.slow
def test_a_run_gives_its_tables_as_data_frames(words, tmp_path):
    outcome = diffgeo.run(diffgeo.settings("study=[spectrum,frequency]", *words), tmp_path / "run")
    assert set(outcome.tables) == {"spectrum", "frequency"}
    stored = pd.read_parquet(tmp_path / "run" / "tables" / "spectrum.parquet")
    pd.testing.assert_frame_equal(outcome.tables["spectrum"], stored)
    assert outcome.scalars["spectrum"]["effective_dimension/t_1"] > 1
    assert outcome.page.is_file()


@pytest.mark.usefixtures("without_figures")
def test_a_run_without_a_folder_gets_a_new_one_named_as_the_command_names_it(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    now = datetime(2026, 3, 4, 5, 6, 7)
    settings = diffgeo.settings("study=[spectrum]", *words)
    with mock.patch("diffgeo.api.datetime", SimpleNamespace(now=lambda: now)):
        first = diffgeo.run(settings)
        second = diffgeo.run(settings, earlier=first.context)
    named = yaml.safe_load((config_folder() / "config.yaml").read_text())["hydra"]["run"]["dir"]
    named = re.sub(r"\$\{now:(.*?)\}", lambda pattern: now.strftime(pattern[1]), named)
    assert [str(one.folder) for one in (first, second)] == [named, f"{named}-2"]
    assert all((one.folder / "run.json").is_file() for one in (first, second))


@pytest.mark.usefixtures("without_figures")
def test_an_earlier_context_is_used_again(words, tmp_path):
    first = diffgeo.run(diffgeo.settings("study=[spectrum]", *words), tmp_path / "a")
    second = diffgeo.run(diffgeo.settings("study=[frequency]", *words), tmp_path / "b", earlier=first.context)
    assert second.context.model is first.context.model
    sample = first.context.samples[0]
    t = first.context.edit_times[0][1]
    assert second.context.bases.of(sample, t) is first.context.bases.of(sample, t)


def test_one_study_writes_nothing(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = diffgeo.run_study("spectrum", diffgeo.settings("study=[spectrum]", *words))
    assert len(result.table) == 3 * 2
    assert list(tmp_path.iterdir()) == []


def test_a_study_that_the_settings_do_not_list_needs_its_own(words):
    settings = diffgeo.settings("study=[spectrum]", *words)
    with pytest.raises(ConfigError, match=r'do not list the study frequency; compose them with "study=\[frequency\]"'):
        diffgeo.run_study("frequency", settings)
    other = diffgeo.settings("study=[frequency]", *words).study["frequency"]
    assert diffgeo.run_study("frequency", settings, other).study == "frequency"


def test_settings_are_refused_as_on_the_command_line():
    with pytest.raises(ConfigError, match=r"svd\.rank=0 is not possible"):
        diffgeo.settings("svd.rank=0")
    with pytest.raises(ConfigError, match="no study nothing"):
        diffgeo.run_study("nothing", diffgeo.settings())
