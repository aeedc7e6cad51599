"""Text on a console: plain sentences, and escapes for what a terminal or a locale without Unicode cannot show."""

from __future__ import annotations

import io
import logging
import sys

__all__ = ["Plain", "tolerate", "tolerate_logs"]


class Plain(logging.Formatter):
    """A message as it is; a warning or an error says what it is."""

    def format(self, record: logging.LogRecord) -> str:
        """See the base class."""
        text = super().format(record)
        return text if record.levelno < logging.WARNING else f"{record.levelname.capitalize()}: {text}"


def tolerate() -> None:
    r"""Have stdout and stderr write letters that their encoding lacks as escapes, such as ``\u03b3`` for γ."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def tolerate_logs() -> None:
    """Have the log files of this process written in UTF-8, whatever the locale."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler) and isinstance(handler.stream, io.TextIOWrapper):
            handler.stream.reconfigure(encoding="utf-8", errors="backslashreplace")
