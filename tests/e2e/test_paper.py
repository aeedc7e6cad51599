"""``diffgeo-paper``: plans, runs, judges, and goes on where it stopped."""

import json
import shutil
import sys
from pathlib import Path
from unittest import mock

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException

from diffgeo.cli import command, paper
from diffgeo.cli import explore as explore_command
from diffgeo.cli.network import Network, choosing
from diffgeo.composition import check, register, typed
from diffgeo.config import config_folder
from diffgeo.errors import ConfigError, UnsuitableModelError
from diffgeo.report.reading import read_run
from diffgeo.runner.run import execute as real


def run(capsys, *words):
    """(exit code, stdout, stderr) of ``diffgeo-paper WORDS``."""
    GlobalHydra.instance().clear()
    code = 0
    with mock.patch.object(sys, "argv", ["diffgeo-paper", *map(str, words)]):
        try:
            paper.main()
        except SystemExit as stop:
            code = stop.code or 0
    GlobalHydra.instance().clear()
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def tiny(tiny_pipeline, tmp_path):
    """Arguments of a run on the tiny model that takes seconds."""
    return [
        "scale=smoke",
        f"out={tmp_path / 'out'}",
        "model=local",
        f"model.path={tiny_pipeline}",
        "schedule.steps=4",
        "schedule.edit=[1.0,0.5]",
        "tracking=none",
        "device=cpu",
    ]


@pytest.fixture(autouse=True)
def without_figures():
    with mock.patch("diffgeo.runner.finish.draw", return_value={}):
        yield


def test_experiments_come_in_the_order_of_the_papers():
    names = paper.experiments(config_folder())
    assert names[0] == "p23a/table1"
    assert names.index("p23a/fig9") < names.index("p23a/fig10") < names.index("p23b/samples")


@pytest.mark.parametrize(
    "scale", [scale if scale == "small" else pytest.param(scale, marks=pytest.mark.slow) for scale in paper.SCALES]
)
def test_every_experiment_composes_at_every_scale(scale):
    register()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        for name in paper.experiments(config_folder()):
            config = typed(compose("config", overrides=[f"experiment={name}", f"scale={scale}"]))
            check(config)
            assert 1 <= len(config.study) <= 2
            assert config.data.samples == (config.scale.held_out if name == "p23a/fig6" else config.scale.samples)


def test_an_experiment_alone_runs_at_the_papers_size():
    register()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = typed(compose("config", overrides=["experiment=p23a/table1"]))
    study = config.study["curvedness"]
    assert (study.pairs, study.segments, study.pools) == (50, 30, ["sum", "none"])
    assert config.feature.pool == "sum"


def test_only_takes_single_experiments_and_whole_papers():
    chosen = paper.plan(paper.COMMAND.parse(["only=[p23b,p23a/fig9]", "seed=3"]), config_folder())
    assert chosen.names == ["p23a/fig9", *(n for n in paper.experiments(config_folder()) if n.startswith("p23b/"))]
    assert chosen.overrides == ["seed=3"]
    assert chosen.scale == "small"


@pytest.mark.parametrize(
    ("word", "hint"), [("only=[p23a/fig99]", "did you mean p23a/fig9"), ("scale=big", "smoke"), ("whatever", "--help")]
)
def test_a_wrong_word_is_refused_with_what_is_meant(word, hint):
    with pytest.raises(ConfigError, match=hint):
        paper.plan(paper.COMMAND.parse([word]), config_folder())


@pytest.mark.parametrize(
    "word", ["hydra.run.dir=x", "+hydra.job.num=3", "++hydra.run.dir=x", "~hydra.run.dir=x", "hydra/launcher=joblib"]
)
@pytest.mark.parametrize("command", [paper.COMMAND, explore_command.COMMAND])
def test_settings_of_hydras_own_are_refused(command, word):
    with pytest.raises(ConfigError, match=f"Hydra's own, which {command.name} does not heed; say out=FOLDER"):
        command.parse([word])


@pytest.mark.parametrize("command", [paper.COMMAND, explore_command.COMMAND])
def test_a_search_path_of_ones_own_is_passed_on(command):
    assert command.parse(["hydra.searchpath=[file://own]"]).others == ["hydra.searchpath=[file://own]"]


def test_a_dry_run_lists_and_computes_nothing(capsys, tiny, tmp_path):
    code, out, err = run(capsys, *tiny, "only=[p23b]", "--dry-run")
    assert code == 0
    assert len([line for line in out.splitlines() if line.endswith(("to run", "the same run"))]) == 4
    assert "tangent_distance" in out
    assert "dataset_complexity" in out
    assert "no similar run yet" in out
    assert "p23b/prompts is left out" in err
    assert "the same run" in out
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_runs_are_judged_and_kept(capsys, tiny, tmp_path):
    words = [*tiny, "only=[p23a/fig3b,p23b/samples,p23b/timesteps]"]
    code, out, err = run(capsys, *words)
    assert code == 0, err
    table = pd.read_csv(tmp_path / "out" / "claims.csv")
    # the controls have the settings of the other two, so their run answers them as well
    sources = ["P23a Fig. 3b"] * 3 + ["P23b timesteps"] * 2 + ["P23b samples"] + ["P23b control"] * 2
    assert sorted(table["source"]) == sorted(sources)
    verdicts = set(table.loc[table["role"] == "claim", "verdict"])
    assert verdicts <= {"too few to tell", "not comparable"}, "four timesteps, three samples"
    assert table.loc[table["role"] != "claim", "verdict"].isna().all()
    values = pd.read_parquet(tmp_path / "out" / "claims.parquet").set_index("quantity")["values"]
    assert len(values["distance between samples grows from T to the lowest t by / rad"]) == 3
    assert (tmp_path / "out" / "claims.svg").is_file()
    assert len(set(table["run"])) == 2, "equal settings share a run"
    assert "P23b samples" in out
    assert (tmp_path / "out" / "claims.md").read_text().count("\n| P23") == 8
    assert "[2/2]" in err
    command = read_run(tmp_path / "out" / "p23a" / "fig3b").command
    assert command.startswith("diffgeo experiment=p23a/fig3b scale=smoke model=local ")

    with mock.patch("diffgeo.api.execute", side_effect=AssertionError("computed again")):
        again, _, _ = run(capsys, *words)
    assert again == 0
    assert pd.read_csv(tmp_path / "out" / "claims.csv").equals(table)


@pytest.mark.slow
def test_an_interrupted_command_goes_on_with_the_run_in_hand(capsys, tiny, tmp_path):
    calls = []

    def interrupted(cfg, folder, earlier=None):
        calls.append(folder)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(cfg, folder, earlier)

    words = [*tiny, "only=[p23a/fig3b,p23a/fig5b]"]
    with mock.patch("diffgeo.api.execute", interrupted):
        code, _, _ = run(capsys, *words)
    assert code == 130
    assert set(pd.read_csv(tmp_path / "out" / "claims.csv")["source"]) == {"P23a Fig. 3b"}
    calls.clear()
    with mock.patch("diffgeo.api.execute", lambda *a: calls.append(a[1]) or real(*a)):
        code, _, _ = run(capsys, *words)
    assert code == 0
    assert calls == [tmp_path / "out" / "p23a" / "fig5b"]
    assert set(pd.read_csv(tmp_path / "out" / "claims.csv")["source"]) == {"P23a Fig. 3b", "P23a Fig. 5b"}


@pytest.mark.nightly
def test_a_run_with_other_settings_is_not_kept(capsys, tiny, tmp_path):
    run(capsys, *tiny, "only=[p23a/fig3b]")
    run(capsys, *tiny, "only=[p23a/fig3b]", "seed=1")
    assert json.loads((tmp_path / "out" / "p23a" / "fig3b" / "run.json").read_text())["seed"] == 1


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["models=[factor_faces]", "model=factor_faces_4"], "name every network in models"),
        (["models=[factor_faces,nets/mine,other/mine]"], "has mine twice"),
    ],
)
def test_networks_that_cannot_be_told_apart_are_refused(words, hint):
    with pytest.raises(ConfigError, match=hint):
        paper.plan(paper.COMMAND.parse(words), config_folder())


def test_settings_of_a_study_are_for_the_experiments_that_have_it(tmp_path):
    words = ["scale=smoke", "study.dataset_complexity.models=[a,b]", "svd.rank=7"]
    network = Network.of("one", tmp_path, words, ["p23b/datasets", "p23b/samples"], "paper")
    assert network.configs["p23b/datasets"].study["dataset_complexity"].models == ["a", "b"]
    assert network.words["p23b/samples"] == ["experiment=p23b/samples", "scale=smoke", "svd.rank=7"]
    with pytest.raises(ConfigError, match="no experiment has the study dataset_complexity"):
        Network.of("one", tmp_path, words, ["p23b/samples"], "paper")
    with pytest.raises(ConfigCompositionException, match="modls"):
        Network.of("one", tmp_path, ["study.dataset_complexity.modls=[a,b]"], ["p23b/datasets"], "paper")


def test_a_prompt_is_for_the_networks_that_take_one():
    register()
    words = ["models=[factor_faces,factor_faces_flow]", "prompt=face", "seed=3"]
    work = paper.plan(paper.COMMAND.parse(words), config_folder())
    assert [words for _, _, words in paper._networks(work)] == [
        ["model=factor_faces", "seed=3"],
        ["model=factor_faces_flow", "prompt=face", "seed=3"],
    ]


def test_the_command_of_an_atlas_says_what_its_numbers_depend_on():
    words = ["models=[factor_faces,nets/mine]", "out=elsewhere", "scale=smoke", "only=[p23b]", "seed=3"]
    chosen = paper.plan(paper.COMMAND.parse(words), config_folder())
    assert chosen.command == "diffgeo-paper 'models=[factor_faces,nets/mine]' 'only=[p23b]' scale=smoke seed=3"
    assert paper.plan(paper.COMMAND.parse(["models=[a]"]), config_folder()).out.as_posix() == "outputs/atlas/small"


@pytest.mark.slow
def test_several_networks_make_an_atlas_and_what_is_deleted_is_computed_again(capsys, tiny, tiny_pipeline, tmp_path):
    second = shutil.copytree(tiny_pipeline, tmp_path / "nets" / "second")
    rest = [word for word in tiny if not word.startswith("model")]
    words = [*rest, f"models=[{tiny_pipeline},{second}]", "only=[p23a/fig3b,p23b/prompts]"]
    code, out, err = run(capsys, *words)
    assert code == 0, err
    first = Path(tiny_pipeline).name
    folder = tmp_path / "out"
    found = pd.read_parquet(folder / "atlas.parquet").set_index(["network", "experiment"]).sort_index()
    assert found.loc[(first, "p23a/fig3b"), "n"].max() == 3
    assert set(found.loc[("second", "p23b/prompts"), "reading"]) == {"cannot be asked"}
    assert (folder / "second" / "claims.csv").is_file()
    assert (folder / "atlas.html").read_text().count('href="second/p23a/fig3b/report.html"') >= 1
    assert "The atlas: " in out

    shutil.rmtree(folder / "second" / "p23a" / "fig3b")
    calls = []

    with mock.patch("diffgeo.api.execute", lambda *a: calls.append(a[1]) or real(*a)):
        code, _, _ = run(capsys, *words)
    assert (code, calls) == (0, [folder / "second" / "p23a" / "fig3b"])


def test_what_only_a_run_finds_unsuitable_is_left_out_and_has_not_failed(capsys, tiny):
    found = UnsuitableModelError("its factors are not known", "give a picture")
    with mock.patch("diffgeo.api.run", side_effect=found):
        code, _, err = run(capsys, *tiny, "only=[loco/table1]")
    assert code == 0, err
    assert "loco/table1 is left out: its factors are not known" in err


def test_a_folder_of_a_text_to_image_pipeline_is_chosen_as_one(tmp_path):
    (tmp_path / "tokenizer").mkdir()
    assert choosing(f"{tmp_path}/") == (tmp_path.name, ["model=local_sd", f"model.path={tmp_path}/"])


@pytest.mark.slow
def test_a_run_of_a_sweep_in_its_place_counts_as_complete(capsys, tiny, tmp_path):
    """What docs/scaling.md says: a sweep over experiment and model leaves runs where the atlas looks for them."""
    words = [word for word in tiny if not word.startswith("out=")]
    line = ["-m", "experiment=p23a/fig3b", f"hydra.sweep.dir={tmp_path / 'out'}", *words]
    choices = "${hydra:runtime.choices.experiment}"
    with mock.patch.object(sys, "argv", ["diffgeo", *line, f"hydra.sweep.subdir={choices}"]):
        command.main()
    GlobalHydra.instance().clear()
    code, out, _ = run(capsys, *tiny, "only=[p23a/fig3b]", "--dry-run")
    assert code == 0
    assert "complete" in out
