"""Command lines of ``diffgeo-paper`` and its like: one table of words is parser, help page and completion.

A word is an action (``verify``), a flag (``--dry-run``), a setting (``max_gb=5``) or, if the table has a name in
capitals, anything (``FOLDER``).

Typer, click and argparse parse options with dashes. Words such as ``max_gb=5``, which these commands share with
``diffgeo`` and hand on to it, they would return as one list: taking it apart, naming the nearest word and completing
would still be written here. Hydra composes such words, but takes neither actions nor folders.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from diffgeo.cli import command as cli
from diffgeo.cli.completion import script
from diffgeo.cli.errors import heed_environment, worded_errors
from diffgeo.cli.help import EXIT_CODES, FLAGS, exit_lines, page, rows, version_text
from diffgeo.config import nearest
from diffgeo.errors import ConfigError
from diffgeo.signals import signals_end


@dataclass(frozen=True, slots=True)
class Words:
    """A command line, taken apart.

    Attributes:
        plain: actions and names, in order.
        given: settings by key.
        flags: those that were there.
        others: ``key=value`` words of keys that the command does not know, where it passes them on.
    """

    plain: list[str] = field(default_factory=list)
    given: dict[str, str] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)
    others: list[str] = field(default_factory=list)

    def path(self, key: str, default: Path) -> Path:
        """A setting that names a file or folder."""
        return Path(self.given[key]).expanduser() if key in self.given else default


def _is_of_hydra(word: str) -> bool:
    """Whether a setting is Hydra's own and only its main function heeds it; a search path is heeded everywhere."""
    return word.lstrip("+~").startswith(("hydra.", "hydra/")) and not word.startswith("hydra.searchpath=")


def listed(value: str) -> list[str]:
    """``[a,b]``, or ``a,b``, as a list of words; empty for ``[]`` and nothing."""
    return [word.strip() for word in value.strip().removeprefix("[").removesuffix("]").split(",") if word.strip()]


@dataclass(frozen=True)
class Command:
    """A console command.

    Attributes:
        name: as it is typed.
        headline: a sentence on what it is.
        usage: a line a form.
        words: every word with its description: actions in lower case, ``KEY=WHAT``, ``--flags``, names in capitals.
        about: paragraphs on what it does.
        examples: command → what it is for.
        codes: exit codes that it can have.
        passes: whether ``key=value`` words of unknown keys are passed on.
        bare: whether it does something without any word; else it shows its help.
        more: a further section of the help page, (title, lines); made when it is shown.
    """

    name: str
    headline: str
    usage: tuple[str, ...]
    words: Mapping[str, str]
    about: tuple[str, ...] = ()
    examples: Mapping[str, str] = field(default_factory=dict)
    codes: tuple[int, ...] = (0, 1, 2, 130)
    passes: bool = False
    bare: bool = False
    more: Callable[[], tuple[str, list[str]]] | None = None

    @property
    def keys(self) -> list[str]:
        """Settings."""
        return [word.partition("=")[0] for word in self.words if "=" in word and not word.startswith("-")]

    @property
    def actions(self) -> list[str]:
        """Words that say what to do."""
        return [word for word in self.words if word.isalpha() and word.islower()]

    @property
    def flags(self) -> list[str]:
        """Own flags."""
        return [word for word in self.words if word.startswith("-")]

    def help(self) -> str:
        """The help page."""
        longest = max(map(len, [*self.words, *FLAGS])) + 4
        sections = {
            "Examples": rows(self.examples, max(map(len, self.examples), default=0) + 4),
            "Exit codes": exit_lines(self.codes),
            "What it does": rows({"": " ".join(self.about)}, column=2) if self.about else [],
            "Words": rows(self.words, longest),
            "Flags": rows(FLAGS, longest),
            **(dict([self.more()]) if self.more else {}),
        }
        return page(self.name, self.headline, self.usage, sections)

    def parse(self, words: list[str]) -> Words:
        """Take a command line apart.

        Raises:
            ConfigError: a word that the command does not know, or a setting without a value; the message names the
                nearest one.
        """
        found, names = Words(), any(word.isupper() for word in self.words)
        for word in words:
            key, equals, value = word.partition("=")
            if word in self.flags:
                found.flags.add(word)
            elif equals and key in self.keys:
                if not value:
                    raise ConfigError(f"{key}= has no value", f"see {self.name} --help")
                found.given[key] = value
            elif equals and self.passes and _is_of_hydra(word):
                instead = "say out=FOLDER for a folder" if "out" in self.keys else "leave it out"
                raise ConfigError(f"{key} is a setting of Hydra's own, which {self.name} does not heed", instead)
            elif equals and not word.startswith("-") and self.passes:
                found.others.append(word)
            elif not word.startswith("-") and (word in self.actions or (names and (not equals or Path(word).exists()))):
                found.plain.append(word)
            else:
                raise self._unknown(word, key if equals else word)
        return found

    def _unknown(self, word: str, key: str) -> ConfigError:
        known = [*self.actions, *self.keys, *self.flags]
        guess = nearest(key, known)
        if word.startswith("--") and guess not in self.flags:
            meant_key = nearest(key.lstrip("-"), self.keys) or (key.lstrip("-") if self.passes else None)
            if meant_key:
                value = word.partition("=")[2] or "VALUE"
                return ConfigError(
                    f"{key} is no argument of {self.name}", f"settings are words without dashes: {meant_key}={value}"
                )
        meant = f"did you mean {guess}{'=' if guess in self.keys else ''}? See" if guess else "see"
        return ConfigError(f"{word or 'an empty word'} is no argument of {self.name}", f"{meant} {self.name} --help")

    def main(self, execute: Callable[[Words], int | None], words: list[str] | None = None) -> None:
        """Answer ``--help`` and its like, else parse and execute; errors are worded.

        Args:
            execute: does the work; returns an exit code, None for 0.
            words: of the command line; the process's own if None.

        Raises:
            SystemExit: with an exit code that is not 0.
        """
        words = sys.argv[1:] if words is None else words
        code = None
        heed_environment()
        with worded_errors(), signals_end():
            if {"--help", "-h"} & set(words) or not (words or self.bare):
                print(self.help(), end="")
            elif "--version" in words:
                print(version_text(self.name))
            elif {"--shell-completion", "-sc"} & set(words):
                self.complete(words)
            else:
                code = execute(self.parse(words))
            sys.stdout.flush()  # a reader that went away shows here, not when Python ends
        if code:
            assert code in EXIT_CODES
            raise SystemExit(code)

    def complete(self, words: list[str]) -> None:
        """Answer ``--shell-completion``: print the shell's script, or the words that may follow."""
        asked = next((word for word in words if not word.startswith("-")), "")
        if not asked.startswith("query="):
            print(script(self.name, asked.removeprefix("install=")), end="")
            return
        line = os.environ.get("COMP_LINE", "")
        own = [*self.actions, *(f"{key}=" for key in self.keys), *self.flags, *(w.split(",")[0] for w in FLAGS)]
        typed = line.split()[-1] if line and not line[-1].isspace() else ""
        found = [word.split()[0] for word in own if word.startswith(typed)]
        print(" ".join(found))
        if self.passes and not found:  # what diffgeo takes
            os.environ["COMP_LINE"] = f"diffgeo {typed}"
            sys.argv = ["diffgeo", "--shell-completion", asked]
            cli.main()
