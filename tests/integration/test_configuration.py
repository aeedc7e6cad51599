"""Every file of ``conf/`` composes onto its schema, and the checks across fields name what they refuse."""

from dataclasses import fields, is_dataclass

import pytest
from omegaconf import OmegaConf

from diffgeo.composition import check, typed
from diffgeo.config import Config, config_folder, leaf_keys, nearest
from diffgeo.errors import ConfigError
from diffgeo.studies import studies

GROUPS = [f.name for f in fields(Config)]
CHOICES = [(g, path.stem) for g in GROUPS for path in sorted((config_folder() / g).glob("*.yaml"))]
SOLVERS = [choice for group, choice in CHOICES if group == "svd"]
MANDATORY = {
    ("model", "local"): ["model.path=folder"],
    ("model", "afhq_dog"): ["model.path=folder"],
    ("model", "sd15"): ["prompt=face"],
    ("model", "sd21_base"): ["prompt=face"],
    ("model", "local_sd"): ["model.path=folder", "prompt=face"],
    ("model", "local_class"): ["model.path=folder", "model.class_label=1"],
    ("model", "dit_xl_256"): ["model.class_label=1"],
    **{
        ("model", name): ["prompt=face"]
        for name in ("sdxl_base", "sd3_medium", "flux_dev", "pixart_alpha", "sana_600m")
    },
    ("study", "prompts"): ["model=factor_faces_t2i", "prompt=face"],
    ("data", "images"): ["data.images=."],
    ("predictor", "classifier"): ["predictor.path=net.pt", "predictor.names=[smiling]"],
}


def overrides_for(group, choice):
    chosen = [f"study=[{choice}]"] if group == "study" else [f"{group}={choice}"]
    return [*chosen, *MANDATORY.get((group, choice), [])]


def test_every_group_has_a_choice():
    assert {g for g, _ in CHOICES} >= {"model", "data", "schedule", "feature", "svd", "edit", "study", "tracking"}


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_composes_onto_its_schema_and_passes_the_checks(composed, group, choice):
    config = typed(composed(*overrides_for(group, choice)))
    assert isinstance(config, Config)
    node = config.study[choice] if group == "study" else getattr(config, group)
    assert is_dataclass(node)
    check(config)


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_is_documented_by_its_first_comment(group, choice):
    lines = (config_folder() / group / f"{choice}.yaml").read_text().splitlines()
    assert any(line.startswith("# ") and "@package" not in line for line in lines[:2])


def test_every_solver_and_every_study_has_a_file():
    assert SOLVERS == ["dense", "golub_kahan", "randomized", "subspace"]
    assert {c for g, c in CHOICES if g == "study"} == {s.name for s in studies().values() if s.folder is None}


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_solver_choice_sets_its_own_name(composed, solver):
    assert typed(composed(f"svd={solver}")).svd.solver == solver


def test_defaults_are_the_shipped_model_and_the_studies_that_can_tell_something_of_a_few_samples(composed):
    config = typed(composed())
    assert config.model.path == "factor_faces"
    assert list(config.study) == [
        "discovery",
        "spectrum",
        "frequency",
        "tangent_truth",
        "global_consistency",
        "curvedness",
        "tangent_distance",
        "denoiser",
        "comparison",
        "disentanglement",
    ]
    assert config.seed == 0
    assert {f.name for f in fields(config)} == set(composed()) - {"hydra"}


@pytest.mark.parametrize("model", ["factor_faces_t2i", "factor_faces_flow", "factor_faces_flow_unet"])
def test_a_text_to_image_model_that_ships_has_a_prompt_unless_one_is_given(composed, model):
    for words, prompt in (((), "portrait of a face"), (("prompt=hat",), "hat")):
        config = typed(composed(f"model={model}", *words))
        assert (config.prompt, config.model.prompt) == (prompt, prompt)
        check(config)
    with pytest.raises(ConfigError, match="prompt=null is not possible; allowed: a text"):
        check(typed(composed(f"model={model}", "prompt=null")))
    with pytest.raises(ConfigError, match="prompt=null is not possible; allowed: a text"):
        check(typed(composed("model=sd15")))
    assert typed(composed()).prompt is None


def test_no_study_at_all_is_refused(composed):
    config = typed(composed("study=[]"))
    assert config.study == {}
    with pytest.raises(ConfigError, match=r"study=\[\] is not possible; allowed: one or more of discovery"):
        check(config)


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("model.path=google/x", "model.path", "google/x"),
        ("schedule.steps=7", "schedule.steps", 7),
        ("schedule.edit=[1.0,0.5]", "schedule.edit", [1.0, 0.5]),
        ("schedule.edit_log_snr=[-2,0.5]", "schedule.edit_log_snr", [-2.0, 0.5]),
        ("feature.block=down.1", "feature.block", "down.1"),
        ("feature.pool=sum", "feature.pool", "sum"),
        ("feature.pool=null", "feature.pool", None),
        ("svd.rank=9", "svd.rank", 9),
        ("svd.tol=1e-3", "svd.tol", 1e-3),
        ("seed=3", "seed", 3),
        ("device=cpu", "device", "cpu"),
        ("study.discovery.directions=4", "study.discovery.directions", 4),
    ],
)
def test_a_key_can_be_set_and_arrives_with_its_type(composed, override, key, value):
    cfg = composed(override)
    assert OmegaConf.select(cfg, key) == value
    check(typed(cfg))


def test_model_local_without_a_path_is_refused(composed):
    with pytest.raises(ConfigError, match=r"model\.path has no value"):
        typed(composed("model=local"))


def test_data_images_without_images_is_refused(composed):
    with pytest.raises(ConfigError, match=r"data\.images"):
        check(typed(composed("data=images")))


@pytest.mark.parametrize("value", ["faces", "a.png", "[a.png,b.jpg]", "['a b.png']"])
def test_pictures_are_a_folder_a_file_or_a_list(composed, value):
    images = typed(composed("data=images", f"data.images={value}")).data.images
    assert images == (value if value[0] != "[" else ["a.png", "b.jpg"] if "," in value else ["a b.png"])


WRONG = [
    ("data=images data.images=[]", "data.images"),
    ("data=images data.images=3", "data.images"),
    ("data=images data.images=[a.png,3]", "data.images"),
    ("data=images data.images=[[a.png]]", "data.images"),
    ("data=images data.images={a:b.png}", "data.images"),
    ("model.dtype=float16", "model.dtype"),
    ("study.disentanglement.methods=[local,local]", "study.disentanglement.methods"),
    ("study.disentanglement.samples=2", "study.disentanglement.samples"),
    ("study.disentanglement.training=4", "study.disentanglement.training"),
    ("study.disentanglement.levels=[1.5]", "study.disentanglement.levels"),
    ("study.disentanglement.still=0", "study.disentanglement.still"),
    ("study.disentanglement.regressor=tree", "study.disentanglement.regressor"),
    ("study.disentanglement.t_fracs=[0]", "study.disentanglement.t_fracs"),
    ("predictor=clip predictor.prompts.smile=[one]", "predictor.prompts"),
    ("predictor=classifier predictor.path=x.pt predictor.names=[a,a]", "predictor.names"),
    ("predictor=classifier predictor.path=x.pt predictor.names=[a] predictor.activation=relu", "predictor.activation"),
    ("metric.identity_size=2", "metric.identity_size"),
    ("feature.pool=mean", "feature.pool"),
    ("edit.method=teleport", "edit.method"),
    ("edit=shooting edit.transport=levi_civita", "edit.transport"),
    ("tracking.backend=mlflow", "tracking.backend"),
    ("tracking.mode=shared", "tracking.mode"),
    ("data.samples=0", "data.samples"),
    ("schedule.steps=0", "schedule.steps"),
    ("schedule.edit=[]", "schedule.edit"),
    ("schedule.edit=[1.5]", "schedule.edit"),
    ("schedule.edit=[0.0]", "schedule.edit"),
    ("schedule.edit=[0.5,0.5]", "schedule.edit"),
    ("schedule.edit_log_snr=[]", "schedule.edit_log_snr"),
    ("schedule.edit_log_snr=[-2,-2]", "schedule.edit_log_snr"),
    ("schedule.edit_log_snr=[-inf]", "schedule.edit_log_snr"),
    ("schedule.edit_log_snr=[-2] schedule.edit=[1.0]", "schedule.edit_log_snr"),
    ("schedule.eta=1.1", "schedule.eta"),
    ("schedule.eta=-0.1", "schedule.eta"),
    ("schedule.boost_below=2", "schedule.boost_below"),
    ("feature.chunk_size=0", "feature.chunk_size"),
    ("svd.rank=0", "svd.rank"),
    ("svd.share=1.0", "svd.share"),
    ("svd.share=0.0", "svd.share"),
    ("svd.tol=0", "svd.tol"),
    ("edit.strength=0", "edit.strength"),
    ("edit.strength=-1", "edit.strength"),
    ("edit.frames=1", "edit.frames"),
    ("edit.frames=4", "edit.frames"),
    ("edit.kappa=1.0", "edit.kappa"),
    ("edit.kappa=-0.5", "edit.kappa"),
    ("edit=shooting edit.steps=0", "edit.steps"),
    ("study.discovery.directions=0", "study.discovery.directions"),
]


@pytest.mark.parametrize(("overrides", "key"), WRONG, ids=[w[0].replace(" ", ",") for w in WRONG])
def test_a_value_that_contradicts_is_refused_by_its_key_with_what_is_allowed(composed, overrides, key):
    with pytest.raises(ConfigError) as caught:
        check(typed(composed(*overrides.split())))
    message = str(caught.value)
    assert message.startswith(f"{key}=")
    assert "allowed:" in message


@pytest.mark.parametrize("value", ["nan", "-inf"])
@pytest.mark.parametrize("key", ["svd.tol", "edit.strength", "edit.kappa", "schedule.eta"])
def test_numbers_that_are_no_numbers_are_refused(composed, key, value):
    with pytest.raises(ConfigError, match=key):
        check(typed(composed(f"{key}={value}")))


def test_leaf_keys_lists_inner_and_outer_keys(composed):
    keys = leaf_keys(composed())
    assert {"svd", "svd.rank", "study.discovery.directions", "seed", "schedule.edit"} <= set(keys)
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize(
    ("word", "guess"),
    [("svd.rnak", "svd.rank"), ("study.discovery.drections", "study.discovery.directions"), ("modle", "model")],
)
def test_nearest_finds_the_key_that_was_meant(composed, word, guess):
    assert nearest(word, leaf_keys(composed())) == guess


def test_nearest_gives_nothing_where_nothing_is_near():
    assert nearest("qqqqqq", ["svd.rank", "seed"]) is None


def test_chunks_suit_the_model_and_can_be_set(composed):
    assert typed(composed()).feature.chunk_size == 32
    assert typed(composed("model=sd15", "prompt=face", "feature=mid_pooled")).feature.chunk_size == 8
    assert typed(composed("model=sd15", "prompt=face", "feature.chunk_size=2")).feature.chunk_size == 2
