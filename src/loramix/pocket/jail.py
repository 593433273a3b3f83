"""The server that runs model-written programs; started by sandbox.py, never imported.

It runs as `python -I -S -B jail.py` with an empty environment, reads one JSON line per
program and answers with one. Each program gets a forked child of its own, which is held by
several independent layers:

1. namespaces, where the kernel allows them (Linux, root or unprivileged user namespaces): no
   network, no view of other processes, every file system read-only;
2. limits of the kernel on CPU time, address space, file size (zero: nothing can be written),
   open files and processes (none can be started), and a wall clock kept by this server;
3. an audit hook, which cannot be removed, and ends the child at the first attempt to open a
   file other than the standard library's, to use a socket, to start or signal a process, to
   change the file system, or to reach C through ctypes;
4. as root, the child becomes `nobody`, since root is exempt from the limit on processes.

What it is not: a wall against somebody who studies this file. Tests run in the program's own
process, so a program written to forge a verdict can (an object that equals everything is the
simplest). Where layer 1 is missing, layer 3 is Python's, and a bug in the interpreter opens it.
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import io
import json
import math
import os
import resource
import select
import signal
import sys
import time
import types
from collections.abc import Callable
from typing import Any

MEMORY_BYTES = 256 * 2**20
OPEN_FILES = 24
OUTPUT_CHARS = 64 * 1024
VERDICT_BYTES = 4096
NOBODY = 65534

# Loaded once, before the forks: programs use them at no cost, and as `nobody` they might
# not be able to read the standard library.
PRELOADED = (
    "abc array bisect calendar cmath collections collections.abc contextlib copy dataclasses "
    "datetime decimal enum fractions functools hashlib heapq itertools json math numbers operator "
    "queue random re statistics string textwrap time types typing unicodedata"
)

DENIED_IMPORTS = frozenset(
    {
        "socket", "_socket", "ssl", "_ssl", "ctypes", "_ctypes", "subprocess", "_posixsubprocess",
        "multiprocessing", "_multiprocessing", "mmap", "asyncio", "concurrent", "faulthandler",
        "_testcapi", "_xxsubinterpreters", "_interpreters", "pty",
    }
)  # fmt: skip
DENIED_EVENTS = (
    "socket.", "subprocess.", "ctypes.", "shutil.", "tempfile.", "pty.", "signal.", "fcntl.",
    "ftplib.", "http.", "urllib.", "smtplib.", "telnetlib.", "syslog.", "webbrowser.", "mmap.",
    "gc.", "resource.", "sqlite3.", "cpython.", "_thread.",
    "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.kill", "os.remove",
    "os.rename", "os.rmdir", "os.mkdir", "os.chmod", "os.chown", "os.chflags", "os.link",
    "os.symlink", "os.truncate", "os.chdir", "os.utime", "os.setxattr", "os.removexattr",
    "os.putenv", "os.unsetenv", "os.lockf", "os.startfile", "sys.settrace", "sys.setprofile",
    "sys.addaudithook", "sys._current_frames",
)  # fmt: skip
# Calls of `os` that change something and raise no audit event.
HIDDEN_CALLS = ("mknod", "mkfifo", "sendfile", "copy_file_range", "splice", "memfd_create")


class Sink(io.TextIOBase):
    """Counts what a program prints, keeps nothing, and ends the program that floods."""

    def __init__(self, fail: Callable[[str], None]) -> None:
        self._left = OUTPUT_CHARS
        self._fail = fail

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._left -= len(text)
        if self._left < 0:
            self._fail("printed too much")
        return len(text)


def isolate() -> list[str]:
    """Enter new namespaces where the kernel allows it; returns the layers that hold."""
    libc = ctypes.CDLL(None, use_errno=True)
    new_user, new_net, new_pid = 0x10000000, 0x40000000, 0x20000000
    new_mount, new_ipc = 0x00020000, 0x08000000
    flags = new_net | new_pid | new_mount | new_ipc
    uid, gid = os.geteuid(), os.getegid()
    if uid != 0 or libc.unshare(flags) != 0:
        if libc.unshare(flags | new_user) != 0:
            return []
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{uid} {uid} 1"),
            ("gid_map", f"{gid} {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    layers = ["network", "processes"]
    pid = os.fork()  # the first child is process 1 of the new namespace: the server proper
    if pid:
        os.close(0)
        os.close(1)
        _, status = os.waitpid(pid, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: die with the process that was started
    private_recursive = 0x4000 | (1 << 18)
    read_only = (ctypes.c_uint64 * 4)(1, 0, 0, 0)  # struct mount_attr: set MOUNT_ATTR_RDONLY
    # mount_setattr has one number on every architecture; Linux 5.12 and newer.
    if (
        libc.mount(None, b"/", None, private_recursive, None) == 0
        and libc.syscall(442, -100, b"/", 0x8000, read_only, 32) == 0
    ):
        layers.append("files")
    return layers


def drop_privileges() -> None:
    """Give up what root, or the owner of a user namespace, may do."""
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):  # a container without CAP_SETUID: the rest holds
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
        libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())


def set_limits(seconds: float) -> None:
    cpu = math.ceil(seconds) + 1  # the clock of the parent comes first, and says what happened
    for kind, value in (
        ("RLIMIT_CORE", 0),
        ("RLIMIT_CPU", cpu),
        ("RLIMIT_AS", MEMORY_BYTES),
        ("RLIMIT_FSIZE", 0),
        ("RLIMIT_NOFILE", OPEN_FILES),
        ("RLIMIT_NPROC", 0),
    ):
        number = getattr(resource, kind, None)
        if number is None:
            continue
        # macOS refuses RLIMIT_AS; the wall clock and the other layers hold
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(number, (value, value))


def watch(fail: Callable[[str], None], library: str) -> None:
    """Install the audit hook: `fail(reason)` ends the child at the first forbidden act."""
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    realpath, fspath, fsdecode = os.path.realpath, os.fspath, os.fsdecode
    inside = library + os.sep

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "sys._getframe":
            # namedtuple, TypeVar and Enum ask for their caller and live without an answer
            raise ValueError("call stack is not deep enough")
        if event == "open":
            path, _, flags = args
            if isinstance(flags, int) and flags & writing:
                fail("tried to write a file")
            if isinstance(path, int):
                return
            if not realpath(fsdecode(fspath(path))).startswith(inside):
                raise PermissionError("a program may read no files")
        elif event == "import":
            if str(args[0]).partition(".")[0] in DENIED_IMPORTS:
                fail(f"tried to import {args[0]}")
        elif event == "object.__getattr__":
            if args[1] in ("tb_frame", "gi_frame", "cr_frame"):
                fail("tried to read the call stack")
        elif event.startswith(DENIED_EVENTS):
            fail(f"tried {event}")

    sys.addaudithook(hook)


def run_program(code: str, tests: list[str], seconds: float, out: int, token: bytes) -> None:
    """The child: runs `code`, then `tests` in the same names; never returns.

    `token` is written to `out` if everything passed, a reason otherwise; it is drawn for each
    program, so that no printed or written text can look like a pass.
    """
    write, leave = os.write, os._exit

    def fail(reason: str) -> None:
        write(out, b"failed: " + reason.encode("utf-8", "replace")[:300])
        leave(1)

    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.closerange(3, out)
    os.closerange(out + 1, 1024)
    os.setsid()
    drop_privileges()
    set_limits(seconds)
    for name in ("ctypes", "_ctypes", "resource", "signal", "__main__"):
        sys.modules.pop(name, None)
    for name in HIDDEN_CALLS:
        for module in ("os", "posix"):
            sys.modules[module].__dict__.pop(name, None)
    sys.stdin = io.StringIO()
    sink: Any = Sink(fail)
    sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = sink  # type: ignore[misc]
    sys.argv = ["program"]
    originals = dict(vars(builtins))

    def check_builtins() -> None:
        now = vars(builtins)
        if len(now) != len(originals) or any(now.get(k) is not v for k, v in originals.items()):
            fail("changed the builtins")

    program = types.ModuleType("program")  # a real one: dataclasses look their module up
    sys.modules["program"] = program
    names = vars(program)
    names["__builtins__"] = builtins
    watch(fail, os.path.realpath(os.path.dirname(os.__file__)))
    step = "the program"
    try:
        exec(compile(code, "<program>", "exec"), names)
        for number, test in enumerate(tests, 1):
            step = f"test {number}"
            check_builtins()
            names["__builtins__"] = builtins
            exec(compile(test, f"<test {number}>", "exec"), names)
        step = "the end"
        check_builtins()
    except AssertionError:
        fail(f"{step} failed: {tests[int(step.split()[1]) - 1] if 'test' in step else 'assert'}")
    except MemoryError:
        fail(f"{step}: out of memory")
    except BaseException as error:
        # the text of an exception is the program's own code: only its type is shown
        fail(f"{step}: {type(error).__name__}")
    write(out, token)
    leave(0)


def judge(code: str, tests: list[str], seconds: float) -> tuple[bool, str]:
    """Fork a child for one program and wait for its verdict, at most `seconds`."""
    token = os.urandom(16)
    reader, writer = os.pipe()
    start = time.monotonic()
    pid = os.fork()
    if pid == 0:
        try:
            run_program(code, tests, seconds, writer, token)
        finally:
            os._exit(1)
    os.close(writer)
    verdict, in_time = b"", True
    while len(verdict) <= VERDICT_BYTES:
        left = start + seconds - time.monotonic()
        if left <= 0 or not select.select([reader], [], [], left)[0]:
            in_time = False
            break
        chunk = os.read(reader, VERDICT_BYTES)
        if not chunk:
            break
        verdict += chunk
    os.close(reader)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if verdict == token:
        return True, "passed"
    if not in_time or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
        return False, f"stopped after {seconds:g} s"
    if verdict.startswith(b"failed: "):
        return False, verdict[8:].decode("utf-8", "replace")
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) != signal.SIGKILL:
        return False, f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return False, "ended before the tests did"


def serve() -> None:
    """Answer one line of JSON for each line read, until the input ends."""
    layers: list[str] = []
    if sys.platform == "linux":
        layers = isolate()
    for name in PRELOADED.split():
        __import__(name)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    print(json.dumps({"layers": layers}), file=answers, flush=True)
    for line in sys.stdin:
        item = json.loads(line)
        passed, reason = judge(item["code"], item["tests"], item["seconds"])
        print(json.dumps({"passed": passed, "reason": reason}), file=answers, flush=True)


if __name__ == "__main__":
    serve()
