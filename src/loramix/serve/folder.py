"""Adapters from one folder only: their files are copied before anything looks at them.

A path from a request is walked name by name, each opened inside the one before and never through
a link, so that what is checked is what is read, whatever changes meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from loramix.adapter_files import CONFIG_FILE, WEIGHTS_FILE
from loramix.merge.output import RECORD
from loramix.serve.faults import ApiError
from loramix.storage import storage_errors, write_file
from loramix.transaction import CARD

FILES = (CONFIG_FILE, WEIGHTS_FILE, CARD, RECORD)
"""What is read of an adapter's folder; the last two need not be there."""

MAX_FILE = 4 << 30
MAX_TEXT = 1 << 20
_CHUNK = 1 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextlib.contextmanager
def copied(root: Path, asked: str) -> Iterator[Path]:
    """A copy of the adapter in the folder `asked` of `root`, for the length of a block.

    Raises:
        ApiError: the path leads out of the folder or through a link, or there is no adapter.
        StorageError: the disk is full.
    """
    names = _names(asked)
    with contextlib.ExitStack() as stack:
        try:
            at = stack.enter_context(_opened(str(root), os.O_RDONLY | os.O_DIRECTORY))
            for name in names:
                at = stack.enter_context(_opened(name, _DIRECTORY, at))
        except OSError as error:
            raise _missing(asked, error) from error
        with storage_errors("copying the adapter", Path(tempfile.gettempdir())):
            temporary = stack.enter_context(tempfile.TemporaryDirectory(prefix="loramix-"))
        copy = Path(temporary) / names[-1]
        copy.mkdir()
        for file in FILES:
            try:
                source = stack.enter_context(_opened(file, _FILE, at))
            except FileNotFoundError as error:
                if file in (CONFIG_FILE, WEIGHTS_FILE):
                    raise _missing(f"{asked}/{file}", error) from error
                continue
            except OSError as error:
                raise _missing(f"{asked}/{file}", error) from error
            _copy(source, copy / file, f"{asked}/{file}")
        yield copy


def _names(asked: str) -> list[str]:
    """The parts of a path; raises ApiError for one that is not plainly inside."""
    names = asked.rstrip("/").split("/")
    if asked.startswith("/") or any(name in ("", ".", "..") for name in names):
        raise ApiError(
            400,
            "invalid_path",
            "The path of an adapter is relative to the server's folder of adapters, and has no "
            "'..' in it.",
            param="lora_path",
        )
    if any(not name.isprintable() or "\\" in name or name.startswith(".") for name in names):
        raise ApiError(
            400, "invalid_path", "The path holds a name that is not plain.", param="lora_path"
        )
    return names


@contextlib.contextmanager
def _opened(name: str, flags: int, at: int | None = None) -> Iterator[int]:
    descriptor = os.open(name, flags, dir_fd=at)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _copy(source: int, target: Path, shown: str) -> None:
    found = os.fstat(source)
    most = MAX_FILE if target.suffix == ".safetensors" else MAX_TEXT
    if not stat.S_ISREG(found.st_mode) or found.st_size > most:
        raise ApiError(
            400,
            "invalid_path",
            f"{shown} is no plain file of at most {most} bytes.",
            param="lora_path",
        )
    with storage_errors("copying the adapter", target):
        if found.st_size <= MAX_TEXT:
            write_file(target, os.read(source, MAX_TEXT))
            return
        with target.open("wb") as out:
            left = found.st_size
            while left > 0 and (part := os.read(source, min(_CHUNK, left))):
                out.write(part)
                left -= len(part)


def _missing(asked: str, error: OSError) -> ApiError:
    if isinstance(error, FileNotFoundError):
        return ApiError(404, "path_not_found", f"There is no {asked!r}.", param="lora_path")
    return ApiError(
        400,
        "invalid_path",
        f"{asked!r} is a link or cannot be read, and so is not an adapter's.",
        param="lora_path",
    )
