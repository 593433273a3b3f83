"""An expert that goes on to learn from the skills that it was merged of.

A merge is one step in closed form. What it loses, the expert can learn again from the skills
themselves, since they are at hand: one batch has rows of all skills, and the mixed forward runs
it twice, each row with its own skill and then all rows with the expert.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from time import monotonic
from typing import NamedTuple

import torch
from torch.nn import functional

from loramix.base import Base, encode_example
from loramix.data.batches import TokenRow, encode_examples
from loramix.data.example import Example
from loramix.lora import Adapter
from loramix.mixed import MixedModel
from loramix.train.batches import Batch, build_batches, grid, pass_cost
from loramix.train.module import TrainModule
from loramix.train.run import fast_in_bf16

_EXPERT = "\0expert"  # no skill has such a name
_ROWS = 8
"""Rows of each skill in a step."""
_WARM = 10
"""Steps until the full rate."""
_LR = 2e-3
_CLIP = 1.0


class Distilled(NamedTuple):
    """What an expert has become, and of how much."""

    adapter: Adapter
    steps: int
    rows: int


def distil(
    base: Base,
    adapters: Mapping[str, Adapter],
    expert: Adapter,
    rows: Mapping[str, Sequence[tuple[str, str]]],
    until: float,
    *,
    weights: Mapping[str, float] | None = None,
    seed: int = 0,
    step: Callable[[int, float], None] = lambda _steps, _loss: None,
) -> Distilled:
    """The expert after it has learned, until then, to answer as each skill does.

    Minimises Σ_k g_k · mean KL(p_k ‖ p) over the tokens of the answers of skill k, p_k being what
    that skill says of the next token and p what the expert does, with AdamW and a rate that falls
    to 0: knowledge distillation (Hinton et al. 2015, arXiv 1503.02531, section 2, at temperature
    1) with the merge as the student's first state. As many rows of each skill in every step.

    Args:
        base: the frozen base.
        adapters: skill → adapter, the teachers.
        expert: the merge; it stays as it is.
        rows: skill → prompts with their answers, of at least one of the teachers.
        until: when to stop, on the monotonic clock; a step that has begun ends.
        weights: skill → g_k, normalised; None is the same for all.
        seed: of the order of the rows.
        step: called with the steps done and the loss in nats a token.

    Returns:
        The adapter, float32 on the CPU, of the expert's shapes; steps and rows.

    Raises:
        DataError: none of a skill's rows fits into the context.
    """
    encoded = {name: _encoded(base, some, name) for name, some in rows.items()}
    mixed = MixedModel(base.model)
    for name in rows:
        mixed.add(name, adapters[name])
    mixed.add(_EXPERT, _awake(expert, seed), trainable=True)
    half = fast_in_bf16(base.device)
    longest = max(len(row) for some in encoded.values() for row in some)
    module = TrainModule(mixed, bf16=half, checkpointing=False, longest=longest, pad_id=base.pad_id)
    try:
        params = mixed.parameters_of(_EXPERT)
        optimizer = torch.optim.AdamW(params, weight_decay=0.0)
        shapes = grid(base.device, half or base.model.dtype != torch.float32, base.max_length)
        draw, start, steps = _Draw(encoded, random.Random(seed)), monotonic(), 0
        given = dict.fromkeys(rows, 1.0) if weights is None else weights
        shares = {name: given[name] / sum(given[n] for n in rows) for name in rows}
        while (now := monotonic()) < until:
            for group in optimizer.param_groups:
                warm = min(1.0, (steps + 1) / _WARM)
                group["lr"] = _LR * warm * (until - now) / (until - start)
            drawn = draw()
            each = {
                name: shares[name] / sum(label >= 0 for row in some for label in row.labels)
                for name, some in drawn.items()
            }
            batches = build_batches(drawn, base.pad_id, pass_cost(base.device), shapes)
            loss = sum(_learn(module, batch.to(base.device), each) for batch in batches)
            torch.nn.utils.clip_grad_norm_(params, _CLIP)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            steps += 1
            step(steps, loss)
        learned = mixed.adapter(_EXPERT).modules
    finally:
        module.close()
    modules = {path: replace(m, A=m.A.cpu(), B=m.B.cpu()) for path, m in learned.items()}
    return Distilled(replace(expert, modules=modules), steps, steps * _ROWS * len(encoded))


def _awake(expert: Adapter, seed: int) -> Adapter:
    """The same expert whose unused ranks can learn.

    A merge fills a matrix that needs fewer ranks with zeros, and where both factors are 0 both
    gradients are.
    """
    generator = torch.Generator().manual_seed(seed)
    modules = {}
    for path, module in expert.modules.items():
        unused = (module.A == 0).all(dim=1) & (module.B == 0).all(dim=0)
        size = module.A.shape[1] ** -0.5
        drawn = torch.randn(module.A.shape, generator=generator).to(module.A) * size
        modules[path] = replace(module, A=torch.where(unused[:, None], drawn, module.A))
    return replace(expert, modules=modules)


def _encoded(base: Base, rows: Sequence[tuple[str, str]], name: str) -> list[TokenRow]:
    def encode(example: Example) -> tuple[list[int], list[int]]:
        return encode_example(base, example.prompt, example.completion)

    examples = [Example(prompt, answer) for prompt, answer in rows]
    return encode_examples(examples, encode, base.max_length, name=name).rows


class _Draw:
    """Rows of every skill, each as often as the others, in rounds of a new order."""

    def __init__(self, rows: Mapping[str, Sequence[TokenRow]], rng: random.Random) -> None:
        self._rows, self._rng = rows, rng
        self._left: dict[str, list[TokenRow]] = {name: [] for name in rows}

    def __call__(self) -> dict[str, list[TokenRow]]:
        drawn = {}
        for name, left in self._left.items():
            while len(left) < _ROWS:
                left[:0] = self._rng.sample(self._rows[name], len(self._rows[name]))
            drawn[name] = [left.pop() for _ in range(_ROWS)]
        return drawn


def _learn(module: TrainModule, batch: Batch, each: Mapping[str, float]) -> float:
    """Adds the gradient of one pass; its part of the loss.

    Args:
        each: skill → what one token of its answers counts.
    """
    real = batch.targets >= 0
    counts = torch.tensor([each[name] for name in batch.names], device=batch.targets.device)
    with torch.no_grad():
        taught = functional.log_softmax(module.logits(batch).float()[real], dim=-1)
    ones = torch.ones(len(batch.input_ids), 1)
    said = module.logits(replace(batch, skills=(_EXPERT,), weights=ones)).float()[real]
    apart = functional.kl_div(
        functional.log_softmax(said, dim=-1), taught, reduction="none", log_target=True
    )
    loss = (apart.sum(-1) * counts[batch.owners[real]]).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    return float(loss.detach())
