"""How well a router routes: the right skill, honest confidence, none of these, two at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from loramix.evaluate.metrics import auroc, calibration_curve, classification, ece, score_of
from loramix.gate.router import Router
from loramix.mix import BASE


def evaluate_router(
    router: Router,
    prompts: Mapping[str, Sequence[str]],
    none_prompts: Sequence[str] = (),
    composites: Mapping[str, tuple[Sequence[str], Sequence[str]]] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure a router on held-out prompts.

    Args:
        router: any router.
        prompts: skill → prompts that need it and nothing else.
        none_prompts: prompts that need none of the skills.
        composites: name → (its two skills, its prompts).
        seed: of the bootstrap.

    Returns:
        `accuracy` with `low` and `high`: the right skill is the best of all scores, `base`
        among them; `macro_f1`, `confusion` (with the none prompts as the row `base`), `heat`, the
        mean scores (`columns`) of the prompts of each skill and of none (`rows`), `ece` and
        `calibration` of the highest score; `none_auroc`, how well the score of `base` tells
        none prompts from the others; `top_two`, the share of composites whose two skills are
        the best two, and `composites`, the same for each kind.
    """
    names = (*router.skills, BASE)
    texts = [text for group in prompts.values() for text in group]
    truth = [name for name, group in prompts.items() for _ in group]
    scores = _scores(router, texts)
    best = scores.max(dim=1)
    predicted = [names[i] for i in best.indices.tolist()]
    correct = [a == b for a, b in zip(truth, predicted, strict=True)]
    accuracy = score_of([float(c) for c in correct], seed)

    none_scores = _scores(router, none_prompts)
    none_predicted = [names[i] for i in none_scores.argmax(dim=1).tolist()]
    with_none = classification(
        truth + [BASE] * len(none_predicted), predicted + none_predicted, names
    )
    confidences = best.values.tolist()
    report = {
        "accuracy": accuracy.mean,
        "low": accuracy.low,
        "high": accuracy.high,
        "n": accuracy.n,
        "macro_f1": classification(truth, predicted, names)["macro_f1"],
        "ece": ece(confidences, correct),
        "calibration": calibration_curve(confidences, correct),
        "confusion": with_none["confusion"],
        "none_auroc": auroc(
            torch.cat([scores[:, -1], none_scores[:, -1]]).tolist(),
            [False] * len(texts) + [True] * len(none_prompts),
        ),
    }
    groups = {name: scores[[t == name for t in truth]] for name in prompts}
    groups |= {BASE: none_scores} if len(none_prompts) else {}
    report["heat"] = {
        "rows": [name for name, group in groups.items() if len(group)],
        "columns": list(names),
        "scores": [group.mean(dim=0).tolist() for group in groups.values() if len(group)],
    }
    kinds = {
        name: top_two_share(router, skills, group)
        for name, (skills, group) in (composites or {}).items()
    }
    counts = {name: len(group) for name, (_, group) in (composites or {}).items()}
    report["composites"] = kinds
    report["top_two"] = (
        sum(kinds[name] * counts[name] for name in kinds) / sum(counts.values())
        if sum(counts.values())
        else float("nan")
    )
    return report


def top_two_share(router: Router, skills: Sequence[str], prompts: Sequence[str]) -> float:
    """The share of `prompts` whose best two skills are these two, in either order.

    NaN without prompts.
    """
    if not prompts:
        return float("nan")
    found = _scores(router, prompts)[:, :-1].topk(min(2, len(router.skills)), dim=1).indices
    wanted = set(skills)
    hits = [{router.skills[i] for i in row} == wanted for row in found.tolist()]
    return sum(hits) / len(hits)


def joint_score(router: Router, skills: Sequence[str], prompts: Sequence[str]) -> list[float]:
    """For each prompt the sum of the scores of `skills`, or 0 where these are not its best."""
    scores = _scores(router, prompts)
    columns = [router.skills.index(name) for name in skills]
    best = scores[:, :-1].topk(len(columns), dim=1).indices.tolist()
    sums = scores[:, columns].sum(dim=1).tolist()
    return [
        total if set(row) == set(columns) else 0.0 for row, total in zip(best, sums, strict=True)
    ]


def _scores(router: Router, prompts: Sequence[str]) -> Tensor:
    """Scores [B, K + 1]; a router is not asked about no prompts at all."""
    if not prompts:
        return torch.zeros(0, len(router.skills) + 1)
    return router.scores(prompts)
