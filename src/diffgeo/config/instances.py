"""Objects that settings name: ``{_target_: package.module.Name, argument: value}``, as Hydra writes them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate

from diffgeo.errors import ConfigError

__all__ = ["instance", "source_files"]


def instance(key: str, node: Mapping[str, Any]) -> Any:
    """The object that a node describes.

    Args:
        key: of the node, for messages.
        node: ``_target_`` and the arguments; ``_partial_: true`` gives a function with these arguments bound.

    Raises:
        ConfigError: the target cannot be imported, or does not take the arguments.
    """
    try:
        return instantiate(dict(node))
    except InstantiationException as error:
        cause = error.__cause__ or error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        reason = " ".join(str(cause).split("full_key:")[0].split())[:300]
        advice = (
            f"give the arguments that it takes as {key}.NAME=VALUE"
            if isinstance(cause, TypeError)
            else "give package.module.Name, with its folder on PYTHONPATH"
        )
        raise ConfigError(f"{key}._target_={node['_target_']} cannot be used ({reason})", advice) from error


def source_files(node: Any) -> Iterator[Path]:
    """The Python files that define what a node and the nodes within it name; none for what is compiled."""
    if isinstance(node, Mapping):
        if isinstance(node.get("_target_"), str):
            found = get_object(node["_target_"])
            file = (
                inspect.getsourcefile(inspect.unwrap(found))
                if inspect.isroutine(found) or inspect.isclass(found)
                else None
            )
            if file is not None:
                yield Path(file)
        for value in node.values():
            yield from source_files(value)
    elif isinstance(node, list):
        for value in node:
            yield from source_files(value)
