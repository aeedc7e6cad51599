"""The study of prompts on the shipped text-to-image model: its table against bases computed apart from it."""

import math
from dataclasses import replace

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from scipy.stats import spearmanr

from diffgeo.api import run_study
from diffgeo.composition import check, register, typed
from diffgeo.config import config_folder
from diffgeo.diffusion.models import load_model
from diffgeo.diffusion.sampling import ddim_sample, initial_noise
from diffgeo.errors import UnsuitableModelError
from diffgeo.geometry import grassmann_distance
from diffgeo.metrics.clip import load_clip
from diffgeo.report.figures import draw
from diffgeo.session import Context
from diffgeo.studies.prompts.measure import mantel
from diffgeo.svd import local_basis

PROMPTS = ["smiling face with long hair", "happy face with long hair", "sad face with short dark hair"]
SETTINGS = [
    "model=factor_faces_t2i",
    "prompt=face",
    "scale=smoke",
    "scale.steps=4",
    "schedule.edit=[1.0,0.5]",
    "svd.tol=1e-3",
    "device=cpu",
    "tracking=none",
    "study=[prompts]",
    f"study.prompts.prompts={PROMPTS}",
    "study.prompts.draws=99",
    "study.prompts.samples=1",
]

pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module")
def model():
    return load_model("factor_faces_t2i", prompt="face", guidance=3.0)


@pytest.fixture(scope="module")
def cfg():
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        found = typed(compose("config", SETTINGS))
    check(found)
    return found


@pytest.fixture(scope="module")
def result(cfg, model):
    return run_study("prompts", Context(model, cfg), cfg.study["prompts"])


def test_every_pair_is_there_at_every_place(result):
    table = result.table
    kinds = table.groupby(["t_frac", "kind", "guidance"]).size()
    assert set(kinds) == {3}
    assert set(kinds.index) == {(t, *k) for t in (1.0, 0.5) for k in (("path", 1.0), ("path", 3.0), ("fixed", 3.0))}
    assert (table["text_a"] == table["prompt_a"].map(dict(enumerate(PROMPTS)))).all()
    assert set(table["similarity_measure"]) == {"conditioning"}


def test_distances_are_those_of_bases_computed_by_hand(result, model):
    x_T, t_frac = initial_noise(model, [0]), 0.5
    t = model.schedule.nearest(t_frac, 4)

    def space(prompt, guidance, own_path):
        walker = model.prompted(prompt if own_path else "face").guided(guidance)
        x = ddim_sample(walker, x_T, steps=4, stop=t, clip=False)[0]
        return local_basis(model.prompted(prompt).feature_map(t), x, 5, tol=1e-3).truncated(4).U

    for kind, guidance in (("path", 1.0), ("path", 3.0), ("fixed", 3.0)):
        rows = result.table.query("t_frac == @t_frac and kind == @kind and guidance == @guidance")
        row = rows.query("prompt_a == 0 and prompt_b == 2").iloc[0]
        spaces = [space(PROMPTS[i], guidance, kind == "path") for i in (0, 2)]
        assert row["distance"] == pytest.approx(grassmann_distance(*spaces), abs=2e-2)


def test_at_the_top_neither_guidance_nor_the_path_matters(result):
    top = result.table[result.table["t_frac"] == 1.0]
    wide = top.pivot_table(index=["prompt_a", "prompt_b"], columns=["kind", "guidance"], values="distance")
    assert (wide.max(axis=1) == wide.min(axis=1)).all()


def test_similarity_is_the_cosine_of_what_the_network_sees(result, model):
    a, b, c = ((model.encode_prompt(p)["text"] - model.encode_prompt("")["text"]).flatten() for p in PROMPTS)
    rows = result.table.groupby(["prompt_a", "prompt_b"])["similarity"].first()
    assert rows[0, 1] == pytest.approx(torch.cosine_similarity(a, b, dim=0).item(), abs=1e-5)
    assert rows[0, 2] == pytest.approx(torch.cosine_similarity(a, c, dim=0).item(), abs=1e-5)
    assert rows[0, 1] > rows[0, 2] + 0.1, "a paraphrase is nearer than another face"


def test_with_clip_similarity_is_clips(cfg, model, clip_folder):
    clip = load_clip(str(clip_folder), {"smile": ["happy", "sad"]})
    small = replace(cfg, schedule=replace(cfg.schedule, edit=[1.0]))
    table = run_study("prompts", Context(model, small, clip), cfg.study["prompts"]).table
    embedded = clip.embed_text(PROMPTS)
    row = table.query("prompt_a == 0 and prompt_b == 2").iloc[0]
    assert row["similarity_measure"] == "clip"
    assert row["similarity"] == pytest.approx((embedded[0] @ embedded[2]).item(), abs=1e-5)


def test_the_summary_is_of_the_rows_and_is_drawn(result):
    summary = result.more_tables["similarity"].set_index(["t_frac", "kind", "guidance"])
    rows = result.table.query("t_frac == 0.5 and kind == 'path' and guidance == 3.0")
    one = summary.loc[0.5, "path", 3.0]
    assert one["distance_normalized"] == pytest.approx(rows["distance_normalized"].mean())
    assert one["rho"] == pytest.approx(spearmanr(rows["similarity"], rows["distance"]).statistic)
    assert list(draw(result)) == ["prompts_similarity"]


def test_a_model_without_prompts_is_refused(composed, cfg, shipped):
    with pytest.raises(UnsuitableModelError, match="factor_faces takes none"):
        check(typed(composed("study=[prompts]")))
    with pytest.raises(UnsuitableModelError, match="takes none"):
        run_study("prompts", Context(shipped, cfg), cfg.study["prompts"])


def _symmetric(values, n):
    matrix = torch.zeros(n, n, dtype=torch.float64)
    upper = torch.triu_indices(n, n, offset=1)
    matrix[upper[0], upper[1]] = values
    return matrix + matrix.T


def test_mantel_finds_what_is_there_and_nothing_where_nothing_is():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(8, 3, generator=generator, dtype=torch.float64)
    far = torch.cdist(points, points)
    rho, p = mantel(-far, far[None], draws=999, seed=0)
    assert rho == pytest.approx(-1)
    assert p == pytest.approx(0.001)
    rejected = 0
    for i in range(40):
        other = torch.randn(8, 3, generator=generator, dtype=torch.float64)
        rejected += mantel(-torch.cdist(other, other), far[None], draws=99, seed=i)[1] <= 0.05
    assert rejected <= 6  # P(more | 5 %) = 0.004


def test_mantel_of_what_cannot_be_ordered_is_nan():
    def of(similarity, distance):
        return mantel(similarity, distance[None], draws=99, seed=0)

    two = _symmetric(torch.ones(1, dtype=torch.float64), 2)
    flat = _symmetric(torch.ones(6, dtype=torch.float64), 4)
    steep = _symmetric(torch.arange(6, dtype=torch.float64), 4)
    for found in (of(two, two), of(flat, steep), of(steep, flat)):
        assert all(math.isnan(value) for value in found)
