"""From a checkpoint file to a pipeline folder with the record of where it came from."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from diffgeo.errors import ModelError, OutputError
from importing.architecture import Architecture, unet_config
from importing.ddpm import DDPM
from importing.openai import OPENAI
from importing.reading import Weights, choose, read, shortened, weights_in
from importing.settings import Settings, head_width, scheduler_config

__all__ = ["RECORD", "Imported", "import_checkpoint"]

RECORD = "import.json"
"""File of a folder that says which checkpoint it was made from, and how."""

LAYOUTS = (OPENAI, DDPM)


@dataclass(frozen=True, slots=True)
class Imported:
    """What was imported.

    Attributes:
        folder: the pipeline.
        layout: ``openai`` or ``ddpm``.
        entry: where in the file the network lay; empty for the whole file.
        architecture: what its shapes told.
        parameters: their number.
        sha256: of the checkpoint file.
    """

    folder: Path
    layout: str
    entry: str
    architecture: Architecture
    parameters: int
    sha256: str


def import_checkpoint(
    checkpoint: str | Path, folder: str | Path, settings: Settings, *, entry: str | None = None, overwrite: bool = False
) -> Imported:
    """Turn a checkpoint into a folder that ``load_model`` and ``DDPMPipeline.from_pretrained`` take.

    Weights are stored in float32 as safetensors. The folder appears whole or not at all.

    Args:
        checkpoint: a file of OpenAI's layout (improved-diffusion, guided-diffusion, P2) or the original DDPM's in torch
            (DDIM, SDEdit).
        folder: where to write; must not exist, or be empty.
        settings: what the shapes do not tell; :data:`PRESETS` has those of published checkpoints.
        entry: which network of a file that holds several; by default the moving average.
        overwrite: replace a pipeline that lies there.

    Raises:
        ConfigError: the settings leave something open or contradict the layout.
        ModelError: the file is no such checkpoint, is damaged, holds more than tensors, or its network is one that
            diffusers or diffgeo cannot express; the message says which.
        OutputError: the folder is not empty, or cannot be written.
    """
    checkpoint, folder = Path(checkpoint).expanduser(), Path(folder).expanduser().resolve()
    _check_free(folder, overwrite)
    weights = choose(_found(checkpoint, settings.layout), entry, checkpoint)
    architecture = weights.layout.describe(weights.shapes)
    _check_expected(architecture, settings, checkpoint)
    unet = _converted(weights, architecture, settings, checkpoint)

    from diffusers import DDPMPipeline, DDPMScheduler

    scheduler = DDPMScheduler(**scheduler_config(settings, architecture.learned_variance))
    with checkpoint.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    done = Imported(folder, weights.layout.name, weights.entry, architecture, unet.num_parameters(), sha256)
    with _appearing(folder) as new:
        DDPMPipeline(unet, scheduler).save_pretrained(new)
        (new / RECORD).write_text(json.dumps(_record(done, checkpoint, settings), indent=2) + "\n")
    return done


def _found(checkpoint: Path, layout: str) -> list[Weights]:
    content = read(checkpoint)
    layouts = [known for known in LAYOUTS if layout in ("auto", known.name)]
    if found := weights_in(content, layouts):
        return found
    keys = shortened(map(str, content), 4) if isinstance(content, dict) else f"a {type(content).__name__}"
    expected = " nor of ".join(f"the {known.name} layout ({known.known})" for known in layouts)
    raise ModelError(f"{checkpoint} is not of {expected}", f"it holds {keys or 'nothing'}")


def _check_expected(found: Architecture, settings: Settings, checkpoint: Path) -> None:
    expected = settings.architecture
    if expected is None or found == expected:
        return
    differing = [f.name for f in fields(found) if getattr(found, f.name) != getattr(expected, f.name)]
    pairs = ", ".join(f"{name} is {getattr(found, name)}, not {getattr(expected, name)}" for name in differing)
    raise ModelError(
        f"{checkpoint} is of another architecture than its preset: {pairs}", "choose another preset or none"
    )


def _converted(weights: Weights, architecture: Architecture, settings: Settings, checkpoint: Path) -> Any:
    """The network of diffusers with the checkpoint's weights, each tensor checked."""
    from diffusers import UNet2DModel

    layout = weights.layout
    width = head_width(settings, layout, architecture)
    with torch.device("meta"):  # shapes alone
        unet: Any = UNet2DModel(**unet_config(architecture, layout, settings.image_size, width))
    shapes = {key: tuple(tensor.shape) for key, tensor in unet.state_dict().items()}
    sources = {key: layout.source(key, architecture) for key in shapes}
    unused = _unused(weights, settings, checkpoint)
    _check_keys(weights, set(sources.values()), unused, checkpoint)
    given = weights.shapes
    wrong = {  # q, k and v may have one source: a dict names it once
        source: f"{source} {given[source]} instead of {expected}"
        for key, source in sources.items()
        if given[source] != (expected := layout.source_shape(key, shapes[key]))
    }
    if wrong:
        listed = shortened(wrong.values())
        raise ModelError(f"{checkpoint} has tensors of other shapes: {listed}", "it is of another architecture")
    _check_values(weights, checkpoint)
    state = {
        key: layout.part(key, weights.tensors[source].detach(), width, settings.qkv)
        .reshape(shapes[key])
        .to(torch.float32, copy=True, memory_format=torch.contiguous_format)
        for key, source in sources.items()
    }
    unet.load_state_dict(state, assign=True)
    return unet.eval().requires_grad_(False)


def _unused(weights: Weights, settings: Settings, checkpoint: Path) -> set[str]:
    """Keys that may be there beside the network's own (:attr:`Layout.one_per_step`), their lengths checked."""
    found = {key: weights.shapes[key] for key in weights.layout.one_per_step if key in weights.tensors}
    for key, shape in found.items():
        if shape != (settings.steps,):
            raise ModelError(
                f"{checkpoint} has a {key} of shape {shape}, which holds one number per diffusion step, but steps is "
                f"{settings.steps}",
                "give the number of steps in training with --steps",
            )
    return set(found)


def _check_keys(weights: Weights, wanted: set[str], unused: set[str], checkpoint: Path) -> None:
    missing = sorted(wanted - weights.tensors.keys())
    surplus = sorted([*(weights.tensors.keys() - wanted - unused), *weights.outside])
    said = [f"{word}: {shortened(keys)}" for word, keys in (("missing", missing), ("surplus", surplus)) if keys]
    if said:
        raise ModelError(
            f"{checkpoint} has not the tensors of its architecture, {' and '.join(said)}",
            "it is incomplete or of another architecture",
        )


def _check_values(weights: Weights, checkpoint: Path) -> None:
    """Dense floating-point numbers, finite, and no more of them than the file has bytes for."""
    odd = [k for k, t in weights.tensors.items() if t.layout != torch.strided or not t.is_floating_point() or t.is_meta]
    if odd:
        raise ModelError(
            f"{checkpoint} has tensors that are no dense floating-point numbers: {shortened(odd)}",
            "convert them with the project's own code",
        )
    if sum(tensor.nbytes for tensor in weights.tensors.values()) > checkpoint.stat().st_size:
        raise ModelError(f"{checkpoint} claims more numbers than it has bytes for", "it was tampered with")
    broken = [key for key, tensor in weights.tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise ModelError(f"{checkpoint} has weights that are not finite: {shortened(broken)}", "its training diverged")


def _record(done: Imported, checkpoint: Path, settings: Settings) -> dict[str, Any]:
    told = {f.name: getattr(settings, f.name) for f in fields(settings) if f.name not in ("layout", "architecture")}
    return {
        "checkpoint": checkpoint.name,
        "bytes": checkpoint.stat().st_size,
        "sha256": done.sha256,
        "entry": done.entry,
        "layout": done.layout,
        "settings": told,
        "architecture": asdict(done.architecture),
        "parameters": done.parameters,
    }


def _check_free(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file", "choose another folder")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not (folder / "model_index.json").is_file():
        raise OutputError(f"{folder} is not empty and no pipeline", "choose another folder")
    if not overwrite:
        raise OutputError(f"{folder} holds a pipeline already", "choose another folder, or replace it with --overwrite")


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """A new folder that takes its place, and that of an earlier one, when all is written."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
            new, old = Path(scratch) / "new", Path(scratch) / "old"
            new.mkdir()
            yield new
            if folder.exists():
                folder.rename(old)
            try:
                new.rename(folder)
            except OSError:
                if old.exists():
                    old.rename(folder)
                raise
    except (OSError, SafetensorError) as error:
        raise OutputError(f"cannot write {folder} ({error})", "choose another folder") from error
