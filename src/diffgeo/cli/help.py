"""Help pages of every command, in one style; that of ``diffgeo`` comes from ``conf/`` and the schemas' docstrings."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from diffgeo.composition import group_schemas
from diffgeo.config import GIVEN, Config, Plain, nearest, own_settings, raw
from diffgeo.config.documentation import default_of, documented, kind_of
from diffgeo.errors import ConfigError
from diffgeo.studies import studies

WIDTH = 118
EXIT_CODES: dict[int, str] = {
    0: "done",
    1: "anything else, such as a reader that went away (diffgeo --cfg job | head)",
    2: "a setting or a word of the command line that does not exist or is not possible",
    3: "a model that cannot be found, read or understood",
    4: "pictures or other data that cannot be found or read, or nothing was measured",
    5: "a device that is not there",
    6: "results that cannot be written",
    7: "directions that cannot be read, or that belong to another model, timestep or feature map",
    8: "diffgeo-store verify: entries were damaged, and are removed if the store can be written",
    9: "the process of a sweep's job died, and again when it was retried",
    130: "interrupted by Ctrl-C (129 by SIGHUP, 143 by SIGTERM); what was finished is kept",
}
"""What every command's exit status means; 2 to 7 and 9 are those of :mod:`diffgeo.errors`."""

FLAGS = {
    "--help, -h": "this page",
    "--version": "the version of diffgeo",
    "--shell-completion install=SHELL": 'completion for bash, zsh or fish: eval "$(COMMAND --shell-completion '
    "install=bash)\" in the shell's start-up file",
}
"""What every command takes."""

DRY_RUN = (
    "list what would be computed, how much of it the store holds, and about how long it would take here; write nothing"
)
OTHER_GROUPS = {
    "experiment": "a table or figure of the papers, with its settings.",
    "grid": "a sweep of one setting: diffgeo -m grid=rank.",
    "search": "a search by Optuna: diffgeo -m search=precision.",
    "hydra/launcher": "what runs the jobs of a sweep; joblib, submitit_slurm and ray come with their extras.",
}
TYPED_MOST = {
    "model.path": "FOLDER|owner/name",
    "prompt": '"TEXT"',
    "data.samples": "4",
    "data.images": "FOLDER|[FILE,...]",
    "schedule.steps": "40",
    "schedule.edit": "[1.0,0.5]",
    "feature.block": "mid|down.0|transformer_blocks.7",
    "feature.tap": "output|update|normalised",
    "feature.pool": "sum|null",
    "svd.rank": "50",
    "svd.tol": "1e-4",
    "edit.strength": "0.06",
    "edit.normalise": "true",
    "study.discovery.directions": "3",
    "store.enabled": "false",
    "seed": "0",
    "device": "auto|cpu|cuda",
}
"""Keys of the main page, with what may be typed."""
EXAMPLES = {
    "diffgeo": "every study on the shipped model",
    "diffgeo --dry-run": "what that would compute, and how long the last similar run took",
    "diffgeo schedule.edit=[1.0,0.5] svd.rank=25 seed=7": "where to edit, how many directions, which samples",
    "diffgeo study=[curvedness] study.curvedness.pairs=20": "one study, larger",
    "diffgeo model=ddpm_celebahq svd.rank=50": "the papers' model, from the hub or its cache",
    "diffgeo data=images data.images=faces/": "own pictures, inverted; or data.images=[a.png,b.jpg]",
    "diffgeo -m svd.rank=10,25,50 feature=mid,mid_pooled": "a grid of runs; ready ones: -m grid=rank",
    "diffgeo -m search=precision": "a search by Optuna",
    "diffgeo experiment=p23a/table1 scale=small": "a table of the paper; all of them: diffgeo-paper",
    "diffgeo --cfg job": "every key with its value; nothing runs",
}


def rows(pairs: Mapping[str, str], column: int = 30) -> list[str]:
    """``  name   text`` lines, the text wrapped in its column."""
    lines: list[str] = []
    for name, text in pairs.items():
        parts = textwrap.wrap(text, WIDTH - column - 2, break_long_words=False, break_on_hyphens=False) or [""]
        head = f"  {name:<{column - 2}}"
        if len(head) > column:  # the name does not fit its column
            lines.append(head)
            head = " " * column
        lines.append(f"{head}{parts[0]}".rstrip())
        lines += [" " * column + part for part in parts[1:]]
    return lines


def page(name: str, headline: str, usage: Iterable[str], sections: Mapping[str, Iterable[str]]) -> str:
    """A help page: what the command is, how it is called, and titled sections.

    Args:
        name: of the command.
        headline: a sentence.
        usage: lines of arguments, one per form.
        sections: title → lines; empty ones are left out.
    """
    lines = [f"{name}: {headline}", "", "Usage", *(f"  {name} {line}".rstrip() for line in usage)]
    for title, body in sections.items():
        if body := list(body):
            lines += ["", title, *body]
    return "\n".join(lines) + "\n"


def exit_lines(codes: Iterable[int]) -> list[str]:
    """Lines of the section ``Exit codes``."""
    two_lines = "An error is two lines, what is wrong and what to do; HYDRA_FULL_ERROR=1 shows the traceback instead."
    return [*rows({str(code): EXIT_CODES[code] for code in codes}, column=8), f"  {two_lines}"]


def version_text(name: str) -> str:
    """What ``--version`` prints."""
    from diffgeo import __version__

    return f"{name} {__version__}"


def help_text(conf: Path) -> str:
    """The page of ``diffgeo --help``, from the configuration folder ``conf``."""
    lines: list[str] = []
    for group in _groups(conf):
        lines += [f"  {group}: {_blurb(group)}", *rows(_choice_lines(conf, group), column=34), ""]
    flags = {
        "-m, --multirun": "a run for every combination of the values that commas part",
        "--dry-run": DRY_RUN,
        "--blocks": "list the blocks of a model: name, shape of h, share of the network's multiply-adds up to there",
        "--help TOPIC": "about a group, a choice or a key: diffgeo --help svd, --help study=ablation, --help svd.rank",
        "--cfg job": "print every key with its value, and stop; --hydra-help lists Hydra's other flags",
    }
    typed = {f"{key}={value}": _description(conf, key) for key, value in TYPED_MOST.items()}
    typed["hydra.run.dir=FOLDER"] = "where results go; outputs/DATE/TIME if left out"
    headline = "directions in the latent space of a diffusion model, discovered without supervision."
    usage = ["[group=choice ...] [key=value ...] [-m] [--dry-run | --blocks]", "--help [group | group=choice | key]"]
    sections = {
        "Examples": rows(EXAMPLES, column=58),
        "Exit codes": exit_lines(code for code in EXIT_CODES if code != 8),
        "Choices (group=choice; * is the default)": lines[:-1],
        "Keys that are typed most (diffgeo --help GROUP tells all)": rows(typed, column=38),
        "Flags": rows(flags | FLAGS, column=38),
    }
    return page("diffgeo", headline, usage, sections)


def topic_text(conf: Path, topic: str) -> str:
    """What ``diffgeo --help TOPIC`` prints.

    Args:
        conf: the configuration folder.
        topic: a group, ``group=choice``, or a key or the beginning of some.

    Raises:
        ConfigError: there is no such thing; the message names the nearest one.
    """
    topic = topic.strip(".")
    group, found, choice = topic.partition("=")
    known = choices(conf, group) if group in _groups(conf) else []
    if topic in _groups(conf):
        lines = [f"{topic}: {_blurb(topic)}", "", "Choices (* is the default)", *rows(_choice_lines(conf, topic), 34)]
        own = [key for key in _settings(conf, whole=True) if key.startswith(f"{topic}.")]
        if topic in ("study", "experiment"):
            lines += ["", f"More on one of them: diffgeo --help {topic}=NAME"]
        elif own:
            lines += ["", "Keys", *_key_lines(conf, own)]
        return "\n".join(lines) + "\n"
    if found and choice in known:
        if group == "experiment":
            lines = _comments(conf / group / f"{choice}.yaml")
            return f"{topic}\n" + "".join(f"  {line}\n" for line in lines)
        keys = list(_schemas(conf, group, choice, whole=True))
        lines = [
            f"{topic}: {_comment(conf, group, choice)}",
            *(["", "Keys", *_key_lines(conf, keys, choice)] if keys else []),
        ]
        return "\n".join(lines) + "\n"
    for whole in (False, True):
        settings = _settings(conf, whole=whole)
        if keys := [key for key in settings if key == topic or key.startswith(f"{topic}.")]:
            return "\n".join(_key_lines(conf, keys)) + "\n"
    everything = [*settings, *_groups(conf), *(f"{g}={c}" for g in _groups(conf) for c in choices(conf, g))]
    guess = nearest(topic, everything)
    hint = f"did you mean {guess}? Say diffgeo --help {guess}" if guess else "say diffgeo --help for groups and choices"
    raise ConfigError(f"there is no help on {topic}", hint)


def choices(conf: Path, group: str) -> list[str]:
    """The choices of a group, those in folders as ``folder/name``; of ``study``, those of other packages, too."""
    root = conf / group
    found = {path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.yaml")}
    return sorted(found | set(studies())) if group == "study" else sorted(found)


@cache
def _groups(conf: Path) -> tuple[str, ...]:
    """Groups in the order of the defaults list."""
    defaults = _yaml(conf / "config.yaml")["defaults"]
    own = [name for item in defaults if isinstance(item, dict) for name in item if (conf / name).is_dir()]
    return (*own, *(name for name in OTHER_GROUPS if name.startswith("hydra/")))


def _blurb(group: str) -> str:
    return documented(Config).get(group) or OTHER_GROUPS[group]


def _choice_lines(conf: Path, group: str) -> dict[str, str]:
    chosen = _standard(conf, group)
    chosen = chosen if isinstance(chosen, list) else [chosen]
    names = choices(conf, group)
    return {f"  {group}={name}{' *' if name in chosen else ''}": _comment(conf, group, name) for name in names}


def _comments(path: Path) -> list[str]:
    """The comment that heads a file, line by line."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if "@package" not in line:
            lines.append(line.lstrip("# "))
    return lines


def _comment(conf: Path, group: str, choice: str) -> str:
    """A choice in a line: the comment that heads its file, or the question of a study that has none."""
    path = conf / group / f"{choice}.yaml"
    return next(iter(_comments(path)), "") if path.is_file() else studies()[choice].question


@cache
def _yaml(path: Path) -> Plain:
    return raw(path) if path.is_file() else {}


def _schema(conf: Path, group: str, choice: str) -> type | None:
    """The schema that a choice fills; None for experiments."""
    if group == "study":
        return studies()[choice].settings
    for item in _yaml(conf / group / f"{choice}.yaml").get("defaults", ()):
        found = re.match(r"/schema/\w+/(\w+)@", str(item))
        if found:
            return group_schemas()[group][found[1]]
    return None


@cache
def _own(conf: Path, group: str, choice: str) -> type | None:
    """The settings that a choice alone has, by the code that it names, which is imported; None if it names none."""
    schema, target = _schema(conf, group, choice), _yaml(conf / group / f"{choice}.yaml").get("_target_")
    return None if schema is None or target is None else own_settings(group, target, schema)


def own_keys(conf: Path, typed: str, words: Sequence[str]) -> list[str]:
    """Keys that only the code named by a choice has and that begin with what is typed; it is imported if none other do.

    Args:
        conf: the configuration folder.
        typed: the beginning of a key, ``svd.blo``.
        words: of the command line, among them perhaps the choice.
    """
    group = typed.partition(".")[0]
    chosen = [word.partition("=")[2] for word in words if word.startswith(f"{group}=")]
    choice = chosen[-1] if chosen else _standard(conf, group)
    if group not in GIVEN or choice not in choices(conf, group):
        return []
    if any(key.startswith(typed) for key in _schemas(conf, group, choice, whole=False)):
        return []
    return [key for key in _schemas(conf, group, choice, whole=True) if key.startswith(typed)]


def _schemas(conf: Path, group: str, choice: str, *, whole: bool) -> dict[str, type]:
    """The keys of a choice, each with the dataclass that has it; ``whole`` adds those of the code that it names."""
    prefix = f"study.{choice}" if group == "study" else group
    found = [_schema(conf, group, choice), _own(conf, group, choice) if whole else None]
    return {f"{prefix}.{field.name}": schema for schema in found if schema is not None for field in fields(schema)}


@cache
def _settings(conf: Path, *, whole: bool) -> dict[str, dict[str, type]]:
    """Every key that some choice has → the choices that have it, the default one first, with their schemas.

    Args:
        conf: the configuration folder.
        whole: also the keys of the code that choices name, which is imported then.
    """
    found: dict[str, dict[str, type]] = {}
    for field in fields(Config):
        if field.name == "study" or (conf / field.name).is_dir():
            standard = _standard(conf, field.name)
            for choice in sorted(choices(conf, field.name), key=lambda name: name != standard):
                for key, schema in _schemas(conf, field.name, choice, whole=whole).items():
                    found.setdefault(key, {})[choice] = schema
        else:  # a part without choices, such as store, or a single key
            part: Any = field.default_factory
            names = [f.name for f in fields(part)] if is_dataclass(part) else []
            found |= {f"{field.name}.{name}": {"": part} for name in names} or {field.name: {"": Config}}
    return found


def _owners(conf: Path, key: str) -> dict[str, type]:
    """The choices that have a key, with the dataclass that has it; code is imported if no schema has it."""
    return _settings(conf, whole=False).get(key) or _settings(conf, whole=True)[key]


def _standard(conf: Path, group: str) -> Any:
    """The default choice of a group, a list for ``study``; None for a part that is no group."""
    return next((item[group] for item in _yaml(conf / "config.yaml")["defaults"] if group in item), None)


def _description(conf: Path, key: str, choice: str | None = None) -> str:
    owners = _owners(conf, key)
    schema = owners[choice] if choice in owners else next(iter(owners.values()))
    return documented(schema)[key.rpartition(".")[2]].replace("``", "")


def _key_lines(conf: Path, keys: Iterable[str], choice: str | None = None) -> list[str]:
    """A line of name, type and default for every key, and its description below."""
    lines = []
    for key in keys:
        (group, _, _), name = key.partition("."), key.rpartition(".")[2]
        if _description(conf, key, choice).startswith("set by the choice"):
            continue
        owners = _owners(conf, key)
        own = choice if choice in owners else next(iter(owners))
        with_choice = "" if choice or group == "study" or own in ("", _standard(conf, group)) else f"{group}={own}"
        default = textwrap.shorten(_default(conf, key, owners[own], own), 80, placeholder=" …")
        only = f"   (with {' or '.join(f'{group}={one}' for one in owners)})" if with_choice else ""
        lines.append(f"  {key}   {kind_of(owners[own], name)}, default {default}{only}")
        text = _description(conf, key, own)
        lines += textwrap.wrap(text, WIDTH - 6, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return lines


def _default(conf: Path, key: str, schema: type, choice: str) -> str:
    """A key's default as YAML: from the choice's file, else from the schema; references with what they refer to."""
    parts = key.split(".")
    given = _yaml(conf / parts[0] / f"{choice}.yaml") if choice else {}
    value = given.get(parts[-1], default_of(schema, parts[-1]))
    reference = re.fullmatch(r"\$\{(\w+)\.(\w+)\}", str(value))
    if reference:
        group, name = reference.groups()
        schema, choice = group_schemas()[group][group], _standard(conf, group)
        return f"{_default(conf, f'{group}.{name}', schema, choice)} ({group}.{name})"
    if str(value).startswith("${"):
        return f"that of {value[2:-1]}"
    return "none, must be given" if value == "???" else _shown(value)


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(_shown(one) for one in value)}]"
    return "''" if value == "" else str(value)
