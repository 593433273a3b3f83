"""Real failures while a library is written: `kill -9`, and a disk that is full.

A writer is killed at random instants, and also at each single step that it makes in the library's
folder, and again while a second process is finishing what the first had begun. What is left must
open, hold the old or the new set of skills, and be whole.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

import library_writer
from library_writer import AFTER, BEFORE, NEW, REPLACED, try_to_change
from loramix.errors import StorageError
from loramix.library import Library
from tiny_library import make_adapter, make_library, same_adapter, tree

KILLS = 50

# ── processes to be killed ───────────────────────────────────────────────────────────────────

CONTEXT = multiprocessing.get_context("forkserver")


@pytest.fixture(scope="module")
def _preloaded() -> Iterator[None]:
    """The server that forks the processes loads torch once; it finds modules as we do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        CONTEXT.set_forkserver_preload(["library_writer"])
        assert run(library_writer.is_warm) == 0
        yield


def run(target: Any, *arguments: Any) -> int:
    process = CONTEXT.Process(target=target, args=arguments)
    process.start()
    return finish(process)


def finish(process: BaseProcess) -> int:
    process.join(300)
    assert process.exitcode is not None
    return process.exitcode


# ── what must hold afterwards ────────────────────────────────────────────────────────────────


def state(path: Path) -> str:
    """`old` or `new`; fails if the library is neither, or is not whole."""
    library = Library.open(path)
    library.verify()
    gate = library.gate()
    assert gate is not None
    names = tuple(library.skills)
    assert gate[1]["skills"] == list(names)
    assert names in (BEFORE, AFTER)
    new = names == AFTER
    assert library.generation == (2 if new else 1)
    assert same_adapter(library.skill("math").adapter(), REPLACED if new else make_adapter(0))
    if new:
        assert same_adapter(library.skill("qa").adapter(), NEW)
    assert library.skill("math").card.description == ("does new math" if new else "does math")
    assert {entry.name for entry in (path / "skills").iterdir()} == set(names)
    assert not (path / ".journal.json").exists()
    return "new" if new else "old"


def settle(path: Path) -> None:
    """The next writer cleans up and can work."""
    with Library.open(path).edit(timeout=5.0):
        pass
    assert not list(path.glob(".staging-*"))


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_library(tmp_path_factory.mktemp("kill") / "lib", *BEFORE).path


@pytest.fixture
def path(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "lib"))


def test_without_a_kill_the_change_is_made(path: Path) -> None:
    library_writer.change(path)
    assert state(path) == "new"


@pytest.mark.slow
@pytest.mark.usefixtures("_preloaded")
def test_killed_at_random_instants_the_library_is_old_or_new(
    pristine: Path, tmp_path: Path
) -> None:
    chance = random.Random(0)

    def trial(number: int, delay: float | None) -> tuple[float, int]:
        path = Path(shutil.copytree(pristine, tmp_path / str(number)))
        ready, go = CONTEXT.Event(), CONTEXT.Event()
        process = CONTEXT.Process(target=library_writer.change_when_told, args=(path, ready, go))
        process.start()
        assert ready.wait(300)
        began = time.perf_counter()
        go.set()
        if delay is not None:
            time.sleep(delay)
            process.kill()
        code = finish(process)
        return time.perf_counter() - began, code

    usual = sorted(trial(-n, None)[0] for n in range(1, 4))[1]
    outcomes = {"old": 0, "new": 0}
    killed = trials = 0
    while killed < KILLS and trials < 6 * KILLS:
        trials += 1
        _, code = trial(trials, chance.uniform(0, usual))
        assert code in (0, -signal.SIGKILL)
        killed += code != 0
        outcomes[state(tmp_path / str(trials))] += 1
        settle(tmp_path / str(trials))
        shutil.rmtree(tmp_path / str(trials))
    print(f"{trials} trials, {killed} killed within {usual * 1e3:.0f} ms: {outcomes}")
    assert killed >= KILLS
    assert outcomes["old"] >= 5


@pytest.mark.slow
@pytest.mark.usefixtures("_preloaded")
def test_killed_at_each_step_the_library_is_old_and_then_new(
    pristine: Path, tmp_path: Path
) -> None:
    """And killed once more at each step of finishing what the first kill left."""
    outcomes = []
    recoveries = 0
    for number in range(1, 1000):
        path = Path(shutil.copytree(pristine, tmp_path / "lib"))
        code = run(library_writer.change_and_die, path, number)
        if (path / ".journal.json").exists():
            # Every third step, beginning elsewhere for each first kill: all are met in time.
            for step in range(1 + number % 3, 200, 3):
                again = Path(shutil.copytree(path, tmp_path / "again"))
                died = run(library_writer.reopen_and_die, again, step) != 0
                assert state(again) == "new"
                settle(again)
                shutil.rmtree(again)
                recoveries += died
                if not died:
                    break
        outcomes.append(state(path))
        settle(path)
        shutil.rmtree(path)
        if code == 0:
            break
    print(f"{len(outcomes)} steps, {outcomes.count('old')} old; {recoveries} double kills")
    assert outcomes[-1] == "new"
    assert outcomes == sorted(outcomes, reverse=True)  # one instant parts old from new
    assert outcomes.count("old") > 10
    assert recoveries > 50


# ── disk full ────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The kernel fails every write past `size` bytes of a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_fails_anywhere_leaves_the_old_library(path: Path) -> None:
    before = tree(path)
    failures = 0
    for size in (0, 50, 300, 600, 1000, 1500, 2500, 1 << 20):
        with largest_file(size):
            error = try_to_change(path)
        if error is not None:
            failures += 1
            assert error.hint
            assert tree(path) == before
            assert not list(path.glob(".staging-*"))
    assert failures >= 5
    assert state(path) == "new"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 KB, where we may make one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs is not allowed here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_leaves_the_old_library(small_disk: Path, pristine: Path) -> None:
    page = 4096
    path = Path(shutil.copytree(pristine, small_disk / "lib"))
    before = tree(path)
    filler = small_disk / "filler"
    free = shutil.disk_usage(small_disk).free
    failures = 0
    for spare in range(0, 100 * page, page):
        filler.write_bytes(b"x" * (free - spare))
        error = try_to_change(path)
        if error is None:
            break
        failures += 1
        assert "full" in str(error) or "No space" in str(error)
        assert tree(path) == before
        assert not list(path.glob(".staging-*"))
        Library.open(path).verify()
    assert failures > 5
    assert state(path) == "new"


def test_on_a_full_disk_nothing_is_made_and_all_can_be_read(
    small_disk: Path, pristine: Path
) -> None:
    source = Library.open(pristine)
    copy = source.copy_to(small_disk / "copy")
    (small_disk / "filler").write_bytes(b"x" * shutil.disk_usage(small_disk).free)
    Library.open(copy.path).verify()
    with pytest.raises(StorageError, match="full"):
        source.copy_to(small_disk / "second")
    with pytest.raises(StorageError, match="full"):
        Library.create(small_disk / "third", "b", "f")
    assert not (small_disk / "second" / "library.json").exists()
    (small_disk / "filler").unlink()
    source.copy_to(small_disk / "second").verify()
