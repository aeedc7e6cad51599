"""Every command of README, CONTRIBUTING and docs/ can be typed as it stands.

A command is composed and checked, parsed, or run at a tiny scale; which, says ``CHECKS``. One that needs a GPU or a
download says so beside it. An unknown command fails: teach this file how to check it.
"""

import argparse
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser

from diffgeo.cli import explore as explore_command
from diffgeo.cli import paper
from diffgeo.cli.errors import PLUGINS
from diffgeo.cli.line import quoted_prompts
from diffgeo.composition import check, register, typed
from diffgeo.config import config_folder
from diffgeo.ranges import Rule

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
STARTS = ("diffgeo", "make ", "python ", "torchrun ", "accelerate ", "pre-commit ", "pip ", "PYTHONPATH=")

PLACEHOLDER = re.compile(r"""…(?!["'])| \\?\| | \.\.\.|<\w+>|(?<![\w=])[A-Z]{3,}(?![\w=])""")
"""In a command within text: something to be filled in, so that it cannot be typed as it stands."""

RUN = {
    "diffgeo study=[discovery] schedule.edit=[1.0] data.samples=2",
    'PYTHONPATH=. diffgeo "hydra.searchpath=[file://my_conf]" metric=mine',
    'PYTHONPATH=. diffgeo "hydra.searchpath=[file://my_conf]" metric=outlines metric.pixels=0',
    'PYTHONPATH=. diffgeo "hydra.searchpath=[file://my_conf]" edit=colour edit.share=0.5',
    'PYTHONPATH=. diffgeo "hydra.searchpath=[file://my_conf]" predictor=colours predictor.part=1',
}
"""Commands of ``diffgeo`` that are run, on the tiny model; the others are composed and checked."""
RUN_SLOWLY = {
    "diffgeo",
    "diffgeo seed=7",
    "diffgeo svd=dense svd.rank=10",
    "diffgeo store.enabled=false",
    "PYTHONPATH=. diffgeo metric.extra.sharpness._target_=my_metric.Sharpness metric.extra.sharpness.floor=1e-4",
    "diffgeo schedule.edit=[1.0,0.5] svd.rank=25 seed=7",
    "diffgeo feature=mid_pooled",
    "diffgeo edit=shooting edit.strength=0.08",
    "diffgeo edit=shooting",
    "diffgeo svd.rank=25 edit.strength=0.08",
    "diffgeo svd=dense svd.rank=10 schedule.edit=[1.0,0.5]",
    "diffgeo data.samples=1 seed=0 'schedule.edit=[0.5]' svd.rank=8 'study=[discovery]'",
    "diffgeo -m seed=0,1,2",
    "PYTHONPATH=. diffgeo metric.extra.sharpness._target_=my_metric.Sharpness",
    "PYTHONPATH=. diffgeo metric.extra.tv._target_=smoothness.variation metric.extra.tv._partial_=true "
    "metric.extra.tv.relative=true",
}
"""More of them, run among the slow tests."""
OF_A_PACKAGE = {"diffgeo --help study=greyness", "diffgeo-paper only=[greyness]"}
"""Commands that need a package of others: ``test_another_packages_study`` installs it and types them."""
FOREIGN = {".", "pip", "pre-commit", "wandb", "git", "ssh"}
"""Commands of others, whose arguments are not ours to check."""


@dataclass(frozen=True)
class Documented:
    """A command with the page that it stands on, and what is said beside it."""

    page: Path
    command: str
    beside: str

    def __str__(self):
        return f"{self.page.name}: {self.command}"


def documented(page):
    """Every line of the page's shell blocks, and every command within its text."""
    text = re.sub(r"\\\n\s*", "", page.read_text())
    for block in re.findall(r"^ *```(?:sh|bash)\b[^\n]*\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
        for line in filter(str.strip, block.splitlines()):
            command = shlex.join(shlex.split(line, comments=True))
            if command:
                yield Documented(page, line.split("  #")[0].strip(), line)
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
    for paragraph in re.split(r"\n\s*\n", prose):
        for command in re.findall(r"`([^`\n]+)`", paragraph):
            if command.startswith(STARTS) and " " in command and not PLACEHOLDER.search(command):
                yield Documented(page, command, paragraph)


ALL = list({(one.page, one.command): one for page in PAGES for one in documented(page)}.values())
ONCE = list({one.command: one for one in ALL if one.command not in OF_A_PACKAGE}.values())


@pytest.fixture
def place(tmp_path, monkeypatch):
    """``place(page)``: an empty working folder, with the files that the page says to save."""

    def make(page):
        for title, block in re.findall(r'^ *```\w+ title="([^"]+)"\n(.*?)^ *```', page.read_text(), re.S | re.M):
            for snippet in re.findall(r'--8<-- "([^"]+)"', block):
                block = (ROOT / snippet).read_text()
            (tmp_path / title).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / title).write_text(block)
            monkeypatch.delitem(sys.modules, Path(title).stem, raising=False)
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(tmp_path)  # what PYTHONPATH=. says
        return tmp_path

    yield make
    GlobalHydra.instance().clear()


@pytest.fixture
def tools(request, place, command, tiny_settings):
    """What the checks work with: ``place``, ``command``, ``tiny_settings``, and the folder of a ``finished()`` run."""
    finished = lambda: request.getfixturevalue("good").folder  # noqa: E731
    return SimpleNamespace(place=place, command=command, tiny_settings=tiny_settings, finished=finished)


def settings_of(words):
    """The configurations that a command line composes: one, or the first and last of a sweep."""
    sweep = bool({"-m", "--multirun"} & set(words))
    words = [word for word in words if word not in ("-m", "--multirun")]
    ends = [[], []]
    for override in OverridesParser.create().parse_overrides(words):
        ours = override.input_line
        choices = [ours, ours]
        if sweep and override.is_discrete_sweep():
            values = list(override.sweep_string_iterator())
            choices = [f"{override.get_key_element()}={value}" for value in (values[0], values[-1])]
        elif sweep and override.is_sweep_override():
            choices = [f"{override.get_key_element()}={override.value().start}"] * 2
        for end, choice in zip(ends, choices, strict=True):
            end.append(choice)
    return ends if sweep and ends[0] != ends[1] else ends[:1]


def run_small(one, words, tools):
    """The command on the tiny model, with what it does not say itself made small."""
    folder = tools.place(one.page)
    names = {word.split("=")[0] for word in words}
    small = [word for word in tools.tiny_settings if word.split("=")[0] not in names]
    small += [f"hydra.{kind}.dir={folder / 'run'}" for kind in ("run", "sweep")] + ["study.discovery.directions=1"]
    with mock.patch("diffgeo.runner.finish.draw", return_value={}):
        outcome = tools.command(*words, *small, folder=folder / "run")
    assert outcome.code == 0, outcome.err
    assert outcome.out.strip()


def check_diffgeo(one, words, tools):
    if one.command in RUN:
        run_small(one, words, tools)
        return
    tools.place(one.page)
    if {"--help", "--version", "--shell-completion", "--cfg"} & set(words):
        outcome = tools.command(*words)
        assert outcome.code == 0, outcome.err
        assert outcome.out.strip()
        return
    words = [word for word in words if word not in ("--dry-run", "--blocks")]  # composes what a run would
    for engine in (word for word in words if word.startswith("hydra/")):
        own = (config_folder() / engine.replace("=", "/")).with_suffix(".yaml")
        assert own.is_file() or engine.replace("=", "/") in PLUGINS, engine
    words = [word for word in words if not word.startswith(("hydra/", "hydra."))]
    for overrides in settings_of(quoted_prompts(words)):
        compose_and_check(overrides)


def compose_and_check(overrides):
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        check(typed(compose("config", overrides)))


def check_paper(one, words, tools):
    tools.place(one.page)
    if "--help" in words:
        assert "experiments" in says("diffgeo-paper", *words)
        return
    work = paper.plan(paper.COMMAND.parse(words), config_folder())
    register()
    for _, _, own in paper._networks(work):
        if "model=local" not in own:  # a folder that is not here
            compose_and_check([f"experiment={work.names[0]}", f"scale={work.scale}", *own])


def check_store(one, words, tools):
    folder = tools.place(one.page)
    (folder / "store").mkdir()
    with mock.patch.dict(os.environ, DIFFGEO_STORE=str(folder / "store")):
        assert says("diffgeo-store", *words)


def check_report(one, words, tools):
    pytest.importorskip("duckdb")
    folder = tools.place(one.page)
    for name in [word for word in words if word.startswith("outputs")]:
        for run in ("a", "b"):
            shutil.copytree(tools.finished(), folder / name / run, ignore=shutil.ignore_patterns("*.safetensors"))
    assert says("diffgeo-report", *words)


def check_explore(one, words, tools):
    tools.place(one.page)
    if "--help" in words:
        assert "port=" in says("diffgeo-explore", *words)
        return
    explore_command.settings(explore_command.read(words))


def check_other_script(one, words, tools):
    """A command that this file does not know: what it is told must be in its help."""
    said = says(one.command.split()[0], "--help")
    assert said
    for word in words:
        assert re.split(r"[=\s]", word)[0] in said, f"{word} is not in the help of {one.command}"


def says(name, *words):
    """What a console command of the package prints, run in this process."""
    module, _, function = SCRIPTS[name].partition(":")
    printed, code = [], 0
    with (
        mock.patch.object(sys, "argv", [name, *words]),
        mock.patch("builtins.print", lambda *a, **_: printed.append(" ".join(map(str, a)))),
    ):
        try:
            getattr(import_module(module), function)()
        except SystemExit as stop:
            code = stop.code or 0
    said = "\n".join(printed)
    assert code == 0, said
    return said or "nothing"


def check_make(one, words, tools):
    if shutil.which("make") is None:
        pytest.skip("no make here")
    plan = subprocess.run(["make", "--dry-run", "--old-file=.venv/.ready", *words], cwd=ROOT, capture_output=True)
    assert plan.returncode == 0, plan.stderr.decode()


def check_launcher(one, words, tools):
    if one.command.startswith("torchrun"):
        from torch.distributed.run import get_args_parser as parser
    else:
        from accelerate.commands.launch import launch_command_parser as parser

        assert words.pop(0) == "launch"
    given = parser().parse_args(words)
    assert given.module
    assert given.training_script == "diffgeo"
    check_diffgeo(one, list(given.training_script_args), tools)


class _ParsedError(BaseException):
    """The script has read its arguments, and would begin."""


def check_python(one, words, tools):
    script, *arguments = words
    if script == "-m":
        assert arguments[0] == "diffgeo"
        check_diffgeo(one, arguments[1:], tools)
        return
    parse = argparse.ArgumentParser.parse_args

    def stop(parser, args=None, namespace=None):
        raise _ParsedError(parse(parser, args, namespace))

    with (
        mock.patch.object(sys, "argv", [script, *arguments]),
        mock.patch.object(sys, "path", [str((ROOT / script).parent), *sys.path]),
        mock.patch.object(argparse.ArgumentParser, "parse_args", stop),
        pytest.raises(_ParsedError),
    ):
        runpy.run_path(str(ROOT / script), run_name="__main__")


def check_foreign(one, words, tools):
    if one.command.startswith("pre-commit"):
        hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
        assert {hook["entry"].split()[0] for hook in hooks} == {".venv/bin/ruff", ".venv/bin/mypy"}


CHECKS = {
    "diffgeo": check_diffgeo,
    "diffgeo-paper": check_paper,
    "diffgeo-store": check_store,
    "diffgeo-report": check_report,
    "diffgeo-explore": check_explore,
    "make": check_make,
    "torchrun": check_launcher,
    "accelerate": check_launcher,
    "python": check_python,
    **dict.fromkeys(FOREIGN, check_foreign),
}
"""First word → how it is checked; see :func:`check_other_script` for further console commands of the package."""


def words_of(one):
    """(name, further words) as a shell hands them over."""
    typed_in = re.sub(r'^eval "\$\((.*)\)"$', r"\1", one.command).split(" | ")[0]
    words = shlex.split(typed_in, comments=True)
    while re.match(r"[A-Z_]+=", words[0]):
        words.pop(0)
    return words[0], words[1:]


@pytest.mark.slow
@pytest.mark.parametrize("one", ONCE, ids=str)
def test_the_command_can_be_typed(one, tools):
    name, rest = words_of(one)
    assert name in CHECKS or name in SCRIPTS, f"{name}: nobody knows how to check it"
    with mock.patch.object(Rule, "missing", return_value=[]):  # files of the reader's, which are not there
        CHECKS.get(name, check_other_script)(one, rest, tools)


@pytest.mark.slow
@pytest.mark.parametrize("one", [one for one in ONCE if one.command in RUN_SLOWLY], ids=str)
def test_the_command_runs(one, tools):
    run_small(one, words_of(one)[1], tools)


@pytest.mark.parametrize("one", ALL, ids=str)
def test_what_needs_a_download_or_a_gpu_says_so(one):
    if re.search(r"model=(ddpm_|sd\d)", one.command):
        assert "download" in one.beside, "say '# needs a download' beside it"
    if re.search(r"\bcuda\b", one.command):
        assert re.search(r"\bGPU\b", one.beside), "say '# needs a GPU' beside it"


def test_every_command_that_is_run_is_documented():
    assert {one.command for one in ALL} >= RUN | RUN_SLOWLY
