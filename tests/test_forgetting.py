"""Nothing is forgotten, and N adapters take less room than N models."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from loramix.adapter import LoraSettings, init_adapter
from loramix.base import load_base
from loramix.config import TrainConfig
from loramix.data import Example
from loramix.errors import ResourceError, StorageError, UsageError
from loramix.evaluate.forgetting import measure_forgetting
from loramix.evaluate.storage import measure_storage
from loramix.train import SkillJob, train_skills
from tiny_base import make_base, save_base

LORA = LoraSettings(r=8, alpha=32, target_modules="all-linear")
CONFIG = TrainConfig(max_steps=60, lr=0.005, batch_size=8, bf16=False)


class Says:
    """A task whose right answer to everything is one word."""

    max_new_tokens = 3

    def __init__(self, word: str) -> None:
        self.word = word

    def examples(self, split: str, n: int, seed: int = 0) -> list[Example]:
        return [Example(f"cat {'dog ' * (i % 3)}{i}", self.word) for i in range(n)]

    def score_many(self, examples: Sequence[Example], texts: Sequence[str]) -> list[float]:
        return [float(text.strip().startswith(self.word)) for text in texts]


TASKS = {"yes": Says("yes"), "no": Says("no"), "red": Says("red")}
JOBS = [SkillJob(name, task.examples("train", 16), (), LORA) for name, task in TASKS.items()]


@pytest.mark.slow
def test_skills_of_a_library_keep_their_scores_and_one_adapter_loses_the_first_task(
    tmp_path: Path,
) -> None:
    found = measure_forgetting(make_base(), JOBS, TASKS, CONFIG, tmp_path, n=4)
    # the three tasks contradict each other, so that one adapter can only know the last
    assert [stage["yes"] for stage in found.loramix] == [1.0, 1.0, 1.0]
    assert found.loramix[-1] == dict.fromkeys(TASKS, 1.0)
    assert found.moved == 0
    assert found.unchanged
    assert found.one_adapter[0] == {"yes": 1.0}
    assert found.one_adapter[-1] == {"yes": 0.0, "no": 0.0, "red": 1.0}
    assert found.fell == 1.0
    assert json.loads(json.dumps(found.to_dict()))["tasks"] == list(TASKS)


@pytest.mark.slow
def test_skills_that_were_trained_already_are_taken_in_as_they_are(tmp_path: Path) -> None:
    base = make_base()
    done = train_skills(base, JOBS[:2], CONFIG, tmp_path / "before")
    found = measure_forgetting(
        base,
        JOBS[:2],
        TASKS,
        CONFIG,
        tmp_path / "after",
        trained={name: result.adapter for name, result in done.items()},
        n=4,
    )
    assert found.loramix[-1] == {"yes": 1.0, "no": 1.0}


@pytest.mark.slow
def test_where_nothing_came_later_nothing_has_moved_or_fallen(tmp_path: Path) -> None:
    found = measure_forgetting(make_base(), JOBS[:1], TASKS, CONFIG, tmp_path, n=2)
    assert (found.moved, found.fell) == (0.0, 0.0)


def test_a_full_disk_while_models_are_weighed_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = make_base()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(base.model), "save_pretrained", full)
    with pytest.raises(StorageError, match="the disk"):
        measure_storage(base, {"s": init_adapter(base, LoraSettings(r=2))}, tmp_path)


def test_tasks_with_lora_settings_of_their_own_cannot_share_an_adapter(tmp_path: Path) -> None:
    other = SkillJob("no", JOBS[1].train, (), LoraSettings(r=2))
    with pytest.raises(UsageError, match="LoRA settings of its own"):
        measure_forgetting(make_base(), [JOBS[0], other], TASKS, CONFIG, tmp_path)


@pytest.mark.slow
def test_n_adapters_take_less_room_than_n_models_and_the_folder_is_left_empty(
    tmp_path: Path,
) -> None:
    save_base(tmp_path / "base")
    base = load_base(str(tmp_path / "base"))
    adapters = {f"s{seed}": init_adapter(base, LoraSettings(r=2), seed) for seed in range(3)}
    place = tmp_path / "room"
    place.mkdir()
    found = measure_storage(base, adapters, place, loaded=2)
    one = found["disk"]["base"]
    assert found["disk"]["full"] == [one, 2 * one, 3 * one]
    growing = [one, *found["disk"]["adapters"]]
    assert all(more > less for less, more in pairwise(growing))
    assert found["disk"]["adapters"][-1] < found["disk"]["full"][-1]
    assert [len(found["resident"][way]) for way in ("adapters", "full")] == [3, 2]
    assert not list(place.iterdir())


@pytest.mark.slow
def test_a_measuring_process_that_dies_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_base(tmp_path / "base")
    base = load_base(str(tmp_path / "base"))
    real = subprocess.run

    def killed(command: list[str], **options: object) -> object:
        kill = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
        return real([sys.executable, "-c", kill], **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", killed)
    with pytest.raises(ResourceError, match="ended early"):
        measure_storage(base, {"s": init_adapter(base, LoraSettings(r=2))}, tmp_path / "room")
