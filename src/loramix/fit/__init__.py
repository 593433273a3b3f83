"""Find the mix of existing skills that does best on a few examples of a new task.

losses.py    how likely a mix makes the right answers, with gradients of the weights where asked
methods.py   search and gradient: from a loss to weights
trial.py     candidates answered and scored: what is chosen on, and what is reported
fit.py       fit_mix: choose on a part, report on the rest, claim no gain that may be noise
"""

from __future__ import annotations

from loramix.fit.fit import MOST, ROUTED, UNIFORM, FitResult, Gain, fit_mix
from loramix.fit.losses import Losses
from loramix.fit.methods import METHODS, Method

__all__ = [
    "METHODS",
    "MOST",
    "ROUTED",
    "UNIFORM",
    "FitResult",
    "Gain",
    "Losses",
    "Method",
    "fit_mix",
]
