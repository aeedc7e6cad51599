"""What somebody mistypes, and what they read then."""

import os
import subprocess
import sys

import pytest

from diffgeo.composition import at_home
from diffgeo.errors import ConfigError, ValueRangeError

SETTINGS = ConfigError.exit_code


@pytest.mark.parametrize(
    ("override", "key", "guess"),
    [
        ("svd.rnak=3", "svd.rnak", "svd.rank"),
        ("study.discovery.drections=2", "study.discovery.drections", "study.discovery.directions"),
        ("modle=local", "modle", "model"),
    ],
)
def test_a_typo_names_the_key_and_the_nearest_valid_one(command, override, key, guess):
    outcome = command(override)
    outcome.assert_failed(SETTINGS, f"there is no setting {key} ", f"Did you mean {guess}?")
    assert len(outcome.err.splitlines()) == 2


def test_a_typo_like_nothing_points_to_the_help(command):
    command("zzzzzzz=3").assert_failed(SETTINGS, "there is no setting zzzzzzz", "diffgeo --help")


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("svd.rank=abc", "svd.rank"),
        ("schedule.edit=hello", "schedule.edit"),
        ("edit.normalise=maybe", "edit.normalise"),
    ],
)
def test_a_wrong_type_names_the_key(command, override, key):
    outcome = command(override)
    outcome.assert_failed(SETTINGS, f"Error: {key}: ", "diffgeo --help")


@pytest.mark.parametrize(
    ("override", "group", "guess", "choices"),
    [
        (
            "model=factor_face",
            "model",
            "factor_faces",
            "afhq_dog, ddpm_celebahq, ddpm_lsun_bedroom, ddpm_lsun_cat, ddpm_lsun_church, dit_xl_256, factor_faces, "
            "factor_faces_4, factor_faces_flow, factor_faces_flow_unet, factor_faces_t2i, fashion_mnist, flux_dev, "
            "ldm_celebahq, local, local_class, local_sd, pixart_alpha, sana_600m, sd15, sd21_base, sd3_medium, "
            "sdxl_base",
        ),
        ("study=[discvery]", "study", "discovery", "discovery"),
        ("svd=golub_kahn", "svd", "golub_kahan", "dense, golub_kahan, randomized, subspace"),
        ("edit=shoting", "edit", "shooting", "guidance, h, shooting, single"),
    ],
)
def test_an_unknown_choice_lists_the_choices_and_the_nearest(command, override, group, guess, choices):
    command(override).assert_failed(SETTINGS, f"is no choice of {group}", f"Did you mean {guess}?", choices)


def test_model_local_without_a_path_asks_for_it(command, tmp_path):
    outcome = command("model=local", "tracking=none", f"hydra.run.dir={tmp_path}/r", folder=tmp_path / "r")
    outcome.assert_failed(SETTINGS, "model.path has no value", "model.path=")


def test_data_images_without_a_folder_asks_for_it(tiny_run):
    tiny_run("data=images").assert_failed(SETTINGS, "data.images")


def test_a_key_of_another_solver_is_refused(command):
    outcome = command("svd=dense", "svd.block_size=3")
    outcome.assert_failed(SETTINGS, "there is no setting svd.block_size")
    assert "Did you mean svd.block_size?" not in outcome.err


def test_a_key_of_a_study_that_is_not_run_is_refused(command):
    outcome = command("study=[]", "study.discovery.directions=2")
    outcome.assert_failed(SETTINGS, "there is no setting study.discovery.directions")
    assert "Did you mean study.discovery.directions?" not in outcome.err


@pytest.mark.parametrize("override", ["seed=[", "schedule=null", "=3", "study.discovery=null"])
def test_what_hydra_cannot_parse_is_an_error_in_words(tiny_run, override):
    tiny_run(override).assert_failed(SETTINGS, "Error: ")


@pytest.mark.parametrize(
    ("override", "key"),
    [("schedule.edit=[1.5]", "schedule.edit")],
)
def test_a_value_out_of_range_is_refused_before_the_model_loads(tiny_run, override, key):
    outcome = tiny_run("model.path=no/such/folder", override)
    outcome.assert_failed(SETTINGS, f"{key}=", "is not possible", "allowed:")


def test_more_steps_than_the_schedule_has_are_refused(tiny_run):
    tiny_run("schedule.steps=5000").assert_failed(ValueRangeError.exit_code, "schedule.steps is 5000", "1 to 1000")


def test_a_rank_above_the_jacobians_is_refused_with_the_largest_possible(tiny_run):
    outcome = tiny_run("svd.rank=100000")
    outcome.assert_failed(
        ValueRangeError.exit_code, "100000 directions (svd.rank) are too many", "at most 768", "Ask for fewer"
    )


@pytest.mark.parametrize("block", ["mdi", "up.7"])
def test_a_block_that_the_network_lacks_lists_those_it_has(tiny_run, block):
    tiny_run(f"feature.block={block}").assert_failed(SETTINGS, "feature.block", "down.0, down.1, mid, up.0, up.1")


def test_every_key_of_a_typical_command_is_accepted(tiny_run, tiny_pipeline):
    outcome = tiny_run(
        f"model.path={tiny_pipeline}",
        "schedule.steps=5",
        "schedule.edit=[1.0]",
        "feature.block=down.1",
        "feature.pool=null",
        "svd=golub_kahan",
        "svd.rank=2",
        "svd.tol=1e-3",
        "study=[discovery]",
        "seed=4",
        "device=cpu",
        "tracking=none",
    )
    assert outcome.code == 0, outcome.err
    assert outcome.manifest["seed"] == 4


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("study=[]", "study=[] is not possible allowed: one or more of discovery"),
        ("seed=99999999999999999999", "seed=99999999999999999999 is not possible allowed: 0 to 4294967295"),
        ("seed=-1", "seed=-1 is not possible"),
        (f"tracking.tags=[a,{'b' * 70}]", "is not possible allowed: tags of 1 to 64 characters"),
        ("tracking.tags=['']", "is not possible allowed: tags of 1 to 64 characters"),
        (f"{'k' * 100_000}=1", "is a key of 100000 characters write key=value"),
        (f"model={'k' * 100_000}", "is too long a name for a file give a shorter one"),
    ],
)
def test_what_no_run_can_be_made_of_is_refused_in_two_short_lines(tiny_run, word, said):
    outcome = tiny_run(word)
    outcome.assert_failed(SETTINGS, said)
    assert len(outcome.err.splitlines()) == 2
    assert len(outcome.err) < 5000


def test_an_unknown_backend_of_matplotlib_does_not_matter():
    # as a command begins, and as what draws goes on
    code = "from diffgeo.cli.errors import heed_environment; heed_environment(); import matplotlib.pyplot"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "MPLBACKEND": "nbAggg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_run_folder_may_begin_with_the_home_folder(tiny_run, monkeypatch, tmp_path):
    home = tmp_path / "my home (1)"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    outcome = tiny_run(folder="~/a run")
    assert outcome.code == 0, outcome.err
    assert (home / "a run" / "run.json").is_file()
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("hydra.run.dir=~/x", "hydra.run.dir='/home/a b/x'"),
        ("++hydra.sweep.dir='~'", "++hydra.sweep.dir='/home/a b'"),
        ('hydra.run.dir="~/${now:%H}"', 'hydra.run.dir="/home/a b/${now:%H}"'),
        ("hydra.run.dir=a~b", "hydra.run.dir=a~b"),
        ("store.path=~/x", "store.path='/home/a b/x'"),
        ("data.images=x~/y", "data.images=x~/y"),
        ("~hydra.run.dir", "~hydra.run.dir"),
        ("~edit=~/x", "~edit=~/x"),
        ("data.images=[~/a.png,x,~/b c.png]", "data.images=['/home/a b/a.png',x,'/home/a b/b c.png']"),
        ("data.images=['~/a.png', \"~/b.png\"]", "data.images=['/home/a b/a.png', \"/home/a b/b.png\"]"),
        ("study.disentanglement.files=[~]", "study.disentanglement.files=['/home/a b']"),
        ("+metric.extra.m={_target_: a.B, path: ~/x}", "+metric.extra.m={_target_: a.B, path: '/home/a b/x'}"),
        ("model.path=~/a,~/b", "model.path='/home/a b/a','/home/a b/b'"),
        ("store.path=~/${now:%H,%M}", "store.path='/home/a b/${now:%H,%M}'"),
        ("data.images=[a~/b,~nobody_of_this_name/x]", "data.images=[a~/b,~nobody_of_this_name/x]"),
        ("prompt='a, ~b'", "prompt='a, ~b'"),
    ],
)
def test_a_home_folder_that_begins_a_value_is_expanded(word, expected, monkeypatch):
    monkeypatch.setenv("HOME", "/home/a b")
    assert at_home([word]) == [expected]


def test_cfg_job_prints_all_keys_and_runs_nothing(command, tmp_path):
    outcome = command("--cfg", "job", f"hydra.run.dir={tmp_path}/r", folder=tmp_path / "r")
    assert outcome.code == 0
    assert "block_size: null" in outcome.out
    assert not outcome.folder.exists()
