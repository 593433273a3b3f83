"""Scores, intervals and routing figures are what their definitions say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from torch import Tensor
from typing_extensions import Self

from loramix.adapter import LoraModule, LoraSettings, init_adapter
from loramix.base import Base
from loramix.data import Example
from loramix.errors import UnknownSkillError, UsageError
from loramix.evaluate import (
    Answers,
    TestSet,
    bar,
    bar_between,
    difference_of,
    evaluate_router,
    evaluate_skills,
    joint_score,
    mixed_model,
    score_of,
    top_two_share,
)
from loramix.evaluate.metrics import (
    auroc,
    calibration_curve,
    classification,
    interval_of_mean,
)
from loramix.gate.router import Router
from loramix.generate import Sampling, generate
from loramix.mix import Mix, Policy
from tiny_base import make_base

unit = st.floats(0, 1)


class WordRouter(Router):
    """Scores by the words `a`, `b` and `none` in the prompt; a router with known answers."""

    name = "words"
    skills = ("a", "b")

    def fit(self, prompts: Sequence[str], targets: Tensor) -> Self:
        return self

    def scores(self, prompts: Sequence[str]) -> Tensor:
        rows = []
        for prompt in prompts:
            words = prompt.split()
            counts = [words.count("a"), words.count("b"), words.count("none")]
            rows.append([0.01 + count for count in counts])
        scores = torch.tensor(rows)
        return scores / scores.sum(1, keepdim=True)


# ── figures ──────────────────────────────────────────────────────────────────────────────────


@given(st.lists(unit, min_size=1, max_size=60), st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_an_interval_holds_its_mean_and_stays_within_the_values(
    values: list[float], seed: int
) -> None:
    score = score_of(values, seed)
    assert score.mean == pytest.approx(sum(values) / len(values))
    slack = 1e-9
    assert 0 <= score.low <= score.mean + slack
    assert score.mean - slack <= score.high <= 1
    if not set(values) <= {0.0, 1.0}:  # a bootstrap sees no value that is not there
        assert min(values) - slack <= score.low
        assert score.high <= max(values) + slack
    assert score_of(values, seed) == score


def test_more_examples_give_a_narrower_interval() -> None:
    few, many = score_of([0.0, 1.0] * 10), score_of([0.0, 1.0] * 1000)
    assert many.high - many.low < (few.high - few.low) / 5


def test_an_interval_is_near_the_normal_one_for_many_examples() -> None:
    score = score_of([1.0] * 900 + [0.0] * 100)
    half = 1.96 * math.sqrt(0.9 * 0.1 / 1000)
    assert score.low == pytest.approx(0.9 - half, abs=0.004)
    assert score.high == pytest.approx(0.9 + half, abs=0.004)


@pytest.mark.parametrize("right", [0, 1, 37, 39, 40])
def test_right_or_wrong_scores_have_scipys_wilson_interval(right: int) -> None:
    score = score_of([1.0] * right + [0.0] * (40 - right))
    wanted = binomtest(right, 40).proportion_ci(0.95, "wilson")
    assert (score.low, score.high) == pytest.approx((wanted.low, wanted.high))


def test_a_score_of_nought_or_one_is_not_certain() -> None:
    all_right, all_wrong = score_of([1.0] * 40), score_of([0.0] * 40)
    assert (all_right.high, all_wrong.low) == (1.0, 0.0)
    assert all_right.low == pytest.approx(0.912, abs=5e-4)
    assert all_wrong.high == pytest.approx(0.088, abs=5e-4)
    assert score_of([1.0] * 4000).low > 0.999


@given(st.floats(0.3, 0.98), st.integers(0, 9999))
@settings(max_examples=20, deadline=None)
def test_the_interval_of_a_mean_of_tasks_is_about_that_of_all_their_examples(
    share: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    tasks = [(rng.random(200) < share).astype(float) for _ in range(5)]
    scores = [score_of(values.tolist()) for values in tasks]
    low, high = interval_of_mean([(s.mean, s.low, s.high) for s in scores])
    pooled = score_of(np.concatenate(tasks).tolist())
    assert low < pooled.mean < high
    assert high - low == pytest.approx(pooled.high - pooled.low, rel=0.25)


def test_the_mean_of_tasks_that_are_all_right_is_not_certain() -> None:
    one = score_of([1.0] * 40)
    low, high = interval_of_mean([(one.mean, one.low, one.high)] * 4)
    assert high == 1.0
    assert one.low < low < 1.0


def test_no_examples_have_no_score() -> None:
    assert math.isnan(difference_of([], []).mean)
    assert math.isnan(score_of([]).mean)


def test_a_difference_is_clear_only_if_it_is_there() -> None:
    assert difference_of([1.0] * 40, [0.0, 0.0, 1.0, 0.0] * 10).low > 0
    assert difference_of([1.0, 0.0] * 20, [0.0, 1.0] * 20).low < 0
    # as in the sign test, five pairs of five may be chance, six hardly, and none at all is no proof
    assert difference_of([1.0] * 5, [0.0] * 5).low < 0 < difference_of([1.0] * 6, [0.0] * 6).low
    same = difference_of([1.0] * 40, [1.0] * 40)
    assert same.low == -same.high < -0.05
    with pytest.raises(ValueError, match="pairs"):
        difference_of([1.0], [1.0, 0.0])


def test_classification_counts_rows_of_truth_and_columns_of_prediction() -> None:
    report = classification(["x", "x", "y"], ["x", "y", "y"], ["x", "y", "z"])
    assert report["accuracy"] == pytest.approx(2 / 3)
    assert report["confusion"]["counts"] == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert report["macro_f1"] == pytest.approx(2 / 3)  # z occurs nowhere and does not count


def test_auroc_is_the_chance_to_rank_a_positive_higher() -> None:
    assert auroc([0.9, 0.8, 0.1], [True, True, False]) == 1.0
    assert auroc([0.1, 0.9], [True, False]) == 0.0
    assert auroc([0.5, 0.5], [True, False]) == 0.5
    assert math.isnan(auroc([0.5, 0.6], [True, True]))


@given(st.lists(st.tuples(unit, st.booleans()), min_size=1, max_size=50))
@settings(max_examples=30, deadline=None)
def test_the_calibration_curve_keeps_every_item(items: list[tuple[float, bool]]) -> None:
    curve = calibration_curve([c for c, _ in items], [r for _, r in items])
    assert sum(point["share"] for point in curve) == pytest.approx(1)
    right = sum(point["share"] * point["accuracy"] for point in curve)
    assert right == pytest.approx(sum(r for _, r in items) / len(items))
    assert [p["confidence"] for p in curve] == sorted(p["confidence"] for p in curve)


# ── bars ─────────────────────────────────────────────────────────────────────────────────────


def test_a_bar_is_held_against_the_figure_as_measured() -> None:
    assert bar("x", 0.92, "≥", 0.92).met
    assert not bar("x", 0.91999, "≥", 0.92).met
    assert not bar("x", 0.25, "<", 0.25).met
    assert bar("x", 480.0, "≤", 480, "s").to_dict() == {
        "name": "x",
        "bar": "≤ 480 s",
        "figure": 480.0,
        "met": True,
    }


def test_what_was_not_measured_is_missed() -> None:
    assert not bar("x", float("nan"), "≥", 0.5).met
    assert not bar_between("x", [], 0.2, 0.8).met


def test_a_range_shows_the_figure_that_is_nearest_to_leaving_it() -> None:
    assert bar_between("x", [0.5, 0.3, 0.6], 0.25, 0.75).figure == 0.3
    assert bar_between("x", [0.5, 0.3, 0.6], 0.25, 0.75).met
    assert bar_between("x", [0.5, 0.8], 0.25, 0.75).figure == 0.8
    assert not bar_between("x", [0.5, 0.8], 0.25, 0.75).met


# ── routing ──────────────────────────────────────────────────────────────────────────────────


def test_a_router_is_measured_on_skills_none_and_composites() -> None:
    report = evaluate_router(
        WordRouter(),
        {"a": ["a", "a a", "b"], "b": ["b"]},
        none_prompts=["none", "none none"],
        composites={"both": (("b", "a"), ["a b", "b a"])},
    )
    assert report["accuracy"] == 0.75
    assert report["low"] <= 0.75 <= report["high"]
    assert report["confusion"]["names"] == ["a", "b", "base"]
    assert report["confusion"]["counts"] == [[2, 1, 0], [0, 1, 0], [0, 0, 2]]
    assert report["heat"]["rows"] == ["a", "b", "base"]
    assert report["heat"]["columns"] == ["a", "b", "base"]
    means = torch.tensor(report["heat"]["scores"])
    torch.testing.assert_close(means[0], WordRouter().scores(["a", "a a", "b"]).mean(0))
    assert report["none_auroc"] == 1.0
    assert report["top_two"] == 1.0
    assert report["composites"] == {"both": 1.0}
    assert 0 <= report["ece"] <= 1


def test_a_router_can_be_measured_on_skills_alone() -> None:
    report = evaluate_router(WordRouter(), {"a": ["a"], "b": ["b"]})
    assert report["accuracy"] == 1.0
    assert math.isnan(report["none_auroc"])
    assert math.isnan(report["top_two"])


def test_a_joint_score_counts_only_where_the_skills_are_the_best() -> None:
    assert joint_score(WordRouter(), ["a"], ["a", "b"])[0] == pytest.approx(1.01 / 1.03)
    assert joint_score(WordRouter(), ["a"], ["a", "b"])[1] == 0.0
    assert math.isnan(top_two_share(WordRouter(), ["a", "b"], []))


# ── skills ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def base() -> Base:
    return make_base()


@pytest.fixture(scope="module")
def adapters(base: Base) -> dict[str, Any]:
    """Two adapters that change what the base says."""
    made = {}
    for seed, name in enumerate(("a", "b")):
        start = init_adapter(base.model, LoraSettings.model_validate({"r": 4}), seed)
        generator = torch.Generator().manual_seed(seed)
        modules = {
            path: LoraModule(m.A, torch.randn(m.B.shape, generator=generator), m.scaling)
            for path, m in start.modules.items()
        }
        made[name] = type(start)(modules, start.config)
    return made


def exact_sets(base: Base, adapters: dict[str, Any]) -> dict[str, TestSet]:
    """Examples whose right answer is what the task's own adapter says."""
    mixed = mixed_model(base, adapters)

    def exact(examples: Sequence[Example], texts: Sequence[str]) -> list[float]:
        return [float(e.completion == t) for e, t in zip(examples, texts, strict=True)]

    sets = {}
    for name, prompts in {"a": ["a cat", "the a"], "b": ["b dog", "two a a"]}.items():
        answers = generate(mixed, base, prompts, Mix.parse(name), Sampling(max_new_tokens=6))
        examples = [Example(p, c.text) for p, c in zip(prompts, answers, strict=True)]
        sets[name] = TestSet(examples, exact, max_new_tokens=6)
    return sets


def test_each_system_is_scored_with_its_own_mix(base: Base, adapters: dict[str, Any]) -> None:
    tests = exact_sets(base, adapters)
    seen: list[tuple[str, int, int]] = []
    scores = evaluate_skills(
        base,
        adapters,
        tests,
        router=WordRouter(),
        policy=Policy(blend_threshold=0.9),
        progress=lambda *step: seen.append(step),
    )
    assert list(scores) == ["a", "b"]
    assert [scores[name]["skill"]["score"] for name in scores] == [1.0, 1.0]
    assert [scores[name]["base"]["score"] for name in scores] == [0.0, 0.0]
    assert scores["a"]["routed"]["values"] == [1.0, 1.0]
    assert scores["b"]["routed"]["values"] == [1.0, 0.0]  # the router sends "two a a" to a
    assert scores["b"]["routed"]["n"] == 2
    assert seen[-1][1:] == (12, 12)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def test_a_library_gives_the_scores_of_its_adapters(
    base: Base, adapters: dict[str, Any], tmp_path: Any
) -> None:
    from loramix.library import Library, SkillCard

    library = Library.create(tmp_path / "library", base.id, base.fingerprint)
    with library.edit() as txn:
        for name, adapter in adapters.items():
            txn.add(name, adapter, SkillCard(), torch.zeros(2, 3))
    tests = exact_sets(base, adapters)
    for skills in (library, adapters, mixed_model(base, adapters)):
        scores = evaluate_skills(base, skills, tests, systems=("skill",))
        assert [scores[name]["skill"]["score"] for name in scores] == [1.0, 1.0]


def test_answers_are_computed_once_and_come_in_order(base: Base, adapters: dict[str, Any]) -> None:
    answers = Answers(base, mixed_model(base, adapters), batch_size=2)
    prompts = ["a long prompt about cats", "b", "b", "the cat"]
    mixes = [Mix.parse("a"), Mix.parse("b"), Mix.parse("b"), Mix.base()]
    first = answers(prompts, mixes, 5)
    one_by_one = [answers([p], [m], 5)[0] for p, m in zip(prompts, mixes, strict=True)]
    assert first == one_by_one
    direct = generate(answers.mixed, base, ["the cat"], Mix.base(), Sampling(max_new_tokens=5))
    assert first[3].text == direct[0].text


def test_wrong_calls_are_refused_before_any_work(base: Base, adapters: dict[str, Any]) -> None:
    tests = exact_sets(base, adapters)
    with pytest.raises(UsageError, match="no such system"):
        evaluate_skills(base, adapters, tests, systems=("merged",))
    with pytest.raises(UsageError, match="router"):
        evaluate_skills(base, adapters, tests, systems=("routed",))
    with pytest.raises(UnknownSkillError, match="'c'"):
        evaluate_skills(base, adapters, {"c": tests["a"]}, systems=("skill",))


def test_prompts_that_do_not_fit_count_as_wrong_and_are_told(
    base: Base, adapters: dict[str, Any]
) -> None:
    held = exact_sets(base, adapters)["a"]
    long = Example("z" * 400, "never", {})
    both = TestSet([long, *held.examples], held.score_many, held.max_new_tokens)
    with pytest.warns(UserWarning, match="1 of 3 rows count as wrong: .*not fit into the context"):
        row = evaluate_skills(base, adapters, {"a": both}, ["skill"])["a"]["skill"]
    assert row["n"] == len(held.examples) + 1
    assert sum(row["values"]) == len(held.examples)
    with pytest.warns(UserWarning, match="1 of 1 rows"):
        none = evaluate_skills(base, adapters, {"a": TestSet([long], held.score_many, 4)}, ["base"])
    assert none["a"]["base"]["score"] == 0.0
