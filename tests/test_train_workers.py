"""A run that is shared out among processes: the same skills, and no process left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from conftest import ROOT
from loramix.base import load_base
from loramix.data import Example
from loramix.errors import Interrupted, UsageError
from loramix.train import BlendJob, SkillJob, TrainProgress, shares, train_skills, with_mixes
from loramix.train.room import peak_rss_mb
from loramix.train.shares import Share, share_out
from test_train import LORA, difference, examples, jobs, settings
from tiny_base import make_base, save_base

LONG = 100_000
"""More steps than any test has time for."""


def workers_of(process: int) -> list[psutil.Process]:
    """The workers that a process has started."""
    found = []
    for child in psutil.Process(process).children():
        with contextlib.suppress(psutil.NoSuchProcess):  # also one that has just ended
            if "loramix.train.worker" in " ".join(child.cmdline()):
                found.append(child)
    return found


def wait_until(ready: object, seconds: float = 300) -> None:
    """Waits until `ready()`, which must happen in time."""
    deadline = time.monotonic() + seconds
    while not ready():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_skills_of_several_processes_are_what_they_are_of_one(tmp_path: Path) -> None:
    save_base(tmp_path / "base")
    base = load_base(str(tmp_path / "base"), device="cpu")
    threads = torch.get_num_threads()
    told: list[TrainProgress] = []
    config = settings(epochs=2, max_steps=None)
    one = train_skills(base, jobs(), config, tmp_path / "1")
    two = train_skills(
        base, jobs(), settings(epochs=2, max_steps=None, workers=2), tmp_path / "2",
        progress=told.append,
    )  # fmt: skip
    assert list(two) == list(one)
    for name, result in two.items():
        assert result.steps == one[name].steps
        assert result.losses == pytest.approx(one[name].losses, rel=1e-4)
        assert result.tokens == one[name].tokens
        assert difference(result.adapter, one[name].adapter) < 1e-4
        # that of both, added up: a worker's own pages come to this one's most, whatever it was
        assert result.peak_rss_mb > peak_rss_mb() + 100
    assert {path.name for path in (tmp_path / "2").glob("part-*")} == {"part-1", "part-2"}
    assert told[-1].step <= told[-1].total == sum(result.steps for result in one.values())
    assert set(told[-1].losses) == {"short", "long"}
    assert torch.get_num_threads() == threads
    assert not workers_of(os.getpid())

    told.clear()
    again = train_skills(
        base, jobs(), settings(epochs=2, max_steps=None, workers=2), tmp_path / "2",
        progress=told.append,
    )  # fmt: skip
    assert not told
    assert again["long"].losses == two["long"].losses


def test_several_processes_are_refused_where_there_can_be_one_only(tmp_path: Path) -> None:
    save_base(tmp_path / "base")
    base = load_base(str(tmp_path / "base"), device="cpu")
    two = settings(workers=2)
    blend = BlendJob("both", with_mixes(examples(4), {"short": 0.5, "long": 0.5}))
    for attempt in (
        lambda: train_skills(base, jobs(), two, tmp_path / "out", blends=[blend]),
        lambda: train_skills(base, jobs(), two, tmp_path / "out", together=False),
        lambda: train_skills(make_base(), jobs(), two, tmp_path / "out"),
    ):
        with pytest.raises(UsageError, match="workers: 2"):
            attempt()
    assert not (tmp_path / "out").exists()


def test_as_many_processes_as_the_machine_has_room_for_share_a_long_run_and_the_next_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_base(tmp_path / "base")
    base = load_base(str(tmp_path / "base"), device="cpu")
    config = settings(epochs=3000, max_steps=None, workers="auto")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)

    def shared(free: int, **more: Any) -> list[list[str]]:
        monkeypatch.setattr(shares, "free_bytes", lambda device: free)
        whole = Share(more.pop("jobs", jobs()), more.pop("blends", ()))
        some = share_out(base, whole, more.pop("config", config), **more)
        assert [blend for share in some for blend in share.blends] == list(whole.blends)
        return [share.names for share in some]

    assert shared(4 << 30) == [["short"], ["long"]]
    assert shared((2 << 30) - 1) == shared(3 << 30) == [["short", "long"]]
    assert shared(4 << 30, before=[["short", "long"]]) == [["short", "long"]]
    assert shared(0, before=[["long"], ["short"]]) == [["long"], ["short"]]
    assert shared(4 << 30, before=[["long"], ["other"]]) == [["short"], ["long"]]
    assert shared(4 << 30, config=settings(workers="auto")) == [["short", "long"]]  # a short run
    unsent = [SkillJob("a", Unpicklable(examples(4)), (), LORA), *jobs()]
    assert shared(4 << 30, jobs=unsent) == [["a", "short", "long"]]
    # blends tie their skills together, and what is long counts in tokens
    three = [SkillJob(name, examples(n), (), LORA) for name, n in (("a", 8), ("b", 8), ("c", 20))]
    ends = BlendJob("ends", with_mixes(examples(4), {"a": 0.5, "c": 0.5}))
    assert shared(4 << 30, jobs=three) == [["c"], ["a", "b"]]
    assert shared(4 << 30, jobs=three, blends=[ends]) == [["a", "c"], ["b"]]
    loose = [["a", "b"], ["c"]]  # of a run without that blend
    assert shared(4 << 30, jobs=three, blends=[ends], before=loose) == [["a", "c"], ["b"]]
    monkeypatch.setattr(sys, "executable", "")
    assert shared(4 << 30) == [["short", "long"]]


class Unpicklable(list[Example]):
    def __reduce__(self) -> Any:
        raise TypeError("not for others")


@pytest.mark.slow
def test_skills_that_blend_are_trained_in_one_process_beside_others_and_come_out_the_same(
    tmp_path: Path,
) -> None:
    save_base(tmp_path / "base")
    base = load_base(str(tmp_path / "base"), device="cpu")
    names = ("a", "b", "c", "d")
    many = [SkillJob(name, examples(12 + i), (), LORA) for i, name in enumerate(names)]
    still = train_skills(
        base, [SkillJob("still", examples(8), (), LORA)], settings(), tmp_path / "still"
    )
    frozen = {"still": still["still"].adapter}
    blends = [
        BlendJob("both", with_mixes(examples(8), {"a": 0.5, "b": 0.5})),
        BlendJob("leant_on", with_mixes(examples(8), {"d": 0.5, "still": 0.5})),
    ]
    found = [
        train_skills(
            base,
            many,
            settings(max_steps=20, patience=0, workers=count),
            tmp_path / str(count),
            blends=blends,
            frozen=frozen,
        )
        for count in (1, 2)
    ]
    assert len(list((tmp_path / "2").glob("part-*"))) == 2
    for name in names:
        one, two = (results[name] for results in found)
        assert two.losses == pytest.approx(one.losses, rel=1e-4)
        assert difference(two.adapter, one.adapter) < 1e-4


@pytest.mark.slow
def test_what_a_killed_worker_leaves_is_trained_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_base(tmp_path / "base")
    base = load_base(str(tmp_path / "base"), device="cpu")
    many = [SkillJob(name, examples(20), examples(4), LORA) for name in ("a", "b")]
    config = settings(max_steps=400, patience=0)
    whole = train_skills(base, many, config, tmp_path / "1")

    steps: list[int] = []

    def kill(progress: TrainProgress) -> None:
        steps.append(progress.step)
        assert progress.total == 800
        for worker in workers_of(os.getpid()):
            worker.kill()

    found = train_skills(
        base, many, config.model_copy(update={"workers": 2}), tmp_path / "2", progress=kill
    )
    assert "The process that trains b has failed (exit code -9" in caplog.text
    assert steps == sorted(steps)
    assert steps[-1] == 800, steps
    for name, result in found.items():
        assert result.losses == pytest.approx(whole[name].losses, rel=1e-4)


@pytest.mark.slow
def test_stopped_workers_keep_their_checkpoints_and_go_on_from_them(tmp_path: Path) -> None:
    save_base(tmp_path / "base")
    base = load_base(str(tmp_path / "base"), device="cpu")
    many = [SkillJob(name, examples(20), (), LORA) for name in ("a", "b")]
    config = settings(max_steps=LONG, workers=2)
    parts = [tmp_path / "out" / f"part-{i}" for i in (1, 2)]

    def saved() -> bool:
        return all(list(part.glob("checkpoint-*/complete")) for part in parts)

    pressed: list[int] = []

    def stop(progress: TrainProgress) -> None:
        if not pressed and saved() and set(progress.losses) == {"a", "b"}:
            pressed.append(progress.step)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted, match=r"Stopped after step \d+ of 200000"):
        train_skills(base, many, config, tmp_path / "out", progress=stop, save_seconds=0)
    assert not workers_of(os.getpid())
    assert saved()

    reached: list[int] = []

    def look(progress: TrainProgress) -> None:
        reached.append(progress.step)
        if set(progress.losses) == {"a", "b"}:
            raise KeyboardInterrupt

    before = sum(max(int(p.name.split("-")[1]) for p in q.glob("checkpoint-*")) for q in parts)
    with pytest.raises(Interrupted, match="at once"):
        train_skills(base, many, config, tmp_path / "out", progress=look)
    assert reached[-1] >= before
    assert not workers_of(os.getpid())


SCRIPT = """
import sys
sys.path[:0] = [{src!r}, {tests!r}]
from loramix.base import load_base
from loramix.train import SkillJob, train_skills
from test_train import LORA, examples, settings
jobs = [SkillJob(name, examples(20), (), LORA) for name in ("a", "b")]
config = settings(max_steps={steps}, workers=2)
train_skills(load_base({base!r}), jobs, config, {out!r})
"""


@pytest.mark.slow
def test_workers_of_a_killed_process_end_and_the_next_run_goes_on(tmp_path: Path) -> None:
    save_base(tmp_path / "base")
    script = SCRIPT.format(
        src=str(ROOT / "src"),
        tests=str(ROOT / "tests"),
        steps=LONG,
        base=str(tmp_path / "base"),
        out=str(tmp_path / "out"),
    )
    process = subprocess.Popen([sys.executable, "-c", script])
    part = tmp_path / "out" / "part-2"
    try:
        wait_until(lambda: (part / "run.json").exists())
        time.sleep(2)  # some steps, long before a checkpoint is due
        [worker] = workers_of(process.pid)
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: not worker.is_running(), 60)
    assert list(part.glob("checkpoint-*/complete"))
