"""Many adapters, one forward: every row of a batch with its own blend of skills.

    mixed = MixedModel(base.model)
    mixed.add("code", adapter)
    with mixed.using(weights, ["code", "math"]):      # weights [B, K]
        mixed.base.generate(...)                      # any forward of the base inside is mixed

Hooks on the base's own layers add the mix, so that the base's modules, state dict and bits stay
as they are. The arithmetic is in `stack.py`, what one batch gathers is in `scope.py`.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from loramix.adapter import Adapter, check_fit
from loramix.scope import MixScope, Shelf, rows_differ
from loramix.stack import Paths, SkillTensors

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["MixScope", "MixedModel", "is_own_hook"]


class MixedModel(nn.Module):
    """A frozen base with skills beside it.

    Args:
        base_model: any causal LM of transformers. Its parameters are frozen here; its modules
            and its state dict stay as they are.
    """

    def __init__(self, base_model: PreTrainedModel) -> None:
        super().__init__()
        self.base = base_model.requires_grad_(False)
        self.skills = Shelf()
        self._layers: dict[str, nn.Module] = dict(base_model.named_modules())
        self._hooks: dict[str, RemovableHandle] = {}
        # Hooks live as long as the base; weak references let this model go before it.
        shelf = weakref.ref(self.skills)
        before, after = functools.partial(_enter, shelf), functools.partial(_leave, shelf)
        around = [
            base_model.register_forward_pre_hook(before, with_kwargs=True),
            base_model.register_forward_hook(after, always_call=True),
        ]
        weakref.finalize(self, _unhook, around, self._hooks)

    @property
    def names(self) -> tuple[str, ...]:
        """The skills, in the order in which they came."""
        return self.skills.names

    @property
    def config(self) -> Any:
        """The base's config, where transformers' Trainer looks for it."""
        return self.base.config

    def add(self, name: str, adapter: Adapter, trainable: bool = False) -> None:
        """Puts an adapter beside the base, or replaces the one of that name.

        It is held in the dtype of the base where its own is wider, unless it is trainable.

        Raises:
            AdapterMismatchError: its layers or shapes are not those of the base.
        """
        check_fit(adapter, self.base)
        self.skills.put(name, SkillTensors(adapter, trainable, self._layers))
        self._rehook()

    def remove(self, name: str) -> None:
        """Takes a skill away; the base is as if it had never been there.

        Raises:
            UnknownSkillError: there is no such skill.
        """
        self.skills.take(name)
        self._rehook()

    def adapter(self, name: str) -> Adapter:
        """The skill as it is now, in tensors of its own: those of a narrower base are rounded.

        Raises:
            UnknownSkillError: there is no such skill.
        """
        skill = self.skills.skill(name)
        live = {path: skill.module(path) for path in skill.index}
        modules = {
            path: replace(m, A=m.A.detach().clone(), B=m.B.detach().clone())
            for path, m in live.items()
        }
        return Adapter(modules, dict(skill.config))

    def parameters_of(self, name: str) -> list[nn.Parameter]:
        """All A and B of one skill, for an optimizer.

        Raises:
            UnknownSkillError: there is no such skill.
        """
        a, b = self.factors_of(name)
        return [*a, *b]

    def factors_of(self, name: str) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """All A of one skill, and all B.

        Raises:
            UnknownSkillError: there is no such skill.
        """
        skill = self.skills.skill(name)
        return list(skill.A), list(skill.B)

    def using(self, weights: torch.Tensor, names: Sequence[str] | None = None) -> MixScope:
        """The context in which every forward of the base is mixed.

        An inner scope replaces an outer one. Where all weights are 0 nothing is computed at
        all: the base, bit for bit.

        Args:
            weights: [B, K], a row for each row of the batch.
            names: the K skills; without them all, in the order of `names`.

        Raises:
            UsageError: the shapes do not fit.
            UnknownSkillError: a name that was not added.
        """
        return MixScope(self.skills, weights, self.names if names is None else names)

    def forward(
        self,
        *args: Any,
        mix_weights: torch.Tensor | None = None,
        mix_names: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> Any:
        """The base's forward under `mix_weights` [B, K]; without them in the current scope."""
        if mix_weights is None:
            return self.base(*args, **kwargs)
        with self.using(mix_weights, mix_names):
            return self.base(*args, **kwargs)

    def activation_checkpointing_enable(
        self, activation_checkpointing_kwargs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Trades time for memory while training; transformers' Trainer calls this."""
        base: Any = self.base
        if hasattr(base, "activation_checkpointing_enable"):
            base.activation_checkpointing_enable(activation_checkpointing_kwargs, **kwargs)
        else:  # its name in older releases of transformers
            base.gradient_checkpointing_enable(activation_checkpointing_kwargs)

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: dict[str, Any] | None = None
    ) -> None:
        """The same under its older name."""
        self.activation_checkpointing_enable(gradient_checkpointing_kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """As in torch; what was stacked before is forgotten."""
        self.skills.touch()
        return super().load_state_dict(*args, **kwargs)

    def _apply(
        self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True
    ) -> MixedModel:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.skills.touch()
        return self

    def _rehook(self) -> None:
        """Hooks on exactly those layers that some skill covers."""
        wanted, shelf = self.skills.covered(), weakref.ref(self.skills)
        for path in self._hooks.keys() - wanted:
            self._hooks.pop(path).remove()
        for path in wanted - self._hooks.keys():
            hook = functools.partial(_mix_layer, shelf, path)
            self._hooks[path] = self._layers[path].register_forward_hook(hook)


def _unhook(around: Sequence[RemovableHandle], layers: Mapping[str, RemovableHandle]) -> None:
    """What a model that is gone leaves on its base goes, too."""
    for handle in (*around, *layers.values()):
        handle.remove()


def _mix_layer(
    shelf: weakref.ref[Shelf],
    path: str,
    layer: nn.Module,
    inputs: tuple[torch.Tensor, ...],
    output: torch.Tensor,
) -> torch.Tensor | None:
    skills = shelf()
    if skills is None or skills.scope is None:
        return None
    return skills.scope.apply(path, inputs[0], output)


def _enter(
    shelf: weakref.ref[Shelf], base: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Says early that a batch has other rows than the weights, whatever the layers see of it."""
    skills = shelf()
    if skills is None or skills.scope is None:
        return
    if torch.is_grad_enabled():
        _scope_checkpoints(shelf, base)
    scope, batch = skills.scope, kwargs.get("input_ids")
    if batch is None:
        batch = kwargs.get("inputs_embeds")
    if batch is None:
        batch = next((arg for arg in args if isinstance(arg, torch.Tensor)), None)
    if batch is not None and batch.dim() > 1:
        if batch.shape[0] != scope.rows:
            raise rows_differ(scope.rows, batch.shape[0], "the model's input")
        scope.tokens = batch.shape[0] * batch.shape[1]


def _leave(shelf: weakref.ref[Shelf], base: nn.Module, args: object, output: object) -> None:
    skills = shelf()
    if skills is not None and skills.scope is not None:
        skills.scope.tokens = None


def shelves_at(layers: Sequence[nn.Module]) -> dict[Shelf, Paths]:
    """Whose skills are mixed at layers that have no hooks but those of `MixedModel`s.

    Returns:
        Of each its paths, one for each layer, or None where it does not cover that layer; those
        with a scope in force.
    """
    found: dict[Shelf, list[str | None]] = {}
    for place, layer in enumerate(layers):
        for hook in layer._forward_hooks.values():
            assert isinstance(hook, functools.partial)
            shelf, path = hook.args
            skills = shelf()
            if skills is not None and skills.scope is not None:  # its model may be gone
                found.setdefault(skills, [None] * len(layers))[place] = path
    return {skills: tuple(paths) for skills, paths in found.items()}


def mix_together(
    shelves: Mapping[Shelf, Paths], x: torch.Tensor, outputs: Sequence[torch.Tensor]
) -> list[torch.Tensor]:
    """What the hooks of `MixedModel`s on layers that read the same make of their outputs.

    Args:
        shelves: of the layers, by `shelves_at`.
        x: what went into them, [N, D_in].
        outputs: what each made of it, [N, D_out]; they may be written into.
    """
    made = list(outputs)
    for skills, paths in shelves.items():
        assert skills.scope is not None
        made = skills.scope.apply_together(paths, x, made)
    return made


def is_own_hook(hook: object) -> bool:
    """Whether a hook on a base is one of those that a `MixedModel` sets on it."""
    return isinstance(hook, functools.partial) and hook.func in (_enter, _leave, _mix_layer)


def _scope_checkpoints(shelf: weakref.ref[Shelf], base: nn.Module) -> None:
    """Wraps what transformers checkpoints with, on every module of the base that has it."""
    for module in base.modules():
        checkpoint = getattr(module, "_gradient_checkpointing_func", None)
        if checkpoint is not None and not isinstance(checkpoint, _ScopedCheckpoint):
            scoped = _ScopedCheckpoint(shelf, checkpoint)
            module._gradient_checkpointing_func = scoped  # type: ignore[assignment]


class _ScopedCheckpoint:
    """A checkpoint function whose second run, in the backward pass, is mixed as its first was.

    The backward pass usually comes after the scope was left; without this it would recompute
    the layers of the base alone.
    """

    def __init__(self, shelf: weakref.ref[Shelf], checkpoint: Callable[..., Any]) -> None:
        self._shelf, self._checkpoint = shelf, checkpoint

    def __call__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        skills = self._shelf()
        if skills is None:
            return self._checkpoint(function, *args, **kwargs)
        scope = skills.scope

        def in_scope(*inner: Any, **named: Any) -> Any:
            outer, skills.scope = skills.scope, scope
            try:
                return function(*inner, **named)
            finally:
                skills.scope = outer

        return self._checkpoint(in_scope, *args, **kwargs)
