"""What diffgeo raises on purpose.

Every message says what is wrong, what is allowed and what to do; the command line prints it in two lines and
exits with the class's ``exit_code``. Nothing else of this package derives from :class:`DiffgeoError`.
"""

from __future__ import annotations

__all__ = [
    "ConfigError",
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
]


class DiffgeoError(Exception):
    """Base of every error that a user can mend; ``exit_code`` is the process's exit status."""

    exit_code = 1


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
    """Input images that cannot be found or read."""

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
