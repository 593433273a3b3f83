"""What a gate's stored description and memories have to be, and its policy as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from loramix.errors import DataError, LibraryError
from loramix.gate.features import FeatureExtractor
from loramix.mix import Policy

FORMAT = 1


def check_format(meta: Mapping[str, Any]) -> None:
    """Raises LibraryError unless this version can read a gate with that description."""
    if meta.get("format") != FORMAT:
        raise LibraryError(
            "The gate of the library has a form that this version cannot read.",
            given=f"format {meta.get('format')}",
            expected=f"format {FORMAT}",
            hint="update loramix, or train the gate again",
        )


def check_encoder(extractor: FeatureExtractor, meta: Mapping[str, Any]) -> None:
    """Raises LibraryError if features were made by another request encoder than this version's."""
    # Gates from before there was an encoder name none, and use none.
    if meta.get("encoder") != extractor.encoder_print:
        raise LibraryError(
            "The gate of the library was fitted with another request encoder.",
            given=f"encoder {meta.get('encoder')}",
            expected=f"encoder {extractor.encoder_print}",
            hint="train the gate again (`loramix train`), or use the loramix that made it",
        )


def check_memories(memories: Mapping[str, Tensor], width: int) -> None:
    """Raises DataError unless each skill has features [N, width]."""
    if not memories:
        raise DataError("There is no skill to route to.", hint="add a skill first")
    for name, kept in memories.items():
        if kept.ndim != 2 or kept.shape[1] != width or not len(kept):
            raise DataError(
                f"The gate memory of {name!r} does not fit the gate.",
                given=f"shape {tuple(kept.shape)}",
                expected=f"[N, {width}], N at least 1",
                hint="compute it with the gate's own features (`LearnedGate.remember`)",
            )


def policy_to_dict(policy: Policy) -> dict[str, Any]:
    """A policy as JSON."""
    return {
        "kind": policy.kind,
        "k": policy.k,
        "blend_threshold": policy.blend_threshold,
        "none_threshold": policy.none_threshold,
        "min_share": policy.min_share,
    }


def policy_from_dict(stored: Mapping[str, Any]) -> Policy:
    """The policy that `policy_to_dict` wrote."""
    return Policy(**stored)
