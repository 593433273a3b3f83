"""What a command writes, where it goes, and how it ends.

stdout carries the answer: text for a person, or one JSON object. Everything else goes to
stderr. Exit codes: 0 done, 1 the work failed, 2 the call was wrong, 130 stopped by the user.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TextIO

from loramix.errors import Interrupted, LoramixError, PromptError, ResourceError, StorageError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FULL_TEXTS = (
    "PytorchStreamWriter failed",
    "No space left on device",
    "os error 28",
    "Disk quota exceeded",
)
# Path errors that say what is wrong with a place, not with the program.
_PLACE = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ENOENT,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EMFILE,
}


def as_user_error(error: BaseException) -> LoramixError | None:
    """The error that a user should read for `error`, or None where it is a fault of ours.

    The whole chain of causes is read, since writers of tensors and tables wrap the
    operating system's error in one of their own.
    """
    if isinstance(error, LoramixError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Interrupted("Stopped.")
    if isinstance(error, BrokenPipeError):
        return StorageError("Nobody reads the output any more.")
    chain: BaseException | None = error
    seen = set[int]()
    while chain is not None and id(chain) not in seen:
        seen.add(id(chain))
        number = chain.errno if isinstance(chain, OSError) else None
        if number in _FULL or any(text in str(chain) for text in _FULL_TEXTS):
            where = getattr(chain, "filename", None)
            return StorageError(
                "The disk is full" + (f" at {where}." if where else "."),
                hint="free some space, or choose another folder, and run the command again",
            )
        if isinstance(chain, LoramixError):
            return chain
        chain = chain.__cause__ or chain.__context__
    if isinstance(error, MemoryError):
        return ResourceError(
            "There is not enough memory for this.",
            hint="use a smaller batch_size or max_length, or a smaller base",
        )
    if isinstance(error, OSError) and error.errno in _PLACE and error.filename is not None:
        return StorageError(
            f"{error.strerror}: {error.filename}",
            hint="check that the path exists and that you may read and write it",
        )
    return None


def fail(error: BaseException) -> int | None:
    """Tell the user of an error, on stderr. Returns the exit code, or None for a fault of ours."""
    told = as_user_error(error)
    if told is not None and not isinstance(error, BrokenPipeError):
        mark = "" if isinstance(told, Interrupted) else "Error: "
        sys.stderr.write(f"{mark}{told}\n")
    try:
        sys.stdout.flush()
    except OSError:
        # Python would try once more at exit, and complain in its own way.
        _silence_stdout()
    return None if told is None else told.exit_code


def prepare_streams() -> None:
    """Make the three streams such that no text in or out can end the program.

    What an encoding cannot hold is written as `\\xe9`; what does not decode is kept, so that
    `read_prompt` and `read_line` can refuse one text and still read the next. A stream that was
    closed (`>&-`) is one that nobody reads.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            # for the whole life of the process, and on the descriptor that the next file would take
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")


@contextlib.contextmanager
def stdout_for(as_json: bool) -> Iterator[TextIO]:
    """The real stdout, and with `as_json` nothing else can write to it.

    Libraries sometimes print; while a JSON object is being made, what they print goes to stderr.
    """
    real = sys.stdout
    if not as_json:
        yield real
        return
    with contextlib.redirect_stdout(sys.stderr):
        yield real


def report(
    work: Callable[[], dict[str, Any]], as_json: bool, draw: Callable[[dict[str, Any]], object]
) -> None:
    """Do `work`; print its result as one JSON object, or `draw` it for a person."""
    with stdout_for(as_json) as out:
        result = work()
        if as_json:
            out.write(to_json(result, ascii_only=not _holds_all(out)) + "\n")
            out.flush()
    if not as_json:
        draw(result)


def _holds_all(stream: TextIO) -> bool:
    """Whether any text can be written as it is; a stream in memory has no encoding."""
    return stream.encoding is None or codecs.lookup(stream.encoding).name == "utf-8"


def to_json(value: Any, *, ascii_only: bool = False) -> str:
    """`value` as JSON: paths as text, NumPy and torch numbers as numbers, NaN as null."""

    def plain(item: Any) -> Any:
        if isinstance(item, Mapping):
            return {str(key): plain(inner) for key, inner in item.items()}
        if isinstance(item, (list, tuple)):
            return [plain(inner) for inner in item]
        if item is None or isinstance(item, (str, bool, int)):
            return item
        if hasattr(item, "item"):
            return plain(item.item())
        if isinstance(item, float):
            return item if math.isfinite(item) else None
        return str(item)

    return json.dumps(plain(value), ensure_ascii=ascii_only, allow_nan=False)


def write(text: str) -> None:
    """Write a piece of an answer to stdout now, so that it can be read as it grows."""
    sys.stdout.write(text)
    sys.stdout.flush()


def read_prompt(given: str) -> str:
    """The prompt itself, or with `-` what stdin holds.

    Raises:
        PromptError: it is not text in UTF-8.
    """
    try:
        if given != "-":
            return _as_utf8(given)
        return "" if sys.stdin is None else _as_utf8(sys.stdin.read())
    except UnicodeError as error:
        raise _not_text("prompt", "convert it: iconv -f LATIN1 -t UTF-8") from error


def read_line(ask: str) -> str | None:
    """One line typed by the user, or None when there are no more.

    Raises:
        PromptError: it is not text in UTF-8; the next line can be read.
    """
    if sys.stdin is None:
        return None
    try:
        return _as_utf8(input(ask))
    except EOFError:
        return None
    except UnicodeError as error:
        raise _not_text("line", "type it again") from error


def _as_utf8(text: str) -> str:
    """What a user typed. Bytes that the locale cannot read are UTF-8 all the same.

    Raises:
        UnicodeError: they are not.
    """
    try:
        return os.fsencode(text).decode("utf-8")
    except UnicodeError:
        text.encode()  # text already, in a locale of another encoding
        return text


def _not_text(part: str, hint: str) -> PromptError:
    # Python's own reason speaks of surrogates, which is how it keeps such bytes, not what was given
    return PromptError(
        f"The {part} is not text in UTF-8.", given="bytes of another encoding", hint=hint
    )


@contextlib.contextmanager
def plain_warnings() -> Iterator[None]:
    """Inside, a warning of ours is one line for people, without the place in the code."""
    with warnings.catch_warnings():
        before = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if category.__module__.partition(".")[0] == "loramix":
                sys.stderr.write(f"Warning: {message}\n")
            else:
                before(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        yield


def _silence_stdout() -> None:
    """Point stdout at nothing."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)
