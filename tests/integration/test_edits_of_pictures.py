"""Edits of inverted pictures by the shipped model: the defaults leave pictures whole, and tables tell an edit's length.

Three rendered faces. P23a's formula alone, which was the default once, saturates them.
"""

import logging
from dataclasses import replace

import pytest
import torch
from PIL import Image

from diffgeo.api import run_study
from diffgeo.composition import check, typed
from diffgeo.data.factor_faces import render, sample_factors
from diffgeo.report.figures import draw
from diffgeo.session import Context
from diffgeo.studies import study_named

FORMULA = {"normalise": True, "rescale": False}
SETTINGS = (
    *("scale=smoke", "scale.steps=16", "scale.frames=3", "schedule.edit=[1.0,0.75]", "svd.rank=2", "svd.tol=1e-2"),
    *("device=cpu", "tracking=none", "store.enabled=false", "study=[discovery]", "study.discovery.directions=1"),
)


@pytest.fixture
def context(composed, shipped, tmp_path):
    for seed in range(3):
        factors = sample_factors(1, generator=torch.Generator().manual_seed(seed))
        values = ((render(factors, 32)[0].clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        Image.fromarray(values.permute(1, 2, 0).numpy()).save(tmp_path / f"face{seed}.png")
    cfg = typed(composed(*SETTINGS, f"data.images={tmp_path}"))
    check(cfg)
    return Context(shipped, cfg)


def discover(context, **edit):
    changed = replace(context, cfg=replace(context.cfg, edit=replace(context.cfg.edit, **edit)))
    return run_study("discovery", changed, context.cfg.study["discovery"])


def at_limits(result):
    """Share of values that are 0 or 255, by |γ| and timestep, over samples and both signs."""
    table = result.more_tables["traversals"]
    frames = result.tensors["frames"]
    shares = ((frames == 0) | (frames == 255)).float().mean(dim=(1, 2, 3)).numpy()[table["frame"]]
    return table.assign(size=table["gamma"].abs().round(2), share=shares).groupby(["t_frac", "size"])["share"].mean()


@pytest.mark.slow
def test_defaults_leave_pictures_whole_where_the_formula_alone_saturates_them(context, caplog):
    with caplog.at_level(logging.WARNING):
        plain = discover(context)
        bounded = discover(context, normalise=True)
    assert not caplog.records
    for result in (plain, bounded):
        assert at_limits(result).max() < 0.02
        lengths = result.more_tables["traversals"]
        assert lengths["x_change"].to_numpy() == pytest.approx(lengths["gamma"].abs().to_numpy(), rel=1e-3, abs=1e-4)
    assert not plain.table["edit_normalise"].any()
    assert bounded.table["edit_normalise"].all()

    with caplog.at_level(logging.WARNING):
        formula = discover(context, **FORMULA)
    broken = at_limits(formula)
    assert broken[1.0, 3.33] > 0.6
    assert broken[0.75, 3.33] > 0.2
    assert broken[1.0, 0.0] < 0.02  # unedited
    table = formula.more_tables["traversals"]
    ends = table[table["gamma"] != 0]
    assert (ends["x_change"] > 5 * ends["gamma"].abs()).all()
    (record,) = caplog.records  # once per study
    assert " at T, " in record.getMessage()
    assert "0.75 T" in record.getMessage()

    titles = [
        draw(study_named("discovery"), result)["discovery_traversals_1T"].get_suptitle() for result in (plain, formula)
    ]
    assert titles[0].endswith("columns: γ")
    assert "normalised, ‖x' − x‖ = " in titles[1]


@pytest.mark.parametrize(("normalise", "inverted", "generated"), [(None, False, True), (True, True, True)])
def test_generated_samples_are_normalised_by_default_and_inverted_pictures_are_not(
    context, normalise, inverted, generated
):
    cfg = replace(context.cfg, edit=replace(context.cfg.edit, normalise=normalise))
    for images, expected in ((cfg.data.images, inverted), (None, generated)):
        changed = Context(context.model, replace(cfg, data=replace(cfg.data, images=images)))
        (sample,) = changed.samples.first(1)
        assert changed.editor.normalises(sample) is expected
        assert changed.editor.normalises(sample, override=False) is False
