"""The page of a run: its numbers against the tables, its pictures against the frames, and what it makes of bad runs."""

import base64
import io
import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from markupsafe import escape
from PIL import Image
from safetensors.torch import save_file

from diffgeo.claims import Claim, decide, judge
from diffgeo.errors import DataError
from diffgeo.metrics.statistics import mean_interval
from diffgeo.report.charts import embed
from diffgeo.report.figures import charts_of
from diffgeo.report.findings import lean
from diffgeo.report.formatting import interval, intervals, number, p_value, timestep
from diffgeo.report.metric_names import MEANINGS
from diffgeo.report.page import render, write_page
from diffgeo.report.page.sections import all_findings, sections
from diffgeo.report.page.templates import _ASSETS as ASSETS
from diffgeo.report.reading import Run
from diffgeo.report.reading import read_run as read_folder
from diffgeo.report.tables import Column, as_table
from diffgeo.report.traversals import Quality, choose_quality, strip
from diffgeo.report.verdicts import count_of_verdicts, labels, table_of_claims, values_of_claims
from diffgeo.studies import all_claims, studies
from diffgeo.studies.dataset_complexity.findings import findings as dataset_findings
from diffgeo.studies.discovery.page import traversals
from diffgeo.studies.disentanglement import scorecard as scorecard_source
from diffgeo.studies.global_consistency.page import global_edits

PREFIXES = ("precision", "dependency", "local_s", "transfer_s", "effect_", "dci_", "mig", "sap", "factor_")
TIMES = ((1.0, 999), (0.25, 249))


def read_run(folder):
    """A run folder as its page reads it."""
    return read_folder(folder, all_claims())


def decoded(uri, count):
    """The frames (count, H, W, 3) of a data URL."""
    head, data = uri.split(",")
    assert head == "data:image/webp;base64"
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
    return np.stack(np.split(picture, count, axis=1))


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, size=shape, dtype=np.uint8)


def discovery_tables(samples=2, directions=2, rank=3, frames=3):
    random = np.random.default_rng(0)
    rows, traversals = [], []
    for sample in range(samples):
        for t_frac, t in TIMES:
            for i in range(rank):
                followed = i < directions
                rows.append(
                    {
                        "sample": sample, "name": f"seed {sample}", "t_frac": t_frac, "t": t, "direction": i,
                        "singular_value": 5.0 - i + 0.1 * sample, "residual_left": 1e-9, "residual_right": 1e-8,
                        "rank": rank, "passes": 9, "converged": True,
                        "label": "smile +, hair_hue −" if followed else None,
                        "change_low_share": 0.5 if followed else np.nan,
                        "path_length": 1.0 if followed else np.nan, "largest_step": 0.6 if followed else np.nan,
                        "delta_smile": 0.5 + 0.1 * sample if followed else np.nan,
                        "delta_hair_hue": -0.25 if followed else np.nan, "model": "m", "seed": 0,
                    }
                )  # fmt: skip
                for j in range(frames if followed else 0):
                    gamma = 2.0 * (j - (frames - 1) / 2)
                    traversals.append(
                        {
                            "frame": len(traversals), "sample": sample, "name": f"seed {sample}", "t_frac": t_frac,
                            "t": t, "direction": i, "gamma": gamma, "smile": random.uniform(-1, 1),
                            "hair_hue": 0.1 * j, "edit_method": "single", "seed": 0,
                        }
                    )  # fmt: skip
    return {"discovery": pd.DataFrame(rows), "discovery_traversals": pd.DataFrame(traversals)}


def spectra(first, last):
    """Table ``spectrum`` of samples whose effective dimension goes from ``first`` at T to ``last`` at 0.25 T."""
    rows = []
    for (t_frac, t), values in zip(TIMES, (first, last), strict=True):
        rows += [
            {
                "sample": i, "name": f"seed {i}", "t_frac": t_frac, "t": t, "rank": 50, "effective_dimension": value,
                "kind": "path", "energy_share": 0.6, "flatness": 0.4,
                "half_energy_rank": 9, "singular_value_first": 6.0, "gap": 0.1,
            }
            for i, value in enumerate(values)
        ]  # fmt: skip
    return pd.DataFrame(rows)


def curve(by_time, samples=6, **more):
    """Table ``spectrum`` from t_frac → effective dimension."""
    rows = [
        {"sample": i, "t_frac": t, "t": int(999 * t), "rank": 50, "effective_dimension": value + 0.1 * i}
        | {"kind": "path"} | more
        for t, value in by_time.items() for i in range(samples)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((38, 30, 26, 36), "grows steeper from T to 0.3 T, and flatter again from there to 0.02 T."),
        ((20, 35, 30, 25), "grows flatter from T to 0.5 T, and steeper again from there to 0.02 T."),
        ((20, 25, 30, 36), None),
    ],
)  # fmt: skip
def test_the_shape_of_the_spectrums_curve_is_told_if_it_turns(tmp_path, values, said):
    times = (1.0, 0.5, 0.3, 0.02)
    paths = curve(dict(zip(times, values, strict=True)), kind="path")
    noised = curve(dict.fromkeys(times, 40), kind="noised")
    facts = {"settings": {"study": {"spectrum": {"rank": 50}}}}
    tables = {"spectrum": pd.concat([paths, noised])}
    first, *turns = studies()["spectrum"].part("findings", "findings")(Run(tmp_path, facts, tables))
    assert [one.headline.replace("\xa0", " ") for one in turns] == ([f"The spectrum {said}"] if said else [])
    assert "(mean over 6 samples)" in first.detail
    if said:
        assert turns[0].detail.count("40.2") == 3
        assert "; of known pictures with noise 40.2" in turns[0].detail


def frequencies(first, last):
    rows = []
    for (t_frac, t), shares in zip(TIMES, (first, last), strict=True):
        for i, share in enumerate(shares):
            for radius, power in enumerate((share, 1 - share)):
                rows.append(
                    {
                        "sample": i, "name": f"seed {i}", "t_frac": t_frac, "t": t, "radius": radius,
                        "nyquist_fraction": 0.5 * radius, "power": power, "low_share": share, "high_share": 1 - share,
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


def write_folder(folder, tables, *, status="completed", frames=None, studies=None, overrides=(), **facts):
    """A run folder with these tables."""
    (folder / "tables").mkdir(parents=True)
    (folder / "tensors").mkdir()
    (folder / ".hydra").mkdir()
    studies = studies or [stem for stem in tables if "_traversals" not in stem]
    settings = {
        "study": {name: {} for name in studies}, "data": {"samples": 2, "images": None}, "seed": 3,
        "schedule": {"edit": [1.0, 0.25], "steps": 16}, "svd": {"rank": 3}, "feature": {"block": "mid", "pool": None},
        "model": {"path": "toy"},
    }  # fmt: skip
    manifest = {"status": status, "seed": 3, "settings": settings, "versions": {"torch": "9.9"}}
    manifest["files"] = [file for stem in tables for file in (f"tables/{stem}.parquet", f"tensors/{stem}.safetensors")]
    manifest |= {"model": {"name": "toy", "source": "shipped:toy"}, "samples": ["seed 0", "seed 1"]} | facts
    (folder / "run.json").write_text(json.dumps(manifest))
    (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(list(overrides)))
    for stem, table in tables.items():
        table.to_parquet(folder / "tables" / f"{stem}.parquet")
    if frames is not None:
        bases = {f"V/{s}/{t}": torch.eye(48)[:, :3].contiguous() for s in range(2) for _, t in TIMES}
        chw = torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))
        shape = torch.tensor([3, 4, 4])
        save_file({"frames": chw, "latent_shape": shape} | bases, folder / "tensors" / "discovery.safetensors")
    return folder


@pytest.fixture
def folder(tmp_path):
    tables = discovery_tables() | {"spectrum": spectra([30, 31], [20, 22])}
    return write_folder(tmp_path / "run", tables, frames=noise(24, 8, 6, 3), overrides=["svd.rank=3"])


# bases that missed their tolerance


def marked(page):
    """How often each element, by tag, holds a mark."""
    found = re.findall(r"<(h2|h3|summary|li|p)\b(?:(?!</\1>).)*?class=\"mark\"", page, flags=re.DOTALL)
    return {tag: found.count(tag) for tag in set(found)}


def test_what_rests_on_bases_that_missed_their_tolerance_is_marked(tmp_path):
    tables = discovery_tables() | {"spectrum": spectra([30, 31], [20, 22])}
    good = {"bases": 4, "missed": 0, "worst": 0.7, "short": 0}
    convergence = {"discovery": good, "spectrum": {"bases": 4, "missed": 3, "worst": 41.5, "short": 0}}
    page = render(read_run(write_folder(tmp_path / "run", tables, convergence=convergence)))
    first_screen = page[page.index("<header") : page.index("</header>")]
    assert "3 of 4 in Spectrum" in first_screen
    assert "41.5 times the tolerance" in first_screen
    assert "Traversals" not in first_screen
    section = page[page.index('<section id="spectrum"') :]
    section = section[: section.index("</section>")]
    head, charts_, tables_ = (section.count(one) for one in ("<h2", "<figure", 'class="table-block"'))
    assert charts_ >= 2
    assert marked(section) == {"h2": head, "h3": charts_ + tables_, "p": 1, "summary": 1}
    listed = page[page.index('<ul class="findings">') : page.index("</ul>")]
    assert marked(listed) == {"li": 1}, "the finding of spectra, not that of traversals"
    discovery = page[page.index('<section id="discovery"') : page.index('<section id="spectrum"')]
    assert marked(discovery) == {}
    assert "not converged" in page[page.index('id="table-claims"') :], "claims rest on them, too"


def test_the_pictures_under_the_title_are_marked_too(tmp_path):
    missed = {"discovery": {"bases": 4, "missed": 3, "worst": 41.5, "short": 0}}
    page = render(
        read_run(write_folder(tmp_path / "run", discovery_tables(), frames=noise(24, 8, 6, 3), convergence=missed))
    )
    hero = page[page.index('<div class="hero">') : page.index('<ul class="findings">')]
    assert hero.count("not converged</span></figcaption>") == hero.count("<figcaption>") > 0


@pytest.mark.parametrize("convergence", [{}, {"spectrum": {"bases": 4, "missed": 0, "worst": 1.0, "short": 0}}])
def test_a_run_whose_bases_all_met_their_tolerance_has_no_mark(tmp_path, convergence):
    tables = {"spectrum": spectra([30, 31], [20, 22])}
    page = render(read_run(write_folder(tmp_path / "run", tables, convergence=convergence)))
    assert 'class="mark"' not in page
    assert "Not converged" not in page


# edits that damage pictures


@pytest.mark.parametrize(("share", "told"), [(0.2, True), (0.04, False)])
def test_edits_that_saturate_pictures_are_told_on_the_first_screen(tmp_path, share, told):
    tables = discovery_tables()
    traversals = tables["discovery_traversals"]
    traversals["clipped_change"] = np.where(traversals["gamma"] == 0, 0.0, share)
    page = render(read_run(write_folder(tmp_path / "run", tables)))
    first_screen = page[page.index("<header") : page.index("</header>")]
    assert ("Damaged pictures" in first_screen) == told
    assert ("20 % at T" in first_screen) == told


# numbers


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.85, "0.850"), (-12.44, "−12.4"), (1234.4, "1234"), (2.54e-7, "2.54 × 10⁻⁷"), (0.0, "0"), (4.0, "4"),
        (float("nan"), "–"), (float("inf"), "∞"), (-1e-9, "−1.00 × 10⁻⁹"), (99.96, "100.0"),
    ],
)  # fmt: skip
def test_numbers_have_three_significant_digits(value, said):
    assert number(value) == said


def test_a_value_of_too_few_says_why_it_has_no_interval():
    frame = pd.DataFrame({"v": [0.47, 0.47, np.nan], "low": [0.4, np.nan, np.nan], "high": [0.5, np.nan, np.nan]})
    table = as_table("t", "", frame, [Column("value", ("v", "low", "high"))])
    assert [row[0].text for row in table.rows] == ["0.47 [0.40, 0.50]", "0.470 (too few)", "–"]


def test_an_interval_sets_the_digits_of_all_three_numbers():
    assert interval(0.4682, 0.4551, 0.4883) == "0.468 [0.455, 0.488]"
    assert interval(-12.66, -18.2, -8.1) == "−13 [−18, −8]"
    assert interval(-0.001, -0.06, 0.05) == "0.00 [−0.06, 0.05]"
    assert interval(2.0, float("nan"), float("nan")) == "2"
    assert interval(1.5, 1.5, 1.5) == "1.50 [1.50, 1.50]"


def decimals(said):
    return {len(part.partition(".")[2]) for part in re.findall(r"\d+\.?\d*", said.partition(" ×")[0])}


@pytest.mark.parametrize(
    "estimate",
    [
        (0.5, 0.49999999, 0.50000001), (12.34, 12.34, 12.34), (4.0, 4.0, 4.0), (2.5e-7, 1.2e-7, 3.86e-7),
        (-2e-5, -3e-4, 2.6e-4), (0.0, 0.0, 0.0), (1234.5, 999.96, 2000), (9.99e-5, 9.985e-5, 1.0005e-4),
    ],
)  # fmt: skip
def test_a_mean_and_its_ends_have_the_same_number_of_decimals(estimate):
    assert len(decimals(interval(*estimate))) == 1, interval(*estimate)


def test_estimates_of_one_sentence_have_the_same_number_of_decimals():
    nan = float("nan")
    found = intervals([(38.71, 37.9, 39.5), (26.5523, 26.41, 26.69), (12.2, nan, nan)])
    assert found == ["38.71 [37.90, 39.50]", "26.55 [26.41, 26.69]", "12.20"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([0.9666, 0.3319, 0.635], ["0.967", "0.332", "0.635"]),
        ([12.44, 0.853], ["12.4", "0.9"]),
        ([12.44, 0.0012], ["12.4", "0.00120"]),  # which would be 0.0
        ([3.0, 12.0], ["3", "12"]),
        ([0.853], ["0.853"]),
    ],
)
def test_so_have_those_without_intervals(values, said):
    nan = float("nan")
    assert intervals([(value, nan, nan) for value in values]) == said


# what was run, and when


@pytest.mark.parametrize(
    ("schedule", "used", "said"),
    [
        ({"edit": [1.0, 0.25]}, {"t_1": 1.0, "t_0.25": 0.25}, "t = T, 0.25\N{NO-BREAK SPACE}T;"),
        (
            {"edit": [1.0, 0.3]},
            {"t_1": 1.0, "t_0.3": 0.25, "t_0.9": 0.875},  # one of a study's own
            "t = T, 0.25\N{NO-BREAK SPACE}T (0.3\N{NO-BREAK SPACE}T asked for);",
        ),
        ({"edit": [1.0]}, {"t_1": 0.981}, "t = 0.981\N{NO-BREAK SPACE}T (T asked for);"),
        (
            {"edit": [1.0, 0.5], "edit_log_snr": [-5.0]},
            {"log_snr_-5": 0.5714},
            "t = 0.571\N{NO-BREAK SPACE}T (log-SNR −5 asked for);",
        ),
        ({"edit": [1.0, 0.3]}, None, "t = T, 0.3\N{NO-BREAK SPACE}T;"),  # a run that failed early
        ({"edit": [1.0], "edit_log_snr": [-5.0]}, None, "edited at log-SNR −5;"),
    ],
)
def test_the_first_sentence_tells_the_timesteps_that_were_used(tmp_path, schedule, used, said):
    times = {} if used is None else {"times": {k: {"t": 1, "t_frac": v, "log_snr": None} for k, v in used.items()}}
    run = read_run(write_folder(tmp_path / "run", {"spectrum": spectra([30], [20])}, **times))
    run.facts["settings"]["schedule"] |= schedule
    page = render(run)
    what = page[page.index('<p class="what">') :].partition("</p>")[0]
    assert said in what


def test_below_it_stands_when_where_and_how_long(tmp_path):
    facts = {"started": "2026-12-01T09:07:05+00:00", "duration": 146.2, "host": "desk", "seconds": {"spectrum": 12.0}}
    page = render(read_run(write_folder(tmp_path / "run", {"spectrum": spectra([30], [20])}, **facts)))
    first_screen = page[page.index("<header") : page.index("</header>")]
    assert '<p class="when">1 December 2026, 09:07, 2 min 26 s on desk</p>' in first_screen
    settings = page[page.index('<section id="reproduce"') :]
    assert "1 December 2026, 09:07" in settings
    assert "took: Spectrum" in settings
    assert 'class="when"' not in render(read_run(write_folder(tmp_path / "old", {"spectrum": spectra([30], [20])})))


def test_a_completed_run_says_which_studies_left_no_rows(tmp_path):
    tables = {"spectrum": spectra([30], [20])}
    page = render(read_run(write_folder(tmp_path / "run", tables, studies=["spectrum", "curvedness"])))
    first_screen = page[page.index("<header") : page.index("</header>")]
    assert "Some studies left no rows" in first_screen
    assert "Missing: Curved paths" in first_screen


def test_p_values_and_timesteps_read_as_in_a_paper():
    assert (p_value(0.0625), p_value(0.0004)) == ("p = 0.062", "p < 0.001")
    assert (timestep(1.0), timestep(0.25)) == ("T", "0.25\u00a0T")


# pictures


def test_a_strip_holds_exactly_the_frames():
    frames = noise(5, 32, 24, 3)
    found = strip(frames)
    assert (found.count, found.height, found.width) == (5, 32, 24)
    np.testing.assert_array_equal(decoded(found.uri, 5), frames)


def test_smaller_strips_keep_neighbours_apart():
    frames = np.stack([np.full((64, 64, 3), value, np.uint8) for value in (0, 255, 0)])
    small = decoded(strip(frames, Quality(lossless=True, side=16)).uri, 3)
    assert small.shape == (3, 16, 16, 3)
    assert (small[0] == 0).all()
    assert (small[1] == 255).all()


def test_quality_falls_only_as_far_as_the_budget_asks():
    strips = [noise(3, 96, 96, 3, seed=i) for i in range(8)]
    exact = sum(len(strip(s).data) for s in strips)
    assert choose_quality(strips, exact * 2) == (Quality(), 8)
    lossy, count = choose_quality(strips, exact // 2)
    assert (lossy.lossless, count) == (False, 8)
    smallest, count = choose_quality(strips, 2500)
    assert smallest.side == 64
    assert 1 <= count < 8
    assert choose_quality([], 100) == (Quality(), 0)


def test_the_page_shows_the_frames_of_every_traversal(folder):
    frames, run = noise(24, 8, 6, 3), read_run(folder)
    found, table = traversals(run), run.tables["discovery_traversals"]
    assert [s["name"] for s in found["samples"]] == ["seed 0", "seed 1"]
    assert (found["width"], found["height"], found["lossless"]) == (6, 8, True)
    assert found["attributes"] == ["smile", "hair hue"]
    for (sample, t, direction), part in table.groupby(["sample", "t", "direction"]):
        card = found["cards"][f"{sample}/{t}"][direction]
        np.testing.assert_array_equal(decoded(card["strip"], 3), frames[part["frame"]])
        assert card["gammas"] == list(part["gamma"])
        assert card["label"] == "smile\N{NO-BREAK SPACE}+, hair hue\N{NO-BREAK SPACE}−"
        np.testing.assert_allclose(card["values"], part[["smile", "hair_hue"]], atol=5e-4)
        itself = decoded(card["itself"], 1)[0]  # v_i is the i-th unit vector
        grey, peak = itself.reshape(-1), np.unravel_index(itself.argmax(), itself.shape)
        assert (peak, sorted(set(grey.tolist()))) == ((0, direction, 0), [128, 255])


def test_samples_that_do_not_fit_are_counted(folder):
    found = traversals(read_run(folder), budget=1)
    assert [s["name"] for s in found["samples"]] == ["seed 0"]
    assert found["left_out"] == 1


def test_many_large_pictures_still_make_one_file_below_8_mb(tmp_path):
    tables = discovery_tables(samples=6, directions=3, rank=40, frames=9)
    frames = noise(len(tables["discovery_traversals"]), 96, 96, 3)
    folder = write_folder(tmp_path / "run", tables, frames=frames)
    assert sum(len(strip(frames[i : i + 9]).data) for i in range(0, 27, 9)) * len(frames) / 27 > 5e6, "exact: too large"
    path = write_page(folder)
    assert path.stat().st_size < 8e6
    assert "Pictures are compressed here" in path.read_text()


def test_grey_pictures_become_rgb(tmp_path):
    folder = write_folder(tmp_path / "run", discovery_tables(), frames=noise(24, 8, 6, 1))
    assert read_run(folder).pictures("discovery").shape == (24, 8, 6, 3)


@pytest.mark.parametrize("labelled", [True, False])
def test_global_edits_show_each_held_out_sample_by_its_frames(tmp_path, labelled):
    count = 5
    rows = [
        {
            "t_frac": 1.0, "t": 999, "direction": k, "held_out": s, "name": f"seed {s}", "frame": count * i,
            "gamma": 2.0, "frames": count, **({"label": "smile +"} if labelled else {}),
        }
        for i, (s, k) in enumerate([(4, 0), (4, 1), (5, 0), (5, 1)])
    ]  # fmt: skip
    frames = noise(4 * count, 8, 8, 3)
    files = ["tables/global_consistency_edits.parquet", "tensors/global_consistency.safetensors"]
    folder = write_folder(tmp_path / "run", {"global_consistency_edits": pd.DataFrame(rows)}, files=files)
    chw = torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))
    save_file({"frames": chw}, folder / "tensors" / "global_consistency.safetensors")
    found = global_edits(read_run(folder))
    first, second = found["cards"]["999"]
    assert [item["name"] for item in second["items"]] == ["seed 4", "seed 5"]
    assert first["gammas"] == [-2, -1, 0, 1, 2]
    assert {item["label"] for item in first["items"]} == {"smile\N{NO-BREAK SPACE}+" if labelled else ""}
    np.testing.assert_array_equal(decoded(second["items"][1]["strip"], count), frames[3 * count :])


# findings


def told(tables, **facts):
    measured = {name: {} for name in studies() if any(stem == name or stem.startswith(f"{name}_") for stem in tables)}
    run = Run(None, {"settings": {"study": measured}, "model": {"source": "m"}} | facts, tables, claims=all_claims())
    return {f.study: f for f in all_findings(run)}


def test_a_finding_states_the_numbers_of_its_table():
    first, last = np.array([30.0, 31, 32, 33, 30, 31]), np.array([40.0, 42, 41, 45, 39, 44])
    found = told({"spectrum": spectra(first, last)})["spectrum"]
    assert found.headline == "The spectrum of the leading directions flattens from T to 0.25\u00a0T."
    change = interval(*mean_interval(last - first))
    for said in (interval(*mean_interval(first)), interval(*mean_interval(last)), change, "n = 6", "p = 0.031"):
        assert said in found.detail


@pytest.mark.parametrize(
    ("first", "last", "words"),
    [
        ([30] * 6, [15, 28, 20, 31, 20, 20], "Whether the spectrum of the leading directions flattens"),
        ([30] * 6, [20, 21, 22, 20, 19, 22], "does not flatten from T to 0.25\u00a0T: it grows steeper."),
        ([30] * 6, [29, 31, 30.5, 29.5, 31, 29], "Whether the spectrum of the leading directions flattens"),
        ([30] * 4, [40, 41, 42, 41], "flattens from T to 0.25\u00a0T in these 4 samples, too few for a test."),
        ([30] * 4, [20, 21, 22, 21], "grows steeper in these 4 samples, too few for a test."),
        ([30] * 3, [40, 41, 42], "Whether the spectrum of the leading directions flattens"),
        ([30], [40], "Whether the spectrum of the leading directions flattens"),
    ],
)
def test_the_words_follow_from_the_numbers(first, last, words):
    assert words in told({"spectrum": spectra(first, last)})["spectrum"].headline


def test_frequencies_are_told_as_a_fall():
    first, last = [0.8, 0.82, 0.81, 0.8, 0.83, 0.8], [0.4, 0.41, 0.4, 0.42, 0.4, 0.4]
    found = told({"frequency": frequencies(first, last)})["frequency"]
    assert found.headline == "Directions grow finer from T to 0.25\u00a0T."
    fall = np.array([0.4, 0.41, 0.41, 0.38, 0.43, 0.4])
    assert f"a fall of {interval(*mean_interval(fall))} (n = 6, p = 0.031)" in found.detail


def test_discovery_counts_labels_and_averages_samples():
    tables = discovery_tables()
    tables["discovery"].loc[0, "label"] = "no attribute"
    found = told(tables)["discovery"]
    assert found.headline == "7 of 8 unlabelled directions change a predicted attribute by 0.15 or more."
    assert interval(*mean_interval([0.5, 0.6])) in found.detail
    assert "n = 2" in found.detail


def test_without_a_predictor_discovery_tells_of_the_bases():
    table = discovery_tables()["discovery"].drop(columns=["delta_smile", "delta_hair_hue"])
    found = told({"discovery": table})["discovery"]
    assert found.headline == "4 of 4 bases converged."
    assert number(1e-8) in found.detail


def test_gains_beyond_chance_need_an_interval_a_test_and_five_samples():
    def card(low, n, p):
        row = {"t_frac": 1.0, "t": 999, "method": "local", "metric": "precision_gain", "value": 2.0, "low": low}
        return pd.DataFrame([row | {"high": 3.0, "n": n, "null": 1.0, "p": p}])

    def headline(*row):
        return told({"disentanglement_scorecard": card(*row)})["disentanglement"].headline

    assert headline(1.0, 8, 0.01) == "At T, local directions edit more precisely than random ones."
    assert headline(-1.0, 8, 0.3) == "At T, no method edits more precisely than random directions do."
    assert headline(1.0, 2, 0.25).startswith("Too few samples")


@pytest.mark.parametrize(
    ("low", "high", "n", "p", "outcome"),
    [
        (0.1, 0.3, 6, 0.03, "yes"), (0.1, 0.3, 6, 0.3, "open"), (0.1, 0.3, 5, 0.06, "few"),
        (-0.1, 0.3, 9, 0.01, "open"), (-0.3, -0.1, 6, 0.03, "opposite"), (-0.3, -0.1, 6, 0.06, "open"),
        (-0.3, -0.1, 5, 0.06, "few opposite"), (np.nan, np.nan, 1, 0.5, "open"),
    ],
)  # fmt: skip
def test_a_difference_is_established_by_interval_test_and_count(low, high, n, p, outcome):
    assert lean(low, high, n, p) == outcome


# charts and tables


def charts(tables):
    for study in studies().values():
        yield from charts_of(study, tables)


def marks(chart, kind):
    """The rows that a chart's last visible marks of one kind show, and the field of each channel."""
    *_, layer = (one for one in chart.spec["layer"] if one["mark"]["type"] == kind and one["mark"].get("opacity") != 0)
    fields = {channel: one["field"] for channel, one in layer["encoding"].items() if "field" in one}
    return pd.DataFrame(chart.spec["datasets"][layer.get("data", chart.spec.get("data"))["name"]]), fields


def comparisons():
    """Tables of the studies that no other test here draws."""
    prompts = [
        {
            "sample": s, "t_frac": t_frac, "kind": "path", "guidance": 2.0, "prompt_a": a, "prompt_b": b, "rank": 4,
            "text_a": f"text {a}", "text_b": f"text {b}", "similarity": 0.1 * (a + b), "similarity_measure": "clip",
            "distance_normalized": 0.9 - 0.1 * (a + b), "distance": 2.0,
        }
        for s in range(2) for t_frac, _ in TIMES for a, b in ((0, 1), (0, 2), (1, 2))
    ]  # fmt: skip
    summary = [
        {
            "t_frac": t_frac, "kind": "path", "guidance": 2.0, "prompts": 3, "distance_normalized": 0.7, "low": 0.6,
            "high": 0.8, "rho": -1.0, "p": 0.2, "similarity_measure": "clip",
        }
        for t_frac, _ in TIMES
    ]  # fmt: skip
    data = [
        {
            "data_model": m, "data": m, "training": 0, "t_frac": t_frac, "sample_a": 0, "sample_b": b, "rank": 4,
            "distance": 1.0 + b,
            "distance_normalized": 0.25 * b + (0.125 if m == "many" else 0),
        }
        for m in ("few", "many") for t_frac, _ in TIMES for b in (1, 2)
    ]  # fmt: skip
    tables = {"prompts": prompts, "prompts_similarity": summary, "dataset_complexity": data}
    return {stem: pd.DataFrame(rows) for stem, rows in tables.items()}


def test_charts_hold_the_means_and_say_them_in_words():
    first = [30, 31, 35, 32]
    tables = {"spectrum": spectra(first, [20, 22, 21, 21]), **comparisons()}
    found = {c.name: c for c in charts(tables)}
    rows, fields = marks(found["spectrum-effective_dimension"], "line")
    assert (fields["x"], fields["y"]) == ("x", "mean")
    assert list(rows["x"]) == [1.0, 0.25]
    np.testing.assert_allclose(rows["mean"], [32, 21], rtol=1e-4)
    ends, fields = marks(found["spectrum-effective_dimension"], "rule")
    assert (fields["y"], fields["y2"]) == ("low", "high")
    np.testing.assert_allclose(ends[["low", "high"]].iloc[0], mean_interval(first)[1:], rtol=1e-4)
    assert f"1: {interval(*mean_interval(first))}" in found["spectrum-effective_dimension"].alt
    rows, _ = marks(found["complexity"], "line")
    by_model = rows.groupby("series")["mean"].apply(list)
    assert (by_model["few"], by_model["many"]) == ([0.375, 0.375], [0.5, 0.5])
    assert "few, at t / T = 1: 0.375; 0.25: 0.375." in found["complexity"].alt, "two values have no interval"
    points, _ = marks(found["prompts-similarity-path-2"], "point")
    np.testing.assert_allclose(points.loc[points["series"] == "t = T", "y"], [0.8, 0.7, 0.6])
    assert set(points["text"]) == {"text 0 / text 1", "text 0 / text 2", "text 1 / text 2"}


def test_of_several_trainings_a_chart_shows_each_once():
    data = pd.concat(comparisons()["dataset_complexity"].assign(training=i) for i in (0, 1))
    (chart,) = charts({"dataset_complexity": data})
    rows, fields = marks(chart, "circle")
    assert rows.groupby(["series", "x"])[fields["y"]].apply(list).to_dict() == {
        (m, t): [mean] * 2 for m, mean in (("few", 0.375), ("many", 0.5)) for t in (1.0, 0.25)
    }


@pytest.mark.parametrize(
    ("shift", "said"),
    [(0.2, "are more alike at T and at the"), (-0.2, "are less alike at T and at the"), (0.0, "neither plainly")],
)
def test_data_are_told_apart_by_their_trainings(monkeypatch, shift, said):
    noise = (0.0, 0.01, -0.01)
    data = pd.DataFrame(
        {
            "data_model": f"{m}{i}", "data": m, "training": i, "t_frac": t, "sample_a": a, "sample_b": b, "rank": 4,
            "distance": 1.0, "distance_normalized": 0.5 + noise[i] + (shift if m == "many" else 0.0),
        }
        for m in ("few", "many") for i in range(3) for t in (1.0, 0.25) for a, b in ((0, 1), (0, 2), (1, 2))
    )  # fmt: skip
    rows = decide([judge(c, {"dataset_complexity": data}, "m") for c in studies()["dataset_complexity"].claims])
    (found,) = dataset_findings(SimpleNamespace(table={"dataset_complexity": data}.get, verdicts=rows))
    assert said in found.headline
    assert "3 trainings on few, 3 trainings on many" in found.detail


def test_every_chart_is_described_and_plain_json():
    tables = discovery_tables() | {"frequency": frequencies([0.8, 0.9], [0.4, 0.5])} | comparisons()
    found = list(charts(tables))
    assert len({one.name for one in found}) == len(found)
    for one in found:
        assert re.search(r"\d", one.alt), one.name
        assert one.caption.endswith(".")
        assert re.fullmatch(r"[\w-]+", one.name)
        json.loads(json.dumps(embed(one), allow_nan=False))


def test_cells_print_sort_and_copy_what_the_table_holds():
    frame = pd.DataFrame(
        {"t": [1.0, 0.25], "m": [0.5, np.nan], "l": [0.4, np.nan], "h": [0.6, np.nan], "ok": [True, False]}
    )
    columns = [Column("t", "t", timestep), Column("mean", ("m", "l", "h")), Column("ok", "ok"), Column("gone", "gone")]
    table = as_table("one", "One", frame, columns)
    assert [c.heading for c in table.columns] == ["t", "mean", "ok"]
    first, second = table.rows
    assert [cell.text for cell in first] == ["T", "0.50 [0.40, 0.60]", "yes"]
    assert first[1].csv == ["0.5", "0.4", "0.6"]
    assert (second[0].sort, second[1].text, second[1].csv) == (0.25, "–", ["", "", ""])


def test_claims_are_shown_where_the_tables_tell(folder):
    rows = read_run(folder).verdicts
    table = table_of_claims(rows)
    claims = {row[1].text: row[-1] for row in table.rows}
    found = {claim: (verdict.text, verdict.style) for claim, verdict in claims.items()}
    change = "low-frequency share of picture changes falls from T by"
    assert found[change] == ("too few to tell", "verdict-too-few-to-tell")
    assert found["effective dimension of the leading n, lowest t minus T"] == (
        "second measure",
        "verdict-second-measure",
    )
    assert not any("prompts" in claim for claim in claims)
    assert table_of_claims([]) is None
    known = {claim.quantity: claim for claim in all_claims()}
    cells = {row[1].text: row[1] for row in table_of_claims(rows, all_claims()).rows}
    (_, asserted), (_, because), (_, refuted) = cells[change].unfolds
    assert (asserted, because, refuted) == (known[change].asserts, known[change].because, known[change].refuted)
    assert cells["effective dimension of the leading n, lowest t minus T"].unfolds == []
    page = render(read_run(folder))
    assert f"<summary>what is claimed</summary><p>{escape(asserted)}</p>" in page
    assert str(escape(refuted)) in page
    assert "for 1 there are too few values to tell" in count_of_verdicts(rows)


def claims(*values, role="claim"):
    source = iter(["P23a Fig. 9", "P23a Fig. 9", "P23a Fig. 10"])
    return decide(
        [judge(Claim(next(source), "x", "q", lambda _, v=v: np.array(v), role=role), {}, "m") for v in values]
    )


def test_every_value_of_a_claim_is_a_dot_over_its_root_mean_square():
    rows = claims([3.0, -4.0], [0.0, 0.0], [2.0])
    assert labels(rows) == ["P23a Fig. 9 a", "P23a Fig. 9 b", "P23a Fig. 10"]
    dots, _ = marks(values_of_claims(rows), "circle")
    assert list(dots["row"]) == ["P23a Fig. 9 a"] * 2 + ["P23a Fig. 10"]
    np.testing.assert_allclose(dots["x"], [3 / np.sqrt(12.5), -4 / np.sqrt(12.5), 1], rtol=1e-4)
    assert values_of_claims(claims([1.0], role="second")) is not None
    assert values_of_claims([]) is None


def test_only_a_claim_that_is_contradicted_is_red():
    rules = re.findall(r"([^{}]+)\{([^{}]*)\}", (ASSETS / "page.css").read_text())
    red = {name for names, body in rules if "var(--fails)" in body for name in re.findall(r"\.verdict-\w+", names)}
    assert red == {".verdict-contradicted"}


# whole pages


class Checker(HTMLParser):
    """Collects ids, headings and what has to be named."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.levels, self.unnamed, self.urls = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids += [given["id"]] if "id" in given else []
        self.levels += [int(tag[1])] if re.fullmatch("h[1-6]", tag) else []
        if (tag == "img" and "alt" not in given) or (given.get("role") in ("img", "region") and not any(
            key in given for key in ("aria-label", "aria-labelledby"))):  # fmt: skip
            self.unnamed.append((tag, given))
        self.urls += [given[key] for key in ("src", "href") if key in given]


def test_the_page_is_whole_named_and_needs_no_network(folder):
    path = write_page(folder)
    text = path.read_text()
    assert path == folder / "report.html"
    assert path.stat().st_size < 1.2e6, "the library for charts once, and little else"
    found = Checker(text)
    assert len(found.ids) == len(set(found.ids))
    assert found.unnamed == []
    assert found.levels[0] == 1
    assert found.levels.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(found.levels, found.levels[1:], strict=False)), "no level is jumped over"
    assert all(url.startswith(("data:", "#")) for url in found.urls)
    assert "default-src 'none'" in text


def test_a_study_of_ones_own_has_a_section_with_its_tables(tmp_path):
    tables = discovery_tables() | {"my_study": pd.DataFrame({"sample": [0, 1], "tiny": [1.2345678901234e-9, None]})}
    folder = write_folder(tmp_path / "run", tables, studies=["discovery", "my_study"])
    *_, own = sections(read_run(folder), [])
    assert (own.title, own.note) == ("My study", "")
    (raw,) = own.raw
    assert raw.data["rows"] == [[0, 1.2345678901234e-9], [1, None]]
    assert "My study" in render(read_run(folder))


def test_the_command_survives_a_shell(tmp_path):
    words = ["prompt='she's here; rm -rf $HOME'", "svd.rank=3"]
    folder = write_folder(tmp_path / "run", discovery_tables(), overrides=words)
    assert shlex.split(read_run(folder).command) == ["diffgeo", *words, "seed=3"]
    (folder / ".hydra" / "overrides.yaml").unlink()
    assert read_run(folder).command is None
    assert "not started by the command line" in render(read_run(folder))


def test_the_command_says_where_settings_lie_and_not_where_the_run_goes(tmp_path):
    folder = write_folder(tmp_path / "run", discovery_tables(), overrides=["metric=mine"])
    engine = ["hydra.searchpath=[file://my_conf]", "hydra.run.dir=elsewhere", "hydra/launcher=joblib"]
    (folder / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump({"hydra": {"overrides": {"hydra": engine}}}))
    said = shlex.split(read_run(folder).command)
    assert said == ["diffgeo", "hydra.searchpath=[file://my_conf]", "metric=mine", "seed=3"]


def test_names_cannot_break_the_page(tmp_path):
    evil = "</script><script>alert(1)</script>"
    tables = discovery_tables()
    for table in tables.values():
        table["name"] = evil
    folder = write_folder(tmp_path / "run", tables, frames=noise(24, 8, 6, 3), model={"name": evil, "source": evil})
    text = render(read_run(folder))
    assert "<script>alert" not in text


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        ("failed", "the U-Net has no block mid", "This run failed: the U-Net has no block mid. Measured: Spectrum."),
        ("interrupted", None, "This run was interrupted"),
        ("running", None, "still going on, or was killed"),
    ],
)
def test_a_run_that_did_not_end_well_says_so(tmp_path, status, error, words):
    tables = {"spectrum": spectra([30, 31], [20, 22])}
    folder = write_folder(tmp_path / "run", tables, status=status, studies=["spectrum", "frequency"], error=error)
    text = render(read_run(folder))
    assert words in text
    assert "Missing: Frequencies." in text
    assert "This study left no rows" in text


def test_a_run_that_failed_before_any_table_has_a_small_page(tmp_path):
    folder = write_folder(
        tmp_path / "run", {}, status="failed", studies=["discovery"], error="no such model", model=None
    )
    path = write_page(folder)
    assert path.stat().st_size < 100_000, "no charts, and so no library for them"
    assert "This run failed: no such model." in path.read_text()


def test_tables_of_another_version_cost_their_own_section_only(tmp_path, caplog):
    tables = {"spectrum": spectra([30, 31], [20, 22]), "curvedness": pd.DataFrame({"what": [1]})}
    run = read_run(write_folder(tmp_path / "run", tables))
    good, bad = sections(run, all_findings(run))
    assert (good.title, len(good.charts), len(good.tables)) == ("Spectrum", 2, 1)
    assert "could not be drawn from tables/curvedness.parquet" in bad.note
    assert "curvedness" in caplog.text


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(DataError, match="give a run folder"):
        write_page(tmp_path)
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(DataError, match="not the manifest"):
        write_page(tmp_path)


# tables say what they leave out, and what their names mean


def test_a_table_says_how_many_rows_it_shows_of_how_many(folder):
    frame = pd.DataFrame({"v": range(450)})
    assert as_table("t", "", frame, [Column("v", "v")]).count == "400 rows of 450"
    assert as_table("t", "", frame.head(3), [Column("v", "v")]).count == "3 rows"
    assert as_table("t", "", frame.head(1), [Column("v", "v")], total=2).count == "1 row of 2"
    assert '<span class="count">8 rows of 12</span>' in render(read_run(folder)), "a third has no traversal"


def test_headings_of_known_metrics_are_explained_in_any_table():
    columns = [Column("variant", "variant"), Column("damage", ("off_data", "off_data", "off_data"))]
    table = as_table("t", "T", pd.DataFrame([{"variant": "local", "off_data": 0.1}]), columns)
    assert table.glossary == {"damage": MEANINGS["off_data"]}
    assert as_table("t", "T", pd.DataFrame([{"variant": "local"}]), columns).glossary == {}


def test_metrics_of_the_scorecard_are_explained(tmp_path):
    code = (Path(scorecard_source.__file__)).read_text()
    named = {word for word in re.findall(r'"([a-z_]+)"', code) if word.startswith(PREFIXES)} | set(
        scorecard_source.OF_EDITS
    )
    assert named <= set(MEANINGS)
    assert {"precision_gain", "effect_vote", "factor_vae", "s_dir"} <= named
    row = {
        "t_frac": 1.0,
        "t": 999,
        "method": "local",
        "value": 1.0,
        "low": 0.5,
        "high": 1.5,
        "n": 5,
        "null": 1,
        "p": 0.1,
    }
    card = pd.DataFrame([row | {"metric": metric} for metric in ("precision", "my_own")])
    edits = pd.DataFrame([{"t": 999, "sample": 0}])
    tables = {"disentanglement": edits, "disentanglement_scorecard": card}
    page = render(read_run(write_folder(tmp_path / "run", tables, studies=["disentanglement"])))
    assert 'title="change of the target over the mean change of the other attributes' in page
    assert "a metric of your own" in page
    assert "<dt>my own</dt>" in page


def test_the_memory_of_a_run_is_counted_and_shown(folder):
    from diffgeo.runner.manifest import peak_memory

    assert 2**26 < peak_memory() < 2**40
    facts = json.loads((folder / "run.json").read_text()) | {"peak_memory": 1_234_000_000}
    (folder / "run.json").write_text(json.dumps(facts))
    assert "1.23 GB" in render(read_run(folder))


def test_charts_of_several_figures_with_the_same_choices_are_all_shown():
    from diffgeo.report.charts import in_figure, strips
    from diffgeo.report.page.sections import in_tabs

    def of(figure, choice):
        chart = strips(f"{figure}-{choice}", figure, "", {"a": pd.Series([1.0, 2.0])}, "x")
        return in_figure([chart], figure, ("x_t from", choice))

    made = [*of("share", "render"), *of("share", "path"), *of("axes", "render"), *of("axes", "path")]
    tabs = in_tabs(made)
    assert [list(one.charts) for one in tabs] == [["render", "path"], ["render", "path"]]
    assert [one.charts["path"].chart.figure for one in tabs] == ["share", "axes"]
    assert len({one.id for one in tabs}) == 2
