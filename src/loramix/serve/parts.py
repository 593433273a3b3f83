"""A router that is asked for many prompts at once, and lets the streams go on in between."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from loramix.gate import Router

if TYPE_CHECKING:
    import torch

TURN = 16
"""Prompts that are read in one go."""


def in_parts(router: Router, turn: Callable[[Callable[[], torch.Tensor]], torch.Tensor]) -> Router:
    """The same router, which reads a few prompts at a time.

    Args:
        turn: does each of these parts, and gives what it gives: scores or features, [TURN, …].
    """

    def parts(whole: Any, prompts: Sequence[str]) -> torch.Tensor:
        import torch

        some = (prompts[i : i + TURN] for i in range(0, len(prompts), TURN))
        return torch.cat([turn(functools.partial(whole, part)) for part in some])

    parted = copy.copy(router)
    for name in ("scores", "scaled"):
        if hasattr(router, name):
            setattr(parted, name, functools.partial(parts, getattr(router, name)))
    return parted
