"""The store and other people's files: refused as a store, never removed, never reached by a link."""

import json
import os
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from diffgeo.errors import ConfigError
from diffgeo.session.entries import Record
from diffgeo.session.store import KEY, MARKER, Store
from stored import fetch

DIGEST = "ab" * 32


def record(value=1.0, n=1000):
    return Record({"x": torch.full((n,), value)}, {"value": value})


def foreign_file(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"w": torch.zeros(1000)}, path)
    return path


def everything(folder):
    """Path → bytes of all files, links not followed."""
    found = {}
    for root, _, names in os.walk(folder):
        found |= {Path(root, name): Path(root, name).read_bytes() for name in names}
    return found


def clean(folder):
    """All that removes something."""
    store = Store(folder, max_bytes=0)
    store.verify()
    store.prune(0)
    for i in range(3):
        fetch(store, "bases", {"i": i}, record)
    store.prune(0)


@pytest.fixture
def store(tmp_path):
    """A store with three entries."""
    store = Store(tmp_path / "store")
    for i in range(3):
        fetch(store, "bases", {"i": i}, lambda i=i: record(float(i)))
    return store


def as_earlier(store):
    """The same as earlier versions left it: without a marker, and without locks."""
    (store.folder / MARKER).unlink()
    return store.folder


@pytest.mark.parametrize(
    "name",
    [
        "nets/v1/model.safetensors",
        "nets/ab/model.safetensors",
        f"nets/ab/{DIGEST}.safetensors",  # another program's content-addressed weights
        f"nets/cd/{DIGEST}.safetensors",
        "model.safetensors",
        "notes.txt",
        ".hidden",
        "a/b/c/d.txt",
    ],
)
def test_a_folder_with_other_files_is_no_store(tmp_path, name):
    foreign_file(tmp_path / "data" / name)
    before = everything(tmp_path)
    with pytest.raises(ConfigError, match="is no store of diffgeo") as caught:
        clean(tmp_path / "data")
    assert "store.path=" in str(caught.value)
    assert caught.value.exit_code == 2
    assert everything(tmp_path) == before


def test_an_empty_a_new_and_a_linked_folder_become_stores(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    for name in ("empty", "new", "link"):
        fetch(Store(tmp_path / name), "bases", {}, record)
        assert (tmp_path / name / MARKER).is_file()
        assert len(list(Store(tmp_path / name).entries())) == 1
        assert len(Store(tmp_path / name).prune(0)) == 1


def test_a_store_of_an_earlier_version_still_works(store):
    folder = as_earlier(store)
    again = Store(folder)
    assert fetch(again, "bases", {"i": 1}, lambda: pytest.fail("computed again")).facts["value"] == 1
    entry = next(again.entries()).path
    entry.write_bytes(entry.read_bytes()[:-3])
    assert again.verify() == [entry]
    assert len(again.prune(0)) == 2


def test_an_earlier_store_that_was_emptied_or_whose_run_was_killed_still_is_one(store):
    folder = as_earlier(store)
    for entry in store.entries():
        entry.path.with_suffix(".lock").touch()
        entry.path.rename(entry.path.with_name(f".tmp-{entry.path.stem}-12.safetensors"))
    Store(folder).prune()
    assert [path for path in folder.rglob("*") if path.is_file()] == []
    fetch(Store(folder), "bases", {"i": 1}, record)


@pytest.mark.parametrize("marked", [True, False])
def test_other_files_in_a_store_stay(store, marked):
    folder = store.folder if marked else as_earlier(store)
    own = set(everything(folder))
    names = [
        "nets/v1/model.safetensors",
        "bases/model.safetensors",
        "bases/ab/model.safetensors",
        f"bases/ab/{DIGEST}.safetensors",
        f"bases/cd/{DIGEST}.safetensors",
        f"bases/ab/{DIGEST.upper()}.safetensors",
        f"bases/ab/{DIGEST}.safetensors.bak",
        "bases/ab/yarn.lock",
        "bases/ab/run.claim",
        f"bases/cd/{DIGEST}.lock",
        f"bases/ab/{DIGEST}.lock",
        "bases/ab/.tmp-mine.safetensors",
        "bases/ab/.tmp-mine",
    ]
    for name in names:
        foreign_file(folder / name)
    strangers = {path: data for path, data in everything(folder).items() if path not in own}
    assert len(strangers) == len(names)
    clean(folder)
    after = everything(folder)
    assert {path: after.get(path) for path in strangers} == strangers
    assert [path for path in own if path.name != MARKER and path in after] == [], "its own went"


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("level", ["stage", "prefix", "entry"])
def test_links_are_not_followed(store, tmp_path, marked, level):
    """Another store's entries, locks and half-written files behind a link are neither listed nor touched."""
    other = Store(tmp_path / "other")
    fetch(other, "pictures", {"i": 1}, record)
    outside = other.path("pictures", {"i": 1})
    name = outside.stem
    outside.with_name(f".tmp-{name}-1.safetensors").write_bytes(b"half")
    outside.with_suffix(".claim").touch()
    outside.write_bytes(outside.read_bytes()[:-4])  # damaged
    inside = store.path("pictures", {"i": 1})
    link, target = {
        "stage": (inside.parent.parent, outside.parent.parent),
        "prefix": (inside.parent, outside.parent),
        "entry": (inside, outside),
    }[level]
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)
    before = everything(other.folder)
    if not marked:
        as_earlier(store)
    again = Store(store.folder, max_bytes=0)
    assert {entry.stage for entry in again.entries()} == {"bases"}
    assert again.verify() == []
    assert fetch(again, "pictures", {"i": 1}, lambda: record(5.0)).facts["value"] == 5
    with again.claimed(inside) as mine:
        assert mine
    again.keep("pictures", {"i": 1}, record(6.0))
    again.prune(0)
    assert everything(other.folder) == before
    assert link.is_symlink()


@pytest.mark.parametrize("suffix", [".lock", ".claim"])
def test_a_link_in_the_place_of_a_lock_is_not_opened(store, tmp_path, suffix):
    precious = tmp_path / "precious"
    precious.write_text("keep")
    path = store.path("bases", {"new": 1})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(suffix).symlink_to(precious)
    assert fetch(store, "bases", {"new": 1}, record).facts["value"] == 1
    with store.claimed(path) as mine:
        assert mine
    Store(store.folder).prune(0)
    assert precious.read_text() == "keep"
    assert path.with_suffix(suffix).is_symlink()


def test_a_strangers_file_in_the_place_of_an_entry_stays(store, caplog):
    path = foreign_file(store.path("bases", {"new": 1}))
    before = path.read_bytes()
    for _ in range(2):
        assert fetch(store, "bases", {"new": 1}, record).facts["value"] == 1
    assert store.verify() == []
    store.prune(0)
    assert path.read_bytes() == before
    assert caplog.text.count("goes on without it") == 1


def test_an_entry_that_lost_its_header_goes_from_a_marked_store(store):
    path = next(store.entries()).path
    path.write_bytes(b"")
    assert store.verify() == [path]
    assert not path.exists()


def test_what_cannot_be_removed_is_not_called_removed(store, monkeypatch):
    def refuse(self, **_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    assert store.prune(0) == []
    assert len(list(store.entries())) == 3


@pytest.mark.parametrize("mask", [0o002, 0o022, 0o027, 0o077])
def test_files_of_a_store_honour_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        store = Store(tmp_path / "store")
        fetch(store, "bases", {}, record)
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in everything(store.folder)}
    assert modes == {0o666 & ~mask}


def test_the_header_of_an_entry_is_read_though_the_rest_is_cut(store):
    path = next(store.entries()).path
    size = int.from_bytes(path.read_bytes()[:8], "little")
    assert KEY in json.loads(path.read_bytes()[8 : 8 + size])["__metadata__"]
    (store.folder / MARKER).unlink()
    path.write_bytes(path.read_bytes()[: 8 + size])
    assert Store(store.folder).verify() == [path]
