"""Config and its parts. A field's description is its help, in `loramix init` and in the docs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    ValidationInfo,
    field_validator,
    model_validator,
)

from loramix.data.load import COMPLETION, PROMPT
from loramix.data.source import DataSource
from loramix.data.template import template_columns
from loramix.errors import LibraryError
from loramix.manifest import validate_name
from loramix.mix import Policy, PolicyKind
from loramix.peft_config import LoraSettings

# YAML knows numbers from texts and truth values, so `epochs: true` is a mistake, not a 1.
Int = Annotated[int, Strict()]
Float = Annotated[float, Strict()]
Bool = Annotated[bool, Strict()]

FEATURE_SOURCES = ("embeddings", "early", "middle", "words", "request")


def _skill_name(name: str) -> str:
    try:
        return validate_name(name)
    except LibraryError as error:
        raise ValueError(f"{error.what}; use {error.expected}") from error


def _template(template: str) -> str:
    if not template_columns(template):
        raise ValueError(f"the template {template!r} shows no column; write {{column}} in it")
    return template


SkillName = Annotated[str, AfterValidator(_skill_name)]
Template = Annotated[str, AfterValidator(_template)]
Metric = Literal[
    "auto", "accuracy", "macro_f1", "exact", "identical", "f1", "rouge_1", "rouge_2", "rouge_l",
    "number", "tests", "perplexity",
]  # fmt: skip


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SkillTraining(_Part):
    """What one skill trains with instead of the run's settings."""

    epochs: Float | None = Field(default=None, gt=0)
    max_steps: Int | None = Field(default=None, ge=1)
    lr: Float | None = Field(default=None, gt=0, le=1)
    batch_size: Int | None = Field(default=None, ge=1)
    grad_accum: Int | None = Field(default=None, ge=1)
    max_length: Int | None = Field(default=None, ge=8)
    patience: Int | None = Field(default=None, ge=0)


class SkillConfig(_Part):
    """One skill: its data, how rows become prompts and completions, its LoRA."""

    description: str = Field(default="", description="what the skill does, one line")
    data: DataSource = Field(
        description="{path: FILE}, {hub: DATASET, name: …, split: …} or {builtin: TASK}; "
        "with `limit: N` at most N rows"
    )
    dev: DataSource | None = Field(
        default=None, description="held-out rows; without it a part of `data` is held out"
    )
    test: DataSource | None = Field(
        default=None,
        description="rows that the skill is scored on and that decide nothing before; without it "
        "those of `dev`, which early stopping has seen",
    )
    prompt: Template = Field(
        default=PROMPT, description="template over the columns: {question}, {answers[0]}"
    )
    completion: Template = Field(default=COMPLETION, description="template of what to answer")
    lora: LoraSettings = Field(
        default=LoraSettings.model_validate({}), description="the shape of the LoRA"
    )
    metric: Metric = Field(
        default="auto",
        description="how answers are scored: accuracy or macro_f1 of classes, exact text, "
        "identical code, f1 over words, rouge_1, rouge_2, rouge_l, the last number, tests passed, "
        "perplexity; auto: a builtin task's own score, else exact, and in `eval` what suits",
    )
    train: SkillTraining | None = Field(
        default=None, description="settings of `train` for this skill only (together: false)"
    )


class BlendConfig(_Part):
    """A blend: rows whose answers need several skills at once, which learn them together."""

    skills: dict[SkillName, Annotated[Float, Field(gt=0)]] = Field(
        min_length=2,
        description="skill → weight; those that are not trained now come from the library and "
        "stay as they are",
    )
    data: DataSource = Field(
        description="as of a skill; or {builtin: summary_and_tone}, code_and_math, computed_answer"
    )
    dev: DataSource | None = Field(
        default=None, description="held-out rows; without it a part of `data` is held out"
    )
    prompt: Template = Field(default=PROMPT, description="template over the columns")
    completion: Template = Field(default=COMPLETION, description="template of what to answer")
    metric: Metric = Field(
        default="auto", description="as of a skill; auto: the parts of a builtin one, else exact"
    )


class GateConfig(_Part):
    """The learned router, and how its scores become a mix."""

    features: str = Field(
        default="auto",
        description="what it reads: auto; of the base embeddings, early, middle; words; or "
        "request, what a prompt asks for; joined with +",
    )
    policy: PolicyKind = Field(
        default="top1",
        description="top1: the best skill, two where the prompt needs two; topk; blend",
    )
    k: Int = Field(default=2, ge=1, description="how many skills topk takes")
    blend_threshold: Float | None = Field(
        default=None, ge=0, le=1, description="top1 blends from this share; null: fitted"
    )
    none_threshold: Float | None = Field(
        default=None, ge=0, le=1, description="the base alone from this score; null: fitted"
    )
    temperature: Float | None = Field(
        default=None, gt=0, description="of its probabilities; null: calibrated on held-out prompts"
    )
    memory: Int = Field(
        default=250, ge=8, description="prompts a skill whose features are kept to refit the gate"
    )
    seed: Int = Field(default=0, ge=0, description="same seed, same gate")

    @field_validator("features")
    @classmethod
    def _sources(cls, features: str) -> str:
        names = [part.partition("/")[0].strip() for part in features.split("+")]
        if features != "auto" and any(name not in FEATURE_SOURCES for name in names):
            raise ValueError(f"use auto, or some of {', '.join(FEATURE_SOURCES)} joined with +")
        return features

    def make_policy(self, fitted: Policy | None = None) -> Policy:
        """The policy; thresholds that the YAML leaves open are those of `fitted`."""
        fitted = fitted or Policy()
        blend, none = self.blend_threshold, self.none_threshold
        return Policy(
            kind=self.policy,
            k=self.k,
            blend_threshold=fitted.blend_threshold if blend is None else blend,
            none_threshold=fitted.none_threshold if none is None else none,
            min_share=fitted.min_share,
        )


class TrainConfig(_Part):
    """How the skills are trained."""

    epochs: Float = Field(default=3.0, gt=0, description="passes over the data")
    max_steps: Int | None = Field(
        default=None, ge=1, description="stop after so many steps; null: after the epochs"
    )
    lr: Float = Field(
        default=1e-3, gt=0, le=1, description="highest learning rate; 2e-4 suits a base of 1B"
    )
    loraplus_lr_ratio: Float = Field(
        default=1.0, gt=0, description="times `lr` is the rate of B, A's is `lr` (LoRA+)"
    )
    neftune_noise_alpha: Float = Field(
        default=0.0, ge=0, description="noise on the embeddings while training (NEFTune), 5 to 15; "
        "helps with requests in words that no row holds",
    )  # fmt: skip
    batch_size: Int = Field(default=16, ge=1, description="rows of one forward pass")
    grad_accum: Int = Field(default=1, ge=1, description="forward passes of one step")
    max_length: Int | None = Field(
        default=None, ge=8, description="longest row in tokens, longer ones are left out and "
        "counted; null: the base's context",
    )  # fmt: skip
    warmup: Float = Field(
        default=0.05, ge=0, lt=1, description="share of the steps in which the rate rises"
    )
    seed: Int = Field(default=0, ge=0, description="of the LoRA's start, the order and the split")
    bf16: Bool | Literal["auto"] = Field(
        default="auto", description="compute in bfloat16; auto: where the machine is fast in it"
    )
    gradient_checkpointing: Bool = Field(
        default=False, description="less memory for about a third more time"
    )
    dev_fraction: Float = Field(
        default=0.1, ge=0, lt=1, description="share of the prompts held out where `dev` is absent"
    )
    eval_every: Int = Field(default=100, ge=1, description="steps between looks at the dev loss")
    patience: Int = Field(
        default=3, ge=0, description="stop after so many looks without a better one; 0: never"
    )
    together: Bool = Field(
        default=True, description="all skills in one run, sharing the base's forward pass"
    )
    workers: Annotated[int, Field(strict=True, ge=1)] | Literal["auto"] = Field(
        default="auto", description="processes that share the skills of one run; auto: one a core "
        "where the base is small, the run long and on a CPU",
    )  # fmt: skip


class EvaluationConfig(_Part):
    """What is measured after the training."""

    examples: Int = Field(default=200, ge=1, description="held-out examples a skill")
    max_new_tokens: Int = Field(default=128, ge=1, description="longest answer in tokens")


class Config(_Part):
    """The whole: base, skills, gate, training, evaluation."""

    base: str = Field(
        default="pocket", description="pocket, a Hugging Face id, or a folder with a model"
    )
    library: Path = Field(
        default=Path("library"),
        validate_default=True,
        description="the folder that receives the skills; relative to this file",
    )
    skills: dict[SkillName, SkillConfig] = Field(min_length=1, description="name → skill")
    blends: dict[SkillName, BlendConfig] = Field(
        default_factory=dict, description="name → what skills learn to do together"
    )
    gate: GateConfig = Field(default_factory=GateConfig, description="the learned router")
    train: TrainConfig = Field(default_factory=TrainConfig, description="how skills are trained")
    evaluation: EvaluationConfig = Field(
        default_factory=EvaluationConfig, description="what is measured afterwards"
    )

    @field_validator("base")
    @classmethod
    def _local_base(cls, base: str, info: ValidationInfo) -> str:
        """A folder beside the YAML wins over a Hugging Face id of the same name."""
        if not base.strip():
            raise ValueError("the base has no name")
        folder = _folder(info)
        if base == "pocket" or folder is None:
            return base
        local = folder / Path(base).expanduser()
        return str(local) if local.is_dir() or base[0] in "./~" else base

    @field_validator("library")
    @classmethod
    def _local_library(cls, library: Path, info: ValidationInfo) -> Path:
        folder = _folder(info)
        return library if folder is None else folder / library.expanduser()

    @model_validator(mode="after")
    def _one_run_one_setting(self) -> Config:
        own = [name for name, skill in self.skills.items() if skill.train is not None]
        if self.train.together and own and len(self.skills) > 1:
            raise ValueError(
                f"skills.{own[0]}.train cannot hold in one run with other skills; "
                "set train.together to false, or remove it"
            )
        return self

    @model_validator(mode="after")
    def _blends_of_skills(self) -> Config:
        for name, blend in self.blends.items():
            if name in self.skills:
                raise ValueError(f"blends.{name} has the name of a skill; give it another")
            if not blend.skills.keys() & self.skills.keys():
                raise ValueError(
                    f"blends.{name} blends {', '.join(blend.skills)}, none of which is a skill "
                    f"of this file ({', '.join(self.skills)})"
                )
        if self.blends and not self.train.together:
            raise ValueError(
                "blends are learned in one run: set train.together to true, or remove them"
            )
        return self

    def training(self, skill: str) -> TrainConfig:
        """What one skill trains with: the run's settings and its own on top."""
        own = self.skills[skill].train
        changes: dict[str, Any] = own.model_dump(exclude_none=True) if own else {}
        return self.train.model_copy(update=changes)


def _folder(info: ValidationInfo) -> Path | None:
    """The YAML's folder, which load_config gives as the context of the checks."""
    folder: Path | None = (info.context or {}).get("folder")
    return folder
