"""The forward of Llamas and their kin, without what stands around it.

A small model's step is mostly overhead: some ninety modules, each called through hooks that
nobody set, decorators, a mask that is not used. Here the same weights meet the same products in
plain calls, with a norm or a rotation in one or two operations instead of six or seven. Layers
that skills are mixed into, and those of another make than `nn.Linear`, are called as they are.
Where somebody listens to any other module, the model's own forward has to run instead.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from loramix.engine.attention import Plan, attend
from loramix.engine.cache import KeyValueStore
from loramix.mixed import is_own_hook

_FAMILY = {
    f"transformers.models.{name.lower()}.modeling_{name.lower()}.{name}ForCausalLM"
    for name in ("Llama", "Mistral", "Qwen2", "Qwen3")
}
_PROJECTIONS = {
    *("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
    *("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
}


class Block(NamedTuple):
    """One layer's modules, and what its attention is like."""

    before: Any
    q: Any
    k: Any
    v: Any
    q_norm: Any
    k_norm: Any
    o: Any
    after: Any
    gate: Any
    up: Any
    down: Any
    act: Any
    width: int
    scaling: float
    window: int | None


class Direct:
    """The forward of one base.

    Args:
        model: of a make that `fits`.
    """

    def __init__(self, model: Any) -> None:
        inner = model.model
        self._model, self._head = model, model.lm_head
        self._embed, self._rotary, self._norm = inner.embed_tokens, inner.rotary_emb, inner.norm
        self._blocks = [_block(layer) for layer in inner.layers]
        passed = [inner, inner.layers, inner.embed_tokens, inner.rotary_emb, inner.norm]
        for layer in inner.layers:
            named = layer.named_modules()
            passed += [module for name, module in named if name not in _PROJECTIONS]
        self._hooks = [
            hooks
            for module in passed
            for hooks in (module._forward_hooks, module._forward_pre_hooks)
        ]

    @staticmethod
    def fits(model: Any) -> bool:
        """Whether a base is of the family."""
        kind = type(model)
        return f"{kind.__module__}.{kind.__qualname__}" in _FAMILY

    @property
    def unheard(self) -> bool:
        """Whether no hook but our own would miss what it waits for."""
        top = self._model
        hooks = (*top._forward_pre_hooks.values(), *top._forward_hooks.values())
        return all(map(is_own_hook, hooks)) and not any(self._hooks)

    def __call__(
        self, ids: Tensor, plan: Plan, store: KeyValueStore, kept: Tensor | None
    ) -> Tensor:
        """Feed tokens and keep their keys and values.

        Args:
            ids: [N] int64.
            plan: where they belong.
            store: the slots.
            kept: indices of the tokens whose logits are wanted; None is all.

        Returns:
            Logits [N, V], or of the tokens kept.
        """
        x = self._embed.forward(ids)  # [N, D]
        cos, sin = self._rotary.forward(x, plan.places[:, None])  # [N, 1, width of a head]
        low, high = sin.chunk(2, -1)
        sin = torch.cat((-low, high), -1)  # turning by half swaps the halves and negates one
        rows = x.shape[0]
        for index, block in enumerate(self._blocks):
            h = _normed(block.before, x)
            q = _product(block.q, h).view(rows, -1, block.width)  # [N, heads, width]
            k = _product(block.k, h).view(rows, -1, block.width)
            v = _product(block.v, h).view(rows, -1, 1, block.width)
            if block.q_norm is not None:
                q, k = _normed(block.q_norm, q), _normed(block.k_norm, k)
            both = torch.cat((q, k), 1)
            both = torch.addcmul(both * cos, both.roll(block.width // 2, -1), sin)[:, :, None]
            heads = q.shape[1]
            store.write(index, both[:, heads:], v, plan.slots, plan.places)
            layer = store.layer(index)
            seen = attend(both[:, :heads], layer, plan, block.scaling, block.window)
            x = x + _product(block.o, seen.reshape(rows, -1))
            h = _normed(block.after, x)
            h = block.act(_product(block.gate, h)) * _product(block.up, h)
            x = x + _product(block.down, h)
        if kept is not None and not any(map(is_own_hook, self._head._forward_hooks.values())):
            x, kept = x[kept], None  # a mixed head sees all tokens, as its weights do
        logits = _product(self._head, _normed(self._norm, x))
        return logits if kept is None else logits[kept]


def _block(layer: Any) -> Block:
    own, mlp = layer.self_attn, layer.mlp
    # Mistral's layers leave it to the config; a Llama's has no such thing
    window = getattr(own, "sliding_window", getattr(own.config, "sliding_window", None))
    return Block(
        before=layer.input_layernorm,
        q=own.q_proj,
        k=own.k_proj,
        v=own.v_proj,
        q_norm=getattr(own, "q_norm", None),
        k_norm=getattr(own, "k_norm", None),
        o=own.o_proj,
        after=layer.post_attention_layernorm,
        gate=mlp.gate_proj,
        up=mlp.up_proj,
        down=mlp.down_proj,
        act=mlp.act_fn.forward,
        width=own.head_dim,
        scaling=own.scaling,
        window=window,
    )


def _product(layer: Any, x: Tensor) -> Tensor:
    out: Tensor
    hooks = layer._forward_hooks.values()
    if type(layer) is not nn.Linear or layer._forward_pre_hooks or not all(map(is_own_hook, hooks)):
        out = layer(x)
        return out
    own: Any = layer._parameters
    out = F.linear(x, own["weight"], own["bias"])
    for mix in hooks:
        mixed = mix(layer, (x,), out)
        out = out if mixed is None else mixed
    return out


def _normed(layer: Any, x: Tensor) -> Tensor:
    return torch.rms_norm(x, x.shape[-1:], layer._parameters["weight"], layer.variance_epsilon)
