"""Models from the hub's cache, without the hub: a cache folder as ``huggingface_hub`` lays it out."""

import json
import shutil
import socket

import pytest
import torch

from diffgeo.diffusion.models import load_model
from diffgeo.errors import ModelError

NAME, OLD, NEW = "google/ddpm-ema-celebahq-256", "1" * 40, "2" * 40


@pytest.fixture
def cache(tmp_path, tiny_pipeline, tiny_unet):
    """Two commits of one model; ``main`` is the newer, whose weights differ."""
    repository = tmp_path / "hub" / "models--google--ddpm-ema-celebahq-256"
    for commit in (OLD, NEW):
        shutil.copytree(tiny_pipeline, repository / "snapshots" / commit)
    tiny_unet(size=16, seed=1).save_pretrained(repository / "snapshots" / NEW / "unet")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(NEW)
    (repository / "refs" / "first").write_text(OLD)
    return tmp_path / "hub"


@pytest.fixture
def reaching_out(monkeypatch):
    """Addresses that were asked for, with the environment's offline switch off: only ``local_files_only`` holds."""
    asked = []

    def refuse(*address, **_):
        asked.append(address)
        raise OSError("no network in tests")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return asked


@pytest.mark.parametrize(("revision", "commit"), [(None, NEW), ("main", NEW), ("first", OLD), (OLD, OLD)])
def test_the_source_names_the_commit_whatever_was_asked_for(cache, reaching_out, revision, commit):
    model = load_model(NAME, revision=revision, cache_dir=cache, local_files_only=True)
    assert model.source == f"{NAME}@{commit}"
    assert model.name == NAME
    snapshot = cache / "models--google--ddpm-ema-celebahq-256" / "snapshots" / commit
    point = torch.zeros(1, 3, 16, 16)
    assert torch.equal(model.predict_noise(point, 10), load_model(snapshot).predict_noise(point, 10))
    assert reaching_out == []


def test_the_default_cache_is_the_hubs_own(cache, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    assert load_model(NAME, local_files_only=True).source == f"{NAME}@{NEW}"


def test_the_hubs_offline_mode_names_the_commit_too(cache):
    assert load_model(NAME, cache_dir=cache).source == f"{NAME}@{NEW}"  # the tests' environment is offline


def test_a_revision_that_is_not_cached_is_refused_without_asking_the_hub(cache, reaching_out):
    with pytest.raises(ModelError, match=r"not in the hub's cache; check the id, model\.revision"):
        load_model(NAME, revision="3" * 40, cache_dir=cache, local_files_only=True)
    with pytest.raises(ModelError, match=r"model\.path=FOLDER"):
        load_model("google/ddpm-ema-cat-256", cache_dir=cache, local_files_only=True)
    assert reaching_out == []


def test_without_local_files_only_the_hub_is_asked(cache, reaching_out, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)  # the hub client tries again, and waits in between
    with pytest.raises(ModelError, match="cannot load"):
        load_model(NAME, revision="3" * 40, cache_dir=cache)
    assert reaching_out != []


def test_a_half_downloaded_model_is_refused(cache):
    shutil.rmtree(cache / "models--google--ddpm-ema-celebahq-256" / "snapshots" / NEW / "unet")
    with pytest.raises(ModelError, match=r"config\.json is missing"):
        load_model(NAME, cache_dir=cache, local_files_only=True)


def test_a_cached_pipeline_of_another_kind_is_refused_before_its_weights_are_read(cache):
    index = cache / "models--google--ddpm-ema-celebahq-256" / "snapshots" / NEW / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"_class_name": "AudioPipeline"}))
    with pytest.raises(ModelError, match="holds a AudioPipeline; diffgeo loads"):
        load_model(NAME, cache_dir=cache, local_files_only=True)
