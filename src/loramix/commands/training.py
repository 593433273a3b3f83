"""The work of `loramix train`: the skills of a YAML, their scores and the gate, into a library."""

from __future__ import annotations

import hashlib
import random
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loramix import __version__
from loramix.base import Base, load_base
from loramix.commands.blending import Blend, read_blends, score_blends
from loramix.config import Config
from loramix.data import DataSource, Example
from loramix.data.load import load_examples, load_train_dev
from loramix.errors import ConfigError
from loramix.evaluate import (
    Answers,
    TestSet,
    difference_of,
    evaluate_skills,
    mixed_model,
    score_each,
)
from loramix.gate import (
    FeatureExtractor,
    LearnedGate,
    RoutedExample,
    kinds_of,
    learn_gate,
    make_policy,
    plug_in,
    read_gate,
    same_kind,
)
from loramix.library import Library, SkillCard
from loramix.lora import Adapter
from loramix.phases import Phases, Step
from loramix.pocket.tasks import BUILTIN, COMPOSITES, NONE
from loramix.similar import find_similar
from loramix.train import SkillJob, TrainProgress, TrainResult, train_skills
from loramix.train.checkpoint import clear
from loramix.train.room import peak_rss_mb

GATE_PROMPTS = 1000
"""Training prompts of each skill that the gate is fitted on, at most."""

_SHOWN = 8
_SCORED_ON = {"dev": "held-out rows", "test": "test rows", "train": "its training data"}


@dataclass(frozen=True)
class _Skill:
    """What the data of one skill has become."""

    job: SkillJob
    test: TestSet
    scored_on: str


def train_library(
    settings: Config, names: Sequence[str], folder: Path, *, device: str, start: float
) -> dict[str, Any]:
    """Train the skills `names` into the library `folder`; see `loramix.commands.train.train`.

    Args:
        start: when the command began, on the monotonic clock.
    """
    with Phases() as phases:
        with phases.phase("read the data"):  # first: a base may take minutes to load
            found = {name: _read(settings, name) for name in names}
        with phases.phase("load the base"):
            base = load_base(settings.base, device=device)
            old = _open(folder, base, names, settings)
            FeatureExtractor(base, settings.gate.features)  # a kind that does not exist: said now
            others = {} if old is None else dict(old.skills)
            blends = read_blends(settings, names, others)
        training = folder.with_name(f"{folder.name}-training")
        with phases.phase("train") as step:
            jobs = [skill.job for skill in found.values()]
            partners = {name for blend in blends for name in blend.skills} - set(names)
            trained = train_skills(
                base,
                jobs,
                settings.train,
                training,
                progress=_told(step, settings, len(jobs)),
                blends=[blend.job for blend in blends],
                frozen={name: others[name].adapter(base.model) for name in partners},
            )
        with phases.phase("learn the gate"):
            gate = _learn_gate(base, old, settings, found, blends)
            grown = old is not None and set(old.skills) - set(found)
            stated = "policy" in settings.gate.model_fields_set or not grown
            policy = settings.gate.make_policy(gate.policy)
            if old is not None and not stated:
                policy = same_kind(make_policy(old), gate.policy)
        with phases.phase("score the skills") as step:
            adapters = {name: other.adapter(base.model) for name, other in others.items()}
            adapters |= {name: result.adapter for name, result in trained.items()}
            answers = Answers(base, mixed_model(base, adapters))
            scores = evaluate_skills(
                base,
                answers.mixed,
                {name: skill.test for name, skill in found.items()},
                seed=settings.train.seed,
                router=gate,
                policy=policy,
                answers=answers,
                progress=lambda note, done, total: step(done, total, note),
            )
            alike = {name: _similar(name, gate, adapters) for name in found}
            together = score_blends(answers, blends, settings.train.seed)
        with phases.phase("write the library"):
            target = old or Library.create(folder, base.id, base.fingerprint)
            with target.edit() as txn:
                for name, result in trained.items():
                    card = _card(settings, found[name], scores[name], result)
                    txn.add(name, result.adapter, card, gate.memories[name], replace=True)
                txn.set_gate(*gate.state(policy))
    clear(training)
    return {
        "skills": {
            name: _report(result, scores[name], found[name], settings.train.seed)
            | {"similar": alike[name]}
            for name, result in trained.items()
        },
        "blends": together,
        "gate": {"accuracy": gate.accuracy, "skills": list(gate.skills)},
        "library": str(folder),
        "generation": target.generation,
        "training": str(training),
        "seconds": time.monotonic() - start,
        "peak_rss_mb": max(peak_rss_mb(), *(each.peak_rss_mb for each in trained.values())),
    }


def _open(folder: Path, base: Base, names: Sequence[str], settings: Config) -> Library | None:
    """The library that is there already; None where there is room for a new one."""
    library = Library.find(folder)
    if library is None:
        return None
    library.check_base(base)
    for name in names:
        library.check_free(name, replace=True)  # a mix may have the name
    if set(library.skills) - set(names):
        # It knows the other skills, so it stays, and with it its kind of features.
        gate, asked = read_gate(library, base), settings.gate.features
        if asked not in ("auto", gate.extractor.kind):
            raise ConfigError(
                "The gate of the library reads other features than the YAML asks for.",
                given=f"gate.features: {asked}",
                expected=gate.extractor.kind,
                hint="leave gate.features out, or train all skills of the library again",
            )
    return library


def _read(settings: Config, name: str) -> _Skill:
    """Reads a skill's data; says what its answers are scored on."""
    skill, seed = settings.skills[name], settings.train.seed
    templates = skill.prompt, skill.completion
    train_on, dev = load_train_dev(
        skill.data, skill.dev, *templates, dev_fraction=settings.train.dev_fraction, seed=seed
    )
    own = settings.training(name) if skill.train else None
    job = SkillJob(name, train_on, dev, skill.lora, own)
    most, length = settings.evaluation.examples, settings.evaluation.max_new_tokens
    task = BUILTIN.get(skill.data.builtin or "")
    if task is None or skill.test is not None:
        metric = "exact" if skill.metric == "auto" else skill.metric
        held, scored_on = dev or train_on, "dev" if dev else "train"
        if skill.test is not None:
            held, scored_on = load_examples(skill.test, *templates, split="test", seed=seed), "test"
        if len(held) > most:
            held = random.Random(seed).sample(held, most)
        return _Skill(job, _by_metric(held, metric, length), scored_on)
    test = skill.data.model_copy(update={"split": None, "limit": None})
    held = load_examples(test, *templates, limit=most, split="test", seed=seed)
    if skill.metric != "auto":
        return _Skill(job, _by_metric(held, skill.metric, length), "test")
    return _Skill(job, TestSet(held, task.score_many, task.max_new_tokens), "test")


def _by_metric(examples: Sequence[Example], metric: str, length: int) -> TestSet:
    def score(held: Sequence[Example], texts: Sequence[str]) -> list[float]:
        return score_each(metric, held, texts)

    return TestSet(examples, score, length)


def _learn_gate(
    base: Base,
    old: Library | None,
    settings: Config,
    found: Mapping[str, _Skill],
    blends: Sequence[Blend],
) -> LearnedGate:
    """A gate for all skills that the library will have."""
    rng = random.Random(settings.gate.seed)
    prompts = {}
    for name, skill in found.items():
        texts = list(dict.fromkeys(example.prompt for example in skill.job.train))
        prompts[name] = rng.sample(texts, min(len(texts), GATE_PROMPTS))
    if old is not None and set(old.skills) - set(found):
        gate = read_gate(old, base)
        memories = {name: skill.memory() for name, skill in old.skills.items()}
        for name, texts in prompts.items():
            gate = plug_in(gate, memories, name, texts)
            memories = gate.memories
        several = [e for blend in blends for e in blend.routed(GATE_PROMPTS, settings.gate.seed)]
        return gate.refit(memories, several=several) if several else gate
    return learn_gate(
        base,
        _gate_examples(settings, prompts, blends, rng),
        tuple(found),
        features=settings.gate.features,
        seed=settings.gate.seed,
        memory=settings.gate.memory,
        temperature=settings.gate.temperature,
        requests=_requests(settings, found),
    )


def _requests(settings: Config, found: Mapping[str, _Skill]) -> dict[str, str]:
    """skill → kind of the phrasing bank, for skills whose data are texts without a request.

    Prompts that hold a request already would get a second, strange one around them; so builtin
    tasks, and templates with words of their own, are left out.
    """
    if not settings.gate.features.startswith("request"):
        return {}
    bare = {
        name: settings.skills[name].description
        for name in found
        if settings.skills[name].data.builtin is None
        and re.fullmatch(r"\s*\{[^{}]*\}\s*", settings.skills[name].prompt)
    }
    return kinds_of(bare)


def _gate_examples(
    settings: Config,
    prompts: Mapping[str, Sequence[str]],
    blends: Sequence[Blend],
    rng: random.Random,
) -> list[RoutedExample]:
    """Prompts of each skill, of none, and of two at once: of blends, and of builtin tasks."""
    examples = [RoutedExample(text, {name: 1.0}) for name, some in prompts.items() for text in some]
    count = max(len(some) for some in prompts.values())
    known = {text for some in prompts.values() for text in some}
    none = NONE.examples("train", min(count, GATE_PROMPTS), settings.gate.seed)
    examples += [RoutedExample(e.prompt) for e in none if e.prompt not in known]
    tasks = {name: BUILTIN.get(settings.skills[name].data.builtin or "") for name in prompts}
    skill_of = {task.skill: name for name, task in tasks.items() if task}
    pairs = [c for c in COMPOSITES.values() if all(skill in skill_of for skill in c.skills)]
    for composite in pairs:
        for example in composite.examples("train", count // len(pairs), settings.gate.seed):
            weights = {skill_of[task]: share for task, share in example.meta["skills"].items()}
            examples.append(RoutedExample(example.prompt, weights))
    for blend in blends:
        examples += blend.routed(count, settings.gate.seed)
    rng.shuffle(examples)
    return examples


def _told(step: Step, settings: Config, jobs: int) -> Any:
    """Moves the bar; one by one, each skill has a part of it."""
    runs = 1 if settings.train.together else jobs
    ended: list[str] = []

    def tell(progress: TrainProgress) -> None:
        if runs > 1:
            now = next(iter(progress.losses), "")
            if now and now not in ended:
                ended.append(now)
        before = max(0, len(ended) - 1) if runs > 1 else 0
        losses = ", ".join(f"{name} {loss:.2f}" for name, loss in progress.losses.items())
        step(before + progress.step / max(1, progress.total), runs, losses)

    return tell


def _similar(name: str, gate: LearnedGate, adapters: Mapping[str, Adapter]) -> list[dict[str, Any]]:
    """The skills that a trained one is much like, other trained ones included."""
    scaled = {skill: gate.scaled_features(memory) for skill, memory in gate.memories.items()}
    own = scaled.pop(name)
    return find_similar([own], adapters[name], scaled, adapters)


def _card(
    settings: Config, skill: _Skill, scores: Mapping[str, Any], result: TrainResult
) -> SkillCard:
    name = skill.job.name
    own = settings.skills[name]
    task = BUILTIN.get(own.data.builtin or "")
    return SkillCard(
        description=own.description or (task.description if task else ""),
        examples=list(dict.fromkeys(e.prompt for e in skill.job.train[:_SHOWN])),
        scores={system: row["score"] for system, row in scores.items()},
        provenance={
            **({"task": task.name} if task else {}),
            "data": f"{_named(own.data)}, {len(skill.job.train)} examples, "
            f"seed {settings.train.seed}",
            "scored on": f"{_SCORED_ON[skill.scored_on]}, {scores['skill']['n']} examples",
            "made by": f"loramix {__version__} train",
            "steps": result.steps,
            "tokens": result.tokens,
            "dev loss": result.dev_loss,
        },
    )


def _named(data: DataSource) -> str:
    """A source in words that may be published: a file by name and content, not by its place."""
    place = data.path or (Path(data.hub) if data.hub and Path(data.hub).is_dir() else None)
    if place is None:
        return str(data)
    if place.is_dir():
        return place.resolve().name
    digest = hashlib.sha256()
    with place.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return f"{place.name} (sha256 {digest.hexdigest()[:16]})"


def _report(
    result: TrainResult, scores: Mapping[str, Any], skill: _Skill, seed: int
) -> dict[str, Any]:
    gain = difference_of(scores["skill"]["values"], scores["base"]["values"], seed)
    return {
        **{system: row["score"] for system, row in scores.items()},
        "interval": [scores["skill"]["low"], scores["skill"]["high"]],
        "gain": {"mean": gain.mean, "low": gain.low, "high": gain.high},
        "scored_on": skill.scored_on,
        "n": scores["skill"]["n"],
        "dev_loss": result.dev_loss,
        "steps": result.steps,
        "best_step": result.best_step,
        "stopped_early": result.stopped_early,
        "tokens": result.tokens,
        "seconds": result.seconds,
    }
