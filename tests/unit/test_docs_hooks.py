"""What the documentation makes of the code: every setting, tables, equations; and its picture of the package."""

import importlib.util
import re
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

pytest.importorskip("mkdocs")
pytest.importorskip("latex2mathml")

from mkdocs.exceptions import PluginError

import diffgeo
from diffgeo.composition import composed
from diffgeo.config import MODEL_SCHEMAS, Config, config_folder, own_settings, raw
from diffgeo.config.schemas import ModelConfig
from diffgeo.diffusion.models.family import families
from diffgeo.diffusion.models.inputs import REFUSED_INPUTS
from diffgeo.diffusion.scheduler_fields import FIELDS, OLD_FIELDS, REFUSED_SCHEDULERS
from diffgeo.studies import studies
from training.diffusion import DiffusionTraining
from training.predictor import PredictorTraining
from training.text_to_image import TextToImageTraining

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "tools" / "docs_hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def keys():
    for field in fields(Config):
        default = field.default_factory() if callable(field.default_factory) else field.default
        if is_dataclass(default):
            yield from (f"{field.name}.{inner.name}" for inner in fields(default))
        elif field.name != "study":
            yield field.name
    yield from (f"model.{field.name}" for schema in MODEL_SCHEMAS.values() for field in fields(schema))
    yield from (f"model.{field.name}" for field in fields(own_settings("model", ModelConfig._target_, ModelConfig)))
    for group in ("svd", "edit", "predictor", "metric"):
        for path in (config_folder() / group).glob("*.yaml"):
            own = own_settings(group, raw(path)["_target_"], vars(Config())[group].__class__)
            yield from (f"{group}.{field.name}" for field in fields(own))
    for name, study in studies().items():
        yield from (f"study.{name}.{field.name}" for field in fields(study.settings))
    for schema in (DiffusionTraining, PredictorTraining, TextToImageTraining):
        yield from (f"training.{field.name}" for field in fields(schema))


def test_every_setting_stands_on_the_page_with_type_default_and_meaning(hooks):
    rows = re.findall(r"^\| `([^`]+)`<br><small>([^;]+); (.*?)</small> \| (.*) \|$", hooks._settings(), re.MULTILINE)
    assert {key for key, *_ in rows} == set(keys())
    assert all(kind and default and len(meaning) > 3 for _, kind, default, meaning in rows)
    said = {key: default for key, _, default, _ in rows}
    assert said["svd.rank"] == "`${scale.rank}`", "what conf/ says, not the schema"
    assert said["model.path"] == "`factor_faces`"


def test_every_choice_stands_on_the_page(hooks):
    page = hooks._settings()
    for file in (ROOT / "conf").rglob("*.yaml"):
        group, *rest = file.relative_to(ROOT / "conf").with_suffix("").parts
        if rest and group in [*hooks.GROUPS, "study", "experiment"]:
            name = "/".join(rest)
            assert f"`{group}={name}`" in page or f"`{group}=[{name}]`" in page, file


def test_every_study_stands_in_the_table_of_studies_and_has_a_section(hooks):
    page = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
    assert "<!-- studies -->" in page, "the table is made from the studies"
    table = hooks._studies().splitlines()[2:]
    chosen = set(composed([]).study)
    assert len(table) == len(studies())
    for row, study in zip(table, studies().values(), strict=True):
        name, question, rows, runs = (cell.strip() for cell in row.strip("|").split(" | "))
        assert name == f"[`{study.name}`](#{study.name})"
        assert f"\n## {study.name}\n\n*{study.question}*" in page
        assert question == study.question
        assert re.findall(r"`(\w+)`", rows) == list(study.rows)
        assert runs == ("by default" if study.name in chosen else f"by `study=[{study.name}]`")


def test_every_part_of_the_package_stands_in_the_picture_of_its_floors():
    package = Path(diffgeo.__file__).parent
    parts = {path.stem for path in package.glob("*.py")} - {"__init__"}
    parts |= {path.parent.name for path in package.glob("*/__init__.py")}
    picture = (ROOT / "docs" / "architecture.md").read_text().split("```")[1]
    assert {part for part in parts if not re.search(rf"\b{part}\b", picture)} == set()


def test_equations_become_mathml_or_an_error(hooks):
    page = r'<p><span class="arithmatex">\(\lVert v \rVert\)</span></p><div class="arithmatex">\[ a &lt; b \]</div>'
    made = hooks.on_page_content(page, None, None, None)
    assert made.count("<math") == 2
    assert "arithmatex" not in made
    with pytest.raises(PluginError, match="arg"):
        hooks.on_page_content(r'<span class="arithmatex">\(\arg x\)</span>', None, None, None)


def test_the_navigation_has_every_card(hooks):
    (entry,) = hooks._with_cards({"Models": [{"Cards": "cards.md"}]})["Models"]
    assert entry["Cards"][0] == "cards.md"
    assert {"factor_faces": "cards/factor_faces.md"} in entry["Cards"]
    assert hooks._with_cards({"None": "no_such_page.md"}) == {"None": "no_such_page.md"}, "the strict build names it"


def test_what_is_understood_of_diffusers_is_printed_from_the_tables_that_the_code_checks(hooks):
    page = (ROOT / "docs" / "compatibility.md").read_text()
    for marker in ("pipelines", "scheduler fields", "refused schedulers", "network inputs"):
        assert f"<!-- {marker} -->" in page
    for pipeline, family in families().items():
        parts = dict(family.parts) | dict(family.optional)
        (row,) = [row for row in hooks._pipelines().splitlines() if f"`{pipeline}`" in row]
        assert [part for part in parts if f"{part}: " not in row] == []
        assert [kind for kinds in parts.values() for kind in kinds if f"`{kind}`" not in row] == []
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (\w+) \| (.+) \|$", hooks._scheduler_fields(), re.MULTILINE)
    assert {field for field, *_ in rows} == {*FIELDS, *OLD_FIELDS}
    assert all(treatment == (FIELDS | OLD_FIELDS)[field].treatment for field, _, treatment, _ in rows)
    said = {field: (classes, meaning) for field, classes, _, meaning in rows}
    assert said["beta_start"][0] == "all but flows"
    assert said["variance_type"][0] == "DDPM, DDPMParallel, DPMSolverMultistep, DPMSolverSinglestep"
    assert said["timestep_type"][1].endswith('refused unless `"discrete"`')
    assert all(f"`{name}`" in hooks._refused_schedulers() for name in REFUSED_SCHEDULERS)
    assert all(f"`{field}`" in hooks._network_inputs() for field in REFUSED_INPUTS)
