"""The worked examples of docs/extending.md do what the page says: each is added as the page tells, and used."""

import importlib.util
import runpy
import shutil
import sys
from pathlib import Path
from unittest import mock

import pandas as pd
import pytest
import torch
from diffusers import DDPMScheduler, UNet2DModel
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

import diffgeo
from diffgeo import config, svd
from diffgeo.composition import register, typed
from diffgeo.config import composition, config_folder
from diffgeo.diffusion.noise_schedule import NoiseSchedule
from diffgeo.errors import ConfigError
from diffgeo.runner.run import execute
from diffgeo.session import Context
from diffgeo.studies import run_study

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def load(path, name):
    """The example as the module that it becomes."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def settings(monkeypatch, tmp_path, tiny_pipeline):
    """``settings(example, *overrides)``: of a tiny run, with the example's YAML in ``conf/``."""

    def make(example, *overrides):
        conf = tmp_path / "conf"
        shutil.copytree(config_folder(), conf)
        shutil.copytree(EXAMPLES / example / "conf", conf, dirs_exist_ok=True)
        register()
        GlobalHydra.instance().clear()
        common = ["model=local", f"model.path={tiny_pipeline}", "scale=smoke", "schedule.steps=4", "tracking=none"]
        with initialize_config_dir(str(conf), version_base="1.3"):
            return typed(compose("config", [*common, "schedule.edit=[1.0,0.5]", "device=cpu", *overrides]))

    yield make
    GlobalHydra.instance().clear()


def test_the_first_steps_end_in_three_pictures(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    left = runpy.run_path(str(EXAMPLES / "first_steps.py"))
    assert left["pictures"].shape == (3, 3, 32, 32)
    assert left["basis"].certificate.converged
    assert not torch.equal(left["pictures"][0], left["pictures"][2])


def test_the_solver_finds_what_the_dense_one_finds():
    arpack = load("solver/arpack.py", "arpack").arpack
    torch.manual_seed(0)
    u, v = (torch.linalg.qr(torch.randn(n, 6, dtype=torch.float64)).Q for n in (30, 20))
    matrix = u @ torch.diag(torch.tensor([9.0, 6, 4, 2.5, 1.5, 1]).double()) @ v.T
    jacobian = diffgeo.JacobianOperator(lambda x: x @ matrix.T, torch.zeros(20, dtype=torch.float64))
    basis = arpack(jacobian, 4, tol=1e-8)
    truth = svd.decompose(jacobian, 4, solver="dense")
    assert basis.certificate.converged
    torch.testing.assert_close(basis.s, truth.s)
    torch.testing.assert_close(basis.V, truth.V, atol=1e-6, rtol=0)
    torch.testing.assert_close(basis.U, truth.U, atol=1e-6, rtol=0)


def test_the_solver_is_a_choice(monkeypatch, settings, tmp_path):
    monkeypatch.setitem(svd.SOLVERS, "arpack", load("solver/arpack.py", "arpack").arpack)
    monkeypatch.setitem(config.SVD_SCHEMAS, "arpack", None)  # undone afterwards
    load("solver/schema.py", "arpack_schema")
    small = ("data.samples=1", "schedule.edit=[1.0]", "svd.rank=3", "svd.tol=1e-3")
    with mock.patch("diffgeo.runner.finish.draw", return_value={}):
        execute(settings("solver", "svd=arpack", "study=[discovery]", *small), tmp_path / "run")
    table = pd.read_parquet(tmp_path / "run" / "tables" / "discovery.parquet")
    assert set(table["solver"]) == {"arpack"}
    assert table["converged"].all()
    assert len(table) == 3


@pytest.fixture
def greyness(monkeypatch):
    """The study, added to the package as the page says."""
    schema = load("study/schema.py", "diffgeo.config.studies.greyness")
    monkeypatch.setitem(sys.modules, "diffgeo.config.studies.greyness", schema)
    monkeypatch.setitem(config.STUDY_SCHEMAS, "greyness", config.studies.schema_in("diffgeo.config.studies.greyness"))
    module = load("study/greyness.py", "diffgeo.studies.greyness")
    monkeypatch.setitem(sys.modules, "diffgeo.studies.greyness", module)
    monkeypatch.setitem(charts.CHARTS, "greyness", None)
    load("study/figure.py", "greyness_figure")
    return module


def test_the_study_runs_with_its_figure(greyness, settings, tmp_path):
    cfg = settings("study", "study=[greyness]", "study.greyness.directions=3")
    scalars = execute(cfg, tmp_path / "run")[0]["greyness"]
    table = pd.read_parquet(tmp_path / "run" / "tables" / "greyness.parquet")
    assert len(table) == cfg.data.samples * 2 * 3
    assert table["greyness"].between(0, 1).all()
    assert scalars["greyness/t_1"] == pytest.approx(table.loc[table["t_frac"] == 1, "greyness"].mean())
    assert (tmp_path / "run" / "figures" / "greyness_by_timestep.png").is_file()
    assert ">Greyness</h2>" in (tmp_path / "run" / "report.html").read_text()


def test_what_the_study_measures(greyness):
    grey, colour = torch.ones(3, 4, 4), torch.ones(3, 4, 4)
    colour[1] *= -1
    colour[2] = 0
    random = torch.randn(48, 400, generator=torch.Generator().manual_seed(0))
    v = torch.cat([grey.flatten()[:, None], colour.flatten()[:, None], random], dim=1)
    shares = greyness.greyness(v / v.norm(dim=0), (3, 4, 4))
    assert shares[0] == pytest.approx(1)
    assert shares[1] == pytest.approx(0)
    assert shares[2:].mean().item() == pytest.approx(1 / 3, abs=0.02)


@pytest.fixture
def conditional():
    """``conditional(label)``: the example's model, on one tiny class-conditional network with random weights."""
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        num_class_embeds=3,
    )
    made = load("model/my_model.py", "my_model").ClassConditional
    schedule = NoiseSchedule.of(DDPMScheduler(num_train_timesteps=1000))
    return lambda label: made(unet, schedule, label, name="mine", source="random weights")


def test_the_model_shows_its_class_everywhere(conditional):
    zero, one = conditional(0), conditional(1)
    x = diffgeo.initial_noise(zero, [0])
    assert not torch.allclose(zero.predict_noise(x, 500), one.predict_noise(x, 500))
    bases = [diffgeo.local_basis(model.feature_map(500), x, 3) for model in (zero, one)]
    assert diffgeo.grassmann_distance(bases[0].U, bases[1].U) > 0.01
    assert zero.fingerprint != one.fingerprint
    with pytest.raises(ConfigError, match="3 classes"):
        conditional(3)


def test_studies_run_on_the_model(conditional, settings):
    cfg = settings("study", "study=[discovery]", "svd.rank=3", "edit.frames=3", "data.samples=1")
    result = run_study("discovery", Context(conditional(1), cfg), cfg.study["discovery"])
    assert set(result.table["model"]) == {"random weights"}
    assert len(result.table) == cfg.data.samples * 2 * 3


def test_the_registries_are_those_that_the_page_names():
    assert composition.SVD_SCHEMAS is config.SVD_SCHEMAS
    assert composition.STUDY_SCHEMAS is config.STUDY_SCHEMAS
