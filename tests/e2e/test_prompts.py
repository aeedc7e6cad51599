"""Text-to-image models from the command line: prompts as people type them."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from diffgeo.cli.line import quoted_prompts
from diffgeo.errors import ConfigError

SMALL = ["model=factor_faces_t2i", "scale=smoke", "tracking=none", "device=cpu", "svd.rank=3", "schedule.edit=[1.0]"]


@pytest.mark.parametrize(
    "text", ["a face", "a face, smiling: long hair", "she's here", r"back\slash", "a=b [c] {d}", "ends with \\"]
)
def test_a_prompt_reaches_hydra_as_it_was_typed(text):
    (word,) = quoted_prompts([f"prompt={text}"])
    assert OverridesParser.create().parse_override(word).value() == text


def test_what_is_quoted_or_swept_is_left_alone():
    for words in (["prompt='a, b'"], ["prompt=null"], ["prompt=a,b", "-m"], ["seed=1", "svd.rank=3"], ["prompt="]):
        assert quoted_prompts(words) == words


@pytest.mark.nightly
def test_every_study_runs_on_the_latents_of_a_prompted_model(command, tmp_path):
    folder = tmp_path / "run"
    outcome = command(
        *SMALL,
        "prompt='portrait of a smiling face, blue background'",
        "study=[discovery,global_consistency,curvedness,disentanglement]",
        "scale.samples=4",
        "study.curvedness.pairs=1",
        "study.disentanglement.codes=12",
        "study.disentanglement.draws=5",
        "study.disentanglement.min_spread=0",
        f"hydra.run.dir={folder}",
        folder=folder,
    )
    assert outcome.code == 0, outcome.err
    assert outcome.manifest["status"] == "completed"
    for study in ("discovery", "global_consistency", "curvedness", "disentanglement"):
        assert f"tables/{study}.parquet" in outcome.files()


def test_a_text_to_image_model_asks_for_a_prompt_and_others_refuse_one(command, tmp_path):
    folder = tmp_path / "run"
    common = [f"hydra.run.dir={folder}", "tracking=none"]
    outcome = command("model=factor_faces_t2i", "prompt=null", *common, folder=folder)
    outcome.assert_failed(ConfigError.exit_code, "prompt", "a text")
    command("prompt='a face'", *common, folder=folder).assert_failed(ConfigError.exit_code, "takes no prompt")
    outcome = command("model=factor_faces_t2i", "prompt='a face'", "model.guidance=0.5", *common, folder=folder)
    outcome.assert_failed(ConfigError.exit_code, "model.guidance=0.5", "1 or more")
