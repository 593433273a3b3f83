"""Every router keeps the contract of `loramix.gate.router`."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from gate_prompts import SKILLS, examples_for, prompts_of, tiny_gate
from loramix.errors import DataError, PromptError
from loramix.gate import (
    ROUTERS,
    CentroidRouter,
    FixedRouter,
    KeywordRouter,
    LearnedGate,
    Router,
    route,
    targets_of,
)
from loramix.mix import Policy

PROMPTS = (
    "Solve 3x + 2 = 11.",
    "Write a Python function.",
    "hello",
    "Ünïcode 🎉\n\n… ok?",
    "x" * 3000,
)


def _centroid() -> Router:
    gate = tiny_gate()
    return CentroidRouter(gate.extractor, gate.skills).fit_memory(gate.memories, gate.none)


ROUTER: dict[str, Callable[[], Router]] = {
    "gate": tiny_gate,
    "keywords": lambda: tiny_gate().words,
    "centroid": _centroid,
    "fixed": lambda: FixedRouter(SKILLS, "code=0.5,math=0.25"),
}


@pytest.fixture(params=ROUTER)
def router(request: pytest.FixtureRequest) -> Router:
    return ROUTER[request.param]()


def test_every_registered_router_is_tested() -> None:
    assert set(ROUTERS) == set(ROUTER)


def test_scores_are_shares_of_the_skills_and_of_none(router: Router) -> None:
    scores = router.scores(PROMPTS)
    assert scores.shape == (len(PROMPTS), len(SKILLS) + 1)
    assert scores.dtype == torch.float32
    assert (scores >= 0).all()
    torch.testing.assert_close(scores.sum(1), torch.ones(len(PROMPTS)))
    assert router.scores([]).shape == (0, len(SKILLS) + 1)


def test_a_prompt_scores_the_same_alone_in_a_batch_and_again(router: Router) -> None:
    together = router.scores(PROMPTS)
    alone = torch.cat([router.scores([prompt]) for prompt in reversed(PROMPTS)]).flip(0)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    assert torch.equal(together, router.scores(PROMPTS))


@pytest.mark.parametrize("prompt", ["", "  \n\t"])
def test_an_empty_prompt_is_refused(router: Router, prompt: str) -> None:
    with pytest.raises(PromptError, match="empty"):
        router.scores(["fine", prompt])


def test_a_routing_names_scores_mix_router_and_policy(router: Router) -> None:
    for routing in route(router, PROMPTS, Policy("blend")):
        assert list(routing.scores) == [*SKILLS, "base"]
        assert math.isclose(sum(routing.scores.values()), 1, abs_tol=1e-5)
        assert set(routing.mix.weights) <= set(SKILLS)
        assert (routing.router, routing.policy) == (router.name, "blend")
        assert isinstance(routing.details, dict)


def _unfitted(name: str) -> Router:
    extractor = tiny_gate().extractor
    return {
        "gate": lambda: LearnedGate(extractor, SKILLS),
        "keywords": lambda: KeywordRouter(SKILLS),
        "centroid": lambda: CentroidRouter(extractor, SKILLS),
        "fixed": lambda: FixedRouter(SKILLS),
    }[name]()


@pytest.mark.parametrize("name", ROUTER)
def test_fit_returns_the_router_and_checks_what_it_is_given(name: str) -> None:
    examples = examples_for(SKILLS, "train", 12)
    prompts, targets = [e.prompt for e in examples], targets_of(examples, SKILLS)
    router = _unfitted(name)
    for bad, says in (
        (targets[:, 1:], "do not fit"),
        (targets[1:], "do not fit"),
        (targets * 2, "not shares"),
        (targets.where(targets > 0, torch.nan), "not shares"),
    ):
        with pytest.raises(DataError, match=says):
            router.fit(prompts, bad)
    with pytest.raises(DataError, match="no prompts"):
        router.fit([], targets[:0])
    assert router.fit(prompts, targets) is router
    assert router.scores(prompts[:2]).shape == (2, len(SKILLS) + 1)


@pytest.mark.parametrize("name", ["gate", "centroid"])
def test_a_router_that_has_to_learn_says_so(name: str) -> None:
    with pytest.raises(DataError, match="has not been fitted"):
        _unfitted(name).scores(["hello"])


@pytest.mark.parametrize(("name", "least"), [("gate", 0.95), ("keywords", 0.85), ("centroid", 0.8)])
def test_a_router_that_learns_routes_unseen_prompts(name: str, least: float) -> None:
    router = ROUTER[name]()
    texts = [p for skill in SKILLS for p in prompts_of(skill, "dev", 40)]
    truth = torch.arange(len(SKILLS)).repeat_interleave(40)
    assert (router.scores(texts).argmax(1) == truth).float().mean() >= least
