"""Recipes, policies and weight matrices."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from loramix.errors import ConfigError, RecipeError, UnknownSkillError
from loramix.mix import Mix, Policy, check_skills, policy_mix, weight_matrix

names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,63}", fullmatch=True).filter(
    lambda name: name not in ("auto", "base", "all")
)
positive = st.floats(min_value=1e-12, max_value=1e6)
mixes = st.dictionaries(names, positive, max_size=5).map(Mix.of)
scores = st.dictionaries(names, st.floats(0, 1), max_size=6).flatmap(
    lambda skills: st.floats(0, 1).map(lambda base: {**skills, "base": base})
)


@given(mixes)
def test_a_recipe_reads_back_as_the_mix_that_wrote_it(mix: Mix) -> None:
    assert Mix.parse(str(mix)) == mix
    assert hash(Mix.parse(str(mix))) == hash(mix)


@given(mixes)
def test_skills_come_heaviest_first(mix: Mix) -> None:
    weights = list(mix.weights.values())
    assert weights == sorted(weights, reverse=True)


@pytest.mark.parametrize(
    ("recipe", "weights"),
    [
        ("code=0.5,math=0.4", {"code": 0.5, "math": 0.4}),
        (" math = 0.4 , code = .5 ", {"code": 0.5, "math": 0.4}),
        ("code", {"code": 1.0}),
        ("code,math=2", {"math": 2.0, "code": 1.0}),
        ("code=1,math=0", {"code": 1.0}),
        ("base", {}),
        (" base ", {}),
    ],
)
def test_a_recipe_means_what_it_says(recipe: str, weights: dict[str, float]) -> None:
    assert list(Mix.parse(recipe).weights.items()) == list(weights.items())


def test_the_canonical_recipe_is_short_and_sorted() -> None:
    assert str(Mix.parse("b=0.5,a=0.5,c=1.0")) == "c=1,a=0.5,b=0.5"
    assert str(Mix.base()) == "base"
    assert Mix.base().is_base


@pytest.mark.parametrize(
    "recipe",
    [
        *("code=-0.1", "code=nan", "code=inf", "code=0", "code=0,math=0", "code=0.5,code=0.5"),
        *("code=", "code=x", "=1", "code=1=2", "code;math", ",", "code,", "Code=1", "a b=1"),
        *("code=1_0", "base=0.5,code=0.5", "auto", "all=1", "code=1e300", "código=1"),
        *("", "  "),
    ],
)
def test_a_bad_recipe_is_refused(recipe: str) -> None:
    with pytest.raises(RecipeError):
        Mix.parse(recipe)


@pytest.mark.parametrize("weight", [-1, math.nan, math.inf, True, "1", None])
def test_a_bad_weight_is_refused_wherever_it_comes_from(weight: object) -> None:
    with pytest.raises(RecipeError):
        Mix.of({"code": weight})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("recipe", "given", "hint"),
    [
        ("", "None", "write `base`"),
        ("code=1,math=-.10", "math=-.10", "math=0.5"),
        ("code=1e300", "code=1e300", "code=0.5"),
        ("code=,math", "code=,math", "code=0.5"),
        ("code,math,code=2", "code,math,code=2", "keep one of the weights of 'code'"),
        ("code math", "code math", "commas"),
        ("code=0", "code=0", "write `base`"),
    ],
)
def test_a_bad_recipe_is_shown_as_it_was_typed_with_what_to_do(
    recipe: str, given: str, hint: str
) -> None:
    with pytest.raises(RecipeError) as refused:
        Mix.parse(recipe)
    assert str(refused.value.given) == given
    assert hint in str(refused.value.hint)


def test_a_name_in_capitals_is_answered_with_the_small_one() -> None:
    with pytest.raises(RecipeError, match="small letters: code"):
        Mix.parse("CODE=0.5")


def test_an_unknown_skill_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownSkillError, match="did you mean 'sentiment'"):
        check_skills(Mix.of({"sentimant": 1}), ["code", "sentiment"])
    with pytest.raises(UnknownSkillError, match="loramix list"):
        check_skills(Mix.of({"xyz": 1}), ["code", "sentiment"])


@given(scores, st.sampled_from(["top1", "topk", "blend"]), st.integers(1, 4))
def test_a_policy_gives_weights_that_sum_to_one_or_the_base(
    given_scores: dict[str, float], kind: str, k: int
) -> None:
    mix = policy_mix(given_scores, Policy(kind=kind, k=k))  # type: ignore[arg-type]
    assert set(mix.weights) <= set(given_scores) - {"base"}
    if not mix.is_base:
        assert sum(mix.weights.values()) == pytest.approx(1, abs=1e-3)
    if kind == "topk":
        assert len(mix.weights) <= k


def test_top1_takes_two_only_when_both_are_needed() -> None:
    policy = Policy(blend_threshold=0.3)
    alone = policy_mix({"code": 0.8, "math": 0.15, "base": 0.05}, policy)
    both = policy_mix({"code": 0.5, "math": 0.4, "qa": 0.1, "base": 0.0}, policy)
    assert str(alone) == "code=1"
    assert str(both) == "code=0.5556,math=0.4444"


def test_topk_and_blend_leave_out_what_does_not_count() -> None:
    given_scores = {"code": 0.5, "math": 0.3, "qa": 0.19, "tone": 0.001, "base": 0.009}
    assert set(policy_mix(given_scores, Policy("topk", k=2)).weights) == {"code", "math"}
    assert set(policy_mix(given_scores, Policy("blend")).weights) == {"code", "math", "qa"}


def test_a_prompt_of_no_skill_goes_to_the_base() -> None:
    assert policy_mix({"code": 0.4, "base": 0.6}, Policy()).is_base
    assert not policy_mix({"code": 0.4, "base": 0.6}, Policy(none_threshold=0.7)).is_base
    assert policy_mix({"base": 0.0}, Policy()).is_base


@pytest.mark.parametrize(
    "bad", [{"kind": "top2"}, {"k": 0}, {"none_threshold": 2}, {"blend_threshold": -1}]
)
def test_a_policy_that_cannot_be_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Policy(**bad)  # type: ignore[arg-type]


def test_a_weight_matrix_has_a_row_for_each_mix() -> None:
    matrix = weight_matrix([Mix.parse("a=0.5,b=2"), Mix.base()], ["b", "a", "c"])
    assert torch.equal(matrix, torch.tensor([[2, 0.5, 0], [0, 0, 0]]))
    assert weight_matrix([Mix.base()], []).shape == (1, 0)
    with pytest.raises(UnknownSkillError):
        weight_matrix([Mix.parse("d")], ["a"])
