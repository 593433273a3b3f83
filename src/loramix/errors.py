"""Everything that loramix raises on purpose.

    LoramixError                  exit code 1: the work failed
    ├── UsageError                exit code 2: the call was wrong
    │   ├── ConfigError           a YAML that cannot mean anything
    │   ├── DataError             a data file or a row that cannot be used
    │   ├── PromptError           an empty prompt, or one longer than the context
    │   ├── RecipeError           a mix that does not parse or adds up to nothing
    │   ├── UnknownSkillError     a name that the library does not hold
    │   ├── AdapterError          an adapter that cannot be used
    │   │   ├── UnsupportedAdapterError   DoRA, trained tokens, pickles, …
    │   │   └── AdapterMismatchError      keys, shapes or base do not fit
    │   └── LibraryError          a folder that is no library, or a newer one
    │       └── SkillInUseError       a skill that a named mix needs
    ├── BaseError                 a base model that cannot be loaded
    │   └── UnsupportedBaseError      one whose attention the engine cannot run
    ├── LibraryBusyError          another process is writing the library
    ├── LibraryChangedError       it is not in the state that the caller had seen
    ├── StorageError              the disk is full or does not let us write
    ├── ResourceError             too little memory for what was asked
    │   └── QueueFullError        more requests wait than the engine was told to hold
    ├── ForwardError              the model failed on this request; the others go on
    ├── DeadlineError             the request's time was over before its answer
    ├── ClosedError               the engine was closed before the answer
    ├── GateError                 what was learned would make the gate worse
    └── Interrupted               exit code 130: stopped by the user, work kept

A message says what was wrong, what was given, what was expected, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable


class LoramixError(Exception):
    """Base of all errors that a user may see.

    Args:
        what: what was wrong, one sentence that names the thing.
        given: what was found.
        expected: what would have been right.
        hint: what to do next.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        given: object = None,
        expected: object = None,
        hint: str | None = None,
    ) -> None:
        self.what, self.given, self.expected, self.hint = what, given, expected, hint
        parts = [what]
        if given is not None:
            parts.append(f"  given:    {given}")
        if expected is not None:
            parts.append(f"  expected: {expected}")
        if hint is not None:
            parts.append(f"  do this:  {hint}")
        super().__init__("\n".join(parts))


class UsageError(LoramixError):
    """The call was wrong."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration that cannot mean anything."""


class DataError(UsageError):
    """A data file, or a row of one, that cannot be used."""


class PromptError(UsageError):
    """An empty prompt, or one that does not fit into the context."""


class RecipeError(UsageError):
    """A mix that does not parse, or whose weights add up to nothing."""


class UnknownSkillError(UsageError):
    """A skill that the library does not hold."""


class AdapterError(UsageError):
    """An adapter that cannot be used."""


class UnsupportedAdapterError(AdapterError):
    """An adapter of a kind that loramix refuses: DoRA, trained tokens, pickles."""


class AdapterMismatchError(AdapterError):
    """An adapter whose keys, shapes, values or base do not fit."""


class DamageWarning(UserWarning):
    """Something of a library is damaged and left out; the rest is used."""


class UsageWarning(UserWarning):
    """A call that can be answered, and is hardly meant as it stands."""


class LibraryError(UsageError):
    """A folder that is not a library, or one of a newer schema."""


class SkillInUseError(LibraryError):
    """A skill that cannot go, since a mix of the library holds it."""


class BaseError(LoramixError):
    """A base model that cannot be loaded."""


class UnsupportedBaseError(BaseError):
    """A base model whose attention the engine cannot run."""


class LibraryBusyError(LoramixError):
    """Another process is writing the library."""


class LibraryChangedError(LoramixError):
    """The library is not in the state that the caller had seen."""


class StorageError(LoramixError):
    """The disk is full or does not let us write."""


class ResourceError(LoramixError):
    """Too little memory for what was asked."""


class QueueFullError(ResourceError):
    """More requests wait than the engine was told to hold."""


class ForwardError(LoramixError):
    """The model failed on this request; `__cause__` is what it raised."""


class DeadlineError(LoramixError):
    """The request's time was over before its answer was complete."""


class ClosedError(LoramixError):
    """The engine was closed before the answer was complete."""


class GateError(LoramixError):
    """What was learned would make the gate worse."""


class Interrupted(LoramixError):
    """Stopped by the user; what was done so far is kept."""

    exit_code = 130


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like `name`, or None if none comes near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return close[0] if close else None


def skill_hint(name: str, known: Collection[str]) -> str:
    """What to do about a skill that is not there: the nearest name, or where the names are."""
    near = nearest(name, known)
    if near:
        return f"did you mean {near!r}?"
    if known:
        return "name one of them; `loramix list` says what each does"
    return "add a skill first: `loramix add`"
