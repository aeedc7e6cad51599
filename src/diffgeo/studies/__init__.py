"""Studies: each module has ``run(context, cfg) -> Result``; a run executes those that ``study`` lists."""

from __future__ import annotations

import importlib
from typing import Any

from diffgeo.results import Result
from diffgeo.studies.context import Context, Sample

__all__ = ["Context", "Result", "Sample", "run_study"]


def run_study(name: str, context: Context, cfg: Any) -> Result:
    """Execute ``diffgeo.studies.NAME`` with its settings."""
    result: Result = importlib.import_module(f"diffgeo.studies.{name}").run(context, cfg)
    return result
