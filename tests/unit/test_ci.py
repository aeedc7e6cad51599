"""Quick, slow and nightly tests are all that there are, and CI runs the first two of them whole.

A test that is slow and nightly is nightly.
"""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_marker_has_a_command_and_ci_leaves_out_the_nightly_tests_alone():
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    markers = [line.partition(":")[0] for line in told["markers"]]
    assert markers == ["slow", "nightly"]
    assert told["addopts"].endswith("-m 'not slow and not nightly'")
    makefile = (ROOT / "Makefile").read_text()
    for marker, chosen in {"slow": "'slow and not nightly'", "nightly": "nightly"}.items():
        assert re.search(rf"^test-{marker}: .*\n\t\$\(PYTEST\) -m {chosen} \$\(ARGS\)$", makefile, re.MULTILINE)
    ran = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line.startswith("make test")]
    assert ran == ["make test", "make test-slow"]
