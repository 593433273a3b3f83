"""`loramix feedback`: the gate learns from routings that people corrected.

The corrections are kept with the gate, as features, so that later refits learn them too. What
the gate makes of prompts like them is measured on every fifth of them, by a gate that was
fitted on the others; the one that is kept has learned them all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramix.commands.corrections import Correction, read_corrections
from loramix.errors import GateError
from loramix.library import Library

if TYPE_CHECKING:
    from torch import Tensor

    from loramix.gate import LearnedGate
    from loramix.gate.memory import Rows
    from loramix.library import Transaction

MOST_LOST = 0.01
"""Of the accuracy on old prompts, what corrections may cost."""
KEPT = 1000
"""Corrections that a library keeps; beyond that the oldest are forgotten."""
SHOWN = 10
_EPSILON = 1e-9


def feedback(
    corrections: Path,
    *,
    library: Path | None = None,
    force: bool = False,
    dry_run: bool = False,
    device: str = "auto",
) -> dict[str, Any]:
    """Refits the gate of a library from its memories and corrected routings.

    Args:
        corrections: JSONL, see `loramix.commands.corrections`.
        library: its folder; None is the shipped one, which is not changed.
        force: keep the new gate even if it routes old prompts worse.
        dry_run: measure and write nothing; works on the shipped library as well.
        device: see `load_base`.

    Returns:
        {"corrections": {"given", "passed_over", "kept", "forgotten", "accuracy": {"before",
        "after"}, "held_out": {"n", "before", "after"}}, "old": {"n", "before", "after"},
        "wrong": [{"line", "prompt", "wanted", "mix"}], "refused", "applied", "generation",
        "gate": {"accuracy", "skills"}, "library"}. `kept` counts those of earlier calls as well,
        `held_out` figures are None below five corrections, `old` is measured on prompts that no
        gate was fitted on, and `wrong` are the first corrections that the new gate misroutes.

    Raises:
        GateError: old prompts would be routed worse by more than a point; nothing was changed.
        LibraryError: no library, one without a gate, or the shipped one.
        DataError, UnknownSkillError, RecipeError: see `read_corrections`.
        StorageError: the disk is full or does not let us write.
    """
    from loramix.base import load_base
    from loramix.gate import make_policy, read_gate, same_kind
    from loramix.phases import Phases

    target = Library.shipped() if library is None else Library.open(library)
    if not dry_run:
        target.check_editable()
    given, passed = read_corrections(corrections, tuple(target.skills), target.mixes)
    with Phases() as phases:
        with phases.phase("load the base"):
            base = load_base(target.base_id, device)
            target.check_base(base)
        with phases.phase("refit the gate"), _memories(target, dry_run) as (memories, txn):
            old = read_gate(target, base)
            new, result = _learn(old, memories, given)
            result["corrections"] = {**result["corrections"], "passed_over": passed}
            lost = result["old"]["before"] - result["old"]["after"]
            result["refused"] = lost > MOST_LOST + _EPSILON and not force
            if txn is not None:
                if result["refused"]:
                    raise _refusal(result)
                txn.set_gate(*new.state(same_kind(make_policy(target), new.policy)))
    return {
        **result,
        "applied": txn is not None,
        "generation": target.generation,
        "gate": {"accuracy": new.accuracy, "skills": list(new.skills)},
        "library": str(target.path),
    }


@contextlib.contextmanager
def _memories(
    library: Library, dry_run: bool
) -> Iterator[tuple[Mapping[str, Tensor], Transaction | None]]:
    """The memories of all skills, and the transaction that they are part of, if one is to be."""
    if dry_run:
        yield {name: skill.memory() for name, skill in library.skills.items()}, None
        return
    with library.edit() as txn:
        yield txn.memories(), txn


def _learn(
    old: LearnedGate, memories: Mapping[str, Tensor], given: Sequence[Correction]
) -> tuple[LearnedGate, dict[str, Any]]:
    """The gate that has learned the corrections, and the figures of both gates."""
    import torch

    from loramix.gate import RoutedExample, route_turns, targets_of
    from loramix.gate.memory import Rows, held_out, join

    memories = {name: memories[name] for name in old.skills}
    texts = [o.prompt if len(o.turns) == 1 else route_turns(old, o.turns).text for o in given]
    examples = [RoutedExample(t, one.mix.weights) for t, one in zip(texts, given, strict=True)]
    features = old.extractor.features(texts).half()
    rows = Rows(features, targets_of(examples, old.skills))
    known = _others(old.corrected, rows)
    apart = held_out(rows)
    held: dict[str, Any] = {"n": int(apart.sum()), "before": None, "after": None}
    if held["n"]:
        trial = old.refit(memories, corrected=join([known, rows.take(~apart)]))
        held |= _both(old, trial, rows.take(apart))
    every = join([known, rows])
    kept = every.take(torch.arange(len(every.features)) >= len(every.features) - KEPT)
    new = old.refit(memories, corrected=kept)
    measured = old.held_out(memories)
    right = new.right(rows).tolist()
    wrong = [one for one, good in zip(given, right, strict=True) if not good]
    return new, {
        "corrections": {
            "given": len(given),
            "kept": len(kept.features),
            "forgotten": len(every.features) - len(kept.features),
            "accuracy": _both(old, new, rows),
            "held_out": held,
        },
        "old": {"n": len(measured.features), **_both(old, new, measured)},
        "wrong": [_told(new, one) for one in wrong[:SHOWN]],
    }


def _others(known: Rows, given: Rows) -> Rows:
    """Earlier corrections, without those of prompts that are corrected anew."""
    import torch

    again = {row.numpy().tobytes() for row in given.features}
    fresh = [row.numpy().tobytes() not in again for row in known.features]
    return known.take(torch.tensor(fresh, dtype=torch.bool))


def _both(old: LearnedGate, new: LearnedGate, rows: Rows) -> dict[str, float]:
    return {
        "before": float(old.right(rows).float().mean()),
        "after": float(new.right(rows).float().mean()),
    }


def _told(gate: LearnedGate, one: Correction) -> dict[str, Any]:
    from loramix.gate import route_turns

    return {
        "line": one.line,
        "prompt": one.prompt,
        "wanted": dict(one.mix.weights),
        "mix": dict(route_turns(gate, one.turns, gate.policy).routing.mix.weights),
    }


def _refusal(result: Mapping[str, Any]) -> GateError:
    old, own = result["old"], result["corrections"]["accuracy"]
    return GateError(
        "With these corrections the gate would route old prompts worse; it stays as it was.",
        given=f"old prompts {old['before']:.3f} → {old['after']:.3f} of {old['n']}, corrections "
        f"{own['before']:.3f} → {own['after']:.3f}",
        expected=f"old prompts at most {MOST_LOST:g} worse",
        hint="check the corrections (--dry-run lists those that stay wrong), or pass --force",
    )
