"""An expert that goes on to learn from the skills that it was merged of.

A merge is one step in closed form. What it loses, the expert can learn again from the skills
themselves, since they are at hand: one batch has rows of all skills, and the mixed forward runs
it twice, each row with its own skill and then all rows with the expert.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
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
    seconds: float,
    *,
    seed: int = 0,
    step: Callable[[float, float, str], None] = lambda _done, _all, _note: None,
) -> Distilled:
    """The expert after it has learned for some seconds to answer as each skill does.

    Minimises the mean of KL(p_k ‖ p) over the tokens of the answers, p_k being what skill k says
    of the next token and p what the expert does, with AdamW and a rate that falls to 0: knowledge
    distillation (Hinton et al. 2015, arXiv 1503.02531, section 2, at temperature 1) with the
    merge as the student's first state. As many rows of each skill in every step.

    Args:
        base: the frozen base.
        adapters: skill → adapter, the teachers.
        expert: the merge; it stays as it is.
        rows: skill → prompts with their answers, of at least one of the teachers.
        seconds: after which no further step begins.
        seed: of the order of the rows.
        step: called with the seconds gone, the seconds there are, and the loss in nats a token.

    Returns:
        The adapter, float32, of the expert's shapes; steps and rows.

    Raises:
        DataError: none of a skill's rows fits into the context.
    """
    encoded = {name: _encoded(base, some, name) for name, some in rows.items()}
    mixed = MixedModel(base.model)
    for name in rows:
        mixed.add(name, adapters[name])
    mixed.add(_EXPERT, expert, trainable=True)
    half = fast_in_bf16(base.device)
    longest = max(len(row) for some in encoded.values() for row in some)
    module = TrainModule(
        mixed, bf16=half, checkpointing=False, longest=longest, pad_id=base.pad_id
    )
    params = mixed.parameters_of(_EXPERT)
    optimizer = torch.optim.AdamW(params, weight_decay=0.0)
    shapes = grid(base.device, half or base.model.dtype != torch.float32, base.max_length)
    draw, start, steps = _Draw(encoded, random.Random(seed)), time.monotonic(), 0
    try:
        while (gone := time.monotonic() - start) < seconds:
            for group in optimizer.param_groups:
                group["lr"] = _LR * min(1.0, (steps + 1) / _WARM) * (1 - gone / seconds)
            batches = build_batches(draw(), base.pad_id, pass_cost(base.device), shapes)
            tokens = sum(int((batch.targets >= 0).sum()) for batch in batches)
            losses = [_learn(module, batch.to(base.device), tokens) for batch in batches]
            torch.nn.utils.clip_grad_norm_(params, _CLIP)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            steps += 1
            step(min(time.monotonic() - start, seconds), seconds, f"loss {sum(losses):.3f}")
        learned = mixed.adapter(_EXPERT)
    finally:
        module.close()
    return Distilled(replace(expert, modules=learned.modules), steps, steps * _ROWS * len(encoded))


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


def _learn(module: TrainModule, batch: Batch, tokens: int) -> float:
    """Adds the gradient of one pass; its part of the loss in nats a token."""
    real = batch.targets >= 0
    with torch.no_grad():
        taught = functional.log_softmax(module.logits(batch).float()[real], dim=-1)
    ones = torch.ones(len(batch.input_ids), 1)
    said = module.logits(replace(batch, skills=(_EXPERT,), weights=ones)).float()[real]
    loss = functional.kl_div(
        functional.log_softmax(said, dim=-1), taught, reduction="sum", log_target=True
    )
    (loss / tokens).backward()  # type: ignore[no-untyped-call]
    return float(loss.detach()) / tokens
