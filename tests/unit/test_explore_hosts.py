"""Which addresses only this machine can reach, and how long a request may be."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from fastapi import FastAPI, Request

pytest.importorskip("gradio")

from diffgeo.explore.serving import MAX_BODY, Bounded, is_local
from diffgeo.explore.uploads import MAX_BYTES


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1"])
def test_loopback_is_local(host):
    assert is_local(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.3", "example.org", ""])
def test_everything_else_is_not(host):
    assert not is_local(host)


def bounded():
    app = FastAPI()

    @app.post("/join")
    async def _join(request: Request) -> int:
        return len((await request.json())["data"])

    @app.post("/upload")
    async def _upload(request: Request) -> int:
        return len(await request.body())

    return httpx.AsyncClient(transport=httpx.ASGITransport(Bounded(app)), base_url="http://here")


async def pieces(content, size=2**16):
    for start in range(0, len(content), size):
        yield content[start : start + size]


def run(talk):
    """Run a coroutine function in a thread of its own: a browser that other tests keep open has a loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, talk()).result()


@pytest.mark.parametrize("declared", [True, False])
def test_a_request_that_is_too_long_is_refused_whether_it_says_so_or_not(declared):
    def body(length):
        content = b'{"data": "%s"}' % (b"x" * length)
        return content if declared else pieces(content)

    async def talk():
        async with bounded() as client:
            kind = {"Content-Type": "application/json"}
            assert (await client.post("/join", content=body(1000), headers=kind)).json() == 1000
            refused = await client.post("/join", content=body(MAX_BODY), headers=kind)
            assert refused.status_code == 413
            assert "1 MB at most" in refused.text
            assert (await client.post("/upload", content=body(MAX_BYTES))).status_code == 200
            assert (await client.post("/upload", content=body(MAX_BYTES + MAX_BODY))).status_code == 413

    run(talk)


@pytest.mark.parametrize("length", ["-1", "1e9", ""])
def test_a_length_that_is_no_number_is_refused(length):
    async def talk():
        async with bounded() as client:
            answer = await client.post("/join", content=pieces(b"{}"), headers={"Content-Length": length})
            assert answer.status_code == 413

    run(talk)
