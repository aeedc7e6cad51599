"""The commands: ``diffgeo`` and its companions."""

__all__ = ["main"]


def main() -> None:
    """Entry point of ``diffgeo``."""
    from diffgeo.cli.command import main as run

    run()
