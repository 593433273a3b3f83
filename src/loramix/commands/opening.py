"""Open a library to use it: what is damaged is told and left out, and the rest answers."""

from __future__ import annotations

import warnings
from pathlib import Path

from loramix.errors import DamageWarning
from loramix.library import Library


def open_to_use(library: str | Path | None) -> Library:
    """The library in a folder; None is the one that ships with the package.

    Warns of each skill that is damaged, and of the gate.

    Raises:
        LibraryError: it is none, or one of a newer schema.
    """
    if library is None:
        return Library.shipped()
    opened = Library.open(library, lenient=True)
    for error in (*opened.damaged.values(), opened.gate_damage):
        if error is not None:
            warnings.warn(DamageWarning(str(error)), stacklevel=3)
    return opened
