"""`loramix fit-mix`: the mix of existing skills that does best on a few examples of a new task."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from loramix.errors import ConfigError, UsageError, nearest
from loramix.library import Library, validate_name
from loramix.mix import Mix, check_skills

if TYPE_CHECKING:
    from loramix.adapter import Adapter
    from loramix.base import Base
    from loramix.data import Example
    from loramix.fit import FitResult

MOST_SKILLS = 12
"""Beyond it a search of some sixty mixes finds little, and the adapters take memory."""

NO_GAIN = "no gain beyond noise"


def fit_mix(
    examples: Path,
    *,
    prompt: str | None = None,
    completion: str | None = None,
    method: str = "gradient",
    skills: str | None = None,
    metric: str = "auto",
    save: str | None = None,
    replace: bool = False,
    evaluations: int = 60,
    seed: int = 0,
    library: Path | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Fits a mix to examples of a task that no skill was trained for.

    Args:
        examples: a data file with at least 5 rows.
        prompt, completion: templates over its columns; without them `{prompt}`, `{completion}`.
        method: `gradient` or `search`.
        skills: those that may be in the mix, with commas; None is all of the library.
        metric: how answers are scored: `exact`, `f1`, `rouge_l`, `number`; `auto` is exact.
        save: the name under which the library keeps the mix; then it is used like a skill.
        replace: exchange a mix of that name.
        evaluations: mixes to try in each fit.
        seed: of parting the examples.
        library: its folder; None is the shipped one, in which nothing can be saved.
        device: see `load_base`.

    Returns:
        mix, score, loss, interval, n, baselines.NAME.{score, loss, low, high}, gain.{score, low,
        high, p, over, claimed}, verdict, recommended, best_single, saved, method, metric, folds,
        evaluations, seconds, library.

    Raises:
        ConfigError: no such method or metric.
        UsageError: no skills, or too many to search over.
        UnknownSkillError: a skill that is not there.
        LibraryError: the name cannot be had, or the library is the shipped one.
        DataError: the examples cannot be read, or are too few.
    """
    from loramix.answers import METRICS, score_answers
    from loramix.data import DataSource, load_examples
    from loramix.data.load import COMPLETION, PROMPT

    opened = Library.shipped() if library is None else Library.open(library)
    _check_choice("method", method, ("gradient", "search"))
    _check_choice("metric", metric, ("auto", *METRICS))
    names = _names(opened, skills)
    if save is not None:
        _check_name(opened, save, replace)
    rows = load_examples(DataSource(path=examples), prompt or PROMPT, completion or COMPLETION)
    from loramix.fit.fit import part

    part(rows, seed)  # too few are told before the base is loaded

    from loramix.base import load_base
    from loramix.fit import Method
    from loramix.fit import fit_mix as fit
    from loramix.phases import Phases

    scored_by = "exact" if metric == "auto" else metric

    def score(held: Sequence[Example], texts: Sequence[str]) -> list[float]:
        return score_answers(scored_by, [example.completion for example in held], texts)

    with Phases() as phases:
        with phases.phase("load the base"):
            base = load_base(opened.base_id, device)
            opened.check_base(base)
            routed = _routed(opened, base, rows)
            adapters = _adapters(opened, base, names, routed)
        with phases.phase("fit the mix") as step:
            found = fit(
                base,
                adapters,
                rows,
                score,
                skills=names,
                routed=routed,
                max_new_tokens=_longest(base, rows),
                method=cast(Method, method),
                evaluations=evaluations,
                seed=seed,
                progress=lambda what, done, total: step(done, total, what),
            )
        if save is not None:
            with opened.edit() as txn:
                told = _description(found, examples, len(rows), scored_by)
                txn.set_mix(save, found.mix, told, replace=replace)
    return {
        **_report(found),
        "saved": save,
        "method": method,
        "metric": scored_by,
        "skills": names,
        "examples": len(rows),
        "seconds": phases.elapsed,
        "library": str(opened.path),
    }


def _report(found: FitResult) -> dict[str, Any]:
    gain, figures = found.gain, found.figures
    return {
        "mix": found.mix.weights,
        "score": figures["score"],
        "interval": [figures["low"], figures["high"]],
        "loss": figures["loss"],
        "n": found.reported,
        "baselines": found.baselines,
        "gain": {
            "score": gain.score,
            "low": gain.low,
            "high": gain.high,
            "p": gain.p,
            "over": gain.over,
            "claimed": gain.claimed,
        },
        "verdict": "gain" if gain.claimed else NO_GAIN,
        "best_single": str(found.best_single),
        "recommended": str(found.recommended),
        "folds": found.folds,
        "evaluations": found.evaluations,
    }


def _check_choice(what: str, given: str, known: Sequence[str]) -> None:
    if given not in known:
        near = nearest(given, known)
        raise ConfigError(
            f"There is no such {what}.",
            given=given,
            expected=", ".join(known),
            hint=f"did you mean {near!r}?" if near else f"leave --{what} out, or name one of them",
        )


def _names(library: Library, skills: str | None) -> list[str]:
    """The skills that may be in the mix."""
    if skills is None:
        names = list(library.skills)
    else:
        names = list(dict.fromkeys(name.strip() for name in skills.split(",") if name.strip()))
        check_skills(names, library.skills)
    if not names:
        raise UsageError(
            "There is no skill to mix.",
            given="a library without skills" if skills is None else f"--skills {skills!r}",
            expected="at least one skill of the library",
            hint="add a skill first: `loramix add`" if skills is None else "leave --skills out",
        )
    if len(names) > MOST_SKILLS:
        raise UsageError(
            "These are too many skills to search over.",
            given=f"{len(names)} skills",
            expected=f"at most {MOST_SKILLS}",
            hint="name those that may help: --skills A,B,C",
        )
    return names


def _check_name(library: Library, name: str, replace: bool) -> None:
    """What would keep the mix from being saved is said before the work."""
    library.check_editable()
    validate_name(name)
    if not (replace and name in library.mixes):
        library.check_free(name)


def _routed(library: Library, base: Base, rows: Sequence[Example]) -> list[Mix] | None:
    """What the gate gives each prompt; None where the library has no gate."""
    if library.gate() is None:
        return None
    from loramix.gate import make_policy, read_gate, route

    prompts = [example.prompt for example in rows]
    return [r.mix for r in route(read_gate(library, base), prompts, make_policy(library))]


def _adapters(
    library: Library, base: Base, names: Sequence[str], routed: Sequence[Mix] | None
) -> Mapping[str, Adapter]:
    """The adapters of `names`, and of what the gate chose besides."""
    others = [skill for mix in routed or () for skill in mix.weights]
    wanted = dict.fromkeys([*names, *others])
    return {name: library.skill(name).adapter(base) for name in wanted}


def _longest(base: Base, rows: Sequence[Example]) -> int:
    """Tokens that an answer may take: a quarter more than the longest, and an end."""
    counts = [len(base.tokenizer(row.completion, add_special_tokens=False)["input_ids"])
              for row in rows]  # fmt: skip
    return min(base.max_length, max(counts) * 5 // 4 + 4)


def _description(found: FitResult, examples: Path, count: int, metric: str) -> str:
    best = found.baselines[next(iter(found.best_single.weights), "base")]
    return (
        f"fitted to {count} examples of {shlex.quote(examples.name)}: {metric} "
        f"{found.figures['score']:.2f}, best single skill ({found.best_single}) "
        f"{best['score']:.2f}" + ("" if found.gain.claimed else f"; {NO_GAIN}")
    )
