"""Processes of one run: their order of work, and when they leave a study."""

from contextlib import suppress

import pytest

from diffgeo.errors import ConfigError
from diffgeo.session.processes import Processes, StudyDone, is_first, started_processes


def ahead(rank, size, items):
    one = Processes(rank, size)
    with one.ahead():
        order = one.in_turn(items)
    assert one.in_turn(items) == [*items], "only inside"
    return order


@pytest.mark.parametrize("size", [2, 3, 7])
def test_all_items_are_taken_by_everybody_and_nobody_follows_the_holder(size):
    items = list("abcde")
    orders = [ahead(rank, size, items) for rank in range(size)]
    assert all(sorted(order) == items for order in orders)
    if size <= len(items):
        assert all(order[0] != "a" for order in orders)


@pytest.mark.parametrize("size", [3, 5])
def test_first_shares_hold_every_item_once(size):
    items = list(range(15))
    shares = [items[: 15 // size], *(ahead(rank, size, items)[: 15 // size] for rank in range(1, size))]
    assert sorted(item for share in shares for item in share) == items


def test_processes_begin_at_both_ends():
    assert [Processes(rank, 3).from_both_ends("abc") for rank in range(3)] == [
        ["a", "b", "c"],
        ["c", "b", "a"],
        ["a", "b", "c"],
    ]


def test_few_items_and_none():
    assert ahead(3, 8, []) == []
    assert ahead(7, 8, ["only"]) == ["only"]


def test_a_process_leaves_when_the_work_is_done():
    one, seen = Processes(1, 2), []
    with suppress(StudyDone), one.unless(lambda: len(seen) == 2):
        for item in range(5):
            one.check()
            seen.append(item)
    assert seen == [0, 1]
    one.check()  # outside, nothing is asked


def test_an_error_inside_is_not_swallowed():
    with pytest.raises(ZeroDivisionError), Processes(1, 2).unless(lambda: False):
        raise ZeroDivisionError


def test_without_a_launcher_a_team_is_one(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.delenv("RANK", raising=False)
    assert started_processes(None, cpu=True) == Processes()
    assert is_first()


@pytest.mark.parametrize(("launched", "wanted"), [("2", 1), ("1", 2)])
def test_several_need_a_store(monkeypatch, launched, wanted):
    monkeypatch.setenv("WORLD_SIZE", launched)
    with pytest.raises(ConfigError, match=r"store\.enabled=true"):
        started_processes(None, wanted, cpu=True)


def test_a_run_may_start_its_own(monkeypatch, tmp_path):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    for rank in (0, 1):
        monkeypatch.setenv("RANK", str(rank))
        assert started_processes(tmp_path, 2, cpu=True) == Processes(rank, 2)
        assert is_first() == (rank == 0)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="leave processes out"):
        started_processes(tmp_path, 2, cpu=True)
