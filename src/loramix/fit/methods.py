"""From a loss to weights, with gradients of the weights and without.

Both minimise what LoraHub minimises (Huang et al. 2023, arXiv 2307.13269),

    mean loss + L1 · Σ_k |w_k| / K

but over weights from 0 to `MOST`, and of exact mixes: LoraHub weights A and B apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loramix.fit.losses import Losses

Method = Literal["search", "gradient"]
METHODS: tuple[str, ...] = get_args(Method)

L1 = 0.05
MOST = 1.5
"""The largest weight, as in LoraHub; a mix has no negative ones."""

TINY = 1e-6
"""A weight of 0 takes its skill out of the forward, and then nothing says how it should change."""

Report = Callable[[int, float], None]
"""Called with how many losses were computed, and the least so far."""

Weights = NDArray[np.float64]


def minimise(
    losses: Losses,
    rows: Sequence[int],
    starts: Sequence[Tensor],
    method: Method,
    evaluations: int,
    report: Report = lambda _done, _least: None,
) -> Tensor:
    """The weights [K] of the least loss on `rows`, in float32.

    Args:
        losses: of the examples under a mix.
        rows: the examples to fit.
        starts: weights [K] to look at first; the best of them is where the way begins.
        method: `search` asks for values only, `gradient` for gradients too.
        evaluations: at most so many mixes, those of `starts` included (gradient: about).
        report: told after each.
    """
    spent, least = 0, float("inf")

    def told(value: float) -> float:
        nonlocal spent, least
        spent, least = spent + 1, min(least, value)
        report(spent, least)
        return value

    def price(weights: Weights) -> float:
        return L1 * float(np.abs(weights).mean())

    def value(weights: Weights) -> float:
        found = losses.values(torch.tensor(weights, dtype=torch.float32), rows)
        return told(float(found.mean()) + price(weights))

    def slope(weights: Weights) -> tuple[float, Weights]:
        loss, gradient = losses.slope(torch.tensor(weights, dtype=torch.float32), rows)
        return told(loss + price(weights)), gradient.double().numpy() + L1 / len(weights)

    looked = [np.asarray(start, dtype=np.float64) for start in starts]
    values = [value(start) for start in looked]
    best = looked[int(np.argmin(values))]
    left = max(1, evaluations - spent)
    if method == "gradient":
        found = _by_gradient(slope, best, left)
    else:
        found = _by_search(value, best, left)
    return torch.tensor(found, dtype=torch.float32)


def _by_gradient(
    slope: Callable[[Weights], tuple[float, Weights]], start: Weights, most: int
) -> Weights:
    """L-BFGS-B (Byrd et al. 1995), which keeps the weights within their bounds."""
    from scipy.optimize import minimize

    bounds = [(TINY, MOST)] * len(start)
    found: Any = minimize(
        slope, start.clip(TINY, MOST), jac=True, method="L-BFGS-B", bounds=bounds,
        options={"maxfun": most, "ftol": 1e-4},
    )  # fmt: skip
    return np.asarray(found.x)


def _by_search(value: Callable[[Weights], float], start: Weights, most: int) -> Weights:
    """COBYQA (Ragonneau and Zhang 2024): quadratic models in a trust region, within bounds.

    On three tasks over five skills none of Powell, Nelder-Mead and differential evolution found
    less loss, and it needed 54, 55 and 107 mixes where they took 107 to 120 (docs/log.md).
    """
    from scipy.optimize import minimize

    bounds = [(0.0, MOST)] * len(start)
    options = {"maxfev": most, "initial_tr_radius": 0.25, "final_tr_radius": 0.01}
    found: Any = minimize(value, start, method="COBYQA", bounds=bounds, options=options)
    return np.asarray(found.x)
