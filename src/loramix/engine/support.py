"""Which bases the engine can run, and how long their rows may get."""

from __future__ import annotations

from typing import Any

from loramix.base import Base
from loramix.errors import UnsupportedBaseError

_LAYERS = {"full_attention", "sliding_attention", "attention"}


def check_base(base: Base) -> None:
    """Raises UnsupportedBaseError, with the reason, for a base that the engine cannot run."""
    model: Any = base.model
    config = model.config.get_text_config()
    kinds = {kind for kind in getattr(config, "layer_types", None) or () if kind not in _LAYERS}
    if getattr(model.config, "is_encoder_decoder", False):
        raise unsupported("it is an encoder with a decoder", base)
    if getattr(model, "_is_stateful", False):
        raise unsupported("it keeps a recurrent state", base)
    if kinds:
        raise unsupported(f"it has layers of the kind {', '.join(sorted(kinds))}", base)
    if getattr(config, "num_kv_shared_layers", None):
        raise unsupported("layers share their keys and values", base)
    if not getattr(model, "_supports_attention_backend", False):
        raise unsupported("its attention is not open to other implementations", base)


def unsupported(reason: str, base: Base | None = None) -> UnsupportedBaseError:
    """The error for a base that the engine cannot run."""
    return UnsupportedBaseError(
        f"The engine cannot run this base: {reason}.",
        given=None if base is None else f"{base.id} ({type(base.model).__name__})",
        expected="a causal model with ordinary attention, through transformers' interface",
    )


def context_length(base: Base) -> int:
    """Tokens of prompt and completion together.

    Where positions are stretched by the longest row of the batch (`dynamic`, `longrope`), a row
    stays below the length at which that begins, lest its text depend on its neighbours.
    """
    config: Any = base.model.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kind = rope.get("rope_type", rope.get("type"))
    if kind not in ("dynamic", "longrope"):
        return base.max_length
    stated = rope.get("original_max_position_embeddings") or getattr(
        config, "original_max_position_embeddings", None
    )
    return min(base.max_length, int(stated or base.max_length))
