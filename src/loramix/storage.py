"""Files that are whole or absent: durable writes, a lock that names its holder, disk errors.

Nothing here knows what a library is. Every function that writes raises `StorageError` when the
disk is full or does not let us write, and never leaves a half-written file under its final name.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

from loramix.errors import LibraryBusyError, StorageError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_CHUNK = 1 << 20
_POLL = 0.02


@contextlib.contextmanager
def storage_errors(doing: str, path: Path) -> Iterator[None]:
    """Turn what the operating system, or safetensors, says about a failed write into one error.

    Raises:
        StorageError: the disk is full, is read-only, or failed; `doing` and `path` are named.
    """
    try:
        yield
    except OSError as err:
        if err.errno in _FULL:
            why, hint = "the disk (or quota) is full", "free some space and run it again"
        elif err.errno in _DENIED:
            why, hint = "writing there is not allowed", "choose a folder that you may write to"
        else:
            why, hint = err.strerror or str(err), "check the disk and the path"
        raise StorageError(f"{doing} failed: {why}", given=path, hint=hint) from err
    except Exception as err:
        # safetensors writes from Rust and torch from C++; each reports a full disk in its own way.
        if type(err).__name__ != "SafetensorError" and "PytorchStreamWriter" not in str(err):
            raise
        raise StorageError(
            f"{doing} failed: {err}", given=path, hint="free some space and run it again"
        ) from err


def write_file(path: Path, data: bytes) -> None:
    """Write `data` and force it to the disk. Not atomic: for files in a staging folder."""
    with storage_errors("writing a file", path), path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Force the names in a folder to the disk, so that a rename survives a power cut."""
    with storage_errors("syncing a folder", path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sync_tree(path: Path) -> None:
    """Force every file and folder below `path` to the disk, files first."""
    for folder, _, files in os.walk(path, topdown=False):
        for name in files:
            with storage_errors("syncing a file", path), (Path(folder) / name).open("rb+") as file:
                os.fsync(file.fileno())
        sync_folder(Path(folder))


def sha256(data: bytes) -> str:
    """The SHA-256 of `data` in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, read in pieces. Raises OSError if it cannot be read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def move(source: Path, target: Path) -> None:
    """Rename within one disk; an existing file at `target` is replaced, a folder is not."""
    with storage_errors("renaming", target):
        os.replace(source, target)


def make_folder(path: Path) -> None:
    """Make a folder and its parents; an existing one is fine."""
    with storage_errors("making a folder", path):
        path.mkdir(parents=True, exist_ok=True)


def remove_tree(path: Path) -> None:
    """Delete a folder, a file or a link (never what the link points to); absent is fine."""
    with storage_errors("deleting", path):
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif path.exists():
            shutil.rmtree(path)


class WriterLock:
    """The right to write one folder, held by one process (and one `with`) at a time.

    The lock is the operating system's, so a killed holder frees it at once. Beside it lies a note
    of who holds it, which is only for the message of those who have to wait.
    """

    LOCK = ".lock"
    HOLDER = ".writer.json"

    def __init__(self, folder: Path, timeout: float) -> None:
        self._folder = folder
        self._timeout = timeout
        self._descriptor = -1

    def __enter__(self) -> WriterLock:
        """Raises: LibraryBusyError after `timeout` seconds; StorageError if not allowed to."""
        with storage_errors("locking the library", self._folder):
            # Never deleted: two processes could then hold locks on two files of one name.
            descriptor = os.open(self._folder / self.LOCK, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                self._wait(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
        self._descriptor = descriptor
        note = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "command": " ".join(Path(sys.argv[0]).name.split() + sys.argv[1:])[:200],
            "since": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
        with contextlib.suppress(OSError):  # a full disk must not forbid freeing space
            (self._folder / self.HOLDER).write_text(json.dumps(note), encoding="utf-8")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            (self._folder / self.HOLDER).unlink()
        os.close(self._descriptor)  # which frees the lock

    def _wait(self, descriptor: int) -> None:
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError as err:
                if time.monotonic() >= deadline:
                    raise LibraryBusyError(
                        f"The library {self._folder} is being written",
                        given=self._holder(),
                        hint="wait for it to finish, or stop it, and run this again",
                    ) from err
            time.sleep(_POLL)

    def _holder(self) -> str:
        """Who holds the lock, in words."""
        try:
            note = json.loads((self._folder / self.HOLDER).read_text(encoding="utf-8"))
            return (
                f"held by process {note['pid']} on {note['host']} since {note['since']}"
                f" ({note['command']})"
            )
        except (OSError, ValueError, KeyError, TypeError):
            return "held by a process that has not left its name"
