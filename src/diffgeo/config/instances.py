"""Objects that settings name: ``{_target_: package.module.Name, argument: value}``, as Hydra writes them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate

from diffgeo.errors import ConfigError

__all__ = ["build", "instance", "own_code"]

_PACKAGE = Path(__file__).resolve().parents[1]


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


def build(key: str, settings: Any, **known: Any) -> Any:
    """What a group's choice names by its ``_target_``, made from the group's settings.

    The target is given those settings, and what else is known, that it has parameters for; ``options`` reach it whole.

    Args:
        key: of the group, for messages.
        settings: a dataclass with ``_target_`` and ``options``.
        known: arguments that are no settings, such as the device.

    Raises:
        ConfigError: the target cannot be imported, or does not take its arguments.
    """
    target = _found(key, settings._target_)
    taken = inspect.signature(target).parameters
    given = {name: value for name, value in vars(settings).items() if name not in ("_target_", "options")}
    fitting = {name: value for name, value in (given | known).items() if name in taken}
    try:
        inspect.signature(target).bind(**fitting | settings.options)
    except TypeError as error:
        advice = f"give the arguments that it takes as {key}.options.NAME=VALUE"
        raise ConfigError(f"{key}._target_={settings._target_} cannot be used ({error})", advice) from error
    return target(**fitting | settings.options)


def _found(key: str, target: str) -> Any:
    try:
        return get_object(target)
    except Exception as error:  # whatever an import raises
        raise ConfigError(
            f"{key}._target_={target} cannot be imported ({' '.join(str(error).split())[:300]})",
            "give package.module.Name, with its folder on PYTHONPATH",
        ) from error


def own_code(node: Any) -> Iterator[tuple[Any, Path]]:
    """What a node and the nodes within it name by ``_target_``, each with the Python file that defines it.

    Nothing for what is compiled, and for this package's own, whose code the store's keys hold as a whole.
    """
    if isinstance(node, Mapping):
        if isinstance(node.get("_target_"), str):
            found = get_object(node["_target_"])
            file = (
                inspect.getsourcefile(inspect.unwrap(found))
                if inspect.isroutine(found) or inspect.isclass(found)
                else None
            )
            if file is not None and _PACKAGE not in Path(file).resolve().parents:
                yield found, Path(file)
        for value in node.values():
            yield from own_code(value)
    elif isinstance(node, list):
        for value in node:
            yield from own_code(value)
