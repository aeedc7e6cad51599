"""A Griffe extension: what a function returns is described in prose, whose colons part no type from a description."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Function

COLON = "\N{RATIO}"


class ProseReturns(Extension):
    """Keep sections ``Returns:`` from being split at their first colon; types come from the signatures."""

    def on_function(self, *, func: Function, **kwargs: Any) -> None:  # noqa: ARG002 (Griffe's signature)
        """Put a sign that looks like a colon in place of the section's colons."""
        if func.docstring is not None:
            func.docstring.value = re.sub(
                r"^Returns:\n(?:[ ]{4}.*\n?)+",
                lambda section: "Returns:" + section[0].removeprefix("Returns:").replace(": ", f"{COLON} "),
                func.docstring.value,
                flags=re.MULTILINE,
            )
