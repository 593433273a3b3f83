"""Example: one prompt with the completion that a skill should give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Example:
    """One prompt with the completion that a skill should give.

    `meta` is free: a builtin task's answer to score against, tests and template id; or all the
    columns of the row that the example came from. It takes no part in the hash, so examples can
    stand in sets. `mix` is set where the completion needs several skills at once: skill → weight.
    """

    prompt: str
    completion: str
    meta: dict[str, Any] = field(default_factory=dict, hash=False)
    mix: Mapping[str, float] | None = field(default=None, hash=False)
