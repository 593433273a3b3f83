"""Frozen layers below which the A of the skills in force stands.

Half of what a mixed layer of a small base costs with few rows is the product with A: not its
bytes, which are few, but that it is one more product and finds a cold cache. Where A stands below
the frozen weights it is none; and the B of all layers as one product, in a layout that oneDNN need
not make again, takes half of what theirs take. `docs/log.md` has the figures.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import torch
from torch import Tensor

from loramix.engine.product import frozen_product
from loramix.scope import Shelf
from loramix.stack import Paths, Together, add_ranks

_SETTLED = 8
"""Steps with the same skills before weights are copied for them, which takes as long as two."""

_MOST = 4 << 20
"""Bytes of the B of all layers as one matrix, zeros included, up to which it is one product."""


class Spare:
    """Rows below frozen weights that are free for the A of skills.

    Engines that share a base share these rows, too; they take turns, and the one that comes after
    another finds that its A is gone.

    Attributes:
        address: of the weights, which may have been moved away since.
        rows: of the weights and the free ones together.
        owner: whose A is there.
    """

    def __init__(self, address: int, rows: int) -> None:
        self.address, self.rows = address, rows
        self.owner: weakref.ref[Folding] | None = None


class Folding:
    """The skills of one group of layers, folded into them once they have stayed for some steps.

    Args:
        weight: [D_out, D_in] on a CPU, of the layers one below the other.
        bias: [D_out], or None.
        sizes: D_out of each layer.
        spare: the rows below the weight; None where it may be copied.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, sizes: Sequence[int], spare: Spare | None
    ) -> None:
        self._weight, self._bias, self._sizes, self._spare = weight, bias, sizes, spare
        self._steps = 0
        self._skills: tuple[object, ...] = ()
        self._folded: Packed | Below | None = None
        # what the latest step was, so that one more of its kind is known at a glance
        self._shelf: weakref.ref[Shelf] | None = None
        self._hooks = 0
        self._scale: Tensor | None = None

    @property
    def folded(self) -> bool:
        """Whether the skills of the latest step are."""
        return self._shelf is not None

    @property
    def bytes(self) -> int:
        """Of the copies that were made of weights and skills."""
        made = self._folded
        return 0 if made is None else made.bytes

    def holds(self, hooks: int) -> bool:
        """Whether this step mixes exactly what the latest one did, and that is folded in.

        Args:
            hooks: how many the layers have together.
        """
        if self._shelf is None or hooks != self._hooks or not self._owns():
            return False
        shelf = self._shelf()
        scope = None if shelf is None else shelf.scope
        return scope is not None and scope.skills is self._skills

    def __call__(self, x: Tensor) -> Sequence[Tensor]:
        """What the layers make of `x` [B, D_in], [B, D_out] of each; after `holds`."""
        assert self._folded is not None
        return self._folded(x, self._scale)

    def forget(self) -> None:
        """Drop what was made of the skills."""
        if self._folded is None:
            return
        if self._spare is not None and self._owns():
            self._spare.owner = None
            self._folded.wipe()
        self._folded = self._shelf = self._scale = None
        self._skills = ()

    def see(self, hooks: int, shelf: Shelf, paths: Paths, x: Tensor) -> bool:
        """Take note of a step, and fold its skills in where they have stayed.

        Args:
            hooks: as for `holds`.
            shelf: whose skills are mixed, with a scope in force.
            paths: of the layers.
            x: [N, D_in]

        Returns:
            Whether they are folded in.
        """
        self._shelf = None
        scope = shelf.scope
        assert scope is not None
        if scope.skills != self._skills:
            self.forget()  # what is below the weights, too: the new skills may not fit there
            self._steps = 0
        self._skills = scope.skills
        self._steps += 1
        settled = _SETTLED if self._spare is None else 1  # there only A is written
        stack = scope.together(paths, x) if self._steps > settled else None
        if stack is None:
            return False
        # no other A can have that address while the folded one is held
        folded = self._folded is not None and self._folded.stack.a.data_ptr() == stack.a.data_ptr()
        if not folded or not self._owns():
            self._folded = self._fold(stack)
        if self._folded is not None:
            self._shelf, self._hooks, self._scale = weakref.ref(shelf), hooks, stack.scale
        return self._folded is not None

    def _owns(self) -> bool:
        owner = None if self._spare is None else self._spare.owner
        return self._spare is None or (owner is not None and owner() is self)

    def _fold(self, stack: Together) -> Packed | Below | None:
        if self._spare is None:
            fits = Packed.fits(stack, self._sizes)
            return Packed(self._weight, self._bias, self._sizes, stack) if fits else None
        if self._weight.shape[0] + stack.a.shape[1] > self._spare.rows:
            return None
        self._spare.owner = weakref.ref(self)
        return Below(self._weight, self._bias, self._sizes, stack)


class Below:
    """Layers that read the same, with A in the rows to spare.

    Args:
        weight: [D_out, D_in]; A is written below it.
        bias: [D_out], or None.
        sizes: D_out of each layer.
        stack: the skills, in the dtype of the weights.

    Attributes:
        stack: what was given.
        bytes: of copies; the rows are there anyway.
    """

    bytes = 0

    def __init__(
        self, weight: Tensor, bias: Tensor | None, sizes: Sequence[int], stack: Together
    ) -> None:
        self.stack = stack
        self._cuts = (*sizes, stack.a.shape[1])
        used = weight.as_strided((sum(self._cuts), weight.shape[1]), weight.stride())
        used[weight.shape[0] :].copy_(stack.a.t())
        self._free = used[weight.shape[0] :]
        self._product = frozen_product(used, _longer(bias, stack), copies=False)

    def wipe(self) -> None:
        """Zero the rows: whoever saves the weights' storage must not save a skill."""
        self._free.zero_()

    def __call__(self, x: Tensor, scale: Tensor | None) -> Sequence[Tensor]:
        """As that of `Packed`."""
        *parts, h = self._product(x).split_with_sizes(self._cuts, -1)
        add_ranks(h, parts, self.stack, scale)
        return parts


class Packed:
    """Layers that read the same, with skills, in two products of weights of their own.

    Args:
        weight: [D_out, D_in], copied.
        bias: [D_out], or None.
        sizes: D_out of each layer.
        stack: the skills, in the dtype of the weight.

    Attributes:
        stack: what was given.
        bytes: of both copies.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, sizes: Sequence[int], stack: Together
    ) -> None:
        self.stack = stack
        first, last = stack.parts[0][0], stack.parts[-1][0] + 1
        self._before, self._mixed, self._after = sizes[:first], sizes[first:last], sizes[last:]
        self._cuts = *map(sum, (self._before, self._mixed, self._after)), stack.a.shape[1]
        longer, b = torch.cat((weight, stack.a.t())), _in_one(stack, sizes)
        self._frozen = frozen_product(longer, _longer(bias, stack))
        self._mix = frozen_product(b, None)
        self.bytes = longer.nbytes + b.nbytes

    def wipe(self) -> None:
        """Nothing: all of it is its own."""

    @staticmethod
    def fits(stack: Together, sizes: Sequence[int]) -> bool:
        """Whether the B of all layers as one matrix is small enough."""
        span = sum(sizes[stack.parts[0][0] : stack.parts[-1][0] + 1])
        return span * stack.a.shape[1] * stack.a.itemsize <= _MOST

    def __call__(self, x: Tensor, scale: Tensor | None) -> Sequence[Tensor]:
        """What the layers make of `x`, skills included.

        Args:
            x: [B, D_in].
            scale: [B, R] float32, or None where every weight is 1.

        Returns:
            [B, D_out] of each layer.
        """
        before, mixed, after, h = self._frozen(x).split_with_sizes(self._cuts, -1)
        if scale is not None:  # in place: multiplied in float32, rounded once
            h.mul_(scale)
        parts = (mixed + self._mix(h)).split_with_sizes(self._mixed, -1)
        if self._before:
            parts = (*before.split_with_sizes(self._before, -1), *parts)
        if self._after:
            parts = (*parts, *after.split_with_sizes(self._after, -1))
        return parts


def _longer(bias: Tensor | None, stack: Together) -> Tensor | None:
    """The bias with zeros for A."""
    return None if bias is None else torch.cat((bias, bias.new_zeros(stack.a.shape[1])))


def _in_one(stack: Together, sizes: Sequence[int]) -> Tensor:
    """B of all layers from the first with skills to the last, [D_out of them, R], as blocks."""
    first, last = stack.parts[0][0], stack.parts[-1][0] + 1
    whole = stack.a.new_zeros(sum(sizes[first:last]), stack.a.shape[1])
    for place, ranks, b in stack.parts:
        above = sum(sizes[first:place])
        whole[above : above + sizes[place], ranks] = b.t()
    return whole
