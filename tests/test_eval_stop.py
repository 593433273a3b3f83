"""`loramix eval` in processes of its own that are killed, or stopped with Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from loramix.base import pocket_path

pytestmark = pytest.mark.skipif(
    not (pocket_path() / "config.json").exists(), reason="the pocket base is not built"
)
ROWS = 6 * 60


def command(cache: Path | None, *more: str) -> list[str]:
    kept = ["--no-cache"] if cache is None else ["--cache", str(cache)]
    return [
        sys.executable, "-m", "loramix", "eval", "--tasks", "math", "--systems", "base,skills",
        "--limit", "60", "--batch-size", "4", "--json", *kept, *more,
    ]  # fmt: skip


def start(cache: Path | None, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(cache, *more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a test run in the background of a script inherits that Ctrl-C is ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for_answers(running: subprocess.Popen[str], cache: Path, count: int) -> None:
    held = 0
    while held < count:
        assert running.poll() is None, "it ended before it could be stopped"
        time.sleep(0.05)
        if cache.exists():
            connection = sqlite3.connect(f"file:{cache}?mode=ro", uri=True)
            try:
                held = connection.execute("SELECT count(*) FROM answers").fetchone()[0]
            except sqlite3.OperationalError:
                held = 0
            finally:
                connection.close()


def processor_seconds(pid: int) -> float:
    """Of a process so far; the clock says little on a machine with other jobs."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def interrupt(running: subprocess.Popen[str]) -> tuple[str, float]:
    """Ctrl-C; what it says on stderr, and the processor seconds until it ends."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = processor_seconds(running.pid)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=120)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (running.returncode, out) == (130, ""), err[-2000:]
    assert "Traceback" not in err
    own = after.ru_utime + after.ru_stime - ended.ru_utime - ended.ru_stime
    return err, own - spent


def goes_on(cache: Path) -> dict[str, Any]:
    done = subprocess.run(command(cache), capture_output=True, text=True, check=True)
    answers: dict[str, Any] = json.loads(done.stdout)["answers"]
    assert answers["broken"] == 0
    assert answers["cached"] + answers["computed"] == ROWS
    return answers


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")


@linux
@pytest.mark.slow
def test_ctrl_c_ends_it_soon_says_what_is_kept_and_the_next_run_goes_on(tmp_path: Path) -> None:
    cache = tmp_path / "answers"
    running = start(cache)
    wait_for_answers(running, cache, 20)
    told, seconds = interrupt(running)
    assert seconds < 10  # most of it is the end of a process that has loaded PyTorch
    kept = re.search(r"Stopped; the (\d+) answers that were written are kept in (.+)", told)
    assert kept, told
    assert kept[2] == str(cache)
    assert "run the same command again" in told
    assert goes_on(cache)["cached"] == int(kept[1]) >= 20


@pytest.mark.slow
@linux
def test_ctrl_c_before_the_first_answer_says_that_there_is_none(tmp_path: Path) -> None:
    running = start(tmp_path / "answers")
    assert running.stderr is not None
    assert "load the base" in running.stderr.readline()
    told, seconds = interrupt(running)
    assert seconds < 4  # a library that is being loaded cannot be left in the middle
    assert "Stopped before a new answer was written" in told


@linux
@pytest.mark.slow
def test_ctrl_c_without_a_cache_says_that_nothing_is_kept() -> None:
    running = start(None, "--limit", "2000")
    assert running.stderr is not None
    for line in running.stderr:
        if "answers" in line:
            break
    told, _ = interrupt(running)
    assert re.search(r"the \d+ answers that were written are not kept", told), told


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on(tmp_path: Path) -> None:
    cache = tmp_path / "answers"
    killed = start(cache)
    wait_for_answers(killed, cache, 40)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert goes_on(cache)["cached"] >= 40
