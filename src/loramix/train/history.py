"""What has happened to one skill in training: losses, the best weights so far, when to stop."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from loramix.errors import LoramixError


class SkillHistory:
    """The past of one skill, which a checkpoint keeps and a resumed run goes on with.

    Attributes:
        name: of the skill.
        params: its A and B, live; none for a blend, whose skills have them.
        losses: mean loss of each step, nats a token.
        dev_losses: (step, loss) of each look at the dev examples.
        best: the weights with the lowest dev loss; empty before the first look.
        best_step: the step that they are of.
        stopped: the dev loss had not fallen for `patience` looks; 0 looks: never.
        tokens: learned from so far.
    """

    def __init__(self, name: str, params: Sequence[nn.Parameter], patience: int) -> None:
        self.name, self.params, self.patience = name, list(params), patience
        self.losses: list[float] = []
        self.dev_losses: list[tuple[int, float]] = []
        self.best: list[torch.Tensor] = []
        self.best_step = 0
        self.stopped = False
        self.tokens = 0

    def learned(self, loss: float) -> None:
        """One step's loss.

        Raises:
            LoramixError: it is not finite.
        """
        if not math.isfinite(loss):
            raise LoramixError(
                f"The training of '{self.name}' diverged: the loss is {loss}.",
                given=f"step {len(self.losses) + 1}, before it a loss of "
                f"{self.losses[-1] if self.losses else float('nan'):.3f}",
                hint="lower train.lr, or raise train.warmup",
            )
        self.losses.append(loss)

    def looked(self, step: int, loss: float) -> None:
        """A look at the dev examples after `step`: keep the weights, or lose patience."""
        if not self.dev_losses or loss < min(past for _, past in self.dev_losses):
            self.best = [param.detach().clone() for param in self.params]
            self.best_step = step
        self.dev_losses.append((step, loss))
        looks = sum(past_step > self.best_step for past_step, _ in self.dev_losses)
        self.stopped = 0 < self.patience <= looks

    def restore_best(self) -> None:
        """Puts the best weights back; without any look the last ones are the best."""
        if not self.dev_losses:
            self.best_step = len(self.losses)
        with torch.no_grad():
            for param, best in zip(self.params, self.best, strict=False):
                param.copy_(best)

    def tensors(self) -> dict[str, torch.Tensor]:
        """The weights now and the best ones, for a checkpoint."""
        now = {f"{self.name}/now/{i}": param.detach() for i, param in enumerate(self.params)}
        return now | {f"{self.name}/best/{i}": best for i, best in enumerate(self.best)}

    def state(self) -> dict[str, Any]:
        """All the rest, as JSON."""
        return {
            "losses": self.losses,
            "dev_losses": self.dev_losses,
            "best_step": self.best_step,
            "stopped": self.stopped,
            "tokens": self.tokens,
        }

    @torch.no_grad()
    def restore(self, state: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
        """Takes over what `state` and `tensors` gave."""
        self.losses = list(state["losses"])
        self.dev_losses = [(int(step), float(loss)) for step, loss in state["dev_losses"]]
        self.best_step, self.stopped = int(state["best_step"]), bool(state["stopped"])
        self.tokens = int(state["tokens"])
        for i, param in enumerate(self.params):
            param.copy_(tensors[f"{self.name}/now/{i}"])
        if self.dev_losses:
            self.best = [
                tensors[f"{self.name}/best/{i}"].to(param.device, copy=True)
                for i, param in enumerate(self.params)
            ]
