"""The folder that an import writes, and the script around it."""

import hashlib
import json
import runpy
import sys
from pathlib import Path

import pytest
from diffusers import DDPMPipeline
from importing_cases import DDPM_SETTINGS, P2_SETTINGS, assert_same, refused

from diffgeo.diffusion.models import load_model
from diffgeo.errors import OutputError
from importing import PRESETS, RECORD, import_checkpoint

SCRIPT = Path(__file__).parents[2] / "tools" / "import_checkpoint.py"


def test_the_folder_records_where_it_came_from_and_names_no_path(saved, tmp_path, p2):
    file = saved(p2[1])
    done = import_checkpoint(file, tmp_path / "deep" / "out", P2_SETTINGS)
    record = json.loads((done.folder / RECORD).read_text())
    assert record["sha256"] == done.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert record["bytes"] == file.stat().st_size
    assert (record["checkpoint"], record["layout"], record["entry"]) == ("model.pt", "openai", "")
    assert record["settings"]["head_channels"] == 32
    assert record["architecture"]["widths"] == [32, 64, 64]
    assert all(str(tmp_path) not in path.read_text() for path in done.folder.rglob("*.json"))
    assert {path.suffix for path in done.folder.rglob("*") if path.is_file()} == {".json", ".safetensors"}


def test_a_folder_in_use_is_replaced_only_when_asked_and_only_if_a_pipeline(saved, tmp_path, p2, sdedit):
    folder = tmp_path / "out"
    folder.mkdir()
    import_checkpoint(saved(p2[1], "a.pt"), folder, P2_SETTINGS)
    (folder / "old").touch()
    other = saved(sdedit[1], "b.pt")
    assert "--overwrite" in refused(other, folder, DDPM_SETTINGS, OutputError)
    assert load_model(folder).unet.config.out_channels == 6
    import_checkpoint(other, folder, DDPM_SETTINGS, overwrite=True)
    assert_same(load_model(folder), sdedit[0])
    assert not (folder / "old").exists()
    (folder / "model_index.json").unlink()
    assert "no pipeline" in refused(other, folder, DDPM_SETTINGS, OutputError, overwrite=True)
    assert (folder / "unet").is_dir()
    assert "is a file" in refused(other, tmp_path / "a.pt", DDPM_SETTINGS, OutputError, overwrite=True)


def test_a_failed_replacement_leaves_the_earlier_pipeline(saved, tmp_path, sdedit, monkeypatch):
    folder, file = tmp_path / "out", saved(sdedit[1])
    import_checkpoint(file, folder, DDPM_SETTINGS)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(DDPMPipeline, "save_pretrained", full)
    assert "No space left" in refused(file, folder, DDPM_SETTINGS, OutputError, overwrite=True)
    assert_same(load_model(folder), sdedit[0])


def test_a_folder_that_cannot_be_made_is_an_error_of_the_output(saved, tmp_path, sdedit):
    file = saved(sdedit[1])
    with pytest.raises(OutputError, match="cannot write"):
        import_checkpoint(file, file / "below", DDPM_SETTINGS)


@pytest.fixture
def script(monkeypatch, capsys):
    """Run the script in this process: exit status, standard output, standard error."""

    def run(*args):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, args)])
        status = 0
        try:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return run


def test_the_script_imports_and_says_what_it_found(script, saved, tmp_path, sdedit):
    status, out, _ = script(saved(sdedit[1]), tmp_path / "out", "--image-size", 16, "--variance", "fixed_small")
    assert status == 0
    assert "ddpm layout" in out
    assert "widths 32, 32*, 64" in out
    assert_same(load_model(tmp_path / "out"), sdedit[0])


def test_the_scripts_options_replace_a_presets(script, saved, tmp_path, p2, monkeypatch):
    monkeypatch.setitem(PRESETS, "tiny", P2_SETTINGS)
    assert script(saved(p2[1]), tmp_path / "out", "--preset", "tiny", "--image-size", 64, "--heads", 4)[0] == 0
    config = json.loads((tmp_path / "out" / "unet" / "config.json").read_text())
    assert (config["sample_size"], config["attention_head_dim"]) == (64, 16)


@pytest.mark.parametrize(
    ("options", "status", "match"),
    [
        (("--preset", "p2_256"), 3, "is not of the openai layout"),
        ((), 2, "--image-size"),
        (("--image-size", 16, "--heads", 2), 2, "always has one"),
        (("--image-size", 16, "--steps", 0), 2, "steps is 0"),
    ],
)
def test_the_script_prints_errors_in_two_lines(script, saved, tmp_path, sdedit, options, status, match):
    code, _, err = script(saved(sdedit[1]), tmp_path / "out", *options)
    assert code == status
    assert match in err
    assert err.startswith("Error: ")
    what, advice = err.strip().splitlines()
    assert what
    assert advice
    assert not (tmp_path / "out").exists()
