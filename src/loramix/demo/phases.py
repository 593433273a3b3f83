"""The phases of a run under their earlier name; see `loramix.phases`."""

from __future__ import annotations

from loramix.phases import Phases, Step

__all__ = ["Phases", "Step"]
