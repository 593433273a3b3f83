"""The forward of Llamas and their kin, without what stands around it.

A small model's step is mostly overhead: some ninety modules, each called through hooks that
nobody set, decorators, a mask that is not used. Here the same weights meet the same products in
plain calls, with a norm or a rotation in one or two operations instead of six or seven, and one
product for layers that read the same. Layers of another make than `nn.Linear` are called as they
are. Where anybody but a `MixedModel` listens to a module, the model's own forward has to run.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from loramix.engine.attention import Plan, attend
from loramix.engine.cache import KeyValueStore
from loramix.engine.group import Group
from loramix.engine.product import SMALL
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

    before: Norm
    kqv: Group
    q_norm: Norm | None
    k_norm: Norm | None
    o: Group
    after: Norm
    gate_up: Group
    down: Group
    act: Any
    width: int
    scaling: float
    window: int | None


class Norm:
    """An RMSNorm, on a CPU as one LayerNorm.

    torch has LayerNorm as one operation there and RMSNorm as eight. That of [x, -x] is the same:
    its mean is 0 and its variance the mean of x².

    Args:
        layer: the base's own module.
    """

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self.join()

    def join(self) -> None:
        """Take the weights; again, where somebody moved them since."""
        self._weight = self._layer.weight.detach()
        self._twice = torch.cat((self._weight, self._weight))

    def __call__(self, x: Tensor) -> Tensor:
        """`x` [..., D] → the same, each vector brought to a mean square of 1 and weighted."""
        width, eps = x.shape[-1], self._layer.variance_epsilon
        if x.device.type != "cpu":
            return torch.rms_norm(x, (width,), self._weight, eps)
        both = torch.cat((x, -x), -1)
        return torch.layer_norm(both, (2 * width,), self._twice, None, eps)[..., :width]


class Direct:
    """The forward of one base.

    Args:
        model: of a make that `fits`.

    Attributes:
        joined: counts how often the weights were taken anew.
    """

    def __init__(self, model: Any) -> None:
        inner = model.model
        self._head, self._embed, self._norm = model.lm_head, inner.embed_tokens, Norm(inner.norm)
        self._turns = Turns(inner.rotary_emb)
        self._weights = list(model.parameters())
        small = sum(weight.nbytes for weight in self._weights) <= SMALL
        self._blocks = [_block(layer, small) for layer in inner.layers]
        self._logits = Group([model.lm_head], small)
        self._at = self._places()
        self.joined = 0
        mixable = [layer.get_submodule(name) for layer in inner.layers for name in _PROJECTIONS]
        ours = {model, model.lm_head, inner.embed_tokens, *mixable}
        self._ours = [hooks for module in ours for hooks in _hooks(module)]
        self._others = [hooks for part in set(model.modules()) - ours for hooks in _hooks(part)]

    @staticmethod
    def fits(model: Any) -> bool:
        """Whether a base is of the family."""
        kind = type(model)
        return f"{kind.__module__}.{kind.__qualname__}" in _FAMILY

    @property
    def unheard(self) -> bool:
        """Whether no hook but our own would miss what it waits for."""
        own = all(is_own_hook(hook) for hooks in self._ours for hook in hooks.values())
        return own and not any(self._others)

    @property
    def moved(self) -> bool:
        """Whether the weights are elsewhere: the model went to another device, say."""
        return self._at != self._places()

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
        if self.moved:
            for block in self._blocks:
                for part in block:
                    if isinstance(part, Group | Norm):
                        part.join()
            self._logits.join()
            self._norm.join()
            self._at = self._places()
            self.joined += 1
        x = self._embedded(ids)
        cos, sin = self._turns(x, plan)
        rows = x.shape[0]
        for index, block in enumerate(self._blocks):
            h = block.before(x)
            k, q, v = (part.view(rows, -1, block.width) for part in block.kqv(h))
            if block.q_norm is not None and block.k_norm is not None:
                q, k = block.q_norm(q), block.k_norm(k)
            both = torch.cat((q, k), 1)
            both = torch.addcmul(both * cos, both.roll(block.width // 2, -1), sin)[:, :, None]
            heads = q.shape[1]
            store.write(index, both[:, heads:], v[:, :, None], plan.slots, plan.places)
            layer = store.layer(index)
            seen = attend(both[:, :heads], layer, plan, block.scaling, block.window)
            x = x + block.o(seen.reshape(rows, -1))[0]
            h = block.after(x)
            gate, up = block.gate_up(h)
            x = x + block.down(block.act(gate) * up)[0]
        if kept is not None and not any(map(is_own_hook, self._head._forward_hooks.values())):
            x, kept = x[kept], None  # a mixed head sees all tokens, as its weights do
        (logits,) = self._logits(self._norm(x))
        return logits if kept is None else logits[kept]

    def _embedded(self, ids: Tensor) -> Tensor:
        """[N] → [N, D], mixed where skills adapt the embeddings: a row for each token."""
        if not self._embed._forward_hooks:
            read: Tensor = self._embed.forward(ids)
            return read
        mixed: Tensor = self._embed(ids[:, None])
        return mixed[:, 0]

    @property
    def bytes(self) -> int:
        """Of the copies of weights in which skills are folded."""
        return sum(group.bytes for group in self._groups())

    def forget(self) -> None:
        """Drop what was made of the skills."""
        for group in self._groups():
            group.forget()

    def _groups(self) -> list[Group]:
        found = [part for block in self._blocks for part in block if isinstance(part, Group)]
        return [*found, self._logits]

    def _places(self) -> list[tuple[int, int]]:
        """Where the weights are, and how often they were written to where torch counts that."""
        return [(w.data_ptr(), 0 if w.is_inference() else w._version) for w in self._weights]


class Turns:
    """By what angles the heads are turned at each place.

    Args:
        rotary: the base's own module.
    """

    def __init__(self, rotary: Any) -> None:
        self._rotary = rotary
        # of these the angles of a place depend on how long the text is
        self._fixed = getattr(rotary, "rope_type", None) not in ("dynamic", "longrope")
        self._table: tuple[Tensor, Tensor] | None = None

    def __call__(self, x: Tensor, plan: Plan) -> tuple[Tensor, Tensor]:
        """cos and signed sin, [N, 1, width of a head] in the dtype of `x`, for a plan's tokens.

        Turning by half swaps the halves and negates one: sin is negative in the first.
        """
        if not self._fixed:
            return self._of(x, plan.places)
        if self._table is None or not self._serves(self._table[0], x, plan.end):
            ahead = 1 << max(plan.end - 1, 63).bit_length()
            self._table = self._of(x, torch.arange(ahead, device=x.device))
        cos, sin = self._table
        return cos[plan.places], sin[plan.places]

    @staticmethod
    def _serves(table: Tensor, x: Tensor, end: int) -> bool:
        return table.shape[0] >= end and table.dtype == x.dtype and table.device == x.device

    def _of(self, x: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        cos, sin = self._rotary.forward(x, places[:, None])
        low, high = sin.chunk(2, -1)
        return cos, torch.cat((-low, high), -1)


def _hooks(module: Any) -> tuple[Any, Any]:
    return module._forward_pre_hooks, module._forward_hooks


def _block(layer: Any, copies: bool) -> Block:
    own, mlp = layer.self_attn, layer.mlp
    # Mistral's layers leave it to the config; a Llama's has no such thing
    window = getattr(own, "sliding_window", getattr(own.config, "sliding_window", None))
    return Block(
        before=Norm(layer.input_layernorm),
        # k is mixed least often: so q and v, whose skills are one product, stand side by side
        kqv=Group([own.k_proj, own.q_proj, own.v_proj], copies),
        q_norm=Norm(own.q_norm) if hasattr(own, "q_norm") else None,
        k_norm=Norm(own.k_norm) if hasattr(own, "k_norm") else None,
        o=Group([own.o_proj], copies),
        after=Norm(layer.post_attention_layernorm),
        gate_up=Group([mlp.gate_proj, mlp.up_proj], copies),
        down=Group([mlp.down_proj], copies),
        act=mlp.act_fn.forward,
        width=own.head_dim,
        scaling=own.scaling,
        window=window,
    )
