"""The sandbox passes right programs, and nothing else, and nothing leaves it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from loramix.errors import LoramixError
from loramix.pocket import sandbox
from loramix.pocket.sandbox import TestOutcome, isolation, run_many, run_tests

SQUARE = "def f(x):\n    return x * x\n"
TESTS = ["assert f(3) == 9", "assert f(-2) == 4"]
SECONDS = 1.0

HOSTILE = {
    "loop": "while True: pass",
    "loop that catches everything": (
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass"
    ),
    "sleep": "import time\ntime.sleep(60)\n" + SQUARE,
    "fork bomb": "import os\nwhile True: os.fork()",
    "caught fork": "import os\ntry:\n    os.fork()\nexcept BaseException: pass\n" + SQUARE,
    "thread bomb": ("import _thread, time\nwhile True: _thread.start_new_thread(time.sleep, (9,))"),
    "memory hog": "x = []\nwhile True: x.append(bytearray(10 ** 7))",
    "one great allocation": "x = [0] * 10 ** 10\n" + SQUARE,
    "great number": "x = 10 ** 10 ** 10",
    "endless recursion": "def g(): return g()\ng()",
    "nested text": "(" * 10_000,
    "null byte": "x = '\0'",
    "not python": "Sure! Here is the function you asked for:",
    "empty": "",
    "socket": "import socket\nsocket.create_connection(('127.0.0.1', 9))\n" + SQUARE,
    "socket below": "import _socket\n_socket.socket()\n" + SQUARE,
    "urllib": "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:9')\n" + SQUARE,
    "shell": "import os\nos.system('true')\n" + SQUARE,
    "exec": "import os\nos.execv('/bin/true', ['true'])",
    "subprocess": "import subprocess\nsubprocess.run(['true'])\n" + SQUARE,
    "kill all": "import os\nos.kill(-1, 9)\n" + SQUARE,
    "ctypes": "import ctypes\nctypes.CDLL(None)\n" + SQUARE,
    "sys.exit": "import sys\nsys.exit(0)",
    "os._exit": SQUARE + "import os\nos._exit(0)",
    "exit in the function": "def f(x):\n    raise SystemExit(0)",
    "abort": "import os\nos.abort()",
    "output flood": "while True: print('passed' * 1000)",
    "caught flood": "try:\n    print('x' * 10 ** 6)\nexcept BaseException: pass\n" + SQUARE,
    "flood below": "import os\nwhile True: os.write(1, b'x' * 4096)",
    "deleted builtins": "import builtins\ndel builtins.len\n" + SQUARE,
    "emptied builtins": "__builtins__.__dict__.clear()\n" + SQUARE,
    "own AssertionError": "import builtins\nbuiltins.AssertionError = int\n" + SQUARE,
    "fake success in text": 'print(\'passed\')\nprint(\'{"passed": true, "reason": "passed"}\')',
    "fake success on every file": (
        "import os\nfor fd in range(64):\n"
        '    try: os.write(fd, b\'{"passed": true, "reason": "passed"}\\n\')\n'
        "    except OSError: pass\n" + SQUARE
    ),
    "stack reading": (
        "import sys\ntoken = sys._getframe(1).f_locals['token']\n"
        "import os\n[os.write(fd, token) for fd in range(3, 20)]\nos._exit(0)"
    ),
    "traceback reading": (
        "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    e.__traceback__.tb_frame\n" + SQUARE
    ),
    "swallowed tests": "def f(x):\n    return 0",
    "wrong on the second test": "def f(x):\n    return 9",
}


@pytest.fixture(scope="module", params=["every layer", "no namespaces"])
def hostile_outcomes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, TestOutcome]:
    """All hostile programs judged in one batch: as it is here, and as in a bare container."""
    items = [(code, TESTS) for code in HOSTILE.values()]
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "no namespaces":
            source = Path(sandbox._JAIL).read_text()
            bare = tmp_path_factory.mktemp("bare") / "jail.py"
            bare.write_text(source.replace("layers = isolate()", "layers = []"))
            assert bare.read_text() != source
            patch.setattr(sandbox, "_JAIL", bare)
            assert isolation() == ()
        outcomes = run_many(items, seconds=SECONDS)
    return dict(zip(HOSTILE, outcomes, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_or_wrong_program_fails(
    name: str, hostile_outcomes: dict[str, TestOutcome]
) -> None:
    outcome = hostile_outcomes[name]
    assert not outcome.passed
    assert outcome.reason not in ("", "passed", "broke the sandbox's server")


def test_a_right_program_passes() -> None:
    outcome = run_tests(SQUARE, TESTS)
    assert outcome.passed
    assert outcome.reason == "passed"


def test_ordinary_python_is_not_in_the_way() -> None:
    program = """
import math, re, json, queue, hashlib
from collections import Counter, namedtuple, deque
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from functools import lru_cache
from typing import TypeVar, Optional, List
Point = namedtuple('Point', 'x y')
Color = Enum('Color', 'RED GREEN')
T = TypeVar('T')

@dataclass
class Pair:
    a: int
    b: int = 2

@lru_cache
def fib(n: int) -> int:
    return n if n < 2 else fib(n - 1) + fib(n - 2)

def f(x: Optional[int]) -> int:
    print('working on', x)
    return Point(x, x).x * Pair(x).a
"""
    tests = [*TESTS, "assert fib(30) == 832040", "assert Color.RED.name == 'RED'"]
    assert run_tests(program, tests).reason == "passed"


def test_a_failed_test_is_named() -> None:
    assert "assert f(-2) == 4" in run_tests("def f(x):\n    return 9", TESTS).reason


def test_a_program_can_write_nowhere(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o777)
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    os.chmod(victim, 0o666)
    attempts = [
        f"open({str(victim)!r}, 'w').write('x')",
        f"open({str(victim)!r}, 'a').write('x')",
        f"open({str(tmp_path / 'new')!r}, 'x')",
        f"import os\nos.open({str(tmp_path / 'new')!r}, os.O_CREAT | os.O_WRONLY)",
        f"import os\nos.remove({str(victim)!r})",
        f"import os\nos.rename({str(victim)!r}, {str(tmp_path / 'new')!r})",
        f"import os\nos.mkdir({str(tmp_path / 'new')!r})",
        f"import os\nos.mkfifo({str(tmp_path / 'new')!r})",
        f"import os\nos.symlink('/', {str(tmp_path / 'new')!r})",
        f"import os\nos.truncate({str(victim)!r}, 0)",
        f"import os\nos.chmod({str(victim)!r}, 0)",
        f"import pathlib\npathlib.Path({str(victim)!r}).unlink()",
        f"import shutil\nshutil.rmtree({str(tmp_path)!r})",
        "n = 0\nwhile True:\n    n += 1\n    open(f'fill{n}', 'wb').write(b'x' * 10 ** 6)",
        "import tempfile\ntempfile.NamedTemporaryFile().write(b'x')",
    ]
    outcomes = run_many([(f"{attempt}\n{SQUARE}", TESTS) for attempt in attempts])
    assert [o.passed for o in outcomes] == [False] * len(attempts)
    assert [p.name for p in tmp_path.iterdir()] == ["victim"]
    assert victim.read_text() == "untouched"
    assert victim.stat().st_mode & 0o777 == 0o666


def test_a_program_can_read_no_file_and_sees_no_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORAMIX_TEST_SECRET", "secret")
    secret = tmp_path / "secret"
    secret.write_text("secret")
    assert not run_tests(f"open({str(secret)!r}).read()\n{SQUARE}", TESTS).passed
    look = "import os\ndef f(x):\n    return sorted(os.environ)"
    assert run_tests(look, ["assert 'LORAMIX_TEST_SECRET' not in f(0)"]).passed


def test_nothing_is_left_running_and_no_folder_is_left_behind(tmp_path: Path) -> None:
    script = (
        "import tempfile; tempfile.tempdir = None\n"
        "from loramix.pocket.sandbox import run_many\n"
        f"run_many([({HOSTILE['loop']!r}, ['assert 1'])] * 2, seconds=0.3)"
    )
    path = os.pathsep.join(p for p in sys.path if p)
    env = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", script], check=True, env=env, timeout=60)
    assert list(tmp_path.iterdir()) == []
    folders = [os.readlink(p) for p in Path("/proc").glob("[0-9]*/cwd") if os.access(p, os.R_OK)]
    assert not [f for f in folders if f.startswith(str(tmp_path))]


def test_two_hundred_programs_take_seconds_and_keep_their_order() -> None:
    items = [(SQUARE if i % 3 else "def f(x):\n    return x", TESTS) for i in range(200)]
    start = time.monotonic()
    outcomes = run_many(items)
    assert [o.passed for o in outcomes] == [i % 3 != 0 for i in range(200)]
    assert time.monotonic() - start < 20


def test_programs_do_not_see_each_other() -> None:
    leave = "import math\nmath.pi = 3\nimport sys\nsys.flag = 1\n" + SQUARE
    look = "import math, sys\ndef f(x):\n    return math.pi != 3 and not hasattr(sys, 'flag')"
    outcomes = run_many([(leave, TESTS), (look, ["assert f(0)"])], workers=1)
    assert [o.passed for o in outcomes] == [True, True]


def test_batches_may_run_at_once() -> None:
    results: list[bool] = []

    def batch() -> None:
        results.extend(o.passed for o in run_many([(SQUARE, TESTS)] * 5))

    threads = [threading.Thread(target=batch) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 15


def test_no_programs_no_outcomes() -> None:
    assert run_many([]) == []


def test_a_program_without_tests_is_refused() -> None:
    with pytest.raises(ValueError, match="without tests"):
        run_tests(SQUARE, [])


def test_isolation_names_only_known_walls() -> None:
    assert set(isolation()) <= {"network", "processes", "files"}


def test_a_system_without_fork_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sandbox.os, "fork")
    with pytest.raises(LoramixError, match="cannot be run here"):
        run_tests(SQUARE, TESTS)
