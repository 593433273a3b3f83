"""`loramix merge`: several skills into one permanent expert, with what each of them keeps."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from loramix.errors import AdapterMismatchError, UsageError
from loramix.library import Library

if TYPE_CHECKING:
    from loramix.adapter import Adapter
    from loramix.base import Base
    from loramix.merge.expert import Expert
    from loramix.merge.inputs import Material
    from loramix.phases import Phases
    from loramix.pocket.tasks import Task

DEV_EXAMPLES = 24
"""Dev examples of each skill that a candidate of --auto is scored on."""

log = logging.getLogger(__name__)


class _Source(NamedTuple):
    """A skill that is merged: where it lies, its example prompts and its builtin task."""

    folder: Path
    prompts: Sequence[str]
    task: str


def merge(
    skills: Sequence[str],
    out: Path,
    *,
    weights: str | None = None,
    method: str | None = None,
    rank: int | None = None,
    density: float | None = None,
    scale: float | None = None,
    seed: int = 0,
    full: bool = False,
    auto_seconds: float | None = None,
    tasks: str | None = None,
    examples: int = 50,
    force: bool = False,
    library: Path | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Merges skills into an adapter, or with `full` a standalone model, in the new folder `out`.

    Args:
        skills: names in the library, or folders of adapters for its base.
        out: the expert's folder.
        weights: one a skill, parted by commas; normalised. None is the same for all.
        method: one of `METHODS`; None is linear, or with `auto_seconds` whatever is best.
        rank, density, scale, seed: see `merge_adapters`.
        auto_seconds: search method, scale and density, and learn from the skills, for so long.
        tasks: which skills are scored before and after; None is all that have a builtin task.
        examples: held-out examples of each.
        force: replace a folder that is there.
        library, device: see `Session`.

    Returns:
        {"method", "rank", "energy", "weights", "scale", "density", "seed", "convention",
        "distilled": {"steps", "rows"} or None, "retention": {name: share},
        "skills": {name: {"before", "after", "interval", "n"}},
        "storage": {"before", "after"}, "memory": {"before", "after"} (bytes), "path", "plot",
        "full": how it was summed or None, "search": trials or None, "seconds"}

    Raises:
        UsageError: what is asked cannot be; nothing was written.
        StorageError: the disk is full or does not let us write; nothing was left.
    """
    opened = Library.shipped() if library is None else Library.open(library)
    sources = _sources(skills, opened)
    given = _weights(weights, len(sources))
    from loramix.merge.methods import find_method
    from loramix.merge.output import check_place
    from loramix.merge.retention import scored_skills

    chosen = find_method(method or "linear")
    out = out.expanduser()
    check_place(out, force)
    told = {name: source.task for name, source in sources.items()}
    learned, scored = scored_skills(told, None), scored_skills(told, tasks)
    if auto_seconds is not None and not scored:
        raise UsageError(
            "--auto needs something to measure.",
            given=", ".join(sources),
            expected="at least one skill that has learned a builtin task",
            hint="leave out --auto, and choose a method",
        )
    from loramix.adapter import read_adapter
    from loramix.base import load_base
    from loramix.merge.expert import check_request, merge_adapters, merged_rank
    from loramix.merge.inputs import Material
    from loramix.merge.output import (
        ADAPTER_FILES,
        PLOT,
        stored_bytes,
        whole_folder,
        write_full,
        write_parts,
    )
    from loramix.merge.retention import Judge, retention
    from loramix.phases import Phases

    # what is wrong in itself is told before the base is loaded
    adapters = {name: read_adapter(source.folder) for name, source in sources.items()}
    options: dict[str, Any] = {"rank": rank, "density": density, "seed": seed}
    shares, shapes = check_request(adapters, given, density, 1.0 if scale is None else scale)
    active = {name: adapter for name, adapter in adapters.items() if shares[name]}
    merged_rank(active, shapes, rank, (method or "linear") if len(active) > 1 else "linear")
    with Phases() as phases:
        with phases.phase("load the base"):
            base = load_base(opened.base_id, device)
            opened.check_base(base)
            adapters = {name: read_adapter(s.folder, base) for name, s in sources.items()}
        prompts = {name: source.prompts for name, source in sources.items()}
        material = Material(base, adapters, prompts, learned)
        trials = None
        if auto_seconds is not None:
            expert, trials = _searched(
                base, adapters, given, scored, material, auto_seconds, phases,
                method=method, scale=scale, **options,
            )  # fmt: skip
        else:
            with phases.phase("merge") as step:
                expert = merge_adapters(
                    adapters,
                    given,
                    method or "linear",
                    scale=1.0 if scale is None else scale,
                    **material.of(chosen),
                    step=lambda done, total: step(done, total, "matrices"),
                    **options,
                )
        before: dict[str, Any] = {}
        after: dict[str, Any] = {}
        if scored:
            judge = Judge(base, scored, "test", examples, seed)
            with phases.phase("score before") as step:
                before = judge.scores(adapters, lambda note, done, all: step(done, all, note))
            with phases.phase("score after") as step:
                after = judge.expert(expert.adapter, lambda note, done, all: step(done, all, note))
            if trials is not None:
                expert, after = _no_worse(expert, after, before, judge, adapters, given, options)
        record: dict[str, Any] = {
            **expert.to_dict(),
            "name": out.name,
            "base": opened.base_id,
            "base_fingerprint": opened.fingerprint,
            "retention": retention(before, after),
            "skills": {
                name: {
                    "before": before[name]["score"],
                    "after": after[name]["score"],
                    "interval": [after[name]["low"], after[name]["high"]],
                    "n": after[name]["n"],
                }
                for name in before
            },
        }
        with phases.phase("write the expert"), whole_folder(out, force=force) as folder:
            if full:
                record["full"] = write_full(base, expert.adapter, folder)
            write_parts(folder, None if full else expert.adapter, record, _plot(record))
        seconds = phases.elapsed
    skill_bytes = sum(stored_bytes(s.folder, ADAPTER_FILES) for s in sources.values())
    whole = sum(p.nbytes for p in base.model.parameters()) if full else 0
    base_bytes = stored_bytes(base.path) if full and base.path is not None else 0
    del record["name"], record["base_fingerprint"]
    return {
        **record,
        "storage": {
            "before": base_bytes + skill_bytes,
            "after": stored_bytes(out) if full else stored_bytes(out, ADAPTER_FILES),
        },
        "memory": {
            "before": whole + sum(adapter.nbytes for adapter in adapters.values()),
            "after": whole if full else expert.adapter.nbytes,
        },
        "search": None if trials is None else [trial.to_dict() for trial in trials],
        "full": record.get("full"),
        "path": str(out),
        "plot": str(out / PLOT) if before else None,
        "seconds": seconds,
    }


def _sources(skills: Sequence[str], library: Library) -> dict[str, _Source]:
    """What is merged, by name, in the order given.

    Raises:
        UsageError: the same one twice.
        UnknownSkillError: neither a skill nor a folder.
        AdapterMismatchError: a folder whose adapter is for another base.
    """
    from loramix.adapter_files import CONFIG_FILE

    found: dict[str, _Source] = {}
    for given in skills:
        folder = Path(given).expanduser()
        if given in library.skills:
            skill = library.skill(given)
            name, source = given, _Source(skill.path, skill.card.examples, skill.card.task)
        elif (folder / CONFIG_FILE).is_file():
            name, source = folder.resolve().name, _foreign(folder, library)
        else:
            raise library.unknown(given)
        if name in found:
            raise UsageError(
                f"{name!r} is named twice.", given=" ".join(skills), hint="name each skill once"
            )
        found[name] = source
    return found


def _foreign(folder: Path, library: Library) -> _Source:
    """An adapter outside the library, which must be for its base."""
    import json

    from loramix.adapter_files import CONFIG_FILE
    from loramix.transaction import CARD, read_card

    said, wanted, source = "", library.base_id, _Source(folder, (), "")
    if (folder / CARD).is_file():
        card = read_card(folder)
        source = _Source(folder, card.examples, card.task)
        if card.base_fingerprint and card.base_fingerprint != library.fingerprint:
            said = f"{card.base_id}, fingerprint {card.base_fingerprint[:16]}"
            wanted = f"{library.base_id}, fingerprint {library.fingerprint[:16]}"
    else:
        try:
            config = json.loads((folder / CONFIG_FILE).read_text("utf-8"))
            named = str(config.get("base_model_name_or_path") or "")
        except (OSError, ValueError, AttributeError):
            named = ""  # read_adapter tells what is wrong with it
        if named and Path(named).name.lower() != Path(library.base_id).name.lower():
            said = named
    if said:
        raise AdapterMismatchError(
            "The skills were trained for different bases.",
            given=f"{folder}: {said}",
            expected=f"the base of the library {library.path}: {wanted}",
            hint="merge skills of one base only",
        )
    return source


def _weights(text: str | None, count: int) -> list[float]:
    if text is None:
        return [1.0] * count
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(
            "The weights do not parse.",
            given=f"--weights {text}",
            expected="numbers parted by commas, one a skill, such as 2,1,1",
        ) from None


def _searched(
    base: Base,
    adapters: Mapping[str, Adapter],
    weights: Sequence[float],
    scored: Mapping[str, Task],
    material: Material,
    seconds: float,
    phases: Phases,
    *,
    method: str | None,
    scale: float | None,
    rank: int | None,
    density: float | None,
    seed: int,
) -> tuple[Expert, list[Any]]:
    from loramix.merge.retention import Judge
    from loramix.merge.search import Candidate, search

    with phases.phase("search") as step:
        judge = Judge(base, scored, "dev", DEV_EXAMPLES, seed)
        return search(
            adapters,
            Candidate("linear", tuple(weights)),
            judge,
            judge.scores(adapters),
            seconds,
            rank=rank,
            seed=seed,
            material=material,
            methods=None if method is None else [method],
            scale=scale,
            density=density,
            step=step,
        )


def _no_worse(
    expert: Expert,
    after: dict[str, Any],
    before: Mapping[str, Any],
    judge: Any,
    adapters: Mapping[str, Adapter],
    weights: Sequence[float],
    options: Mapping[str, Any],
) -> tuple[Expert, dict[str, Any]]:
    """What the search found, unless plain linear keeps more on the held-out examples too."""
    from loramix.merge.expert import merge_adapters
    from loramix.merge.retention import kept, retention

    plain = merge_adapters(adapters, weights, "linear", rank=options["rank"])
    scores = judge.expert(plain.adapter)
    if kept(retention(before, scores)) > kept(retention(before, after)):
        log.warning("on held-out examples plain linear keeps more than what was found; it is taken")
        return plain, scores
    return expert, after


def _plot(record: Mapping[str, Any]) -> str | None:
    from loramix.evaluate.plots import retention_bars, standalone

    return standalone(retention_bars(record["skills"])) if record["skills"] else None
