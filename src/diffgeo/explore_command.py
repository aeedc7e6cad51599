"""The command ``diffgeo-explore``: a local page that finds and mixes directions, or one edit without the page."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from diffgeo.cli import quoted_prompts, worded_errors
from diffgeo.config import Config, check, composed
from diffgeo.errors import ConfigError

if TYPE_CHECKING:
    from diffgeo.explore import Explorer

__all__ = ["Wanted", "free_port", "main", "read", "settings"]

_HELP = """\
diffgeo-explore: pick a picture, move its directions, see what they mean. A page on this machine.

Usage: diffgeo-explore [host=127.0.0.1] [port=7860] [preview=20] [directions=FILE] [group=choice ...] [key=value ...]
       diffgeo-explore weights=[1,0,-0.5] out=FOLDER [directions=local|global|FILE] [group=choice ...] [key=value ...]

  host        address to listen on; anything but 127.0.0.1 lets others in, and there is no password
  port        0 takes a free one
  preview     at most so many DDIM steps after a move; saved pictures take schedule.steps
  directions  also offer the directions of this file (diffgeo.save_directions); without the page, whose to take:
              the picture's own (local, the default), those that the first samples share (global), or a file's
  weights     no page: mix the directions with these weights, 1 being edit.strength, and write what comes out
  out         to this folder: before, after and difference as PNG, direction.safetensors, edit.json
Everything else is as for diffgeo, where svd.rank=8 and schedule.steps=40 if left out:
  diffgeo-explore model=ddpm_celebahq device=cuda svd.rank=20
  diffgeo-explore model=factor_faces_t2i prompt="portrait of a smiling face with long red hair"
  diffgeo-explore data=images data.images=faces/ schedule.edit=[0.5]

The page needs diffgeo[explore]. Ctrl-C ends it. Uploaded pictures are checked, never run and never kept.
"""
LOCAL = "127.0.0.1"
WORDS = ("host", "port", "preview", "directions", "weights", "out")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a command line asks for.

    Attributes:
        host: address to listen on.
        port: likewise; 0 is any free one.
        preview: most DDIM steps of a preview.
        directions: ``local``, ``global`` or a file.
        weights: of one edit without the page, or None.
        out: its folder, or None.
        overrides: everything else, Hydra's.
    """

    host: str = LOCAL
    port: int = 7860
    preview: int = 20
    directions: str = "local"
    weights: tuple[float, ...] | None = None
    out: Path | None = None
    overrides: tuple[str, ...] = ()


def main() -> None:
    """Entry point of the console command."""
    words = sys.argv[1:]
    if {"--help", "-h"} & set(words):
        print(_HELP, end="")
        return
    # threads that spin while they wait starve one another where the cores are busy; read on torch's import
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    with worded_errors():
        wanted = read(words)
        _write(wanted) if wanted.out is not None else _serve(wanted)


def read(words: Sequence[str]) -> Wanted:
    """Read the command line.

    Raises:
        ConfigError: a word that is no key=value, or a value out of range.
    """
    strange = [word for word in words if "=" not in word]
    if strange:
        raise ConfigError(f"{strange[0]} is no argument of diffgeo-explore; see diffgeo-explore --help")
    given = dict(word.split("=", 1) for word in words if word.partition("=")[0] in WORDS)
    overrides = tuple(word for word in words if word.partition("=")[0] not in WORDS)
    if ("weights" in given) != ("out" in given):
        raise ConfigError("weights=… and out=… belong together; give both for one edit without the page, or neither")
    return Wanted(
        given.get("host", LOCAL),
        _whole("port", given.get("port", "7860"), 0, 65535),
        _whole("preview", given.get("preview", "20"), 1, 1000),
        given.get("directions", "local"),
        _weights(given["weights"]) if "weights" in given else None,
        Path(given["out"]) if "out" in given else None,
        overrides,
    )


def _whole(key: str, value: str, low: int, high: int) -> int:
    if not value.isdecimal() or not low <= int(value) <= high:
        raise ConfigError(f"{key}={value} is not possible; allowed: {low} to {high}")
    return int(value)


def _weights(value: str) -> tuple[float, ...]:
    try:
        weights = tuple(float(part) for part in value.strip("[] ").split(","))
    except ValueError:
        weights = (float("inf"),)
    if not all(abs(w) < float("inf") for w in weights):
        raise ConfigError(f"weights={value} is not possible; allowed: numbers, such as weights=[1,0,-0.5]")
    return weights


def settings(wanted: Wanted) -> Config:
    """The settings of the model and its edits, composed as ``diffgeo`` would and checked."""
    from diffgeo.explore.commands import with_defaults

    cfg = composed(quoted_prompts(with_defaults(wanted.overrides)))
    check(cfg)
    return cfg


def _explorer(wanted: Wanted) -> Explorer:
    cfg = settings(wanted)
    from diffgeo.directions import load_directions  # torch is slow to import
    from diffgeo.explore import Explorer
    from diffgeo.progress import Interruption
    from diffgeo.runner import prepare

    file = None if wanted.directions in ("local", "global") else wanted.directions
    return Explorer(
        prepare(cfg, Interruption()),
        overrides=wanted.overrides,
        preview=wanted.preview,
        directions=None if file is None else load_directions(file),
        file=file,
    )


def _serve(wanted: Wanted) -> None:
    port = free_port(wanted.host, wanted.port)
    try:
        from diffgeo.explore.app import serving
    except ModuleNotFoundError as error:
        if error.name not in ("gradio", "starlette"):
            raise
        raise ConfigError(
            "the page needs Gradio, which is not installed; install it with pip install 'diffgeo[explore]', or say "
            "weights=… out=… for one edit without the page"
        ) from None
    explorer = _explorer(wanted)
    if wanted.host != LOCAL:
        print(
            f"Warning: host={wanted.host} lets others in, without a password; an SSH tunnel to {LOCAL} does not.",
            file=sys.stderr,
        )
    # ended by a service manager, it cleans up as after Ctrl-C
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with serving(explorer, wanted.host, port) as url:
            print(f"{url}  (Ctrl-C ends it)", flush=True)
            _wait()
    except KeyboardInterrupt:
        print("Ended.", file=sys.stderr)


def _wait() -> None:
    """Until Ctrl-C."""
    while True:
        time.sleep(3600)


def free_port(host: str, port: int) -> int:
    """The port, if it can be had; any free one for 0.

    Raises:
        ConfigError: something else listens there, or the address is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as trial:
        if os.name == "posix":  # as the server does: a port in TIME_WAIT is free
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except socket.gaierror:
            raise ConfigError(f"host={host} is no address of this machine; leave it out for {LOCAL}") from None
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {host}, port {port} ({error.strerror}); end what is there, or choose another: "
                "port=0 takes a free one"
            ) from None
        return int(trial.getsockname()[1])


def _write(wanted: Wanted) -> None:
    """One edit, as the page makes it, into a folder."""
    from dataclasses import replace

    explorer = _explorer(wanted)
    from diffgeo.directions import save_directions
    from diffgeo.explore import page
    from diffgeo.results import atomic

    assert wanted.out is not None
    assert wanted.weights is not None
    source = wanted.directions if wanted.directions in ("local", "global") else "file"
    place = explorer.place(replace(explorer.start, source=source))  # type: ignore[arg-type]
    edited = explorer.edit(place, wanted.weights, full=True)
    pictures = {
        "before": page.as_image(edited.before),
        "after": page.as_image(edited.after),
        "difference": page.heat_map(edited.difference),
    }
    for name, image in pictures.items():
        with atomic(wanted.out / f"{name}.png") as path:
            path.write_bytes(page.png(image))
    if any(wanted.weights):
        with atomic(wanted.out / "direction.safetensors") as path:
            save_directions(path, explorer.direction(place, wanted.weights))
    facts = {
        "choice": asdict(place.choice),
        "weights": wanted.weights,
        "changes": dict(zip(edited.attributes, edited.changes.tolist(), strict=True)),
        "command": explorer.command(place, wanted.weights),
    }
    with atomic(wanted.out / "edit.json") as path:
        path.write_text(json.dumps(facts, indent=2) + "\n")
    print(wanted.out)


if __name__ == "__main__":
    main()
