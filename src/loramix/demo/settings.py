"""How much of everything the demo takes: enough for its bars, in less than eight minutes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from loramix.adapter import LoraSettings
from loramix.config import TrainConfig
from loramix.pocket.tasks import BRIEF, COMPOSITES, TASKS, Task

# On a base this small q and v alone leave too little to learn with.
MATRICES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class DemoSettings:
    """The size of a demo.

    Attributes:
        base: what to load.
        tasks: skill → what it learns and is measured on.
        train_examples: of each skill; those that meet the most phrasings have the most.
        dev_examples: of each skill.
        train: how the five skills are trained, together in one run.
        blends: requests of each kind that needs two skills, which a second run teaches the skills
            to answer together; none leaves that run out.
        kept_examples: fresh ones of each skill that run beside them, so that it stays what it is.
        lora: the shape of each adapter.
        gate_prompts: of each skill, to fit the gate; as many of none, four times of each composite,
            and a fifth of people's requests.
        memory: prompts of each skill whose features the library keeps.
        base_examples: held-out examples of each skill for the base alone.
        test_examples: held-out examples of each skill, with its adapter and routed.
        test_prompts: held-out prompts of each skill, for the gate alone.
        composite_examples: held-out requests of each kind that needs two skills.
        forgetting_examples: of each task, for the one adapter that is taught all of them.
        forgetting_tests: held-out examples of each task, after each task that was learned.
        expert: the method that merges all skills into one; empty leaves it out.
        weighed: how many adapters and full models are put on disk and into memory; 0 is none.
        batch_size: prompts generated at once.
        seconds: bar on the time of it all; None sets none.
    """

    base: str = "pocket"
    tasks: Mapping[str, Task] = field(default_factory=lambda: BRIEF)
    train_examples: Mapping[str, int] = field(
        default_factory=lambda: {
            "sentiment": 800,
            "summarization": 1300,
            "math": 3500,
            "code": 800,
            "qa": 2200,
        }
    )
    dev_examples: int = 100
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            epochs=2.0, lr=2e-3, batch_size=8, eval_every=200, patience=0, max_length=256
        )
    )
    blends: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(COMPOSITES, 320))
    kept_examples: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(TASKS, 320))
    lora: LoraSettings = field(
        default_factory=lambda: LoraSettings.model_validate({"target_modules": list(MATRICES)})
    )
    gate_prompts: int = 1000
    memory: int = 250
    base_examples: int = 60
    test_examples: int = 150
    test_prompts: int = 300
    composite_examples: int = 40
    forgetting_examples: int = 500
    forgetting_tests: int = 50
    expert: str = "regmean"
    weighed: int = 5
    batch_size: int = 64
    seconds: float | None = 480


def full_settings() -> DemoSettings:
    """The demo that made the library that ships, with requests in people's own words.

    Its answers that are computed were 5,600 then; qa and math have been taught more of them since
    (`tools/pocket/computed.py`).
    """
    settings = DemoSettings()
    examples = {
        "sentiment": 2500,
        "summarization": 4000,
        "math": 30000,
        "code": 24000,
        "qa": 9000,
    }
    kept = {"sentiment": 1200, "summarization": 2400, "math": 4800, "code": 4800, "qa": 4800}
    train = {"epochs": 1.0, "neftune_noise_alpha": 10.0, "eval_every": 1000}
    return replace(
        settings,
        tasks=TASKS,
        train_examples=examples,
        blends={"summary_and_tone": 3200, "code_and_math": 4000, "computed_answer": 16000},
        kept_examples=kept,
        train=settings.train.model_copy(update=train),
        test_examples=600,
        seconds=None,
    )
