"""The command ``diffgeo-explore``: a local page that finds and mixes directions, or one edit without the page."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from diffgeo.cli.line import quoted_prompts
from diffgeo.cli.words import Command, Words
from diffgeo.composition import check, composed
from diffgeo.config import Config
from diffgeo.errors import ConfigError
from diffgeo.signals import ended

if TYPE_CHECKING:
    from diffgeo.explore import Explorer

COMMAND = Command(
    "diffgeo-explore",
    "pick a picture, move its directions, see what they mean, on a page of this machine.",
    (
        "[host=127.0.0.1] [port=7860] [preview=20] [directions=FILE] [group=choice ...] [key=value ...]",
        "weights=[1,0,-0.5] out=FOLDER [directions=local|global|FILE] [mask=PIXELS] [key=value ...]",
    ),
    {
        "host=ADDRESS": "to listen on, 127.0.0.1 if left out; any other lets others in, and there is no password",
        "port=NUMBER": "7860 if left out; 0 takes a free one",
        "preview=STEPS": "at most so many DDIM steps after a move; saved pictures take schedule.steps",
        "directions=FILE": "also offer the directions of this file (diffgeo.save_directions); without the page, whose "
        "to take: the picture's own (local, the default), those that the first samples share (global), or a file's",
        "mask=PIXELS": "begin with the directions that act in a painted mask, as the command line that the page shows "
        "has it; data.masks=… takes a picture, a rectangle or a factor instead",
        "weights=[NUMBER,...]": "no page: mix the directions with these weights, 1 being edit.strength, and write what "
        "comes out",
        "out=FOLDER": "to this folder: before, after and difference as PNG, edit.json, and direction.safetensors, or "
        "mask.png if there is a mask",
        "key=value": "as for diffgeo, where svd.rank=8 and schedule.steps=40 if left out",
    },
    about=(
        "The page needs diffgeo[explore], and Ctrl-C ends it. Uploaded pictures are checked, never run and never kept.",
    ),
    examples={
        "diffgeo-explore": "the shipped model",
        "diffgeo-explore model=ddpm_celebahq device=cuda svd.rank=20": "any model that diffgeo takes",
        'diffgeo-explore model=factor_faces_t2i prompt="portrait of a face"': "with a prompt",
        "diffgeo-explore data=images data.images=faces/ schedule.edit=[0.5]": "own pictures",
    },
    codes=(0, 1, 2, 3, 4, 5, 6, 7, 130),
    passes=True,
    bare=True,
)
LOCAL = "127.0.0.1"


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
        mask: the painted one's text, or None.
        overrides: everything else, Hydra's.
    """

    host: str = LOCAL
    port: int = 7860
    preview: int = 20
    directions: str = "local"
    weights: tuple[float, ...] | None = None
    out: Path | None = None
    mask: str | None = None
    overrides: tuple[str, ...] = ()


def main() -> None:
    """Entry point of the console command."""
    # threads that spin while they wait starve one another where the cores are busy; read on torch's import
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    COMMAND.main(_execute)


def _execute(words: Words) -> None:
    wanted = _wanted(words)
    cfg = settings(wanted)  # refused, if need be, before torch and Gradio are imported, which takes seconds
    _write(wanted, cfg) if wanted.out is not None else _serve(wanted, cfg)


def read(words: Sequence[str]) -> Wanted:
    """Read the command line.

    Raises:
        ConfigError: a word that is no key=value, or a value out of range.
    """
    return _wanted(COMMAND.parse(list(words)))


def _wanted(words: Words) -> Wanted:
    given = words.given
    if ("weights" in given) != ("out" in given):
        raise ConfigError("weights=… and out=… belong together", "give both for one edit without the page, or neither")
    if "mask" in given and "directions" in given:
        raise ConfigError("mask=… and directions=… both say whose directions are taken", "leave one of them out")
    return Wanted(
        given.get("host", LOCAL),
        _whole("port", given.get("port", "7860"), 0, 65535),
        _whole("preview", given.get("preview", "20"), 1, 1000),
        given.get("directions", "local"),
        _weights(given["weights"]) if "weights" in given else None,
        words.path("out", Path()) if "out" in given else None,
        given.get("mask"),
        tuple(words.others),
    )


def _whole(key: str, value: str, low: int, high: int) -> int:
    if not value.isdecimal() or not low <= int(value) <= high:
        raise ConfigError(f"{key}={value} is not possible", f"allowed: {low} to {high}")
    return int(value)


def _weights(value: str) -> tuple[float, ...]:
    try:
        weights = tuple(float(part) for part in value.strip("[] ").split(","))
    except ValueError:
        weights = (float("inf"),)
    if not all(abs(w) < float("inf") for w in weights):
        raise ConfigError(f"weights={value} is not possible", "allowed: numbers, such as weights=[1,0,-0.5]")
    return weights


def settings(wanted: Wanted) -> Config:
    """The settings of the model and its edits, composed as ``diffgeo`` would and checked."""
    from diffgeo.explore.commands import with_defaults

    cfg = composed(quoted_prompts(with_defaults(wanted.overrides)))
    check(cfg)
    return cfg


def _explorer(wanted: Wanted, cfg: Config) -> Explorer:
    from diffgeo.diffusion.direction_files import load_directions  # torch is slow to import
    from diffgeo.explore import Explorer
    from diffgeo.runner.prepare import prepare
    from diffgeo.session.progress import Interruption

    file = None if wanted.directions in ("local", "global") else wanted.directions
    return Explorer(
        prepare(cfg, Interruption()),
        overrides=wanted.overrides,
        preview=wanted.preview,
        directions=None if file is None else load_directions(file),
        file=file,
        mask=wanted.mask,
    )


def _serve(wanted: Wanted, cfg: Config) -> None:
    port = free_port(wanted.host, wanted.port)
    try:
        from diffgeo.explore.serving import is_local, serving
    except ModuleNotFoundError as error:
        if error.name not in ("gradio", "starlette"):
            raise
        raise ConfigError(
            "the page needs Gradio, which is not installed",
            "install it with pip install 'diffgeo[explore]', or say weights=… out=… for one edit without the page",
        ) from None
    explorer = _explorer(wanted, cfg)
    if not is_local(wanted.host):
        print(
            f"Warning: host={wanted.host} lets others in, without a password; an SSH tunnel to {LOCAL} does not.",
            file=sys.stderr,
        )
    try:
        with serving(explorer, wanted.host, port) as url:
            print(f"{url}  (Ctrl-C ends it)", flush=True)
            _wait()
    except KeyboardInterrupt:
        ended()
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
            raise ConfigError(f"host={host} is no address of this machine", f"leave it out for {LOCAL}") from None
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {host}, port {port} ({error.strerror})",
                "end what is there, or choose another: port=0 takes a free one",
            ) from None
        return int(trial.getsockname()[1])


def _write(wanted: Wanted, cfg: Config) -> None:
    """One edit, as the page makes it, into a folder."""
    from dataclasses import replace

    explorer = _explorer(wanted, cfg)
    from diffgeo.diffusion.direction_files import save_directions
    from diffgeo.explore import page
    from diffgeo.results import atomic

    assert wanted.out is not None
    assert wanted.weights is not None
    choice = explorer.start
    if explorer.mask is None or wanted.directions != "local":
        source = wanted.directions if wanted.directions in ("local", "global") else "file"
        choice = replace(choice, source=source, mask=None)  # type: ignore[arg-type]
    place = explorer.place(choice)
    edited = explorer.edit(place, wanted.weights, full=True)
    pictures = {
        "before": page.as_image(edited.before),
        "after": page.as_image(edited.after),
        "difference": page.heat_map(edited.difference),
    }
    if place.mask is not None:
        pictures["mask"] = page.as_image(2.0 * place.mask.expand(3, -1, -1) - 1)
    for name, image in pictures.items():
        with atomic(wanted.out / f"{name}.png") as path:
            path.write_bytes(page.png(image))
    if any(wanted.weights) and place.mask is None:
        with atomic(wanted.out / "direction.safetensors") as path:
            save_directions(path, explorer.direction(place, wanted.weights))
    facts = {
        "choice": asdict(place.choice),
        "weights": wanted.weights,
        "changes": dict(zip(edited.attributes, edited.changes.tolist(), strict=True)),
        "command": explorer.command(place, wanted.weights),
    }
    with atomic(wanted.out / "edit.json") as path:
        path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    print(wanted.out)


if __name__ == "__main__":
    main()
