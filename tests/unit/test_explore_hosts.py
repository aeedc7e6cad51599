"""Which addresses only this machine can reach."""

import pytest

pytest.importorskip("gradio")

from diffgeo.explore.serving import is_local


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1"])
def test_loopback_is_local(host):
    assert is_local(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.3", "example.org", ""])
def test_everything_else_is_not(host):
    assert not is_local(host)
