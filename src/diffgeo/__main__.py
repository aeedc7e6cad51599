"""The console commands; ``python -m diffgeo`` is the first of them.

Each is imported here, so that a signal ends it from its first moment, imports included.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from diffgeo.signals import Ended, signals_end


@contextmanager
def _ending_worded() -> Iterator[None]:
    """End at a signal that comes before the command itself could word it."""
    try:
        with signals_end():
            yield
    except Ended as error:
        print("Interrupted.", file=sys.stderr)
        raise SystemExit(error.exit_code) from None


def main() -> None:
    """``diffgeo``."""
    with _ending_worded():
        from diffgeo.cli.command import main as command

        command()


def paper() -> None:
    """``diffgeo-paper``."""
    with _ending_worded():
        from diffgeo.cli.paper import main as command

        command()


def report() -> None:
    """``diffgeo-report``."""
    with _ending_worded():
        from diffgeo.cli.report import main as command

        command()


def store() -> None:
    """``diffgeo-store``."""
    with _ending_worded():
        from diffgeo.cli.store import main as command

        command()


def explore() -> None:
    """``diffgeo-explore``."""
    with _ending_worded():
        from diffgeo.cli.explore import main as command

        command()


if __name__ == "__main__":
    main()
