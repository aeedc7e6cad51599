import os
import stat

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from diffgeo.diffusion.direction_files import Directions, save_directions
from diffgeo.errors import OutputError
from diffgeo.results import Result, atomic, clear_temporary, write_csv, write_result
from diffgeo.studies.shared.provenance import warn_of


def test_tables_and_tensors_come_back_as_they_were(tmp_path):
    table = pd.DataFrame({"a": [1, 2], "b": [0.1, float("nan")], "label": ["x", None]})
    more = pd.DataFrame({"frame": [0]})
    turned = torch.arange(6.0).reshape(2, 3).T  # not contiguous
    result = Result("study", table, {"s": 1.0}, {"V/0/999": turned}, {"frames": more})
    paths = write_result(result, tmp_path)
    assert [p.relative_to(tmp_path).as_posix() for p in paths] == [
        "tables/study.parquet",
        "tables/study.csv",
        "tables/study_frames.parquet",
        "tables/study_frames.csv",
        "tensors/study.safetensors",
    ]
    pd.testing.assert_frame_equal(pd.read_parquet(paths[0]), table)
    pd.testing.assert_frame_equal(pd.read_csv(paths[1]), table, check_dtype=False)
    pd.testing.assert_frame_equal(pd.read_parquet(paths[2]), more)
    assert torch.equal(load_file(paths[4])["V/0/999"], turned)


FORMULAS = ["=1+1", "=HYPERLINK(A1)", "+cmd|' /C calc'!A0", "-2+3+cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "\r=1"]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_text_of_a_csv_file_is_a_formula(tmp_path, text):
    table = pd.DataFrame({"name": [text, None, "plain"], "x": [-1.5, 2.0, -3.0]})
    result = Result("study", table)
    parquet, plain = write_result(result, tmp_path)
    pd.testing.assert_frame_equal(pd.read_parquet(parquet), table)
    back = pd.read_csv(plain, lineterminator="\n")
    assert back["name"][0] == f"'{text}"
    assert list(back["x"]) == [-1.5, 2.0, -3.0]
    assert table["name"][0] == text, "the table itself stays as it is"


@pytest.mark.parametrize("text", ["-0.5", "+1e-3", "-inf", "smile −", "a=b", "no attribute", "", "'quoted"])
def test_other_texts_of_a_csv_file_stay_as_they_are(tmp_path, text):
    write_csv(pd.DataFrame({"name": [text]}), tmp_path / "t.csv")
    assert pd.read_csv(tmp_path / "t.csv", dtype=str, keep_default_na=False)["name"][0] == text


def test_without_tensors_no_tensor_file(tmp_path):
    write_result(Result("study", pd.DataFrame({"a": [1]})), tmp_path)
    assert not (tmp_path / "tensors").exists()


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")

    def write_half():
        with atomic(path) as temporary:
            temporary.write_text("new, half")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_appears_only_at_the_end(tmp_path):
    path = tmp_path / "deep" / "out.json"
    with atomic(path) as temporary:
        temporary.write_text("{}")
        assert temporary.suffix == ".json"
        assert not path.exists()
    assert path.read_text() == "{}"
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_full_disk_is_an_output_error_that_names_the_file(tmp_path):
    with pytest.raises(OutputError, match=r"cannot write .*out\.txt \(No space left.*hydra\.run\.dir="):  # noqa: SIM117
        with atomic(tmp_path / "out.txt"):
            raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_of_the_folder_is_an_output_error(tmp_path):
    (tmp_path / "tables").touch()
    with pytest.raises(OutputError, match="cannot write"):
        write_result(Result("study", pd.DataFrame({"a": [1]})), tmp_path)


@pytest.mark.parametrize("mask", [0o002, 0o022, 0o077])
def test_files_honour_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        paths = write_result(Result("study", pd.DataFrame({"a": [1]}), tensors={"x": torch.ones(2)}), tmp_path)
        directions = Directions(torch.eye(3)[:, :1], torch.ones(1), "mean", 9, 9, "mid", None, "m", "w")
        paths.append(save_directions(tmp_path / "d.safetensors", directions))
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o666 & ~mask}


def test_only_half_written_files_of_this_package_are_cleared(tmp_path):
    ours = [tmp_path / ".tmp-run-0123abcd.json", tmp_path / "tables" / ".tmp-discovery-0123abcd.csv"]
    theirs = [tmp_path / ".tmp-mine", tmp_path / "data" / ".tmp-run-0123abcd.json", tmp_path / "tables" / ".tmp-0"]
    for path in (*ours, *theirs):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    clear_temporary(tmp_path)
    assert [path.exists() for path in ours] == [False, False]
    assert all(path.exists() for path in theirs)


def test_damaged_pictures_are_told_of_stored_results_too(caplog):
    table = pd.DataFrame({"t_frac": [1.0, 1.0], "gamma": [0.0, 3.0], "clipped_change": [0.0, 0.2]})
    warn_of(Result("discovery", table, {}))
    assert "edits drive more colours to their limits" in caplog.text
    assert "20 % at T" in caplog.text
    caplog.clear()
    warn_of(Result("of_others", table.drop(columns="gamma"), {}))
    assert not caplog.text
