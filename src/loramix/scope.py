"""The skills beside a base, and the scope in which a batch is mixed from them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from loramix.errors import RecipeError, UsageError
from loramix.mix import check_skills
from loramix.stack import (
    Columns,
    Kept,
    KeptSets,
    Paths,
    SkillTensors,
    Stack,
    Together,
    add_mix,
    add_together,
    by_columns,
    drop_rows,
    stack_skills,
)

_FEW = 1024
"""Rows times total rank up to which float32 products beat half-precision ones on a CPU.

A bfloat16 product there costs 40 µs before it begins. Measured for widths of 320 to 2048: with
8 rows and total rank 128 float32 takes half the time, with 32 rows up to thrice.
"""


class Shelf(nn.Module):
    """The skills by name, and which scope is in force.

    Attributes:
        scope: the innermost scope that was entered and not left, or None.
        edition: counts the changes; what was stacked in an older edition is stale.
        kept: what frozen skills look like together.
    """

    def __init__(self) -> None:
        super().__init__()
        self._skills = nn.ModuleDict()
        self.kept = KeptSets()
        self.scope: MixScope | None = None
        self.edition = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The skills, in the order in which they came."""
        return tuple(key.removeprefix("skill:") for key in self._skills)

    def put(self, name: str, skill: SkillTensors) -> None:
        """Adds a skill, or replaces the one of that name."""
        # The prefix lets a skill be called `keys` or `update`, which a ModuleDict forbids.
        self._skills[f"skill:{name}"] = skill
        self._forget(name)

    def take(self, name: str) -> None:
        """Takes a skill away."""
        check_skills([name], self.names)
        del self._skills[f"skill:{name}"]
        self._forget(name)

    def skill(self, name: str) -> SkillTensors:
        """The tensors of one skill.

        Raises:
            UnknownSkillError: there is no such skill.
        """
        check_skills([name], self.names)
        skill = self._skills[f"skill:{name}"]
        assert isinstance(skill, SkillTensors)
        return skill

    def covered(self) -> set[str]:
        """The layers that some skill covers."""
        return {path for name in self.names for path in self.skill(name).index}

    def _forget(self, name: str) -> None:
        """Forgets the stacks that hold one skill; skills come and go while others are in use."""
        self.edition += 1
        self.kept.forget(name)

    def touch(self) -> None:
        """Forgets all stacks, because some tensor has changed."""
        self.edition += 1
        self.kept.clear()


class MixScope:
    """One batch's weights, as a context: inside it every forward of the base is mixed.

    Made by `MixedModel.using`. It can be entered again and again (once for each token, say) and
    keeps what it gathered; another scope of the same skills finds their stacks too.

    Attributes:
        rows: B.
        active: the skills that some row uses; only they are gathered.
        tokens: B·T of the forward that runs, where that is known.
        skills: what is mixed, made anew whenever this scope looks at its skills again: where it is
            equal to that of another scope, both have the same A and B.
        learns: whether gradients may flow into something here, so that it can change.
    """

    def __init__(self, shelf: Shelf, weights: torch.Tensor, names: Sequence[str]) -> None:
        _check_weights(weights, names)
        check_skills(names, shelf.names)
        used = (weights.detach() != 0).any(dim=0).tolist()
        columns = [k for k, is_used in enumerate(used) if is_used]
        self.rows = weights.shape[0]
        self.active = tuple(names[k] for k in columns)
        self.tokens: int | None = None
        self.skills: tuple[object, ...] = ()
        self._shelf = shelf
        self._weights = weights if all(used) else weights[:, columns]
        self._all_ones = not weights.requires_grad and bool((self._weights == 1).all())
        self._outer: list[MixScope | None] = []
        self._edition = -1  # of the shelf, when this scope last looked
        self._skills: list[SkillTensors] = []
        self._rates: torch.Tensor | None = None
        self.learns = self._few = False
        self._kept = Kept()
        self._stacks: dict[tuple[str, torch.dtype], Stack | None] = {}
        self._together: dict[tuple[Paths, torch.dtype], Together | None] = {}
        self._scales: dict[tuple[Columns, torch.device], torch.Tensor] = {}

    @property
    def scaled(self) -> bool:
        """Whether some weight is not 1."""
        return not self._all_ones

    def twin(self) -> MixScope:
        """Another scope that mixes the same."""
        return MixScope(self._shelf, self._weights, self.active)

    def weigh_as(self, other: MixScope) -> None:
        """Take the weights of another scope of the same skills and rows, in place.

        What was gathered stays where it is, so that a recorded step which reads it sees them.
        """
        for (columns, device), scale in self._scales.items():
            theirs = other._scale(columns, device)
            assert theirs is not None
            scale.copy_(theirs)

    def __enter__(self) -> MixScope:
        if self._edition != self._shelf.edition:
            self._look_up()
        self._outer.append(self._shelf.scope)
        self._shelf.scope = self
        return self

    def __exit__(self, *exc: object) -> None:
        self._shelf.scope = self._outer.pop()

    def _look_up(self) -> None:
        # Another thread may put a skill in meanwhile. What is gathered of the skills that were
        # found goes where the shelf looks no more once one of them is another.
        self._edition = -1
        while self._edition != self._shelf.edition:
            self._edition = self._shelf.edition
            self._kept = self._shelf.kept.of(self.active)
            self._skills = [self._shelf.skill(name) for name in self.active]
        self._stacks, self._together, self._scales = {}, {}, {}
        self.learns = self._weights.requires_grad or any(s.trainable for s in self._skills)
        rates = torch.tensor([skill.dropout for skill in self._skills])
        used = (self._weights.detach() != 0).to("cpu")
        self._rates = (used * rates).amax(dim=1) if rates.any() else None
        self._few = self.rows * sum(skill.rank for skill in self._skills) <= _FEW
        self.skills = (self._kept.token, self.active)

    def apply(self, path: str, x: torch.Tensor, output: torch.Tensor) -> torch.Tensor | None:
        """Adds the mix to what the base's layer made of `x`; None where no skill covers it.

        Args:
            path: the layer.
            x: [B, T, D_in], or flattened over B and T; of embeddings the tokens, [B, T].
            output: [B, T, D_out], or flattened alike.

        Raises:
            UsageError: the batch has another number of rows than the weights.
        """
        if not self._skills:
            return None
        stack = self._stack(path, self._product_dtype(output), output.device)
        if stack is None:
            return None
        # Some layers see the batch flattened to [B·T, D_in]; a mere part of it (the tokens that
        # reach one expert of a mixture) cannot be told apart into rows.
        reads_tokens = not x.is_floating_point()
        in_rows = reads_tokens or x.dim() > 2
        whole = self.rows if in_rows else self.tokens or x.shape[0] // self.rows * self.rows
        if x.shape[0] != whole:
            raise rows_differ(self.rows, x.shape[0], path)
        # as in PEFT, nothing of a token is dropped
        if self._rates is not None and self._shelf.training and not reads_tokens:
            x = drop_rows(x, self._rates)
        return add_mix(x, output, stack, self.rows)

    def apply_together(
        self, paths: Paths, x: torch.Tensor, outputs: list[torch.Tensor]
    ) -> list[torch.Tensor]:
        """`apply` for layers that read the same; its oracle is `apply` for one after the other.

        Args:
            paths: of the layers.
            x, outputs: as for `apply`; an output is the caller's own, and may be written into.
        """
        if not self._is_plain_step(x):
            for place, path in enumerate(paths):
                mixed = None if path is None else self.apply(path, x, outputs[place])
                outputs[place] = outputs[place] if mixed is None else mixed
            return outputs
        stack = self._stack_together(paths, self._product_dtype(outputs[0]), x.device)
        if stack is not None:
            add_together(x, outputs, stack)
        return outputs

    def together(self, paths: Paths, x: torch.Tensor) -> Together | None:
        """What `apply_together` adds, in the dtype of `x`.

        Returns:
            None where no skill covers the layers, or where they are mixed one after the other.
        """
        if not self._is_plain_step(x):
            return None
        return self._stack_together(paths, x.dtype, x.device)

    def _is_plain_step(self, x: torch.Tensor) -> bool:
        """One token of each row, and neither gradients nor dropout."""
        one_token = x.dim() == 2 and x.shape[0] == self.rows
        learns = self.learns or torch.is_grad_enabled()
        return one_token and not learns and self._rates is None

    def _stack_together(
        self, paths: Paths, dtype: torch.dtype, device: torch.device
    ) -> Together | None:
        if (paths, dtype) not in self._together:
            with torch.inference_mode(False), torch.no_grad():
                self._together[paths, dtype] = self._make_together(paths, dtype, device)
        return self._together[paths, dtype]

    def _make_together(
        self, paths: Paths, dtype: torch.dtype, device: torch.device
    ) -> Together | None:
        """One A for all layers, which the stack of each layer then has its part of."""
        kept = self._kept
        if (paths, dtype) not in kept.together:
            covered = [(place, path) for place, path in enumerate(paths) if path is not None]
            stacks = [(place, path, self._stack(path, dtype, device)) for place, path in covered]
            found = [(place, path, stack) for place, path, stack in stacks if stack is not None]
            kept.together[paths, dtype] = self._join(found, dtype) if found else None
        made = kept.together[paths, dtype]
        if made is None:
            return None
        stack, columns = made
        return stack._replace(scale=self._scale(columns, device))

    def _join(
        self, found: Sequence[tuple[int, str, Stack]], dtype: torch.dtype
    ) -> tuple[Together, Columns]:
        a = _below_each_other([stack.a for *_, stack in found])
        parts, start = [], 0
        for place, path, stack in found:
            ranks = slice(start, start + stack.a.shape[0])
            start = ranks.stop
            self._kept.put(path, dtype, a[ranks], stack.b)
            self._stacks[path, dtype] = stack._replace(a=a[ranks])
            parts.append((place, ranks, stack.b.t()))
        columns = tuple(k for _, path, _ in found for k in self._columns(path))
        return Together(a.t(), None, tuple(parts)), columns

    def _product_dtype(self, output: torch.Tensor) -> torch.dtype:
        """That of the output; float32 for a decoding step of few rows in half precision."""
        half = output.dtype in (torch.bfloat16, torch.float16) and output.device.type == "cpu"
        one_token = output.numel() == self.rows * output.shape[-1]
        if half and one_token and self._few and not torch.is_grad_enabled():
            return torch.float32
        return output.dtype

    def _stack(self, path: str, dtype: torch.dtype, device: torch.device) -> Stack | None:
        """The layer's stack: kept for the scope, but made anew where gradients flow into it."""
        if self.learns and torch.is_grad_enabled():
            return self._make(path, dtype, device)
        key = (path, dtype)
        if key in self._stacks:
            stack = self._stacks[key]
            if stack is None or not stack.versions or stack.versions == self._versions(path):
                return stack
        # Kept tensors may meet gradients later, which those born in inference mode must not.
        with torch.inference_mode(False), torch.no_grad():
            stack = self._stacks[key] = self._make(path, dtype, device)
        return stack

    def _versions(self, path: str) -> tuple[int, ...]:
        """Counts the writes into the trained tensors of one layer."""
        trained = [s.module(path) for s in self._skills if s.trainable and path in s.index]
        return tuple(t._version for module in trained for t in (module.A, module.B))

    def _make(self, path: str, dtype: torch.dtype, device: torch.device) -> Stack | None:
        kept = self._kept
        columns = self._columns(path)
        if not columns:
            return None
        versions = self._versions(path)
        pair = None if versions else kept.pairs.get((path, dtype))
        if pair is None:
            here = [skill.module(path) for skill in self._skills if path in skill.index]
            pair = stack_skills(here, dtype)
            if dtype == torch.float32 and not torch.is_grad_enabled():
                pair = by_columns(pair[0]), by_columns(pair[1])
            if not versions:
                kept.put(path, dtype, *pair)
        return Stack(*pair, self._scale(columns, device), versions)

    def _columns(self, path: str) -> Columns:
        """To which active skill each rank of a layer's stack belongs."""
        kept = self._kept
        if path not in kept.columns:
            here = [(k, s.module(path)) for k, s in enumerate(self._skills) if path in s.index]
            kept.columns[path] = tuple(k for k, module in here for _ in range(module.rank))
        return kept.columns[path]

    def _scale(self, columns: Columns, device: torch.device) -> torch.Tensor | None:
        """The weights spread over ranks, [B, R] float32."""
        if self._all_ones:
            return None
        key = (columns, device)
        if key not in self._scales or self._weights.requires_grad:
            self._scales[key] = self._weights[:, list(columns)].to(device, torch.float32)
        return self._scales[key]


def _below_each_other(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """One matrix [R, D] of matrices that may already be parts of one, stored as they are."""
    first = parts[0]
    after, joined = first.data_ptr(), True
    for part in parts:
        joined &= part.data_ptr() == after and part.stride() == first.stride()
        joined &= part.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        after += part.shape[0] * part.stride(0) * part.itemsize
    if joined:
        rows = sum(part.shape[0] for part in parts)
        return first.as_strided((rows, first.shape[1]), first.stride())
    if first.is_contiguous():
        return torch.cat(list(parts))
    return torch.cat([part.t() for part in parts], 1).t()


def _check_weights(weights: torch.Tensor, names: Sequence[str]) -> None:
    if weights.dim() != 2 or weights.shape[1] != len(names) or not weights.shape[0]:
        raise UsageError(
            "The weights of the mix have the wrong shape.",
            given=list(weights.shape),
            expected=f"[rows, {len(names)}]: a row for each row of the batch, a column for each "
            "skill",
        )
    if len(set(names)) != len(names):
        raise UsageError("A skill is named twice in one mix.", given=", ".join(names))
    if not torch.isfinite(weights.detach()).all():
        raise RecipeError("The weights of the mix are not all finite.")


def rows_differ(rows: int, batch: int, where: str) -> UsageError:
    """The error for a batch that has other rows than its weights."""
    return UsageError(
        f"The mix and the batch differ in rows at {where}.",
        given=f"{rows} rows of weights, {batch} rows in the batch",
        expected="one row of weights for each row of the batch",
        hint="beam search and several return sequences repeat rows: repeat the weights too.",
    )
