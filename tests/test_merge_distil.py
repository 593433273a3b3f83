"""An expert that learns from its skills: nearer to each of them, and nothing else has moved."""

from __future__ import annotations

import functools
import gc
import itertools
import json
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch.nn import functional

from loramix.adapter import Adapter, LoraSettings
from loramix.base import Base, encode_example
from loramix.errors import DataError
from loramix.merge import distil as merge_distil
from loramix.merge import inputs, merge_adapters
from loramix.merge.distil import distil
from loramix.merge.expert import Expert
from loramix.merge.inputs import Material
from loramix.merge.output import expert_card
from loramix.merge.search import Candidate, Trial, search
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


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock by which every step takes a second, on a busy machine too."""
    ticks = itertools.count()
    monkeypatch.setattr(merge_distil, "monotonic", lambda: float(next(ticks)))


def factors(adapter: Adapter) -> list[torch.Tensor]:
    return [t.clone() for m in adapter.modules.values() for t in (m.A, m.B)]


def test_an_expert_comes_nearer_to_each_of_its_skills_and_nothing_else_moves(
    base: Base, skills: dict[str, Adapter], clock: None
) -> None:
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    expert = merge_adapters(skills).adapter
    untouched = [*skills.values(), expert]
    kept = [factors(adapter) for adapter in untouched]
    done = distil(base, skills, expert, ROWS, 60.0)
    assert (done.steps, done.rows) == (59, 59 * 16)
    far, near = distance(skills, expert), distance(skills, done.adapter)
    assert all(near[name] < 0.5 * far[name] for name in ROWS), (far, near)
    assert done.adapter.config == expert.config
    for adapter, tensors in zip(untouched, kept, strict=True):
        assert all(map(torch.equal, factors(adapter), tensors))
    assert all(torch.equal(before[n], t) for n, t in base.model.state_dict().items())


def test_ranks_that_a_merge_leaves_empty_learn_too(
    base: Base, skills: dict[str, Adapter], clock: None
) -> None:
    expert = merge_adapters(skills).adapter
    empty = expert.modules["model.layers.0.mlp.down_proj"].A == 0
    assert empty.all(dim=1).any()
    done = distil(base, skills, expert, ROWS, 9.0)
    assert not (done.adapter.modules["model.layers.0.mlp.down_proj"].A == 0).all(dim=1).any()


def test_a_skill_of_more_weight_is_learned_better(
    base: Base, skills: dict[str, Adapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    expert = merge_adapters(skills).adapter
    near = {}
    for name in ROWS:
        ticks = itertools.count()
        monkeypatch.setattr(merge_distil, "monotonic", functools.partial(next, ticks))
        weights = {other: 1.0 if other == name else 0.0 for other in ROWS}
        done = distil(base, skills, expert, ROWS, 30.0, weights=weights)
        near[name] = distance(skills, done.adapter)
    assert near["north"]["north"] < near["south"]["north"]
    assert near["south"]["south"] < near["north"]["south"]


def test_a_half_precision_pass_leaves_the_base_as_it_was(
    base: Base, skills: dict[str, Adapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge_distil, "fast_in_bf16", lambda _device: True)
    expert = merge_adapters(skills).adapter
    hooks = sum(len(m._forward_hooks) for m in base.model.modules())

    def fail(_steps: int, _loss: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distil(base, skills, expert, ROWS, 1e9, step=fail)
    assert {p.dtype for p in base.model.parameters()} == {torch.float32}
    assert base.model.config._attn_implementation == "sdpa"
    gc.collect()
    assert sum(len(m._forward_hooks) for m in base.model.modules()) <= hooks


def test_without_time_it_stays_as_it_is_and_rows_that_are_all_too_long_are_told(
    base: Base, skills: dict[str, Adapter]
) -> None:
    expert = merge_adapters(skills).adapter
    assert distil(base, skills, expert, ROWS, 0.0).steps == 0
    with pytest.raises(DataError, match="north"):
        distil(base, skills, expert, ROWS | {"north": [("the cat " * 5000, "mat")]}, 1e9)


class Judge:
    """Scores an adapter by how near it is to the skills."""

    def __init__(self, skills: Mapping[str, Adapter]) -> None:
        self.skills = skills

    def expert(self, adapter: Adapter) -> dict[str, dict[str, float]]:
        return {n: {"score": 1 / (1 + d)} for n, d in distance(self.skills, adapter).items()}


def searched(
    base: Base, skills: dict[str, Adapter], methods: list[str] | None = None
) -> tuple[Expert, list[Trial]]:
    prompts = {name: [prompt for prompt, _ in rows] for name, rows in ROWS.items()}
    return search(
        skills, Candidate("linear", (1.0, 1.0)), Judge(skills),  # type: ignore[arg-type]
        {name: {"score": 1.0} for name in ROWS}, 9.0, rank=None, seed=0,
        material=Material(base, skills, prompts, {}), methods=methods,
    )  # fmt: skip


@pytest.mark.slow
def test_a_search_ends_with_learning(base: Base, skills: dict[str, Adapter]) -> None:
    expert, trials = searched(base, skills)
    assert [trial.candidate.distilled for trial in trials].count(True) == 1
    assert trials[0].candidate.distilled
    assert expert.distilled is not None
    assert expert.distilled[0] > 0
    told = {**expert.to_dict(), "name": "all", "base": "tiny", "skills": {}, "retention": {}}
    assert f"{expert.distilled[1]:,} rows" in expert_card(told, full=False)
    json.dumps(told)


@pytest.mark.slow
def test_a_search_for_one_method_ends_without(base: Base, skills: dict[str, Adapter]) -> None:
    expert, trials = searched(base, skills, ["linear"])
    assert expert.distilled is None
    assert not any(trial.candidate.distilled for trial in trials)


@pytest.mark.slow
@pytest.mark.parametrize("error", [DataError("no rows"), RuntimeError("can't allocate memory")])
def test_learning_that_fails_leaves_the_best_merge(
    base: Base, skills: dict[str, Adapter], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_given: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(inputs, "distil", fail)
    expert, trials = searched(base, skills)
    assert expert.distilled is None
    assert trials


def test_a_skill_without_prompts_keeps_the_search_from_learning(
    base: Base, skills: dict[str, Adapter]
) -> None:
    assert not Material(base, skills, {"north": ["the cat"]}, {}).teaches
    assert Material(base, skills, {"north": ["the cat"], "south": ["add"]}, {}).teaches
