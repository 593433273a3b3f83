"""Teaches the library that ships more answers that are computed from a passage.

    python tools/pocket/computed.py --work FOLDER [--library src/loramix/pocket/library]

Whether to add or to subtract is one token of some thirty, and takes far more requests to learn than
all else does (docs/log.md). In a first run qa and math go on together from the weights that they
have. It costs qa 3 of 100 of its own answers, which many rows teach the wordings of by heart; so qa
stays as it was, and in a second run math learns to do with that, at a point of its own answers;
the mean of its weights after both runs costs none. Both hold fresh examples of math, and requests
for code and its maths, in which code stays as it is. A run that was stopped goes on from FOLDER.
The work is done on a copy, which takes the library's place.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gate import HERE

from loramix.adapter import Adapter
from loramix.base import Base, load_base
from loramix.demo.settings import full_settings
from loramix.evaluate import evaluate_skills
from loramix.gate import make_policy, read_gate
from loramix.library import Library
from loramix.pocket.tasks import COMPOSITES, TASKS
from loramix.tables import say
from loramix.train import BlendJob, SkillJob, TrainProgress, TrainResult, train_skills, with_mixes

DEV = 100


@dataclass(frozen=True)
class Lesson:
    """A run: who learns, from how many fresh examples of each, and from how many of both.

    Attributes:
        taught: the skills that learn; others stay as they are.
        kept: fresh examples of each of them.
        rows: requests for two skills, by kind.
        rate: the highest learning rate.
        seed: of the data and the order.
    """

    taught: tuple[str, ...]
    kept: int
    rows: Mapping[str, int]
    rate: float
    seed: int


FIRST = Lesson(("qa", "math"), 3200, {"computed_answer": 16000, "code_and_math": 2400}, 1.5e-3, 7)
SECOND = Lesson(("math",), 1600, {"computed_answer": 8000, "code_and_math": 1200}, 1e-3, 8)
OF_SECOND = 0.6
"""Share of the second run's weights in what is written; 1.0 has 0.025 more right of the answers
that are computed, and 0.01 less of math's own."""


def main() -> None:
    """Teaches, measures, and puts the copy in place."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="receives checkpoints")
    parser.add_argument("--library", type=Path, default=HERE)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "library"
        shutil.copytree(args.library, copy)
        library = Library.open(copy)
        base = load_base(library.base_id, device="cpu")
        adapters = {name: skill.adapter(base.model) for name, skill in library.skills.items()}
        first = teach(base, adapters, FIRST, args.work / "first")["math"]
        adapters["math"] = first.adapter
        second = teach(base, adapters, SECOND, args.work / "second")["math"]
        adapters["math"] = between(first.adapter, second.adapter, OF_SECOND)
        write(base, library, adapters, first.followed_by(second))
        shutil.copytree(copy, args.library, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*"))


def teach(
    base: Base, adapters: Mapping[str, Adapter], lesson: Lesson, work: Path
) -> dict[str, TrainResult]:
    """The skills of a lesson, which go on from their adapters."""
    settings = full_settings()
    jobs = [
        SkillJob(
            name,
            TASKS[name].examples("train", lesson.kept, lesson.seed),
            TASKS[name].examples("dev", DEV, lesson.seed),
            settings.lora,
            start=adapters[name],
        )
        for name in lesson.taught
    ]
    blends, frozen = [], {}
    for name, count in lesson.rows.items():
        skills = COMPOSITES[name].skills
        mix = dict.fromkeys(skills, 0.5)
        train, dev = (
            with_mixes(COMPOSITES[name].examples(split, n, lesson.seed), mix)
            for split, n in (("train", count), ("dev", DEV))
        )
        blends.append(BlendJob(name, train, dev))
        frozen |= {skill: adapters[skill] for skill in skills if skill not in lesson.taught}
    config = settings.train.model_copy(
        update={"seed": lesson.seed, "lr": lesson.rate, "batch_size": 4, "eval_every": 200}
    )

    def tell(progress: TrainProgress) -> None:
        losses = {name: round(loss, 4) for name, loss in progress.losses.items()}
        say(f"{progress.step} of {progress.total} steps, {progress.seconds:.0f} s, {losses}")

    return train_skills(
        base, jobs, config, work, together=True, blends=blends, frozen=frozen, progress=tell
    )


def between(first: Adapter, second: Adapter, share: float) -> Adapter:
    """A and B between those of two adapters of one run's start: model soups (arXiv 2203.05482)."""
    modules = {
        path: dataclasses.replace(
            own,
            A=own.A + share * (second.modules[path].A - own.A),
            B=own.B + share * (second.modules[path].B - own.B),
        )
        for path, own in first.modules.items()
    }
    return Adapter(modules, first.config)


def write(
    base: Base, library: Library, adapters: Mapping[str, Adapter], taught: TrainResult
) -> None:
    """Math with what it scores now, in a change of a library."""
    scores = evaluate_skills(
        base,
        adapters,
        {"math": TASKS["math"]},
        ("skill", "routed"),
        full_settings().test_examples,
        router=read_gate(library, base),
        policy=make_policy(library),
    )["math"]
    skill = library.skills["math"]
    past, said = skill.card.provenance, str(skill.card.provenance["data"])
    for lesson in (FIRST, SECOND):
        met = ", ".join(f"{count:,} of {name}" for name, count in lesson.rows.items())
        said += f"; then in one pass {lesson.kept:,} more, {met}"
    said += f"; {OF_SECOND} of the last weights and {1 - OF_SECOND} of those before the last pass"
    now = {
        "scores": {**skill.card.scores, **{name: row["score"] for name, row in scores.items()}},
        "provenance": {
            **past,
            "data": said,
            "steps": past["steps"] + taught.steps,
            "tokens": past["tokens"] + taught.tokens,
        },
    }
    card = skill.card.model_copy(update=now)
    with library.edit() as txn:
        txn.add("math", adapters["math"], card, skill.memory(), replace=True)


if __name__ == "__main__":
    main()
