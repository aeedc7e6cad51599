"""The console commands; ``python -m diffgeo`` is the first of them.

Each is imported here, so that a signal ends it from its first moment, imports included.
"""

import sys
from collections.abc import Callable
from importlib import import_module

from diffgeo.signals import Ended, signals_end


def _command(module: str) -> Callable[[], None]:
    """The command of a module of :mod:`diffgeo.cli`; it ends at a signal that comes before it could word one itself."""

    def run() -> None:
        try:
            with signals_end():
                import_module(f"diffgeo.cli.{module}").main()
        except Ended as error:
            print("Interrupted.", file=sys.stderr)
            raise SystemExit(error.exit_code) from None

    return run


main, paper, report, store, explore = map(_command, ("command", "paper", "report", "store", "explore"))


if __name__ == "__main__":
    main()
