"""Fixtures of several tests: networks of the import, and the devices that there are."""

import original_networks
import pytest
import torch
from importing_cases import DDPM, OPENAI, network


@pytest.fixture
def saved(tmp_path):
    """Save an object as a checkpoint: ``saved(content, name="model.pt")``."""

    def save(content, name="model.pt"):
        torch.save(dict(content) if isinstance(content, original_networks.Weights) else content, tmp_path / name)
        return tmp_path / name

    return save


@pytest.fixture(scope="session")
def p2():
    return network("openai", **OPENAI["p2"])


@pytest.fixture(scope="session")
def sdedit():
    return network("ddpm", **DDPM["sdedit"])


@pytest.fixture(params=["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"])
def device(request):
    """The processor, and the GPU where there is one."""
    return request.param
