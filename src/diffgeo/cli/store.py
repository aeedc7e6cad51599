"""The command ``diffgeo-store``: lists what the store holds, checks it, and removes what was used least recently."""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from diffgeo.cli.words import Command, Words
from diffgeo.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from diffgeo.session.store import Store

COMMAND = Command(
    "diffgeo-store",
    "results that diffgeo keeps from run to run.",
    ("ls | verify | prune [path=FOLDER] [max_gb=NUMBER]",),
    {
        "ls": "what it holds, by kind",
        "verify": "read every entry and remove the damaged ones; exit code 8 if there were any",
        "prune": "remove the entries used least recently until it is no larger than max_gb, and what killed processes "
        "left",
        "path=FOLDER": "the store; if left out, that of the environment variable DIFFGEO_STORE, or diffgeo/store in "
        "the user's cache folder",
        "max_gb=NUMBER": "size in 10⁹ bytes, 20 if left out; 0 empties the store",
    },
    about=("A run takes another store with store.path=FOLDER, and none with store.enabled=false.",),
    examples={
        "diffgeo-store ls": "how much is kept",
        "diffgeo-store prune max_gb=5": "make room",
        "diffgeo-store verify path=/shared/store": "check a store that several machines use",
    },
    codes=(0, 1, 2, 6, 8, 130),
)
DAMAGED = 8
"""Exit code of ``verify`` if entries were damaged."""


def main() -> None:
    """Entry point of the console command."""
    COMMAND.main(_execute)


def _execute(words: Words) -> int:
    if len(words.plain) != 1:
        what = "no action" if not words.plain else " ".join(words.plain)
        raise ConfigError(f"{what} is given to diffgeo-store", f"say one of {', '.join(COMMAND.actions)}")
    asked = words.given.get("max_gb", "20")
    try:
        most = float(asked)
    except ValueError:
        most = -1.0
    if not 0 <= most < float("inf"):
        raise ConfigError(f"max_gb={asked} is not possible", "allowed: a number, 0 or more")
    from diffgeo.session.store import Store, store_folder  # torch is slow to import

    folder = words.path("path", Path()) if "path" in words.given else store_folder()
    if folder is None:
        raise ConfigError("DIFFGEO_STORE is empty, so there is no store", "name one with path=FOLDER")
    if folder.is_file():
        raise ConfigError(f"path={folder} is a file", "give a folder")
    store = Store(folder, max_bytes=int(most * 1e9))
    return {"ls": _ls, "verify": _verify, "prune": _prune}[words.plain[0]](store)


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
    count = sum(1 for _ in store.entries())
    damaged = store.verify()
    for path in damaged:
        print(f"damaged, {'cannot be removed' if path.exists() else 'removed'}: {path}")
    unread = max(0, count - store.hits - len(damaged))
    print(f"{store.hits} sound, {len(damaged)} damaged" + (f", {unread} cannot be read" if unread else ""))
    return DAMAGED if damaged else 0


def _prune(store: Store) -> int:
    removed = store.prune()
    print(f"removed {len(removed)} entries, {sum(entry.size for entry in removed) / 1e6:.1f} MB", flush=True)
    left = sum(entry.size for entry in store.entries())
    if left > store.max_bytes:
        raise OutputError(
            f"{store.folder} still holds {left / 1e6:.1f} MB, which cannot be removed", "see whether it is read-only"
        )
    return 0
