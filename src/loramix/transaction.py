"""One change of a library: skills added, removed, a new gate; all of it happens, or none.

with library.edit() as txn:
    txn.add("math", adapter, card, memory)
    txn.set_gate(tensors, meta)
"""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from loramix.card import LoraSummary, SkillCard, model_card
from loramix.errors import LibraryError, SkillInUseError, UnknownSkillError, skill_hint
from loramix.manifest import (
    GATE,
    GATE_FILES,
    GATE_META,
    GATE_TENSORS,
    MANIFEST,
    MEMORY,
    SKILL_FILES,
    SKILLS,
    Journal,
    Manifest,
    NamedMix,
    commit,
    discard_staging,
    make_staging,
    validate_name,
)
from loramix.mix import Mix, check_skills
from loramix.storage import (
    file_sha256,
    make_folder,
    remove_tree,
    sha256,
    storage_errors,
    sync_tree,
    write_file,
)

if TYPE_CHECKING:
    from torch import Tensor

    from loramix.adapter import Adapter

CARD = "skill.json"
README = "README.md"
MEMORY_KEY = "features"


class Transaction:
    """What a `with library.edit() as txn:` block can do. The writer's lock is held meanwhile.

    Each call checks its input and writes to a staging folder at once, so that a bad adapter or a
    full disk is reported where it arises; readers see nothing before the block ends.
    """

    def __init__(self, root: Path, manifest: Manifest) -> None:
        self._root = root
        self._before = manifest
        self._skills: dict[str, dict[str, str]] = dict(manifest.skills)
        self._placed: dict[str, SkillCard] = {}
        self._gate: dict[str, str] | None = None
        self._mixes = dict(manifest.mixes)
        self._staging = make_staging(root)

    @property
    def names(self) -> tuple[str, ...]:
        """The skills that the library will hold, in its order."""
        return tuple(self._skills)

    def add(
        self,
        name: str,
        adapter: Adapter,
        card: SkillCard,
        memory: Tensor,
        *,
        replace: bool = False,
    ) -> None:
        """Add a skill, or with `replace` put it in the place of the one of that name.

        Args:
            memory: gate features of its example prompts, [N, F], any float dtype, finite.

        Raises:
            LibraryError: bad or taken name, or memory of another form.
            StorageError: the disk is full or does not let us write.
        """
        from loramix.adapter import write_adapter

        validate_name(name)
        if name in self._mixes:
            raise mix_taken(name)
        if name in self._skills and not replace:
            raise name_taken(name)
        final = self._root / SKILLS / name
        if name not in self._before.skills and (final.exists() or final.is_symlink()):
            raise LibraryError(
                f"A folder is in the way: {final}",
                expected=f"nothing there: {MANIFEST} does not list that skill",
                hint="move it away; to add it as a skill, pass its new path to `loramix add`",
            )
        check_memory(name, memory)
        full_card = card.model_copy(
            update={
                "name": name,
                "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "base_id": self._before.base_id,
                "base_fingerprint": self._before.base_fingerprint,
                "lora": LoraSummary(
                    rank=adapter.rank,
                    parameters=adapter.num_parameters,
                    bytes=adapter.nbytes,
                    targets=sorted({path.rpartition(".")[2] for path in adapter.modules}),
                ),
                "memory_shape": (memory.shape[0], memory.shape[1]),
            }
        )
        # PEFT names the base in the config; a path on somebody's disk would say nothing here.
        named = {**adapter.config, "base_model_name_or_path": self._before.base_id}
        folder = self._staging / SKILLS / name
        remove_tree(folder)
        make_folder(folder)
        with storage_errors(f"saving the skill {name!r}", self._root):
            write_adapter(dataclasses.replace(adapter, config=named), folder)
            data = {MEMORY_KEY: memory.detach().cpu().contiguous()}
            _write_tensors(folder / MEMORY, data)
            write_file(folder / CARD, (full_card.model_dump_json(indent=2) + "\n").encode())
            write_file(folder / README, model_card(full_card).encode())
            sync_tree(folder)
            self._skills[name] = {file: file_sha256(folder / file) for file in SKILL_FILES}
        self._placed[name] = full_card

    def set_mix(self, name: str, mix: Mix, description: str = "", *, replace: bool = False) -> None:
        """Keep a mix under a name, or with `replace` put it in the place of the one of that name.

        Raises:
            LibraryError: bad or taken name.
            UnknownSkillError: the mix holds a skill that the library will not.
        """
        validate_name(name)
        if name in self._skills:
            raise LibraryError(
                f"The library has a skill {name!r}, so that no mix can be called that",
                hint="choose another name",
            )
        if name in self._mixes and not replace:
            raise mix_taken(name)
        check_skills(mix, self._skills)
        self._mixes[name] = NamedMix(weights=mix.weights, description=description)

    def remove(self, name: str) -> None:
        """Remove a skill or a named mix.

        Raises:
            LibraryError: a named mix uses the skill.
            UnknownSkillError: there is nothing of that name.
        """
        if self._mixes.pop(name, None) is not None:
            return
        if name not in self._skills:
            raise UnknownSkillError(
                f"The library has no skill {name!r}",
                expected=", ".join(self._skills) or "a skill; the library is empty",
                hint=skill_hint(name, [*self._skills, *self._mixes]),
            )
        check_unused(name, self._mixes)
        del self._skills[name]
        if self._placed.pop(name, None):
            remove_tree(self._staging / SKILLS / name)

    def set_gate(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Give the library a new gate: its tensors and its JSON-able description.

        Raises:
            StorageError: the disk is full or does not let us write.
            TypeError: `meta` holds something that JSON cannot.
        """
        text = json.dumps(meta, indent=2, ensure_ascii=False, allow_nan=False)
        folder = self._staging / GATE
        make_folder(folder)
        with storage_errors("saving the gate", self._root):
            data = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
            _write_tensors(folder / GATE_TENSORS, data)
            write_file(folder / GATE_META, (text + "\n").encode())
            sync_tree(folder)
            self._gate = {file: file_sha256(folder / file) for file in GATE_FILES}

    def memories(self, *, but: str | None = None) -> dict[str, Tensor]:
        """Gate memory of every skill that the library will hold, [N, F] float32 each.

        Args:
            but: a skill whose memory is not read, because a new one takes its place.

        Raises:
            LibraryError: a memory is missing or altered.
        """
        found = {}
        for name, hashes in self._skills.items():
            if name == but:
                continue
            root = self._staging if name in self._placed else self._root
            found[name] = read_memory(root / SKILLS / name / MEMORY, hashes[MEMORY])
        return found

    def cards(self) -> dict[str, SkillCard]:
        """Card of every skill that the library will hold."""
        return {
            name: self._placed.get(name) or read_card(self._root / SKILLS / name)
            for name in self._skills
        }

    def commit(self) -> None:
        """Make the change. Called by `Library.edit` at the end of its block.

        Raises:
            LibraryError: the skills' memories do not have the same number of features.
            StorageError: the disk does not let us; if the journal was written by then, the
                change is certain and the next one to open the library finishes it.
        """
        drop = [name for name in self._before.skills if name not in self._skills]
        if not (drop or self._placed or self._gate or self._mixes != self._before.mixes):
            return
        self._check_features()
        self._check_movable()
        journal = Journal(
            staging=self._staging.name,
            generation=self._before.generation + 1,
            place=list(self._placed),
            drop=drop,
            gate=self._gate_step(),
        )
        kept = self._before.gate if journal.gate == "keep" else None
        manifest = self._before.model_copy(
            update={
                "generation": journal.generation,
                "skills": self._skills,
                "gate": self._gate or kept,
                "mixes": self._mixes,
            }
        )
        commit(self._root, self._staging, journal, manifest)

    def close(self) -> None:
        """Delete what was staged, unless the change is certain and still needs it."""
        discard_staging(self._root, self._staging)

    def _gate_step(self) -> Literal["keep", "place", "drop"]:
        if self._gate:
            return "place"
        # A gate speaks about the skills that it was fitted on; other skills, no gate.
        return "keep" if set(self._skills) == set(self._before.skills) else "drop"

    def _check_features(self) -> None:
        widths = {
            name: card.memory_shape[1]
            for name, card in self.cards().items()
            if card.memory_shape is not None
        }
        if len(set(widths.values())) > 1:
            raise LibraryError(
                "The skills' gate memories do not have the same number of features",
                given=", ".join(f"{name}: {width}" for name, width in widths.items()),
                expected="one F for all of them",
                hint="compute all memories with the same gate features",
            )

    def _check_movable(self) -> None:
        """What would make a rename fail after the commit must be found before it."""
        skills = self._root / SKILLS
        if skills.is_symlink():
            raise LibraryError(
                f"{skills} is a link, so that a change could not be made whole",
                hint="make it a real folder on the disk of the library",
            )
        for folder in (self._root, skills):
            if not os.access(folder, os.W_OK | os.X_OK):
                with storage_errors("changing the library", folder):
                    raise PermissionError(13, "not writable")


def name_taken(name: str) -> LibraryError:
    """What is said about a name that another skill has."""
    return LibraryError(
        f"The library already has a skill {name!r}",
        hint="pass --replace (replace=True) to exchange it, or choose another name",
    )


def mix_taken(name: str) -> LibraryError:
    """What is said about a name that a mix has."""
    return LibraryError(
        f"The library already has a mix {name!r}",
        hint=f"choose another name, or take the mix out first: loramix remove {name}",
    )


def check_unused(name: str, mixes: Mapping[str, NamedMix]) -> None:
    """Raises SkillInUseError if a named mix holds the skill `name`."""
    users = [mix for mix, named in mixes.items() if name in named.weights]
    if users:
        raise SkillInUseError(
            f"The skill {name!r} is used by a mix, which would be another without it",
            given=", ".join(f"{user} = {mixes[user].mix}" for user in users),
            hint="take the mix out first: " + "; ".join(f"loramix remove {u}" for u in users),
        )


def check_memory(name: str, memory: Tensor) -> None:
    """Raises LibraryError unless `memory` is [N, F] with N and F at least 1, float, finite."""
    expected = "[N, F], N and F at least 1, a float dtype, finite numbers"
    shape = tuple(memory.shape)
    given = f"shape {list(shape)}, dtype {memory.dtype}"
    good = len(shape) == 2 and 0 not in shape and memory.is_floating_point()
    if good and not bool(memory.isfinite().all()):
        good, given = False, f"{given}, with NaN or infinite numbers"
    if not good:
        raise LibraryError(f"Bad gate memory for {name!r}", given=given, expected=expected)


def read_memory(path: Path, expected_sha256: str) -> Tensor:
    """The [N, F] float32 features of one `memory.safetensors`.

    Raises:
        LibraryError: missing, or not the file that the manifest lists.
    """
    from safetensors.torch import load

    try:
        data = path.read_bytes()
    except OSError as err:
        raise skill_damaged(path, err.strerror or str(err)) from err
    if sha256(data) != expected_sha256:
        raise skill_damaged(path, "its SHA-256 differs")
    memory = load(data).get(MEMORY_KEY)
    if memory is None:
        raise LibraryError(f"{path} is damaged", expected=f"a tensor {MEMORY_KEY!r}")
    return memory.float()


def skill_damaged(path: Path, given: str, expected: str | None = None) -> LibraryError:
    """What is said about a file of a skill that is gone or another: `LIBRARY/skills/NAME/FILE`."""
    gone = not path.exists()
    return LibraryError(
        f"{path} is {'missing' if gone else 'not the file that the library lists'}",
        given=given,
        expected=expected,
        hint="if another process just changed the library, open it again (a command does, when it "
        f"is run again); else {way_out(path.parent)}",
    )


def way_out(folder: Path) -> str:
    """What to do about a damaged skill, `LIBRARY/skills/NAME`."""
    library = shlex.quote(str(folder.parent.parent))
    return f"restore it, or take the skill out: loramix remove {folder.name} --library {library}"


def read_card(folder: Path) -> SkillCard:
    """The card in a skill's folder. Raises LibraryError if it is missing or damaged."""
    path = folder / CARD
    try:
        return SkillCard.model_validate_json(path.read_bytes())
    except OSError as err:
        raise LibraryError(
            f"{path} cannot be read: {err.strerror or err}",
            hint="restore the file, or remove the skill and add it again",
        ) from err
    except ValueError as err:
        raise LibraryError(f"{path} is damaged", given=str(err).splitlines()[0]) from err


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write safetensors through our own file, so that a full disk is an ordinary OSError."""
    from safetensors.torch import save

    write_file(path, save(tensors))
