"""From YAML to dataclasses: Hydra composes ``conf/`` onto the schemas, those of the studies included."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from diffgeo.config import config_folder
from diffgeo.config.documentation import default_of
from diffgeo.config.instances import GIVEN, check_names, own_settings
from diffgeo.config.schemas import (
    MODEL_SCHEMAS,
    Config,
    DataConfig,
    EditConfig,
    FeatureConfig,
    MetricConfig,
    PredictorConfig,
    ScaleConfig,
    ScheduleConfig,
    SvdConfig,
    TrackingConfig,
)
from diffgeo.errors import ConfigError
from diffgeo.studies import studies

PORTRAIT = "portrait of a face"
"""What ``/schema/prompt/portrait@_global_`` in the defaults of a model's file sets ``prompt`` to."""


@cache
def group_schemas() -> dict[str, Mapping[str, type]]:
    """Schemas by group and by the name that a choice's ``/schema/GROUP/NAME`` gives."""
    return {
        "model": MODEL_SCHEMAS,
        "data": {"data": DataConfig},
        "schedule": {"schedule": ScheduleConfig},
        "feature": {"feature": FeatureConfig},
        "svd": {"svd": SvdConfig},
        "edit": {"edit": EditConfig},
        "predictor": {"predictor": PredictorConfig},
        "metric": {"metric": MetricConfig},
        "study": {study.name: study.settings for study in studies().values()},
        "scale": {"scale": ScaleConfig},
        "tracking": {"tracking": TrackingConfig},
    }


@cache
def register() -> None:
    """Put the schemas where the YAML's defaults lists find them (``/schema/…``)."""
    store = ConfigStore.instance()
    store.store(group="schema", name="config", node=Config)
    store.store(group="schema/prompt", name="portrait", node={"prompt": PORTRAIT})  # not of conf/: prompt= takes texts
    for group, schemas in group_schemas().items():
        for name, schema in schemas.items():
            store.store(group=f"schema/{group}", name=name, node=_open(schema))
    for study in studies().values():
        if not (config_folder() / "study" / f"{study.name}.yaml").is_file():  # of another package: its defaults
            store.store(group="study", name=study.name, node=study.settings, package=f"study.{study.name}")


def _open(schema: type) -> DictConfig:
    """A schema with keys that the code named by ``_target_`` decides: ``extra`` and ``options`` take any, without a +.

    A group with ``options`` takes any, too: :func:`typed` moves those that the schema does not know there.
    """
    node: DictConfig = OmegaConf.structured(schema)
    names = {field.name for field in fields(schema)}
    OmegaConf.set_struct(node, False if "options" in names else None)
    for name in {"extra", "options"} & names:
        if isinstance(mapping := node._get_node(name), DictConfig):
            OmegaConf.set_struct(mapping, False)
    return node


def typed(cfg: DictConfig) -> Config:
    """The composed configuration as dataclasses, interpolations resolved.

    Raises:
        ConfigError: a mandatory key has no value; a key was appended (``+key=``) that no schema knows, or is no name.
    """
    _check_names(OmegaConf.to_container(cfg, resolve=False))
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise ConfigError(f"{missing[0]} has no value", f"give one: {missing[0]}=…")
    config = OmegaConf.to_object(cfg)
    assert isinstance(config, Config)  # the primary config derives from the schema
    parts = [(config, ""), *((v, f"{k}.") for k, v in vars(config).items() if is_dataclass(v))]
    for part, where in [*parts, *((v, f"study.{k}.") for k, v in config.study.items() if is_dataclass(v))]:
        for one in fields(part):
            if isinstance(one.default, str) and one.default.startswith("${") and getattr(part, one.name) == one.default:
                key = f"{where}{one.name}"
                raise ConfigError(f"{key} was deleted, and follows another setting", f"leave ~{key} out, or set {key}")
    for part, where in parts:
        for name in [name for name in vars(part) if name not in {f.name for f in fields(part)}]:
            if hasattr(part, "options"):
                part.options[name] = vars(part).pop(name)
                continue
            raise ConfigError(
                f"there is no setting {where}{name}", f"remove +{where}{name}, diffgeo takes no extra keys"
            )
    return config


def _check_names(node: object, where: str = "") -> None:
    """Whether all keys are texts: OmegaConf asserts that they are when it makes dataclasses.

    Args:
        node: plain dictionaries, one within the other.
        where: the key of this one.

    Raises:
        ConfigError: one is no text, as in ``model={1: 2}``.
    """
    for key, value in node.items() if isinstance(node, dict) else ():
        if not isinstance(key, str):
            raise ConfigError(f"there is no setting {where}{key}", "settings have names, such as svd.rank")
        _check_names(value, f"{where}{key}.")


def composed(overrides: Sequence[str]) -> Config:
    """The settings of a command line, outside of Hydra's own main function.

    Args:
        overrides: its words, such as ``svd.rank=25``.

    Raises:
        ConfigError: as :func:`typed`.
        HydraException, OmegaConfBaseException: an override that does not fit, as Hydra words it.
    """
    register()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        try:
            found = compose("config", overrides=at_home(overrides))
        except (HydraException, OmegaConfBaseException, OSError, ValueError):
            raise
        except Exception as error:
            raise unreadable_words(error) from error
        return typed(found)


def unreadable_words(error: Exception) -> ConfigError:
    """The wording of an error of another kind, which Hydra raises of words that its grammar takes, not its code.

    Args:
        error: such as the TypeError of ``svd=[1,2]``.
    """
    reason = " ".join(str(error).split())[:200]
    return ConfigError(
        f"Hydra cannot use the words of the command line ({type(error).__name__}: {reason})",
        "a group takes the name of a choice, or a list of names (`diffgeo --help` lists groups and keys)",
    )


def check_words(words: Sequence[str]) -> None:
    """Refuse a misspelt setting of the code that a choice names, which Hydra cannot know, before a run has a folder.

    Settings that the schemas know are left to Hydra, and so is a sweep over choices. The code is imported.

    Args:
        words: of a command line, after :func:`register`.

    Raises:
        ConfigError: the code has no such setting.
    """
    given = [re.match(rf"\+*({'|'.join(GIVEN)})\.(\w+)=", word) for word in words]
    known = {group: {f.name for one in group_schemas()[group].values() for f in fields(one)} for group in GIVEN}
    asked = [(found[1], found[2]) for found in given if found and found[2] not in known[found[1]]]
    if not asked or any(word.startswith(tuple(f"{group}=" for group, _ in asked)) for word in words if "," in word):
        return
    cfg = _choices(words)
    for group, name in asked:
        schema = OmegaConf.get_type(cfg[group]) or object
        check_names(group, own_settings(group, cfg[group]._target_, schema), schema, [name])


def own_defaults(words: Sequence[str]) -> list[str]:
    """Words that set what the code named by choices has settings of to its defaults, for ``--cfg`` to print them.

    Args:
        words: of a command line, after :func:`register`; what they set themselves is left out.
    """
    given = {word.partition("=")[0].lstrip("+") for word in words}
    cfg, found = _choices(words), []
    for group in GIVEN:
        own = own_settings(group, cfg[group]._target_, OmegaConf.get_type(cfg[group]) or object)
        values = {one.name: default_of(own, one.name) for one in fields(own) if one.name not in cfg[group]}
        left = {name: value for name, value in values.items() if f"{group}.{name}" not in given and value != MISSING}
        found += [f"++{group}.{name}={json.dumps(value)}" for name, value in left.items()]
    return found


def _choices(words: Sequence[str]) -> DictConfig:
    """What a command line's choices alone compose to, those of a ``--config-dir`` too."""
    chosen = [word for word in words if re.match(r"\w+=[^,]+\Z|hydra\.searchpath=", word)]
    folders = re.findall(r"(?:^|\0)(?:--config-dir|-cd)[=\0]([^\0]+)", "\0".join(words))
    chosen += [f"hydra.searchpath=[{json.dumps(str(Path(folder).resolve()))}]" for folder in folders[-1:]]
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return compose("config", overrides=chosen)


def at_home(words: Sequence[str]) -> list[str]:
    """``key=~/folder`` with the user's home for ``~``: shells leave it there, and Hydra knows no such sign.

    So has every item of a list, a mapping or a sweep: ``[~/a,~/b]``. A home whose name Hydra would not read as plain
    text is put in quotes.
    """
    return [
        key + equals + (_TILDE.sub(_expanded, value) if not key.startswith("~") else value)
        for key, equals, value in (word.partition("=") for word in words)
    ]


_TILDE = re.compile(
    r"""(?P<before>(?:\A|[\[{,]|:\s)\s*)                     # begins a value or an item
    (?:(?P<quote>['"])(?P<quoted>~[^/'"]*)(?P<more>.*?)(?P=quote)
    |(?P<home>~[^/'",\]}]*)(?P<rest>(?:\$\{[^}]*\}|[^,\]}])*))""",
    re.VERBOSE | re.DOTALL,
)


def _expanded(found: re.Match[str]) -> str:
    home = found["quoted"] or found["home"]
    folder = os.path.expanduser(home)
    path = folder + (found["more"] or found["rest"] or "")  # a Path would drop what follows the name
    if folder == home:
        return found[0]
    if quote := found["quote"]:
        return f"{found['before']}{quote}{path}{quote}"
    if re.fullmatch(r"[\w./~-]*", folder):
        return f"{found['before']}{path}"
    return f"{found['before']}{quoted(path)}"


def quoted(text: str) -> str:
    """A text in the quotes of Hydra's grammar, where a backslash is one of its own except before a quote."""
    escaped = re.sub(r"(\\+)(?='|$)", r"\1\1", text).replace("'", "\\'")
    return f"'{escaped}'"
