"""Bad models, pictures, devices and disks: a clear error, the right exit code, nothing half-written."""

import errno
import hashlib
import json
import os
import resource
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from diffgeo.diffusion.models.locating import DIGESTS, SHIPPED, shipped_folder, verify_digests
from diffgeo.errors import ConfigError, DataError, DeviceError, ModelError, OutputError

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def pipeline(tiny_pipeline, tmp_path):
    """A copy of the tiny pipeline to break."""
    return Path(shutil.copytree(tiny_pipeline, tmp_path / "pipeline"))


@pytest.fixture
def fails_to_load(tiny_run):
    def check(path, *words):
        tiny_run(f"model.path={path}").assert_failed(ModelError.exit_code, *words)

    return check


def write_digests(folder):
    lines = [
        f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(folder)}"
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != DIGESTS
    ]
    (folder / DIGESTS).write_text("\n".join(lines) + "\n")


def flip_a_byte(path):
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)


def test_an_unknown_model_name_lists_the_shipped_ones(fails_to_load):
    fails_to_load("factor_fases", "no model called 'factor_fases'", "shipped are factor_faces", "owner/name")


def test_a_path_to_a_file_is_no_model(fails_to_load, pipeline):
    fails_to_load(pipeline / WEIGHTS, "is a file", "pipeline folder")


def test_a_folder_without_an_index_says_how_to_make_one(fails_to_load, pipeline):
    (pipeline / "model_index.json").unlink()
    fails_to_load(pipeline, "model_index.json is missing", "save_pretrained")


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_broken_index_is_named(fails_to_load, pipeline, content):
    (pipeline / "model_index.json").write_text(content)
    fails_to_load(pipeline, "model_index.json", "restore the file")


def test_a_pipeline_of_an_unknown_class_lists_the_known_ones(fails_to_load, pipeline):
    index = json.loads((pipeline / "model_index.json").read_text())
    (pipeline / "model_index.json").write_text(json.dumps(index | {"_class_name": "AudioPipeline"}))
    fails_to_load(pipeline, "holds a AudioPipeline", "DDPMPipeline")


def test_truncated_weights_are_refused(fails_to_load, pipeline):
    weights = pipeline / WEIGHTS
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    fails_to_load(pipeline, str(pipeline), "truncated", "copy it again")


def test_missing_weights_are_refused(fails_to_load, pipeline):
    (pipeline / WEIGHTS).unlink()
    fails_to_load(pipeline, str(pipeline), "incomplete")


def test_tampered_weights_are_refused_by_their_digest(fails_to_load, pipeline):
    write_digests(pipeline)
    verify_digests(pipeline)
    flip_a_byte(pipeline / WEIGHTS)
    fails_to_load(pipeline, "is damaged", WEIGHTS, "SHA-256", "reinstall")


def test_a_file_that_the_digests_list_must_be_there(pipeline):
    write_digests(pipeline)
    (pipeline / WEIGHTS).unlink()
    with pytest.raises(ModelError, match=r"safetensors is missing; reinstall"):
        verify_digests(pipeline)


@pytest.mark.parametrize("name", [*SHIPPED, "factor_predictor"])
def test_a_flipped_byte_in_a_shipped_weight_is_found(tmp_path, name):
    if not (shipped_folder(name) / DIGESTS).is_file():
        pytest.fail(f"{name} ships without {DIGESTS}")
    copy = Path(shutil.copytree(shipped_folder(name), tmp_path / name))
    verify_digests(copy)
    weights = next(copy.rglob("*.safetensors"))
    flip_a_byte(weights)
    with pytest.raises(ModelError, match="is damaged"):
        verify_digests(copy)


def test_code_beside_the_weights_is_not_run(fails_to_load, pipeline, tmp_path):
    index = json.loads((pipeline / "model_index.json").read_text())
    (pipeline / "model_index.json").write_text(json.dumps(index | {"unet": ["smuggled", "Network"]}))
    (pipeline / "unet" / "smuggled.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Network: ...\n")
    fails_to_load(pipeline, str(pipeline))
    assert not (tmp_path / "ran").exists()


def test_a_hub_id_without_a_network_says_what_to_do(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    outcome = tiny_run(
        "model=ddpm_celebahq",
        "model.path=google/ddpm-ema-celebahq-256",
        f"model.cache_dir={tmp_path}",
        "model.local_files_only=true",
    )
    outcome.assert_failed(ModelError.exit_code, "google/ddpm-ema-celebahq-256", "network", "model.path=FOLDER")


def test_an_unknown_predictor_is_refused(tiny_run):
    tiny_run("model.predictor=no_such").assert_failed(ModelError.exit_code, "no_such is no attribute predictor")


# pictures


@pytest.fixture
def pictures(tmp_path):
    """A folder of pictures of several sizes and modes; one is turned by EXIF."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)

    def noise(*shape):
        return rng.integers(0, 256, shape, dtype=np.uint8)

    Image.fromarray(noise(20, 31, 3)).save(folder / "a_wide.png")
    Image.fromarray(noise(9, 7)).save(folder / "b_grey.png")
    Image.fromarray(noise(16, 16, 4)).save(folder / "c_alpha.png")
    Image.fromarray(noise(24, 12, 3)).convert("P").save(folder / "d_palette.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(40, 18, 3)).save(folder / "e_turned.jpg", exif=exif)
    Image.fromarray(noise(16, 16).astype(np.uint16) * 200).save(folder / "f_deep.png")
    (folder / "notes.txt").write_text("not a picture")
    return folder


def test_pictures_of_mixed_sizes_and_modes_work(tiny_run, pictures):
    outcome = tiny_run("data=images", f"data.images={pictures}", "data.samples=6")
    assert outcome.code == 0, outcome.err
    table = pd.read_parquet(outcome.folder / "tables" / "discovery.parquet")
    names = ["a_wide.png", "b_grey.png", "c_alpha.png", "d_palette.png", "e_turned.jpg", "f_deep.png"]
    assert list(table["name"].unique()) == names


def test_one_picture_works_whatever_the_number_of_samples(tiny_run, pictures):
    outcome = tiny_run("data=images", f"data.images={pictures / 'a_wide.png'}", "data.samples=4")
    assert outcome.code == 0, outcome.err


def test_an_empty_folder_of_pictures_names_the_known_suffixes(tiny_run, tmp_path):
    (tmp_path / "empty").mkdir()
    outcome = tiny_run("data=images", f"data.images={tmp_path / 'empty'}")
    outcome.assert_failed(DataError.exit_code, "holds no picture", ".png", ".jpg")


def test_a_missing_folder_of_pictures_is_named(tiny_run, tmp_path):
    outcome = tiny_run("data=images", f"data.images={tmp_path / 'nowhere'}")
    outcome.assert_failed(DataError.exit_code, "nowhere does not exist", "a folder, a picture, or a list of pictures")


@pytest.mark.parametrize(("damage", "advice"), [("text", "leave it out"), ("truncated", "remove or replace it")])
def test_a_broken_picture_is_named(tiny_run, pictures, damage, advice):
    path = pictures / "a_wide.png"
    content = {"text": b"hello", "truncated": path.read_bytes()[:200], "empty": b""}[damage]
    path.write_bytes(content)
    outcome = tiny_run("data=images", f"data.images={pictures}")
    outcome.assert_failed(DataError.exit_code, "a_wide.png cannot be read", advice)


def test_fewer_pictures_than_samples_says_how_many_there_are(tiny_run, pictures):
    outcome = tiny_run("data=images", f"data.images={pictures}", "data.samples=50")
    outcome.assert_failed(DataError.exit_code, "holds 6 pictures", "lower data.samples=50")


@pytest.mark.slow
def test_a_list_of_pictures_is_taken_whole_in_its_order_and_named_in_every_result(tiny_run, pictures):
    listed = [pictures / name for name in ("d_palette.png", "a_wide.png", "e_turned.jpg")]
    outcome = tiny_run(
        "data=images",
        f"data.images=[{','.join(map(str, listed))}]",
        "study=[discovery,spectrum,tangent_distance,global_consistency]",
        "study.discovery.directions=1",
        figures=True,
    )
    assert outcome.code == 0, outcome.err
    names = [path.name for path in listed]
    assert outcome.manifest["samples"] == names
    assert outcome.manifest["settings"]["data"]["images"] == [str(path) for path in listed]
    tables = {path.stem: pd.read_parquet(path) for path in (outcome.folder / "tables").glob("*.parquet")}
    for stem in ("discovery", "discovery_traversals", "spectrum"):
        assert list(tables[stem].groupby("sample")["name"].unique().explode()) == names
    pairs = tables["tangent_distance"]
    assert list(zip(pairs["name_a"], pairs["name_b"], strict=True)) == [
        (names[a], names[b]) for a, b in zip(pairs["sample_a"], pairs["sample_b"], strict=True)
    ]
    overlaps = tables["global_consistency_overlaps"]
    assert (overlaps["other_name"] == overlaps["other"].map(dict(enumerate(names)))).all()
    drawn = (outcome.folder / "figures" / "discovery_traversals_1T.svg").read_text()
    assert all(name in drawn for name in names)


def test_pictures_of_the_same_name_are_told_apart_by_their_paths(tiny_run, pictures, tmp_path):
    other = Path(shutil.copytree(pictures, tmp_path / "others"))
    same = [str(folder / "b_grey.png") for folder in (pictures, other)]
    outcome = tiny_run("data=images", f"data.images=[{','.join(same)}]", "study=[spectrum]")
    assert outcome.code == 0, outcome.err
    assert outcome.manifest["samples"] == same


def test_a_listed_picture_that_is_missing_is_named(tiny_run, pictures):
    outcome = tiny_run("data=images", f"data.images=[{pictures / 'a_wide.png'},{pictures / 'z.png'}]")
    outcome.assert_failed(DataError.exit_code, "z.png does not exist", "a list of pictures")


def test_a_listed_folder_is_refused(tiny_run, pictures):
    outcome = tiny_run("data=images", f"data.images=[{pictures / 'a_wide.png'},{pictures}]")
    outcome.assert_failed(DataError.exit_code, "is a folder", f"data.images={pictures}")


def test_a_picture_that_is_listed_twice_is_refused(tiny_run, pictures):
    outcome = tiny_run("data=images", f"data.images=[{pictures / 'a_wide.png'},{pictures / '.' / 'a_wide.png'}]")
    outcome.assert_failed(DataError.exit_code, "a_wide.png twice", "leave one out")


def test_a_listed_file_that_is_no_picture_is_named(tiny_run, pictures):
    outcome = tiny_run("data=images", f"data.images=[{pictures / 'a_wide.png'},{pictures / 'notes.txt'}]")
    outcome.assert_failed(DataError.exit_code, "notes.txt cannot be read as a picture", "leave it out")


@pytest.mark.parametrize("value", ["[]", "3", "[a.png,3]"])
def test_what_is_neither_path_nor_list_of_paths_is_a_wrong_setting(tiny_run, value):
    outcome = tiny_run("data=images", f"data.images={value}")
    outcome.assert_failed(ConfigError.exit_code, "data.images=", "a list of pictures")


# devices


def test_cuda_that_is_not_there_says_what_is(tiny_run, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    tiny_run("device=cuda").assert_failed(DeviceError.exit_code, "device=cuda", "this machine has cpu", "device=auto")


def test_a_device_that_is_none_says_what_there_is(tiny_run):
    tiny_run("device=quantum").assert_failed(DeviceError.exit_code, "device=quantum is no device", "cpu")


# disks


@pytest.fixture
def file_size_limit():
    """``file_size_limit(n)``: no file of this process may grow past n bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.slow
@pytest.mark.usefixtures("good")
def test_a_full_disk_leaves_no_half_table(tiny_run, file_size_limit):
    file_size_limit(5000)  # above Hydra's own files, below the first table
    outcome = tiny_run()
    file_size_limit(resource.RLIM_INFINITY)
    outcome.assert_failed(
        OutputError.exit_code, "cannot write", "discovery.parquet", "free some space", "hydra.run.dir="
    )
    assert outcome.manifest["status"] == "failed"
    assert "File too large" in outcome.manifest["error"]


@pytest.mark.slow
@pytest.mark.usefixtures("good")
def test_a_disk_that_fills_up_later_leaves_whole_tables_and_no_tensors(tiny_run, file_size_limit):
    file_size_limit(20000)  # above the tables, below the tensors
    outcome = tiny_run()
    file_size_limit(resource.RLIM_INFINITY)
    outcome.assert_failed(OutputError.exit_code, "cannot write", "discovery.safetensors", "free some space", table=True)
    assert len(pd.read_parquet(outcome.folder / "tables" / "discovery.parquet")) == 3
    assert outcome.files("tensors/*") == []


@pytest.mark.parametrize(
    ("writer", "figure"),
    [
        ("pathlib.Path.write_bytes", "discovery_spectrum"),
        ("matplotlib.figure.Figure.savefig", "discovery_traversals_1T"),
    ],
)
def test_a_full_disk_while_figures_are_drawn_leaves_no_half_figure(tiny_run, monkeypatch, writer, figure):
    def full(self, target, **_):
        path = self if writer.startswith("pathlib") else target
        path.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writer, full)
    outcome = tiny_run(figures=True)
    outcome.assert_failed(OutputError.exit_code, "No space left", "free some space", table=True)
    assert not any(figure in file for file in outcome.files("figures/*"))


def test_a_run_folder_below_a_file_is_an_output_error(tiny_run, tmp_path):
    (tmp_path / "file").write_text("")
    outcome = tiny_run(folder=tmp_path / "file" / "run")
    outcome.assert_failed(OutputError.exit_code, "cannot write", "Not a directory", "hydra.run.dir=")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes to read-only folders; the next test stands in")
def test_a_read_only_run_folder_is_an_output_error(tiny_run, tmp_path):
    tmp_path.chmod(0o500)
    outcome = tiny_run(folder=tmp_path / "run")
    tmp_path.chmod(0o700)
    outcome.assert_failed(OutputError.exit_code, "cannot write", "Permission denied", "hydra.run.dir=")


def test_a_read_only_file_system_is_an_output_error(tiny_run, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("diffgeo.results.create", refuse)
    outcome = tiny_run()
    outcome.assert_failed(OutputError.exit_code, "run.json", "Read-only file system", "hydra.run.dir=")


@pytest.mark.parametrize("listed", [False, True])
def test_a_picture_whose_name_is_no_utf_8_is_studied(tiny_run, tmp_path, listed):
    folder = tmp_path / "pictures"
    folder.mkdir()
    path = folder / "caf\udce9.png"
    Image.fromarray(np.full((16, 16, 3), 90, dtype=np.uint8)).save(path)
    given = f"['{path}']" if listed else folder
    outcome = tiny_run("data=images", f"data.images={given}")
    assert outcome.code == 0, outcome.err
    assert list(pd.read_parquet(outcome.folder / "tables" / "spectrum.parquet")["name"]) == ["caf\\xe9.png"]
    assert outcome.manifest["samples"] == ["caf\\xe9.png"]
    assert "caf\\xe9.png" in (outcome.folder / "tables" / "spectrum.csv").read_text()
