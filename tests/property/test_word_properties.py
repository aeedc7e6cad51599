"""Random words of a command line: settings, or an error in two lines, and never another exception."""

import os
from unittest import mock

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from diffgeo.cli.errors import EXPECTED, explain
from diffgeo.cli.line import ordered, quoted_prompts
from diffgeo.composition import at_home, check, composed, register
from diffgeo.config import Config, config_folder, leaf_keys
from diffgeo.errors import DiffgeoError


def known_keys():
    """Every setting of the default choices, and a few of others."""
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        found = leaf_keys(compose("config"))
    return [*found, "model.prompt", "svd.oversample", "edit.steps", "edit.kappa", "metric.extra.own", "objective"]


GROUPS = sorted(path.name for path in config_folder().iterdir() if path.is_dir())
CHOICES = sorted({path.stem for group in GROUPS for path in (config_folder() / group).rglob("*.yaml")})
PLAIN = st.one_of(
    st.sampled_from(["", "null", "true", "x", "???", "inf", "nan", "-1", "0", "1e400", "9" * 40, "0x10", "1_0", "~/a"]),
    st.sampled_from(
        ["${seed}", "${nowhere}", "${oc.env:HOME}", "${svd.rank", "${svd:}", "${now:%H}", "{}", "[]", "[[]]"]
    ),
    st.sampled_from(
        ["choice(1,2)", "range(1,5)", "interval(0,1)", "glob(*)", "glob([a,b],exclude=c)", "1,2", "int(x)"]
    ),
    st.sampled_from(
        ["_target_", "{_target_: os.system}", "{a: 1}", "{1: {2: 3}}", "'a", 'b"', "\\", "\\,", "%", "é", "\t"]
    ),
    st.integers(-(10**6), 10**6).map(str),
    st.floats().map(str),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6),
    st.sampled_from(CHOICES),
)
VALUES = st.one_of(
    PLAIN,
    st.lists(PLAIN, max_size=3).map(lambda items: f"[{','.join(items)}]"),
    st.dictionaries(st.sampled_from("ab_"), PLAIN, max_size=2).map(
        lambda items: "{" + ",".join(f"{key}: {value}" for key, value in items.items()) + "}"
    ),
)
KEYS = st.one_of(
    st.sampled_from(known_keys()),
    st.sampled_from(GROUPS),
    st.sampled_from(["hydra.run.dir", "hydra.sweep.dir", "hydra/launcher", "hydra.nowhere", "svd@edit", "study@x.y"]),
    st.sampled_from(known_keys()).flatmap(lambda key: st.sampled_from([key[:-1], f"{key}.x", f"{key}s", key.upper()])),
    st.text(st.sampled_from("ab._@/:[]{}-=~+ 1é"), max_size=6),
)
WORDS = st.one_of(
    st.builds("{}{}={}".format, st.sampled_from(["", "", "", "+", "++", "~"]), KEYS, VALUES),
    st.builds("~{}".format, KEYS),
    st.sampled_from(["--cfg", "-m", "", "=", "a", "--frobnicate", "svd"]),
)


def settings_or_two_lines(words):
    GlobalHydra.instance().clear()
    with mock.patch("sys.argv", ["diffgeo", *words]), mock.patch.dict(os.environ):
        raised, cfg = None, None
        try:
            plain = [word for word in ordered(quoted_prompts(at_home(words))) if not word.startswith("-")]
            cfg = composed([word for word in plain if word])
            check(cfg)
        except EXPECTED as error:
            raised = error
        told = None if raised is None else explain(raised)
    GlobalHydra.instance().clear()
    event("settings" if raised is None else type(told).__name__)
    assert isinstance(cfg, Config) if raised is None else isinstance(told, DiffgeoError), repr(raised)
    assert told is None or (told.what and told.advice)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(words=st.lists(WORDS, min_size=1, max_size=3))
@example(words=["svd.rank=${seed}"])
@example(words=["~svd"])
@example(words=["study=null"])
@example(words=["svd=[1,2]"])
@example(words=["hydra/launcher=[${seed},-4.5e+69,6486]"])
@example(words=["study.tangent_truth.kinds.x=inf"])
@example(words=["~edit.frames"])
@example(words=["~svd.rank"])
@example(words=["~study.spectrum.rank"])
@example(words=["model={1: {2: 3}}"])
@example(words=["metric.extra={1: {2: 3}}"])
@example(words=["study.ablation={null: 1}"])
@example(words=["edit={true: 1}"])
def test_random_words_are_settings_or_an_error_in_two_lines(words):
    settings_or_two_lines(words)


@pytest.mark.nightly
@settings(max_examples=2000, deadline=None, derandomize=True)
@given(words=st.lists(WORDS, min_size=1, max_size=3))
def test_random_words_are_settings_or_an_error_in_two_lines_in_2000_examples(words):
    settings_or_two_lines(words)
