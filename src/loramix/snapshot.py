"""Reading a library without a lock: one whole generation, or an error, never a half state.

A writer sets the journal before its first rename and renames `library.json` last. So, with no
journal and the same manifest before and after a read, all of what was read is of one piece. The
tensors, which are read later, are compared with the hashes in that manifest.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from loramix.card import SkillCard
from loramix.errors import LibraryBusyError, LibraryError, StorageError
from loramix.manifest import (
    GATE,
    GATE_FILES,
    MEMORY,
    SKILLS,
    Manifest,
    finish,
    read_journal,
    read_manifest,
)
from loramix.storage import WriterLock, file_sha256, sha256
from loramix.transaction import read_card, read_memory

if TYPE_CHECKING:
    from torch import Tensor, nn

    from loramix.adapter import Adapter
    from loramix.base import Base

READ_TIMEOUT = 10.0


@dataclass(frozen=True)
class Skill:
    """One skill of an opened library. Its tensors are read when they are asked for."""

    name: str
    path: Path
    card: SkillCard
    hashes: dict[str, str] = field(repr=False)

    def adapter(self, base_model: Base | nn.Module | None = None) -> Adapter:
        """Read the adapter; with `base_model` its keys and shapes are checked against the base.

        Raises:
            LibraryError: the files are not those of the generation that was opened.
            AdapterError: the adapter does not fit the base.
        """
        from loramix.adapter import read_adapter

        self.check_files()
        try:
            return read_adapter(self.path, base_model)
        finally:  # a writer may have come in between, which explains an error too
            self.check_files()

    def memory(self) -> Tensor:
        """Gate features of the example prompts, [N, F] float32.

        Raises:
            LibraryError: the file is not that of the generation that was opened.
        """
        return read_memory(self.path / MEMORY, self.hashes[MEMORY])

    def check_files(self) -> None:
        """Raises LibraryError unless every file is the one that the manifest lists."""
        for name, expected in self.hashes.items():
            path = self.path / name
            try:
                found = file_sha256(path)
            except OSError as err:
                raise _changed(path, err.strerror or str(err)) from err
            if found != expected:
                raise _changed(path, f"SHA-256 {found[:12]}…", f"SHA-256 {expected[:12]}…")


@dataclass(frozen=True)
class Snapshot:
    """One generation: the manifest, the skills with their cards, the gate's two files."""

    manifest: Manifest
    skills: dict[str, Skill]
    gate: tuple[bytes, bytes] | None


def read_snapshot(root: Path, timeout: float) -> Snapshot:
    """The newest generation; one whose writer was killed after its commit is finished first.

    Raises:
        LibraryError: not a library, damaged, or of a newer schema.
        LibraryBusyError: no whole generation could be read in `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        _settle(root, deadline)
        manifest = read_manifest(root)
        problem: LibraryError | None = None
        try:
            snapshot = _read_files(root, manifest)
        except LibraryError as err:
            problem = err
        if read_journal(root) is None and read_manifest(root) == manifest:
            if problem:
                raise problem
            return snapshot
        if time.monotonic() > deadline:
            raise LibraryBusyError(
                f"the library {root} kept changing while it was read",
                hint="wait until its writer has finished",
            )


def _settle(root: Path, deadline: float) -> None:
    """Wait until no change is in progress; finish one whose writer was killed.

    Raises:
        LibraryBusyError: its writer is alive and does not get done.
        LibraryError: its writer is gone and we may not write here.
    """
    if read_journal(root) is None:
        return
    try:
        with WriterLock(root, timeout=max(0.0, deadline - time.monotonic())):
            if journal := read_journal(root):
                finish(root, journal)
    except StorageError as err:
        raise LibraryError(
            f"a change of the library {root} was interrupted and cannot be finished here",
            given=err.what,
            hint=f"open it once (`loramix list --library {root}`) where it can be written",
        ) from err


def _read_files(root: Path, manifest: Manifest) -> Snapshot:
    skills = {}
    for name, hashes in manifest.skills.items():
        folder = root / SKILLS / name
        for file in hashes:
            if not (folder / file).is_file():
                raise _changed(folder / file, "it is missing")
        skills[name] = Skill(name, folder, read_card(folder), hashes)
    gate = None
    if manifest.gate is not None:
        pieces = []
        for file in GATE_FILES:
            path = root / GATE / file
            try:
                pieces.append(path.read_bytes())
            except OSError as err:
                raise _changed(path, err.strerror or str(err)) from err
            if sha256(pieces[-1]) != manifest.gate.get(file):
                raise _changed(path, "its SHA-256 differs")
        gate = (pieces[0], pieces[1])
    return Snapshot(manifest, skills, gate)


def _changed(path: Path, given: str, expected: str | None = None) -> LibraryError:
    return LibraryError(
        f"{path} is not the file that the library lists",
        given=given,
        expected=expected,
        hint="if another process changed the library, open it again; else restore the file",
    )
