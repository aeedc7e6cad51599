"""Errors have two fields, what is wrong and what to do, wherever they are made and however they travel."""

import ast
import copy
import inspect
import pickle
from pathlib import Path

import pytest

from diffgeo import errors
from diffgeo.errors import DiffgeoError, ModelError, error_facts, sentence

ROOT = Path(__file__).parents[2]
KINDS = {
    name: kind
    for name, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, DiffgeoError) and kind.__module__ == errors.__name__
}
SOURCES = sorted(path for folder in ("src", "tools", "benchmarks", "docs") for path in (ROOT / folder).rglob("*.py"))


def name_of(node):
    """The last name of ``a.b.c``, or of ``c``."""
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", None)


def faults(source):
    """Lines that make an error without both fields, or with both in one."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Raise) and name_of(node.exc) in KINDS:
            found.append((node.lineno, "raised without its fields"))
        if isinstance(node, ast.Call) and name_of(node.func) in KINDS:
            if len(node.args) + len(node.keywords) != 2 or any(isinstance(a, ast.Starred) for a in node.args):
                found.append((node.lineno, "not two fields"))
            texts = [n.value for a in node.args for n in ast.walk(a) if isinstance(n, ast.Constant)]
            if any(text == "" for text in texts[-1:]):
                found.append((node.lineno, "empty advice"))
            if any(isinstance(text, str) and ("; " in text or "\n" in text) for text in texts):
                found.append((node.lineno, "two fields in one text"))
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_error_is_made_of_what_is_wrong_and_what_to_do(path):
    assert faults(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "raise ModelError",
        "raise ModelError('no such model')",
        "raise errors.ModelError('no such model; say another')",
        "return ModelError(f'{a}; say {b}', 'c')",
        "return ConfigError(f'{a}\\nsay {b}', 'c')",
        "raise ConfigError(*texts)",
        "raise ConfigError('a', '')",
    ],
)
def test_the_check_above_finds_the_faults(source):
    assert faults(source) != []


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("travel", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
def test_both_fields_survive_pickling_and_copying(kind, travel):
    error = travel(kind("folder a; b is empty", "say model=c; or d"))
    assert type(error) is kind
    assert (error.what, error.advice) == ("folder a; b is empty", "say model=c; or d")
    assert str(error) == "folder a; b is empty; say model=c; or d"


def test_an_error_without_advice_cannot_be_made():
    with pytest.raises(TypeError, match="advice"):
        ModelError("no such model")


def test_the_manifest_holds_both_fields_apart():
    assert error_facts(ModelError("a; b", "c")) == {"error": "a; b", "advice": "c"}
    assert error_facts(RuntimeError("a; b")) == {"error": "a; b", "advice": None}
    assert error_facts(ZeroDivisionError()) == {"error": "ZeroDivisionError", "advice": None}


@pytest.mark.parametrize(
    ("text", "expected"), [("say a=b", "Say a=b."), ("did you mean a?", "Did you mean a?"), ("Done.", "Done.")]
)
def test_a_text_becomes_a_sentence(text, expected):
    assert sentence(text) == expected
