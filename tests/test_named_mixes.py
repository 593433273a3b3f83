"""Mixes that a library keeps under a name: used like skills, written whole, removed like them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loramix.commands.library import list_skills, remove, show
from loramix.commands.session import Session
from loramix.errors import LibraryError, RecipeError, UnknownSkillError
from loramix.gate import FixedRouter
from loramix.library import Library
from loramix.mix import Mix
from tiny_library import make_adapter, make_card, make_library, make_memory

BLEND = Mix.of({"math": 0.6, "code": 0.5})


@pytest.fixture
def library(tmp_path: Path) -> Library:
    """Three skills and the mix `tutor` of two of them."""
    made = make_library(tmp_path / "library", "math", "code", "qa")
    with made.edit() as txn:
        txn.set_mix("tutor", BLEND, "fitted by hand")
    return made


def manifest_of(library: Library) -> dict[str, object]:
    found: dict[str, object] = json.loads((library.path / "library.json").read_text("utf-8"))
    return found


@pytest.mark.parametrize(
    ("recipe", "weights"),
    [
        ("tutor", {"math": 0.6, "code": 0.5}),
        ("tutor=0.5", {"math": 0.3, "code": 0.25}),
        ("tutor=0.5,qa=0.2", {"math": 0.3, "code": 0.25, "qa": 0.2}),
        ("tutor=0.5,code=0.25", {"code": 0.5, "math": 0.3}),
        ("qa", {"qa": 1.0}),
        ("base", {}),
    ],
)
def test_a_recipe_may_name_a_mix_where_a_skill_stands(
    recipe: str, weights: dict[str, float]
) -> None:
    assert Mix.parse(recipe, {"tutor": BLEND}).weights == pytest.approx(weights)


@pytest.mark.parametrize("recipe", ["tutor,tutor", "tutor=-1", "tutor=0", "tutor=x"])
def test_a_recipe_with_a_mix_is_checked_as_any_other(recipe: str) -> None:
    with pytest.raises(RecipeError):
        Mix.parse(recipe, {"tutor": BLEND})


def test_a_session_and_a_fixed_router_know_the_mix(library: Library) -> None:
    assert Session(library.path, mix="tutor").fixed == BLEND
    routed = FixedRouter(tuple(library.skills), "tutor", library.mixes)
    assert routed.mix == BLEND
    assert Session(library.path, router="fixed:tutor").fixed is None
    with pytest.raises(UnknownSkillError, match="did you mean 'tutor'"):
        Session(library.path, mix="tuttor")


def test_it_is_listed_and_shown(library: Library) -> None:
    expected = {"tutor": {"weights": BLEND.weights, "description": "fitted by hand"}}
    assert list_skills(library=library.path)["mixes"] == expected
    assert show("tutor", library=library.path)["mixes"] == expected
    assert library.mixes == {"tutor": BLEND}


def test_it_goes_with_a_copy_and_leaves_with_remove(library: Library, tmp_path: Path) -> None:
    copy = library.copy_to(tmp_path / "copy")
    assert copy.mixes == {"tutor": BLEND}
    gate, generation = copy.gate(), copy.generation
    told = remove("tutor", library=copy.path)
    assert (told["removed"], told["mixes"]) == ("tutor", {})
    after = Library.open(copy.path)
    assert (after.mixes, after.generation) == ({}, generation + 1)
    assert gate is not None
    assert after.gate() is not None  # a mix is nothing to the gate
    assert set(after.skills) == {"math", "code", "qa"}


def test_a_skill_that_a_mix_holds_is_not_removed(library: Library) -> None:
    with pytest.raises(LibraryError, match=r"used by a mix(?s:.)*loramix remove tutor"):
        remove("math", library=library.path)
    with pytest.raises(LibraryError, match="used by a mix"), library.edit() as txn:
        txn.remove("math")
    assert "math" in library.refresh().skills
    with library.edit() as txn:  # together it works, and so does a skill that no mix holds
        txn.remove("tutor")
        txn.remove("math")
        txn.remove("qa")
    assert list(library.skills) == ["code"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("math", "has a skill 'math'"),
        ("tutor", "already has a mix"),
        ("base", "reserved"),
        ("A b", "cannot have this name"),
    ],
)
def test_a_name_that_cannot_be_had_changes_nothing(library: Library, name: str, words: str) -> None:
    before = manifest_of(library)
    with pytest.raises(LibraryError, match=words), library.edit() as txn:
        txn.set_mix(name, BLEND)
    assert manifest_of(library) == before


def test_a_skill_cannot_take_the_name_of_a_mix(library: Library) -> None:
    with pytest.raises(LibraryError, match="already has a mix"), library.edit() as txn:
        txn.add("tutor", make_adapter(), make_card("tutor"), make_memory())
    with pytest.raises(LibraryError, match="already has a mix"):
        library.check_free("tutor", replace=True)


def test_a_mix_of_a_skill_that_is_not_there_is_refused(library: Library) -> None:
    with pytest.raises(UnknownSkillError), library.edit() as txn:
        txn.set_mix("other", Mix.of({"nobody": 1.0}))


def test_replacing_says_so_and_the_same_again_is_no_change(library: Library) -> None:
    with library.edit() as txn:
        txn.set_mix("tutor", Mix.of({"qa": 1.0}), replace=True)
    generation = library.generation
    assert library.mixes == {"tutor": Mix.of({"qa": 1.0})}
    with library.edit() as txn:
        txn.set_mix("tutor", Mix.of({"qa": 1.0}), replace=True)
    assert library.generation == generation


def test_the_schema_rises_only_while_there_are_mixes(library: Library) -> None:
    assert manifest_of(library)["schema_version"] == 2
    remove("tutor", library=library.path)
    found = manifest_of(library)
    assert found["schema_version"] == 1
    assert "mixes" not in found  # what older versions write, and read


@pytest.mark.parametrize(
    "mixes",
    [
        {"../x": {"weights": {"math": 1.0}}},
        {"math": {"weights": {"math": 1.0}}},
        {"tutor": {"weights": {"nobody": 1.0}}},
        {"tutor": {"weights": {"math": -1.0}}},
        {"tutor": {"weights": {"math": 0.0}}},
        {"tutor": {"weights": {"math": 1.0}, "more": 1}},
        {"tutor": {}},
    ],
)
def test_a_strangers_mixes_are_checked(library: Library, mixes: dict[str, object]) -> None:
    text = json.dumps({**manifest_of(library), "mixes": mixes})
    (library.path / "library.json").write_text(text, "utf-8")
    with pytest.raises(LibraryError):
        Library.open(library.path)
