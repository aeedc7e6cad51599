"""What studies say before that they would compute, against what they do compute."""

from collections import Counter
from contextlib import contextmanager

import pytest
import torch

from diffgeo.config import STUDY_SCHEMAS, check, typed
from diffgeo.feature_map import FeatureMap
from diffgeo.metrics.attributes import load_predictor
from diffgeo.models import LatentDiffusion, PixelDiffusion, load_model
from diffgeo.models.base import DiffusionModel
from diffgeo.noise_schedule import NoiseSchedule
from diffgeo.store import Store
from diffgeo.studies import Context, Work, run_study, study_work
from diffgeo.studies import context as context_module
from diffgeo.svd import expected_passes

SETTINGS = [
    "scale=smoke",
    "scale.samples=3",
    "scale.steps=6",
    "schedule.edit=[1.0,0.5]",
    "svd.tol=1e-3",
    "device=cpu",
    "tracking=none",
]
EVERYTHING = {
    "curvedness": ["study.curvedness.pairs=1", "study.curvedness.paths=[lerp,slerp,shooting,pursuit,shooting_x,geodesic]"],
    "disentanglement": ["study.disentanglement.methods=[local,nearest,pca_h,random,x0]"],
    "ablation": ["study.ablation.t_frac=0.5", "study.ablation.samples=2", "study.ablation.pca_samples=20"],
    "dataset_complexity": ["study.dataset_complexity.models=[factor_faces_4,factor_faces]"],
}
ABOUT = 0.3
"""How far an expectation may be off."""


@contextmanager
def counting(monkeypatch):
    """Counts of what the network does: (bases, their passes, evaluations, latents in them, features, pictures)."""
    done, inside = Counter(), []

    def counted(method, count):
        def wrapped(self, x, *args, **kwargs):
            outer = not inside
            inside.append(method)
            try:
                if outer:
                    count(x)
                return method(self, x, *args, **kwargs)
            finally:
                inside.pop()

        return wrapped

    def evaluation(x):
        done["evaluations"] += 1
        done["latents"] += len(x)

    def feature(x):
        done["features"] += len(x) if x.ndim == 4 else 1

    def picture(x):
        done["pictures"] += len(x)

    solve = context_module.local_basis

    def local_basis(*args, **kwargs):
        inside.append("a basis")
        try:
            basis = solve(*args, **kwargs)
        finally:
            inside.pop()
        done["bases"] += 1
        done["passes"] += basis.certificate.passes
        done["directions"] += basis.rank
        return basis

    with monkeypatch.context() as patch:
        for owner in (DiffusionModel, LatentDiffusion):
            patch.setattr(owner, "predict_noise", counted(owner.predict_noise, evaluation))
        for owner in (PixelDiffusion, LatentDiffusion):
            patch.setattr(owner, "decode", counted(owner.decode, picture))
        patch.setattr(FeatureMap, "__call__", counted(FeatureMap.__call__, feature))
        patch.setattr(context_module, "local_basis", local_basis)
        yield done


def promised(context, work):
    """The same counts, as ``work`` tells them: (exact, all), the latter with what is only about right."""
    exact, everything = Counter(), Counter()
    for task in work.settled(store=context.store is not None):
        counts = Counter()
        if task.kind == "basis":
            counts = Counter(bases=1, directions=task.rank)
        elif task.kind == "evaluation":
            counts = Counter(evaluations=task.count, latents=task.count * task.batch)
        else:
            counts[f"{task.kind}s"] = task.count * task.batch
        counts = Counter({key: value * task.times for key, value in counts.items()})
        everything.update(counts)
        if not task.about:
            exact.update(counts)
    return exact, everything


@pytest.fixture
def make_context(composed, tiny_unet, schedule, tmp_path):
    def make(name, *more, store=False):
        cfg = typed(composed(*SETTINGS, f"study=[{name}]", *EVERYTHING.get(name, ()), *more))
        check(cfg)
        model = PixelDiffusion(tiny_unet(size=16), schedule, name="tiny", source="random")
        return Context(model, cfg, load_predictor(), store=Store(tmp_path / "store") if store else None)

    return make


def compare(monkeypatch, context, name):
    cfg = context.cfg.study[name]
    exact, everything = promised(context, study_work(name, context, cfg))
    with counting(monkeypatch) as done:
        run_study(name, context, cfg)
    print(name, "\n   exact", dict(exact), "\n   all  ", dict(everything), "\n   done ", dict(done))
    for what in ("bases", "directions", "evaluations", "latents", "features", "pictures"):
        if exact[what] == everything[what]:
            assert done[what] == exact[what], what
        else:
            assert exact[what] <= done[what], what
            assert done[what] == pytest.approx(everything[what], rel=ABOUT), what
    return done


STUDIES = sorted(set(STUDY_SCHEMAS) - {"prompts"})


@pytest.mark.parametrize("store", [False, True], ids=["alone", "with a store"])
@pytest.mark.parametrize("name", STUDIES)
def test_a_study_computes_what_it_said(make_context, monkeypatch, name, store):
    compare(monkeypatch, make_context(name, store=store), name)
