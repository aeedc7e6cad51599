"""Which block plays the part of h: the study on the shipped model and on tiny networks."""

import math

import pandas as pd
import pytest
import torch

from diffgeo.api import run_study, settings
from diffgeo.diffusion.models import load_model
from diffgeo.errors import ConfigError
from diffgeo.geometry import effective_dimension, isometry
from diffgeo.metrics.attributes import load_predictor
from diffgeo.report.formatting import number
from diffgeo.report.reading import Run
from diffgeo.session import Context
from diffgeo.studies.blocks.findings import findings
from diffgeo.studies.blocks.measure import _consistency, trimmed
from diffgeo.studies.blocks.page import tables
from diffgeo.studies.blocks.plots import charts
from diffgeo.studies.blocks.settings import MAPS
from folders import joint_pipeline

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


def test_samples_that_leave_out_other_channels_are_compared_in_those_that_both_have():
    u = torch.linalg.qr(torch.randn(20, 3, generator=torch.Generator().manual_seed(0))).Q
    kept = u.reshape(5, 4, 3)
    [row] = _consistency([(0, u, []), (1, kept[[0, 2, 3, 4]].flatten(0, 1), [1])], 5)
    inside = kept.clone()
    inside[1] = 0
    assert row["shared"] == pytest.approx((u.T @ inside.flatten(0, 1)).square().sum().item() / 3)
    assert row["chance"] == pytest.approx(3 * 16 / (20 * 16))
    spans = [torch.linalg.qr(torch.randn(12, 3, generator=torch.Generator().manual_seed(i))).Q for i in range(60)]
    many = list(_consistency([(i, u, [i % 2]) for i, u in enumerate(spans)], 4))
    for chance in (3 / 12, 3 * 8 / 12**2):
        shared = [row["shared"] for row in many if row["chance"] == pytest.approx(chance)]
        assert sum(shared) / len(shared) == pytest.approx(chance, rel=0.05)


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


@pytest.mark.slow
def test_the_maps_of_a_transformer_are_those_of_the_dense_jacobian(tmp_path):
    joint_pipeline().save_pretrained(tmp_path)
    model, rank, massive, block = load_model(tmp_path, prompt="a face"), 5, 1.3, "transformer_blocks.1"
    words = (f"{OWN}.maps=[{','.join(MAPS)}]", f"{OWN}.massive={massive}", f"{OWN}.rank={rank}", f"{OWN}.samples=2")
    words += (f"feature.block={block}", "schedule.edit=[1.0,0.5]", "schedule.steps=2", "svd.tol=1e-3", "device=cpu")
    context = Context(model, settings("study=[blocks]", "scale=smoke", "tracking=none", *words))
    found = run_study("blocks", context, context.cfg.study["blocks"])
    table = found.table
    assert set(table["block"]) == set(model.blocks)
    assert len(table) == 2 * 2 * 3 * len(MAPS) == len(table.drop_duplicates(["sample", "t", "block", "map"]))
    sample, (_, t) = context.samples[1], context.edit_times[1]
    x = context.latents.of(sample, t)
    rows = table[(table["sample"] == sample.index) & (table["t"] == t) & (table["block"] == block)].set_index("map")
    f = {tap: model.feature_map(t, block, tap=tap) for tap in ("output", "update", "normalised")}
    f["trimmed"], left_out = trimmed(f["output"], x, massive)
    assert 0 < rows.loc["trimmed", "left_out"] == len(left_out)
    for name in MAPS:
        s = torch.linalg.svdvals(torch.autograd.functional.jacobian(f[name], x).reshape(-1, x.numel()))[:rank]
        assert rows.loc[name, "effective_dimension"] == pytest.approx(effective_dimension(s), rel=1e-3), name
        assert rows.loc[name, ["condition", "log_spread"]].tolist() == pytest.approx(isometry(s), rel=1e-2), name
    assert rows["effective_dimension"].nunique() == len(MAPS)
    read = {"blocks": table, "blocks_consistency": found.more_tables["consistency"]}
    assert any("t = T (log-SNR −∞)" in chart.alt for chart in charts(read))
    for shown in tables(Run(tmp_path, {}, read, None, ())):
        place = [column.heading for column in shown.columns].index("log-SNR")
        assert {row[place].text for row in shown.rows} == {"−∞", number(model.schedule.log_snr(t))}


def test_the_page_has_isometry_consistency_and_gains_with_what_they_mean(tmp_path):
    where = {"t_frac": 1.0, "t": 999, "log_snr": -10.0, "map": "output"}
    rows = [
        {**where, "sample": i, "block": block, "depth": depth, "tangent_share": 0.1, "chance": 0.01, "left_out": 0}
        | {"effective_dimension": 2.0, "condition": i + 3.0, "log_spread": 0.5, "vitality": 0.2}
        for i in range(3)
        for block, depth in (("mid", 0.4), ("up.1", 0.6))
    ]
    pairs = [{**where, "block": "mid", "depth": 0.4, "shared": share, "chance": 0.1} for share in (0.2, 0.4, 0.9)]
    precision = {"mid": (4.0, 4.0, 4.0), "up.1": (1.0, 2.0, 4.0), "random": (1.0, 1.0, 2.0)}
    edits = [
        {"sample": i, "t_frac": 1.0, "t": 999, "block": block, "precision": values[i], "matched": i > 0}
        for i in range(3)
        for block, values in precision.items()
    ]
    made = {"blocks": rows, "blocks_consistency": pairs, "blocks_edits": edits}
    read = {key: pd.DataFrame(value) for key, value in made.items()}
    blocks, shared, gained = tables(Run(tmp_path, {}, read, None, ()))

    def cells(table, heading):
        place = [column.heading for column in table.columns].index(heading)
        return [row[place].sort for row in table.rows]

    assert cells(blocks, "condition number") == [4.0, 4.0]
    assert cells(shared, "shared directions") == pytest.approx([0.5])
    assert cells(shared, "pairs") == [3]
    means = [(2 * math.log(4) + math.log(2)) / 3, 2 * math.log(2) / 3]
    assert cells(gained, "block") == ["mid", "up.1"]
    assert cells(gained, "gain of precision over random") == pytest.approx(means)
    assert cells(gained, "share matched") == pytest.approx([2 / 3, 2 / 3])
    for table, heading in ((blocks, "condition number"), (shared, "shared directions")):
        assert heading in table.glossary
    assert {"gain of precision over random", "edit precision", "share matched"} <= set(gained.glossary)
    assert {"blocks-condition", "blocks-log-spread", "blocks-shared", "blocks-gain"} <= {
        one.name for one in charts(read)
    }
