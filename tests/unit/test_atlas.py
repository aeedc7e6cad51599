"""The atlas: one line per claim, one column per network, and nothing that the rows do not say."""

import json
import math
import re

import pandas as pd
import pytest

from diffgeo.claims import decide, described
from diffgeo.errors import DataError
from diffgeo.report.page.atlas import Told, latex, page, table, write_atlas
from diffgeo.report.verdicts import labels
from diffgeo.studies import all_claims

TESTED = [claim for claim in all_claims() if claim.role == "claim"][:3]


def row(claim, run, ours=0.4, p=0.001, n=16):
    few = n < 6
    return described(claim) | {
        "ours": ours,
        "low": math.nan if few else ours - 0.1,
        "high": math.nan if few else ours + 0.1,
        "n": n,
        "p": p,
        "values": [ours] * n,
        "comparable": True,
        "expected": None,
        "remark": "",
        "not_converged": "",
        "run": str(run),
    }


@pytest.fixture
def told(tmp_path):
    """Two networks: one holds, contradicts and has too few; of the other one claim cannot be asked, one was not run."""
    runs = []
    for network in ("one", "two"):
        run = tmp_path / network / TESTED[0].experiment
        run.mkdir(parents=True)
        facts = {
            "model": {"digest": "ab"},
            "samples": ["a", "b"],
            "commit": "c" * 40,
            "versions": {"torch": "2.0"},
            "device": "cpu",
            "machine": "an old machine",
            "started": "2026-01-01T00:00:00+00:00",
            "duration": 61.0,
        }
        (run / "run.json").write_text(json.dumps(facts))
        runs.append(run)
    first = [row(TESTED[0], runs[0]), row(TESTED[1], runs[0], ours=-0.4), row(TESTED[2], runs[0], n=4)]
    second = [row(TESTED[0], runs[1], ours=0.2, p=0.6)]
    return [
        Told("one", tmp_path / "one", decide(first), {}),
        Told("two", tmp_path / "two", decide(second), {TESTED[1].experiment: "it has no <factors>"}),
    ]


def test_every_claim_has_a_row_for_every_network(told, tmp_path):
    found = table(told, tmp_path)
    assert len(found) == 2 * len(all_claims())
    by = found.set_index(["network", "source", "quantity"])["reading"]
    keys = [(claim.source, claim.quantity) for claim in TESTED]
    assert [by["one", *key] for key in keys] == ["holds", "contradicted", "too few to tell"]
    assert by["two", *keys[0]] == "too few to tell"
    assert set(found["commit"]) == {"", "c" * 10}
    assert by["two", *keys[1]] == "cannot be asked"


def test_labels_do_not_depend_on_what_was_run(told, tmp_path):
    found = table(told, tmp_path)
    assert list(found["label"][found["network"] == "two"]) == labels([{"source": c.source} for c in all_claims()])


def test_runs_are_named_from_the_atlas(told, tmp_path):
    found = table(told, tmp_path)
    assert set(found["run"]) == {"", f"one/{TESTED[0].experiment}", f"two/{TESTED[0].experiment}"}


def test_the_page_says_of_each_cell_what_its_row_says(told, tmp_path):
    text = write_atlas(told, tmp_path, "diffgeo-paper models=[one,two]").read_text()
    assert text.count(f'href="one/{TESTED[0].experiment}/report.html"') == 3
    assert "0.40 [0.30, 0.50]" in text
    assert "−0.40 [−0.50, −0.30]" in text
    assert "<summary>more</summary>it has no &lt;factors&gt;</details>" in text
    assert "3 claims on 2 networks, 4 cells: 1 holds, 1 is contradicted, 0 are not found, and for 2 (50%) " in text
    assert "2 of these 2 calls stand" in text
    assert "an old machine" in text
    assert "diffgeo-paper models=[one,two]" in text
    assert "1 min 1 s" in text
    assert not re.search(r"(src|href)=\"https?:", text)
    assert str(tmp_path) not in text


def test_a_dot_lies_where_its_interval_is(told, tmp_path):
    text = write_atlas(told, tmp_path, "").read_text()
    # 0.4 of the claim's 0.5, and 0.2 of it, right of the middle
    assert 'cx="86.8"' in text
    assert 'cx="68.4"' in text


def test_the_page_can_be_made_again_from_the_table_without_links(told, tmp_path):
    text = write_atlas(told, tmp_path, "x").read_text()
    again = pd.read_parquet(tmp_path / "atlas.parquet")
    facts = json.loads((tmp_path / "atlas.json").read_text())
    assert page(again, facts) == text
    assert "report.html" not in page(again, facts, links=False)


def test_the_csv_has_the_numbers_and_the_latex_table_a_cell_per_network(told, tmp_path):
    write_atlas(told, tmp_path, "x")
    numbers = pd.read_csv(tmp_path / "atlas.csv")
    assert numbers.loc[numbers["reading"] == "holds", "ours"].tolist() == [0.4]
    text = (tmp_path / "atlas.tex").read_text()
    assert text == latex(table(told, tmp_path))
    assert r"\toprule" in text
    assert "+ 0.40 [0.30, 0.50] (n = 16) & ? 0.20 [0.10, 0.30] (n = 16)" in text


def test_an_atlas_without_rows_is_refused():
    with pytest.raises(DataError, match="no rows"):
        page(pd.DataFrame(), {"command": "", "networks": {}})
