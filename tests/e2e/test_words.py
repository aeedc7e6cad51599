"""Help, completion, versions and wrong words of every command: one style, two lines, the documented exit codes."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
from hydra.core.global_hydra import GlobalHydra

from diffgeo import errors
from diffgeo.cli import command as cli
from diffgeo.cli import explore as explore_command
from diffgeo.cli import paper
from diffgeo.cli import report as report_command
from diffgeo.cli import store as store_command
from diffgeo.cli.help import EXIT_CODES, help_text
from diffgeo.cli.words import Command
from diffgeo.config import config_folder, documentation
from diffgeo.signals import Ended
from diffgeo.studies.discovery.settings import DiscoveryConfig

COMMANDS = {
    "diffgeo": cli,
    "diffgeo-paper": paper,
    "diffgeo-report": report_command,
    "diffgeo-store": store_command,
    "diffgeo-explore": explore_command,
}
MANUAL = Path(__file__).parents[2] / "docs" / "cli.md"


@pytest.fixture
def says(capsys, monkeypatch, tmp_path):
    """``says("diffgeo-store", "ls")``: (exit code, stdout, stderr), in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(name, *words, line=None):
        GlobalHydra.instance().clear()
        code = 0
        with mock.patch.object(sys, "argv", [name, *words]), mock.patch.dict(os.environ):
            os.environ.pop("HYDRA_FULL_ERROR", None)
            if line is not None:
                os.environ |= {"COMP_LINE": line, "COMP_POINT": str(len(line))}
            try:
                COMMANDS[name].main()
            except SystemExit as stop:
                code = stop.code or 0
        GlobalHydra.instance().clear()
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_command_explains_itself(says, name, flag):
    code, out, err = says(name, flag)
    assert (code, err) == (0, "")
    assert out.startswith(f"{name}: ")
    titles = [line for line in out.splitlines() if line[:1].isupper()]
    assert titles[:3] == ["Usage", "Examples", "Exit codes"], "what is needed first comes first"
    assert "Flags" in titles
    assert f"  {name} " in out
    assert "--shell-completion" in out
    assert "HYDRA_FULL_ERROR=1" in out
    assert max(map(len, out.splitlines())) <= 120


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_version(says, name):
    assert re.fullmatch(name + r" \S+\n", says(name, "--version")[1])


@pytest.mark.parametrize("name", ["diffgeo-report", "diffgeo-store"])
def test_a_command_that_needs_words_shows_its_help(says, name):
    assert says(name) == says(name, "--help")


def test_every_choice_has_a_line_that_says_something():
    text = help_text(config_folder())
    for line in re.findall(r"^    \w+=.*$", text, re.MULTILINE):
        assert len(line.split(None, 1)[1].removeprefix("*")) > 10, line
    assert "svd=golub_kahan *" in text
    assert documentation.documented(DiscoveryConfig)["directions"].split(";")[0] in text


@pytest.mark.parametrize(
    ("topic", "words"),
    [
        ("svd", ["svd=golub_kahan *", "svd.rank   int, default 50 (scale.rank)", "(with svd=randomized)"]),
        ("svd=dense", ["slow and exact", "svd.tol   float"]),
        ("edit.strength", ["edit.strength   float, default 0.06", "√d"]),
        ("study=discovery", ["study.discovery.directions   int"]),
        ("study", ["diffgeo --help study=NAME"]),
        ("store", ["store.max_gb   float, default 20"]),
        ("experiment=p23a/table1", ["Published: CelebA-HQ"]),
        ("seed", ["seed   int, default 0"]),
    ],
)
def test_help_on_a_topic(says, topic, words):
    code, out, _ = says("diffgeo", "--help", topic)
    assert code == 0
    for word in words:
        assert word in out


def test_every_key_of_every_choice_has_help(says):
    from diffgeo.cli import help as pages

    conf = config_folder()
    keys = pages._settings(conf, whole=True)
    assert {"svd.block_size", "edit.transport", "predictor.names", "svd.rank"} <= set(keys)
    for key in keys:
        assert key in pages.topic_text(conf, key) or key.endswith(
            ("._target_", ".solver", ".method", ".kind", ".perceptual")
        ), key


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("diffgeo svd=de", {"svd=dense"}),
        ("diffgeo svd=dense svd.ra", {"svd.rank="}),
        ("diffgeo svd", {"svd.", "svd="}),
        ("diffgeo svd.blo", {"svd.block_size="}),
        ("diffgeo edit=shooting edit.tr", {"edit.transport="}),
        ("diffgeo experiment=p23a/t", {"experiment=p23a/table1"}),
        ("diffgeo study=[discovery,spec", {"study=[discovery,spectrum"}),
        ("diffgeo --dry", {"--dry-run"}),
        ("diffgeo-store v", {"verify"}),
        ("diffgeo-store max", {"max_gb="}),
        ("diffgeo-report t", {"table="}),
        ("diffgeo-paper on", {"only="}),
        ("diffgeo-explore po", {"port="}),
        ("diffgeo-paper svd=su", {"svd=subspace"}),
    ],
)
def test_completion_answers_as_the_shell_asks(says, line, expected):
    code, out, _ = says(line.split()[0], "--shell-completion", "query=bash", line=line)
    assert code == 0
    assert set(out.split()) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize("name", COMMANDS)
def test_completion_can_be_installed(says, name, shell):
    code, out, err = says(name, "-sc", f"install={shell}")
    assert (code, err) == (0, "")
    assert name in out.splitlines()[-1]
    if shell == "bash" and shutil.which("bash"):
        assert subprocess.run(["bash", "-n"], input=out, text=True, check=False).returncode == 0


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash")
def test_bash_completes_the_part_behind_the_equals_sign(says, tmp_path):
    command = tmp_path / "diffgeo"
    command.write_text('#!/bin/sh\necho "svd=dense svd=golub_kahan"\n')
    command.chmod(0o755)
    asked = 'COMP_LINE="diffgeo svd=de"; COMP_POINT=14; _diffgeo; echo "${COMPREPLY[@]}"'
    script = says("diffgeo", "-sc", "install=bash")[1] + asked
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], text=True, capture_output=True, check=True, env=environment)
    assert done.stdout == "dense\n"


@pytest.mark.parametrize(
    ("name", "words", "code", "hint"),
    [
        ("diffgeo", ["svd"], 2, "svd has no value say svd=choice, see diffgeo --help svd"),
        ("diffgeo", ["==="], 2, "cannot read ==="),
        ("diffgeo", ["svd=[dense"], 2, "cannot read svd=[dense"),
        ("diffgeo", ["svd.rank="], 2, "svd.rank"),
        ("diffgeo", ["svd=[1,2]"], 2, "a group takes the name of a choice"),
        ("diffgeo", ["--frobnicate"], 2, "there is no flag --frobnicate"),
        ("diffgeo", ["--dry-runn"], 2, "did you mean --dry-run"),
        ("diffgeo", ["--cfg", "jobs"], 2, "say --cfg job|hydra|all"),
        ("diffgeo", ["--cfg"], 2, "say --cfg job|hydra|all"),
        ("diffgeo", ["-m", "seed=1,2", "--cfg", "job"], 2, "these flags exclude each other"),
        ("diffgeo", ["--config-dir"], 2, "say --config-dir value"),
        ("diffgeo", ["--help", "svd.rnak"], 2, "did you mean svd.rank"),
        ("diffgeo", ["--help", "zzzzzzz"], 2, "for groups and choices"),
        ("diffgeo", ["-sc", "install=tcsh"], 2, "known are bash, zsh, fish"),
        ("diffgeo", ["hydra.run.dir=/proc/nowhere", "study=[spectrum]"], 6, "cannot write"),
        ("diffgeo-store", ["lss"], 2, "did you mean ls?"),
        ("diffgeo-store", [""], 2, "an empty word"),
        ("diffgeo-store", ["ls", "verify"], 2, "ls verify is given to diffgeo-store"),
        ("diffgeo-store", ["path=x"], 2, "no action"),
        ("diffgeo-store", ["ls", f"path={__file__}"], 2, "is a file; give a folder".replace("; ", " ")),
        ("diffgeo-store", ["prune", "max_gb=abc"], 2, "max_gb=abc is not possible"),
        ("diffgeo-store", ["prune", "max_gb="], 2, "max_gb= has no value"),
        ("diffgeo-store", ["ls", "max_gbs=1"], 2, "did you mean max_gb=?"),
        ("diffgeo-report", ["nothing"], 4, "nothing is no folder"),
        ("diffgeo-report", ["by=[seed]"], 2, "no folder"),
        ("diffgeo-report", ["buy=[seed]", "x"], 2, "did you mean by=?"),
        ("diffgeo-report", ["--sql", "x"], 2, "--sql is no argument"),
        ("diffgeo-paper", ["only=[nope]"], 2, "there is no experiment nope"),
        ("diffgeo-paper", ["only="], 2, "only= has no value"),
        ("diffgeo-paper", ["scale=big"], 2, "choices: smoke, small, atlas, paper"),
        ("diffgeo-paper", ["--dry"], 2, "did you mean --dry-run"),
        ("diffgeo-paper", ["experiment=p23a/table1"], 2, "only=[...]"),
        ("diffgeo-paper", ["svd.rnak=3", "--dry-run"], 2, "svd.rnak"),
    ],
)
def test_a_wrong_word_is_two_lines(says, name, words, code, hint):
    found, out, err = says(name, *words)
    assert found == code, err
    lines = err.splitlines()
    assert len(lines) == 2, err
    assert lines[0].startswith("Error: ")
    assert hint in " ".join(err.lower().split())
    assert out == ""


def test_exit_codes_are_documented():
    own = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, Exception) and hasattr(kind, "exit_code")
    }
    assert set(EXIT_CODES) == own | {0, store_command.DAMAGED, Ended().exit_code}
    table = MANUAL.read_text().partition("## Exit codes")[2]
    rows = dict(re.findall(r"^\| (\d+) \| (.*) \|$", table, re.MULTILINE))
    plain = {int(code): text.replace("`", "").replace("\\|", "|") for code, text in rows.items()}
    assert plain == EXIT_CODES


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "diffgeo"])
def test_the_manual_has_every_word(name):
    text = MANUAL.read_text()
    for word in COMMANDS[name].COMMAND.words:
        assert f"`{word.partition('=')[0]}" in text, word


def test_codes_of_a_command_are_those_that_exist():
    for name in set(COMMANDS) - {"diffgeo"}:
        assert set(COMMANDS[name].COMMAND.codes) <= set(EXIT_CODES)


def test_what_nobody_foresaw_is_two_lines_too(says):
    with mock.patch.object(Command, "parse", side_effect=ZeroDivisionError("the moon\nis full")):
        code, out, err = says("diffgeo-store", "ls")
    assert (code, out) == (1, "")
    assert err.startswith("Error: ZeroDivisionError: the moon (in words.py, line ")
    assert "HYDRA_FULL_ERROR=1" in err.splitlines()[1]
    assert len(err.splitlines()) == 2


def test_the_traceback_is_there_when_asked_for(monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setattr("diffgeo.cli.errors._traceback", False)  # and back to that
    with mock.patch.object(Command, "parse", side_effect=ZeroDivisionError), pytest.raises(ZeroDivisionError):
        store_command.COMMAND.main(lambda _: None, ["ls"])
