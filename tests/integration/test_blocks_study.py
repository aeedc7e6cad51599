"""Which block plays the part of h: the study on the shipped model and on tiny networks."""

import pandas as pd
import pytest
import torch

from diffgeo.api import run_study, settings
from diffgeo.errors import ConfigError
from diffgeo.metrics.attributes import load_predictor
from diffgeo.report.reading import Run
from diffgeo.session import Context
from diffgeo.studies.blocks.findings import findings
from diffgeo.studies.blocks.measure import trimmed
from diffgeo.studies.blocks.plots import charts

OWN = "study.blocks"


def measured(model, *words):
    fixed = ("study=[blocks]", "scale=smoke", "svd.tol=1e-2", "device=cpu", "tracking=none", f"{OWN}.samples=2")
    context = Context(model, settings(*fixed, *words), load_predictor())
    return run_study("blocks", context, context.cfg.study["blocks"])


@pytest.fixture(scope="module")
def result(shipped):
    words = (f"{OWN}.blocks=[mid,up.1,up.2]", f"{OWN}.maps=[output,update,trimmed]", f"{OWN}.directions=1")
    return measured(shipped, *words, f"{OWN}.t_fracs=[1.0,0.25]", f"{OWN}.rank=13", f"{OWN}.residual=1")


@pytest.mark.nightly
def test_near_the_picture_a_block_of_the_decoder_sees_more_of_the_data_than_the_bottleneck(result):
    table = result.table[result.table["map"] == "output"]
    share = table.pivot_table(index=["t_frac", "sample"], columns="block", values="tangent_share")
    assert (share.loc[0.25, "up.1"] > 2 * share.loc[0.25, "mid"]).all()
    assert (share.loc[0.25, "up.2"] < 0.3 * share.loc[0.25, "mid"]).all()
    assert (share.loc[1.0, "mid"] > 10 * table["chance"].iloc[0]).all()


@pytest.mark.nightly
def test_the_tables_are_tidy(result):
    table = result.table
    assert not table.duplicated(["sample", "t", "block", "map"]).any()
    assert set(table["block"]) == {"mid", "up.1", "up.2"}
    assert set(table[table["map"] == "update"]["block"]) == {"mid"}, "blocks that change the shape have no update"
    assert table.groupby("block")["depth"].first().is_monotonic_increasing
    assert (table["vitality"] > 0).all()
    assert table["effective_dimension"].between(1, 13).all()
    assert (table[table["map"] == "trimmed"]["left_out"] == 0).all(), "a U-Net of 32 pixels has no massive activations"
    pairs = result.more_tables["consistency"]
    assert (pairs["shared"] > 20 * pairs["chance"]).all()
    assert len(pairs) == 2 * (3 + 1 + 3)
    edits = result.more_tables["edits"]
    assert set(edits["block"]) == {"mid", "up.1", "up.2", "random"}
    assert {"precision", "off_data", "matched"} <= set(edits.columns)


@pytest.mark.nightly
def test_charts_and_findings_name_the_blocks(result, tmp_path):
    tables = {"blocks": result.table} | {f"blocks_{name}": one for name, one in result.more_tables.items()}
    drawn = charts(tables)
    assert {chart.name.removeprefix("blocks-") for chart in drawn} >= {"tangent-share", "vitality", "shared", "gain"}
    run = Run(tmp_path, {}, tables, None, ())
    [found] = findings(run)
    assert found.headline.endswith("and up.1 at 0.25\N{NO-BREAK SPACE}T.")


def test_channels_of_massive_activations_are_left_out():
    generator = torch.Generator().manual_seed(0)
    x, scale = torch.randn(5, 4, 4, generator=generator), torch.tensor([1.0, 1, 50, 1, 1])[:, None, None]
    f, left_out = trimmed(lambda y: y * scale, x, 10.0)
    assert left_out == [2]
    assert torch.equal(f(x), x[[0, 1, 3, 4]])
    assert trimmed(lambda y: y, x, 10.0)[1] == []


def test_a_block_that_is_not_there_is_refused(shipped):
    with pytest.raises(ConfigError, match=r"up\.9"):
        measured(shipped, f"{OWN}.blocks=[up.9]")


@pytest.mark.slow
def test_a_model_without_known_data_has_spectra_and_no_tangent_share(shipped):
    words = ("study=[blocks]", "scale=smoke", "svd.tol=1e-2", "device=cpu", "tracking=none", f"{OWN}.samples=1")
    context = Context(shipped, settings(*words, f"{OWN}.blocks=[mid]", f"{OWN}.t_fracs=[1.0]"))
    found = run_study("blocks", context, context.cfg.study["blocks"])
    assert found.table["tangent_share"].isna().all()
    assert isinstance(found.table, pd.DataFrame)
    assert set(found.scalars) == {"effective_dimension/output/mid/t_1"}
    assert not found.more_tables
