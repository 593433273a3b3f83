"""Skills that learn to blend: rows that name a mix train its skills together, and no others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from loramix.adapter import Adapter, LoraSettings, init_adapter
from loramix.base import Base, encode_example
from loramix.config import TrainConfig
from loramix.data import Example
from loramix.data.batches import IGNORED, TokenRow
from loramix.errors import Interrupted, UsageError
from loramix.mixed import MixedModel
from loramix.train import BlendJob, SkillJob, TrainProgress, train_skills, with_mixes
from loramix.train.batches import build_batches
from loramix.train.mixes import SPREAD
from loramix.train.module import TrainModule
from tiny_base import make_base

LORA = LoraSettings(r=4, alpha=8)
BOTH = {"a": 0.6, "b": 0.4}


def examples(count: int, word: str, mix: Mapping[str, float] | None = None) -> list[Example]:
    return [Example(f"{word} {i} " * (1 + i % 3), f"{word}{i % 2}", mix=mix) for i in range(count)]


def settings(**changes: Any) -> TrainConfig:
    values = {"max_steps": 6, "lr": 0.02, "batch_size": 4, "eval_every": 2, "bf16": False}
    return TrainConfig(**{**values, **changes})


def jobs(patience_dev: int = 4) -> list[SkillJob]:
    return [
        SkillJob("a", examples(16, "cat"), examples(patience_dev, "cat"), LORA),
        SkillJob("b", examples(9, "dog"), examples(patience_dev, "dog"), LORA),
    ]


def blend(mix: Mapping[str, float] = BOTH, count: int = 10) -> BlendJob:
    return BlendJob("both", examples(count, "bird", mix), examples(3, "bird", mix))


def loss_under(base: Base, adapters: Mapping[str, Adapter], job: BlendJob) -> float:
    """The mean loss of a blend's rows, each on a base with Σ g·ΔW added to its weights."""
    total, count = 0.0, 0
    for example in job.train:
        ids, labels = encode_example(base, example.prompt, example.completion)
        before = {name: p.detach().clone() for name, p in base.model.named_parameters()}
        with torch.no_grad():
            for skill, weight in (example.mix or {}).items():
                for path, module in adapters[skill].modules.items():
                    target = base.model.get_parameter(f"{path}.weight")
                    target += weight * module.delta().to(target.dtype)
            logits = base.model(torch.tensor([ids])).logits[0, :-1].double()
            for name, value in before.items():
                base.model.get_parameter(name).copy_(value)
        picked = [i for i, label in enumerate(labels[1:]) if label != IGNORED]
        aims = torch.tensor(labels[1:])[picked]
        total += float(functional.cross_entropy(logits[picked], aims, reduction="sum"))
        count += len(picked)
    return total / count


def same(one: Adapter, other: Adapter) -> bool:
    return all(
        torch.equal(module.A, other.modules[path].A)
        and torch.equal(module.B, other.modules[path].B)
        for path, module in one.modules.items()
    )


def trained(base: Base, seed: int) -> Adapter:
    """An adapter that does something, so that a blend with it is not the base."""
    adapter = init_adapter(base, LORA, seed)
    for module in adapter.modules.values():
        module.B.normal_(std=0.1, generator=torch.Generator().manual_seed(seed))
    return adapter


@given(
    st.dictionaries(st.sampled_from("abcd"), st.floats(0.1, 5), min_size=2, max_size=4),
    st.integers(0, 9),
)
def test_mixes_for_rows_lie_near_the_stated_one_and_a_row_keeps_its_own(
    weights: dict[str, float], seed: int
) -> None:
    own = {"a": 0.9, "b": 0.1}
    plain = [Example(f"{i}", "yes") for i in range(20)]
    made = with_mixes([*plain, Example("own", "yes", mix=own)], weights, seed)
    assert made[-1].mix == own
    assert made == with_mixes([*plain, Example("own", "yes", mix=own)], weights, seed)
    for example in made[:-1]:
        assert example.mix is not None
        assert sum(example.mix.values()) == pytest.approx(1, abs=0.01)
        for name, weight in weights.items():
            share = weight / sum(weights.values())
            assert 0 < example.mix[name] < share + 2 * SPREAD + 0.05
    assert len({tuple(e.mix.values()) for e in made[:-1] if e.mix}) > 10


def test_a_blended_row_has_the_loss_and_gradients_of_the_sum_of_its_adapters() -> None:
    base = make_base()
    adapters = {"a": trained(base, 1), "b": trained(base, 2), "c": trained(base, 3)}
    job = blend()
    rows = [TokenRow(*encode_example(base, e.prompt, e.completion), mix=e.mix) for e in job.train]
    mixed = MixedModel(base.model)
    for name, adapter in adapters.items():
        mixed.add(name, adapter, trainable=True)
    module = TrainModule(mixed, bf16=False, checkpointing=False, longest=99, pad_id=base.pad_id)
    batch = build_batches({"both": rows, "c": [replace(rows[0], mix=None)]}, base.pad_id)[0]
    assert (batch.names, batch.skills) == (("both", "c"), ("a", "b", "c"))
    both = module(batch)[0]
    both.backward()
    reached = {
        name: any(p.grad is not None and bool(p.grad.any()) for p in mixed.parameters_of(name))
        for name in adapters
    }
    assert reached == {"a": True, "b": True, "c": False}
    learned = sum(label != IGNORED for row in rows for label in row.labels)
    slow = loss_under(base, adapters, job)
    assert float(both.detach()) / learned == pytest.approx(slow, rel=1e-5)
    module.close()


def test_skills_learn_the_blend_and_stay_what_they_are_without_one(tmp_path: Path) -> None:
    base, job = make_base(), blend()
    config = settings(max_steps=25, epochs=10, lr=0.03)
    apart = train_skills(base, jobs(), config, tmp_path / "apart")
    joined = train_skills(base, jobs(), config, tmp_path / "joined", blends=[job])
    adapters = {
        way: {name: result.adapter for name, result in results.items()}
        for way, results in (("apart", apart), ("joined", joined))
    }
    before, after = (loss_under(base, adapters[way], job) for way in ("apart", "joined"))
    assert after < 0.8 * before
    for name, result in joined.items():
        assert result.losses[-1] < 1.3 * apart[name].losses[-1] + 0.1
    curves = json.loads((tmp_path / "joined" / "losses.json").read_text())
    assert set(curves) == {"a", "b", "both"}
    assert curves["both"]["train"][-1] < curves["both"]["train"][0]
    assert curves["both"]["dev"]


def test_max_steps_bounds_what_a_blend_computes(tmp_path: Path) -> None:
    config = settings(max_steps=3, epochs=50)
    told: list[TrainProgress] = []
    train_skills(make_base(), jobs(0), config, tmp_path, blends=[blend()], progress=told.append)
    rows = 3 * config.batch_size * 3  # of two skills and a blend
    assert told[-1].tokens < 40 * rows


def test_a_new_skill_learns_to_blend_with_a_frozen_one(tmp_path: Path) -> None:
    base = make_base()
    old = trained(base, 5)
    kept = trained(base, 5)
    job = blend({"old": 0.5, "a": 0.5}, 12)
    results = train_skills(
        base, jobs()[:1], settings(max_steps=25), tmp_path, blends=[job], frozen={"old": old}
    )
    assert set(results) == {"a"}
    assert same(old, kept)
    alone = train_skills(base, jobs()[:1], settings(max_steps=25), tmp_path / "alone")
    before = loss_under(base, {"old": old, "a": alone["a"].adapter}, job)
    assert loss_under(base, {"old": old, "a": results["a"].adapter}, job) < before


def test_a_stopped_run_with_blends_goes_on_to_the_same_end(tmp_path: Path) -> None:
    def stop(progress: TrainProgress) -> None:
        if progress.step >= 4:
            raise KeyboardInterrupt

    config = settings(max_steps=8)
    whole = train_skills(make_base(), jobs(), config, tmp_path / "1", blends=[blend()])
    with pytest.raises(Interrupted):
        train_skills(
            make_base(), jobs(), config, tmp_path / "2",
            progress=stop, blends=[blend()], save_seconds=0,
        )  # fmt: skip
    again = train_skills(make_base(), jobs(), config, tmp_path / "2", blends=[blend()])
    for name, result in whole.items():
        assert again[name].losses == pytest.approx(result.losses, rel=1e-6)
        for path, module in result.adapter.modules.items():
            assert torch.allclose(again[name].adapter.modules[path].A, module.A, atol=1e-6)


def test_a_skill_that_blends_is_not_stopped_early_and_keeps_its_last_weights(
    tmp_path: Path,
) -> None:
    worse = [replace(e, completion="no") for e in examples(4, "cat")]
    job = SkillJob("a", examples(16, "cat"), worse, LORA)
    config = settings(max_steps=20, lr=0.05, patience=1)
    alone = train_skills(make_base(), [job], config, tmp_path / "1")["a"]
    assert alone.stopped_early
    pair = [job, jobs()[1]]
    blended = train_skills(make_base(), pair, config, tmp_path / "2", blends=[blend()])["a"]
    assert not blended.stopped_early
    assert blended.steps == 20


@pytest.mark.parametrize(
    ("mix", "together", "said"),
    [
        ({"a": 0.5, "nobody": 0.5}, True, "cannot be learned"),
        ({"old": 1.0}, True, "cannot be learned"),
        (None, True, "cannot be learned"),
        (BOTH, False, "one by one"),
    ],
)
def test_blends_that_cannot_be_learned_are_refused(
    mix: dict[str, float] | None, together: bool, said: str, tmp_path: Path
) -> None:
    base = make_base()
    job = BlendJob("both", examples(4, "bird", mix))
    with pytest.raises(UsageError, match=said):
        train_skills(
            base, jobs(), settings(), tmp_path, together,
            blends=[job], frozen={"old": trained(base, 1)},
        )  # fmt: skip


def test_a_blend_cannot_have_the_name_of_a_skill(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="different names"):
        train_skills(make_base(), jobs(), settings(), tmp_path, blends=[replace(blend(), name="a")])
