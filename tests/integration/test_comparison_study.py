"""The comparison of the field's methods on the shipped model: its edits, its tables, its words."""

from types import SimpleNamespace
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from diffgeo.api import run_study
from diffgeo.composition import composed
from diffgeo.config.fields import check_fields
from diffgeo.errors import ConfigError, DataError
from diffgeo.metrics.attributes import load_predictor
from diffgeo.metrics.data_distance import DistanceFromData
from diffgeo.report.figures import draw
from diffgeo.report.reading import Run
from diffgeo.runner.prepare import prepare
from diffgeo.session import Context
from diffgeo.session.decoder import Decoder
from diffgeo.studies import study_named
from diffgeo.studies.comparison import composition
from diffgeo.studies.comparison.change_measures import Inside, OfAttribute
from diffgeo.studies.comparison.findings import _composition, findings
from diffgeo.studies.comparison.measure import ranks
from diffgeo.studies.comparison.methods import IN_H, SHARED, Methods
from diffgeo.studies.comparison.page import pictures, tables
from diffgeo.studies.comparison.settings import METHODS, ComparisonConfig
from diffgeo.studies.comparison.transfer import transferred
from diffgeo.studies.disentanglement.reference import reference_pictures
from diffgeo.studies.disentanglement.settings import DisentanglementConfig
from diffgeo.studies.shared.matching import Matched, turned
from diffgeo.studies.shared.matching import pictures as decoded

SMALL = (
    *("scale=smoke", "schedule.steps=5", "svd.rank=2", "svd.tol=1e-2", "device=cpu", "tracking=none"),
    *("store.enabled=false", "study=[comparison]", "study.comparison.pictures=24", "metric=rmse"),
    *("study.comparison.samples=2", "study.comparison.training=2", "study.comparison.methods=null"),
)
COMPOSE = "study.comparison.compose=[smile,background_hue]"
PAGE = ("means", "published", "inside", "target", "strengths", "composed", "ranks")


@pytest.fixture(scope="module")
def context():
    return lambda *words: prepare(composed([*SMALL, *words]))


@pytest.fixture(scope="module")
def methods(context):
    """Directions at 0.6T, samples that make the global ones, and one that is edited."""
    run = context("data.masks=smile")
    cfg = run.cfg.study["comparison"]
    [(_, t)] = run.times_of([0.6], "t")
    reference = reference_pictures(run, DisentanglementConfig(codes=24), run.predictor, [t])
    return Methods(run, cfg, t, run.samples.first(2), reference), run.samples.first(4)[2:], run, t, reference


@pytest.mark.nightly
def test_every_method_gives_unit_directions_of_its_space(methods):
    found, (sample, other), run, t, _ = methods
    assert found.names == list(METHODS)
    assert found.attribute == "smile"
    m = run.bases.of(sample, t).U.shape[0]
    for name in METHODS:
        here, there = found.found(name, sample), found.found(name, other)
        assert here.columns.shape == (m if name in IN_H else 3072, 1), name
        assert here.columns.norm(dim=0).item() == pytest.approx(1, abs=1e-4), name
        same = torch.equal(here.columns, there.columns)
        assert same == (name in SHARED and name != "global"), name
        assert (here.passes > 0) == (name not in ("random", "random_h")), name


def test_the_supervised_directions_are_mean_differences_free_of_the_others(methods):
    found, (sample, _), _, t, reference = methods
    j = reference.factor_names.index("smile")
    has = reference.factors[:, j] > 0
    x = reference.latents[t].flatten(1)
    plain = torch.nn.functional.normalize(x[has].mean(dim=0) - x[~has].mean(dim=0), dim=0)
    v = found.found("supervised", sample).columns[:, 0]
    assert 0.3 < (v @ plain).item() < 1 - 1e-4
    glasses = reference.factors[:, reference.factor_names.index("glasses")] > 0
    other = x[glasses].mean(dim=0) - x[~glasses].mean(dim=0)
    assert abs(v @ other / other.norm()) < 1e-4


@pytest.mark.slow
def test_a_direction_found_elsewhere_is_taken_as_it_is(methods):
    found, (sample, other), run, t, _ = methods
    [edit] = found.edits("loco", sample, other)
    wanted = 2 * found.found("loco", other).columns[:, 0].reshape(3, 32, 32)
    torch.testing.assert_close(edit.offset(2.0), wanted)
    [edit] = found.edits("eps_h", sample, other)
    scale = run.bases.of(sample, t).s[0]
    torch.testing.assert_close(edit.offset(2.0), 2 * scale * found.found("eps_h", other).columns[:, 0])
    assert edit.through.symmetric
    assert (edit.through.first, edit.through.last) == (t, 299)


@pytest.mark.slow
def test_edits_of_h_decode_together_as_they_do_alone_and_turned_ones_the_other_way(methods):
    found, (sample, other), run, t, _ = methods
    edits = [edit for name in ("local_h", "pca_h", "asyrp", "random_h") for edit in found.edits(name, sample, other)]
    edits.append(turned(edits[0]))
    gammas = [2.0, 3.0, 4.0, 5.0, -2.0]
    runs = []
    with mock.patch.object(Decoder, "__call__", autospec=True, side_effect=Decoder.__call__) as decode:
        together, _ = decoded(run, sample, t, edits, gammas)
        runs = [len(call.args[1]) for call in decode.call_args_list]
    assert sorted(runs) == [1, 4], "one batch of asymmetric edits, one of symmetric ones"
    alone = torch.cat([decoded(run, sample, t, [edit], [gamma])[0] for edit, gamma in zip(edits, gammas, strict=True)])
    torch.testing.assert_close(together, alone, atol=1e-3, rtol=0)
    torch.testing.assert_close(together[0], together[4], atol=1e-3, rtol=0)
    assert min((a - b).abs().max() for i, a in enumerate(together[:4]) for b in together[:i]) > 0.01


@pytest.fixture(scope="module")
def result():
    cfg = composed([*SMALL, "data.masks=smile", "study.comparison.methods=[x0,loco,asyrp]", COMPOSE])
    return run_study("comparison", prepare(cfg), cfg.study["comparison"])


@pytest.mark.slow
def test_the_tables_have_a_row_per_edit_with_its_measures(result):
    table, inside = result.table, result.more_tables["inside"]
    assert table.groupby("method").size().to_dict() == {"asyrp": 2, "loco": 2, "x0": 2}
    assert set(table["sample"]) == {2, 3}
    assert table["frame"].is_unique
    assert (table["frame"].max(), len(result.tensors["frames"])) == (7, 8)
    assert table["locality"].between(0, 1).all()
    assert table["ssim"].between(-1, 1).all()
    assert (table["x_change"] > 0).tolist() == (table["method"] != "asyrp").tolist()
    matched = inside[inside["matched"]]
    assert len(matched) >= 4
    assert np.allclose(matched["inside"], matched["change_wanted"], rtol=0.11)
    assert np.allclose(inside["spill"], inside["outside"] / inside["inside"])
    assert {"local_success", "precision", "ssim", "locality", "off_data", "delta_smile"} <= set(inside)
    successes = table[table["local_success"] == 1]
    assert table["transfer_success"].notna().sum() == len(successes)


@pytest.mark.slow
def test_every_edit_is_brought_to_the_same_change_of_the_attribute(result):
    target = result.more_tables["target"]
    assert (target["wanted"] == "smile").all()
    assert (target["change_wanted"] == 0.5).all()
    matched = target[target["matched"]]
    assert len(matched) >= 2, "some reach it"
    assert np.allclose(matched["effect"], 0.5, rtol=0.11)
    # towards one side for all edits of a sample, by as much as the attribute itself says
    for _, part in matched.groupby("sample"):
        assert np.allclose(part["delta_smile"].abs(), part["effect"])
        assert part["delta_smile"].gt(0).nunique() == 1
    names = [column for column in target if column.startswith("delta_") and column != "delta_smile"]
    assert np.allclose(target["off_target"], target[names].abs().mean(axis=1), rtol=1e-4)
    assert np.allclose(target["precision"], target["delta_smile"].abs() / target["off_target"], rtol=1e-3)
    first = result.table.set_index(["sample", "method"])["delta_smile"]
    turned = target.set_index(["sample", "method"])["turned"]
    sides = matched.set_index(["sample", "method"])["delta_smile"] > 0
    for key, side in sides.items():
        assert turned[key] == ((first[key] > 0) != side)


@pytest.mark.slow
def test_effects_at_other_strengths_are_of_the_told_methods(result):
    table = result.more_tables["strengths"]
    assert set(zip(table["method"], table["share"], strict=True)) == {("asyrp", 0.5), ("asyrp", -1.0)}
    whole = result.table[result.table["method"] == "asyrp"].set_index("sample")
    names = [column for column in table if column.startswith("delta_")]
    for row in table.to_dict("records"):
        expected = row["share"] * whole.loc[row["sample"], names].to_numpy(float)
        found = np.array([row[name] for name in names])
        departure = np.linalg.norm(found - expected) / np.linalg.norm(expected)
        assert row["departure"] == pytest.approx(departure, rel=1e-3)
        assert row["cosine"] == pytest.approx(
            found @ expected / np.linalg.norm(found) / np.linalg.norm(expected), abs=1e-4
        )
    assert table["off_data"].between(1e-3, 0.5).all()
    half = table[table["share"] == 0.5].set_index("sample")["off_data"]
    assert (half < 1.2 * whole["off_data"]).all(), "half of the way is not further off"


@pytest.mark.slow
def test_edits_in_two_masks_are_made_alone_and_at_once(result):
    table, inside = result.more_tables["composed"], result.more_tables["inside"]
    assert table.groupby(["sample", "method"])["mask"].agg(list).tolist() == [["smile", "background_hue"]] * 4
    assert table["change_wanted"].unique().tolist() == inside["change_wanted"].unique().tolist()
    assert table["matched"].sum() >= 6
    assert table["frame_all"].max() + 1 == len(result.tensors["composed"]) == 14
    pictures = result.tensors["composed"].double()
    for (sample, _), part in table.groupby(["sample", "method"]):
        original = pictures[table[table["sample"] == sample]["frame"].min() - 1]
        change, alone = pictures[part["frame_all"].iloc[0]] - original, pictures[part["frame"].tolist()] - original
        whole = alone.sum(dim=0)
        interaction = ((change - whole).norm() / whole.norm()).item()
        assert part["interaction"].tolist() == pytest.approx([interaction] * 2, abs=0.1), "clipped, in colour levels"
    off = DistanceFromData(load_predictor())
    for column, frame in (("off_data", "frame"), ("off_data_all", "frame_all")):
        shown = off(pictures[table[frame].tolist()].float() / 127.5 - 1)
        assert table[column].tolist() == pytest.approx(shown.tolist(), abs=5e-3), column


@pytest.mark.parametrize(("power", "departure", "interaction"), [(1, (0, 1), 0), (2, (0, 3), 2 / 5**0.5)])
def test_changes_that_add_up_depart_from_their_sum_by_nothing(monkeypatch, power, departure, interaction):
    """A picture that is a power of what is added to x, two pixels, a mask each; one edit reaches into the other's.

    The steps are (1, 1) and 2 · (0, ½): at once (1, 2), or (1, 4) of power 2, where the sum is (1, 2).
    """
    masks = {"left": torch.tensor([[True, False]]), "right": torch.tensor([[False, True]])}
    directions = {"left": torch.tensor([1.0, 1.0]), "right": torch.tensor([0.0, 0.5])}
    strengths = iter([1.0, 2.0, 1.0, 1.0])

    def shown(context, sample, t, edits, gammas):
        return torch.stack([edit.offset(gamma) ** power for edit, gamma in zip(edits, gammas, strict=True)]), None

    def matched(context, sample, t, edits, target, *, measure):
        assert edits[0].normalise is False
        gamma = torch.tensor([next(strengths)])
        picture, one = edits[0].offset(gamma.item())[None] ** power, torch.ones(1)
        target = 0.5 + gamma.item() if target is None else target
        return Matched(target, gamma, one, one, torch.zeros_like(picture), picture)

    def direction(context, x, t, mask, **_):
        return next(directions[name][:, None] for name, one in masks.items() if one is mask), 0

    stand_ins = {"pictures": shown, "match_edits": matched, "loco": direction, "output_map": lambda *_: None}
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(composition, name, stand_in)
    run = SimpleNamespace(latents=mock.Mock(), bases=mock.Mock(), model=SimpleNamespace(latent_shape=(1, 1, 2)))
    run.bases.of_map.return_value = SimpleNamespace(V=torch.eye(2))
    run.measured = lambda edited, original: {"off": (edited - original).amax(dim=(1, 2, 3)).tolist()}
    found = composition.composed(run, SimpleNamespace(index=0, name="a"), 9, masks, null_rank=1, limit=4.0)
    assert [row["change_wanted"] for row in found.rows] == [1.5] * 4, "the first sets it for all"
    assert [row["departure"] for row in found.rows] == pytest.approx([*departure, 0, 0])
    assert [row["interaction"] for row in found.rows] == pytest.approx([interaction] * 2 + [0] * 2)
    assert [row["frame"] for row in found.rows] == [1, 2, 4, 5]
    assert [row["off"] for row in found.rows[:2]] == [1, 1], "of each edit alone"
    assert [row["off_all"] for row in found.rows] == [2**power] * 2 + [1] * 2, "of all at once"
    assert found.pictures[found.rows[0]["frame_all"]].flatten().tolist() == [1, 2**power]


def test_masks_that_overlap_are_told_apart_and_what_is_not_there_is_refused_by_its_setting(context, tmp_path):
    masks = {"a": torch.tensor([[True, True, False]]), "b": torch.tensor([[False, True, True]])}
    assert {name: mask.int().tolist() for name, mask in composition.apart(masks, "").items()} == {
        "a": [[1, 0, 0]],
        "b": [[0, 0, 1]],
    }
    with pytest.raises(ConfigError, match="the mask b has 0 of its 1 pixels to itself in seed 3"):
        composition.apart({"a": masks["a"], "b": masks["a"] & masks["b"]}, "seed 3")
    few = ("study.comparison.pictures=12", "study.comparison.samples=1", "study.comparison.methods=[random]")
    for words, said in {
        "[smil,glasses]": r"study\.comparison\.compose=smil does not exist",
        f"[{tmp_path}/no.png,smile]": r"study\.comparison\.compose=.*no\.png does not exist",
    }.items():
        run = context(*few, f"study.comparison.compose={words}")
        with pytest.raises(DataError, match=said):
            run_study("comparison", run)
    with pytest.raises(ConfigError, match=r"compose=\['smile'\] is not possible; allowed: null, or two masks or more"):
        check_fields(ComparisonConfig(compose=["smile"]), "study.comparison.")


def test_composed_edits_are_compared_where_both_methods_reach_the_change():
    rows = [
        {
            "sample": i,
            "mask": mask,
            "method": method,
            "departure": value,
            "matched": (i, mask, method) != (0, "b", "x0"),
        }
        for i in range(8)
        for mask, factor in (("a", 1.0), ("b", 100.0))
        for method, value in (("loco", factor), ("x0", 10 * factor))
    ]
    table = pd.DataFrame(rows)
    found = _composition(table)
    assert found.headline == "Made at once, LOCO's edits disturb each other less than unmasked ones."
    assert "less that of LOCO is 2.30" in found.detail, "log 10 in every sample, whichever masks it has left"
    assert "1 of 32 edits missed" in found.detail
    assert "mean" not in _composition(table.assign(matched=False)).detail


@pytest.mark.slow
def test_figures_page_and_findings_are_made_of_the_tables_alone(result, tmp_path):
    assert set(draw(study_named("comparison"), result)) == {
        f"comparison_{name}" for name in ("composed", "edits", "measures", "spill", "target")
    }
    stems = {"comparison": result.table} | {f"comparison_{k}": v for k, v in result.more_tables.items()}
    (tmp_path / "tensors").mkdir()
    save_file(result.tensors, tmp_path / "tensors" / "comparison.safetensors")
    facts = {"settings": {"study": {"comparison": {}}}, "model": {"source": "m"}}
    run = Run(tmp_path, facts | {"files": ["tensors/comparison.safetensors"]}, stems)
    shown = {table.id: table for table in tables(run)}
    assert set(shown) == {f"table-comparison-{name}" for name in PAGE}
    published = shown["table-comparison-published"]
    assert "people" in str(published.note)
    assert [row[0].text for row in published.rows][-2:] == ["NoiseCLR", "BlendedDiffusion"]
    assert [cell.text for cell in published.rows[-1]] == [
        "BlendedDiffusion",
        "–",
        "0.550",
        "–",
        "–",
        "0.0300",
        "–",
        "0.940",
        "0",
    ]
    others = Run(tmp_path, run.facts, {"comparison": result.table.assign(method="random")})
    assert "table-comparison-published" not in {table.id for table in tables(others)}, "none of LOCO's table"
    [shown] = pictures(run)
    assert [len(row.pictures) for row in shown.rows] == [4]
    adding, spill = findings(run)
    assert "at once" in adding.headline
    assert "in the mask of background hue" in adding.detail
    with mock.patch("diffgeo.studies.comparison.findings.FEWEST", 2):
        *_, cost = findings(run)
    assert "the same change of smile" in cost.headline
    assert "outside / inside of ∂x̂0/∂x less that of LOCO is" in spill.detail


def test_what_a_run_lacks_leaves_methods_out_and_a_wrong_attribute_is_refused(context, methods):
    *_, reference = methods
    blind, unknown = {"asyrp", "supervised"}, mock.patch.object(Context, "known_factors", ())
    for words, missing in (([], {"loco", *blind}), (["data.masks=[0,0,0.5,1]"], blind)):
        with unknown:
            run = context(*words)
            found = Methods(run, run.cfg.study["comparison"], 599, [], reference)
            assert set(METHODS) - set(found.names) == missing
    run = context(COMPOSE)
    assert list(Methods(run, run.cfg.study["comparison"], 599, [], reference).places) == ["smile", "background_hue"]
    with mock.patch.dict(run.__dict__, {"data_distance": None}):
        assert Methods(run, run.cfg.study["comparison"], 599, [], reference).places == {}
    run = context("study.comparison.attribute=moustache")
    with pytest.raises(ConfigError, match=r"attribute=moustache is not known; known are background_hue"):
        Methods(run, run.cfg.study["comparison"], 599, [], reference).names  # noqa: B018
    with unknown, pytest.raises(ConfigError, match=r"methods=\['loco'\] is not possible; allowed: others too"):
        run_study("comparison", context("study.comparison.methods=[loco]", "study.comparison.pictures=12"))


@pytest.mark.parametrize(("attribute", "masks"), [("null", "smile"), ("hair_length", "hair_length")])
def test_portraits_that_the_model_drew_have_the_mask_of_the_attribute(context, methods, attribute, masks):
    *_, reference = methods
    run, asked = context(f"study.comparison.attribute={attribute}"), context(f"data.masks={masks}")
    found = Methods(run, run.cfg.study["comparison"], 599, [], reference)
    assert found.names == list(METHODS)
    assert found.attribute == masks
    sample = run.samples.first(1)[0]
    assert torch.equal(found.masks.of(sample), asked.masks.of(sample))
    assert not run.masks, "the run itself has none"


def test_without_a_predictor_nothing_is_compared(context, caplog):
    result = run_study("comparison", context("predictor=none"))
    assert result.table.empty
    assert "needs an attribute predictor" in caplog.text


def test_ranks_share_ties_and_friedmans_test_is_scipys():
    rows = [
        {"sample": sample, "method": method, "direction": 0, "ssim": value, "locality": value}
        for sample, values in enumerate([(1, 2, 3), (1, 3, 2), (1, 2, 2), (0, 5, 6)])
        for method, value in zip("abc", values, strict=True)
    ]
    found = pd.DataFrame(ranks({"change": pd.DataFrame(rows)})).set_index(["measure", "method"])
    assert found.loc["ssim", "mean_rank"].to_dict() == {"a": 3, "b": 1.625, "c": 1.375}
    assert found.loc["locality", "mean_rank"].to_dict() == {"a": 1, "b": 2.375, "c": 2.625}
    assert found["n"].unique().tolist() == [4]
    # by hand: rank sums 4, 9.5, 10.5; 12/(4·3·4) Σ R² − 3·4·4, over 1 − Σ(t³ − t)/(4·3·8) for the one tie of two
    wanted = (12 / 48 * (4**2 + 9.5**2 + 10.5**2) - 48) / (1 - 6 / 96)
    assert found.loc["ssim", "chi2"].to_list() == pytest.approx([wanted] * 3)
    rows = [row | {"sample": 0} for row in rows[:3]]
    assert np.isnan(pd.DataFrame(ranks({"change": pd.DataFrame(rows)}))["p"]).all()


def test_a_method_that_never_succeeds_is_last_and_not_left_out():
    rows = [
        {"sample": sample, "method": method, "direction": 0, "transfer_success": success, "transfer": 0.5}
        for sample in range(3)
        for method, success in (("a", 1.0), ("b", 0.0), ("c", np.nan))
    ]
    table = pd.DataFrame(rows)
    found = pd.DataFrame(ranks({"change": table})).set_index(["measure", "method"])
    assert found.loc["transferred", "mean_rank"].to_dict() == {"a": 1, "b": 2.5, "c": 2.5}
    table.loc[table["sample"] == 2, "transfer"] = np.nan  # whose directions nobody tried elsewhere
    assert transferred(table).tolist() == [1, 0, 0, 1, 0, 0, *[pytest.approx(np.nan, nan_ok=True)] * 3]
    never = table.assign(transfer=table["transfer"].where(table["method"] != "c"))
    assert list(ranks({"change": never})) == [], "one method has no value at all"


def test_edits_that_cannot_reach_the_change_of_the_attribute_come_last():
    table = pd.DataFrame(
        {"sample": [0, 0, 0, 1, 1, 1], "method": list("abcabc"), "direction": 0}
        | {"change": [0.1, 0.2, 0.3, 0.3, 0.2, 0.1], "matched": [False, True, True, False, True, False]}
    )
    found = pd.DataFrame(ranks({"target": table})).set_index(["at", "measure", "method"])
    assert found.loc[("target", "change"), "mean_rank"].to_dict() == {"a": 2.75, "b": 1, "c": 2.25}


def test_the_change_of_an_attribute_counts_the_wanted_way_alone():
    def attributes(a, b):
        return (a - b).mean(dim=(2, 3))

    a, b = torch.tensor([[0.0, 2, 0], [0, -3, 0]])[..., None, None].expand(2, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    assert OfAttribute(attributes, 1, 1)(a, b).tolist() == [2, 0]
    assert OfAttribute(attributes, 1, -1)(a, b).tolist() == [0, 3]
    assert OfAttribute(attributes, 1, 1)(a.clone().index_fill_(3, torch.tensor(2), torch.inf), b).tolist() == [0, 0]


def test_the_change_inside_a_mask():
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[0, :2] = True
    a, b = torch.zeros(2, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    a[0, :, 0, 0] = 1
    a[1, :, 3, 3] = 1
    assert Inside(mask)(a, b).tolist() == pytest.approx([0.5**0.5, 0])


@pytest.mark.nightly
def test_locos_directions_spill_less_outside_of_the_true_mask_than_unmasked_ones():
    words = [
        "data.masks=smile",
        "study.comparison.samples=6",
        "schedule.steps=10",
        "study.comparison.methods=[x0,loco]",
    ]
    result = run_study("comparison", prepare(composed([*SMALL, *words])))
    assert result.scalars["spill/x0_minus_loco_low"] > 0
