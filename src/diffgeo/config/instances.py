"""Objects that settings name: ``{_target_: package.module.Name, argument: value}``, as Hydra writes them."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass, make_dataclass, replace
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate

from diffgeo.config.documentation import kind_of
from diffgeo.config.fields import check_fields, refusal, setting
from diffgeo.config.lookup import nearest
from diffgeo.errors import ConfigError
from diffgeo.ranges import Rule

GIVEN = {
    "model": (
        *("device", "dtype", "name_or_path", "spacing"),
        *("prompt", "negative_prompt", "edit_prompt", "guidance", "inversion_guidance"),  # `text_to_image` has them
    ),
    "svd": (),
    "edit": ("model", "cfg", "latents", "bases"),
    "predictor": ("device", "own"),
    "metric": ("device", "predictor", "side"),
}
"""Groups whose choices name code by ``_target_`` → arguments that are no settings of its own: a run gives them."""


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


def build(group: str, settings: Any, **known: Any) -> Any:
    """What a group's choice names by its ``_target_``, made from the group's settings.

    The target is given those settings, and what else is known, that it has parameters for; ``options`` reach it whole.

    Args:
        group: ``svd``, for messages.
        settings: a dataclass with ``_target_`` and ``options``.
        known: arguments that are no settings, such as the device; :data:`GIVEN` names them.

    Raises:
        ConfigError: the target cannot be imported, or does not take its arguments.
    """
    target = _found(group, settings._target_)
    given = {name: value for name, value in vars(settings).items() if name not in ("_target_", "options")}
    try:
        signature = inspect.signature(target)
        fitting = {name: value for name, value in (given | known).items() if name in signature.parameters}
        signature.bind(**fitting | settings.options)
    except (TypeError, ValueError) as error:
        advice = f"give the arguments that it takes as {group}.NAME=VALUE"
        raise ConfigError(f"{group}._target_={settings._target_} cannot be used ({error})", advice) from error
    return target(**fitting | settings.options)


def own_settings(group: str, target: str, schema: type) -> type:
    """The settings that only this choice of a group has: the parameters of its target that a run does not give.

    Args:
        group: ``svd``, for messages.
        target: ``package.module.Name`` of a dataclass, another class, or a function; ``Annotated[int, Rule(ge=1)]`` as
            the type of a parameter says what it may be.
        schema: settings that every choice of the group has.

    Returns:
        A dataclass of those parameters with the target's docstring: for checks, help pages and the manual.

    Raises:
        ConfigError: the target cannot be imported.
    """
    found = _found(group, target)
    hints = get_type_hints(
        found if is_dataclass(found) or inspect.isroutine(found) else found.__init__, include_extras=True
    )
    taken = {*GIVEN[group], *(one.name for one in fields(schema))}
    made = {one.name: one.default_factory for one in fields(found)} if is_dataclass(found) else {}
    made = {name: make() for name, make in made.items() if make is not MISSING}
    own = [
        (name, *_field(hints.get(name, Any), made.get(name, one.default)))
        for name, one in inspect.signature(found).parameters.items()
        if name not in taken and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]
    own.sort(key=lambda one: one[2].default is one[2].default_factory is MISSING, reverse=True)  # as dataclasses want
    return make_dataclass(target.rpartition(".")[2], own, namespace={"__doc__": inspect.getdoc(found)})


def _field(hint: Any, default: Any) -> tuple[Any, Any]:
    """Type and field of a parameter; a ``Literal`` becomes text with choices."""
    rule = next((one for one in getattr(hint, "__metadata__", ()) if isinstance(one, Rule)), Rule())
    hint = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if get_origin(hint) is Literal:
        hint, rule = str, replace(rule, choices=tuple(get_args(hint)))
    if default is inspect.Parameter.empty:
        return hint, setting(rule=rule)
    return hint, setting(list(default) if isinstance(default, tuple) else default, rule=rule)


def check_own(group: str, settings: Any) -> None:
    """Check ``options``, the settings that only the chosen target has, by the types and rules of its parameters.

    Args:
        group: ``svd``, for messages.
        settings: a dataclass with ``_target_`` and ``options``.

    Raises:
        ConfigError: the target has no such parameter, or the value is not possible.
    """
    own = own_settings(group, settings._target_, type(settings))
    known = check_names(group, own, type(settings), settings.options)
    hints = get_type_hints(own)
    for name, value in settings.options.items():
        if not _is(value, hints[name]):
            raise refusal(f"{group}.{name}", value, kind_of(own, name))
    check_fields(own(**dict.fromkeys(known) | settings.options), f"{group}.", only=settings.options)


def check_names(group: str, own: type, schema: type, names: Iterable[str]) -> list[str]:
    """Refuse names that a choice has no settings of.

    Args:
        group: ``svd``, for messages.
        own: settings that the choice alone has (:func:`own_settings`).
        schema: settings that every choice of the group has.
        names: that are asked for.

    Returns:
        The names of the choice's own settings.

    Raises:
        ConfigError: there is no setting of such a name.
    """
    known = [one.name for one in fields(own)]
    for name in names:
        if name not in known:
            guess = nearest(name, [*known, *(one.name for one in fields(schema))])
            advice = f"did you mean {group}.{guess}?" if guess else f"known are {', '.join(known) or 'none'}"
            raise ConfigError(f"there is no setting {group}.{name}", advice)
    return known


def _is(value: Any, hint: Any) -> bool:
    """Whether a value that YAML can hold is of a type."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_is(value, one) for one in inner)
    if origin in (list, Sequence):
        return isinstance(value, list) and all(_is(one, inner[0]) for one in value)
    if origin in (dict, Mapping):
        return isinstance(value, dict) and all(_is(one, inner[1]) for one in value.values())
    if hint in (int, float):
        return isinstance(value, int if hint is int else int | float) and not isinstance(value, bool)
    return hint is Any or not isinstance(hint, type) or isinstance(value, hint)


def _found(key: str, target: str) -> Any:
    try:
        return get_object(target)
    except Exception as error:  # whatever an import raises
        raise ConfigError(
            f"{key}._target_={target} cannot be imported ({' '.join(str(error).split())[:300]})",
            "give package.module.Name, with its folder on PYTHONPATH",
        ) from error


def targets(node: Any) -> Iterator[Any]:
    """What a node and the nodes within it name by ``_target_``."""
    if isinstance(node, Mapping):
        if isinstance(node.get("_target_"), str):
            yield get_object(node["_target_"])
        node = list(node.values())
    if isinstance(node, list):
        for one in node:
            yield from targets(one)
