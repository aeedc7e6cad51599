"""``diffgeo-report``: runs gathered, filtered, grouped, drawn."""

import json
import math
import sys
from unittest import mock

import pandas as pd
import pytest

from diffgeo.cli import report as report_command
from diffgeo.report import runs as gathering


def write_run(folder, *, rank, pool, seed, value, rows=2, status="completed"):
    (folder / "tables").mkdir(parents=True)
    settings = {
        "svd": {"rank": rank, "tol": 1e-4},
        "feature": {"pool": pool},
        "schedule": {"edit": [1.0, 0.5]},
        "study": {"discovery": {"directions": 3}},
        "tracking": {"name": str(folder)},
        "seed": seed,
    }
    scalars = {"discovery": {"residual": value, "same": 1.0}}
    facts = {"status": status, "settings": settings, "scalars": scalars, "model": {"source": "m"}}
    facts["files"] = ["tables/discovery.parquet"]
    (folder / "run.json").write_text(json.dumps(facts))
    table = pd.DataFrame({"sample": range(rows), "s": [value] * rows})
    if rank > 10:
        table["extra"] = "é"
    table.to_parquet(folder / "tables" / "discovery.parquet")


@pytest.fixture
def runs(tmp_path):
    folder = tmp_path / "runs"
    for rank in (10, 20):
        for seed in (0, 1, 2):
            write_run(folder / f"{rank}_{seed}", rank=rank, pool=None, seed=seed, value=rank + seed)
    write_run(folder / "deep" / "pooled", rank=10, pool="sum", seed=0, value=5.0)
    return folder


def says(capsys, *words):
    code = 0
    with mock.patch.object(sys, "argv", ["diffgeo-report", *map(str, words)]):
        try:
            report_command.main()
        except SystemExit as stop:
            code = stop.code or 0
    said = capsys.readouterr()
    return code, said.out, said.err


def test_runs_are_gathered_grouped_and_drawn(capsys, runs, tmp_path):
    out = tmp_path / "out"
    code, said, err = says(capsys, runs, f"out={out}", "table=discovery")
    assert code == 0, err
    groups = pd.read_csv(out / "groups.csv")
    assert "7 runs, 3 groups" in said
    assert set(groups["scalar"]) == {"discovery/residual"}, "what does not differ is not compared"
    row = groups[(groups["svd.rank"] == 20) & groups["feature.pool"].isna()].iloc[0]
    assert (row["mean"], row["n"]) == (21.0, 3)
    assert math.isnan(row["low"]), "three runs are too few for an interval"
    assert len(pd.read_csv(out / "runs.csv")) == 7
    rows = pd.read_parquet(out / "discovery.parquet")
    assert len(rows) == 14
    assert set(rows.columns) >= {"sample", "s", "extra", "run", "svd.rank", "feature.pool", "seed"}
    assert (rows["s"] >= 5).all()
    assert rows.loc[rows["svd.rank"] == 10, "extra"].isna().all()
    assert (out / "figures" / "discovery_residual.png").stat().st_size > 1000


def test_groups_are_told_apart_by_as_few_settings_as_it_takes():
    solvers = pd.DataFrame(
        {
            "run": ["a", "b", "c", "d", "e"],
            "svd.block_size": [4, None, None, None, 4],
            "svd.oversample": [None, 10, 10, None, None],
            "svd.solver": ["golub_kahan", "subspace", "randomized", "dense", "golub_kahan"],
            "svd.rank": [10, 10, 10, 10, 20],
            "seed": [0, 0, 0, 0, 1],
            "discovery/residual": [1.0, 2.0, 3.0, 4.0, 5.0],
        }
    )
    assert gathering.deciding(solvers) == ["svd.solver", "svd.rank"]
    assert gathering.deciding(solvers.iloc[:1]) == []
    pooled = pd.DataFrame({"run": ["a", "b"], "feature.pool": [None, "sum"]})
    assert gathering.deciding(pooled) == ["feature.pool"]


def test_conditions_and_groups_are_any_settings(capsys, runs, tmp_path):
    words = [runs, f"out={tmp_path / 'out'}", "where=[svd.rank=10,feature.pool=null]", "by=[seed]"]
    code, said, _ = says(capsys, *words, "show=[discovery/same]")
    assert code == 0
    assert "3 runs, 3 groups" in said
    groups = pd.read_csv(tmp_path / "out" / "groups.csv")
    assert list(groups["seed"]) == [0, 1, 2]
    assert set(groups["scalar"]) == {"discovery/same"}


def test_questions_in_sql(capsys, runs):
    question = (
        'select r."svd.rank" as k, count(*) as n, max(s) as top from discovery d join runs r using (run) group by k'
    )
    code, said, err = says(capsys, runs, f"sql={question} order by k")
    assert code == 0, err
    assert [line.split() for line in said.splitlines()[1:]] == [["10", "8", "12.0"], ["20", "6", "22.0"]]


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        (["{runs}", "by=[svd.rnak]"], 2, "Did you mean svd.rank"),
        (["{runs}", "where=[seed=9]"], 2, "fits no run"),
        (["{runs}", "where=[seed]"], 2, "key=value"),
        (["{runs}", "show=[discovery/residul]"], 2, "discovery/residual"),
        (["{runs}", "table=nothing"], 4, "discovery"),
        (["{runs}", "sql=selec"], 2, "not understood"),
        (["{runs}/none"], 4, "is no folder"),
        (["{runs}", "colour=red"], 2, "colour=red"),
        (["by=[seed]"], 2, "no folder"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_a_hint(capsys, runs, words, code, hint):
    got, _, err = says(capsys, *(word.format(runs=runs) for word in words))
    assert (got, hint in err.replace("\n", " ")) == (code, True), err


def test_an_unreadable_run_is_left_out_and_an_empty_folder_refused(capsys, runs, tmp_path, caplog):
    (runs / "10_0" / "run.json").write_text("{")
    assert len(gathering.read_runs(gathering.find_runs([runs]))) == 6
    assert "cannot be read" in caplog.text
    (tmp_path / "empty").mkdir()
    assert says(capsys, tmp_path / "empty")[0] == 4


def test_the_same_run_counts_once(runs):
    assert len(gathering.find_runs([runs, runs / "10_0", runs])) == 7


def test_a_repeated_run_counts_once_the_last_of_them(capsys, runs, tmp_path):
    write_run(runs / "20_9_again", rank=20, pool=None, seed=0, value=20.0)
    write_run(runs / "20_9_other_code", rank=20, pool=None, seed=1, value=99.0)
    code, said, _ = says(capsys, runs, f"out={tmp_path / 'out'}", "where=[svd.rank=20]")
    assert code == 0
    assert "3 runs, 1 group:" in said
    assert "2 more runs are in no mean: 2 repeat others" in said
    (group,) = pd.read_csv(tmp_path / "out" / "groups.csv").to_dict("records")
    assert (group["mean"], group["n"]) == (pytest.approx((20 + 99 + 22) / 3), 3)
    reasons = pd.read_csv(tmp_path / "out" / "runs.csv").set_index("run")["left_out"].dropna().to_dict()
    assert reasons == {
        str(runs / "20_0"): f"repeats {runs / '20_9_again'}",
        str(runs / "20_1"): f"repeats {runs / '20_9_other_code'}, with other results",
    }


def test_the_last_of_repeated_runs_is_the_one_that_started_last(runs):
    """Whatever its folder is called."""
    for name, started, value in (("20_a", "2026-06-01T10:00:00", 1.0), ("20_b", "2026-01-01T10:00:00", 2.0)):
        write_run(runs / name, rank=20, pool=None, seed=9, value=value)
        file = runs / name / "run.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"started": started}))
    read = gathering.read_runs(gathering.find_runs([runs / "20_a", runs / "20_b"]))
    assert list(read["left_out"]) == ["", f"repeats {runs / '20_a'}, with other results"]


@pytest.mark.parametrize("status", ["interrupted", "failed", "running"])
def test_runs_that_did_not_complete_are_in_no_mean_and_no_table(capsys, runs, tmp_path, status):
    write_run(runs / "20_3", rank=20, pool=None, seed=3, value=1000.0, status=status)
    write_run(runs / "20_9", rank=20, pool=None, seed=0, value=1000.0, status=status)  # no repetition that counts
    code, said, _ = says(capsys, runs, f"out={tmp_path / 'out'}", "where=[svd.rank=20]", "table=discovery")
    assert code == 0
    assert f"2 more runs are in no mean: 2 {status}" in said
    (group,) = pd.read_csv(tmp_path / "out" / "groups.csv").to_dict("records")
    assert (group["mean"], group["n"]) == (21, 3)
    assert pd.read_csv(tmp_path / "out" / "discovery.csv")["s"].max() < 1000
    code, _, err = says(capsys, runs / "20_3", f"out={tmp_path / 'none'}")
    assert (code, f"1 {status}" in err) == (4, True)


def test_settings_that_differ_are_never_averaged_over(capsys, runs, tmp_path):
    code, said, _ = says(capsys, runs, f"out={tmp_path / 'out'}", "by=[svd.rank]")
    assert code == 0
    groups = pd.read_csv(tmp_path / "out" / "groups.csv")
    counts = {(row["svd.rank"], row["feature.pool"] == "sum"): row["n"] for row in groups.to_dict("records")}
    assert counts == {(10, False): 3, (10, True): 1, (20, False): 3}, "rank 10 with pooled h is a group of its own"
    assert "The runs differ in feature.pool as well" in said


def test_the_same_path_with_other_weights_is_another_group():
    runs = pd.DataFrame({"run": ["a", "b"], "model.path": ["m", "m"], "model.source": ["m@1", "m@2"], "seed": [0, 1]})
    assert gathering.deciding(runs) == ["model.source"]
    moved = runs.assign(**{"model.path": ["m", "n"]})
    assert gathering.deciding(moved) == ["model.path"], "a source that follows from the path is not named"


def test_equal_runs_are_shown_with_all_that_they_have(capsys, tmp_path):
    for name in ("a", "b"):
        write_run(tmp_path / "runs" / name, rank=10, pool=None, seed=0, value=3.25)
    code, said, _ = says(capsys, tmp_path / "runs", f"out={tmp_path / 'out'}")
    assert code == 0
    assert "1 run, 1 group:" in said
    lines = [line.split() for line in said.splitlines()]
    assert ["discovery/residual", "3.25", "(n", "=", "1)"] in lines
    assert ["discovery/same", "1", "(n", "=", "1)"] in lines


def test_runs_without_a_common_scalar_are_shown(capsys, tmp_path):
    for name, rank in (("a", 10), ("b", 20)):
        write_run(tmp_path / "runs" / name, rank=rank, pool=None, seed=0, value=3.25)
        path = tmp_path / "runs" / name / "run.json"
        facts = json.loads(path.read_text())
        path.write_text(json.dumps(facts | {"scalars": {"discovery": {f"only_{name}": 1.5}}}))
    code, said, err = says(capsys, tmp_path / "runs", f"out={tmp_path / 'out'}")
    assert code == 0, err
    assert "discovery/only_a" in said


def test_groups_are_printed_as_a_pivot(capsys, runs, tmp_path):
    write_run(runs / "20_3", rank=20, pool=None, seed=3, value=23.0)
    words = [runs, f"out={tmp_path / 'out'}", "where=[feature.pool=null]"]
    code, said, _ = says(capsys, *words, "show=[discovery/residual,discovery/same]")
    assert code == 0
    table = said[said.index("svd.rank=10") :].splitlines()
    assert table[0].split() == ["svd.rank=10", "svd.rank=20"]
    assert table[1].split()[:4] == ["discovery/residual", "11", "(n", "="]
    assert "21.5 [19.45, 23.55]" in table[1]
    assert table[1].endswith("(n = 4)")
    code, said, _ = says(capsys, *words, "show=[discovery/residual]")
    assert [line.split()[0] for line in said.splitlines()[-2:]] == ["svd.rank=10", "svd.rank=20"], "turned round"


def test_runs_whose_bases_missed_their_tolerance_are_named(capsys, runs, tmp_path):
    path = runs / "20_1" / "run.json"
    missed = {"discovery": {"bases": 4, "missed": 3, "worst": 41.5, "short": 0}}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"convergence": missed}))
    code, _, err = says(capsys, runs, f"out={tmp_path / 'out'}")
    assert code == 0
    assert "3 of 4 in discovery" in err
    assert "41.5 times the tolerance" in err
    said = pd.read_csv(tmp_path / "out" / "runs.csv").set_index("run")["not_converged"].dropna()
    assert list(said.index) == [str(runs / "20_1")]


def test_means_that_rest_on_missed_bases_are_marked(capsys, runs, tmp_path):
    path, out = runs / "20_1" / "run.json", tmp_path / "out"
    facts = json.loads(path.read_text())
    facts["convergence"] = {"discovery": {"bases": 4, "missed": 3, "worst": 41.5, "short": 0}}
    facts["scalars"]["spectrum"] = {"dimension": 4.0}  # of a study whose bases met it
    path.write_text(json.dumps(facts))
    words = [runs, f"out={out}", "where=[feature.pool=null]", "table=discovery"]
    _, said, _ = says(capsys, *words, "show=[discovery/residual,spectrum/dimension]")
    cells = {line.split()[0]: line for line in said.splitlines() if "(n =" in line}
    assert cells["discovery/residual"].endswith("(n = 3) †")
    assert "11 (n = 3)  " in cells["discovery/residual"], "the other group is not"
    assert "†" not in cells["spectrum/dimension"]
    assert "† rests on local bases" in said
    groups = pd.read_csv(out / "groups.csv").set_index(["scalar", "svd.rank"])["unconverged"]
    assert groups.to_dict() == {
        ("discovery/residual", 10): 0,
        ("discovery/residual", 20): 1,
        ("spectrum/dimension", 10): 0,
        ("spectrum/dimension", 20): 0,
    }
    rows = pd.read_parquet(out / "discovery.parquet")
    assert set(rows.loc[rows["unconverged"], "run"]) == {str(runs / "20_1")}
    assert "not converged, in some of the runs" in (out / "figures" / "discovery_residual.svg").read_text()
    assert "not converged" not in (out / "figures" / "spectrum_dimension.svg").read_text()


def test_numbers_of_one_name_and_other_timesteps_are_told_apart(capsys, runs, tmp_path):
    for name, fraction in (("10_0", 0.25), ("20_0", 0.3), ("20_1", 0.301)):
        path = runs / name / "run.json"
        facts = json.loads(path.read_text())
        facts["times"] = {"t_0.3": {"t": 249, "t_frac": fraction, "log_snr": 0.0}}
        facts["scalars"]["discovery"]["s/t_0.3"] = fraction
        path.write_text(json.dumps(facts))
    _, _, err = says(capsys, runs, f"out={tmp_path / 'a'}", "show=[discovery/s/t_0.3]")
    assert "t_0.3 is 0.25, 0.3, 0.301 of T in different runs" in err
    _, _, err = says(capsys, runs, f"out={tmp_path / 'b'}", "show=[discovery/residual]")
    assert "t_0.3" not in err, "it is not compared"
    _, _, err = says(capsys, runs, f"out={tmp_path / 'c'}", "show=[discovery/s/t_0.3]", "where=[svd.rank=20]")
    assert "t_0.3" not in err, "rounded"


def test_a_used_folder_is_cleaned_of_the_earlier_report(capsys, runs, tmp_path):
    out = tmp_path / "out"
    says(capsys, runs, f"out={out}", "table=discovery")
    (out / "mine.csv").write_text("kept")
    code, _, err = says(capsys, runs, f"out={out}", "where=[svd.rank=20]")
    assert code == 0, err
    assert sorted(path.name for path in out.iterdir()) == [
        *("figures", "groups.csv", "groups.parquet", "mine.csv", "report.json", "runs.csv", "runs.parquet")
    ]
    assert list((out / "figures").iterdir()) == [], "a single group is not drawn"


@pytest.mark.parametrize("name", ["runs.csv", "figures/discovery_residual.png", "report.json"])
def test_files_that_no_report_wrote_are_not_replaced(capsys, runs, tmp_path, name):
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    code, _, err = says(capsys, runs, f"out={tmp_path / 'out'}")
    assert (code, path.read_text()) == (6, "mine")
    assert "out=" in err


def test_a_report_of_an_earlier_version_is_replaced(capsys, runs, tmp_path):
    out = tmp_path / "out"
    assert says(capsys, runs, f"out={out}")[0] == 0
    (out / "report.json").unlink()
    code, _, err = says(capsys, runs, f"out={out}", "where=[svd.rank=20]")
    assert code == 0, err
    assert len(pd.read_csv(out / "runs.csv")) == 3


def test_the_folder_of_a_run_is_no_place_for_a_report(capsys, runs):
    code, _, err = says(capsys, runs, f"out={runs / '10_0'}")
    assert code == 6
    assert "is a run's folder" in err
    assert "out=" in err


def test_an_integer_is_printed_as_one_beside_runs_that_lack_it(capsys, runs, tmp_path):
    for name, passes in (("10_0", 4), ("20_0", 8)):
        path = runs / name / "run.json"
        facts = json.loads(path.read_text())
        facts["settings"]["svd"]["max_passes"] = passes
        path.write_text(json.dumps(facts))
    _, said, _ = says(capsys, runs, f"out={tmp_path / 'out'}", "by=[svd.max_passes]")
    assert "svd.max_passes=4," in said
    assert "4.0" not in said


def test_pages_are_made_anew_of_every_run(capsys, runs):
    code, said, err = says(capsys, "page", runs / "deep", runs / "10_0")
    assert code == 0, err
    pages = [runs / "deep" / "pooled" / "report.html", runs / "10_0" / "report.html"]
    assert said.splitlines() == [str(page) for page in pages]
    assert all("</html>" in page.read_text() for page in pages)
    assert not (runs / "20_0" / "report.html").exists()


@pytest.mark.parametrize(("words", "code"), [(["page"], 2), (["page", "{runs}/none"], 4)])
def test_pages_need_a_folder_with_runs(capsys, runs, words, code):
    assert says(capsys, *(word.format(runs=runs) for word in words))[0] == code


def test_help(capsys):
    assert "diffgeo-report FOLDER" in says(capsys, "--help")[1]
