"""Prompts and answers of the skills, and what each matrix reads in them: XᵀX, for RegMean.

Rows of a skill with a builtin task are the task's own; any other skill answers the prompts of its
card by itself, so that no data is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from loramix.base import Base, encode_prompt
from loramix.errors import ConfigError
from loramix.evaluate import Answers
from loramix.lora import Adapter
from loramix.merge.distil import distil
from loramix.merge.expert import Expert, Inputs
from loramix.merge.methods import Method
from loramix.merge.stream import Stream, count_tokens, steady, token_counts
from loramix.mix import Mix
from loramix.mixed import MixedModel
from loramix.pocket.tasks import Task

ROWS = 48
TEACHABLE = 100_000_000
"""Parameters of a base up to which an expert learns from its skills within a search."""
LESSONS = 2000
"""Rows of a builtin task that an expert may learn again from its skills."""
RIDGE = 1e-3
"""Added to the diagonal, as a share of its mean: inputs need not span the whole space."""
_ANSWER = 64

Row = tuple[str, str]
"""A prompt and its answer."""


def skill_rows(
    base: Base,
    adapters: Mapping[str, Adapter],
    prompts: Mapping[str, Sequence[str]],
    tasks: Mapping[str, Task],
    count: int = ROWS,
) -> dict[str, list[Row]]:
    """Prompts with answers of each skill.

    Args:
        base: the frozen base.
        adapters: skill → adapter.
        prompts: skill → example prompts of its card, for a skill without a builtin task.
        tasks: skill → the builtin task that it has learned.
        count: rows of a builtin task.

    Raises:
        ConfigError: a skill has neither.
    """
    rows = {}
    for name, adapter in adapters.items():
        if name in tasks:
            examples = tasks[name].examples("train", count)
            rows[name] = [(example.prompt, example.completion) for example in examples]
            continue
        asked = list(prompts.get(name, ()))
        if not asked:
            raise ConfigError(
                f"The method regmean needs example prompts of {name!r}, and its card has none.",
                hint="use another method, or a skill that was added with --examples",
            )
        mixed = MixedModel(base.model)
        mixed.add("skill", adapter)
        done = Answers(base, mixed)(asked, [Mix.of({"skill": 1.0})] * len(asked), _ANSWER)
        rows[name] = [(prompt, c.text) for prompt, c in zip(asked, done, strict=True)]
    return rows


class Material:
    """What merging needs beside the adapters, each made when it is first asked for.

    Args:
        base: the frozen base.
        adapters: skill → adapter.
        prompts: skill → example prompts of its card.
        tasks: skill → the builtin task that it has learned, where it has.
    """

    def __init__(
        self,
        base: Base,
        adapters: Mapping[str, Adapter],
        prompts: Mapping[str, Sequence[str]],
        tasks: Mapping[str, Task],
    ) -> None:
        self._base, self._adapters, self._prompts, self._tasks = base, adapters, prompts, tasks

    def of(self, method: Method) -> dict[str, Any]:
        """The arguments of `merge_adapters` that a method needs."""
        if method.sequential:
            return {"stream": self._stream}
        return {"inputs": self._inputs} if method.needs_inputs else {}

    @property
    def teaches(self) -> bool:
        """Whether an expert can learn from the skills: prompts of each, and a base that is small.

        On a larger one a search has no time for enough steps, nor a machine the memory.
        """
        size = sum(p.numel() for p in self._base.model.parameters())
        known = all(name in self._tasks or self._prompts.get(name) for name in self._adapters)
        return known and size <= TEACHABLE and not self._base.int8

    def distil(
        self, expert: Expert, until: float, seed: int, step: Callable[[int, float], None]
    ) -> Expert:
        """The expert after it has learned from its skills, see `loramix.merge.distil`."""
        active = {name: a for name, a in self._adapters.items() if expert.weights[name]}
        taught = {name: task for name, task in self._tasks.items() if name in active}
        learned = {name: active[name] for name in taught}
        rows = skill_rows(self._base, learned, {}, taught, LESSONS)
        rows |= {name: self._rows[name] for name in active if name not in taught}
        done = distil(
            self._base, active, expert.adapter, rows, until,
            weights=expert.weights, seed=seed, step=step,
        )  # fmt: skip
        return replace(
            expert, adapter=done.adapter, seed=seed, distilled=(done.steps, done.rows)
        )

    @cached_property
    def _rows(self) -> dict[str, list[Row]]:
        return skill_rows(self._base, self._adapters, self._prompts, self._tasks)

    @cached_property
    def _stream(self) -> Stream:
        return Stream(self._base, self._adapters, self._rows)

    @cached_property
    def _inputs(self) -> Inputs:
        return collect_inputs(self._base, self._adapters, self._rows)


@torch.no_grad()
def collect_inputs(
    base: Base,
    adapters: Mapping[str, Adapter],
    rows: Mapping[str, Sequence[Row]],
    step: Callable[[int, int], None] = lambda _done, _all: None,
) -> Inputs:
    """XᵀX / N + ridge of each module that any of the adapters has, read with the skill at work.

    Modules that read one tensor, such as q, k and v, share one matrix.

    Args:
        base: the frozen base.
        adapters: skill → adapter.
        rows: skill → its prompts and answers.
        step: called with how many rows are done, and how many there are.

    Returns:
        Skill → path → [D_in, D_in] float64; of embeddings the diagonal, [D_in].
    """
    paths = list(dict.fromkeys(path for adapter in adapters.values() for path in adapter.modules))
    layers = dict(base.model.named_modules())
    mixed = MixedModel(base.model)
    total, done = sum(map(len, rows.values())), 0
    found: dict[str, dict[str, Tensor]] = {}
    for name, adapter in adapters.items():
        mixed.add("skill", adapter)
        grams = _Grams(count_tokens(base))
        hooks = [layers[path].register_forward_pre_hook(grams.hook(path)) for path in paths]
        try:
            for prompt, answer in rows[name]:
                ids = _ids(base, prompt, answer)
                mixed(ids, mix_weights=torch.ones(1, 1), mix_names=["skill"], use_cache=False)
                grams.last = None
                done += 1
                step(done, total)
        finally:
            for hook in hooks:
                hook.remove()
        found[name] = grams.finish()
    return found


def _ids(base: Base, prompt: str, answer: str) -> Tensor:
    told = base.tokenizer(answer, add_special_tokens=False)["input_ids"]
    ids = [*encode_prompt(base, prompt), *told, *base.eos_ids[:1]][: base.max_length]
    return torch.tensor([ids], device=base.device)


class _Grams:
    """Sums of xᵀx, one for all modules that are given the same tensor.

    Args:
        tokens: how many there are. An embedding reads one-hot tokens, and their sum has how often
            each came up on its diagonal, and nothing else.
    """

    def __init__(self, tokens: int) -> None:
        self._all = tokens
        self.last: Tensor | None = None
        self._leader = ""
        self._leaders: dict[str, str] = {}
        self._sums: dict[str, Tensor] = {}
        self._tokens: dict[str, int] = {}

    def hook(self, path: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def see(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            x = given[0]
            if x is self.last:
                self._leaders[path] = self._leader
                return
            self.last, self._leader = x, path
            self._leaders[path] = path
            if x.is_floating_point():
                flat = x.reshape(-1, x.shape[-1]).double()
                product = (flat.T @ flat).cpu()
            else:
                flat = x.flatten()
                product = token_counts(flat, self._all)
            if path in self._sums:
                self._sums[path] += product
            else:
                self._sums[path] = product
            self._tokens[path] = self._tokens.get(path, 0) + len(flat)

        return see

    def finish(self) -> dict[str, Tensor]:
        for path, gram in self._sums.items():
            gram /= self._tokens[path]
            steady(gram)
        return {path: self._sums[leader] for path, leader in self._leaders.items()}
