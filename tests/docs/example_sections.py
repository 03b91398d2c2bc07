"""Extension of griffe, which reads docstrings for the site: to it, only a section `Examples:` holds code."""

from __future__ import annotations

import re
from typing import Any

import griffe


class ExampleSections(griffe.Extension):
    """Has sections `Example:` shown as code, too."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Renames them in the docstring of `obj`."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
