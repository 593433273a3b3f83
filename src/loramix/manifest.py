"""`library.json`, the one file that says what a library holds, and the journal that changes it.

A change is prepared in a staging folder inside the library. Renaming the journal into place is
the commit: before it nothing of the change is visible, after it the change is certain, because
whoever next opens the library finishes it. Each step is a rename that can be repeated:

    staging-X/skills/NAME -> skills/NAME   (an old one moves to staging-X/old first)
    staging-X/gate        -> gate
    staging-X/library.json -> library.json
    delete the journal, then staging-X

The journal of a downloaded library comes from a stranger, so it holds names, never paths.
"""

from __future__ import annotations

import json
import re
import secrets
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from loramix.errors import LibraryError, RecipeError
from loramix.mix import Mix
from loramix.storage import make_folder, move, remove_tree, sync_folder, write_file

SCHEMA = 2  # the newest that we read; 2 adds named mixes, and is written only where there are any
MANIFEST = "library.json"
JOURNAL = ".journal.json"
STAGING = ".staging-"
SKILLS = "skills"
GATE = "gate"
OLD = "old"

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
MEMORY = "memory.safetensors"
SKILL_FILES = (*ADAPTER_FILES, MEMORY)  # those of a skill that only programs write
GATE_TENSORS = "gate.safetensors"
GATE_META = "gate.json"
GATE_FILES = (GATE_TENSORS, GATE_META)

RESERVED = ("auto", "base", "all")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_STAGING_NAME = re.compile(re.escape(STAGING) + r"[0-9a-f]{16}")


def validate_name(name: str) -> str:
    """Return `name` if a skill may have it.

    Raises:
        LibraryError: it is reserved, or holds anything but a-z, 0-9, `_` and `-`.
    """
    if not _NAME.fullmatch(name):
        raise LibraryError(
            "A skill cannot have this name",
            given=repr(name),
            expected="1 to 64 of a-z, 0-9, _ and -, beginning with a letter or a digit",
            hint="choose another name, such as 'support-mail'",
        )
    if name in RESERVED:
        raise LibraryError(
            f"{name!r} is a reserved word, no skill can be called that",
            expected=f"any name but {', '.join(RESERVED)}",
            hint="choose another name",
        )
    return name


class NamedMix(BaseModel):
    """A mix that a library keeps under a name.

    Attributes:
        weights: skill → weight; the skills are those of the library. Empty is the base.
        description: where it came from, for people.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: dict[str, float]
    description: str = ""

    @property
    def mix(self) -> Mix:
        """As a mix. Raises RecipeError where the weights make none."""
        return Mix.of(self.weights)


class Manifest(BaseModel):
    """What a library holds. Hashes are SHA-256 of the files that no person edits.

    Attributes:
        schema_version: the layout; a newer one than ours is refused.
        base_id: Hugging Face id, local path, or `pocket`.
        base_fingerprint: SHA-256 of the base's files (`loramix.base.fingerprint_files`).
        generation: goes up by one with each change.
        skills: file hashes of each skill, in the order in which the skills came.
        gate: file hashes of the gate, or None if there is no gate.
        mixes: named mixes, in the order in which they came; none has the name of a skill.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = 1
    base_id: str
    base_fingerprint: str
    generation: int = 0
    skills: dict[str, dict[str, str]] = {}
    gate: dict[str, str] | None = None
    mixes: dict[str, NamedMix] = {}

    def to_bytes(self) -> bytes:
        """The text of `library.json`; without mixes it is one that older versions read too."""
        kept = self.model_copy(update={"schema_version": 2 if self.mixes else 1})
        text = kept.model_dump_json(indent=2, exclude=None if self.mixes else {"mixes"})
        return (text + "\n").encode()


class Journal(BaseModel):
    """One change that is certain but perhaps not finished.

    Attributes:
        staging: name of the staging folder, directly inside the library.
        generation: the generation that the change makes.
        place: skills whose staged folder goes to `skills/`.
        drop: skills whose folder goes away.
        gate: what happens to the gate's folder.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = 1
    staging: str
    generation: int
    place: list[str]
    drop: list[str]
    gate: Literal["keep", "place", "drop"]


def read_manifest(root: Path) -> Manifest:
    """Read and check `library.json`.

    Raises:
        LibraryError: absent, damaged, of a newer schema, or with a name that is no skill's or
            no file's: names become paths, so a stranger's are checked.
    """
    path = root / MANIFEST
    try:
        raw = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as err:
        what = "This folder is no library"
        if not root.exists():
            what = "There is no such folder"
        elif not root.is_dir():
            what = "This is a file, and a library is a folder"
        raise LibraryError(
            f"{what}: {root}",
            expected=f"a folder with {MANIFEST}",
            hint="check --library, or make one with `loramix train`",
        ) from err
    except OSError as err:
        if path.is_dir():
            raise LibraryError(
                f"{path} is a folder, so that {root} is no library",
                expected=f"a file {MANIFEST}",
                hint="move it away, or check --library",
            ) from err
        raise LibraryError(
            f"{path} cannot be read: {err.strerror or err}", hint="check its permissions"
        ) from err
    except ValueError as err:
        raise _damaged(path, f"not JSON: {err}") from err
    _check_schema(raw, path)
    try:
        manifest = Manifest.model_validate(raw)
    except ValidationError as err:
        first = err.errors()[0]
        raise _damaged(path, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from err
    for name, hashes in manifest.skills.items():
        validate_name(name)
        if set(hashes) != set(SKILL_FILES):
            raise _damaged(path, f"{name} has the files {', '.join(hashes)}")
    if manifest.gate is not None and set(manifest.gate) != set(GATE_FILES):
        raise _damaged(path, f"the gate has the files {', '.join(manifest.gate)}")
    for name, named in manifest.mixes.items():
        validate_name(name)
        if name in manifest.skills or not named.weights.keys() <= manifest.skills.keys():
            raise _damaged(path, f"the mix {name!r} does not fit the skills")
        try:
            _ = named.mix
        except RecipeError as err:
            raise _damaged(path, f"the mix {name!r}: {err.what}") from err
    return manifest


def read_journal(root: Path) -> Journal | None:
    """The change in progress, or None. Raises LibraryError if its text is damaged."""
    path = root / JOURNAL
    try:
        raw = json.loads(path.read_bytes())
        _check_schema(raw, path)
        journal = Journal.model_validate(raw)
    except (FileNotFoundError, NotADirectoryError):
        return None  # `read_manifest` tells what is there instead
    except OSError as err:
        raise LibraryError(f"{path} cannot be read: {err.strerror or err}") from err
    except ValueError as err:  # pydantic's ValidationError is one
        raise _damaged(path, str(err)) from err
    for name in (*journal.place, *journal.drop):
        validate_name(name)
    if not _STAGING_NAME.fullmatch(journal.staging) or (root / journal.staging).is_symlink():
        raise _damaged(path, f"staging folder {journal.staging!r}")
    return journal


def commit(root: Path, staging: Path, journal: Journal, manifest: Manifest) -> None:
    """Make the change that lies in `staging`. The lock must be held.

    Raises:
        StorageError: the disk does not let us. If the journal was in place by then, the change
            is certain, and the next one to open the library finishes it.
    """
    write_file(staging / MANIFEST, manifest.to_bytes())
    write_file(staging / JOURNAL, journal.model_dump_json(indent=2).encode())
    for folder in (staging / SKILLS, staging, root):
        sync_folder(folder)
    move(staging / JOURNAL, root / JOURNAL)
    sync_folder(root)
    finish(root, journal)


def finish(root: Path, journal: Journal) -> None:
    """Carry out a committed change, from whatever step it had reached. The lock must be held.

    Raises:
        StorageError: a rename failed; the journal stays, and the next caller goes on.
        LibraryError: what the journal speaks of is not there.
    """
    staging = root / journal.staging
    old = staging / OLD
    if (staging / MANIFEST).is_file():
        for name in journal.place:
            _replace(staging / SKILLS / name, root / SKILLS / name, old / SKILLS / name)
        for name in journal.drop:
            _drop(root / SKILLS / name, old / SKILLS / name)
        if journal.gate == "place":
            _replace(staging / GATE, root / GATE, old / GATE)
        elif journal.gate == "drop":
            _drop(root / GATE, old / GATE)
        sync_folder(root / SKILLS)
        sync_folder(root)
        move(staging / MANIFEST, root / MANIFEST)
        sync_folder(root)
    elif read_manifest(root).generation < journal.generation:
        raise _damaged(root / JOURNAL, f"{journal.staging} is missing")
    remove_tree(root / JOURNAL)
    sync_folder(root)
    remove_tree(staging)


def make_staging(root: Path) -> Path:
    """A new staging folder with all the folders that `finish` moves things between.

    They are made before the commit, so that after it nothing but renames is left, which a full
    disk does not stop.
    """
    staging = root / f"{STAGING}{secrets.token_hex(8)}"
    for folder in (staging / SKILLS, staging / OLD / SKILLS, root / SKILLS):
        make_folder(folder)
    return staging


def discard_staging(root: Path, staging: Path) -> None:
    """Delete a staging folder, unless a journal still needs it."""
    if not (root / JOURNAL).exists():
        remove_tree(staging)


def sweep(root: Path) -> None:
    """Delete what killed writers left behind. The lock must be held and no journal open."""
    for left in root.glob(f"{STAGING}*"):
        remove_tree(left)


def _replace(staged: Path, final: Path, old: Path) -> None:
    if not staged.exists():
        return  # an earlier run got past this step
    _drop(final, old)
    move(staged, final)


def _drop(final: Path, old: Path) -> None:
    if final.exists() or final.is_symlink():
        move(final, old)


def _check_schema(raw: object, path: Path) -> None:
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if not isinstance(version, int):
        raise _damaged(path, "no schema_version")
    if version > SCHEMA:
        raise LibraryError(
            f"{path} was written by a newer loramix",
            given=f"schema {version}",
            expected=f"schema {SCHEMA} or older",
            hint="upgrade: pip install --upgrade loramix",
        )


def _damaged(path: Path, how: str) -> LibraryError:
    return LibraryError(
        f"{path} is damaged", given=how, hint="restore it from a copy, or train the library anew"
    )
