"""Settings as a whole: composed by Hydra, checked, and what depends on them. Imports nothing heavy."""

from diffgeo.composition.checks import check
from diffgeo.composition.effects import results_depend_on, session_depends_on
from diffgeo.composition.experiments import others, words_of
from diffgeo.composition.hydra import (
    at_home,
    check_words,
    composed,
    group_schemas,
    own_defaults,
    quoted,
    register,
    typed,
    unreadable_words,
)

__all__ = [
    "at_home",
    "check",
    "check_words",
    "composed",
    "group_schemas",
    "others",
    "own_defaults",
    "quoted",
    "register",
    "results_depend_on",
    "session_depends_on",
    "typed",
    "unreadable_words",
    "words_of",
]
