"""What a request fails of, by name."""

from __future__ import annotations

import copy

from loramix.errors import ClosedError, ForwardError, LoramixError

NO_NUMBERS = "NaN or infinite logits"


def closed() -> ClosedError:
    """The error for a request that comes, or is still there, when the engine is closed."""
    return ClosedError("The engine is closed.", hint="make another one")


def failed(error: BaseException | None) -> Exception:
    """What a request fails of; faults that have a name keep it.

    Each request has an error of its own: one that is raised to many collects all their frames.
    """
    if isinstance(error, LoramixError):
        return copy.copy(error)
    if error is None:
        return ForwardError(
            "The model gave no numbers for this request.",
            given=NO_NUMBERS,
            hint="a skill of its mix may be damaged, or its weights too large",
        )
    first_line = (str(error).strip().splitlines() or [""])[0]
    fault = ForwardError(
        "The model failed on this request.", given=f"{type(error).__name__}: {first_line}"
    )
    fault.__cause__ = error
    return fault
