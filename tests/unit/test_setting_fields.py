"""What a setting may be and what depends on it stand at its field, once, and everything that asks reads them there."""

import json
import math
import re
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from itertools import chain
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import MISSING, OmegaConf

from diffgeo.composition import (
    check,
    check_words,
    composed,
    group_schemas,
    register,
    results_depend_on,
    session_depends_on,
)
from diffgeo.config import (
    GIVEN,
    Config,
    PredictorConfig,
    ScaleConfig,
    StoreConfig,
    SvdConfig,
    build,
    check_own,
    config_folder,
    flat,
    own_settings,
    raw,
    setting,
)
from diffgeo.config.documentation import default_of, documented, kind_of
from diffgeo.config.fields import Rule, check_fields, rule_of
from diffgeo.errors import ConfigError
from diffgeo.studies import studies

SCHEMAS = [*chain.from_iterable(group.values() for group in group_schemas().values()), StoreConfig, Config]


@pytest.fixture(scope="module")
def run():
    """Settings of a default run, as ``run.json`` has them."""
    return json.loads(json.dumps(asdict(composed([]))))


def leaves(settings, prefix=""):
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


SILENT = {
    *("device", "processes", "objective", "retries", "model.cache_dir", "model.local_files_only", "model.strict"),
    *(f"store.{name}" for name in ("enabled", "path", "max_gb")),
    *(f"tracking.{name}" for name in ("backend", "mode", "project", "entity", "group", "name", "tags")),
    *(f"scale.{field.name}" for field in fields(ScaleConfig)),
}
"""The only settings of a default run that no number depends on."""


def test_results_depend_on_everything_but_where_and_how_a_run_is_kept(run):
    kept = set(leaves(results_depend_on(run)))
    assert set(leaves(run)) - kept == SILENT


def test_settings_that_no_schema_knows_count(run):
    strange = run | {"new": 1, "svd": run["svd"] | {"temperature": 2}, "study": {"theirs": {"k": 3}}}
    found = results_depend_on(strange)
    assert (found["new"], found["svd"]["temperature"], found["study"]) == (1, 2, {"theirs": {"k": 3}})


def test_settings_by_dotted_key_are_those_of_a_command_line():
    nested = {"svd": {"rank": 3, "options": {"block_size": 8}}, "seed": 1, "metric": {"extra": {}}, "options": {"a": 2}}
    assert flat(nested) == {"svd.rank": 3, "svd.block_size": 8, "seed": 1, "options.a": 2}


def test_a_study_of_its_own_may_say_that_a_setting_is_silent(run, monkeypatch):
    @dataclass
    class Theirs:
        verbose: bool = setting(False, affects="nothing")
        plain: int = 3

    monkeypatch.setitem(group_schemas()["study"], "theirs", Theirs)
    assert results_depend_on(run | {"study": {"theirs": asdict(Theirs())}})["study"] == {"theirs": {"plain": 3}}


def test_a_session_is_shared_by_runs_that_differ_in_what_is_done_with_it(run):
    kept = set(leaves(session_depends_on(run)))
    assert {key for key in kept if key.partition(".")[0] in ("schedule", "data", "edit", "metric", "study")} == {
        "schedule.inversion",
        "schedule.steps",
        "schedule.clip",
        "data.images",
    }
    assert {"model.path", "svd.rank", "feature.block", "seed", "device", "store.path", "predictor.kind"} <= kept


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.__name__)
def test_schemas_of_a_group_agree_on_what_a_setting_affects(schema):
    group = next((group for group in group_schemas().values() if schema in group.values()), {})
    for one in fields(schema):
        said = {rule_of(f).affects for other in group.values() for f in fields(other) if f.name == one.name}
        assert len(said) <= 1 or group is group_schemas()["study"], one.name


def test_the_four_that_ask_agree(run):
    """The store's keys, the report's columns and the papers' comparison leave out and take in the same settings."""
    from diffgeo.cli.network import _settings

    for key in ("device", "tracking", "store", "retries", "objective", "scale"):
        changed = run | {key: "another"}
        assert _settings(changed) == _settings(run)
    assert _settings(run | {"seed": 99}) != _settings(run)
    empty = {"metric.extra", "study.spectrum", *(f"{group}.options" for group in GIVEN)}
    assert set(flat(results_depend_on(run))) == set(leaves(results_depend_on(run))) - empty


def test_every_study_of_ours_has_a_file_that_chooses_it():
    names = {path.stem for path in (config_folder() / "study").glob("*.yaml")}
    assert {name for name, study in studies().items() if study.package.startswith("diffgeo.")} == names


# one source of defaults


def files_by_schema():
    """(group, schema) → the files of ``conf/`` that fill it."""
    found = {}
    for group, schemas in group_schemas().items():
        for path in sorted((config_folder() / group).glob("*.yaml")):
            (base, *_) = raw(path)["defaults"]
            name = base.rpartition("/")[2].partition("@")[0]
            found.setdefault((group, name), []).append(path)
            assert name in schemas
    return found


@pytest.mark.parametrize(("group", "name"), files_by_schema())
def test_no_default_stands_twice(group, name):
    """A file repeats no default of its schema; one that alone fills its schema has none that differs, either."""
    schema, files = group_schemas()[group][name], files_by_schema()[group, name]
    known = {one.name for one in fields(schema)}
    for path in files:
        for key, value in raw(path).items():
            if key != "defaults":
                owner = schema if key in known else own_settings(group, raw(path)["_target_"], schema)
                own = default_of(owner, key)
                assert own != value or value == MISSING, f"{path.name}: {key} stands in {owner.__name__}, too"
                assert len(files) > 1 or own == MISSING, f"{path.name}: {key} has another default in {schema.__name__}"


def test_the_run_itself_has_its_defaults_in_its_schema():
    assert set(raw(config_folder() / "config.yaml")) == {"defaults", "hydra"}


def test_what_a_scale_sets_has_no_default_of_its_own():
    used = {
        str(default_of(schema, one.name))[8:-1]
        for schema in SCHEMAS
        for one in fields(schema)
        if str(default_of(schema, one.name)).startswith("${scale.")
    }
    experiments = " ".join(path.read_text() for path in (config_folder() / "experiment").rglob("*.yaml"))
    used |= set(re.findall(r"\$\{scale\.(\w+)\}", experiments))
    assert used == {one.name for one in fields(ScaleConfig)}
    assert all(default_of(ScaleConfig, one.name) == MISSING for one in fields(ScaleConfig))


# settings that one choice alone has


@dataclass(frozen=True)
class Own:
    """A solver of these tests.

    Attributes:
        block: columns.
        kind: of it.
        names: some.
    """

    block: Annotated[int | None, Rule(ge=1)] = None
    kind: Literal["a", "b"] = "a"
    names: Annotated[list[str], Rule(distinct=True)] = field(default_factory=list)
    part: float = 0.5


def function(path: str, device: str, rank: int, prompts: Annotated[dict[str, list[str]], Rule()], size: int = 3):
    """Args:
    path: of a file.
    """


def test_settings_of_a_choice_are_the_parameters_of_its_class_or_function():
    own = own_settings("svd", f"{__name__}.Own", SvdConfig)
    assert [one.name for one in fields(own)] == ["block", "kind", "names", "part"]
    assert [default_of(own, one.name) for one in fields(own)] == [None, "a", [], 0.5]
    assert documented(own)["block"] == "columns."
    assert kind_of(own, "block") == "int or null"
    found = own_settings("predictor", f"{__name__}.function", PredictorConfig)
    assert [one.name for one in fields(found)] == ["path", "rank", "prompts", "size"], "the device is the run's"
    assert default_of(found, "path") == MISSING


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blok": 3}, r"no setting svd\.blok; did you mean svd\.block"),
        ({"zzzz": 3}, r"no setting svd\.zzzz; known are block, kind, names, part"),
        ({"rnak": 3}, r"no setting svd\.rnak; did you mean svd\.rank"),
        ({"block": 0}, r"svd\.block=0 .*null, or 1 or more"),
        ({"block": "x"}, r"svd\.block=x .*int or null"),
        ({"block": True}, r"svd\.block=true .*int or null"),
        ({"block": 1.5}, r"svd\.block=1\.5 .*int or null"),
        ({"kind": "c"}, r"svd\.kind=c .*a, b"),
        ({"names": ["a", "a"]}, r"svd\.names=.*each once"),
        ({"names": [1]}, r"svd\.names=.*list of text"),
        ({"part": math.nan}, r"svd\.part=nan .*finite"),
    ],
)
def test_they_are_checked_by_the_types_and_rules_of_these_parameters(options, message):
    with pytest.raises(ConfigError, match=message):
        check_own("svd", SvdConfig(f"{__name__}.Own", "own", options=options))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("svd.rnak=3", r"svd\.rnak; did you mean svd\.rank"),
        ("edit=shooting edit.transprt=x", r"edit\.transprt; did you mean edit\.transport"),
        ("edit.transport=pullback", r"edit\.transport; known are none"),
        ("data.images=[a,b] ++svd.blok_size=3", r"svd\.blok_size; did you mean svd\.block_size"),
        ("experiment=p23a/table1 svd.zz=1", r"svd\.zz; known are block_size, max_passes, probe"),
    ],
)
def test_a_misspelt_word_is_refused_before_a_run_has_a_folder(words, message):
    register()
    with pytest.raises(ConfigError, match=rf"there is no setting {message}"):
        check_words(words.split())


@pytest.mark.parametrize(
    "words",
    [
        "svd.block_size=3",
        "edit=shooting edit.steps=4",
        "-m svd.block_size=2,3",
        "svd=subspace,dense svd.oversample=3",
        "",
    ],
)
def test_other_words_are_left_to_hydra(words):
    register()
    check_words(words.split())


def test_what_a_model_with_prompts_has_is_no_setting_of_the_others():
    with pytest.raises(ConfigError, match=r"there is no setting model\.guidance"):
        check(composed(["model.guidance=2"]))


def test_what_fits_passes_and_arrives():
    options = {"block": 2, "kind": "b", "names": ["a"], "part": 1}
    settings = SvdConfig(f"{__name__}.Own", "own", options=options)
    check_own("svd", settings)
    assert build("svd", settings) == Own(2, "b", ["a"], 1)
    chosen = composed(["edit=guidance", "edit.guidance_scale=2", "edit.options.steps=3"]).edit
    assert chosen.options == {"steps": 3, "guidance_scale": 2}
    assert chosen.normalise is False


# ranges


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.__name__)
def test_a_default_is_in_its_own_range(schema):
    for one in fields(schema):
        value = default_of(schema, one.name)
        if value is None or value == MISSING or is_dataclass(value) or str(value).startswith("${"):
            continue
        assert rule_of(one).admits(value), one.name


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Rule(), ""),
        (Rule(ge=1), "1 or more"),
        (Rule(gt=0), "a positive number"),
        (Rule(gt=2), "above 2"),
        (Rule(ge=0, le=1), "0 to 1"),
        (Rule(gt=0, le=1), "above 0, to 1"),
        (Rule(gt=0, lt=1), "above 0, below 1"),
        (Rule(ge=0, lt=1), "0, below 1"),
        (Rule(le=5), "to 5"),
        (Rule(choices=("a", "b")), "a, b"),
        (Rule(choices=("a", "b"), items=1, distinct=True), "any of a, b, each once"),
        (Rule(distinct=True), "each once"),
        (Rule(ge=2, allowed="two or more"), "two or more"),
    ],
)
def test_ranges_in_words(rule, words):
    assert rule.in_words() == words
    assert rule.in_words(nullable=True) == (f"null, or {words}" if words else "")


@given(st.floats(), st.floats(-5, 5), st.floats(-5, 5))
def test_bounds_admit_what_the_inequality_says(value, low, high):
    assert Rule(ge=low, le=high).admits(value) == (low <= value <= high and math.isfinite(value))
    assert Rule(gt=low, lt=high).admits(value) == (low < value < high and math.isfinite(value))
    assert Rule(gt=low).admits([value, value]) == (low < value < math.inf)


@pytest.mark.parametrize(
    "overrides",
    [
        "svd.max_passes=0",
        "svd=subspace svd.oversample=-1",
        "svd=randomized svd.power_steps=-1",
        "svd.solver=dense",
        "svd.block_size=0",
        "edit=guidance edit.guidance_scale=nan",
        "study.curvedness.tol=0",
        "study.curvedness.paths=[lerp,lerp]",
        "study=[ablation] study.ablation.pca_samples=2",
        "study.frequency.low=2",
        "study.global_consistency.draws=5",
        "retries=-1",
        "store.max_gb=inf",
        "max_memory=0",
    ],
)
def test_what_is_out_of_range_is_refused_with_its_key_and_what_is_allowed(overrides):
    key = overrides.split()[-1].partition("=")[0]
    with pytest.raises(ConfigError, match=rf"^{key}=.* is not possible; allowed: \S"):
        check(composed(overrides.split()))


def test_a_dataclass_checks_across_its_own_fields():
    @dataclass
    class Theirs:
        low: float = setting(0.5, gt=0)
        high: float = 1.0

        def check(self):
            if self.low > self.high:
                raise ConfigError("low=… is not possible", "allowed: at most high")

    check_fields(Theirs(), "study.theirs.")
    with pytest.raises(ConfigError, match=r"study\.theirs\.low=0 is not possible; allowed: a positive number"):
        check_fields(Theirs(low=0), "study.theirs.")
    with pytest.raises(ConfigError, match="at most high"):
        check_fields(Theirs(low=2), "study.theirs.")


def test_lists_and_mappings_are_not_shared_between_runs():
    first, second = (composed(["study=[ablation]"]) for _ in range(2))
    first.study["ablation"].blocks.append("mid")
    assert second.study["ablation"].blocks == ["down.1", "up.1"]
    assert replace(Config()).study is not Config().study


def test_schemas_stay_what_omegaconf_reads():
    for schema in SCHEMAS:
        OmegaConf.structured(schema)
