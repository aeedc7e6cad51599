"""A study of another package joins by its entry point: the guide's own package, installed into a folder of its own.

Commands run as processes, with that folder on ``PYTHONPATH``: nothing in this repository or environment knows of it.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from diffgeo.errors import ConfigError
from diffgeo.report.page import write_page
from diffgeo.studies import studies

GUIDE = Path(__file__).parents[2] / "docs" / "examples" / "study"
SOURCES = Path(__file__).parents[2] / "src"


def install(source, folder):
    """A package as pip installs it, into a folder instead of the environment."""
    words = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", *words, "--upgrade", "--target", folder, source], check=True)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder with the installed package."""
    folder = tmp_path_factory.mktemp("site")
    source = shutil.copytree(GUIDE, tmp_path_factory.mktemp("source") / "study")
    install(source, folder)
    return folder


def diffgeo(site, *words, cwd):
    """``diffgeo WORDS`` in a process that finds the packages of ``site``."""
    paths = os.pathsep.join(map(str, (site, SOURCES)))
    environment = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    return subprocess.run(
        [sys.executable, "-m", "diffgeo", *map(str, words)],
        env=environment | {"PYTHONPATH": paths},
        cwd=cwd,
        capture_output=True,
        text=True,
    )


SEVERAL = """
import sys
from diffgeo import __main__ as scripts
for line in sys.stdin.read().splitlines():
    sys.argv = line.split()
    code = 0
    try:
        {"diffgeo": scripts.main, "diffgeo-paper": scripts.paper}[sys.argv[0]]()
    except SystemExit as stop:
        code = stop.code or 0
    sys.stdout.flush()
    sys.stderr.flush()
    print(f"\\nended {code}", flush=True)
    print(f"\\nended {code}", file=sys.stderr, flush=True)
"""


def several(site, *lines, cwd):
    """(code, stdout, stderr) of each command, its name first, if one process that finds ``site`` runs all of them."""
    paths = os.pathsep.join(map(str, (site, SOURCES)))
    environment = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    done = subprocess.run(
        [sys.executable, "-c", SEVERAL],
        env=environment | {"PYTHONPATH": paths},
        cwd=cwd,
        input="\n".join(" ".join(map(str, words)) for words in lines),
        capture_output=True,
        text=True,
        check=True,
    )
    codes = [int(code) for code in re.findall(r"^ended (\d+)$", done.stdout, re.MULTILINE)]
    parts = (re.split(r"^ended \d+\n", text, flags=re.MULTILINE)[:-1] for text in (done.stdout, done.stderr))
    return list(zip(codes, *parts, strict=True))


@pytest.fixture(scope="module")
def small(tiny_settings):
    """A tiny run of this study alone: two samples, two timesteps."""
    words = [word for word in tiny_settings if word.split("=")[0] not in ("study", "schedule.edit", "data.samples")]
    return [*words, "study=[greyness]", "schedule.edit=[1.0,0.5]", "data.samples=2"]


@pytest.fixture(scope="module")
def ended(installed, small, tmp_path_factory):
    """(folder, outputs) of a run with a setting of the study, in ``out``, and of ``diffgeo-paper``, in ``paper``."""
    folder = tmp_path_factory.mktemp("run")
    words = [word for word in small if not word.startswith("study=")]
    done = several(
        installed,
        ["diffgeo", *small, "study.greyness.directions=3", "hydra.run.dir=out"],
        ["diffgeo-paper", "only=[greyness]", "out=paper", *words],
        cwd=folder,
    )
    assert [code for code, *_ in done] == [0, 0], done
    return folder, [out + err for _, out, err in done]


@pytest.fixture(scope="module")
def run(ended):
    """(folder, output) of the run."""
    return ended[0] / "out", ended[1][0]


@pytest.mark.slow
def test_it_leaves_its_table_scalars_and_figure(run):
    folder, _ = run
    table = pd.read_parquet(folder / "tables" / "greyness.parquet")
    assert len(table) == 2 * 2 * 3
    assert table["greyness"].between(0, 1).all()
    manifest = json.loads((folder / "run.json").read_text())
    assert manifest["settings"]["study"] == {"greyness": {"directions": 3}}
    assert manifest["scalars"]["greyness"]["greyness/t_1"] == pytest.approx(
        table.loc[table["t_frac"] == 1, "greyness"].mean()
    )
    assert set(table["model"]) == {manifest["model"]["source"]}, "the run's settings are columns, as for every study"
    assert (folder / "figures" / "greyness_by_timestep.png").stat().st_size > 1000
    assert (folder / "figures" / "greyness_by_timestep.svg").is_file()


@pytest.mark.slow
def test_its_section_chart_table_finding_and_claim_are_on_the_page(run):
    folder, output = run
    page = (folder / "report.html").read_text()
    assert ">Brightness or colour</h2>" in page
    assert "Do directions change brightness or colour?" in page
    assert "Brightness (1) or colour (0)?" in page
    assert 'id="chart-greyness"' in page
    assert "Greyness by timestep" in page
    assert "directions are greyer than random ones by" in page
    finding = "Their greyness exceeds that of random directions by"
    assert finding in page
    assert finding in output


@pytest.fixture(scope="module")
def told(installed, small, tmp_path_factory):
    """What commands say that compute nothing: three about settings, three helps."""
    return several(
        installed,
        ["diffgeo", *small, "scale.directions=4", "--cfg", "job", "--resolve"],
        ["diffgeo", *small, "study.greyness.directions=0"],
        ["diffgeo", *small, "study.greyness.drections=1"],
        *(["diffgeo", "--help", *of] for of in ([], ["study"], ["study=greyness"])),
        cwd=tmp_path_factory.mktemp("told"),
    )


@pytest.mark.slow
def test_its_settings_follow_the_scale_and_keep_their_range(told):
    cfg, refused, unknown = told[:3]
    assert [cfg[0], refused[0], unknown[0]] == [0, 2, 2]
    assert "directions: 4" in cfg[1].partition("greyness:")[2][:40]
    said = [line for line in refused[2].splitlines() if line]
    assert said == ["Error: study.greyness.directions=0 is not possible", "Allowed: 1 or more"]
    assert unknown[2].rstrip().endswith("\nDid you mean study.greyness.directions?")


@pytest.mark.slow
def test_the_help_lists_it_with_its_question_and_keys(told):
    *lists, (_, keys, _) = told[3:]
    for code, listed, err in lists:
        assert code == 0, err
        (line,) = [line for line in listed.splitlines() if "study=greyness" in line]
        assert line.endswith("Do directions change brightness or colour?")
    assert "study.greyness.directions   int, default 2 (scale.directions)" in keys.replace("default 3", "default 2")
    assert "leading directions that are measured" in keys


@pytest.mark.slow
def test_without_the_package_the_choice_is_unknown_and_the_page_of_its_run_is_still_made(run, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    unknown = diffgeo(empty, "study=[greyness]", cwd=tmp_path)
    assert unknown.returncode == 2
    assert "study=greyness is no choice of study" in unknown.stderr
    copy = shutil.copytree(run[0], tmp_path / "copy")
    assert "greyness" not in studies(), "this process does not find it, either"
    page = write_page(copy).read_text()
    assert ">Greyness</h2>" in page
    assert "tables/greyness.csv" in page


@pytest.mark.nightly
def test_a_run_after_the_study_was_edited_computes_it_again(small, tmp_path):
    source, site = shutil.copytree(GUIDE, tmp_path / "source"), tmp_path / "site"
    words = [*small, "data.samples=1", f"store.path={tmp_path / 'store'}"]

    def mean(name):
        install(source, site)
        done = diffgeo(site, *words, f"hydra.run.dir={name}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return pd.read_parquet(tmp_path / name / "tables" / "greyness.parquet")["greyness"].mean()

    first = mean("a")
    assert mean("b") == first
    assert len(list((tmp_path / "store" / "studies").rglob("*.safetensors"))) == 1, "the second run took the first's"
    file = source / "diffgeo_greyness" / "measure.py"
    file.write_text(file.read_text().replace("return grey.square()", "return 0.5 * grey.square()"))
    assert mean("c") == pytest.approx(first / 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import nowhere_at_all", ["cannot be loaded (ModuleNotFoundError: No module named 'nowhere_at_all')", "mend"]),
        ("x = 1", ["cannot be loaded (AttributeError", "uninstall"]),
        ("STUDY = 'greyness'", ["is no study", "name a diffgeo.studies.Study"]),
        (
            "from diffgeo.studies import Study\nSTUDY = Study('a b', '', '', object, __name__)",
            ["is no study", "dataclass"],
        ),
        (
            "from diffgeo.studies import Study\n"
            "from diffgeo.studies.spectrum import STUDY as OTHER\n"
            "STUDY = Study('spectrum', '', '', OTHER.settings, __name__)",
            ["both bring a study called spectrum", "rename one"],
        ),
    ],
)
def test_a_package_whose_study_cannot_be_used_is_named(tmp_path, monkeypatch, text, words):
    (tmp_path / "broken_study.py").write_text(text + "\n")
    facts = tmp_path / "broken_study-1.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-study\nVersion: 1\n")
    (facts / "entry_points.txt").write_text("[diffgeo.studies]\nbroken = broken_study:STUDY\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_study", raising=False)
    with pytest.raises(ConfigError) as caught:
        studies.__wrapped__()  # without its cache
    assert "broken" in caught.value.what
    for word in words:
        assert word in f"{caught.value.what}; {caught.value.advice}"


@pytest.mark.slow
def test_its_claims_are_judged_by_diffgeo_paper_on_a_run_of_the_study(ended):
    folder, _ = ended
    table = pd.read_csv(folder / "paper" / "claims.csv")
    assert set(table["source"]) == {"Greyness"}
    assert (folder / "paper" / "greyness" / "tables" / "greyness.parquet").is_file()
