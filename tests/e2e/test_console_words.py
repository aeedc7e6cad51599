"""Settings typed as flags or without their group, words around a flag, paths with brackets, bare terminals."""

import ast
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st

import diffgeo
from diffgeo.cli.line import ordered, quoted_word
from diffgeo.errors import ConfigError

SETTINGS = ConfigError.exit_code
ROOT = Path(diffgeo.__file__).parent


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seed", "3"], "Settings are words without dashes: seed=3"),
        (["--seed=3"], "Settings are words without dashes: seed=3"),
        (["--svd.rank=3"], "Settings are words without dashes: svd.rank=3"),
        (["--steps", "10"], "Settings are words without dashes: schedule.steps=10"),
        (["--model", "local"], "Settings are words without dashes: model=local"),
        (["--rank", "seed=3"], "Settings are words without dashes: svd.rank=VALUE"),
        (["--dry"], "Did you mean --dry-run?"),
        (["--verbose"], "Did you mean --version?"),
        (["--frobnicate"], "See diffgeo --help"),
        (["steps=10"], "Did you mean schedule.steps?"),
        (["rank=10"], "Did you mean svd.rank?"),
        (["frames=3"], "Did you mean edit.frames?"),
        (["stpes=3"], "Did you mean schedule.steps?"),
    ],
)
def test_settings_typed_as_flags_or_without_their_group(command, words, said):
    outcome = command(*words)
    assert outcome.code == SETTINGS
    assert outcome.err.splitlines()[1] == said


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("seed=1 -m svd.rank=3", "-m seed=1 svd.rank=3"),
        ("seed=1 --cfg job svd.rank=3", "--cfg job seed=1 svd.rank=3"),
        ("seed=1 --config-dir cf svd.rank=3 -m", "--config-dir cf -m seed=1 svd.rank=3"),
        ("a=1 -c job b=2 -p svd c=3", "-c job -p svd a=1 b=2 c=3"),
        ("a=1 --cfg=job b=2", "--cfg=job a=1 b=2"),
        ("a=1 --info b=2", "a=1 b=2 --info"),
        ("a=1 --info plugins b=2", "a=1 b=2 --info plugins"),
        ("~svd a=1 --resolve b=2 --cfg job", "--resolve --cfg job ~svd a=1 b=2"),
    ],
)
def test_flags_come_first_with_their_values(words, expected):
    assert ordered(words.split()) == expected.split()


def test_words_stand_on_both_sides_of_a_flag(command, tmp_path):
    outcome = command("seed=1", "--cfg", "job", "svd.rank=3", "--package", "svd")
    assert outcome.code == 0, outcome.err
    assert "rank: 3\n" in outcome.out
    folder = tmp_path / "cf"
    (folder / "edit").mkdir(parents=True)
    (folder / "edit" / "mine.yaml").write_text("defaults: [single, _self_]\nstrength: 0.5\n")
    outcome = command("seed=4", "--config-dir", folder, "edit=mine", "--cfg", "job")
    assert outcome.code == 0, outcome.err
    assert "strength: 0.5\n" in outcome.out
    assert "seed: 4\n" in outcome.out


@pytest.mark.parametrize("path", ["my(1)/x", "a=b", "x[1]", "a,b", "[x]", "it's(1)", "{x}", "50%,é", "a\\(1)"])
def test_a_path_with_hydras_own_letters_is_answered_by_how_to_quote_it(command, path):
    outcome = command("model=local", f"model.path={path}", "hydra.run.dir=unused")
    assert outcome.code == SETTINGS
    advice = outcome.err.splitlines()[1]
    (said,) = [word for word in (part.strip(" .;") for part in _quoted_in(advice)) if "model.path" in word]
    (word,) = shlex.split(said)
    (override,) = OverridesParser.create().parse_overrides([word])
    assert override.value() == path


def _quoted_in(advice):
    start = min(i for i in (advice.find('"'), advice.find("'")) if i >= 0)
    rest = advice[start:]
    ends = [i + 1 for i, letter in enumerate(rest) if letter == rest[0]]
    for end in reversed(ends):
        try:
            if len(shlex.split(rest[:end])) == 1:
                return [rest[:end]]
        except ValueError:
            continue
    return []


LETTERS = st.text(
    st.characters(codec="utf-8", exclude_characters="\x00\n\r$", exclude_categories=["C", "Z"]), min_size=1
)


@given(LETTERS)
@example("it's")
@example("\\")
@example("a\\'b")
@example('say "a"')
def test_a_quoted_word_is_read_as_it_was_meant_by_shell_and_hydra(path):
    if path[:1] == "[" and path[-1:] == "]":
        return  # a list, see below
    (word,) = shlex.split(quoted_word(f"model.path={path}"))
    (override,) = OverridesParser.create().parse_overrides([word])
    assert override.value() == path


def test_a_list_of_paths_is_quoted_by_its_items():
    (word,) = shlex.split(quoted_word("data.images=[a(1).png,b=c.png]"))
    (override,) = OverridesParser.create().parse_overrides([word])
    assert override.value() == ["a(1).png", "b=c.png"]


@pytest.mark.parametrize("word", ["svd=[dense", "===", "seed=("])
def test_what_cannot_be_meant_as_text_is_not_quoted(command, word):
    command(word).assert_failed(SETTINGS, f"cannot read {word}", "every bracket and quote closed")


def test_a_changed_working_folder_moves_no_path(tiny_run, tiny_pipeline, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    relative = os.path.relpath(tiny_pipeline, tmp_path)
    outcome = tiny_run(
        f"model.path={relative}", "store.path=kept", "hydra.job.chdir=true", folder=tmp_path / "deep" / "out"
    )
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[-1] == str(tmp_path / "deep" / "out")  # the page is not drawn in these tests
    assert (tmp_path / "kept").is_dir()
    assert Path.cwd() == tmp_path


# before torch


WITHOUT_TORCH = """
import sys
from importlib import import_module
for line in sys.argv[1:]:
    module, *words = line.split()
    sys.argv = [module, *words]
    try:
        import_module(f"diffgeo.cli.{module}").main()
    except SystemExit as stop:
        print(line, "code", stop.code, sorted({"torch", "diffusers", "pandas", "gradio"} & set(sys.modules)))
"""


def without_torch(folder, *lines):
    """Command lines in one process that says of each with which code it ended and what it imported."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *lines],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=folder,
        env=os.environ | {"HYDRA_FULL_ERROR": "0"},
    )


@pytest.mark.slow
def test_range_errors_are_worded_before_torch_is_imported(tmp_path):
    lines = [
        "command svd.rank=0",
        "command svd.rank=0 --dry-run",
        "command study.curvedness.tol=0",
        "command study.disentanglement.training=4",
        "command svd.rank=0 hydra.run.dir=used",
        "command schedule.steps=-1 hydra.run.dir=used",
        "command schedule.edit=[2.0] hydra.run.dir=used",
        "command -m svd.rank=0 retries=1",
        "command study.comparison.t_frac=0.25 study=[comparison]",
        "paper svd.rank=0",
        "explore svd.rank=0",
    ]
    done = without_torch(tmp_path, *lines)
    assert [line for line in done.stdout.splitlines() if " code " in line] == [f"{line} code 2 []" for line in lines]
    assert done.stderr.count("is not possible") >= len(lines)
    assert json.loads((tmp_path / "used" / "run.json").read_text())["status"] == "failed"


def test_a_run_that_is_refused_says_why_in_its_folder(tiny_run):
    outcome = tiny_run("svd.rank=0")
    outcome.assert_failed(SETTINGS, "svd.rank=0", "1 to the rank of the Jacobian")
    assert outcome.manifest["status"] == "failed"
    assert outcome.manifest["settings"]["svd"]["rank"] == 0


def test_a_job_that_is_refused_says_why_in_the_summary(command, tiny_settings, tmp_path):
    words = [word for word in tiny_settings if not word.startswith(("study=", "svd.rank="))]
    outcome = command(
        "-m", *words, "study=[spectrum]", "svd.rank=0,3", f"hydra.sweep.dir={tmp_path}/s", folder=tmp_path / "s"
    )
    assert "Job 0 failed (svd.rank=0): svd.rank=0 is not possible" in outcome.err
    assert "1 of 2 jobs completed" in outcome.err


def test_jobs_in_folders_of_their_own_pattern_are_counted_in_the_summary(command, tiny_settings, tmp_path):
    """hydra#3018: a pattern with a folder in it."""
    words = [word for word in tiny_settings if not word.startswith(("study=", "svd.rank="))]
    sweep = (f"hydra.sweep.dir={tmp_path}/s", "hydra.sweep.subdir='x/${hydra.job.num}'")
    outcome = command("-m", *words, "study=[spectrum]", "svd.rank=0,3", *sweep, folder=tmp_path / "s")
    assert "Job x/0 failed (svd.rank=0): svd.rank=0 is not possible" in outcome.err
    assert "1 of 2 jobs completed" in outcome.err
    assert (tmp_path / "s" / "x" / "1" / "run.json").is_file()


# terminals and locales


BARE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


HELP = """
import sys
import diffgeo.__main__ as scripts
for line in ("main --help", "store --help", "paper --help", "main --help edit.strength"):
    script, *sys.argv[1:] = line.split()
    getattr(scripts, script)()
"""


@pytest.mark.parametrize("setting", [{"PYTHONIOENCODING": "ascii"}, BARE, {"PYTHONIOENCODING": "latin-1"}])
def test_help_degrades_to_escapes(setting):
    done = subprocess.run(
        [sys.executable, "-c", HELP],
        capture_output=True,
        timeout=120,
        check=False,
        env={key: value for key, value in os.environ.items() if key != "PYTHONIOENCODING"} | setting,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    assert rb"|\u03b3|" in done.stdout


@pytest.mark.nightly
def test_a_run_without_unicode_logs_in_utf8(tiny_settings, tmp_path):
    words = [word for word in tiny_settings if not word.startswith("study=")]
    done = subprocess.run(
        [sys.executable, "-m", "diffgeo", *words, "study=[spectrum]", "hydra.run.dir=out"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=tmp_path,
        env=os.environ | BARE,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert (tmp_path / "out" / "diffgeo.log").read_text(encoding="utf-8")


def test_every_text_file_is_read_and_written_as_utf8():
    """The locale's encoding is another one on some machines."""
    bare = []
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            owner = getattr(getattr(node.func, "value", None), "id", "")
            mode = next((a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)), "r")
            binary = "b" in mode or owner in ("Image", "os", "webbrowser")
            text = name in ("read_text", "write_text") or (name == "open" and not binary)
            if text and not any(keyword.arg == "encoding" for keyword in node.keywords):
                bare.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert bare == []


@pytest.mark.slow
def test_so_are_files_that_are_not_there_and_folders_that_cannot_be_had(tmp_path):
    (tmp_path / "theirs" / "tables").mkdir(parents=True)
    (tmp_path / "theirs" / "tables" / "discovery.csv").write_text("mine")
    lines = {
        "command model=local model.path=./gone": 3,
        "command model.predictor=./gone": 3,
        "command data=images data.images=gone": 4,
        "command data.masks=./gone": 4,
        "command metric.identity=gone.pt": 3,
        "command metric.lpips_weights=gone.pth": 3,
        "command study.disentanglement.files=[gone.safetensors]": 7,
        "command study=[training] study.training.networks=[./gone]": 3,
        "command hydra.run.dir=theirs": 6,
    }
    done = without_torch(tmp_path, *lines)
    assert [line for line in done.stdout.splitlines() if " code " in line] == [
        f"{line} code {code} []" for line, code in lines.items()
    ]
    assert done.stderr.count("does not exist") == len(lines) - 1
