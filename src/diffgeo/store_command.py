"""The command ``diffgeo-store``: what the store holds, whether it is sound, and what may go."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from diffgeo.cli import worded_errors
from diffgeo.errors import ConfigError

if TYPE_CHECKING:
    from diffgeo.store import Store

__all__ = ["main"]

_HELP = """\
diffgeo-store: results that diffgeo keeps from run to run.

Usage: diffgeo-store ls | verify | prune [path=FOLDER] [max_gb=NUMBER]

  ls        what it holds, by kind
  verify    read every entry, remove the damaged ones; exit code 8 where there were any
  prune     remove the entries used least recently until it is no larger than max_gb (20; 0 empties it), and what killed
            processes left

  path      the folder; if left out, that of the environment variable DIFFGEO_STORE, or diffgeo/store in the user's
            cache folder. A run takes another one with store.path=FOLDER, and none with store.enabled=false.
"""
DAMAGED = 8
"""Exit code of ``verify`` where entries were damaged."""


def main() -> None:
    """Entry point of the console command."""
    words = sys.argv[1:]
    if not words or {"--help", "-h"} & set(words):
        print(_HELP, end="")
        return
    with worded_errors():
        code = _execute(words[0], words[1:])
    raise SystemExit(code)


def _execute(action: str, words: list[str]) -> int:
    given = dict(word.split("=", 1) for word in words if "=" in word)
    unknown = [word for word in words if word.partition("=")[0] not in ("path", "max_gb") or "=" not in word]
    if action not in ("ls", "verify", "prune") or unknown:
        raise ConfigError(f"{(unknown or [action])[0]} is no argument of diffgeo-store; see diffgeo-store --help")
    try:
        most = float(given.get("max_gb", 20))
    except ValueError:
        most = -1.0
    if not 0 <= most < float("inf"):
        raise ConfigError(f"max_gb={given['max_gb']} is not possible; allowed: 0 or more")
    from diffgeo.store import Store, store_folder  # torch is slow to import

    folder = Path(given["path"]) if "path" in given else store_folder()
    if folder is None:
        raise ConfigError("DIFFGEO_STORE is empty, so there is no store; name one with path=FOLDER")
    store = Store(folder, max_bytes=int(most * 1e9))
    return {"ls": _ls, "verify": _verify, "prune": _prune}[action](store)


def _ls(store: Store) -> int:
    by_stage: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for entry in store.entries():
        by_stage[entry.stage].append((entry.size, entry.used))
    print(store.folder)
    for stage, entries in sorted(by_stage.items()):
        oldest = (time.time() - min(used for _, used in entries)) / 86400
        print(
            f"  {stage:<10} {len(entries):>6}  {sum(size for size, _ in entries) / 1e6:>10.1f} MB  {oldest:>5.1f} days"
        )
    total = sum(size for entries in by_stage.values() for size, _ in entries)
    print(f"  {'all':<10} {sum(map(len, by_stage.values())):>6}  {total / 1e6:>10.1f} MB")
    return 0


def _verify(store: Store) -> int:
    damaged = store.verify()
    for path in damaged:
        print(f"damaged, removed: {path}")
    print(f"{store.hits} sound, {len(damaged)} damaged")
    return DAMAGED if damaged else 0


def _prune(store: Store) -> int:
    removed = store.prune()
    print(f"removed {len(removed)} entries, {sum(entry.size for entry in removed) / 1e6:.1f} MB")
    return 0
