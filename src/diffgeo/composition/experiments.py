"""What ``diffgeo-paper`` runs beside the files of ``conf/experiment/``: studies of other packages that bring claims.

A claim of such a study names the study as its experiment: it is judged on a run of that study by its defaults.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

from diffgeo.studies import studies


@cache
def others() -> dict[str, str]:
    """Studies of other packages that have claims, by name, with their questions. Claims are not imported."""
    found = [study for study in studies().values() if study.folder is not None]
    return {study.name: study.question for study in found if find_spec(f"{study.package}.claims") is not None}


def words_of(experiment: str) -> str:
    """The word of a command line that chooses an experiment."""
    return f"study=[{experiment}]" if experiment in others() else f"experiment={experiment}"
