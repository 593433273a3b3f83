"""A library: a folder of skills trained for one base, and their gate.

    library.json                 what the library holds (see `loramix.manifest`)
    skills/NAME/                 a plain PEFT adapter, with card and gate memory
    gate/                        gate.safetensors, gate.json

Reading takes no lock: a `Library` is a snapshot of one generation (see `loramix.snapshot`).
Writing happens in `edit()`, one writer at a time, whole or absent (see `loramix.transaction`).
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramix.card import SkillCard
from loramix.errors import AdapterMismatchError, LibraryError, UnknownSkillError, skill_hint
from loramix.manifest import (
    GATE,
    GATE_FILES,
    JOURNAL,
    MANIFEST,
    SKILLS,
    STAGING,
    Journal,
    Manifest,
    NamedMix,
    commit,
    discard_staging,
    finish,
    make_staging,
    read_journal,
    sweep,
    validate_name,
)
from loramix.mix import Mix
from loramix.snapshot import READ_TIMEOUT, Skill, Snapshot, read_snapshot, still_known
from loramix.storage import (
    WriterLock,
    make_folder,
    storage_errors,
    sync_tree,
    write_file,
)
from loramix.transaction import CARD, README, Transaction, check_unused, mix_taken, name_taken

if TYPE_CHECKING:
    from torch import Tensor

    from loramix.base import Base

__all__ = ["Library", "Skill", "SkillCard", "Transaction", "validate_name"]

EDIT_TIMEOUT = 10.0


class Library:
    """A folder of skills for one base. Make one with `create`, `open` or `shipped`."""

    def __init__(
        self,
        path: Path,
        *,
        timeout: float = READ_TIMEOUT,
        going: str | None = None,
        lenient: bool = False,
    ) -> None:
        self.path = path
        self._going, self._lenient = going, lenient
        self._snapshot = self._read(timeout)

    @classmethod
    def create(cls, path: str | Path, base_id: str, fingerprint: str) -> Library:
        """Make an empty library in a new or empty folder.

        Raises:
            LibraryError: there is something in the folder already.
            StorageError: the disk does not let us.
        """
        manifest = Manifest(base_id=base_id, base_fingerprint=fingerprint)
        with _new_library(Path(path), manifest):
            pass
        return cls(Path(path))

    @classmethod
    def open(
        cls, path: str | Path, *, going: str | None = None, lenient: bool = False
    ) -> Library:
        """Open the library in `path`, finishing a change that a killed writer left.

        Args:
            path: its folder.
            going: a skill that is to be removed or replaced. Its files may be missing or damaged;
                `skills` does not have it then, and `edit` can still remove or replace it.
            lenient: any skill may be damaged, and the gate: `damaged` says which are, and `skills`
                does not have them. For those who serve what is whole.

        Raises:
            LibraryError: not a library, a damaged one, or one of a newer schema.
        """
        return cls(Path(path), going=going, lenient=lenient)

    @classmethod
    def find(cls, path: str | Path) -> Library | None:
        """The library in `path`, or None where `create` can make one.

        Raises:
            LibraryError: as `open`, also where the folder holds something else.
        """
        root = Path(path)
        if not (root / MANIFEST).is_file() and not (root / JOURNAL).is_file() and not _found(root):
            return None
        return cls.open(root)

    @classmethod
    def shipped(cls) -> Library:
        """The ready-made library of the five pocket skills that comes with the package."""
        return cls(shipped_path())

    @property
    def skills(self) -> dict[str, Skill]:
        """The skills by name, in the order in which they came."""
        return dict(self._snapshot.skills)

    @property
    def damaged(self) -> dict[str, LibraryError]:
        """What is wrong with the skills that the library lists and does not have whole."""
        return dict(self._snapshot.damaged)

    @property
    def gate_damage(self) -> LibraryError | None:
        """What is wrong with the gate, if it is damaged."""
        return self._snapshot.gate_damage

    @property
    def mixes(self) -> dict[str, Mix]:
        """The mixes that are kept under a name, in the order in which they came."""
        return {name: named.mix for name, named in self.named_mixes.items()}

    @property
    def named_mixes(self) -> dict[str, NamedMix]:
        """The same, with what people want to know about them."""
        return dict(self._snapshot.manifest.mixes)

    @property
    def generation(self) -> int:
        """Goes up by one with each change."""
        return self._snapshot.manifest.generation

    @property
    def base_id(self) -> str:
        """The base that the skills were trained for: an id, a path, or `pocket`."""
        return self._snapshot.manifest.base_id

    @property
    def fingerprint(self) -> str:
        """Fingerprint of that base's files."""
        return self._snapshot.manifest.base_fingerprint

    @property
    def has_gate(self) -> bool:
        """Whether there is a gate; its tensors are not read."""
        return self._snapshot.gate is not None

    @property
    def is_shipped(self) -> bool:
        """Whether this is the library inside the installed package, which is never edited."""
        return self.path.resolve() == shipped_path().resolve()

    def skill(self, name: str) -> Skill:
        """One skill. Raises UnknownSkillError that names the nearest one; LibraryError: damaged."""
        self.check_whole([name])
        try:
            return self._snapshot.skills[name]
        except KeyError:
            raise self.unknown(name) from None

    def check_whole(self, names: Iterable[str]) -> None:
        """Raises LibraryError if one of the names is that of a damaged skill."""
        for name in names:
            if name in self._snapshot.damaged:
                raise self._snapshot.damaged[name]

    def check_listed(self, name: str) -> None:
        """Raises UnknownSkillError unless the library lists a skill of that name, whole or not."""
        if name not in self._snapshot.manifest.skills:
            raise self.unknown(name)

    def check_removable(self, name: str) -> None:
        """Checks that there is a skill, whole or not, or a mix of that name, and nothing needs it.

        Raises:
            UnknownSkillError: there is none.
            LibraryError: a named mix uses the skill.
        """
        manifest = self._snapshot.manifest
        if name not in manifest.skills and name not in manifest.mixes:
            raise self.unknown(name)
        check_unused(name, manifest.mixes)

    def unknown(self, name: str) -> UnknownSkillError:
        """What is said about a skill that is not there."""
        known = [*self._snapshot.skills, *self._snapshot.manifest.mixes]
        return UnknownSkillError(
            f"The library {self.path} has no skill {name!r}",
            expected=", ".join(known) or "a skill; the library is empty",
            hint=skill_hint(name, known),
        )

    def gate(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The gate's tensors and description, or None if the library has no gate yet."""
        from safetensors.torch import load

        if self._snapshot.gate is None:
            return None
        tensors, meta = self._snapshot.gate
        return load(tensors), json.loads(meta)

    def check_base(self, base: Base) -> None:
        """Raises AdapterMismatchError unless `base` is the one that the skills were made for."""
        if base.fingerprint != self.fingerprint:
            raise AdapterMismatchError(
                f"The library {self.path} was made for another base",
                given=f"{base.id}, fingerprint {base.fingerprint[:16]}",
                expected=f"{self.base_id}, fingerprint {self.fingerprint[:16]}",
                hint=f"load the base {self.base_id!r}, or train a library for {base.id!r}",
            )

    def check_editable(self) -> None:
        """Raises LibraryError if this is the shipped library, which stays as it is."""
        if self.is_shipped:
            raise LibraryError(
                "The library that ships with loramix is not to be changed",
                given=self.path,
                hint=f"copy it and change the copy: cp -r {self.path} DIR, then --library DIR",
            )

    def check_free(self, name: str, *, replace: bool = False) -> None:
        """Raises LibraryError if a mix has that name, or a skill that is not to be replaced."""
        if name in self._snapshot.manifest.mixes:
            raise mix_taken(name)
        if name in self._snapshot.manifest.skills and not replace:
            raise name_taken(name)

    def refresh(self) -> Library:
        """Read the newest generation; returns self."""
        self.newer()()
        return self

    def newer(self) -> Callable[[], None]:
        """Read the newest generation; what is returned puts it in the place of this one.

        For those who have to change something else in the same moment.
        """
        snapshot = still_known(self._read(), self._snapshot)

        def take() -> None:
            self._snapshot = snapshot

        return take

    def is_mended(self) -> bool:
        """Whether something that `damaged` or `gate_damage` tell of can be read again."""
        if not self.damaged and self.gate_damage is None:
            return False
        try:
            fresh = self._read(timeout=0.1)
        except LibraryError:
            return False
        gate = self.gate_damage is not None and fresh.gate_damage is None
        return gate or not self.damaged.keys() <= fresh.damaged.keys()

    def _read(self, timeout: float = READ_TIMEOUT) -> Snapshot:
        return read_snapshot(self.path, timeout, self._going, self._lenient)

    def verify(self) -> None:
        """Read everything and compare it with the manifest.

        Raises:
            LibraryError: a file is missing or altered.
            AdapterError: an adapter cannot be read.
        """
        for skill in self._snapshot.skills.values():
            skill.adapter()
            skill.memory()
        self.gate()

    @contextlib.contextmanager
    def edit(self, *, timeout: float = EDIT_TIMEOUT) -> Iterator[Transaction]:
        """Change the library: all that the block does, or, if it raises, nothing.

        The library is first brought to the newest generation, and after the block it is at the
        one that the block made.

        Raises:
            LibraryError: this is the shipped library, which stays as it is.
            LibraryBusyError: another process has been writing it for `timeout` seconds.
            StorageError: the disk is full or does not let us write.
        """
        self.check_editable()
        with WriterLock(self.path, timeout):
            if journal := read_journal(self.path):
                finish(self.path, journal)
            sweep(self.path)
            self._snapshot = self._read(timeout)
            txn = Transaction(self.path, self._snapshot.manifest)
            try:
                yield txn
                txn.commit()
            finally:
                txn.close()
            self._snapshot = self._read(timeout)

    def copy_to(self, path: str | Path) -> Library:
        """Copy this generation to a new or empty folder, where it can be edited.

        Raises:
            LibraryError: there is something in the folder already, or this library changed
                meanwhile.
            StorageError: the disk is full or does not let us write.
        """
        manifest = self._snapshot.manifest
        with _new_library(Path(path), manifest) as folder:
            with storage_errors("copying the library", Path(path)):
                for name, skill in self._snapshot.skills.items():
                    target = folder / SKILLS / name
                    target.mkdir()
                    for file in (*skill.hashes, CARD, README):
                        if (skill.path / file).is_file():
                            shutil.copyfile(skill.path / file, target / file)
                    Skill(name, target, skill.card, skill.hashes).check_files()
            if self._snapshot.gate:
                make_folder(folder / GATE)
                for file, data in zip(GATE_FILES, self._snapshot.gate, strict=True):
                    write_file(folder / GATE / file, data)
        return Library(Path(path))


def shipped_path() -> Path:
    """Where the installed package keeps its library."""
    return Path(__file__).resolve().parent / "pocket" / "library"


@contextlib.contextmanager
def _new_library(root: Path, manifest: Manifest) -> Iterator[Path]:
    """A staging folder; when the block has ended well, `root` is a library of what it holds."""
    _check_new(root)
    make_folder(root)
    with WriterLock(root, EDIT_TIMEOUT):
        _check_new(root)  # another process may have been faster
        sweep(root)
        staging = make_staging(root)
        try:
            yield staging
            sync_tree(staging)
            journal = Journal(
                staging=staging.name,
                generation=manifest.generation,
                place=list(manifest.skills),
                drop=[],
                gate="place" if manifest.gate else "keep",
            )
            commit(root, staging, journal, manifest)
        finally:
            discard_staging(root, staging)


def _check_new(root: Path) -> None:
    """Raises LibraryError if there is anything in `root` but scraps of a writer of ours."""
    if (root / MANIFEST).is_file() or (root / JOURNAL).is_file():
        raise LibraryError(f"{root} already holds a library", hint="open it, or choose another")
    found = _found(root)
    if found:
        raise LibraryError(
            f"{root} is not an empty folder",
            given=", ".join(sorted(found)[:5]),
            expected="a new or an empty folder",
            hint="choose another folder",
        )


def _found(root: Path) -> list[str]:
    """What lies in `root` but scraps of a writer of ours."""
    if root.exists() and not root.is_dir():
        return ["a file"]
    scraps = {WriterLock.LOCK, WriterLock.HOLDER}
    return [
        entry.name
        for entry in (root.iterdir() if root.exists() else ())
        if entry.name not in scraps
        and not entry.name.startswith(STAGING)
        and not (entry.name == SKILLS and entry.is_dir() and not any(entry.iterdir()))
    ]
