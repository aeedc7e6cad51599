"""What pages are rendered from: Jinja's environment, the files of ``assets/``, and the version that they name."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jinja2
from markupsafe import Markup

_ASSETS = Path(__file__).parent / "assets"


@cache
def environment() -> jinja2.Environment:
    """Of the templates; values are escaped, and a name that is missing is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_ASSETS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def asset(file: str) -> Markup:
    """A style sheet or script, as it stands in the page."""
    return Markup((_ASSETS / file).read_text(encoding="utf-8"))


def installed_version() -> str:
    """Of this package; ``?`` if it runs without being installed."""
    try:
        return version("diffgeo")
    except PackageNotFoundError:
        return "?"
