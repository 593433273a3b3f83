"""Many adapters, one forward: every row of a batch with its own blend of skills.

    mixed = MixedModel(base.model)
    mixed.add("code", adapter)
    with mixed.using(weights, ["code", "math"]):      # weights [B, K]
        mixed.base.generate(...)                      # any forward of the base inside is mixed

Hooks on the base's own layers add the mix, so that the base's modules, state dict and bits stay
as they are; the arithmetic is in `stack.py`.
"""

from __future__ import annotations

import functools
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from loramix.adapter import Adapter, LoraModule, check_fit
from loramix.errors import RecipeError, UsageError
from loramix.mix import check_skills
from loramix.stack import SkillTensors, Stack, add_mix, drop_rows, stack_skills

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_KEPT = 4
"""How many sets of active skills keep their stacks after their scope is gone."""

_Pair = tuple[torch.Tensor, torch.Tensor]


class MixScope:
    """One batch's weights, as a context: inside it every forward of the base is mixed.

    Made by `MixedModel.using`. It can be entered again and again (once for each token, say) and
    keeps what it gathered, also for another scope of the same skills.

    Attributes:
        rows: B.
        active: the skills that some row uses; only they are gathered.
    """

    def __init__(self, owner: MixedModel, weights: torch.Tensor, names: Sequence[str]) -> None:
        _check_weights(weights, names)
        check_skills(names, owner.names)
        used = (weights.detach() != 0).any(dim=0).tolist()
        columns = [k for k, is_used in enumerate(used) if is_used]
        self.rows = weights.shape[0]
        self.active = tuple(names[k] for k in columns)
        self._owner = owner
        self._weights = weights if all(used) else weights[:, columns]
        self._all_ones = not weights.requires_grad and bool((self._weights == 1).all())
        self._outer: list[MixScope | None] = []
        self._edition = -1  # of the owner's skills, when this scope looked at them
        self._skills: list[SkillTensors] = []
        self._rates: torch.Tensor | None = None
        self._learns = False
        self._stacks: dict[tuple[str, torch.dtype], Stack | None] = {}
        self._scales: dict[tuple[tuple[int, ...], torch.device], torch.Tensor] = {}

    def __enter__(self) -> MixScope:
        owner = self._owner
        if self._edition != owner._edition:
            self._look_up(owner)
        if torch.is_grad_enabled():
            owner._follow_checkpoints()
        self._outer.append(owner._scope)
        owner._scope = self
        return self

    def __exit__(self, *exc: object) -> None:
        self._owner._scope = self._outer.pop()

    def _look_up(self, owner: MixedModel) -> None:
        check_skills(self.active, owner.names)
        self._skills = [owner._skill(name) for name in self.active]
        self._stacks, self._scales = {}, {}
        self._learns = self._weights.requires_grad or any(s.trainable for s in self._skills)
        rates = torch.tensor([skill.dropout for skill in self._skills])
        used = (self._weights.detach() != 0).to("cpu")
        self._rates = (used * rates).amax(dim=1) if rates.any() else None
        self._edition = owner._edition

    def apply(self, path: str, x: torch.Tensor, output: torch.Tensor) -> torch.Tensor | None:
        """Adds the mix to what the base's layer made of `x`; None where no skill covers it.

        Args:
            path: the layer.
            x: [B, T, D_in], or flattened over B and T.
            output: [B, T, D_out], or flattened alike.

        Raises:
            UsageError: the batch has another number of rows than the weights.
        """
        if not self._skills:
            return None
        stack = self._stack(path, output)
        if stack is None:
            return None
        if x.shape[0] != self.rows and (x.dim() > 2 or x.shape[0] % self.rows):
            raise _rows_differ(self.rows, x.shape[0], path)
        if self._rates is not None and self._owner.training:
            x = drop_rows(x, self._rates)
        return add_mix(x, output, stack, self.rows)

    def _stack(self, path: str, output: torch.Tensor) -> Stack | None:
        """The layer's stack: kept for the scope, but made anew where gradients flow into it."""
        if self._learns and torch.is_grad_enabled():
            return self._make(path, output)
        key = (path, output.dtype)
        if key in self._stacks:
            stack = self._stacks[key]
            if stack is None or not stack.versions or stack.versions == self._versions(path):
                return stack
        with torch.inference_mode(False), torch.no_grad():
            stack = self._stacks[key] = self._make(path, output)
        return stack

    def _versions(self, path: str) -> tuple[int, ...]:
        """Counts the writes into the trained tensors of one layer."""
        trained = [s.module(path) for s in self._skills if s.trainable and path in s.index]
        return tuple(t._version for module in trained for t in (module.A, module.B))

    def _make(self, path: str, output: torch.Tensor) -> Stack | None:
        here = [(k, s.module(path)) for k, s in enumerate(self._skills) if path in s.index]
        if not here:
            return None
        versions = self._versions(path)
        kept = self._owner._pairs(self.active)
        pair = None if versions else kept.get((path, output.dtype))
        if pair is None:
            pair = stack_skills([module for _, module in here], output.dtype)
            if not versions:
                kept[path, output.dtype] = pair
        columns = [k for k, module in here for _ in range(module.rank)]
        return Stack(*pair, self._scale(tuple(columns), output.device), versions)

    def _scale(self, columns: tuple[int, ...], device: torch.device) -> torch.Tensor | None:
        """The weights spread over ranks, [B, R] float32."""
        if self._all_ones:
            return None
        key = (columns, device)
        if key not in self._scales or self._weights.requires_grad:
            self._scales[key] = self._weights[:, list(columns)].to(device, torch.float32)
        return self._scales[key]


def _check_weights(weights: torch.Tensor, names: Sequence[str]) -> None:
    if weights.dim() != 2 or weights.shape[1] != len(names) or not weights.shape[0]:
        raise UsageError(
            "The weights of the mix have the wrong shape.",
            given=list(weights.shape),
            expected=f"[rows, {len(names)}]: one row for each row of the batch, one column for "
            "each skill",
        )
    if len(set(names)) != len(names):
        raise UsageError("A skill is named twice in one mix.", given=", ".join(names))
    if not torch.isfinite(weights.detach()).all():
        raise RecipeError("The weights of the mix are not all finite.")


def _rows_differ(rows: int, batch: int, where: str) -> UsageError:
    return UsageError(
        f"The mix and the batch differ in rows at {where}.",
        given=f"{rows} rows of weights, {batch} rows in the batch",
        expected="one row of weights for each row of the batch",
        hint="Beam search and several return sequences repeat rows: repeat the weights too.",
    )


class MixedModel(nn.Module):
    """A frozen base with skills beside it.

    Args:
        base_model: any causal LM of transformers. Its parameters are frozen here; its modules
            and its state dict stay as they are.
    """

    def __init__(self, base_model: PreTrainedModel) -> None:
        super().__init__()
        self.base = base_model.requires_grad_(False)
        self._layers: dict[str, nn.Module] = dict(base_model.named_modules())
        self._skills = nn.ModuleDict()
        self._hooks: dict[str, RemovableHandle] = {}
        self._scope: MixScope | None = None
        self._edition = 0
        self._kept: OrderedDict[tuple[str, ...], dict[tuple[str, torch.dtype], _Pair]]
        self._kept = OrderedDict()
        # Hooks live as long as the base; a weak reference lets this model go before it.
        self._me = weakref.ref(self)
        base_model.register_forward_pre_hook(
            functools.partial(_check_batch, self._me), with_kwargs=True
        )
        self.register_load_state_dict_post_hook(lambda module, _: module._touch())

    @property
    def names(self) -> tuple[str, ...]:
        """The skills, in the order in which they came."""
        return tuple(key.removeprefix("skill:") for key in self._skills)

    @property
    def config(self) -> Any:
        """The base's config, where transformers' Trainer looks for it."""
        return self.base.config

    def add(self, name: str, adapter: Adapter, trainable: bool = False) -> None:
        """Puts an adapter beside the base, or replaces the one of that name.

        Raises:
            AdapterMismatchError: its layers or shapes are not those of the base.
        """
        check_fit(adapter, self.base)
        self._skills[f"skill:{name}"] = SkillTensors(adapter, trainable, self._layers)
        self._rehook()

    def remove(self, name: str) -> None:
        """Takes a skill away; the base is as if it had never been there.

        Raises:
            UnknownSkillError: there is no such skill.
        """
        check_skills([name], self.names)
        del self._skills[f"skill:{name}"]
        self._rehook()

    def adapter(self, name: str) -> Adapter:
        """The skill as it is now, in tensors of its own.

        Raises:
            UnknownSkillError: there is no such skill.
        """
        skill = self._skill(name)
        modules = {}
        for path in skill.index:
            live = skill.module(path)
            modules[path] = LoraModule(
                live.A.detach().clone(), live.B.detach().clone(), live.scaling
            )
        return Adapter(modules, dict(skill.config))

    def parameters_of(self, name: str) -> list[nn.Parameter]:
        """All A and B of one skill, for an optimizer.

        Raises:
            UnknownSkillError: there is no such skill.
        """
        return list(self._skill(name).parameters())

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
        return MixScope(self, weights, self.names if names is None else names)

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
        enable = getattr(self.base, "activation_checkpointing_enable", None)
        if enable is not None:
            enable(activation_checkpointing_kwargs=activation_checkpointing_kwargs, **kwargs)
        else:  # transformers before 5.20 or so
            self.base.gradient_checkpointing_enable(activation_checkpointing_kwargs)

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: dict[str, Any] | None = None
    ) -> None:
        """The same under its older name."""
        self.activation_checkpointing_enable(gradient_checkpointing_kwargs)

    def _skill(self, name: str) -> SkillTensors:
        check_skills([name], self.names)
        skill = self._skills[f"skill:{name}"]
        assert isinstance(skill, SkillTensors)
        return skill

    def _pairs(self, active: tuple[str, ...]) -> dict[tuple[str, torch.dtype], _Pair]:
        """The stacks of frozen skills, kept for the latest few sets of active ones."""
        kept = self._kept.setdefault(active, {})
        self._kept.move_to_end(active)
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return kept

    def _touch(self) -> None:
        """Forgets all stacks: some tensor has changed."""
        self._edition += 1
        self._kept.clear()

    def _apply(
        self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True
    ) -> MixedModel:
        moved = super()._apply(fn, recurse)
        self._touch()
        return moved

    def _rehook(self) -> None:
        """Hooks on exactly those layers that some skill covers."""
        self._touch()
        skills = (self._skill(name) for name in self.names)
        wanted = {path for skill in skills for path in skill.index}
        for path in self._hooks.keys() - wanted:
            self._hooks.pop(path).remove()
        for path in wanted - self._hooks.keys():
            hook = functools.partial(_mix_layer, self._me, path)
            self._hooks[path] = self._layers[path].register_forward_hook(hook)

    def _follow_checkpoints(self) -> None:
        """Makes a layer that is computed again in the backward pass see its scope again."""
        for module in self.base.modules():
            checkpoint = getattr(module, "_gradient_checkpointing_func", None)
            if checkpoint is not None and not isinstance(checkpoint, _ScopedCheckpoint):
                scoped = _ScopedCheckpoint(self._me, checkpoint)
                module._gradient_checkpointing_func = scoped  # type: ignore[assignment]


class _ScopedCheckpoint:
    """A checkpoint function whose second run happens in the scope of its first."""

    def __init__(self, model: weakref.ref[MixedModel], checkpoint: Callable[..., Any]) -> None:
        self._model, self._checkpoint = model, checkpoint

    def __call__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        model = self._model()
        if model is None:
            return self._checkpoint(function, *args, **kwargs)
        scope = model._scope

        def in_scope(*inner: Any, **named: Any) -> Any:
            outer, model._scope = model._scope, scope
            try:
                return function(*inner, **named)
            finally:
                model._scope = outer

        return self._checkpoint(in_scope, *args, **kwargs)


def _mix_layer(
    model: weakref.ref[MixedModel],
    path: str,
    layer: nn.Module,
    inputs: tuple[torch.Tensor, ...],
    output: torch.Tensor,
) -> torch.Tensor | None:
    mixed = model()
    if mixed is None or mixed._scope is None:
        return None
    return mixed._scope.apply(path, inputs[0], output)


def _check_batch(
    model: weakref.ref[MixedModel],
    base: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    """Says early that a batch has other rows than the weights, whatever the layers see of it."""
    mixed = model()
    if mixed is None or mixed._scope is None:
        return
    batch = kwargs.get("input_ids", kwargs.get("inputs_embeds"))
    if batch is None:
        batch = next((arg for arg in args if isinstance(arg, torch.Tensor)), None)
    if batch is not None and batch.shape[0] != mixed._scope.rows:
        raise _rows_differ(mixed._scope.rows, batch.shape[0], "the model's input")
