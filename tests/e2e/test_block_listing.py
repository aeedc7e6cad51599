"""``diffgeo --blocks``: the blocks of a model, of which nothing is written."""

from diffgeo.diffusion.models import load_model


def test_it_lists_the_blocks_of_a_model(command, tiny_settings, tiny_pipeline, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = command(*tiny_settings, "--blocks")
    assert outcome.code == 0, outcome.err
    rows = [line.split() for line in outcome.out.splitlines()]
    assert ["mid", "16", "×", "8", "×", "8"] in [row[:6] for row in rows]
    shares = [int(row[-1].rstrip("%")) for row in rows if row[-1].endswith("%")]
    assert len(shares) == 5
    assert shares == sorted(shares)
    assert list(tmp_path.iterdir()) == []
    named = outcome.out.split()[-1].rstrip(".")
    assert command(*tiny_settings, "--blocks", f"feature.block={named}").code == 0
    assert named in dict(load_model(tiny_pipeline).unet.named_modules()), "a path that there is"


def test_other_flags_and_settings_that_do_not_exist_are_refused(command):
    command("--blocks", "--dry-run").assert_failed(2, "--dry-run does not go with --blocks")
    command("--blocks", "svd.rnak=3").assert_failed(2, "did you mean svd.rank")
