"""What the page shows of the denoiser's Jacobian and of the flatness of paths, from tables alone."""

import itertools

import numpy as np
import pandas as pd
import pytest

from diffgeo.report.figures import charts_of
from diffgeo.report.reading import Run
from diffgeo.studies import study_named

CURVED = pd.DataFrame(
    {"pair": pair, "pool": pool, "path": path, "t_frac": 1.0, "rank": 4, "length": 2.0, "length_soft": 1.0}
    | {"perceptual_length": 0.1, "x_length": 80.0, "h_length": 9.0, "miss_h": 0.0, "z_deviation": 0.25}
    for pair, pool, path in itertools.product(range(2), ("none", "sum"), ("lerp", "slerp"))
)
FLAT = pd.DataFrame(
    {
        "pair": pair,
        "pool": pool,
        "path": path,
        "metric": metric,
        "flatness_ratio": 1 + 0.5 * pair + 0.01 * (path == "lerp"),
    }
    for pair, pool, path, metric in itertools.product(
        range(2), ("none", "sum"), ("lerp", "slerp"), ("h", "pooled_h", "x0", "score")
    )
)


def denoiser_tables(*, known=True):
    places = [{"sample": i, "name": f"seed {i}", "t_frac": t} for i in range(2) for t in (0.5, 0.25)]
    main = {"rank": 20, "norm_share": 0.9, "trace": 50.0, "posterior_variance": 3.0, "probes": 8}
    main |= {"asymmetry": 0.7, "asymmetry_error": 0.01}
    rows = {
        "": [place | main | {"numerical_rank": 12.0 if place["sample"] else np.nan} for place in places],
        "components": [
            place | {"component": k, "variance": 2.0 - k, "variance_share": 0.04, "residual": 0.01, "frame": 3 * k}
            for place in places
            for k in range(2)
        ],
        "linearity": [
            place | {"direction": 0, "lambda_share": share, "norm_ratio": 0.9, "cosine": 0.95, "change_error": 0.4}
            for place in places
            for share in (-0.1, 0.1)
        ],
        "isometry": [
            place | {"map": name, "rank": 20, "condition": 3.0, "log_spread": 0.3}
            for place in places
            for name in ("h", "x0")
        ],
        "dimension": [
            {
                "sample": i,
                "t_frac": 0.1,
                "rank": 20,
                "flipd": -1000.0,
                "posterior_dimension": 80.0,
                "resolved": 13.0 + 2 * i,
            }
            | {"normal_bundle": 19, "normal_bundle_centred": 11}
            | ({"true_dimension": 13} if known else {})
            for i in range(2)
        ],
    }
    return {f"denoiser_{name}" if name else "denoiser": pd.DataFrame(found) for name, found in rows.items()}


def texts(table):
    return [[cell.text for cell in row] for row in table.rows]


@pytest.mark.parametrize("study", ["curvedness"])
def test_flatness_ratios_stand_side_by_side_by_metric(tmp_path, study):
    tables = {"curvedness": CURVED, "curvedness_flatness": FLAT}
    paths, flatness = study_named(study).part("page", "tables")(Run(tmp_path, {}, tables))
    assert [column.heading for column in flatness.columns] == [
        *("made in h", "path", "R in whole h", "R in pooled h", "R in x̂0", "R in score", "n"),
    ]
    assert [row[:2] for row in texts(flatness)] == [
        ["whole", "lerp"],
        ["whole", "slerp"],
        ["pooled", "lerp"],
        ["pooled", "slerp"],
    ]
    assert all(cell.startswith("1.2") for row in texts(flatness) for cell in row[2:-1])
    assert "factors stray by" in [column.heading for column in paths.columns]
    assert len(study_named(study).part("page", "tables")(Run(tmp_path, {}, {"curvedness": CURVED}))) == 1
    charts = {chart.name: chart for chart in charts_of(study_named(study), tables)}
    assert "lerp in whole h 0.0" in charts["curvedness-flatness-none"].alt  # log₁₀ R


def test_the_denoisers_tables_findings_and_charts(tmp_path):
    study, tables = study_named("denoiser"), denoiser_tables()
    run = Run(tmp_path, {}, tables)
    jacobian, components, dimension, isometry = study.part("page", "tables")(run)
    assert "more than 20" in texts(jacobian)[0]
    assert [row[1] for row in texts(components)] == ["1", "2", "1", "2"]
    assert dimension.columns[-2].heading == "true"
    assert [row[0] for row in texts(isometry)] == ["x ↦ h"] * 2 + ["x ↦ x̂0"] * 2
    first, second = study.part("findings", "findings")(run)
    assert first.headline == "The denoiser's Jacobian is not symmetric; an exact denoiser's is."
    assert (
        second.headline == "The denoiser resolves 14 dimensions of the data at 0.1\N{NO-BREAK SPACE}T; the truth is 13."
    )
    names = [chart.name for chart in charts_of(study, tables)]
    assert names == [f"denoiser-{end}" for end in ("cosine", "change-error", "dimension-sums", "dimension-counts")]


def test_the_truth_is_told_only_if_it_is_known(tmp_path):
    study, tables = study_named("denoiser"), denoiser_tables(known=False)
    _, finding = study.part("findings", "findings")(Run(tmp_path, {}, tables))
    assert "truth" not in finding.headline
    assert not any("true dimension" in chart.caption for chart in charts_of(study, tables))


def test_a_dimension_beyond_the_rank_is_called_that(tmp_path):
    tables = denoiser_tables()
    tables["denoiser_dimension"]["resolved"] = np.nan
    _, finding = study_named("denoiser").part("findings", "findings")(Run(tmp_path, {}, tables))
    assert finding.headline.startswith("The data have more than 20 dimensions that the denoiser resolves at")
    assert charts_of(study_named("denoiser"), tables)


def test_a_nearly_symmetric_jacobian_is_called_that(tmp_path):
    tables = denoiser_tables()
    tables["denoiser"]["asymmetry"] = 0.02
    finding = next(study_named("denoiser").part("findings", "findings")(Run(tmp_path, {}, tables)))
    assert "nearly symmetric" in finding.headline
