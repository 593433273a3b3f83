"""What a run leaves behind when it is killed, and how the next one finds it.

    FOLDER/run.json            which run this is: base, data, settings
    FOLDER/checkpoint-N/       after step N, as the Trainer writes it, and `complete` written last
    FOLDER/done.json           the run has ended; its adapters stand beside it
    FOLDER/shares.json         which process trains which skills, so that the next run shares alike
    FOLDER/part-K/             the same of each process, where several share the skills

FOLDER may hold nothing else but the loss curves of an earlier run: runs clear away what is in
their way, and a user's files must never be. A checkpoint counts only with `complete` in it, and
the one before it stays until then, so a kill at any instant leaves one that can be used. A run
with other data or settings never takes it up.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loramix.errors import StorageError
from loramix.storage import move, remove_tree, storage_errors, sync_tree, write_file

RUN, DONE, COMPLETE = "run.json", "done.json", "complete"
SHARES, PART = "shares.json", "part-{}"
ADAPTERS = "adapters"
CURVES = ("losses.json", "losses.png")
_NAME = re.compile(r"checkpoint-(\d+)")
_PART = re.compile(PART.format(r"\d+"))


def key_of(facts: Mapping[str, Any]) -> str:
    """sha256 of everything that decides what a run computes."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def claim(folder: Path) -> None:
    """Makes a folder ours to write and to clear.

    Raises:
        StorageError: something that is not ours lies there, or the disk does not let us.
    """
    with storage_errors("making the folder of the run", folder):
        folder.mkdir(parents=True, exist_ok=True)
        found = {entry.name for entry in os.scandir(folder)} - set(CURVES)
    if (folder / RUN).is_file():
        return
    if found:
        raise StorageError(
            "The folder of the run holds files that are not of a run.",
            given=f"{folder}: {', '.join(sorted(found)[:5])}",
            expected="a folder that is new, empty, or of an earlier run",
            hint="move them away, or choose another library or output folder",
        )
    write_json(folder / RUN, {})


def clear(folder: Path) -> None:
    """Removes what runs have left in a folder that was claimed; the loss curves stay."""
    with storage_errors("tidying up", folder):
        for entry in list(os.scandir(folder)):
            path = Path(entry.path)
            named = entry.name in (RUN, DONE, SHARES, ADAPTERS)
            numbered = _NAME.fullmatch(entry.name) or _PART.fullmatch(entry.name)
            if named or numbered or (path / RUN).is_file():
                remove_tree(path)


def shares_of(folder: Path) -> list[list[str]]:
    """Which process trained which skills, as `share` wrote it; empty where nothing is known."""
    return list(_read(folder / SHARES).get("shares", []))


def share(folder: Path, shares: Sequence[Sequence[str]]) -> None:
    """Says which process trains which skills; what was shared otherwise is cleared away."""
    if shares_of(folder) != [list(names) for names in shares]:
        if (folder / SHARES).exists():
            clear(folder)
            claim(folder)
        write_json(folder / SHARES, {"shares": [list(names) for names in shares]})


def open_run(folder: Path, key: str) -> Path | None:
    """Makes the folder this run's own; returns its newest whole checkpoint, if there is one.

    What another run left there is removed.

    Raises:
        StorageError: the disk does not let us.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        same = _read(folder / RUN).get("key") == key
        found = _checkpoints(folder)
        whole = [path for path in found if same and (path / COMPLETE).is_file()]
        for path in set(found) - set(whole):
            shutil.rmtree(path)
        if not same:
            (folder / DONE).unlink(missing_ok=True)
            write_json(folder / RUN, {"key": key})
    except OSError as error:
        raise StorageError(
            f"The folder of the run cannot be used: {error.strerror or error}.", given=folder
        ) from error
    return whole[-1] if whole else None


def reached(folder: Path, key: str) -> int:
    """The step of the newest whole checkpoint that a run of this key goes on from; else 0."""
    if _read(folder / RUN).get("key") != key:
        return 0
    whole = [path for path in _checkpoints(folder) if (path / COMPLETE).is_file()]
    return int(whole[-1].name.partition("-")[2]) if whole else 0


def finished(folder: Path, key: str) -> dict[str, Any] | None:
    """What `finish` wrote, if this very run has ended before."""
    if _read(folder / RUN).get("key") != key:
        return None
    return _read(folder / DONE) or None


def seal(checkpoint: Path) -> None:
    """Says that a checkpoint is whole, once all of it is on the disk."""
    sync_tree(checkpoint)
    write_file(checkpoint / COMPLETE, b"")


def finish(folder: Path, facts: Mapping[str, Any]) -> None:
    """Says that the run has ended, and removes its checkpoints."""
    write_json(folder / DONE, facts)
    for path in _checkpoints(folder):
        shutil.rmtree(path)


def write_json(file: Path, content: object) -> None:
    """Writes a file that is whole or absent."""
    part = file.with_name(f".{file.name}.part")
    write_file(part, json.dumps(content).encode())
    move(part, file)


def _checkpoints(folder: Path) -> list[Path]:
    """The folders of all checkpoints, oldest first."""
    numbered = []
    for entry in os.scandir(folder):
        match = _NAME.fullmatch(entry.name)
        if match and entry.is_dir():
            numbered.append((int(match.group(1)), Path(entry.path)))
    return [path for _, path in sorted(numbered)]


def _read(file: Path) -> dict[str, Any]:
    """A JSON object, or an empty one where there is none that can be read."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
