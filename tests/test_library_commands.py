"""`add`, `remove`, `list` and `show`, as functions; `test_cli.py` runs them as commands."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from loramix.adapter import LoraSettings, init_adapter, write_adapter
from loramix.base import Base, load_base
from loramix.commands.library import add, list_skills, remove, show
from loramix.commands.session import Session
from loramix.errors import (
    AdapterMismatchError,
    DamageWarning,
    DataError,
    LibraryError,
    UnknownSkillError,
)
from loramix.gate import read_gate, route
from loramix.gate.store import make_policy
from loramix.library import Library
from loramix.mix import Policy
from tiny_base import save_base
from tiny_library import make_library, tree

CALLS = {"math": "add two and two, number", "code": "the cat sat on the mat, time"}


def write_prompts(path: Path, prompts: Sequence[str]) -> Path:
    lines = [json.dumps({"prompt": prompt}) + "\n" for prompt in prompts]
    path.write_text("".join(lines), "utf-8")
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, an adapter for it, prompts of two skills, and a library grown from nothing."""
    place = tmp_path_factory.mktemp("commands")
    base = save_base(place / "base")
    write_adapter(init_adapter(base.model, LoraSettings(r=2, alpha=4), 1), place / "adapter")
    Library.create(place / "library", str(place / "base"), base.fingerprint)
    for name, text in CALLS.items():
        prompts = [f"{text} {i}" for i in range(40)]
        examples = write_prompts(place / f"{name}.jsonl", prompts)
        add(
            place / "adapter",
            name=name,
            examples=examples,
            description=f"does {name}",
            library=place / "library",
            device="cpu",
        )
    return place


@pytest.fixture(scope="module")
def base(place: Path) -> Base:
    return load_base(str(place / "base"), device="cpu")


@pytest.fixture
def library(place: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Library.open(place / "library").copy_to(tmp_path / "library").path


def test_a_library_grown_from_nothing_routes_its_skills_and_knows_none(
    place: Path, base: Base
) -> None:
    gate = read_gate(Library.open(place / "library"), base)
    assert gate.skills == ("math", "code")
    prompts = [f"{text} 7" for text in CALLS.values()]
    assert [r.mix.weights for r in route(gate, prompts, Policy())] == [{"math": 1}, {"code": 1}]


def test_adding_reports_and_keeps_the_old_skills_bit_for_bit(place: Path, library: Path) -> None:
    before = tree(library / "skills")
    examples = write_prompts(library.parent / "e.jsonl", ["sort this", "sort that"] * 5)
    result = add(place / "adapter", name="sort", examples=examples, library=library)
    assert list(result["skills"]) == ["math", "code", "sort"]
    assert result["generation"] == Library.open(library).generation == 3
    assert result["gate"]["skills"] == ["math", "code", "sort"]
    assert 0 <= result["gate"]["accuracy"] <= 1
    after = tree(library / "skills")
    assert {name: after[name] for name in before} == before
    skill = Library.open(library).skill("sort")
    assert skill.card.examples == ["sort this", "sort that"]  # each once
    assert len(skill.memory()) == 200  # the gate makes more of few
    Library.open(library).verify()


def test_adding_tells_where_it_is_on_stderr(
    place: Path, library: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add(place / "adapter", name="sort", examples=place / "math.jsonl", library=library)
    told = capsys.readouterr()
    assert told.out == ""
    for line in ("load the base …", "refit the gate …", "refit the gate: "):
        assert line in told.err


def test_one_example_is_enough_to_add_a_skill(place: Path, library: Path) -> None:
    examples = write_prompts(library.parent / "e.jsonl", ["sort this"])
    result = add(place / "adapter", name="sort", examples=examples, library=library)
    assert "sort" in result["gate"]["skills"]


@pytest.mark.slow
def test_a_library_without_a_gate_gets_one_from_its_memories(
    place: Path, library: Path, base: Base
) -> None:
    with Library.open(library).edit() as txn:
        txn.remove("code")
    assert Library.open(library).gate() is None
    examples = place / "code.jsonl"
    add(place / "adapter", name="code", examples=examples, library=library)
    gate = read_gate(Library.open(library), base)
    prompts = [f"{text} 7" for text in CALLS.values()]
    assert [r.mix.weights for r in route(gate, prompts, Policy())] == [{"math": 1}, {"code": 1}]


def test_the_kind_of_policy_survives_adding_and_removing(
    place: Path, library: Path, base: Base
) -> None:
    opened = Library.open(library)
    gate = read_gate(opened, base)
    with opened.edit() as txn:
        txn.set_gate(*gate.state(dataclasses.replace(gate.policy, kind="topk", k=3)))
    add(place / "adapter", name="sort", examples=place / "math.jsonl", library=library)
    assert (make_policy(opened.refresh()).kind, make_policy(opened).k) == ("topk", 3)
    remove("sort", library=library)
    assert (make_policy(opened.refresh()).kind, make_policy(opened).k) == ("topk", 3)


def test_replacing_learns_the_skill_anew(place: Path, library: Path, base: Base) -> None:
    examples = write_prompts(
        library.parent / "e.jsonl", [f"dog {i} to get four" for i in range(40)]
    )
    call = {"name": "math", "examples": examples, "library": library}
    with pytest.raises(LibraryError, match="--replace"):
        add(place / "adapter", **call)
    result = add(place / "adapter", replace=True, **call)
    assert list(result["skills"]) == ["math", "code"]
    gate = read_gate(Library.open(library), base)
    assert route(gate, ["dog 7 to get four"])[0].mix.weights == {"math": 1}


def test_removing_refits_and_the_last_skill_takes_the_gate_along(library: Path, base: Base) -> None:
    result = remove("math", library=library)
    assert list(result["skills"]) == result["gate"]["skills"] == ["code"]
    assert read_gate(Library.open(library), base).skills == ("code",)
    result = remove("code", library=library)
    assert (result["skills"], result["gate"]["accuracy"]) == ({}, None)
    assert Library.open(library).gate() is None


def lose_folder(skill: Path) -> None:
    shutil.rmtree(skill)


def lose_to_a_link(skill: Path) -> None:
    shutil.rmtree(skill)
    skill.symlink_to("nowhere")


def lose_memory(skill: Path) -> None:
    (skill / "memory.safetensors").unlink()


def alter_memory(skill: Path) -> None:
    (skill / "memory.safetensors").write_bytes(b"rubbish")


def spoil_card(skill: Path) -> None:
    (skill / "skill.json").write_text("{")


DAMAGES = [lose_folder, lose_to_a_link, lose_memory, alter_memory, spoil_card]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_skill_is_named_with_the_command_that_takes_it_out(
    library: Path, base: Base, damage: Callable[[Path], None]
) -> None:
    damage(library / "skills" / "math")
    way_out = f"loramix remove math --library {library}"
    with pytest.raises(LibraryError, match=way_out):
        Library.open(library).verify()
    with pytest.raises(LibraryError, match=way_out):
        remove("code", library=library)  # the gate cannot be refitted without the other's memory
    result = remove("math", library=library)
    assert list(result["skills"]) == result["gate"]["skills"] == ["code"]
    assert read_gate(Library.open(library), base).skills == ("code",)
    Library.open(library).verify()
    assert not (library / "skills" / "math").exists()
    assert not (library / "skills" / "math").is_symlink()


@pytest.mark.parametrize("damage", [lose_folder, lose_to_a_link, lose_memory, spoil_card])
def test_what_is_whole_is_used_beside_a_damaged_skill(
    library: Path, damage: Callable[[Path], None]
) -> None:
    damage(library / "skills" / "math")
    way_out = f"loramix remove math --library {library}"
    with pytest.warns(DamageWarning, match=way_out):
        listed = list_skills(library=library)
    assert (list(listed["skills"]), listed["damaged"]) == (["code"], ["math"])
    with pytest.warns(DamageWarning, match=way_out):
        session = Session(library, mix="code=0.5")
    assert session.fixed is not None
    assert dict(session.fixed.weights) == {"code": 0.5}
    with pytest.raises(LibraryError, match=way_out), pytest.warns(DamageWarning):
        Session(library, mix="code=0.5,math=0.5")
    remove("math", library=library)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list_skills(library=library)["damaged"] == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_skill_can_be_replaced(
    place: Path, library: Path, base: Base, damage: Callable[[Path], None]
) -> None:
    damage(library / "skills" / "math")
    call = {"name": "math", "examples": place / "math.jsonl", "library": library}
    with pytest.raises(LibraryError, match=r"--replace|loramix remove math"):
        add(place / "adapter", **call)
    result = add(place / "adapter", replace=True, **call)
    assert list(result["skills"]) == result["gate"]["skills"] == ["math", "code"]
    gate = read_gate(Library.open(library), base)
    assert route(gate, ["add two and two, number 7"])[0].mix.weights == {"math": 1}
    Library.open(library).verify()


def test_the_last_skill_can_be_taken_out_though_it_is_damaged(library: Path) -> None:
    remove("code", library=library)
    lose_folder(library / "skills" / "math")
    assert remove("math", library=library)["skills"] == {}
    assert Library.open(library).gate() is None
    with pytest.raises(UnknownSkillError):
        remove("math", library=library)


def test_a_skill_folder_can_be_added_and_brings_its_description(place: Path, library: Path) -> None:
    source = place / "library" / "skills" / "math"
    add(source, name="twin", examples=place / "math.jsonl", library=library)
    assert Library.open(library).skill("twin").card.description == "does math"


def test_a_skill_of_another_base_is_refused_by_its_fingerprint(
    place: Path, library: Path, tmp_path: Path
) -> None:
    stranger = make_library(tmp_path / "other", "math")  # the shapes of its adapter fit
    before = tree(library)
    with pytest.raises(AdapterMismatchError, match="another base"):
        add(
            stranger.skill("math").path,
            name="sort",
            examples=place / "math.jsonl",
            library=library,
        )
    assert tree(library) == before


def test_a_base_that_was_exchanged_is_refused(place: Path, library: Path, tmp_path: Path) -> None:
    save_base(tmp_path / "base", seed=5)
    manifest = library / "library.json"
    content = json.loads(manifest.read_text("utf-8"))
    manifest.write_text(json.dumps({**content, "base_id": str(tmp_path / "base")}), "utf-8")
    with pytest.raises(AdapterMismatchError, match="made for another base"):
        add(place / "adapter", name="sort", examples=place / "math.jsonl", library=library)


def test_an_adapter_that_names_another_base_is_said_so_and_added(
    place: Path, library: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = json.loads((place / "adapter" / "adapter_config.json").read_text("utf-8"))
    (tmp_path / "named").mkdir()
    (tmp_path / "named" / "adapter_config.json").write_text(
        json.dumps({**config, "base_model_name_or_path": "org/Something-1B"}), "utf-8"
    )
    weights = "adapter_model.safetensors"
    (tmp_path / "named" / weights).write_bytes((place / "adapter" / weights).read_bytes())
    add(tmp_path / "named", name="sort", examples=place / "math.jsonl", library=library)
    assert "org/Something-1B" in caplog.text
    card = Library.open(library).skill("sort").card
    assert card.provenance["trained on base"] == "org/Something-1B"


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("", "no rows"),
        ('{"promt": "a"}\n', "promt"),
        ('{"prompt": "a"}\n{"prompt": \n', "line 2"),
        ('{"prompt": " "}\n', "line 1"),
        (None, "no such file"),
    ],
    ids=["empty", "column", "broken", "blank", "missing"],
)
def test_examples_that_cannot_be_read_change_nothing(
    place: Path, library: Path, content: str | None, word: str
) -> None:
    examples = library.parent / "e.jsonl"
    if content is not None:
        examples.write_text(content, "utf-8")
    before = tree(library)
    with pytest.raises(DataError, match=word):
        add(place / "adapter", name="sort", examples=examples, library=library)
    assert tree(library) == before


def test_what_is_wrong_with_examples_is_said_in_words_of_a_file(place: Path, library: Path) -> None:
    examples = library.parent / "e.csv"
    for content in ("promt,x\na,b\n", "prompt,x\n ,b\n"):
        examples.write_text(content)
        with pytest.raises(DataError, match="a column `prompt`") as told:
            add(place / "adapter", name="sort", examples=examples, library=library)
        assert "template" not in str(told.value)
        assert "--examples" in str(told.value)
    with pytest.raises(DataError) as told:
        add(place / "adapter", name="sort", examples=library.parent / "none.csv", library=library)
    assert "YAML" not in str(told.value)


def test_a_wrong_call_is_said_before_the_base_is_loaded(place: Path, tmp_path: Path) -> None:
    library = make_library(tmp_path / "lib", "math").path  # of a base that does not exist
    examples = place / "math.jsonl"
    with pytest.raises(LibraryError, match="--replace"):
        add(place / "adapter", name="math", examples=examples, library=library)
    with pytest.raises(LibraryError, match="reserved"):
        add(place / "adapter", name="all", examples=examples, library=library)
    with pytest.raises(UnknownSkillError, match="did you mean 'math'"):
        remove("mat", library=library)
    with pytest.raises(UnknownSkillError, match="did you mean 'math'"):
        show("mat", library=library)


def test_list_and_show_say_what_there_is(place: Path) -> None:
    listed = list_skills(library=place / "library")
    assert list(listed["skills"]) == ["math", "code"]
    assert listed["skills"]["math"]["rank"] == 2
    assert listed["generation"] == 2
    shown = show("code", library=place / "library")["skills"]
    assert list(shown) == ["code"]
    assert shown["code"]["description"] == "does code"
    assert shown["code"]["memory_shape"][0] == 200  # the gate makes more of few
    assert shown["code"]["bytes_on_disk"] > shown["code"]["parameters"]
    json.dumps(shown)


def test_listing_loads_no_torch(place: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from loramix.commands.library import list_skills, show\n"
        "list_skills(library=Path(sys.argv[1])); show('math', library=Path(sys.argv[1]))\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, str(place / "library")], check=True)
