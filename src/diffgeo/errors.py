"""What diffgeo raises on purpose.

Every error has two fields: what is wrong, and what to do (or what is allowed). The command line prints each in a line
of its own and exits with the class's ``exit_code``. Nothing else of this package derives from :class:`DiffgeoError`.
"""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "BasisWarning",
    "ConvergenceWarning",
    "DataError",
    "DeviceError",
    "DiffgeoError",
    "DirectionsError",
    "ModelError",
    "ObjectiveError",
    "OutputError",
    "ShapeError",
    "UnsuitableModelError",
    "ValueRangeError",
    "WorkerError",
    "error_facts",
    "sentence",
]


class DiffgeoError(Exception):
    """Base of every error that a user can mend; ``exit_code`` is the process's exit status.

    ``str(error)`` is ``what; advice``.

    Attributes:
        what: what is wrong.
        advice: what to do, or what is allowed.
    """

    exit_code = 1

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what, advice)  # as ``args``, from which pickle and copy make it again
        self.what, self.advice = what, advice

    def __str__(self) -> str:
        return f"{self.what}; {self.advice}"


def error_facts(error: BaseException) -> dict[str, str | None]:
    """What ``run.json`` says of an error: what is wrong, and what to do where that is known."""
    if isinstance(error, DiffgeoError):
        return {"error": error.what, "advice": error.advice}
    return {"error": str(error) or type(error).__name__, "advice": None}


def sentence(text: str) -> str:
    """A text as a sentence: a capital first, a full stop or question mark last."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")


class ConfigError(DiffgeoError):
    """A setting that does not exist, has the wrong type, or contradicts another one."""

    exit_code = 2


class ObjectiveError(ConfigError):
    """What a search is to improve is no scalar of the run."""


class UnsuitableModelError(ConfigError):
    """A study or setting that this kind of model cannot have: a study of prompts on a model without one."""


class ModelError(DiffgeoError):
    """A model that cannot be found, read, verified or understood."""

    exit_code = 3


class DataError(DiffgeoError):
    """Pictures or other data that cannot be found or read, or a run that measured nothing."""

    exit_code = 4


class DeviceError(DiffgeoError):
    """A device that was asked for and is not there."""

    exit_code = 5


class OutputError(DiffgeoError):
    """Results that cannot be written."""

    exit_code = 6


class DirectionsError(DiffgeoError):
    """A file of directions that cannot be read, or that belongs to another model, timestep or feature map."""

    exit_code = 7


class WorkerError(DiffgeoError):
    """The process of a sweep's job died."""

    exit_code = 9


class ShapeError(DiffgeoError, ValueError):
    """A tensor of the wrong shape; the message gives the shape and the expected one."""

    exit_code = 2


class ValueRangeError(DiffgeoError, ValueError):
    """A number outside its range; the message gives the number and the range."""

    exit_code = 2


class ConvergenceWarning(UserWarning):
    """An iterative solver stopped at its budget before reaching its tolerance."""


class BasisWarning(ConvergenceWarning):
    """A single local basis missed its tolerance; a study counts such bases and warns once."""
