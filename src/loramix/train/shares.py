"""The skills of one run, shared out among processes.

The products of a small base are too small for several threads: on two cores pocket trains hardly
faster with two than with one, while two processes with a thread each do nearly twice the work.
Skills have disjoint parameters, so that processes have nothing to tell each other, as long as
skills that learn to blend with each other stay in one share.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from loramix.adapter import Adapter
from loramix.base import Base, encode_example
from loramix.config import TrainConfig
from loramix.data.example import Example
from loramix.errors import UsageError
from loramix.train.batches import pass_cost
from loramix.train.jobs import BlendJob, SkillJob
from loramix.train.room import free_bytes

_SMALL = 64_000_000
"""Parameters of a base up to which a second thread gains little."""

_LONG = 150_000
"""Tokens of a run from which a worker's start, some five seconds, is worth it."""

_ROOM = 2 << 30
"""Bytes that are free for each process; on pocket one takes some 1.4 GB."""

_LOOK = 50
"""Examples whose tokens are counted, to know how long those of a skill are."""


@dataclass(frozen=True)
class Share:
    """What one process trains.

    Attributes:
        jobs: its skills.
        blends: what they learn to do together.
        frozen: adapters that take part in these blends.
    """

    jobs: Sequence[SkillJob]
    blends: Sequence[BlendJob] = ()
    frozen: Mapping[str, Adapter] | None = None

    @property
    def names(self) -> list[str]:
        """Of its skills."""
        return [job.name for job in self.jobs]


def share_out(
    base: Base,
    whole: Share,
    config: TrainConfig,
    as_one: bool = True,
    before: Sequence[Sequence[str]] = (),
) -> list[Share]:
    """Which process trains what: shares of about equal work, the largest first.

    Args:
        base: that is trained on.
        whole: all of the run.
        config: `workers` says how many processes, or leaves it to the machine.
        as_one: whether it is one run; skills that are trained one by one are one share.
        before: the names that the shares of a run had that may go on; `auto` shares alike.

    Raises:
        UsageError: several processes were asked for where there can be one only.
    """
    groups = _inseparable(whole)
    here = base.path is not None and bool(sys.executable) and not getattr(sys, "frozen", False)
    possible = base.device.type == "cpu" and here and as_one
    costs = [_cost(base, group, config) for group in groups]
    if config.workers == "auto":
        known = possible and sorted(name for names in before for name in names)
        if known == sorted(whole.names) and all(
            any(set(group.names) <= set(names) for names in before) for group in groups
        ):
            return [_part(whole, names) for names in before]
        small = sum(p.numel() for p in base.model.parameters()) <= _SMALL
        worth = possible and small and sum(tokens for _, tokens in costs) >= _LONG
        count = 1
        if worth and _pickles(whole):
            count = max(1, min(torch.get_num_threads(), free_bytes(base.device) // _ROOM))
    else:
        count = config.workers
        together = len(groups) == 1 < len(whole.jobs)
        if count > 1 and (together or not (possible and _pickles(whole))):
            raise UsageError(
                "Several processes cannot train this.",
                given=f"workers: {count}",
                expected="skills that are trained in one run, not all of which blend with each "
                "other, on a CPU, on a base that lies in a folder",
                hint="set train.workers to 1 or auto",
            )
    count = min(count, len(groups))
    if count == 1:
        return [whole]
    shares: list[tuple[float, list[str]]] = [(0.0, []) for _ in range(count)]
    for (cost, _), group in sorted(zip(costs, groups, strict=True), key=lambda pair: -pair[0][0]):
        least = min(range(len(shares)), key=lambda i: shares[i][0])
        total, names = shares[least]
        shares[least] = (total + cost, [*names, *group.names])
    return [_part(whole, names) for _, names in sorted(shares, key=lambda share: -share[0])]


def _part(whole: Share, names: Sequence[str]) -> Share:
    """The skills of these names with the blends that are theirs."""
    blends = [blend for blend in whole.blends if _mixed(blend) & set(names)]
    mixed = set().union(*map(_mixed, blends))
    frozen = {name: some for name, some in (whole.frozen or {}).items() if name in mixed}
    named = {job.name: job for job in whole.jobs}
    return Share([named[name] for name in names], blends, frozen)


def _mixed(blend: BlendJob) -> set[str]:
    return {name for example in (*blend.train, *blend.dev) for name in example.mix or {}}


def _inseparable(whole: Share) -> list[Share]:
    """The smallest shares that there can be: the skills that blends tie to each other."""
    groups = [{job.name} for job in whole.jobs]
    for blend in whole.blends:
        tied = [group for group in groups if group & _mixed(blend)]
        groups = [group for group in groups if group not in tied] + [set().union(*tied)]
    order = [job.name for job in whole.jobs]
    return [
        _part(whole, sorted(group, key=order.index))
        for group in sorted(groups, key=lambda group: min(map(order.index, group)))
    ]


def _pickles(share: Share) -> bool:
    """Whether it can be sent to another process."""
    try:
        pickle.dumps(share)
    except (pickle.PicklingError, AttributeError, TypeError):
        return False
    return True


def _cost(base: Base, share: Share, config: TrainConfig) -> tuple[float, float]:
    """About what training costs, in tokens with the fixed cost of passes; its tokens."""
    cost = all_tokens = 0.0
    lessons: list[SkillJob | BlendJob] = [*share.jobs, *share.blends]
    for lesson in lessons:
        rows = min(
            config.epochs * len(lesson.train),
            config.batch_size * config.grad_accum * (config.max_steps or 1 << 60),
        )
        tokens = rows * _length(base, lesson.train)
        all_tokens += tokens
        cost += tokens + pass_cost(torch.device("cpu")) * rows / config.batch_size
    return cost, all_tokens


def _length(base: Base, examples: Sequence[Example]) -> float:
    """Tokens of an example, in the mean of some."""
    some = examples[:: max(1, len(examples) // _LOOK)]
    counts = [len(encode_example(base, each.prompt, each.completion)[0]) for each in some]
    return sum(counts) / max(1, len(counts))
