"""What is trained, what is said meanwhile, and what comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from loramix.adapter import Adapter, LoraSettings
from loramix.config import TrainConfig
from loramix.data.example import Example


@dataclass(frozen=True)
class SkillJob:
    """One skill to train.

    Attributes:
        name: of the skill.
        train: examples to learn.
        dev: held-out examples; the weights with the lowest loss on them are kept. Without any,
            the last weights are.
        lora: the shape of the LoRA.
        config: what this skill trains with instead of the run's settings; only for skills
            that are trained one by one.
        start: the weights that it goes on from, of the shape that `lora` says; None starts as
            the base itself.
    """

    name: str
    train: Sequence[Example]
    dev: Sequence[Example] = ()
    lora: LoraSettings = LoraSettings()  # noqa: RUF009 (it is frozen)
    config: TrainConfig | None = None
    start: Adapter | None = None


@dataclass(frozen=True)
class BlendJob:
    """What several skills of a run learn to do at once, each with its share of every row.

    A skill that learns to blend keeps its last weights, whatever its own dev loss says: those of
    another step would not fit its partners'.

    Attributes:
        name: of the blend, in reports; no skill's name.
        train: examples with a `mix` over skills of the run and frozen ones.
        dev: held-out ones, to see the loss fall; they decide nothing.
    """

    name: str
    train: Sequence[Example]
    dev: Sequence[Example] = ()


@dataclass(frozen=True)
class TrainProgress:
    """Where a run is.

    Attributes:
        skills: those that this run trains and that still learn.
        step: optimizer steps done; of several processes together.
        total: optimizer steps of the run, if no skill stops early; of several processes together.
        losses: the latest mean loss of each skill, nats a token; empty at the start.
        dev_losses: the same on the dev examples.
        tokens: tokens computed so far, padding not counted.
        seconds: since the start, earlier parts of a resumed run included.
    """

    skills: tuple[str, ...]
    step: int
    total: int
    losses: Mapping[str, float]
    dev_losses: Mapping[str, float]
    tokens: int
    seconds: float


Progress = Callable[[TrainProgress], None]


@dataclass(frozen=True)
class TrainResult:
    """One trained skill.

    Attributes:
        adapter: the weights with the lowest dev loss, float32, on the CPU.
        losses: mean loss on the completions of each step, nats a token.
        dev_losses: (step, loss) of each look at the dev examples.
        best_step: the step that the adapter is of.
        stopped_early: whether the dev loss had stopped falling before the last step.
        steps: optimizer steps of this skill.
        tokens: tokens that it learned from, prompts included, padding not.
        seconds: of the run that trained it; several skills of one run share these seconds.
        peak_rss_mb: the most memory that the process had, MiB; several processes added up, files
            that they share counted once.
        base_hash: of the base's weights in memory, the same before and after.
    """

    adapter: Adapter
    losses: tuple[float, ...]
    dev_losses: tuple[tuple[int, float], ...]
    best_step: int
    stopped_early: bool
    steps: int
    tokens: int
    seconds: float
    peak_rss_mb: float
    base_hash: str

    def followed_by(self, later: TrainResult) -> TrainResult:
        """The result of this run and of a later one that went on from its adapter."""
        return replace(
            later,
            losses=self.losses + later.losses,
            dev_losses=self.dev_losses
            + tuple((self.steps + step, loss) for step, loss in later.dev_losses),
            best_step=self.steps + later.best_step,
            steps=self.steps + later.steps,
            tokens=self.tokens + later.tokens,
            seconds=self.seconds + later.seconds,
            peak_rss_mb=max(self.peak_rss_mb, later.peak_rss_mb),
        )

    @property
    def dev_loss(self) -> float | None:
        """The lowest dev loss, that of the adapter; None without dev examples."""
        return min((loss for _, loss in self.dev_losses), default=None)
