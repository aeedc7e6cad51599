"""Loading by diffusers, transformers and the hub's client: their warnings are silenced, their errors reworded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from diffgeo.errors import ModelError

__all__ = ["FOLDER_ADVICE", "silent_warnings", "worded"]

FOLDER_ADVICE = "the folder is incomplete or a weight file is truncated; copy it again"


@contextmanager
def silent_warnings() -> Iterator[None]:
    """Leave out what diffusers and transformers warn of while loading: it is said in our own words."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    both = (diffusers_logging, transformers_logging)
    levels = [one.get_verbosity() for one in both]
    for one in both:
        one.set_verbosity_error()
    try:
        yield
    finally:
        for one, level in zip(both, levels, strict=True):
            one.set_verbosity(level)


@contextmanager
def worded(source: str, advice: str) -> Iterator[None]:
    """Word what diffusers and the hub client raise: many kinds, none of which tells what to do."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"cannot load {source}: {type(error).__name__}: {reason}", advice) from error
