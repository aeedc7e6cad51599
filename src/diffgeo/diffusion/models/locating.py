"""From a name to the folder of a pipeline: what ships, folders, and the hub with its cache.

A shipped model's files are checked against the digests that ship beside it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from diffgeo.diffusion.models.pipeline_folders import checked_parts
from diffgeo.diffusion.models.wording import worded
from diffgeo.errors import ModelError

__all__ = ["DIGESTS", "SHIPPED", "located", "shipped_folder", "verify_digests"]

SHIPPED = (
    "factor_faces",
    "factor_faces_4",
    "fashion_mnist",
    "factor_faces_t2i",
    "factor_faces_flow",
    "factor_faces_flow_unet",
)
"""Models that come with the package."""

DIGESTS = "SHA256SUMS"
"""File beside shipped weights, in the format of ``sha256sum``."""

_HUB_ADVICE = "check the id, model.revision and the network, or download it elsewhere and pass model.path=FOLDER"


def shipped_folder(name: str) -> Path:
    """Where the shipped asset ``name`` lies, inside the installed package."""
    return Path(__file__).resolve().parents[2] / "assets" / name


def verify_digests(folder: Path, *, required: bool = False) -> None:
    """Check the files that ``SHA256SUMS`` lists.

    Args:
        folder: where it lies.
        required: whether a folder without one is refused, as shipped ones are.

    Raises:
        ModelError: a file is missing or differs; the message names it.
    """
    listing = folder / DIGESTS
    if not listing.is_file():
        if required:
            raise ModelError(f"{listing} is missing", "reinstall diffgeo or restore the file")
        return
    for line in filter(str.strip, listing.read_text(encoding="utf-8").splitlines()):
        digest, name = line.split(maxsplit=1)
        path = folder / name.lstrip("*")
        if not path.is_file():
            raise ModelError(f"{path} is missing", "reinstall diffgeo or restore the file")
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise ModelError(
                f"{path} is damaged: its SHA-256 differs from {DIGESTS}", "reinstall diffgeo or restore it"
            )


def located(
    name: str, revision: str | None, cache_dir: str | Path | None, variant: str | None, *, local_files_only: bool
) -> tuple[Path, str]:
    """(a pipeline's folder, what it is called in results); arguments and errors as :func:`load_model`."""
    folder = shipped_folder(name) if name in SHIPPED else Path(name).expanduser()
    if folder.is_dir():
        verify_digests(folder, required=name in SHIPPED)
        return folder, f"shipped:{name}" if name in SHIPPED else str(folder)
    if not _looks_like_hub_id(name):
        raise ModelError(
            f"no model called {name!r}: not a folder, not a hub id (owner/name)", f"shipped are {', '.join(SHIPPED)}"
        )
    if local_files_only:
        folder = _cached_snapshot(name, revision, cache_dir)
    else:
        folder = _fetch(name, _ask_hub(name, revision, cache_dir), cache_dir, variant)
    return folder, f"{name}@{folder.name}"


def _looks_like_hub_id(name: str) -> bool:
    parts = name.split("/")
    return len(parts) == 2 and all(parts) and not name.startswith((".", "~", "/")) and ".." not in parts


def _ask_hub(name: str, revision: str | None, cache_dir: str | Path | None) -> str:
    """The commit of a hub id, from its index alone: a few bytes tell what it holds before gigabytes are fetched.

    All else is then read at that commit, so that a model is of one state of the repository and can say which.
    """
    from diffusers import DDPMPipeline

    with worded(name, _HUB_ADVICE):
        index = dict(DDPMPipeline.load_config(name, revision=revision, cache_dir=cache_dir))
    checked_parts(index, name)
    return _cached_snapshot(name, revision, cache_dir).name


def _fetch(name: str, commit: str, cache_dir: str | Path | None, variant: str | None) -> Path:
    """Folder of a hub id's files at a commit, those that are never used left out."""
    from diffusers import DiffusionPipeline

    unused = {"safety_checker": None, "feature_extractor": None, "image_encoder": None}
    with worded(name, _HUB_ADVICE):
        return Path(DiffusionPipeline.download(name, revision=commit, cache_dir=cache_dir, variant=variant, **unused))


def _cached_snapshot(name: str, revision: str | None, cache_dir: str | Path | None) -> Path:
    """Folder of a hub id's files in the cache, which is called by their commit; found without asking the hub."""
    from huggingface_hub import try_to_load_from_cache

    file = try_to_load_from_cache(name, "model_index.json", cache_dir=cache_dir, revision=revision)
    if not isinstance(file, str):
        raise ModelError(f"cannot load {name}: {revision or 'main'} of it is not in the hub's cache", _HUB_ADVICE)
    return Path(file).parent
