"""An expert that learns from its skills: nearer to each of them, and nothing else has moved."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch.nn import functional

from loramix.adapter import Adapter, LoraSettings
from loramix.base import Base, encode_example
from loramix.errors import DataError
from loramix.merge import merge_adapters
from loramix.merge.distil import distil
from loramix.merge.inputs import Material
from loramix.merge.output import expert_card
from loramix.merge.search import Candidate, search
from tiny import random_adapter
from tiny_base import make_base

ROWS = {
    "north": [("the cat sat on", "the mat"), ("and the dog", "sat on the cat")],
    "south": [("add two and two", "to get four"), ("add two and", "two to get four")],
}


@pytest.fixture(scope="module")
def base() -> Base:
    return make_base()


@pytest.fixture(scope="module")
def skills(base: Base) -> dict[str, Adapter]:
    everything = ("q_proj", "v_proj", "down_proj", "embed_tokens")
    shapes = [LoraSettings(r=4, alpha=16, target_modules=everything), LoraSettings(r=3, alpha=9)]
    return {
        name: random_adapter(base.model, shape, seed)
        for seed, (name, shape) in enumerate(zip(ROWS, shapes, strict=True))
    }


def distance(skills: Mapping[str, Adapter], expert: Adapter) -> dict[str, float]:
    """Mean KL of skill and expert on the answers, by models with the updates in their weights."""
    found = {}
    for name, rows in ROWS.items():
        models = [summed(adapter) for adapter in (skills[name], expert)]
        parts = []
        for prompt, answer in rows:
            ids, labels = encode_example(make_base(), prompt, answer)
            at = [t - 1 for t, label in enumerate(labels) if label >= 0]
            with torch.no_grad():
                skill, said = (
                    functional.log_softmax(model(torch.tensor([ids])).logits[0, at], -1)
                    for model in models
                )
            parts.append((skill.exp() * (skill - said)).sum(-1))
        found[name] = float(torch.cat(parts).mean())
    return found


def summed(adapter: Adapter) -> Any:
    """The tiny base in float64 with W + ΔW in the place of W."""
    model = make_base().model.double()
    with torch.no_grad():
        for path, module in adapter.modules.items():
            weight = model.get_submodule(path).weight
            delta = module.delta().double()
            weight += delta if delta.shape == weight.shape else delta.T
    return model


def test_an_expert_comes_nearer_to_each_of_its_skills(
    base: Base, skills: dict[str, Adapter]
) -> None:
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    expert = merge_adapters(skills).adapter
    kept = {path: m.A.clone() for path, m in expert.modules.items()}
    done = distil(base, skills, expert, ROWS, 3.0)
    assert done.steps > 2
    assert done.rows == done.steps * 16
    far, near = distance(skills, expert), distance(skills, done.adapter)
    assert all(near[name] < 0.8 * far[name] for name in ROWS), (far, near)
    assert done.adapter.config == expert.config
    assert all(torch.equal(kept[path], m.A) for path, m in expert.modules.items())
    assert all(torch.equal(before[n], t) for n, t in base.model.state_dict().items())


def test_without_time_it_stays_as_it_is_and_rows_that_are_all_too_long_are_told(
    base: Base, skills: dict[str, Adapter]
) -> None:
    expert = merge_adapters(skills).adapter
    assert distil(base, skills, expert, ROWS, 0.0).steps == 0
    with pytest.raises(DataError, match="north"):
        distil(base, skills, expert, ROWS | {"north": [("the cat " * 5000, "mat")]}, 1.0)


class Judge:
    """Scores an adapter by how near it is to the skills."""

    def __init__(self, skills: Mapping[str, Adapter]) -> None:
        self.skills = skills

    def expert(self, adapter: Adapter) -> dict[str, dict[str, float]]:
        return {n: {"score": 1 / (1 + d)} for n, d in distance(self.skills, adapter).items()}


@pytest.mark.parametrize("methods", [None, ["linear"]])
def test_a_search_ends_with_learning_unless_a_method_is_asked_for(
    base: Base, skills: dict[str, Adapter], methods: list[str] | None
) -> None:
    prompts = {name: [prompt for prompt, _ in rows] for name, rows in ROWS.items()}
    expert, trials = search(
        skills, Candidate("linear", (1.0, 1.0)), Judge(skills),  # type: ignore[arg-type]
        {name: {"score": 1.0} for name in ROWS}, 6.0, rank=None, seed=0,
        material=Material(base, skills, prompts, {}), methods=methods,
    )  # fmt: skip
    assert [trial.candidate.distilled for trial in trials if trial.candidate.distilled] == (
        [True] if methods is None else []
    )
    if methods is None:
        assert trials[0].candidate.distilled
        assert expert.distilled is not None
        assert expert.distilled[0] > 0
        told = {**expert.to_dict(), "name": "all", "base": "tiny", "skills": {}, "retention": {}}
        assert f"{expert.distilled[1]:,} rows" in expert_card(told, full=False)
        json.dumps(told)


def test_a_skill_without_prompts_keeps_the_search_from_learning(
    base: Base, skills: dict[str, Adapter]
) -> None:
    assert not Material(base, skills, {"north": ["the cat"]}, {}).teaches
    assert Material(base, skills, {"north": ["the cat"], "south": ["add"]}, {}).teaches
