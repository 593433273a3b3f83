"""Skills that could stand for each other are found, and others are not."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch

from loramix import render
from loramix.base import load_base
from loramix.commands.library import add, remove
from loramix.gate import read_gate
from loramix.library import Library
from loramix.lora import Adapter, LoraModule
from loramix.pocket.tasks import TASKS
from loramix.similar import FEWEST, PROMPTS, find_similar, prompts_overlap, weights_cosine


def adapter(seed: int, ranks: dict[str, int], scaling: float = 2.0) -> Adapter:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    modules = {n: LoraModule(draw(r, 7), draw(5, r), scaling) for n, r in ranks.items()}
    return Adapter(modules, {})


def test_the_cosine_is_that_of_the_dense_changes() -> None:
    first, second = adapter(1, {"q": 2, "v": 3}), adapter(2, {"v": 4, "o": 1}, scaling=0.5)
    flat = [
        torch.cat([m.delta().flatten() if (m := one.modules.get(n)) else torch.zeros(35).double()
                   for n in ("q", "v", "o")])
        for one in (first, second)
    ]  # fmt: skip
    dense = float(torch.nn.functional.cosine_similarity(*flat, dim=0))
    assert weights_cosine(first, second) == pytest.approx(dense, abs=1e-12)


def test_the_same_change_in_other_factors_has_cosine_one() -> None:
    one = adapter(3, {"q": 2})
    turn = torch.tensor([[2.0, 1.0], [0.5, 3.0]])
    module = one.modules["q"]
    other = LoraModule(turn @ module.A, module.B @ torch.linalg.inv(turn), module.scaling * 5)
    assert weights_cosine(one, Adapter({"q": other}, {})) == pytest.approx(1.0, abs=1e-6)


def test_a_skill_that_changes_nothing_is_like_none() -> None:
    none = Adapter({"q": LoraModule(torch.ones(2, 7), torch.zeros(5, 2), 1.0)}, {})
    assert weights_cosine(none, adapter(4, {"q": 2})) == 0.0


def test_prompts_that_cannot_be_told_apart_overlap_and_others_do_not() -> None:
    generator = torch.Generator().manual_seed(0)
    first, again, other = (
        torch.randn(100, 20, generator=generator) + shift for shift in (0.0, 0.0, 3.0)
    )
    overlap = prompts_overlap(first, again)
    assert overlap is not None
    assert overlap > 0.7
    apart = prompts_overlap(first, other)
    assert apart is not None
    assert apart < 0.1
    assert prompts_overlap(first, again[: FEWEST - 1]) is None


def test_the_skills_that_ship_are_not_alike() -> None:
    library, base = Library.shipped(), load_base("pocket", device="cpu")
    gate = read_gate(library, base)
    adapters = {name: skill.adapter() for name, skill in library.skills.items()}
    rows = {n: gate.scaled_features(skill.memory()) for n, skill in library.skills.items()}
    for first, second in itertools.permutations(adapters, 2):
        found = find_similar(
            [rows[first]], adapters[first], {second: rows[second]}, {second: adapters[second]}
        )
        assert found == []


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Library.shipped().copy_to(tmp_path_factory.mktemp("similar") / "library").path


def prompts_of(name: str, count: int, path: Path) -> Path:
    rows = TASKS[name].examples("train", count, 7)
    path.write_text("".join(json.dumps({"prompt": row.prompt}) + "\n" for row in rows), "utf-8")
    return path


@pytest.mark.slow
def test_adding_a_skill_again_under_another_name_says_so(
    library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = prompts_of("math", 80, tmp_path / "math.jsonl")
    result = add(
        library / "skills" / "math", name="sums", examples=examples, library=library, device="cpu"
    )
    [found] = result["similar"]
    assert found["skill"] == "math"
    assert found["weights"] == pytest.approx(1.0)
    assert found["prompts"] > 0.7
    render.add(result)
    assert "sums is much like math" in capsys.readouterr().out
    remove("sums", library=library, device="cpu")


@pytest.mark.slow
def test_prompts_of_another_skill_leave_it_to_the_weights(library: Path, tmp_path: Path) -> None:
    examples = prompts_of("math", 6, tmp_path / "math.jsonl")
    result = add(
        library / "skills" / "qa", name="other", examples=examples, library=library, device="cpu"
    )
    [like] = result["similar"]
    assert like["skill"] == "qa"
    assert like["weights"] == pytest.approx(1.0)
    assert like["prompts"] < PROMPTS  # of what the gate made of the six


@pytest.mark.slow
def test_a_skill_trained_with_another_seed_on_other_rows_is_found(tmp_path: Path) -> None:
    from loramix.demo.settings import DemoSettings
    from loramix.train import SkillJob, train_skills

    library, base = Library.shipped(), load_base("pocket", device="cpu")
    rows = TASKS["sentiment"].examples("train", 200, 5)
    settings = DemoSettings()
    config = settings.train.model_copy(update={"seed": 5})
    job = SkillJob("sentiment", rows, lora=settings.lora)
    again = train_skills(base, [job], config, tmp_path)["sentiment"].adapter
    cosines = {name: weights_cosine(again, s.adapter()) for name, s in library.skills.items()}
    assert cosines.pop("sentiment") > 0.1
    assert max(cosines.values()) < 0.05
