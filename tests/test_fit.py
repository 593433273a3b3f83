"""fit-mix: what the losses are, what is found, and when a gain is claimed."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from loramix.adapter import Adapter, LoraSettings
from loramix.base import Base, encode_example
from loramix.commands.fit_mix import MOST_SKILLS, fit_mix
from loramix.commands.session import Session
from loramix.data import Example
from loramix.errors import (
    BaseError,
    ConfigError,
    DataError,
    LibraryError,
    LoramixError,
    UnknownSkillError,
    UsageError,
)
from loramix.fit import Losses
from loramix.fit import fit_mix as fit
from loramix.fit.fit import part
from loramix.fit.methods import L1, MOST, minimise
from loramix.fit.trial import chance
from loramix.generate import Sampling, generate
from loramix.library import Library
from loramix.mix import Mix
from loramix.mixed import MixedModel
from tiny import random_adapter
from tiny_base import make_base, save_base
from tiny_library import make_card, make_memory

NAMES = ("math", "code", "qa")
LENGTH = 8
HIDDEN = Mix.of({"math": 0.9, "code": 0.7})
STRONG = LoraSettings(r=4, alpha=24, target_modules=["v_proj", "o_proj", "down_proj"])


@pytest.fixture(scope="module")
def base() -> Base:
    """It writes capitals, which its tokenizer never joins: what is written can be learned."""
    made = make_base()
    head = made.model.get_output_embeddings().weight
    capitals = [made.tokenizer.convert_tokens_to_ids(letter) for letter in string.ascii_uppercase]
    with torch.no_grad():
        kept = head[capitals] * 4
        head.zero_()[capitals] = kept
    return made


@pytest.fixture(scope="module")
def adapters(base: Base) -> dict[str, Adapter]:
    return {name: random_adapter(base.model, STRONG, i) for i, name in enumerate(NAMES)}


@pytest.fixture(scope="module")
def written(base: Base, adapters: dict[str, Adapter]) -> list[Example]:
    """A task that no skill is for: what the hidden mix of two of them writes."""
    return examples_of(base, adapters, 24)


def examples_of(base: Base, adapters: dict[str, Adapter], count: int) -> list[Example]:
    mixed = MixedModel(base.model)
    for name, adapter in adapters.items():
        mixed.add(name, adapter)
    prompts = [f"cat {i} and dog {i * 7 % 5}" for i in range(count)]
    done = generate(mixed, base, prompts, HIDDEN, Sampling(max_new_tokens=LENGTH))
    found = [Example(p, d.text) for p, d in zip(prompts, done, strict=True)]
    return [example for example in found if example.completion.strip()]


def alike(examples: Sequence[Example], texts: Sequence[str]) -> list[float]:
    """The share of an answer's beginning that is right."""
    return [
        sum(a == b for a, b in zip(e.completion, t, strict=False)) / max(1, len(e.completion))
        for e, t in zip(examples, texts, strict=True)
    ]


def test_losses_are_those_of_each_example_alone(
    base: Base, adapters: dict[str, Adapter], written: list[Example]
) -> None:
    """The oracle: one row, the base with the mix added to its weights."""
    weights = torch.tensor([0.5, 0.0, 0.3])
    rows = [7, 0, 3, 11, 2, 5, 9, 1, 4]
    with Losses(base, adapters, written) as losses:
        found = losses.values(weights, rows)
        several = losses.values(torch.stack([weights, torch.eye(3)[1]]), [7, 7])
        one = losses.values(torch.eye(3)[1], [7])
    mixed = MixedModel(base.model)
    for name, adapter in adapters.items():
        mixed.add(name, adapter)
    for row, loss in zip(rows, found.tolist(), strict=True):
        ids, labels = encode_example(base, written[row].prompt, written[row].completion)
        told = torch.tensor([ids]), torch.tensor([labels])
        with torch.no_grad(), mixed.using(weights[None], NAMES):
            expected = base.model(input_ids=told[0], labels=told[1]).loss
        assert loss == pytest.approx(float(expected), rel=1e-4)
    assert several.tolist() == pytest.approx([float(found[0]), float(one)], rel=1e-4)


def test_a_bf16_base_gives_the_losses_of_a_float32_one_where_bf16_is_slow(
    base: Base,
    adapters: dict[str, Adapter],
    written: list[Example],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("loramix.train.module.multiplies_bf16", lambda: False)
    weights, rows = torch.tensor([0.5, 0.0, 0.3]), range(10)
    half, exact = make_base(), make_base()
    for mine, theirs, given in zip(
        half.model.parameters(), exact.model.parameters(), base.model.parameters(), strict=True
    ):
        mine.data, theirs.data = given.data.bfloat16(), given.data.bfloat16().float()
    rounded = {
        name: Adapter(
            {
                path: replace(part, A=part.A.bfloat16().float(), B=part.B.bfloat16().float())
                for path, part in adapter.modules.items()
            },
            adapter.config,
        )
        for name, adapter in adapters.items()
    }
    with Losses(exact, rounded, written) as losses:
        expected = losses.values(weights, rows)
        wanted = losses.slope(weights, rows)
    with Losses(half, adapters, written) as losses:
        assert half.model.dtype == torch.float32
        found = losses.values(weights, rows)
        loss, gradient = losses.slope(weights, rows)
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-4)
    assert loss == pytest.approx(wanted[0], rel=1e-4)
    assert gradient.tolist() == pytest.approx(wanted[1].tolist(), rel=1e-3, abs=1e-5)
    assert all(p.dtype == torch.bfloat16 for p in half.model.parameters())


def test_gradients_are_the_slopes_of_the_losses(
    base: Base, adapters: dict[str, Adapter], written: list[Example]
) -> None:
    weights, step = torch.tensor([0.5, 0.2, 0.3]), 1e-2
    with Losses(base, adapters, written) as losses:
        rows = range(10)
        loss, gradient = losses.slope(weights, rows)
        assert loss == pytest.approx(float(losses.values(weights, rows).mean()), rel=1e-4)
        for k, slope in enumerate(gradient.tolist()):
            aside = torch.eye(3)[k] * step
            up, down = (losses.values(weights + s * aside, rows).mean() for s in (1, -1))
            assert slope == pytest.approx(float(up - down) / (2 * step), rel=0.05, abs=1e-3)
        few = losses.values(weights[:2], rows)  # the skills that are left out have no weight
        assert torch.equal(few, losses.values(torch.tensor([0.5, 0.2, 0.0]), rows))


@pytest.mark.parametrize("method", ["gradient", "search"])
def test_both_methods_find_less_loss_than_any_skill_within_the_bounds(
    method: Any, base: Base, adapters: dict[str, Adapter], written: list[Example]
) -> None:
    told: list[float] = []
    starts = [*torch.eye(3), torch.full((3,), 1 / 3)]
    with Losses(base, adapters, written) as losses:
        rows = range(len(written))
        found = minimise(losses, rows, starts, method, 40, lambda _, least: told.append(least))
        value = float(losses.values(found, rows).mean()) + L1 * float(found.mean())
    assert 4 < len(told) <= 45
    assert told == sorted(told, reverse=True)
    assert ((found >= 0) & (found <= MOST)).all()
    assert value == pytest.approx(told[-1], abs=0.02)
    assert told[-1] < told[3] - 0.1  # the best of the starts
    assert found[2] < found[0]  # the skill that wrote nothing of it


def test_a_real_gain_is_claimed_and_the_mix_is_near_the_hidden_one(
    base: Base, adapters: dict[str, Adapter], written: list[Example]
) -> None:
    found = fit(
        base, adapters, written, alike, routed=[Mix.base()] * len(written), max_new_tokens=LENGTH
    )
    assert list(found.baselines) == ["base", *NAMES, "uniform", "routed"]
    assert found.folds == 1
    assert found.reported == len(written) // 2
    assert found.gain.claimed
    assert found.recommended == found.mix
    best = max(row["score"] for row in found.baselines.values())
    assert found.figures["score"] > best
    assert found.figures["loss"] < min(row["loss"] for row in found.baselines.values())
    assert found.mix.weights["math"] > 0.5
    assert found.mix.weights["code"] > 0.4
    again = fit(base, adapters, written, alike, max_new_tokens=LENGTH)
    assert (again.mix, again.figures) == (found.mix, found.figures)
    assert "routed" not in again.baselines


def test_no_gain_is_claimed_where_one_skill_is_all_that_it_takes(
    base: Base, adapters: dict[str, Adapter]
) -> None:
    mixed = MixedModel(base.model)
    mixed.add("qa", adapters["qa"])
    prompts = [f"dog {i} and cat {i * 3 % 7}" for i in range(9)]
    done = generate(mixed, base, prompts, Mix.of({"qa": 1.0}), Sampling(max_new_tokens=LENGTH))
    task = [Example(p, d.text or "?") for p, d in zip(prompts, done, strict=True)]
    found = fit(
        base, adapters, task, alike, evaluations=8, skills=["code", "qa"], max_new_tokens=LENGTH
    )
    assert found.folds == 5
    assert found.reported == 9
    assert not found.gain.claimed
    assert found.recommended == found.best_single == Mix.of({"qa": 1.0})
    assert "math" not in found.baselines


@pytest.mark.parametrize("count", [5, 12, 19, 20, 50])
def test_no_prompt_is_chosen_on_and_reported(count: int) -> None:
    texts = [str(i) for i in range(count)] + ["0", "1"]  # some prompts stand twice
    parts = part([Example(text, "x") for text in texts], seed=3)
    assert len(parts) == (5 if count < 20 else 1)
    for chosen, reported in parts:
        assert sorted(chosen + reported) == list(range(len(texts)))
        assert not {texts[i] for i in chosen} & {texts[i] for i in reported}
    if count < 20:
        assert sorted(i for _, reported in parts for i in reported) == list(range(len(texts)))


def test_chance_is_that_of_the_signs() -> None:
    assert chance([1.0] * 5) == pytest.approx(1 / 32, abs=0.01)
    assert chance([1.0, 1.0, 1.0, 0.0, 0.0]) == pytest.approx(1 / 8, abs=0.02)
    assert chance([0.0] * 9) == 1.0
    rng = random.Random(0)
    noise = [chance([rng.choice((-1, 0, 1)) for _ in range(20)], seed) for seed in range(100)]
    assert sum(p <= 0.025 for p in noise) <= 7


def test_int8_weights_are_refused(base: Base, adapters: dict[str, Adapter]) -> None:
    from dataclasses import replace

    with pytest.raises(BaseError, match="Fitting a mix needs the full weights"):
        Losses(replace(base, int8=True), adapters, [Example("a", "b")])


# ── the command ──────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of three skills on a tiny base, without a gate, and a task in a file."""
    place = tmp_path_factory.mktemp("fit")
    base = save_base(place / "base")
    library = Library.create(place / "library", str(place / "base"), base.fingerprint)
    skills = {name: random_adapter(base.model, STRONG, i) for i, name in enumerate(NAMES)}
    with library.edit() as txn:
        for name, adapter in skills.items():
            txn.add(name, adapter, make_card(name), make_memory())
    write(place / "task.jsonl", examples_of(base, skills, 10))
    return place


def write(path: Path, examples: Sequence[Example]) -> Path:
    rows = [{"ask": e.prompt, "answer": e.completion} for e in examples]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def call(place: Path, **changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "prompt": "{ask}", "completion": "{answer}", "evaluations": 6, "device": "cpu",
        "library": place / "library", "metric": "rouge_l",
    }  # fmt: skip
    return fit_mix(place / "task.jsonl", **{**given, **changes})


def test_the_found_mix_is_saved_and_then_used_like_a_skill(place: Path, tmp_path: Path) -> None:
    own = Library.open(place / "library").copy_to(tmp_path / "own").path
    told = call(place, library=own, save="new-task")
    assert {"mix", "score", "baselines", "gain", "verdict", "recommended"} <= told.keys()
    assert set(told["baselines"]) == {"base", *NAMES, "uniform"}  # no gate, nothing routed
    assert told["verdict"] in ("gain", "no gain beyond noise")
    assert (told["verdict"] == "gain") == told["gain"]["claimed"]
    session = Session(own, mix="new-task", device="cpu")
    assert session.fixed is not None
    assert session.fixed.weights == pytest.approx(told["mix"])
    assert "task.jsonl" in Library.open(own).named_mixes["new-task"].description
    with pytest.raises(LibraryError, match="already has a mix"):
        call(place, library=own, save="new-task")
    call(place, library=own, save="new-task", replace=True, skills="qa", method="search")
    assert set(Library.open(own).mixes["new-task"].weights) <= {"qa"}


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"method": "gradiant"}, ConfigError, "did you mean 'gradient'"),
        ({"metric": "rouge"}, ConfigError, "did you mean 'rouge_l'"),
        ({"skills": "math,cod"}, UnknownSkillError, "did you mean 'code'"),
        ({"skills": " , "}, UsageError, "no skill to mix"),
        ({"save": "math"}, LibraryError, "already has a skill"),
        ({"save": "auto"}, LibraryError, "reserved"),
        ({"save": "x", "library": None}, LibraryError, "not to be changed"),
        ({"prompt": "{asked}"}, DataError, "ask"),
    ],
)
def test_a_wrong_call_is_told_before_the_base_is_loaded(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    kind: type[LoramixError],
    words: str,
) -> None:
    monkeypatch.setattr("loramix.base.load_base", lambda *_: pytest.fail("loaded"))
    with pytest.raises(kind, match=words):
        call(place, **changes)


def test_too_few_examples_too_many_skills_and_an_empty_library(place: Path, tmp_path: Path) -> None:
    few = write(tmp_path / "few.jsonl", [Example(f"p{i % 4}", "x") for i in range(9)])
    with pytest.raises(DataError, match="4 distinct prompts"):
        fit_mix(few, prompt="{ask}", completion="{answer}", library=place / "library")
    task = place / "task.jsonl"
    empty = Library.create(tmp_path / "empty", "pocket", "f" * 64).path
    with pytest.raises(UsageError, match="loramix add"):
        fit_mix(task, library=empty)
    full = Library.open(place / "library").copy_to(tmp_path / "full")
    with full.edit() as txn:
        for i in range(MOST_SKILLS):
            adapter = full.skill("math").adapter()
            txn.add(f"s{i}", adapter, make_card("s"), make_memory())
    with pytest.raises(UsageError, match="too many skills"):
        fit_mix(task, library=full.path)


def test_an_example_longer_than_the_context_is_named(place: Path, tmp_path: Path) -> None:
    rows = [Example(f"p{i}" * (1 if i else 300), "x") for i in range(6)]
    long = write(tmp_path / "long.jsonl", rows)
    with pytest.raises(DataError, match="Example 1 does not fit"):
        fit_mix(long, prompt="{ask}", completion="{answer}", library=place / "library")
