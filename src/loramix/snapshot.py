"""Reading a library without a lock: one whole generation, or an error, never a half state.

A writer sets the journal before its first rename and renames `library.json` last. So, with no
journal and the same manifest before and after a read, all of what was read is of one piece. The
tensors, which are read later, are compared with the hashes in that manifest.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from loramix.card import SkillCard
from loramix.errors import LibraryBusyError, LibraryError, StorageError
from loramix.manifest import (
    GATE,
    GATE_FILES,
    MANIFEST,
    MEMORY,
    SKILLS,
    Manifest,
    finish,
    read_journal,
    read_manifest,
)
from loramix.storage import WriterLock, file_sha256, sha256
from loramix.transaction import read_card, read_memory, skill_damaged, way_out

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
                raise skill_damaged(path, err.strerror or str(err)) from err
            if found != expected:
                raise skill_damaged(path, f"SHA-256 {found[:12]}…", f"SHA-256 {expected[:12]}…")


@dataclass(frozen=True)
class Snapshot:
    """One generation: the manifest, the skills with their cards, the gate's two files.

    `skills` are those of the manifest, but for those that were allowed to be damaged and are.
    """

    manifest: Manifest
    skills: dict[str, Skill]
    gate: tuple[bytes, bytes] | None
    damaged: dict[str, LibraryError] = field(default_factory=dict)
    gate_damage: LibraryError | None = None


def read_snapshot(
    root: Path, timeout: float, going: str | None = None, lenient: bool = False
) -> Snapshot:
    """The newest generation; one whose writer was killed after its commit is finished first.

    Args:
        root: the library.
        timeout: seconds to wait for writers.
        going: a skill that is to go, and so may be damaged; then it is not among the skills.
        lenient: the same for all skills and for the gate.

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
            snapshot = _read_files(root, manifest, going, lenient)
        except LibraryError as err:
            problem = err
        if read_journal(root) is None and read_manifest(root) == manifest:
            if problem:
                raise problem
            return snapshot
        if time.monotonic() > deadline:
            raise LibraryBusyError(
                f"The library {root} kept changing while it was read",
                hint="wait until its writer has finished",
            )


def stamp_of(root: Path) -> tuple[int, int, int] | None:
    """Of the one file that each change renames into place, as it lies there now.

    Inode, time in nanoseconds and size; None where it cannot be seen.
    """
    try:
        found = (root / MANIFEST).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def still_known(fresh: Snapshot, known: Snapshot) -> Snapshot:
    """What was left out of `fresh` as damaged, but is the same as in `known`, is taken from there.

    It may be in memory, and whoever reads it finds the damage.
    """
    same = {
        name: known.skills[name]
        for name in fresh.damaged
        if name in known.skills and known.skills[name].hashes == fresh.manifest.skills[name]
    }
    skills = {**fresh.skills, **same}
    unchanged = fresh.gate_damage is not None and fresh.manifest.gate == known.manifest.gate
    return replace(
        fresh,
        skills={name: skills[name] for name in fresh.manifest.skills if name in skills},
        damaged={name: error for name, error in fresh.damaged.items() if name not in same},
        gate=known.gate if unchanged else fresh.gate,
        gate_damage=known.gate_damage if unchanged else fresh.gate_damage,
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
            f"A change of the library {root} was interrupted and cannot be finished here",
            given=err.what,
            hint=f"open it once (`loramix list --library {root}`) where it can be written",
        ) from err


def _read_files(root: Path, manifest: Manifest, going: str | None, lenient: bool) -> Snapshot:
    found = Snapshot(manifest, {}, None)
    for name, hashes in manifest.skills.items():
        try:
            found.skills[name] = _read_skill(root / SKILLS / name, hashes)
        except LibraryError as error:
            if name != going and not lenient:
                raise
            found.damaged[name] = error
    if manifest.gate is None:
        return found
    try:
        return replace(found, gate=_read_gate(root / GATE, manifest.gate))
    except LibraryError as error:
        if not lenient:
            raise
        return replace(found, gate_damage=error)


def _read_gate(folder: Path, hashes: dict[str, str]) -> tuple[bytes, bytes]:
    pieces = []
    for file in GATE_FILES:
        path = folder / file
        try:
            pieces.append(path.read_bytes())
        except OSError as err:
            raise _changed(path, err.strerror or str(err)) from err
        if sha256(pieces[-1]) != hashes.get(file):
            raise _changed(path, "its SHA-256 differs")
    return pieces[0], pieces[1]


def _read_skill(folder: Path, hashes: dict[str, str]) -> Skill:
    """The card is read, the other files are only looked for."""
    for file in hashes:
        try:
            there = (folder / file).is_file()
        except OSError as err:
            raise skill_damaged(folder / file, err.strerror or str(err)) from err
        if not there:
            raise skill_damaged(folder / file, "it is missing")
    try:
        card = read_card(folder)
    except LibraryError as err:
        raise LibraryError(err.what, given=err.given, hint=way_out(folder)) from err
    return Skill(folder.name, folder, card, hashes)


def _changed(path: Path, given: str) -> LibraryError:
    return LibraryError(
        f"{path} is not the file that the library lists",
        given=given,
        hint="if another process changed the library, open it again; else restore the file",
    )
