"""Results in the documentation are those of the committed tables, and no sentence outlives its verdict."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from results import RESULTS, _labels_of, by_hand, copy, joined, pages, read, written

ROOT = Path(__file__).resolve().parents[2]
ROW = {
    "ours": 0.4168,
    "low": 0.281,
    "high": 0.5561,
    "n": 16,
    "p": 0.0001,
    "q": 0.002,
    "holm": float("nan"),
    "verdict": "x",
    "remark": "",
    "not_converged": "",
}
ROWS = {
    ("faces", "P23a Fig. 9 a"): ROW | {"label": "P23a Fig. 9 a", "quantity": "|x|", "reading": "holds"},
    ("faces", "LOCO"): ROW | {"label": "LOCO", "quantity": "y", "reading": "not found", "ours": -0.01, "low": -0.05},
    ("other", "LOCO"): ROW | {"label": "LOCO", "quantity": "z", "reading": "holds"},
}


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_every_page_states_what_the_tables_say(path):
    text = path.read_text(encoding="utf-8")
    assert written(text, read()) == text, "run python tools/results.py"


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_no_page_states_a_result_by_hand(path):
    assert by_hand(path.read_text(encoding="utf-8")) == [], "take it from the atlas, or say what shows it"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("it is 0.4 [0.3, 0.5].", ["4 [0.3, 0.5]"]),
        ("it is −0.4 [−0.5, −0.3] and 0.42 [0.28, 0.56] <!-- faces: LOCO, holds -->", ["4 [−0.5, −0.3]"]),
        ("each of eight samples (p = 0.008)", ["p = 0.008"]),
        ("That is not found.\n\nIt is 0.4 <!-- faces: LOCO, not found -->", ["That is not found."]),
        ("- a: 0.4 <!-- faces: LOCO, not found -->\n- b is contradicted", ["- b is contradicted"]),
        ("It is 0.4 <!-- faces: LOCO, not found -->,\nso not found. **not found**: neither.", []),
        ("```sh\ndiffgeo  # 1 [2, 3]\n```\n`x [1, 2]` not found? no: `not found`", ["not found? no:"]),
        ("<!-- results: faces -->\n| not found, 0.4 [0.3, 0.5] |\n<!-- end -->", []),
        ("at p ≤ 0.05, in fractions 1 [of T](x.md)", []),
        (
            "0.31 [0.28, 0.33], p = 0.008 <!-- blocks: faces, share, up.1 less mid, 0.25 T --> (p = 0.006)",
            ["p = 0.006"],
        ),
        ("<!-- table: blocks, faces -->\n| up.1 | 0.46 [0.42, 0.49] |\n<!-- end --> 0.4 [0.3, 0.5]", ["4 [0.3, 0.5]"]),
    ],
)
def test_a_result_written_by_hand_is_found(text, found):
    assert by_hand(text) == found


def test_a_number_is_written_anew_and_its_sentence_stays():
    old = "it is 0.1 [-0.2, 0.3] <!-- faces: P23a Fig. 9 a, holds -->, and −1<!-- faces: LOCO, not found -->."
    new = old.replace("0.1 [-0.2, 0.3]", "0.42 [0.28, 0.56]").replace("−1<", "−0.01 [−0.05, 0.56]<")
    assert written(old, ROWS) == new
    assert written(new, ROWS) == new


def test_a_sentence_whose_verdict_has_changed_is_an_error():
    with pytest.raises(ValueError, match="is now holds: write its sentence anew"):
        written("0.4 <!-- faces: P23a Fig. 9 a, contradicted -->", ROWS)
    with pytest.raises(ValueError, match="names no row"):
        written("0.4 <!-- faces: P23a Fig. 8, holds -->", ROWS)


@pytest.mark.parametrize(("ends", "said"), [((0.1, 0.2), "above 0"), ((-0.2, -0.1), "below 0"), ((-1, 1), "around 0")])
def test_a_second_measure_is_held_to_the_sign_of_its_interval(ends, said):
    rows = {("faces", "b"): ROWS["faces", "LOCO"] | {"verdict": "", "low": ends[0], "high": ends[1], "ours": 0.15}}
    assert written(f"9 <!-- faces: b, {said} -->", rows).startswith("0.")
    with pytest.raises(ValueError, match=f"is now {said}"):
        written("9 <!-- faces: b, second measure -->", rows)


def test_a_table_has_the_claims_of_its_network_alone():
    text = written("a\n<!-- results: faces -->\nstale\n<!-- end -->\nb", ROWS)
    assert "stale" not in text
    assert "| P23a Fig. 9 a | \\|x\\| | 0.42 [0.28, 0.56] | 16 | < 0.001 | 0.002 | – | holds |" in text
    assert " z " not in text
    assert written(text, ROWS) == text


def test_a_number_beside_the_atlas_that_changes_its_sign_asks_for_another_sentence():
    row = dict.fromkeys(("mean", "low", "high", "sd", "p"), "") | {"network": "faces", "role": "text"}
    rows = {("training", "moments, change, 1 T"): row | {"mean": "-3.0", "low": "-3.4", "high": "-2.6"}}
    said = "it falls by 0 <!-- training: moments, change, 1 T, below 0 -->"
    assert "−3.0 [−3.4, −2.6] <!--" in written(said, rows)
    rows["training", "moments, change, 1 T"] |= {"mean": "9.9", "low": "9.0", "high": "10.8"}
    with pytest.raises(ValueError, match="is now above 0"):
        written(said, rows)
    assert "9.9 [9.0, 10.8] <!--" in written(said.replace(", below 0", ""), rows)


def test_verdicts_stand_at_a_glance_a_sign_for_each_claim_of_a_figure():
    first, second = _labels_of("P23a Table 1")[:2]
    rows = {
        ("faces", first): ROW | {"verdict": "holds"},
        ("faces", second): ROW | {"verdict": "not found"},
        ("other", first): ROW | {"verdict": "contradicted"},
        ("third", second): ROW | {"verdict": "too few to tell"},
    }
    text = written("<!-- results: overview -->\n<!-- end -->", rows)
    assert "| claims of | | `faces` | `other` | `third` |" in text
    assert "| P23a Table 1 | Slerp is less curved than lerp, and 1 more | ✓○ | ✗ | ? |" in text
    assert "Fig. 9" not in text, "nobody was asked"


def test_networks_stand_side_by_side():
    text = written("<!-- results: all -->\n<!-- end -->", ROWS)
    assert "| claim | measure | `faces` | `other` |" in text
    assert "| P23a Fig. 9 a | \\|x\\| | holds, 0.42 [0.28, 0.56] | – |" in text
    assert "| LOCO | z | not found, −0.01 [−0.05, 0.56] | holds, 0.42 [0.28, 0.56] |" in text


def measured(of, t="0.5", role="text", **numbers):
    """A row of a table beside the atlas, with its key."""
    empty = dict.fromkeys(("mean", "low", "high", "sd", "p"), "")
    key = ("blocks", f"faces, share, {of}, {t} T")
    return key, empty | {"network": "faces", "what": "share", "of": of, "t": t, "role": role} | numbers


@pytest.mark.parametrize(
    ("numbers", "stated"),
    [
        ({"mean": "0.30"}, "0.30"),
        ({"mean": "-0.00", "low": "-0.10", "high": "0.00", "p": "0.008"}, "−0.00 [−0.10, 0.00], p = 0.008"),
        ({"mean": "0.22", "sd": "0.01"}, "0.22 ± 0.01"),
        ({"low": "-0.03", "high": "0.02"}, "−0.03 to 0.02"),
        ({"p": "< 0.001"}, "p < 0.001"),
    ],
)
def test_a_number_beside_the_atlas_has_the_digits_of_its_table(numbers, stated):
    rows = ROWS | dict([measured("up.1", **numbers)])
    side = ", around 0" if numbers.get("low", "").startswith("-") else ""
    comment = f"<!-- blocks: faces, share, up.1, 0.5 T{side} -->"
    assert written(f"it is 9 {comment}.", rows) == f"it is {stated} {comment}."
    assert written(f"it is {stated} {comment}.", rows) == f"it is {stated} {comment}."
    assert by_hand(f"it is {stated} {comment}.") == []
    with pytest.raises(ValueError, match="names no row"):
        written(f"it is {stated} {comment}.", ROWS)


def test_a_table_beside_the_atlas_has_its_cells_alone():
    cells = [measured(of, t, "table", mean=f"{t}{of}") for of in "12" for t in ("1", "0.5")]
    rows = ROWS | dict([*cells, measured("2 less 1", mean="7")])
    text = written("<!-- table: blocks, faces -->\nstale\n<!-- end -->\n<!-- results: all -->\n<!-- end -->", rows)
    body = "| | share at 1 T | share at 0.5 T |\n|---|---|---|\n| 1 | 11 | 0.51 |\n| 2 | 12 | 0.52 |\n"
    assert text.startswith(f"<!-- table: blocks, faces -->\n{body}<!-- end -->")
    assert "| claim | measure | `faces` | `other` |" in text
    with pytest.raises(ValueError, match="names no table"):
        written("<!-- table: blocks, other -->\n<!-- end -->", rows)


@pytest.mark.parametrize(
    "path", sorted(set(RESULTS.glob("*.csv")) - {RESULTS / "atlas.csv"}), ids=lambda path: path.stem
)
def test_every_row_beside_the_atlas_stands_on_a_page(path):
    """So that a number that changes in a table is one that a page has to follow."""
    text = "".join(page.read_text(encoding="utf-8") for page in pages())
    named = set(re.findall(rf"<!-- ({path.stem}: [^>]+?|table: {path.stem}, \w+)(?:, (?:below|around) 0)? -->", text))
    rows = {key: row for (name, key), row in read().items() if name == path.stem}
    assert len(rows) == len(pd.read_csv(path)), "two rows are of the same"
    for key, row in rows.items():
        assert (f"table: {path.stem}, {row['network']}" if row["role"] == "table" else f"{path.stem}: {key}") in named


def test_the_documents_atlas_leads_to_no_run_and_keeps_its_numbers(tmp_path):
    """The runs are not committed."""
    page = pages()[0].parent / "docs" / "results" / "atlas.html"
    text = page.read_text(encoding="utf-8")
    assert "report.html" not in text
    facts = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    assert all(made["commits"] and made["versions"]["torch"] for made in facts["networks"].values())
    table = pd.read_csv(page.with_suffix(".csv"))
    out = tmp_path / "out"
    out.mkdir()
    words = table.columns.difference(["ours", "low", "high", "n", "p", "q", "holm"])
    full = table.assign(**{column: table[column].astype(object).fillna("") for column in words})
    full.assign(values=[[]] * len(table), run="x").to_parquet(out / "atlas.parquet")
    (out / "atlas.json").write_text(json.dumps(facts))
    copy(out, tmp_path / "results")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "results" / "atlas.csv"), table)


def test_the_atlas_can_decide_what_it_asks():
    """On four networks 25 claims and more have 20 samples or pairs; fewer than a tenth of all cells are left open."""
    atlas = pd.read_csv(RESULTS / "atlas.csv")
    asked = atlas[(atlas["role"] == "claim") & (atlas["n"] > 0)]
    assert (asked[asked["n"] >= 20].groupby("network").size() >= 25).sum() >= 4
    assert (asked["verdict"] == "too few to tell").mean() < 0.1


def claims(*rows):
    """A table of an atlas from (network, label, experiment, n, p, ours)."""
    names = ("network", "label", "experiment", "n", "p", "ours")
    shared = {"role": "claim", "q": float("nan"), "verdict": "", "reading": "not run"}
    rows = [dict(zip(names, row, strict=True)) for row in rows]
    return pd.DataFrame([row | shared | {"source": row["label"][0], "quantity": row["label"]} for row in rows])


def test_claims_of_another_run_join_and_replace_the_same_ones():
    earlier = claims(
        ("faces", "A a", "a", 20, 0.04, 1.0), ("faces", "A b", "a", 20, 0.5, 1.0), ("faces", "B", "b", 0, None, 0)
    )
    new = claims(
        ("faces", "A a", "a", 0, None, 0), ("faces", "A b", "a", 0, None, 0), ("faces", "B", "b", 20, 0.03, -2.0)
    )
    found = joined(earlier, new).set_index("label")
    assert list(found.index) == ["A a", "A b", "B"]
    assert found["n"].tolist() == [20, 20, 20]
    assert found["q"].tolist() == pytest.approx([0.06, 0.5, 0.06]), "of all three claims"
    assert found["reading"].tolist() == ["too few to tell"] * 3
    again = joined(
        joined(earlier, new), claims(("faces", "A a", "a", 20, 0.001, 3.0), ("other", "B", "b", 4, 0.1, 1.0))
    )
    by = again.set_index(["network", "label"])
    assert by.loc[("faces", "A a"), "reading"] == "holds"
    assert ("faces", "A b") not in by.index, "the new run of an experiment replaces all of its claims"
    assert by.loc[("other", "B"), "reading"] == "too few to tell"


def test_the_section_on_the_flows_names_the_blocks_that_were_asked():
    text = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
    section = text[text.index("## What holds on a transformer") :].split("\n## ")[0]
    for name in ("factor_faces_flow", "factor_faces_flow_unet"):
        block = yaml.safe_load((ROOT / "conf" / "model" / f"{name}.yaml").read_text(encoding="utf-8"))["block"]
        assert f"`{block}`" in section
