"""`loramix eval`: base, skills, routing, mixes and experts, on any tasks."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramix import __version__
from loramix.errors import Interrupted, LoramixError, UsageError
from loramix.library import Library
from loramix.mix import check_skills

if TYPE_CHECKING:
    from loramix.base import Base
    from loramix.commands.eval_systems import Expert
    from loramix.commands.eval_tasks import Wanted
    from loramix.config import Config
    from loramix.evaluate import Answers
    from loramix.gate.router import Router
    from loramix.mixed import MixedModel
    from loramix.pocket.tasks.task import Composite

EXAMPLES = 100
SYSTEMS = "base,skills,routers,mixes,experts"


def evaluate(
    tasks: str | Sequence[str] | None = None,
    *,
    config: Path | None = None,
    apart: Path | None = None,
    systems: str = SYSTEMS,
    mixes: Sequence[str] = (),
    experts: Sequence[Path] = (),
    metrics: Sequence[str] = (),
    perplexity: bool = False,
    prompt: str | None = None,
    completion: str | None = None,
    max_new_tokens: int = 0,
    limit: int | None = None,
    batch_size: int = 64,
    seed: int = 0,
    plot: Path | None = None,
    report: Path | None = None,
    also: str | None = None,
    cache: Path | None = None,
    use_cache: bool = True,
    library: Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    began: float | None = None,
) -> dict[str, Any]:
    """Measures a library.

    Args:
        tasks: see `read_tasks`, several with commas; None is all that fit the library, or those
            of the YAML.
        config: a YAML whose skills' held-out data are tasks.
        apart: a library of the same skills trained without blends, for composites.
        systems: see `GROUPS` in `eval_systems`, several with commas.
        mixes: recipes to measure beside those that the library keeps.
        experts: folders of merged adapters, or of standalone models.
        metrics: `NAME` for all tasks, `TASK=NAME` for one.
        perplexity: of the right answers, beside every metric.
        prompt, completion: templates over the columns of files and datasets.
        max_new_tokens: of an answer; 0 follows from the task.
        limit: examples of each task; None is the YAML's, or 100.
        batch_size: prompts answered together.
        seed: of examples and intervals.
        plot: an SVG, PNG or PDF file to draw into.
        report: a file for the page that `write_report` makes.
        also: parts beside the scores, see `PARTS` in `eval_beside`, several with commas, or
            `all`, or `none`; None is, where a report is made, what costs little.
        cache: a file of earlier answers; None is one in the user's cache folder.
        use_cache: whether there is one at all.
        library: its folder; None is the YAML's, or the shipped one.
        device, dtype: see `load_base`.
        began: when the command did, on the monotonic clock; None is now.

    Returns:
        See `loramix.evaluate.Evaluation`; parts that were not asked for are left out.

    Raises:
        UsageError, ConfigError, DataError: the call, the YAML or the data.
        UnknownSkillError: a task without a skill that it needs.
        AdapterMismatchError: `apart` is for another base.
        LibraryError: no library.
        StorageError: the plot or the report cannot be written.
        Interrupted: Ctrl-C; says what is kept.
    """
    began = time.monotonic() if began is None else began
    from loramix.evaluate.heat import check_plot

    settings = _config(config)
    if library is None and settings is not None:
        library = settings.library
    opened = Library.shipped() if library is None else Library.open(library)
    other = None if apart is None else Library.open(apart)
    if plot is not None:
        check_plot(plot)
    if report is not None and report.is_dir():
        raise UsageError(
            f"{report} is a folder.", expected="a file", hint=f"--report {report}/report.html"
        )

    from loramix.commands.eval_beside import check_also, impossible, parse_also
    from loramix.commands.eval_composites import find_composites, measure_composites
    from loramix.commands.eval_systems import (
        check_groups,
        composite_systems,
        find_experts,
        parse_groups,
        parse_recipes,
    )
    from loramix.commands.eval_tasks import Reading, check_flags, parse_metrics, read_tasks
    from loramix.data.load import COMPLETION, PROMPT

    examples = limit or (EXAMPLES if settings is None else settings.evaluation.examples)
    groups, recipes = parse_groups(systems), parse_recipes(mixes, opened)
    merged, parts = find_experts(experts, opened), parse_also(also)
    if systems != SYSTEMS:
        check_groups(groups, opened, recipes, merged)
    items = [tasks] if isinstance(tasks, str) else list(tasks or ())
    reading = Reading(
        {name: opened.skill(name).card.task for name in opened.skills}, examples, seed,
        parse_metrics(metrics), prompt or PROMPT, completion or COMPLETION, max_new_tokens,
    )  # fmt: skip
    wanted = read_tasks(items, reading, settings)
    kinds = find_composites(wanted, opened, other, tasks)
    ways = composite_systems(groups, other is not None)
    if kinds and not ways and not wanted.tasks:
        raise UsageError(
            "Composites are answered by base, skill and routed alone.",
            given=f"--systems {systems}",
            hint="add one of them to --systems, or another task to --tasks",
        )
    for task in wanted.tasks:
        if task.skill is not None:
            check_skills([task.skill], opened.skills)
    check_flags(
        wanted, templates=prompt is not None or completion is not None, metrics=metrics,
        perplexity=perplexity, max_new_tokens=max_new_tokens, cache=cache, use_cache=use_cache,
    )  # fmt: skip
    cannot = impossible(opened, groups, wanted)
    check_also(parts, cannot)

    from loramix.commands.eval_beside import Beside, measure_beside, merge_all
    from loramix.commands.eval_systems import make_routers, make_systems
    from loramix.evaluate import evaluate_matrix
    from loramix.phases import Phases

    result: dict[str, Any] = {}
    asked: list[Answers] = []
    try:
        with Phases() as phases:
            startup = time.monotonic() - began
            with phases.phase("load the base"):
                base = _base(opened, device, dtype)
                routers = make_routers(base, opened, groups)
                beside = Beside.chosen(parts, report is not None, base, cannot)
            if "merging" in beside.parts:
                with phases.phase("merge the skills"):
                    try:
                        merged = [*merged, merge_all(base, opened, seed)]
                    except LoramixError as error:
                        beside.give_up("merging", error)
            keep = _Keeping(batch_size, cache, use_cache, asked)
            after = keep.answers(base, opened, merged)
            models = {e.name: keep.model(e, device, dtype) for e in merged if e.whole}
            before = None
            if other is not None:
                other.check_base(base)
                before = keep.answers(base, other, ())
            with phases.phase("measure the tasks") as step:
                sized = _sized(base, wanted)
                found = make_systems(
                    opened, sized, groups, routers, recipes, merged, wanted.blends, models
                )
                result |= evaluate_matrix(
                    after,
                    sized,
                    found,
                    seed=seed,
                    perplexity=perplexity,
                    progress=lambda what, done, total: step(done, total, what),
                )
            if wanted.tasks and routers:
                with phases.phase("measure the routers"):
                    result["routing"] = _routing(wanted, routers, kinds, examples, seed)
            if kinds and ways:
                both = measure_composites(
                    after, before, opened, kinds, ways, examples, seed, phases
                )
                both["failures"] = [*result["failures"], *both["failures"]]
                result |= both
            if report is not None or beside.parts:
                result |= measure_beside(
                    beside, after, replace(wanted, tasks=sized), opened, settings, kinds, merged,
                    result, seed, phases,
                )  # fmt: skip
    except KeyboardInterrupt:
        raise _stopped(asked) from None
    finally:
        for each in asked:
            if each.cache is not None:
                each.cache.close()
    spent = {"start up": startup, **phases.seconds}
    if plot is not None:
        from loramix.evaluate.heat import draw_evaluation

        draw_evaluation(result, plot)
    if report is not None:
        from loramix.evaluate import write_report

        write_report(result | _head(opened, base, spent, time.monotonic() - began), report)
    kept = after.cache
    return {
        **result,
        "answers": {
            "computed": sum(each.computed for each in asked),
            "computed_tokens": sum(each.computed_tokens for each in asked),
            "rated": sum(each.rated for each in asked),
            "cached": sum(each.cache.hits for each in asked if each.cache is not None),
            "broken": sum(each.cache.broken for each in asked if each.cache is not None),
        },
        "cache": None if kept is None else str(kept.path),
        "phases": spent,
        "seconds": time.monotonic() - began,
        "library": str(opened.path),
        "base": base.id,
        "seed": seed,
        "apart": None if other is None else str(other.path),
        "plot": None if plot is None else str(plot),
        "report": None if report is None else str(report),
    }


def _stopped(asked: Sequence[Answers]) -> Interrupted:
    """What is kept of a run that Ctrl-C ended, and how to go on."""
    written = sum(answers.computed + answers.rated for answers in asked)
    cache = next((answers.cache for answers in asked if answers.cache is not None), None)
    if not written:
        return Interrupted("Stopped before a new answer was written.", hint="run it again")
    if cache is None or cache.lost:
        return Interrupted(
            f"Stopped; the {written} answers that were written are not kept.",
            hint="run it again with --cache FILE, and it can be stopped and go on",
        )
    return Interrupted(
        f"Stopped; the {written} answers that were written are kept in {cache.path}",
        hint="run the same command again: it goes on from there",
    )


def _head(
    library: Library, base: Base, phases: Mapping[str, float], seconds: float
) -> dict[str, Any]:
    """Texts of the report that are not figures, and the time and memory that it took."""
    from loramix.evaluate.report import machine
    from loramix.train.room import peak_rss_mb

    return {
        "title": "loramix eval",
        "lead": f"The skills in {library.path.name}/ on the frozen base {base.id}, on held-out "
        f"examples, {date.today():%d %B %Y}.",
        "footer": f"loramix {__version__}, loramix eval",
        "phases": dict(phases),
        "seconds": seconds,
        "peak_rss_mb": peak_rss_mb(),
        "machine": machine(base.device),
    }


def _config(path: Path | None) -> Config | None:
    if path is None:
        return None
    from loramix.config import load_config

    return load_config(path)


def _base(library: Library, device: str, dtype: str) -> Base:
    from loramix.base import load_base

    base = load_base(library.base_id, device, dtype)
    library.check_base(base)
    return base


@dataclass(frozen=True)
class _Keeping:
    """How answers are computed and kept; all that are made stand in `made`, to be closed."""

    batch_size: int
    cache: Path | None
    use_cache: bool
    made: list[Answers]

    def answers(self, base: Base, library: Library, experts: Sequence[Expert]) -> Answers:
        """Of a library and merged adapters, with what is known of them from earlier runs."""
        from loramix.commands.eval_systems import digests
        from loramix.evaluate import mixed_model

        mixed, beside = mixed_model(base, library), [e for e in experts if not e.whole]
        for expert in beside:
            mixed.add(expert.name, expert.adapter(base))
        return self._of(base, mixed, digests(library, beside))

    def model(self, expert: Expert, device: str, dtype: str) -> Answers:
        """Of a standalone model, which is a base of its own with nothing beside it."""
        from loramix.base import load_base
        from loramix.mixed import MixedModel

        base = load_base(str(expert.path.expanduser()), device, dtype)
        return self._of(base, MixedModel(base.model), {})

    def _of(self, base: Base, mixed: MixedModel, digests: Mapping[str, str]) -> Answers:
        from loramix.evaluate import AnswerCache, Answers, default_cache

        kept = None
        if self.use_cache:
            scope = f"{base.fingerprint} {base.precision}"
            kept = AnswerCache(self.cache or default_cache(), scope, digests)
        self.made.append(Answers(base, mixed, self.batch_size, kept))
        return self.made[-1]


def _sized(base: Base, wanted: Wanted) -> list[Any]:
    """The tasks, with room for answers a quarter longer than the longest right one."""
    from dataclasses import replace

    def tokens(text: str) -> int:
        return len(base.tokenizer(text, add_special_tokens=False)["input_ids"])

    return [
        task
        if task.max_new_tokens
        else replace(
            task,
            max_new_tokens=min(
                base.max_length, max(tokens(e.completion) for e in task.examples) * 5 // 4 + 4
            ),
        )
        for task in wanted.tasks
    ]


def _routing(
    wanted: Wanted,
    routers: Mapping[str, Router],
    kinds: Mapping[str, Composite],
    limit: int,
    seed: int,
) -> dict[str, Any]:
    """Router → how well it routes the prompts of the tasks; see `evaluate_router`."""
    from loramix.evaluate import evaluate_router
    from loramix.pocket.tasks import NONE

    prompts: dict[str, list[str]] = {}
    for task in wanted.tasks:
        if task.skill is not None:
            prompts.setdefault(task.skill, []).extend(e.prompt for e in task.examples)
    builtin = any(task.builtin for task in wanted.tasks)
    none = [e.prompt for e in NONE.examples("test", limit, seed)] if builtin else []
    both = {
        name: (kind.skills, [e.prompt for e in kind.answerable("test", limit, seed)])
        for name, kind in kinds.items()
    }
    if not prompts:
        return {}
    return {
        name: evaluate_router(router, prompts, none, both, seed) for name, router in routers.items()
    }
