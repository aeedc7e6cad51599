"""Files appear whole or not at all, and what is written can be drawn again."""

import errno
import os

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from diffgeo.diffusion.models import load_model
from diffgeo.errors import OutputError
from diffgeo.results import Result, atomic, write_result
from diffgeo.runner.tracking import tracking


@pytest.fixture
def result():
    table = pd.DataFrame({"sample": [0, 1], "value": [0.1, 1 / 3], "label": ["a", None]})
    return Result("toy", table, {"mean": 0.2}, {"x": torch.arange(6.0).reshape(2, 3).T}, {"rows": table.tail(1)})


def write_half(path, error):
    with atomic(path) as temporary:
        temporary.write_text("half")
        raise error


def test_a_result_is_written_as_parquet_csv_and_safetensors(result, tmp_path):
    written = write_result(result, tmp_path)
    names = ["tables/toy.parquet", "tables/toy.csv", "tables/toy_rows.parquet", "tables/toy_rows.csv"]
    assert [str(p.relative_to(tmp_path)) for p in written] == [*names, "tensors/toy.safetensors"]
    pd.testing.assert_frame_equal(pd.read_parquet(written[0]), result.table, check_exact=True)
    pd.testing.assert_frame_equal(pd.read_csv(written[1]), result.table, check_exact=True)
    assert torch.equal(load_file(written[-1])["x"], result.tensors["x"])


def test_atomic_keeps_the_old_file_when_the_body_fails(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError):
        write_half(path, RuntimeError())
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_leaves_nothing_behind_after_ctrl_c(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write_half(tmp_path / "a.txt", KeyboardInterrupt())
    assert list(tmp_path.iterdir()) == []


def test_atomic_shows_no_file_before_the_end_and_keeps_the_suffix(tmp_path):
    path = tmp_path / "sub" / "a.png"
    with atomic(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.suffix == ".png"
        assert temporary.parent == path.parent
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_a_system_that_cannot_write_gives_an_output_error_with_its_reason(tmp_path, code):
    with pytest.raises(OutputError, match=os.strerror(code)) as caught:
        write_half(tmp_path / "a.csv", OSError(code, os.strerror(code)))
    assert "a.csv" in str(caught.value)
    assert "hydra.run.dir=" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_read_only_file_system_is_an_output_error(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("diffgeo.results.create", refuse)
    with pytest.raises(OutputError, match="Read-only"), atomic(tmp_path / "a.csv"):
        pytest.fail("nothing to write to")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes to read-only folders; the test above stands in")
def test_a_read_only_folder_is_an_output_error(result, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        write_result(result, tmp_path)
    tmp_path.chmod(0o700)


def test_a_failed_table_leaves_those_before_it_and_no_part_of_itself(result, tmp_path, monkeypatch):
    def full(self, path, **_):
        path.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    with pytest.raises(OutputError, match="No space left"):
        write_result(result, tmp_path)
    assert [p.name for p in (tmp_path / "tables").iterdir()] == ["toy.parquet"]


def test_without_tracking_a_result_can_be_logged_all_the_same(composed, result, tmp_path):
    from diffgeo.composition import typed

    with tracking(typed(composed("tracking=none")).tracking, tmp_path, {}) as tracker:
        tracker.log_result(result, {})
    assert list(tmp_path.iterdir()) == []


def test_a_pipeline_folder_becomes_a_model_of_its_size(tiny_pipeline):
    model = load_model(tiny_pipeline)
    x = torch.zeros(1, *model.latent_shape)
    assert model.predict_noise(x, model.schedule.T).shape == x.shape
    assert not any(p.requires_grad for p in model.unet.parameters())
