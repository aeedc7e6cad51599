"""max_memory, svd.points and svd.probe from the settings to the tables."""

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from diffgeo.composition import check, register, typed
from diffgeo.config import config_folder
from diffgeo.errors import ConfigError, DiffgeoError
from diffgeo.jacobian import JacobianOperator

STUDIES = "study=[discovery,curvedness]"


@pytest.fixture
def run(tiny_pipeline, tmp_path, without_figures):
    """``run(*overrides)``: (tables by stem, log) of a run of seconds."""
    register()
    common = [
        "model=local",
        f"model.path={tiny_pipeline}",
        "scale=smoke",
        "schedule.steps=4",
        "schedule.edit=[1.0]",
        "data.samples=3",
        "device=cpu",
        "tracking=none",
    ]

    def execute(*overrides, store=None):
        from diffgeo.runner.run import execute

        GlobalHydra.instance().clear()
        chosen = any(word.startswith("study=") for word in overrides)
        words = [
            *([] if chosen else [STUDIES, "study.curvedness.pools=[none]"]),
            *common,
            f"store.path={store or tmp_path / 'nowhere'}",
            f"store.enabled={bool(store)}",
        ]
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            cfg = typed(compose("config", [*words, *overrides]))
        folder = tmp_path / f"run{len(list(tmp_path.glob('run*')))}"
        folder.mkdir()
        execute(cfg, folder)
        return {path.stem: pd.read_parquet(path) for path in (folder / "tables").glob("*.parquet")}

    yield execute
    GlobalHydra.instance().clear()


def agree(a, b, tolerance=1e-4):
    assert a.keys() == b.keys()
    for name, table in a.items():
        for column in table.columns:
            if table[column].dtype.kind == "f" and "residual" not in column and "gap" not in column:
                np.testing.assert_allclose(
                    b[name][column], table[column], rtol=tolerance, atol=tolerance, err_msg=column
                )


@pytest.mark.nightly
def test_points_together_give_the_tables_of_points_alone(run, monkeypatch, tmp_path):
    # the same accuracy from both: the last digits of a loose basis are anybody's
    tight = ("svd.tol=1e-6", "study.curvedness.tol=1e-6", "study.curvedness.paths=[slerp]")
    alone = run(*tight)
    stacks = []
    original = JacobianOperator.__init__

    def noted(self, f, x, **settings):
        original(self, f, x, **settings)
        stacks.append(len(x) if settings.get("stacked") else 1)

    monkeypatch.setattr(JacobianOperator, "__init__", noted)
    together = run("svd.points=2", *tight, store=tmp_path / "store")
    assert max(stacks) == 2
    agree(alone, together, 2e-3)
    again = run("svd.points=2", *tight, store=tmp_path / "store")
    for name, table in together.items():
        pd.testing.assert_frame_equal(table, again[name])


@pytest.mark.nightly
def test_memory_is_bounded_and_numbers_stay(run, caplog, monkeypatch):
    chunks = []
    original = JacobianOperator.__init__

    def noted(self, f, x, **settings):
        original(self, f, x, **settings)
        chunks.append(self.chunk_size)

    free = run("svd.block_size=8")
    monkeypatch.setattr(JacobianOperator, "__init__", noted)
    with caplog.at_level("INFO"):
        bounded = run("svd.block_size=8", "max_memory=0.0012")
    assert 1 <= chunks[-1] < 8
    assert any("pictures at once" in record.getMessage() for record in caplog.records)
    agree(free, bounded)


def test_too_little_memory_is_refused_in_the_user_s_words(run):
    with pytest.raises(DiffgeoError, match=r"max_memory=1e-06 GB is too little"):
        run("max_memory=1e-6")


@pytest.mark.slow
def test_a_probe_is_remembered(run, monkeypatch, tmp_path):
    answers = iter([5, 3])
    monkeypatch.setattr("diffgeo.svd.golub_kahan.probe_block_size", lambda *_, **__: next(answers))
    first = run("svd.probe=true", "study=[discovery]", store=tmp_path / "store")
    second = run("svd.probe=true", "study=[discovery]", "seed=1", store=tmp_path / "store")
    assert next(answers) == 3, "the second run asked the store"
    assert (first["discovery"]["passes"] % 10 == 0).all()
    assert (second["discovery"]["passes"] % 10 == 0).all()


@pytest.mark.parametrize(
    "words",
    ["svd.points=0", "svd.block_size=0", "max_memory=0"],
)
def test_settings_out_of_range_are_refused(composed, words):
    with pytest.raises(ConfigError, match=r"allowed:"):
        check(typed(composed(*words.split())))


def test_a_block_size_is_given_or_measured(run):
    with pytest.raises(ConfigError, match=r"svd\.block_size=4 is not possible; allowed: null if svd\.probe=true"):
        run("svd.block_size=4", "svd.probe=true")
