"""A library on disk: what it keeps, what it refuses, and that a change is whole or absent."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel

import loramix.library
from loramix.errors import (
    AdapterError,
    AdapterMismatchError,
    LibraryBusyError,
    LibraryError,
    LoramixError,
    StorageError,
    UnknownSkillError,
    UnsupportedAdapterError,
)
from loramix.library import Library, SkillCard, validate_name
from loramix.mixed import MixedModel
from loramix.storage import WriterLock
from tiny import make_tiny
from tiny_library import (
    FEATURES,
    FINGERPRINT,
    make_adapter,
    make_card,
    make_library,
    make_memory,
    same_adapter,
    set_gate,
    tree,
)


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return make_library(tmp_path / "lib", "math", "code")


def rewrite(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**content, **changes}), "utf-8")


# ── what it keeps ────────────────────────────────────────────────────────────────────────────


def test_what_is_added_is_read_back_bit_for_bit(library: Library) -> None:
    again = Library.open(library.path)
    assert list(again.skills) == ["math", "code"]
    assert (again.generation, again.base_id, again.fingerprint) == (1, "tiny-llama", FINGERPRINT)
    for seed, name in enumerate(again.skills):
        skill = again.skill(name)
        assert same_adapter(skill.adapter(make_tiny()), make_adapter(seed))
        assert torch.equal(skill.memory(), make_memory(seed))
        assert skill.card.description == f"does {name}"
    found = again.gate()
    assert found is not None
    assert found[1] == {"skills": ["math", "code"]}
    assert torch.equal(found[0]["weight"], torch.full((3, FEATURES), 0.5))
    again.verify()


def test_a_card_says_what_the_adapter_is(library: Library) -> None:
    card = library.skill("math").card
    assert card.name == "math"
    assert (card.base_id, card.base_fingerprint) == ("tiny-llama", FINGERPRINT)
    assert card.memory_shape == (5, FEATURES)
    assert card.lora is not None
    assert (card.lora.rank, card.lora.targets) == (2, ["q_proj", "v_proj"])
    assert card.lora.parameters == make_adapter().num_parameters


@pytest.mark.peer
def test_peft_loads_a_skill_folder_and_agrees(library: Library) -> None:
    ids = torch.randint(3, 90, (2, 7))
    mixed = MixedModel(make_tiny())
    mixed.add("code", library.skill("code").adapter())
    with torch.no_grad(), mixed.using(torch.ones(2, 1), ["code"]):
        ours = mixed(input_ids=ids).logits
    theirs = PeftModel.from_pretrained(make_tiny(), str(library.path / "skills" / "code"))
    with torch.no_grad():
        expected = theirs(input_ids=ids).logits
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


def test_a_skill_has_a_model_card_whose_front_matter_is_the_hubs(tmp_path: Path) -> None:
    library = Library.create(tmp_path / "lib", "org/base: 1B", FINGERPRINT)
    evil = "---\ntags: [evil]\n---\n```` # not a heading"
    card = SkillCard(
        description="two\nlines", examples=[evil], scores={"a|b": 0.5}, provenance={"seed": 1}
    )
    with library.edit() as txn:
        txn.add("math", make_adapter(), card, make_memory())
    text = (library.path / "skills" / "math" / "README.md").read_text("utf-8")
    _, front, body = text.split("---\n", 2)
    facts = yaml.safe_load(front)
    assert facts["base_model"] == "org/base: 1B"
    assert facts["library_name"] == "peft"
    assert "loramix" in facts["tags"]
    assert "\n`````text\n" in body  # a fence longer than any in the example
    assert "two lines" in body
    assert "a\\|b" in body


def test_memory_keeps_its_dtype_on_disk_and_is_read_as_float32(tmp_path: Path) -> None:
    library = make_library(tmp_path / "lib")
    with library.edit() as txn:
        txn.add("math", make_adapter(), make_card("math"), make_memory().half())
    small = (library.path / "skills" / "math" / "memory.safetensors").stat().st_size
    assert small < 5 * FEATURES * 4 + 100
    assert library.skill("math").memory().dtype == torch.float32


def test_order_of_skills_survives_replacing_one(library: Library) -> None:
    with library.edit() as txn:
        txn.add("math", make_adapter(9), make_card("math"), make_memory(9), replace=True)
    assert list(Library.open(library.path).skills) == ["math", "code"]


# ── changes ──────────────────────────────────────────────────────────────────────────────────


def test_each_change_makes_one_generation_and_an_empty_one_none(library: Library) -> None:
    with library.edit() as txn:
        txn.remove("math")
        txn.add("qa", make_adapter(3), make_card("qa"), make_memory(3))
    assert library.generation == 2
    assert list(library.skills) == ["code", "qa"]
    with library.edit():
        pass
    assert library.generation == 2


def test_adding_leaves_the_other_skills_bit_for_bit(library: Library) -> None:
    before = tree(library.path / "skills")
    with library.edit() as txn:
        txn.add("qa", make_adapter(3), make_card("qa"), make_memory(3))
    after = tree(library.path / "skills")
    assert {name: after[name] for name in before} == before


def test_a_change_that_raises_leaves_nothing(library: Library) -> None:
    before = tree(library.path)

    def change() -> None:
        with library.edit() as txn:
            txn.add("qa", make_adapter(), make_card("qa"), make_memory())
            txn.remove("math")
            set_gate(txn.set_gate, txn.names)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        change()
    assert tree(library.path) == before
    assert not list(library.path.glob(".staging-*"))


def test_the_block_sees_what_the_library_will_hold(library: Library) -> None:
    with library.edit() as txn:
        txn.remove("math")
        txn.add("qa", make_adapter(3), make_card("qa"), make_memory(3))
        assert txn.names == ("code", "qa")
        memories = txn.memories()
        assert torch.equal(memories["qa"], make_memory(3))
        assert torch.equal(memories["code"], make_memory(1))
        assert {name: card.description for name, card in txn.cards().items()} == {
            "code": "does code",
            "qa": "does qa",
        }


def test_a_gate_goes_when_the_skills_that_it_knows_change(library: Library) -> None:
    with library.edit() as txn:
        txn.add("math", make_adapter(7), make_card("math"), make_memory(7), replace=True)
    assert library.gate() is not None
    with library.edit() as txn:
        txn.remove("math")
    assert library.gate() is None
    assert not (library.path / "gate").exists()


def test_removed_and_added_again_in_one_change_is_replaced(library: Library) -> None:
    with library.edit() as txn:
        txn.remove("math")
        txn.add("math", make_adapter(5), make_card("math"), make_memory(5))
    assert same_adapter(library.skill("math").adapter(), make_adapter(5))


def test_added_and_removed_in_one_change_is_nothing(library: Library) -> None:
    before = tree(library.path)
    with library.edit() as txn:
        txn.add("qa", make_adapter(), make_card("qa"), make_memory())
        txn.remove("qa")
    assert tree(library.path) == before


def test_an_edit_starts_from_what_others_have_written(library: Library) -> None:
    other = Library.open(library.path)
    with library.edit() as txn:
        txn.add("qa", make_adapter(), make_card("qa"), make_memory())
    with other.edit() as txn:
        assert txn.names == ("math", "code", "qa")
        txn.remove("math")
    assert other.generation == 3
    assert list(library.refresh().skills) == ["code", "qa"]


# ── what is refused ──────────────────────────────────────────────────────────────────────────

BAD_NAMES = [
    "",
    "Math",
    "a b",
    "-a",
    "_a",
    "a/b",
    "..",
    "../x",
    "a.b",
    "ä",
    "a\n",
    "a\0",
    "x" * 65,
    "auto",
    "base",
    "all",
    "/tmp/x",
    "con/../x",
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_names_are_refused_and_write_nothing(library: Library, name: str) -> None:
    before = tree(library.path.parent)
    with pytest.raises(LibraryError), library.edit() as txn:
        txn.add(name, make_adapter(), make_card("x"), make_memory())
    assert tree(library.path.parent) == before


@given(st.text(max_size=70))
def test_a_name_that_passes_is_one_folder_below_skills(name: str) -> None:
    try:
        validate_name(name)
    except LibraryError:
        return
    assert Path(os.path.normpath(Path("skills") / name)) == Path("skills") / name
    assert name not in (".", "..", "")


@pytest.mark.parametrize("name", ["a", "0", "support-mail", "x_1", "z" * 64])
def test_good_names_pass(name: str) -> None:
    assert validate_name(name) == name


def test_a_taken_name_needs_replace(library: Library) -> None:
    with pytest.raises(LibraryError, match="--replace"), library.edit() as txn:
        txn.add("math", make_adapter(), make_card("math"), make_memory())


def test_an_unknown_skill_is_named_with_the_nearest(library: Library) -> None:
    with pytest.raises(UnknownSkillError, match="did you mean 'math'"):
        library.skill("maths")
    with pytest.raises(UnknownSkillError, match="did you mean 'code'"), library.edit() as txn:
        txn.remove("cod")


@pytest.mark.parametrize(
    "memory",
    [
        torch.zeros(3),
        torch.zeros(0, 6),
        torch.zeros(3, 0),
        torch.zeros(3, 6, dtype=torch.int64),
        torch.full((3, 6), math.nan),
        torch.full((3, 6), math.inf),
        torch.zeros(2, 3, 6),
    ],
    ids=lambda memory: f"{list(memory.shape)}-{memory.dtype}",
)
def test_memory_is_n_by_f_finite_floats(library: Library, memory: torch.Tensor) -> None:
    with pytest.raises(LibraryError, match="gate memory"), library.edit() as txn:
        txn.add("qa", make_adapter(), make_card("qa"), memory)


def test_memories_of_two_widths_do_not_mix(library: Library) -> None:
    before = tree(library.path)
    found = pytest.raises(LibraryError, match=r"number of features[\s\S]*qa: 9")
    with found, library.edit() as txn:
        txn.add("qa", make_adapter(), make_card("qa"), torch.zeros(4, 9))
    assert tree(library.path) == before


def test_a_folder_that_the_library_does_not_list_is_never_overwritten(library: Library) -> None:
    mine = library.path / "skills" / "qa"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine", "utf-8")
    with pytest.raises(LibraryError, match="in the way"), library.edit() as txn:
        txn.add("qa", make_adapter(), make_card("qa"), make_memory())
    assert (mine / "notes.txt").read_text("utf-8") == "mine"


def test_another_base_is_refused(library: Library) -> None:
    library.check_base(SimpleNamespace(id="x", fingerprint=FINGERPRINT))  # type: ignore[arg-type]
    with pytest.raises(AdapterMismatchError, match="tiny-llama"):
        library.check_base(SimpleNamespace(id="x", fingerprint="0" * 64))  # type: ignore[arg-type]


def test_an_adapter_of_another_shape_is_refused(library: Library) -> None:
    with pytest.raises(AdapterError):
        library.skill("math").adapter(make_tiny(hidden_size=64))


def test_what_is_no_library_is_said_so(tmp_path: Path, library: Library) -> None:
    with pytest.raises(LibraryError, match="no such folder"):
        Library.open(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(LibraryError, match="no library"):
        Library.open(tmp_path / "empty")
    with pytest.raises(LibraryError):
        Library.open(library.path / "library.json")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"schema_version": "1"}', '{"schema_version": 1}', "\x00\xff"]
)
def test_a_damaged_manifest_is_said_so(library: Library, text: str) -> None:
    (library.path / "library.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(LibraryError, match="damaged"):
        Library.open(library.path)


def test_a_newer_schema_is_refused(library: Library) -> None:
    rewrite(library.path / "library.json", schema_version=3, novelty=1)
    with pytest.raises(LibraryError, match="newer loramix"):
        Library.open(library.path)


@pytest.mark.parametrize("name", ["../../outside", "/tmp/x", "a/b", "base"])
def test_a_strangers_manifest_cannot_lead_outside(library: Library, name: str) -> None:
    manifest = library.path / "library.json"
    skills = json.loads(manifest.read_text("utf-8"))["skills"]
    rewrite(manifest, skills={name: skills["math"]})
    with pytest.raises(LibraryError):
        Library.open(library.path)


def test_a_strangers_manifest_cannot_name_other_files(library: Library) -> None:
    manifest = library.path / "library.json"
    skills = json.loads(manifest.read_text("utf-8"))["skills"]
    skills["math"]["../../../outside"] = "0"
    rewrite(manifest, skills=skills)
    with pytest.raises(LibraryError, match="damaged"):
        Library.open(library.path)


@pytest.mark.parametrize("kind", ["dotted", "link"])
def test_a_strangers_journal_cannot_lead_outside(
    library: Library, tmp_path: Path, kind: str
) -> None:
    outside = tmp_path / "outside"
    (outside / "skills" / "math").mkdir(parents=True)
    (outside / "skills" / "math" / "secret").write_text("mine", "utf-8")
    shutil.copy(library.path / "library.json", outside)
    staging = "../outside" if kind == "dotted" else ".staging-0123456789abcdef"
    if kind == "link":
        (library.path / staging).symlink_to(outside)
    journal = {
        "schema_version": 1,
        "staging": staging,
        "generation": 2,
        "place": ["math"],
        "drop": [],
        "gate": "keep",
    }
    (library.path / ".journal.json").write_text(json.dumps(journal), "utf-8")
    with pytest.raises(LibraryError, match="damaged"):
        Library.open(library.path)
    assert (outside / "skills" / "math" / "secret").read_text("utf-8") == "mine"


@pytest.mark.parametrize(
    "file", ["adapter_model.safetensors", "adapter_config.json", "memory.safetensors"]
)
def test_an_altered_or_missing_file_is_found(library: Library, file: str) -> None:
    path = library.path / "skills" / "math" / file
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(LibraryError, match=file):
        Library.open(library.path).verify()
    path.unlink()
    with pytest.raises(LibraryError, match=file):
        Library.open(library.path)


@pytest.mark.parametrize("file", ["gate.safetensors", "gate.json"])
def test_an_altered_gate_is_found(library: Library, file: str) -> None:
    with (library.path / "gate" / file).open("ab") as stream:
        stream.write(b" ")
    with pytest.raises(LibraryError, match=file):
        Library.open(library.path)


def test_a_description_may_be_edited_by_hand_but_must_be_a_card(library: Library) -> None:
    card = library.path / "skills" / "math" / "skill.json"
    rewrite(card, description="by hand")
    again = Library.open(library.path)
    again.verify()
    assert again.skill("math").card.description == "by hand"
    card.write_text("{", "utf-8")
    with pytest.raises(LibraryError, match=r"skill\.json is damaged"):
        Library.open(library.path)


def test_pickled_weights_are_never_read(library: Library) -> None:
    folder = library.path / "skills" / "math"
    torch.save({}, folder / "adapter_model.bin")
    same_adapter(library.skill("math").adapter(), make_adapter(0))
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises((LibraryError, UnsupportedAdapterError)):
        Library.open(library.path)
    with pytest.raises((LibraryError, UnsupportedAdapterError)):
        library.skill("math").adapter()


def test_a_library_is_made_only_where_there_is_nothing(tmp_path: Path, library: Library) -> None:
    with pytest.raises(LibraryError, match="already holds a library"):
        Library.create(library.path, "b", FINGERPRINT)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine", "utf-8")
    before = tree(tmp_path)
    with pytest.raises(LibraryError, match="not an empty folder"):
        Library.create(tmp_path / "mine", "b", FINGERPRINT)
    with pytest.raises(LibraryError, match="not an empty folder"):
        library.copy_to(tmp_path / "mine")
    with pytest.raises(LibraryError, match="not an empty folder"):
        Library.create(tmp_path / "mine" / "file", "b", FINGERPRINT)
    assert tree(tmp_path) == before
    assert not (tmp_path / "mine" / ".lock").exists()
    (tmp_path / "empty").mkdir()
    assert Library.create(tmp_path / "empty", "b", FINGERPRINT).skills == {}
    assert Library.create(tmp_path / "deep" / "er", "b", FINGERPRINT).generation == 0


# ── the shipped library, and copies ──────────────────────────────────────────────────────────


def test_a_copy_is_the_same_library_and_can_be_edited(library: Library, tmp_path: Path) -> None:
    copy = library.copy_to(tmp_path / "copy")
    assert tree(copy.path) == tree(library.path)
    copy.verify()
    with copy.edit() as txn:
        txn.remove("math")
    assert (list(copy.skills), list(library.refresh().skills)) == (["code"], ["math", "code"])


def test_a_copy_of_a_library_that_was_changed_meanwhile_is_refused(
    library: Library, tmp_path: Path
) -> None:
    stale = Library.open(library.path)
    with library.edit() as txn:
        txn.add("math", make_adapter(8), make_card("math"), make_memory(8), replace=True)
    with pytest.raises(LibraryError, match="open it again"):
        stale.copy_to(tmp_path / "copy")
    assert not (tmp_path / "copy" / "library.json").exists()
    assert library.copy_to(tmp_path / "copy").generation == 2


def test_the_shipped_library_is_not_edited(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loramix.library, "shipped_path", lambda: library.path)
    before = tree(library.path)
    shipped = Library.shipped()
    assert shipped.is_shipped
    shipped.verify()
    with pytest.raises(LibraryError, match="cp -r"), shipped.edit() as txn:
        txn.remove("math")
    assert tree(library.path) == before


def test_a_folder_that_cannot_be_written_opens_and_refuses_edits() -> None:
    code = (
        "import os, sys\n"
        "from loramix.library import Library\n"
        "from loramix.errors import StorageError\n"
        "if os.getuid() == 0: os.setgid(65534); os.setuid(65534)\n"  # to whom rights apply
        "library = Library.open(sys.argv[1])\n"
        "try:\n"
        "    with library.edit() as txn: txn.remove('math')\n"
        "except StorageError as err: print(list(library.skills), 'not allowed' in str(err))\n"
    )
    with tempfile.TemporaryDirectory() as folder:  # pytest's own is closed to other users
        os.chmod(folder, 0o755)
        path = make_library(Path(folder) / "lib", "math", "code").path
        (path / ".lock").unlink()
        os.chmod(path, 0o555)
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
        )
        os.chmod(path, 0o755)
    assert done.stdout.strip() == "['math', 'code'] True"


# ── writers and readers at the same time ─────────────────────────────────────────────────────


def test_a_second_writer_is_told_who_holds_the_lock(library: Library) -> None:
    other = Library.open(library.path)
    busy = pytest.raises(LibraryBusyError, match=f"process {os.getpid()} ")
    with library.edit(), busy, other.edit(timeout=0.05):
        pass
    with library.edit(timeout=0.05):
        pass
    assert not (library.path / ".writer.json").exists()


def test_the_lock_of_a_killed_writer_is_free(library: Library) -> None:
    code = (
        "import os, signal, sys\n"
        "from loramix.library import Library\n"
        "with Library.open(sys.argv[1]).edit():\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(library.path)], check=False)
    assert done.returncode == -9
    assert list(library.path.glob(".staging-*"))
    with library.edit(timeout=1.0) as txn:
        txn.remove("math")
    assert not list(library.path.glob(".staging-*"))
    assert not (library.path / ".writer.json").exists()


def test_a_waiting_writer_gets_its_turn(library: Library) -> None:
    names = [f"skill-{i}" for i in range(6)]

    def add(name: str) -> None:
        with Library.open(library.path).edit(timeout=30) as txn:
            txn.add(name, make_adapter(), make_card(name), make_memory())

    threads = [threading.Thread(target=add, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(library.refresh().skills) == {"math", "code", *names}
    assert library.generation == 7


def test_readers_see_one_generation_whole_while_it_is_written(library: Library) -> None:
    """Adapter, card, memory and gate of a skill carry one number, which must always agree."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def write(number: int) -> None:
        with library.edit() as txn:
            for name in ("math", "code"):
                card = SkillCard(description=str(number))
                memory = torch.full((2, FEATURES), float(number))
                txn.add(name, make_adapter(number), card, memory, replace=True)
            txn.set_gate({"w": torch.tensor([float(number)])}, {"number": number})

    def read() -> None:
        while not stop.is_set():
            try:
                seen = Library.open(library.path)
                gate = seen.gate()
                assert gate is not None
                number = gate[1]["number"]
                assert {skill.card.description for skill in seen.skills.values()} == {str(number)}
                assert gate[0]["w"].item() == number == seen.generation
                for skill in seen.skills.values():
                    with contextlib.suppress(LibraryError):  # written over: said, never mixed
                        assert skill.memory()[0, 0] == number
                        assert same_adapter(skill.adapter(), make_adapter(number))
            except BaseException as err:
                failures.append(err)
                return

    write(2)
    readers = [threading.Thread(target=read) for _ in range(2)]
    for thread in readers:
        thread.start()
    for number in range(3, 15):
        write(number)
    stop.set()
    for thread in readers:
        thread.join()
    assert failures == []


def test_what_was_opened_before_a_change_never_mixes_with_it(library: Library) -> None:
    old = Library.open(library.path)
    with library.edit() as txn:
        txn.add("math", make_adapter(8), make_card("math"), make_memory(8), replace=True)
    with pytest.raises(LibraryError, match="open it again"):
        old.skill("math").adapter()
    with pytest.raises(LibraryError, match="open it again"):
        old.skill("math").memory()
    assert same_adapter(old.skill("code").adapter(), make_adapter(1))
    assert same_adapter(old.refresh().skill("math").adapter(), make_adapter(8))


def test_errors_say_what_to_do(library: Library, tmp_path: Path) -> None:
    def fails(call: Any) -> str:
        with pytest.raises(LoramixError) as caught:
            call()
        return str(caught.value)

    assert "do this:" in fails(lambda: Library.open(tmp_path / "nowhere"))
    assert "do this:" in fails(lambda: Library.create(library.path, "b", "f"))
    assert "do this:" in fails(lambda: library.skill("qa"))


def test_a_link_in_the_place_of_skills_is_refused_before_the_commit(
    library: Library, tmp_path: Path
) -> None:
    (library.path / "skills").rename(tmp_path / "elsewhere")
    (library.path / "skills").symlink_to(tmp_path / "elsewhere")
    Library.open(library.path).verify()
    with pytest.raises(LibraryError, match="is a link"), library.edit() as txn:
        txn.remove("math")
    Library.open(library.path).verify()


def test_locking_a_place_that_is_not_there_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError), WriterLock(tmp_path / "nowhere", 0.0):
        pass
