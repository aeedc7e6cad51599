"""What MkDocs cannot do by itself: equations as MathML, pages made from the code, links to files of the repository.

Pages are made at build time from what they describe, so that they cannot fall behind: every setting from the schemas
and ``conf/``, claims and scheduler fields from the code, model cards from the folders of the weights.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from diffgeo.config import GIVEN, own_settings, schemas
from diffgeo.config import documentation as schemas_say
from diffgeo.studies import all_claims, studies
from training.diffusion import DiffusionTraining
from training.predictor import PredictorTraining
from training.text_to_image import TextToImageTraining

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"
ASSETS = ROOT / "src" / "diffgeo" / "assets"

# Pages and equations ------------------------------------------------------------------------------------------------


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the models' cards into the navigation."""
    config.nav = [_with_cards(entry) for entry in config.nav or []]
    return config


def _with_cards(entry: Any) -> Any:
    (title, value), *_ = entry.items()
    if isinstance(value, list):
        return {title: [_with_cards(part) for part in value]}
    if value != "cards.md":
        return entry
    return {title: [value, *({folder.name: f"cards/{folder.name}.md"} for folder in _cards())]}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from other files, and the model cards with their pictures."""
    for name, make in MADE.items():
        files.append(File.generated(config, name, content=make()))
    if NOTEBOOK.is_file():
        text, pictures = _notebook()
        files.append(File.generated(config, "tutorial.md", content=text))
        for name, picture in pictures.items():
            files.append(File.generated(config, name, content=picture))
    for folder in _cards():
        card = (folder / "README.md").read_text(encoding="utf-8")
        files.append(File.generated(config, f"cards/{folder.name}.md", content=_relinked(card, folder)))
        for path in folder.glob("*.png"):
            files.append(File.generated(config, f"cards/{folder.name}/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """What stands for a made part replaced by it; links that leave ``docs/`` as what they name."""
    for marker, make in MARKERS.items():
        if marker in markdown:
            markdown = markdown.replace(marker, make())
    return re.sub(r"\[([^\]]+)\]\((?:\.\./)+(?!#)([^)#\s]+)(#[^)]*)?\)", _outside, markdown)


def _outside(link: re.Match[str]) -> str:
    text, target = link[1], link[2]
    if not (ROOT / target).exists():
        return link[0]  # MkDocs says that it is broken
    inside = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "README.md": "index.md"}
    return f"[{text}]({inside[target]})" if target in inside else f"`{target}`"


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """TeX to MathML, which browsers draw without a line of JavaScript."""
    content = re.sub(r":(?:func|class|meth|mod|data|attr):(?=<code>)", "", content)  # Sphinx's roles in docstrings
    content = re.sub(r'<span class="arithmatex">\\\((.*?)\\\)</span>', lambda m: _math(m[1], "inline"), content)
    return re.sub(
        r'<div class="arithmatex">\\\[(.*?)\\\]</div>',
        lambda m: f'<div class="equation">{_math(m[1], "block")}</div>',
        content,
        flags=re.DOTALL,
    )


def _math(tex: str, display: str) -> str:
    made = convert(html.unescape(tex).strip(), display=display)
    if "\\" in made:
        raise PluginError(f"TeX that is not understood, in: {tex}")
    # bars that stretch grow taller than what they enclose
    return re.sub(r"<mo>(&#x02016;|&#x0007C;|\|)</mo>", r'<mo stretchy="false">\1</mo>', made)


# Pages made from other files ----------------------------------------------------------------------------------------


def _cards() -> list[Path]:
    return sorted(path.parent for path in ASSETS.glob("*/README.md"))


def _relinked(card: str, folder: Path) -> str:
    """A card whose pictures lie in a folder of its name, and whose links to other cards lead to their pages."""
    for picture in folder.glob("*.png"):
        card = card.replace(f"]({picture.name})", f"]({folder.name}/{picture.name})")
    card = re.sub(r"\]\(\.\./(\w+)/README\.md\)", r"](\1.md)", card)
    return re.sub(r"\[([^\]]+)\]\((?!\w+/|\w+\.md|https?:|#)([^)]+)\)", r"`\2`", card)


def _card_list() -> str:
    lines = ["# Model cards", "", "What ships, how it was made, and what was measured on it.", ""]
    for folder in _cards():
        text = (folder / "README.md").read_text(encoding="utf-8")
        title = next((x.removeprefix("# ") for x in text.splitlines() if x.startswith("# ")), folder.name)
        lines.append(f"- [{title}](cards/{folder.name}.md)")
    return "\n".join(lines) + "\n"


def _notebook() -> tuple[str, dict[str, bytes]]:
    """The executed tutorial as a page, and its pictures by file name.

    mkdocs-jupyter would bring nbconvert, and its styles and scripts on the page, for what these lines do.
    """
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            kind = next((kind for kind in ("png", "jpeg") if f"image/{kind}" in data), None)
            if kind:
                name = f"images/tutorial_{len(pictures) + 1}.{kind}"
                pictures[name] = base64.b64decode("".join(data[f"image/{kind}"]))
                parts.append(f"![What the cell shows]({name})")
            elif text := "".join(output.get("text", data.get("text/plain", ""))).strip():
                parts.append(f"```text\n{text}\n```")
    return "\n\n".join(parts) + "\n", pictures


def _contributing() -> str:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return text.replace("](docs/", "](")


def _changelog() -> str:
    return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").replace("](docs/", "](")


# Every setting ------------------------------------------------------------------------------------------------------


def _settings() -> str:
    """Every group, its choices, and every key with type, default and meaning."""
    run = _yaml("config.yaml")
    lines = [
        "## The run",
        "",
        *_table(
            schemas.Config, "", only={"prompt", "seed", "device", "max_memory", "processes", "objective", "retries"}
        ),
    ]
    chosen = {group: choice for entry in run["defaults"] if isinstance(entry, dict) for group, choice in entry.items()}
    for group, schema in GROUPS.items():
        lines += ["", f"## {group}", "", *_choices(group)]
        given = _yaml(f"{group}/{chosen[group]}.yaml") if group in chosen else {}
        lines += [_sentence(schema), "", *_table(schema, f"{group}.", given=given)]
        if group == "model":
            base = {field.name for field in fields(schema)}
            for title, variant in VARIANTS.items():
                lines += ["", f"### {title}", "", _sentence(variant), ""]
                lines += _table(variant, "model.", only={field.name for field in fields(variant)} - base)
            own = own_settings("model", schema._target_, schema)
            lines += ["", "### Of models that `load_model` loads", "", *_table(own, "model.")]
        for name, own in _own(group, schema):
            given = _yaml(f"{group}/{name}.yaml")
            lines += ["", f"### {group}={name}", "", _sentence(own), "", *_table(own, f"{group}.", given=given)]
    lines += ["", "## study", "", "`study=[…]` lists the studies of a run, in order; each has settings of its own.", ""]
    lines += _choices("study")
    for name, study in studies().items():
        lines += ["", f"### study.{name}", "", _escaped(study.question), ""]
        if fields(study.settings):
            lines += _table(study.settings, f"study.{name}.", given=_yaml(f"study/{name}.yaml"))
    lines += ["", "## experiment", "", "A table or figure of a paper as one choice: see [the papers](papers.md).", ""]
    lines += _choices("experiment")
    lines += [
        "",
        "## training",
        "",
        "Of `tools/train.py`, which made the shipped models.",
        "",
    ]
    lines += _choices("training", ROOT / "tools" / "conf")
    for schema in (DiffusionTraining, TextToImageTraining, PredictorTraining):
        lines += ["", f"### {schema.__name__}", "", *_table(schema, "training.")]
    return "\n".join(lines) + "\n"


GROUPS: dict[str, type] = {
    "model": schemas.ModelConfig,
    "data": schemas.DataConfig,
    "schedule": schemas.ScheduleConfig,
    "feature": schemas.FeatureConfig,
    "svd": schemas.SvdConfig,
    "edit": schemas.EditConfig,
    "predictor": schemas.PredictorConfig,
    "metric": schemas.MetricConfig,
    "scale": schemas.ScaleConfig,
    "tracking": schemas.TrackingConfig,
    "store": schemas.StoreConfig,
}
"""Group → the settings of all its choices."""
VARIANTS: dict[str, type] = {
    "model=factor_faces_t2i, sd15, …": schemas.TextToImageConfig,
    "model=dit_xl_256, local_class": schemas.ClassConditionalConfig,
}
"""Choices of a model → their settings."""


def _own(group: str, schema: type) -> Iterator[tuple[str, type]]:
    """Choices of a group that name code with settings of its own, and these settings."""
    for file in sorted((ROOT / "conf" / group).glob("*.yaml")) if group in GIVEN and group != "model" else ():
        own = own_settings(group, _yaml(f"{group}/{file.stem}.yaml")["_target_"], schema)
        if fields(own):
            yield file.stem, own


def _sentence(schema: type) -> str:
    return _escaped(schemas_say.headline(schema).replace("``", "`"))


def _choices(group: str, conf: Path = ROOT / "conf") -> Iterator[str]:
    """A table of a group's choices, each with the comment that heads its file."""
    files = sorted((conf / group).rglob("*.yaml"))
    if not files:
        return
    config = (ROOT / "conf" / "config.yaml").read_text(encoding="utf-8")
    yield "| choice | |"
    yield "|---|---|"
    for file in files:
        name = file.relative_to(conf / group).with_suffix("").as_posix()
        comments = [
            x.lstrip("# ")
            for x in file.read_text(encoding="utf-8").splitlines()
            if x.startswith("#") and "@package" not in x
        ]
        chosen = re.search(rf"^  - {group}: (\[.*\b)?{file.stem}\b", config, re.MULTILINE)
        word = f"{group}=[{name}]" if group == "study" else f"{group}={name}"
        yield f"| `{word}`{' (default)' if chosen else ''} | {_escaped(comments[0] if comments else '')} |"
    yield ""


def _yaml(name: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((ROOT / "conf" / name).read_text(encoding="utf-8"))
    return read


def _table(
    schema: type,
    prefix: str,
    *,
    only: set[str] | None = None,
    given: dict[str, Any] | None = None,
) -> Iterator[str]:
    """Every field of a schema: key, type, default (as ``given``, else the schema's), meaning."""
    said = schemas_say.documented(schema)
    yield "| key | |"
    yield "|---|---|"
    for field in fields(schema):
        name = field.name
        if only is None or name in only:
            value = (given or {}).get(name, schemas_say.default_of(schema, name))
            meaning = _escaped(said.get(name, "").replace("``", "`"))
            about = f"<small>{schemas_say.kind_of(schema, name)}; {_value(value)}</small>"
            if meaning[1:2].islower():  # a word, not a symbol
                meaning = meaning[0].upper() + meaning[1:]
            yield f"| `{prefix}{name}`<br>{about} | {meaning} |"


def _studies() -> str:
    """Every study: its question, the columns that tell rows of its main table apart, and how it is chosen."""
    chosen = next(entry["study"] for entry in _yaml("config.yaml")["defaults"] if "study" in entry)
    lines = ["| study | what it asks | its table has a row per | runs |", "|---|---|---|---|"]
    for name, study in studies().items():
        rows = ", ".join(f"`{column}`" for column in study.rows)
        runs = "by default" if name in chosen else f"by `study=[{name}]`"
        lines.append(f"| [`{name}`](#{name}) | {_escaped(study.question)} | {rows} | {runs} |")
    return "\n".join(lines)


def _scales() -> str:
    """The sizes of a run, a row each."""
    rows = []
    for name in ("smoke", "default", "small", "paper"):
        size = yaml.safe_load((ROOT / "conf" / "scale" / f"{name}.yaml").read_text(encoding="utf-8"))
        cells = [str(size[key]) for key in ("samples", "steps", "rank", "pairs", "segments")]
        rows.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(rows)


def _claims() -> str:
    """Every claim: what it asserts, what measures it and why, what would refute it, and what is shown beside it."""
    lines: list[str] = []
    for experiment, group in groupby(all_claims(), key=lambda claim: claim.experiment):
        claims = list(group)
        lines += ["", f"### {claims[0].source} · `{experiment}`", ""]
        for claim in claims:
            if claim.role == "claim":
                parts = [
                    f"- **{claim.asserts}** Measured: {claim.quantity} (one value per {claim.unit}).",
                    claim.because,
                    f"Refuted by: {claim.refuted[:1].lower()}{claim.refuted[1:]}",
                ]
                lines.append(" ".join(parts))
        for role, words in (("value", "Published"), ("control", "Control"), ("second", "Second measure")):
            lines += [
                f"- {words}: {claim.quantity}{f', {claim.published}' if role == 'value' else ''}."
                for claim in claims
                if claim.role == role
            ]
    return "\n".join(lines)


def _value(value: object) -> str:
    if value == "???":
        return "no default"
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000).strip().removesuffix("...")
    text = text.strip()
    return f"`{text}`" if len(text) < 90 else f"{len(value)} entries" if isinstance(value, list) else f"`{text[:80]}…`"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _pipelines() -> str:
    """Pipelines that are understood, a row for those of equal parts, with the classes of every part."""
    from diffgeo.diffusion.models.family import families

    lines = ["| pipeline | parts that are read |", "|---|---|"]
    for family in {id(one): one for one in families().values()}.values():
        parts = [f"{part}: {_either(kinds)}" for part, kinds in family.parts.items()]
        parts += [f"{part}: {_either(kinds)}, or none" for part, kinds in family.optional.items()]
        names = ", ".join(f"`{name}`" for name in family.pipelines)
        lines.append(f"| {names} | {'<br>'.join([*parts, 'scheduler: see below'])} |")
    return "\n".join(lines)


def _either(kinds: Sequence[str]) -> str:
    return " or ".join(f"`{kind}`" for kind in kinds)


def _scheduler_fields() -> str:
    """Every field of every scheduler that is understood, with what is done with it and why."""
    from diffgeo.diffusion.scheduler_fields import FIELDS, FLOW_SCHEDULERS, OLD_FIELDS, SCHEDULERS

    kinds = {frozenset(SCHEDULERS): "all", frozenset(SCHEDULERS) - frozenset(FLOW_SCHEDULERS): "all but flows"}
    lines = ["| field | of | treatment | what it does |", "|---|---|---|---|"]
    for field, rule in sorted(FIELDS.items(), key=lambda entry: (TREATMENTS.index(entry[1].treatment), entry[0])):
        classes = [name.removesuffix("Scheduler") for name, fields_of in SCHEDULERS.items() if field in fields_of]
        named = kinds.get(frozenset(f"{name}Scheduler" for name in classes), ", ".join(classes))
        lines.append(f"| `{field}` | {named} | {rule.treatment} | {_what_it_does(rule)} |")
    for field, rule in OLD_FIELDS.items():
        cells = ("files of earlier versions", rule.treatment, _what_it_does(rule))
        lines.append(f"| `{field}` | {' | '.join(cells)} |")
    return "\n".join(lines)


TREATMENTS = ("honoured", "chosen", "irrelevant", "refused")


def _what_it_does(rule: Any) -> str:
    neutral = " or ".join(f"`{json.dumps(value)}`" for value in rule.neutral)
    parts = (_escaped(rule.reason), _escaped(rule.note), f"refused unless {neutral}" if neutral else "")
    return "; ".join(part for part in parts if part)


def _refused_schedulers() -> str:
    """Schedulers that are refused by name."""
    from diffgeo.diffusion.scheduler_fields import REFUSED_SCHEDULERS

    return "\n".join(f"- `{name}`: {_escaped(reason)}." for name, reason in REFUSED_SCHEDULERS.items())


def _network_inputs() -> str:
    """Fields of a U-Net's config that are refused unless null."""
    from diffgeo.diffusion.models.inputs import REFUSED_INPUTS

    rows = (f"| `{field}` | {_escaped(takes)} |" for field, takes in REFUSED_INPUTS.items())
    return "\n".join(["| field of the U-Net | it |", "|---|---|", *rows])


MARKERS: dict[str, Callable[[], str]] = {
    "<!-- pipelines -->": _pipelines,
    "<!-- scheduler fields -->": _scheduler_fields,
    "<!-- refused schedulers -->": _refused_schedulers,
    "<!-- network inputs -->": _network_inputs,
    "<!-- every setting -->": _settings,
    "<!-- studies -->": _studies,
    "<!-- scales -->": _scales,
    "<!-- claims -->": _claims,
}
"""Comments in pages that stand for what is made."""
MADE: dict[str, Callable[[], str]] = {
    "cards.md": _card_list,
    "contributing.md": _contributing,
    "changelog.md": _changelog,
}
"""Pages that are made: name → what makes it."""
