"""The store: what determines an entry, whether it is whole, and who may go."""

import json
import multiprocessing
import os
import time
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffgeo.session.digests import digest, file_digest
from diffgeo.session.entries import Record
from diffgeo.session.store import MARKER, Store, store_folder
from stored import fetch

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def record(value=1.0, n=4):
    return Record({"x": torch.full((n,), value)}, {"value": value})


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def stored_files(store):
    return sorted(path for path in store.folder.rglob("*") if path.is_file() and path.name != MARKER)


def test_a_stored_record_is_returned_and_not_computed_again(store):
    first = fetch(store, "bases", {"a": 1}, lambda: Record({"x": torch.arange(3)}, {"s": "é", "nan": float("nan")}))
    again = fetch(store, "bases", {"a": 1}, lambda: pytest.fail("computed again"))
    assert torch.equal(first.tensors["x"], again.tensors["x"])
    assert again.facts["s"] == "é"
    assert again.facts["nan"] != again.facts["nan"]
    assert (store.hits, store.misses) == (1, 1)
    assert [path.suffix for path in stored_files(store)] == [".safetensors"], "no lock, no temporary file stays"


def test_other_determinants_or_stages_are_other_entries(store):
    values = [
        ("a", {"t": 1}),
        ("a", {"t": 2}),
        ("b", {"t": 1}),
        ("a", {"t": "1"}),
        ("a", {"x": torch.zeros(2)}),
        ("a", {"x": torch.zeros(2, dtype=torch.float64)}),
        ("a", {"x": torch.zeros(1, 2)}),
        ("a", {"x": torch.tensor([0.0, 1e-30])}),
    ]
    for i, (stage, keys) in enumerate(values):
        fetch(store, stage, keys, lambda i=i: record(float(i)))
    for i, (stage, keys) in enumerate(values):
        assert fetch(store, stage, keys, lambda: pytest.fail("computed again")).facts["value"] == float(i)


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_the_digest_does_not_see_the_order_of_keys(value):
    assert digest(value) == digest(dict(reversed(value.items())))
    assert digest(value) == digest(json.loads(json.dumps(value)))


def test_the_digest_takes_dataclasses_and_paths_and_refuses_the_unknown():
    @dataclass
    class Settings:
        rank: int = 3

    @dataclass
    class Others(Settings):
        pass

    assert digest({"s": Settings()}) == digest({"s": Settings(3)})
    assert len({digest(one) for one in (Settings(), Settings(4), Others(), {"rank": 3})}) == 4
    assert digest([Path("a")]) == digest(["a"])
    with pytest.raises(TypeError, match="object has no digest"):
        digest({"x": object()})


@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "text"])
def test_a_damaged_entry_is_reported_and_computed_again(store, caplog, harm):
    fetch(store, "bases", {"a": 1}, record)
    (path,) = stored_files(store)
    data = bytearray(path.read_bytes())
    data[-2] ^= 1  # within the tensor
    path.write_bytes({"flip": bytes(data), "cut": bytes(data[:-3]), "empty": b"", "text": b"not tensors"}[harm])
    again = fetch(store, "bases", {"a": 1}, lambda: record(2.0))
    assert again.facts["value"] == 2.0
    assert "is damaged" in caplog.text
    assert fetch(store, "bases", {"a": 1}, lambda: pytest.fail("not stored")).facts["value"] == 2.0


def test_verify_uses_nothing_and_removes_only_what_is_damaged(store, monkeypatch, caplog):
    fetch(store, "bases", {"a": 1}, record)
    fetch(store, "bases", {"a": 2}, record)
    old, other = stored_files(store)
    os.utime(old, (1000, 1000))
    assert store.verify() == []
    assert store.hits == 2
    assert old.stat().st_mtime == 1000
    load = "diffgeo.session.store.load"
    monkeypatch.setattr(load, mock.Mock(side_effect=PermissionError(13, "Permission denied")))
    assert store.verify() == []
    assert stored_files(store) == [old, other]
    assert "cannot be read (Permission denied)" in caplog.text


def test_facts_are_under_the_checksum_too(store):
    fetch(store, "bases", {"a": 1}, record)
    (path,) = stored_files(store)
    path.write_bytes(path.read_bytes().replace(b'\\"value\\": 1.0', b'\\"value\\": 9.0'))
    assert store.verify() == [path]
    assert store.verify() == []
    assert stored_files(store) == []


def test_a_place_that_nothing_is_put_into_stays_empty(store):
    with store.slot("bases", {"a": 1}) as slot:
        assert slot.record is None
    assert stored_files(store) == []


def test_a_failed_computation_leaves_nothing(store):
    with pytest.raises(KeyboardInterrupt):
        fetch(store, "bases", {"a": 1}, lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    assert stored_files(store) == []


def test_the_entries_used_least_recently_go_first(store):
    for i in range(4):
        fetch(store, "bases", {"i": i}, lambda i=i: record(float(i), n=1000))
    paths = {i: store.path("bases", {"i": i}) for i in range(4)}
    for i, path in paths.items():
        os.utime(path, (1000 + i, 1000 + i))
    fetch(store, "bases", {"i": 0}, lambda: pytest.fail("there"))  # a use is as good as a write
    size = paths[0].stat().st_size
    removed = store.prune(2 * size)
    assert [entry.path for entry in removed] == [paths[1], paths[2]]
    assert [i for i, path in paths.items() if path.exists()] == [0, 3]
    assert store.prune(0)
    assert not list(store.entries())


def test_pruning_clears_what_a_killed_process_left(store):
    fetch(store, "bases", {"a": 1}, record)
    (path,) = stored_files(store)
    left = path.with_name(f".tmp-{path.stem}-123.safetensors")
    left.write_bytes(b"half")
    assert [entry.path for entry in store.entries()] == [path]
    store.prune()
    assert stored_files(store) == [path]


def test_writing_an_entry_clears_its_own_leftovers(store):
    path = store.path("bases", {"a": 1})
    path.parent.mkdir(parents=True)
    path.with_name(f".tmp-{path.stem}-123.safetensors").write_bytes(b"half")
    fetch(store, "bases", {"a": 1}, record)
    assert stored_files(store) == [path]


@pytest.mark.parametrize("error", [PermissionError(13, "denied"), OSError(28, "No space left on device")])
def test_a_store_that_cannot_be_written_warns_once_and_computes(store, monkeypatch, caplog, error):
    def fail(*_args, **_kwargs):
        raise error

    monkeypatch.setattr("diffgeo.session.store.save_tensors", fail)
    for i in range(3):
        assert fetch(store, "bases", {"i": i}, lambda i=i: record(float(i))).facts["value"] == float(i)
    assert caplog.text.count("goes on without it") == 1
    assert stored_files(store) == []


def test_a_store_whose_folder_is_a_file_warns_and_computes(tmp_path, caplog):
    (tmp_path / "store").write_text("")
    assert fetch(Store(tmp_path / "store"), "bases", {}, record).facts["value"] == 1.0
    assert "goes on without it" in caplog.text


def _count(folder, log, barrier):
    def compute():
        with open(log, "a", encoding="utf-8") as opened:
            opened.write("x")
        time.sleep(0.3)
        return record(7.0)

    barrier.wait()
    assert fetch(Store(folder), "bases", {"a": 1}, compute).facts["value"] == 7.0


def test_of_several_processes_one_computes_and_the_others_wait(tmp_path):
    spawn = multiprocessing.get_context("forkserver")
    spawn.set_forkserver_preload(["diffgeo.session.store"])
    barrier = spawn.Barrier(3)
    workers = [spawn.Process(target=_count, args=(tmp_path / "store", tmp_path / "log", barrier)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert (tmp_path / "log").read_text() == "x"


def test_the_folder_is_the_environments_or_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("DIFFGEO_STORE", "")
    assert store_folder() is None
    monkeypatch.setenv("DIFFGEO_STORE", str(tmp_path))
    assert store_folder() == tmp_path
    monkeypatch.delenv("DIFFGEO_STORE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert store_folder() == tmp_path / "cache" / "diffgeo" / "store"


def test_files_have_versions(tmp_path):
    (tmp_path / "a").write_text("1")
    one = file_digest(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert file_digest(tmp_path) != one
    (tmp_path / "b").rename(tmp_path / "a")
    assert file_digest(tmp_path) == one
