"""A sweep makes a folder and a W&B run a job; W&B's file, read back, holds what the run folder holds."""

import numpy as np
import pandas as pd
import pytest
from wandb_records import config_of, history_of, read_records

from diffgeo.errors import ConfigError


@pytest.fixture(scope="module")
def swept(command, tiny_settings, tmp_path_factory):
    """Two jobs with W&B offline."""
    folder = tmp_path_factory.mktemp("sweep") / "out"
    settings = [s for s in tiny_settings if not s.startswith("tracking")]
    outcome = command(
        "-m",
        *settings,
        "study.discovery.directions=2",
        "seed=0,1",
        "tracking=wandb_offline",
        "tracking.group=both",
        "tracking.tags=[a,b]",
        f"hydra.sweep.dir={folder}",
        folder=folder,
    )
    assert outcome.code == 0, outcome.err
    return outcome


@pytest.fixture(scope="module")
def wandb_runs(swept):
    """(run folder, W&B folder, records) of every job."""
    found = []
    for job in ("0", "1"):
        folder = swept.folder / job
        files = list(folder.glob("wandb/offline-run-*/*.wandb"))
        assert len(files) == 1
        found.append((folder, files[0].parent, read_records(files[0])))
    return found


def table(folder, stem="discovery"):
    return pd.read_parquet(folder / "tables" / f"{stem}.parquet")


@pytest.mark.slow
def test_every_job_has_its_own_complete_folder(swept):
    for job in ("0", "1"):
        assert '"completed"' in (swept.folder / job / "run.json").read_text()
        assert (swept.folder / job / ".hydra" / "config.yaml").is_file()
        assert (swept.folder / job / "figures" / "discovery_spectrum.png").is_file()


@pytest.mark.slow
def test_another_seed_gives_other_numbers(swept):
    first, second = (table(swept.folder / job)["singular_value"] for job in ("0", "1"))
    assert not np.allclose(first, second)


def test_the_same_job_alone_gives_the_same_numbers_as_in_the_sweep(swept, good):
    alone = table(good.folder).query("sample == 0 and t_frac == 1.0").reset_index(drop=True)
    pd.testing.assert_frame_equal(table(swept.folder / "0"), alone, check_exact=True)


def test_two_jobs_are_two_wandb_runs(wandb_runs):
    ids = [next(r.run.run_id for r in records if r.HasField("run")) for _, _, records in wandb_runs]
    assert len(set(ids)) == 2


def test_wandb_knows_the_project_group_and_tags(wandb_runs):
    for _, _, records in wandb_runs:
        run = next(r.run for r in records if r.HasField("run"))
        assert (run.project, run.run_group, list(run.tags)) == ("diffgeo", "both", ["a", "b"])


def test_wandb_holds_the_settings(wandb_runs):
    configs = [config_of(records) for _, _, records in wandb_runs]
    for seed, config in enumerate(configs):
        assert config["svd"]["rank"] == 3
        assert config["study"]["discovery"]["directions"] == 2
        assert config["seed"] == seed


def test_wandb_holds_the_scalars(wandb_runs):
    for folder, _, records in wandb_runs:
        history = history_of(records)
        assert history["discovery/samples"] == 1
        first = table(folder)["singular_value"][0]
        assert history["discovery/s_first/t_1"] == pytest.approx(first)


def test_wandb_holds_the_tables_and_the_figures_as_files(wandb_runs):
    for _, run_folder, records in wandb_runs:
        history = history_of(records)
        for stem in ("discovery", "discovery_traversals"):
            entry = history[f"tables/{stem}"]
            assert entry["_type"] == "table-file"
            assert (run_folder / "files" / entry["path"]).is_file()
        for stem in ("discovery_spectrum", "discovery_traversals_1T", "discovery_directions"):
            entry = history[f"figures/{stem}"]
            assert entry["_type"] == "image-file"
            assert (run_folder / "files" / entry["path"]).read_bytes()[:4] == b"\x89PNG"


def test_wandb_holds_the_page_without_storing_it_twice(wandb_runs):
    for folder, run_folder, records in wandb_runs:
        page, kept = folder / "report.html", run_folder / "files" / "report.html"
        assert "report.html" in [f.path for r in records if r.HasField("files") for f in r.files.files]
        assert kept.samefile(page), "one file with two names"
        assert not kept.is_symlink(), "the folder can be moved"


def test_a_failure_within_a_sweep_ends_with_its_exit_code(command, tiny_settings, tmp_path):
    outcome = command("-m", *tiny_settings, "svd.rank=-1,0", f"hydra.sweep.dir={tmp_path}/out", folder=tmp_path / "out")
    outcome.assert_failed(ConfigError.exit_code, "svd.rank=-1")
