"""The demo: five skills from scratch on one frozen base, a gate, and everything measured."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from loramix import __version__
from loramix.base import Base, load_base
from loramix.demo import bars, claims, data
from loramix.demo.blends import blend_tables, samples
from loramix.demo.settings import DemoSettings
from loramix.errors import LibraryError
from loramix.evaluate import (
    Answers,
    evaluate_router,
    evaluate_skills,
    mixed_model,
    write_report,
)
from loramix.evaluate.report import machine
from loramix.gate import CentroidRouter, LearnedGate, learn_gate
from loramix.library import Library, SkillCard
from loramix.phases import Phases, Step
from loramix.pocket.tasks import COMPOSITES, TASKS
from loramix.storage import storage_errors
from loramix.train import TrainProgress, TrainResult, train_skills
from loramix.train.checkpoint import CURVES, clear
from loramix.train.room import peak_rss_mb

LIBRARY, TRAINING, BLENDS, REPORT = "library", "training", "blends", "report.html"
LEARN, BLEND = "train five skills", "teach them to blend"  # phases


def run_demo(
    out: Path, seed: int = 0, device: str = "auto", settings: DemoSettings | None = None
) -> dict[str, Any]:
    """Train, route, blend, measure; write `library`, `report.html` and the losses into `out`.

    Stopped and called again, it goes on with the training from its latest checkpoint.

    Args:
        out: a folder; what an earlier demo left there is replaced.
        seed: of data, training, gate and intervals.
        device: as for `load_base`.
        settings: how much of everything.

    Returns:
        What `loramix demo --json` prints; `render_report` reads the same dict.

    Raises:
        LibraryError: `out` holds a library of another base, or something else in its place.
        StorageError: the disk is full or does not let us write.
        Interrupted: Ctrl-C while training; a checkpoint was kept.
    """
    settings = settings or DemoSettings()
    with storage_errors("making the folder", out):
        out.mkdir(parents=True, exist_ok=True)
    with Phases() as phases:
        with phases.phase("load the base"):
            base = load_base(settings.base, device=device)
            library = _library(out / LIBRARY, base)
        with phases.phase("make the data"):
            jobs = data.skill_jobs(settings, seed)
        with phases.phase(LEARN) as step:
            config = settings.train.model_copy(update={"seed": seed})
            trained = train_skills(
                base, jobs, config, out / TRAINING, together=True, progress=_train_steps(step)
            )
        if settings.blends:
            with phases.phase(BLEND) as step:
                trained = _taught_blends(base, trained, settings, seed, out / TRAINING, step)
        _give_back_memory()
        # what an earlier, stopped run has trained counts too
        spent = max(result.seconds for result in trained.values())
        here = sum(phases.seconds.get(name, 0.0) for name in (LEARN, BLEND))
        before = max(0.0, spent - here)
        with phases.phase("learn the gate"):
            examples = data.gate_examples("train", settings.gate_prompts, seed)
            router = learn_gate(base, examples, tuple(TASKS), seed=seed, memory=settings.memory)
            policy = router.policy
        with phases.phase("score the skills") as step:
            adapters = {name: result.adapter for name, result in trained.items()}
            mixed = mixed_model(base, adapters)
            answers = Answers(base, mixed, settings.batch_size)
            scores = _scores(answers, router, settings, seed, step)
        with phases.phase("score the gate"):
            skill_prompts, none_prompts = data.held_out_prompts(settings.test_prompts, seed)
            composites = data.held_out_composites(settings.test_prompts, seed)
            centroid = CentroidRouter(router.extractor, router.skills)
            routers = {
                each.name: evaluate_router(each, skill_prompts, none_prompts, composites, seed)
                for each in (
                    router,
                    centroid.fit_memory(router.memories, router.none),
                    router.words,
                )
            }
            gate = routers[router.name]
        with phases.phase("blend") as step:
            blends = blend_tables(answers, router, policy, settings, seed, step)
            shown = samples(answers, router, policy)
        with phases.phase("write the library"):
            _save(library, trained, scores, router, settings, seed)
        with phases.phase("merge into one expert") as step:
            before_merging = {name: systems["skill"] for name, systems in scores.items()}
            merged = claims.retention(base, adapters, before_merging, settings, seed, step)
        with phases.phase("see what is forgotten") as step:
            forgot = claims.forgetting(base, jobs, adapters, settings, seed, out, step)
        with phases.phase("weigh adapters and models"):
            room = claims.storage(base, adapters, settings, out)
    together = max(result.peak_rss_mb for result in trained.values())
    seconds, memory = before + phases.elapsed, max(peak_rss_mb(), together)
    skills = {
        name: {
            **{system: row["score"] for system, row in systems.items()},
            "intervals": {system: [row["low"], row["high"]] for system, row in systems.items()},
            "n": {system: row["n"] for system, row in systems.items()},
        }
        for name, systems in scores.items()
    }
    measured = [
        *bars.skill_bars(skills),
        *bars.gate_bars(gate),
        *bars.prompt_bars(router),
        claims.forgetting_bar(forgot),
        *bars.resource_bars(seconds, settings.seconds, memory),
    ]
    result: dict[str, Any] = {
        "skills": skills,
        "gate": gate | {"temperature": router.temperature, "policy": asdict(policy)},
        "routers": {
            name: {key: row[key] for key in ("accuracy", "none_auroc", "top_two")}
            for name, row in routers.items()
        },
        "blends": blends,
        "samples": shown,
        "forgetting": forgot | {"base": {name: row["base"] for name, row in skills.items()}},
        "retention": merged,
        "storage": room,
        "bars": [line.to_dict() for line in measured],
        "training": _training(trained, settings),
        "phases": dict(phases.seconds),
        "seconds": seconds,
        "peak_rss_mb": memory,
        "machine": machine(base.device.type),
        "seed": seed,
        "library": str(out / LIBRARY),
        "report": str(out / REPORT),
    }
    write_report(result | _head(base, seed), out / REPORT)
    _tidy(out)
    return result


def _taught_blends(
    base: Base,
    trained: Mapping[str, TrainResult],
    settings: DemoSettings,
    seed: int,
    folder: Path,
    step: Step,
) -> dict[str, TrainResult]:
    """The skills after a second run over requests for two of them and fresh ones for each."""
    adapters = {name: result.adapter for name, result in trained.items()}
    jobs, blends = data.blend_jobs(settings, adapters, seed)
    half = settings.train.lr / 2
    config = settings.train.model_copy(update={"seed": seed + 1, "lr": half, "epochs": 1.0})
    taught = train_skills(
        base,
        jobs,
        config,
        folder / BLENDS,
        together=True,
        blends=blends,
        progress=_train_steps(step),
    )
    return {name: first.followed_by(taught[name]) for name, first in trained.items()}


def _give_back_memory() -> None:
    """Return what training has freed, so that the phases after it do not add to its peak."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # only glibc keeps it and can trim
        ctypes.CDLL(None).malloc_trim(0)


def _library(path: Path, base: Base) -> Library:
    """The library of an earlier demo, or a new one; checked before any work is done."""
    library = Library.find(path)
    if library is None:
        return Library.create(path, base.id, base.fingerprint)
    strange = [name for name in library.skills if name not in TASKS]
    if library.fingerprint != base.fingerprint or strange:
        raise LibraryError(
            f"{path} holds another library, which the demo would replace.",
            given=f"base {library.base_id}, skills {', '.join(library.skills)}",
            hint="choose another folder: loramix demo --out DIR",
        )
    return library


def _train_steps(step: Step) -> Any:
    def report(progress: TrainProgress) -> None:
        losses = progress.losses.values()
        note = f"loss {sum(losses) / len(losses):.3f}" if losses else ""
        step(progress.step, progress.total, note)

    return report


def _scores(
    answers: Answers, router: LearnedGate, settings: DemoSettings, seed: int, step: Step
) -> dict[str, dict[str, Any]]:
    """Scores of the base, on few examples since it writes on and on, and of the skills."""
    scores: dict[str, dict[str, Any]] = {name: {} for name in TASKS}
    first = len(TASKS) * settings.base_examples
    total = first + 2 * len(TASKS) * settings.test_examples
    for systems, count, before in (
        (("base",), settings.base_examples, 0),
        (("skill", "routed"), settings.test_examples, first),
    ):

        def progress(note: str, done: int, _: int, before: int = before) -> None:
            step(before + done, total, note)

        part = evaluate_skills(
            answers.base,
            answers.mixed,
            settings.tasks,
            systems,
            count,
            seed,
            router=router,
            policy=router.policy,
            answers=answers,
            progress=progress,
        )
        for name, row in part.items():
            scores[name] |= row
    return scores


def _training(trained: Mapping[str, TrainResult], settings: DemoSettings) -> dict[str, Any]:
    return {
        name: {
            "description": settings.tasks[name].description,
            "examples": settings.train_examples[name],
            "data": _learned(name, settings),
            "rank": result.adapter.rank,
            "parameters": result.adapter.num_parameters,
            "losses": list(result.losses),
            "dev_losses": [list(point) for point in result.dev_losses],
            "steps": result.steps,
            "tokens": result.tokens,
            "seconds": result.seconds,
        }
        for name, result in trained.items()
    }


def _head(base: Base, seed: int) -> dict[str, Any]:
    """Texts of the page that are not figures."""
    millions = sum(p.numel() for p in base.model.parameters()) / 1e6
    return {
        "title": "loramix demo",
        "lead": f"Five LoRA skills trained from scratch on the frozen base {base.id} "
        f"({millions:.1f} M parameters), and a gate that reads a prompt and mixes them. "
        f"Everything below was measured on held-out data by one run, {date.today():%d %B %Y}.",
        "skill_bar": bars.SKILL_BAR,
        "footer": f"loramix {__version__}, loramix demo --seed {seed}",
    }


def _save(
    library: Library,
    trained: Mapping[str, TrainResult],
    scores: Mapping[str, Mapping[str, Any]],
    router: LearnedGate,
    settings: DemoSettings,
    seed: int,
) -> None:
    """All skills and the gate, in one change of the library."""
    with library.edit() as txn:
        for name, result in trained.items():
            task = settings.tasks[name]
            card = SkillCard(
                description=task.description,
                examples=[e.prompt for e in task.examples("train", 8, seed)],
                scores={system: row["score"] for system, row in scores[name].items()},
                provenance={
                    "task": task.name,
                    "data": f"builtin task {task.name!r}: {_learned(name, settings)}, seed {seed}",
                    "made by": f"loramix {__version__} demo",
                    "steps": result.steps,
                    "tokens": result.tokens,
                },
            )
            txn.add(name, result.adapter, card, router.memories[name], replace=True)
        txn.set_gate(*router.state())


def _learned(name: str, settings: DemoSettings) -> str:
    """How many examples a skill learned, of what."""
    said = f"{settings.train_examples[name]:,} examples from its generator"
    said += f", epochs: {settings.train.epochs:g}"
    if settings.blends:
        met = [key for key in settings.blends if name in COMPOSITES[key].skills]
        asked = ", ".join(f"{settings.blends[key]:,} of {key}" for key in met)
        said += f"; then in one pass {settings.kept_examples[name]:,} more and requests for two "
        said += f"skills: {asked}"
    return said


def _tidy(out: Path) -> None:
    """Keep the losses, drop the checkpoints: the next demo starts from scratch."""
    with storage_errors("tidying up", out):
        for name in CURVES:
            if (out / TRAINING / name).exists():
                os.replace(out / TRAINING / name, out / name)
        clear(out / TRAINING)
        (out / TRAINING).rmdir()
