"""Words of the command line: flags first, prompts and values quoted so that Hydra and a shell read what is meant."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException

from diffgeo.composition import quoted
from diffgeo.config import config_folder, leaf_keys, nearest
from diffgeo.errors import ConfigError

PROMPTS = ("prompt", "model.prompt", "model.negative_prompt", "model.edit_prompt")

LONGEST_KEY = 200
"""Characters; no setting has a longer key, and the file system could not look for a group of that name."""

HYDRA_FLAGS = (
    *("--help", "--version", "--dry-run", "--blocks", "--multirun", "-m", "--run", "-r", "--cfg", "-c", "--resolve"),
    *("--package", "-p", "--hydra-help", "--shell-completion", "-sc", "--config-path", "-cp", "--config-name", "-cn"),
    *("--config-dir", "-cd", "--experimental-rerun", "--info", "-i", "-h"),
)
"""Flags of ours and of Hydra 1.3."""
FLAG_VALUES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("--cfg", "-c"), ("job", "hydra", "all")),
    **dict.fromkeys(("--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd"), ()),
    "--experimental-rerun": (),
}
"""Flags that a value follows, with the possible ones."""


def ordered(words: Sequence[str]) -> list[str]:
    """The command line with its flags first, as Hydra's parser reads no words on both sides of one.

    Raises:
        ConfigError: a flag that does not exist or lacks its value, or a word that is no ``key=value``; that parser
            would answer with a page of its own.
    """
    before = ""
    for word in [*words, ""]:
        flag = word.partition("=")[0]
        if len(flag) > LONGEST_KEY:
            raise ConfigError(f"{flag[:40]}… is a key of {len(flag)} characters", "write key=value, see diffgeo --help")
        if before in FLAG_VALUES:
            allowed = FLAG_VALUES[before]
            if not word or word.startswith("-") or (allowed and word not in allowed):
                raise ConfigError(f"{before} {word} is not possible", f"say {before} {'|'.join(allowed) or 'VALUE'}")
        elif flag.startswith("-") and flag not in HYDRA_FLAGS:
            raise _unknown_flag(word, words)
        elif word and not word.startswith(("-", "~")) and "=" not in word and before not in ("--info", "-i"):
            group = (config_folder() / word).is_dir()
            how = f"{word}=CHOICE, see diffgeo --help {word}" if group else f"{word}=VALUE, see diffgeo --help"
            raise ConfigError(f"{word} has no value", f"say {how}")
        before = word
    flags: list[str] = []
    rest: list[str] = []
    last: list[str] = []
    following = iter(words)
    for word in following:
        if word in ("--info", "-i"):  # the word after it may be its value
            last.append(word)
        elif word.startswith("-"):
            flags += [word, next(following)] if word in FLAG_VALUES else [word]
        else:
            (last if last[-1:] in (["--info"], ["-i"]) and "=" not in word else rest).append(word)
    return [*flags, *rest, *last]


def _unknown_flag(word: str, words: Sequence[str]) -> ConfigError:
    """What ``--seed 3`` or ``--dry`` is answered: the setting or the flag that is meant."""
    flag, equals, value = word.partition("=")
    keys = [*valid_keys(), *(path.name for path in config_folder().iterdir() if path.is_dir())]
    flags = {known.lstrip("-"): known for known in HYDRA_FLAGS if known.startswith("--")}
    meant = nearest(flag.lstrip("-"), [*flags, *keys])
    if meant is None:
        return ConfigError(f"there is no flag {flag}", "see diffgeo --help")
    if meant in flags:
        return ConfigError(f"there is no flag {flag}", f"did you mean {flags[meant]}?")
    after = next(iter(words[words.index(word) + 1 :]), "")
    value = value if equals else after if after and not after.startswith("-") and "=" not in after else "VALUE"
    return ConfigError(f"there is no flag {flag}", f"settings are words without dashes: {meant}={value}")


def quoted_prompts(words: Sequence[str]) -> list[str]:
    """Quote the prompts of a command line, whose commas and colons Hydra would read as its own grammar.

    ``prompt=a face, smiling`` becomes ``prompt='a face, smiling'``. Untouched are prompts that are quoted or null,
    and all of a multirun, where a comma parts the values of a sweep.
    """
    if {"-m", "--multirun"} & set(words):
        return list(words)
    found = []
    for word in words:
        key, _, value = word.partition("=")
        plain = key in PROMPTS and value not in ("", "null") and value[0] not in "'\"" and not value.startswith("${")
        found.append(f"{key}={quoted(value)}" if plain else word)
    return found


def quoted_word(word: str) -> str:
    """``key=value`` as a shell has to be told it, so that Hydra reads the value, or a list's items, as plain text."""
    key, _, value = word.partition("=")
    inner = value[1:-1] if value[:1] == "[" and value[-1:] == "]" else ""
    items = [item if item[:1] in ("'", '"') else quoted(item) for item in inner.split(",")] if "," in inner else []
    word = f"{key}=[{','.join(items)}]" if items else f"{key}={quoted(value)}"
    return shlex.quote(word) if set(word) & set('"$`\\!') else f'"{word}"'


def valid_keys() -> list[str]:
    """Every setting of the choices on the command line."""
    GlobalHydra.instance().clear()
    folder = config_folder()
    groups = {path.name for path in folder.iterdir() if path.is_dir()}
    chosen = [word for word in sys.argv[1:] if word.partition("=")[0] in groups]
    with initialize_config_dir(str(folder), version_base="1.3"):
        try:
            return leaf_keys(compose("config", overrides=chosen))
        except (HydraException, OSError, ValueError):  # one of the choices is wrong, too
            return leaf_keys(compose("config"))
