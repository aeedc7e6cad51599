"""The public API says of everything what goes in, what comes out, and in which shape; and README's links resolve."""

import dataclasses
import inspect
import re
from pathlib import Path

import pytest

import diffgeo

ROOT = Path(__file__).parents[2]


def functions():
    """(name, function) of everything public: functions and methods; what overrides a method is described there."""
    for name in diffgeo.__all__:
        thing = getattr(diffgeo, name)
        if inspect.isfunction(thing):
            yield name, thing
            continue
        for attribute in vars(thing):
            home = next(one for one in reversed(thing.__mro__) if attribute in vars(one))
            member = getattr(vars(home)[attribute], "__func__", vars(home)[attribute])
            if inspect.isfunction(member) and not attribute.startswith("_"):
                yield f"{home.__name__}.{attribute}", member


FUNCTIONS = dict(functions())
CLASSES = {name: getattr(diffgeo, name) for name in diffgeo.__all__ if inspect.isclass(getattr(diffgeo, name))}


def section(doc, title):
    """The text of a section of a docstring, and its entries by name."""
    found = re.search(rf"^{title}:\n((?:[ ]{{4}}.*\n?|\n)+)", doc, re.MULTILINE)
    text = found[1] if found else ""
    return text, dict(re.findall(r"^ {4}(\*{0,2}\w+)(?: \([^)]*\))?: (.*(?:\n {8,}.*)*)", text, re.MULTILINE))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_argument_and_every_result_is_described(name):
    function, doc = FUNCTIONS[name], inspect.getdoc(FUNCTIONS[name]) or ""
    signature = inspect.signature(function)
    wanted = [p.name for p in signature.parameters.values() if p.name not in ("self", "cls")]
    assert [key.lstrip("*") for key in section(doc, "Args")[1]] == wanted
    if signature.return_annotation not in (None, "None"):
        assert section(doc, "Returns")[0].strip()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_tensor_has_a_shape_and_every_error_a_condition(name):
    function, doc = FUNCTIONS[name], inspect.getdoc(FUNCTIONS[name]) or ""
    _, entries = section(doc, "Args")
    for key, text in entries.items():
        annotation = str(inspect.signature(function).parameters[key.lstrip("*")].annotation)
        if annotation.startswith("Tensor"):
            assert re.search(r"shape|\([^)]*[a-zA-Z,][^)]*\)", text), f"{key} has no shape: {text}"
    raised = set(re.findall(r"raise (\w+Error)\(", inspect.getsource(function)))
    assert raised <= set(section(doc, "Raises")[1]), "an error is raised that the docstring does not name"


@pytest.mark.parametrize("name", CLASSES)
def test_every_attribute_is_described(name):
    thing, doc = CLASSES[name], inspect.getdoc(CLASSES[name])
    if dataclasses.is_dataclass(thing):
        assert list(section(doc, "Attributes")[1]) == [field.name for field in dataclasses.fields(thing)]
    else:
        wanted = [p for p in inspect.signature(thing.__init__).parameters if p != "self"]
        said = [*section(doc, "Args")[1], *section(doc, "Attributes")[1]]
        assert set(wanted) <= set(said)
    for attribute, member in vars(thing).items():
        if isinstance(member, property) and not attribute.startswith("_"):
            assert inspect.getdoc(member), f"{name}.{attribute}"


def test_the_manual_has_all_of_it():
    page = (ROOT / "docs" / "api.md").read_text()
    entries = {line.rsplit(".", 1)[1] for line in page.splitlines() if line.startswith("::: ")}
    assert entries >= set(diffgeo.__all__)


def anchors(page):
    """Anchors of a Markdown file's headings, as the web's renderers make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_to_files_of_the_repository_resolve(name):
    text = (ROOT / name).read_text()
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        file = ROOT / path if path else ROOT / name
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_readme_shows_the_example_that_the_tests_run():
    example = (ROOT / "docs" / "examples" / "first_steps.py").read_text().partition('"""\n\n')[2]
    assert f"```python\n{example}```" in (ROOT / "README.md").read_text()
