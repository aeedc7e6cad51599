"""``report.html``: everything that a run found, in one file that needs no network.

The page is made from the run folder alone, without the model, so that the page of any run can be made again
(``diffgeo-report page FOLDER``). Data flows one way:

    reading ─▶ findings ─▶ tables, traversals, the studies' charts ─▶ sections ─▶ the template in assets/
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from diffgeo.config import flat
from diffgeo.convergence import summary
from diffgeo.errors import sentence
from diffgeo.metrics.statistics import INTERVAL_FROM
from diffgeo.report.charts import javascript, page_theme
from diffgeo.report.findings import Finding
from diffgeo.report.formatting import counted, in_words, moment, number, timestep
from diffgeo.report.page.sections import Section, all_findings, asked_for, in_tabs, sections
from diffgeo.report.page.templates import asset, environment, installed_version
from diffgeo.report.pictures import Picture
from diffgeo.report.reading import Run, read_run
from diffgeo.report.tables import Column, Table, as_table
from diffgeo.report.verdicts import count_of_verdicts, table_of_claims, values_of_claims
from diffgeo.results import atomic
from diffgeo.run_folders import PAGE
from diffgeo.saturation import ADVICE, saturation
from diffgeo.studies import all_claims

__all__ = ["PAGE", "render", "write_page"]

log = logging.getLogger(__name__)


def write_page(folder: Path) -> Path:
    """Write the page of a run into its folder.

    Args:
        folder: of a run that ended in any way: ``run.json``, and what there is of ``tables/``, ``tensors/`` and
            ``.hydra/``.

    Returns:
        The page, ``folder/report.html``.

    Raises:
        DataError: the folder holds no run.
        OutputError: the page cannot be written.
    """
    text = render(read_run(folder, all_claims()))
    path = folder / PAGE
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def render(run: Run) -> str:
    """The page of a run as HTML."""
    found = all_findings(run)
    shown = sections(run, found)
    page = _page(run, found, shown)
    drawn = page["claims_chart"] or any(section.charts for section in shown)
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            page=page,
            css=asset("page.css"),
            js=asset("page.js"),
            charts={"theme": page_theme(), "library": Markup(javascript())} if drawn else None,
        )
    )


def _page(run: Run, found: list[Finding], shown: list[Section]) -> dict[str, Any]:
    """What the template prints outside the sections."""
    values, (hero_study, hero) = values_of_claims(run.verdicts), _hero(run)
    return {
        "title": _title(run),
        "what": _what(run),
        "when": _when(run),
        "banner": _banner(run),
        "unconverged": summary(run.convergence, {section.id: section.title for section in shown}),
        "saturated": _saturated(run, shown),
        "saturated_advice": ADVICE,
        "marks": {study: str(one) for study, one in run.convergence.items() if not one.complete},
        "hero": hero,
        "hero_study": hero_study,
        "findings": found,
        "titles": {section.id: section.title for section in shown},
        "footnote": "Brackets hold Student's 95 % intervals of the mean over samples; fewer than "
        f"{INTERVAL_FROM} values are too few for one. p is of the two-sided sign-flip test unless said otherwise.",
        "sections": shown,
        "claims": table_of_claims(run.verdicts, run.claims),
        "claims_chart": None if values is None else in_tabs([values])[0],
        "claims_count": count_of_verdicts(run.verdicts),
        "command": run.command,
        "settings": _settings(run),
        "version": installed_version(),
        "folder": run.folder.name,
    }


def _title(run: Run) -> str:
    model = run.model.get("name") or (run.settings.get("model") or {}).get("path") or "a model"
    headlines = (study.part("page", "HEADLINE") for study in asked_for(run))
    return f"{next(filter(None, headlines), 'The geometry of the latent space of')} {model}"


def _what(run: Run) -> str:
    """What was run, in a sentence or two."""
    settings, model = run.settings, run.model
    samples, schedule, svd = (settings.get(key) or {} for key in ("data", "schedule", "svd"))
    feature = settings.get("feature") or {}
    sentences = []
    if model.get("prompt"):
        sentences.append(f"Prompt “{model['prompt']}”.")
    names = run.facts.get("samples")
    count = len(names) if names else samples.get("samples", 0)
    kind = "own picture" if samples.get("images") else "sample"
    pool = f"pooled h ({feature['pool']})" if feature.get("pool") else "whole h"
    block = str(feature.get("block", "?")) + ("" if (tap := feature.get("tap", "output")) == "output" else f" ({tap})")
    sentences.append(
        f"{counted(count, kind)}, edited at {_times(run)}; the leading {counted(svd.get('rank', 0), 'direction')} of "
        f"∂h/∂x at block {block}, {pool}. {counted(schedule.get('steps', 0), 'sampling step')}, "
        f"seed {run.facts.get('seed', '?')}."
    )
    return " ".join(sentences)


def _when(run: Run) -> str:
    """When it was run, for how long and where; as far as known."""
    started, duration, host = (run.facts.get(key) for key in ("started", "duration", "host"))
    parts = [moment(started) if started else "", f"{in_words(duration)} on {host}" if duration and host else ""]
    return ", ".join(filter(None, parts))


def _times(run: Run) -> str:
    """The timesteps of edits: those that were used, beside what was asked for if that is not the same."""
    schedule, used = run.settings.get("schedule") or {}, run.facts.get("times") or {}
    asked = {f"log_snr_{one:g}": f"log-SNR {number(one)}" for one in schedule.get("edit_log_snr") or ()}
    fractions = [] if asked else [float(one) for one in schedule.get("edit") or ()]
    asked |= {f"t_{one:g}": timestep(one) for one in fractions}
    told = []
    for name, what in asked.items():
        found = used.get(name)  # None in runs that failed early
        fraction = None if found is None else timestep(round(found["t_frac"], 3))
        told.append(what if fraction in (None, what) else f"{fraction} ({what} asked for)")
    return ("t = " if fractions or used else "") + ", ".join(told)


def _banner(run: Run) -> str:
    """What to say of a run that did not end well; nothing of one that did."""
    done = [study.title for study in asked_for(run) if run.table(study.name) is not None]
    missing = [study.title for study in asked_for(run) if run.table(study.name) is None]
    rest = f" Measured: {', '.join(done) or 'nothing'}." + (f" Missing: {', '.join(missing)}." if missing else "")
    if run.status == "failed":
        advice = f" {sentence(run.facts['advice'])}" if run.facts.get("advice") else ""
        return f"This run failed: {run.facts.get('error') or 'the log says why'}.{advice}{rest}"
    if run.status == "interrupted":
        return f"This run was interrupted; the last study may hold only the samples that were finished.{rest}"
    if run.status == "running":
        return f"This run was still going on, or was killed, when this page was made.{rest}"
    return f"Some studies left no rows; the log says why.{rest}" if missing else ""


def _saturated(run: Run, shown: list[Section]) -> str:
    """Which studies' edits drive colours to their limits, and by how much; empty if none does."""
    found = {one.title: saturation(run.tables[raw.id] for raw in one.raw) for one in shown}
    return "; ".join(f"{title}: {share} of all colour values" for title, share in found.items() if share)


def _hero(run: Run) -> tuple[str, list[Picture]]:
    """The first study that has pictures for under the title, and those; none if they cannot be drawn."""
    for study in asked_for(run):
        try:
            if found := study.part("page", "hero", lambda _: [])(run):
                return study.name, list(found)
        except Exception:  # one study's tables must not cost the run its page
            log.warning("%s: the first pictures of %s could not be drawn", run.folder, study.name, exc_info=True)
    return "", []


def _settings(run: Run) -> list[Table]:
    """Versions and seeds, then all settings."""
    facts, titles = run.facts, {study.name: study.title for study in asked_for(run)}
    plain = {
        "status": run.status,
        "model": run.model.get("source"),
        "seed": facts.get("seed"),
        "samples": ", ".join(map(str, facts.get("samples") or [])) or None,
        "started": moment(facts["started"]) if facts.get("started") else None,
        "took": None if facts.get("duration") is None else in_words(facts["duration"]),
        **{f"took: {titles.get(k, k)}": in_words(seconds) for k, seconds in (facts.get("seconds") or {}).items()},
        "host": facts.get("host"),
        "device": facts.get("device"),
        "peak memory": None if facts.get("peak_memory") is None else f"{facts['peak_memory'] / 1e9:.2f} GB",
        "threads": facts.get("threads"),
        "processes": facts.get("processes"),
        "git commit": facts.get("commit"),
        **{f"{package}": found for package, found in (facts.get("versions") or {}).items()},
    }
    rows = pd.DataFrame([{"key": k, "value": str(v)} for k, v in plain.items() if v is not None])
    columns = [Column("what", "key"), Column("value", "value")]
    values = [(key, "null" if value is None else str(value)) for key, value in flat(run.settings).items()]
    settings = pd.DataFrame(values, columns=["key", "value"])
    tables = [as_table("table-versions", "Versions and seed", rows, columns)]
    if len(settings):
        given = [Column("setting", "key"), Column("value", "value")]
        tables.append(as_table("table-settings", "All settings", settings, given, folded=True))
    return tables
