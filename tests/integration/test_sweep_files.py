"""Presets of grids and searches compose, and W&B's sweep files start the runs that the presets of their name start."""

from fnmatch import fnmatchcase

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args, load_sweep_config

from diffgeo.cli.help import help_text
from diffgeo.composition import check, register, typed
from diffgeo.config import config_folder

CONF = config_folder()
GRIDS = sorted(path.stem for path in (CONF / "grid").glob("*.yaml"))
SEARCHES = sorted(path.stem for path in (CONF / "search").glob("*.yaml"))
FILES = sorted((CONF / "sweep").glob("*.yaml"))


def params(group, name):
    """The sweep of a preset, key → what Hydra makes of its values."""
    sweep = yaml.safe_load((CONF / group / f"{name}.yaml").read_text())["hydra"]["sweeper"]["params"]
    overrides = OverridesParser.create().parse_overrides([f"{key}={value}" for key, value in sweep.items()])
    return {o.get_key_element(): o for o in overrides}


def test_the_grids_are_those_of_the_documentation():
    wanted = ["block", "edit_fraction", "guidance", "kappa", "pooling", "rank", "solver", "steps"]
    assert wanted == GRIDS
    assert [path.stem for path in FILES] == sorted([*wanted, "precision"])


@pytest.mark.parametrize("name", GRIDS)
def test_every_value_of_a_grid_passes_the_checks(composed, name):
    sweep = params("grid", name)
    seen = set()
    for key, override in sweep.items():
        assert override.is_discrete_sweep()
        for value in override.sweep_string_iterator():
            config = typed(composed(f"grid={name}", f"{key}={value}"))
            check(config)
            seen.add(repr(config))
        assert len(seen) == len(list(override.sweep_string_iterator()))


def test_a_grid_leaves_room_for_other_studies_and_scales(composed):
    config = typed(composed("grid=rank", "study=[spectrum]", "scale=small"))
    assert list(config.study) == ["spectrum"]
    assert config.data.samples == 16


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_chooses_optuna_and_seeds_it(composed, name):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    Plugins.instance()
    config = typed(composed(f"search={name}"))
    check(config)
    assert set(config.study) == {"ablation"}
    assert all(override.is_sweep_override() for override in params("search", name).values())
    raw = yaml.safe_load((CONF / "search" / f"{name}.yaml").read_text())["hydra"]["sweeper"]
    assert raw["sampler"]["seed"] == 0
    assert "storage" not in raw


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_runs_of_a_sweep_file_compose(composed, monkeypatch, path):
    sweep = load_sweep_config(str(path))
    assert sweep["method"] in ("grid", "bayes")
    assert (sweep["method"] == "bayes") == ("metric" in sweep)
    lists = {key: given.get("values") or [given["min"], given["max"]] for key, given in sweep["parameters"].items()}
    for end in (0, -1):
        chosen = {key: {"value": values[end]} for key, values in lists.items()}
        arguments = create_sweep_command_args({"args": chosen})["args_no_hyphens"]
        command = create_sweep_command(list(sweep["command"]))
        assert command[:3] == ["${interpreter}", "-m", "diffgeo"]
        assert command[-1] == "${args_no_hyphens}"
        config = typed(composed(*command[3:-1], *arguments))
        check(config)
        assert (config.tracking.backend, config.tracking.mode) == ("wandb", "online")
    if "metric" in sweep:
        study, _, scalar = sweep["metric"]["name"].partition("/")
        assert study in config.study
        assert fnmatchcase(scalar, "precision_matched/local")


@pytest.mark.parametrize("name", GRIDS)
def test_a_sweep_file_has_the_values_of_its_grid(name):
    given = yaml.safe_load((CONF / "sweep" / f"{name}.yaml").read_text())["parameters"]
    for key, override in params("grid", name).items():
        assert [str(value) for value in given[key]["values"]] == list(override.sweep_string_iterator())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_sweep_files_meet_the_schema_of_wandb(path):
    schema = pytest.importorskip("sweeps.config.schema", reason="pip install sweeps: W&B's schema of sweep files")
    assert list(schema.validator.iter_errors(yaml.safe_load(path.read_text()))) == []


def test_the_help_lists_presets_and_leaves_out_what_is_no_group():
    text = help_text(CONF)
    for choice in [*(f"grid={name}" for name in GRIDS), *(f"search={name}" for name in SEARCHES)]:
        assert f"  {choice} " in text
    assert "hydra/launcher=cluster" in text
    assert "  sweep=" not in text
    assert "  hydra=" not in text


def test_the_cluster_preset_is_a_script_that_slurm_takes(tmp_path):
    slurm = pytest.importorskip("submitit.slurm.slurm")
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        whole = compose("config", ["hydra/launcher=cluster"], return_hydra_config=True)
    whole.hydra.sweep.dir = str(tmp_path)
    given = OmegaConf.to_container(whole.hydra.launcher, resolve=True)
    assert given["max_num_timeout"] == 1
    known = ("setup", "additional_parameters", "cpus_per_task", "gpus_per_node", "nodes", "signal_delay_s")
    script = slurm._make_sbatch_string(
        command="run",
        folder=tmp_path,
        map_count=99,
        time=given["timeout_min"],
        array_parallelism=given["array_parallelism"],
        **{key: given[key] for key in known},
    )
    lines = script.splitlines()
    for line in ("requeue", "array=0-98%64", "gpus-per-node=1", "cpus-per-task=8", "time=240", "signal=USR2@120"):
        assert f"#SBATCH --{line}" in lines
    assert "export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK" in lines
