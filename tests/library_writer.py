"""What the kill tests do to a library in processes of their own.

This module is loaded once, by the server that forks those processes: all that is heavy or lazy is
done at import, so that the time in which a process is killed is the time in which it writes.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from loramix.errors import StorageError
from loramix.library import Library
from tiny_library import make_adapter, make_card, make_library, make_memory, set_gate

BEFORE, AFTER = ("math", "code"), ("math", "qa")
REPLACED, NEW = make_adapter(10), make_adapter(11)
STEPS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "os.listdir"}


def change(path: Path) -> None:
    """Add one skill, replace one, remove one, and set the gate, in one change."""
    with Library.open(path).edit() as txn:
        txn.add("math", REPLACED, make_card("new math"), make_memory(10), replace=True)
        txn.add("qa", NEW, make_card("qa"), make_memory(11))
        txn.remove("code")
        set_gate(txn.set_gate, txn.names)


def try_to_change(path: Path) -> StorageError | None:
    """The change, or the error that it ended with."""
    try:
        change(path)
    except StorageError as err:
        return err
    return None


def reopen(path: Path) -> None:
    """What a reader does: finish a change that is certain."""
    Library.open(path)


def change_when_told(path: Path, ready: Any, go: Any) -> None:
    ready.set()
    go.wait()
    change(path)


def change_and_die(path: Path, number: int) -> None:
    _die_at_step(number, path)
    change(path)


def reopen_and_die(path: Path, number: int) -> None:
    _die_at_step(number, path)
    reopen(path)


def _die_at_step(number: int, path: Path) -> None:
    """From now on, the step of that number in `path` is this process's last."""
    seen = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        # Paths below a folder descriptor (rmtree) are relative, so count all but other places.
        place = str(arguments[0]) if arguments else ""
        if event in STEPS and (not place.startswith("/") or place.startswith(str(path))):
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def is_warm() -> None:
    """Fails unless this process was forked from one that had loaded this module."""
    assert os.getpid() != _LOADED_BY


def _warm_up() -> int:
    """Make one change, so that what is imported lazily is there before the first kill."""
    with tempfile.TemporaryDirectory() as folder:
        change(make_library(Path(folder) / "lib", *BEFORE).path)
    return os.getpid()


_LOADED_BY = _warm_up()
