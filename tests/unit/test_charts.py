"""The chart toolkit: files and page draw one specification, offline, in letters that the font has."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import get_data_path
from matplotlib.ft2font import FT2Font
from PIL import Image

from diffgeo.metrics.statistics import mean_interval
from diffgeo.report import charts, palette
from diffgeo.report.charts import drawing
from diffgeo.report.figures import charts_of
from diffgeo.studies import Study, studies

CSS = Path(palette.__file__).parent / "page" / "assets" / "page.css"
TIMES = (1.0, 0.75, 0.5, 0.25)


def walk(value):
    """Every text in a specification."""
    if isinstance(value, dict):
        for one in value.values():
            yield from walk(one)
    elif isinstance(value, list):
        for one in value:
            yield from walk(one)
    elif isinstance(value, str):
        yield value


def layer(chart, kind):
    """The last layer with marks of this kind that are seen."""
    return [one for one in chart.spec["layer"] if one["mark"]["type"] == kind and one["mark"].get("opacity") != 0][-1]


def rows(chart, kind):
    return chart.spec["datasets"][layer(chart, kind).get("data", chart.spec.get("data"))["name"]]


@pytest.fixture(scope="module")
def tables():
    """A little of every study's tables, each with what its charts read."""
    random = np.random.default_rng(0)
    samples, methods, attributes = range(3), ("local", "random"), ("smile", "hair_hue", "yaw")

    def cross(**columns):
        index = pd.MultiIndex.from_product(columns.values(), names=columns.keys())
        return index.to_frame(index=False)

    def numbers(table, *names, low=0.0, high=1.0):
        return table.assign(**{name: random.uniform(low, high, len(table)) for name in names})

    base = cross(sample=samples, t_frac=TIMES)
    discovery = numbers(cross(sample=samples, t_frac=TIMES, direction=range(12)), "delta_smile", "delta_hair_hue")
    discovery["singular_value"] = 9.0 / (1 + discovery["direction"]) * (1 + discovery["sample"])
    matches = numbers(
        cross(t_frac=TIMES, method=("nearest", "frechet"), direction=(0, 1), sample=samples), "best_match"
    )
    card = numbers(
        cross(t_frac=TIMES, method=methods, metric=["precision", "precision_gain", "local_success"]), "value"
    )
    pairs = numbers(cross(sample=samples, t_frac=TIMES, kind=("path", "fixed"), prompt_a=(0, 1), prompt_b=(2, 3)), "x")
    kinds = pd.DataFrame({"kind": ["sample", "time", "x_fixed", "t_fixed"] * 3})
    subspace = numbers(
        cross(sample=samples, t_frac=TIMES[:2], attribute=attributes), "subspace", "single", "varimax", "random"
    )
    truth = numbers(cross(sample=samples, t_frac=TIMES, kind=("render",), map=("h", "x0", "random")), "share")
    truth = truth.assign(n=13, tangent_rank=13, log_snr=10 * (0.3 - truth["t_frac"]))
    return {
        "discovery": discovery,
        "spectrum": numbers(base, "effective_dimension", "flatness").assign(rank=50, kind="path"),
        "frequency": numbers(cross(sample=samples, t_frac=TIMES, radius=range(5)), "power", "low_share").assign(
            nyquist_fraction=lambda t: t["radius"] / 4
        ),
        "tangent_truth": truth.merge(cross(scale=("all", "coarse", "fine")), "cross").assign(factor="span", null=0.01),
        "tangent_truth_axes": truth.assign(factor="mean", cos=0.3, null=0.1),
        "global_consistency": matches.assign(null_best_match=0.1, null_best_match_95=0.15),
        "global_consistency_overlaps": numbers(cross(t_frac=TIMES, direction=range(9), sample=samples), "best_match"),
        "global_consistency_agreement": numbers(
            cross(t_frac=TIMES, sample=(0, 1), other=(2, 3), direction=(0, 1), other_direction=(0, 1)), "cosine", low=-1
        ),
        "curvedness": numbers(cross(pool=("none", "sum"), path=("lerp", "geodesic"), pair=(0, 1)), "length").assign(
            t_frac=1.0, rank=10
        ),
        "curvedness_segments": numbers(
            cross(pool=("none", "sum"), path=("lerp", "geodesic"), position=(0.1, 0.5, 0.9)), "curvedness"
        ),
        "tangent_distance": numbers(kinds, "t_frac_a", "t_frac_b", "distance_normalized").assign(rank=10),
        "ablation": numbers(cross(variant=("local", "pca_h"), edit=samples), "precision", "chroma_change").assign(
            t_frac=1.0, perceptual_measure="factor_features", change_wanted=1.25
        ),
        "disentanglement": pd.DataFrame({"sample": [0]}),
        "disentanglement_rescoring": numbers(
            cross(t_frac=TIMES, method=methods, direction=(0, 1), attribute=attributes), "score", low=-2, high=2
        ).assign(label="smile + (0.50), yaw −"),
        "disentanglement_scorecard": card.assign(low=card["value"] - 0.1, high=card["value"] + 0.1, null=0.3),
        "disentanglement_pareto": numbers(
            cross(t_frac=TIMES, method=methods, level=(1, 2), edit=samples), "collateral", "on_target"
        ),
        "disentanglement_timing": numbers(cross(t_frac=TIMES, method=methods, attribute=attributes), "share").assign(
            scale=lambda t: t["attribute"].map({"smile": 2.0, "yaw": 9.0, "hair_hue": np.nan})
        ),
        "disentanglement_subspace": subspace.assign(chance=0.12),
        "dataset_complexity": numbers(
            cross(data_model=("few", "many"), t_frac=TIMES, pair=samples), "distance_normalized"
        ).assign(data=lambda t: t["data_model"], training=0),
        "prompts": pairs.rename(columns={"x": "distance_normalized"}).assign(
            guidance=lambda t: np.where(t["kind"] == "path", 2.5, 1.0), similarity=0.4, similarity_measure="clip",
            text_a="a cat", text_b="a dog", rank=4,
        ),
        "prompts_similarity": cross(t_frac=TIMES, kind=("path",)).assign(
            guidance=2.5, distance_normalized=0.5, low=0.4, high=0.6
        ),
    }  # fmt: skip


@pytest.fixture(scope="module")
def drawn(tables):
    return {name: charts_of(study, tables) for name, study in studies().items()}


ELSEWHERE = ("denoiser", "blocks", "comparison", "training")
"""Studies whose charts are drawn in the tests of their own tables."""


def test_every_study_has_charts_in_named_figures(drawn):
    drawn = {study: of for study, of in drawn.items() if study not in ELSEWHERE}
    assert all(drawn.values())
    found = {study: list(dict.fromkeys(chart.figure for chart in of)) for study, of in drawn.items()}
    rescoring = [f"rescoring_{t:g}T" for t in TIMES]
    assert found == {
        "discovery": ["attributes", "spectrum"], "spectrum": ["summary"], "frequency": ["power"],
        "tangent_truth": ["share", "scales", "axes"],
        "global_consistency": ["overlap"], "curvedness": ["paths"], "tangent_distance": ["distances"],
        "ablation": ["damage"],
        "disentanglement": [*rescoring, "scorecard", "pareto", "timing", "subspace"],
        "dataset_complexity": ["distances"], "prompts": ["similarity"],
    }  # fmt: skip
    names = [chart.name for of in drawn.values() for chart in of]
    assert len(set(names)) == len(names)
    for name in names:
        assert re.fullmatch(r"[\w-]+", name)


def test_charts_need_no_other_studys_tables(tables, drawn):
    for name, study in studies().items():
        own = {stem: table for stem, table in tables.items() if stem == name or stem.startswith(f"{name}_")}
        assert [chart.spec for chart in charts_of(study, own)] == [chart.spec for chart in drawn[name]]
    assert charts_of(studies()["spectrum"], {"spectrum": tables["spectrum"].head(0)}) == []
    without_plots = Study("discovery", "Theirs", "Does it?", object, "diffgeo.studies.shared")
    assert charts_of(without_plots, tables) == []


def test_files_and_page_draw_the_same_marks_of_the_same_values(drawn):
    for chart in (one for of in drawn.values() for one in of):
        in_file, on_page = drawing._together([chart]), charts.embed(chart)
        assert in_file["layer"] == chart.spec["layer"]
        for ours, theirs in zip(chart.spec["layer"], on_page["layer"], strict=True):
            theirs.pop("params", None)
            shown = theirs["encoding"].pop("opacity", None)
            if shown is not None:
                theirs["mark"]["opacity"] = shown["condition"]["value"]
                ours["mark"].setdefault("opacity", 1)
            assert ours == theirs


def test_the_page_may_zoom_continuous_axes_and_pick_series(drawn):
    by_name = {chart.name: charts.embed(chart) for of in drawn.values() for chart in of}

    def params(name):
        return {one["name"]: one for part in by_name[name]["layer"] for one in part.get("params", [])}

    assert params("spectrum-values")["zoom"]["select"]["encodings"] == ["x", "y"]
    assert params("ablation-precision")["zoom"]["select"]["encodings"] == ["x"]
    assert "zoom" not in params("timing")
    assert "pick" in params("spectrum-values")
    assert "pick" not in params("spectrum-flatness"), "one series"


def test_every_letter_that_a_chart_prints_is_in_its_font(drawn):
    font = FT2Font(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")
    known = set(map(chr, font.get_charmap()))
    for chart in (one for of in drawn.values() for one in of):
        printed = {letter for text in (chart.title, chart.caption, *walk(chart.spec)) for letter in text}
        assert printed <= known, (chart.name, printed - known)


def test_files_are_drawn_alike_whatever_was_drawn_before(drawn, tmp_path):
    figure = [chart for chart in drawn["disentanglement"] if chart.figure == "scorecard"]
    heat = [chart for chart in drawn["disentanglement"] if chart.figure == "timing"]
    png, svg = charts.save(figure, tmp_path / "one")
    charts.save(heat, tmp_path / "between")
    again, svg_again = charts.save(figure, tmp_path / "two")
    assert png.read_bytes() == again.read_bytes()
    assert svg.read_text() == svg_again.read_text()
    heat_again = charts.save(heat, tmp_path / "between_again")[1]
    assert heat_again.read_text() == (tmp_path / "between.svg").read_text()
    with Image.open(png) as picture:
        assert picture.width > 1500, "three charts side by side, at twice their size"
    words = "".join(ET.parse(svg).getroot().itertext())
    for chart in figure:
        assert chart.title in words


def test_charts_of_a_figure_share_what_they_have_in_common(drawn):
    pareto = [chart for chart in drawn["disentanglement"] if chart.figure == "pareto"]
    whole = drawing._together(pareto)
    assert " ".join(whole["title"]["text"]) == pareto[0].caption
    assert whole["resolve"]["scale"]["color"] == "shared"
    assert whole["columns"] == 2, "four in a square"
    overlap = drawing._together(drawn["global_consistency"])
    assert overlap["resolve"]["scale"]["color"] == "independent"
    lines = [sum(map(len, part["title"].values())) for part in overlap["concat"]]
    assert len(set(lines)) == 1, "titles begin at one height"


@given(st.lists(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=12), min_size=1, max_size=30))
def test_titles_are_broken_between_words_and_fit(words):
    title = " ".join(words)
    spec = {"width": 300, "height": 200, "layer": []}
    heading = drawing._heading(charts.Chart("n", title, title, "", spec))
    for lines in heading.values():
        assert " ".join(lines) == title
    assert max(map(len, heading["text"])) <= 355 / drawing._TITLE


def test_numbers_of_a_caption_stay_with_their_names():
    for width in range(8, 40):
        lines = drawing._lines("Tangent spaces (n = 50), bars hold 95 % of them.", width)
        assert not any(line.endswith(("n", "=", "95")) for line in lines)


def test_curves_hold_mean_least_and_most(tables, drawn):
    values = next(chart for chart in drawn["discovery"] if chart.name == "spectrum-values")
    found = pd.DataFrame(rows(values, "line"))
    first = found[(found["series"] == "t = T") & (found["x"] == 3)].iloc[0]
    measured = tables["discovery"].query("t_frac == 1 and direction == 2")["singular_value"]
    np.testing.assert_allclose(
        first[["mean", "min", "max"]].astype(float), [measured.mean(), measured.min(), measured.max()]
    )
    assert layer(values, "line")["encoding"]["y"]["scale"]["type"] == "log"


def test_a_logarithmic_axis_leaves_out_what_it_cannot_show():
    table = pd.DataFrame({"x": [0, 1, 0, 1], "y": [0.0, 2.0, -1.0, 3.0], "t": [1.0, 1.0, 0.5, 0.5]})

    def chart(part):
        axes = {"x": ("x", "x"), "y": ("y", "y"), "by": "t", "label": charts.t_name, "of": "x"}
        return charts.curves("a", "A", "B.", part, log=True, **axes)

    assert [row["mean"] for row in rows(chart(table), "line")] == [2.0, 3.0]
    charts.embed(chart(table[table["x"] == 0]))  # nothing to show, and no failure


def test_too_few_values_have_a_mean_and_no_interval_and_none_have_no_mark():
    values = pd.DataFrame({"x": [1.0, 0.5, 0.5, 0.5, 0.5], "y": [0.25, 0.5, 0.75, 0.5, 1.0]})
    chart = charts.by_time("a", "A", "B.", {"only": values}, "y")
    (ends,) = rows(chart, "rule")
    assert ends["x"] == 0.5
    np.testing.assert_allclose([ends[one] for one in ("mean", "low", "high")], mean_interval(values["y"][1:]), 1e-4)
    means = pd.DataFrame(rows(chart, "point")).set_index("x")
    assert (means.loc[1.0, "mean"], means.loc[1.0, "interval"]) == (0.25, "too few values")
    assert re.fullmatch(r"0\.\d+ to \d\.\d+", means.loc[0.5, "interval"])
    strips = charts.strips("a", "A", "B.", {"none": pd.Series([np.nan]), "one": pd.Series([0.5])}, "y")
    json.dumps(strips.spec, allow_nan=False)
    assert [row["x"] for row in rows(strips, "point")] == [0.5]
    assert layer(strips, "point")["encoding"]["y"]["scale"]["domain"] == ["none", "one"]
    points = pd.DataFrame({"row": ["a", "b"], "series": "t = T", "x": [1.0, 2.0], "low": np.nan, "high": 1.0})
    plain = charts.rows_of_points("a", "A", "B.", "", points, "x")
    assert [one["mark"]["type"] for one in plain.spec["layer"]] == ["point"], "Vega warns of marks without data"
    assert [row["interval"] for row in rows(plain, "point")] == ["too few values"] * 2
    part = charts.rows_of_points("a", "A", "B.", "", points.assign(null=[0.5, np.nan]), "x")
    assert [row["chance"] for row in rows(part, "point")] == ["0.500", "–"]
    blank = charts.heat_map("a", "A", "B.", "", pd.DataFrame([[np.nan, 0.0]], ["r"], ["c", "d"]), "v")
    json.dumps(blank.spec, allow_nan=False)


def test_a_frame_marks_the_largest_cell_of_each_row():
    matrix = pd.DataFrame([[0.1, 0.3], [0.5, np.nan]], ["smile", "yaw"], ["T", "0.5 T"])
    chart = charts.heat_map("a", "A", "B.", "", matrix, "share", framed=True)
    assert [(one["row"], one["column"]) for one in rows(chart, "rect")] == [("smile", "0.5 T"), ("yaw", "T")]


def test_places_that_are_no_numbers_keep_their_order_and_are_not_joined():
    means = pd.DataFrame({"x": ["sum", "None"], "mean": [1.0, 2.0], "low": [0.5, 1.5], "high": [1.5, 2.5]})
    chart = charts.by_time("a", "A", "B.", {"all": means}, "y", reverse=False)
    assert layer(chart, "point")["encoding"]["x"]["scale"]["domain"] == ["sum", "None"]
    assert not [one for one in chart.spec["layer"] if one["mark"]["type"] == "line"]
    assert "sum: 1.0 [0.5, 1.5]" in chart.alt


def test_no_number_that_may_be_missing_is_formatted_on_hover(drawn):
    """Vega formats null as 0."""
    for chart in (one for of in drawn.values() for one in of):
        for one in chart.spec["layer"]:
            shown = pd.DataFrame(chart.spec["datasets"][one.get("data", chart.spec.get("data"))["name"]])
            tips = one["encoding"].get("tooltip", [])
            formatted = [tip["field"] for tip in tips if tip["type"] == "quantitative"]
            assert not shown[formatted].isna().any(axis=None), (chart.name, formatted)


def test_the_library_of_the_page_is_small_and_cannot_end_its_script():
    text = charts.javascript()
    assert len(text.encode()) < 1e6
    assert "</script" not in text.lower()
    assert "window.vegaEmbed" in text


def test_charts_have_the_colours_of_the_page():
    css = CSS.read_text()
    light, dark = (
        dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", css[css.index(start) :].partition("}")[0]))
        for start in (":root {", ':root[data-theme="dark"] {')
    )
    for name in ("paper", "ink", "muted", "rule", "low", "high"):
        assert getattr(palette, name.upper()) == light[name]
        assert palette.DARK[light[name]] == dark[name]
