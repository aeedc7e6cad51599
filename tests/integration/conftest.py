"""Settings as Hydra composes them, without the command line around."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from diffgeo.composition import register
from diffgeo.config import config_folder


@pytest.fixture
def composed():
    """``composed(*overrides)``: the configuration before it becomes dataclasses."""
    register()
    GlobalHydra.instance().clear()

    def make(*overrides):
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            return compose("config", list(overrides))

    yield make
    GlobalHydra.instance().clear()
