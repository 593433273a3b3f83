"""Replayed steps are the steps: what a recording reads anew, what it must not outlive.

A tape of torch's operations stands in for a CUDA graph where there is no GPU: replayed, it runs the
same operations on the same tensors, and none of the Python between them.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from engine_oracle import MIXES, PROMPTS, TOKENS, World, ask, expected, loud_adapter
from loramix.engine import Engine, recorded
from loramix.engine.recorded import Recorder
from loramix.mixed import MixedModel
from tiny_base import make_base


class Tape(TorchDispatchMode):
    """Notes operations, and runs them again."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, out))
        return out

    def play(self, wanted: Tensor) -> Tensor:
        made: dict[int, Any] = {}

        def now(part: Any) -> Any:
            return made.get(id(part), part) if isinstance(part, Tensor) else part

        for func, args, kwargs, out in self.calls:
            again = func(*tree_map(now, args), **tree_map(now, kwargs))
            pairs = (
                zip(out, again, strict=True) if isinstance(out, tuple | list) else [(out, again)]
            )
            made.update({id(a): b for a, b in pairs if isinstance(a, Tensor)})
        found = made[id(wanted)]
        assert isinstance(found, Tensor)
        return found


def taped(run: Callable[[], Tensor], device: torch.device) -> Callable[[], Tensor]:
    run()  # what a first run leaves behind must not be part of it
    with Tape() as tape:
        logits = run()
    return lambda: tape.play(logits)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is recorded, at once, and in small parts."""
    monkeypatch.setattr(recorded, "_SETTLED", 1)
    monkeypatch.setattr(recorded, "_ENDS", 16)
    monkeypatch.setattr(recorded, "record", taped)
    monkeypatch.setattr(Recorder, "why_not", staticmethod(lambda device: None))


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def recorder(engine: Engine) -> Recorder:
    found = engine._steps._runner._recorder
    assert found is not None
    return found


def answers(engine: Engine, asked: list[tuple[str, str]]) -> list[list[int]]:
    handles = [engine.submit(ask(prompt, mix)) for prompt, mix in asked]
    return [list(handle.result()[0].token_ids) for handle in handles]


@pytest.mark.parametrize("seed", range(4))
def test_rows_that_come_and_go_are_written_as_alone(world: World, seed: int) -> None:
    draw = random.Random(seed)
    engine = world.engine(max_rows=3)
    for _ in range(4):
        asked = [(draw.choice(PROMPTS), draw.choice(MIXES)) for _ in range(draw.randint(1, 6))]
        assert answers(engine, asked) == [world.expected(*pair) for pair in asked]
    assert recorder(engine).replayed > TOKENS


def test_a_recording_serves_whoever_comes_and_has_their_weights(world: World) -> None:
    engine = world.engine(prefix_bytes=0)
    stays = engine.submit(ask(PROMPTS[2], "one=0.3,two=0.3", tokens=90))  # the slots stay, too
    blends = ["one=0.9,two=0.1", "one=0.1,two=0.9", "one=0.9,two=0.1", "one=0.5,two=2", "base"]
    replayed = []
    for mix in blends:
        assert answers(engine, [(PROMPTS[0], mix)]) == [world.expected(PROMPTS[0], mix)]
        replayed.append(recorder(engine).replayed)
    assert replayed == sorted(set(replayed))
    assert not stays.done
    whole = expected(world.base, PROMPTS[2], 90, world.mixed, "one=0.3,two=0.3")
    assert list(stays.result()[0].token_ids) == whole


def test_skills_of_other_rows_are_recorded_apart(world: World) -> None:
    engine = world.engine(prefix_bytes=0)
    stays = engine.submit(ask(PROMPTS[2], "base", tokens=90))
    for mix in ("one", "two", "one", "one=0.5", "two=0.5", "base", "two"):
        assert answers(engine, [(PROMPTS[0], mix)]) == [world.expected(PROMPTS[0], mix)]
    assert not stays.done


def test_recordings_do_not_outlive_what_they_read(world: World) -> None:
    engine = world.engine(prefix_bytes=0)
    wanted = world.expected(PROMPTS[0], "base")
    assert answers(engine, [(PROMPTS[0], "base")]) == [wanted]
    many = [(prompt, "base") for prompt in PROMPTS * 3]  # the slots become others
    assert answers(engine, many) == [world.expected(*pair) for pair in many]
    for part in world.base.model.parameters():
        part.data = part.data.clone()
    assert answers(engine, [(PROMPTS[0], "base")]) == [wanted]
    kept = recorder(engine).replayed
    assert answers(engine, [(PROMPTS[0], "base")] * 2) == [wanted] * 2
    assert recorder(engine).replayed > kept


@pytest.mark.parametrize("how", ["it fails", "it is wrong", "it has no numbers"])
def test_a_recording_that_is_no_good_is_given_up(
    how: str, world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(run: Callable[[], Tensor], device: torch.device) -> Callable[[], Tensor]:
        if how == "it fails":
            raise RuntimeError("operation not permitted when stream is capturing")
        wrong = torch.nan if how == "it has no numbers" else 1.0
        return lambda: run() + wrong * torch.arange(run().shape[-1])

    monkeypatch.setattr(recorded, "record", broken)
    engine = world.engine()
    asked = [(PROMPTS[0], "one"), (PROMPTS[1], "base")]
    assert answers(engine, asked) == [world.expected(*pair) for pair in asked]
    assert recorder(engine).replayed == 0
    assert caplog.text.count("steps are run one launch after the other") == 1


def test_a_skill_in_training_is_never_recorded() -> None:
    base = make_base()
    mixed = MixedModel(base.model)
    mixed.add("one", loud_adapter(base, 1), trainable=True)
    engine = Engine(base, mixed)
    for _ in range(3):
        wanted = expected(base, PROMPTS[0], TOKENS, mixed, "one")
        assert answers(engine, [(PROMPTS[0], "one")]) == [wanted]
        with torch.no_grad():
            for part in mixed.parameters_of("one"):
                part.mul_(-1.5)
    assert recorder(engine).replayed == 0


def test_few_recordings_are_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "_MOST", 2)
    engine = world.engine(prefix_bytes=0)
    for mix in ("base", "one", "two", "one,two"):
        assert answers(engine, [(PROMPTS[0], mix)]) == [world.expected(PROMPTS[0], mix)]
        assert len(recorder(engine)._kept) <= 2


def test_a_cpu_says_why_nothing_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert "CUDA alone" in str(Recorder.why_not(torch.device("cpu")))
    assert Recorder.why_not(torch.device("cuda")) is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: CUDA graphs are its own")
def test_a_gpu_replays_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    world = World()
    asked = [(prompt, mix) for prompt in PROMPTS for mix in MIXES]
    wanted = [world.expected(*pair) for pair in asked]
    world.base.model.to("cuda")
    world.base.device = torch.device("cuda")
    world.mixed.to("cuda")
    monkeypatch.setattr(recorded, "_SETTLED", 1)
    engine = world.engine(max_rows=3)
    assert answers(engine, asked) == wanted
    assert recorder(engine).replayed > TOKENS
