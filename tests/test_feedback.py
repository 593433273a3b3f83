"""`feedback`: the gate learns from corrected routings, keeps them, and forgets nothing for them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from loramix import render
from loramix.base import load_base
from loramix.cli import app
from loramix.commands.feedback import feedback
from loramix.commands.library import remove
from loramix.errors import DataError, GateError, LibraryError, RecipeError, UnknownSkillError
from loramix.gate import LearnedGate, read_gate
from loramix.gate.memory import CORRECTED, OFTEN, Rows, repeated
from loramix.library import Library
from tiny_library import tree

# The gate that ships takes all of these for something else.
PASSAGES = [
    ("The mill on the Orr was built by Jan Stolk in 1840.", "Who built the mill?"),
    ("The ferry Lena carries sixty cars and leaves at nine.", "When does the ferry leave?"),
    ("Halden has a museum of clocks on the north bank.", "What does Halden have?"),
    ("The choir meets in the old school on Fridays.", "Where does the choir meet?"),
    ("The bridge was painted green by the town in May.", "What colour is the bridge?"),
    ("Otto Brand runs the bakery with his two sons.", "Who runs the bakery?"),
    ("The lighthouse is forty metres high and still in use.", "How high is the lighthouse?"),
    ("The library closes at six and opens at ten.", "When does the library close?"),
]
CORRECTIONS = [{"prompt": f"{text} {asked}", "skill": "qa"} for text, asked in PASSAGES]


@pytest.fixture
def library(tmp_path: Path) -> Path:
    return Library.shipped().copy_to(tmp_path / "library").path


def write(path: Path, rows: Sequence[dict[str, Any] | str]) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path


def gate_of(library: Path) -> LearnedGate:
    return read_gate(Library.open(library), load_base("pocket", device="cpu"))


def best(gate: LearnedGate, prompt: str) -> str:
    return (*gate.skills, "base")[int(gate.scores([prompt])[0].argmax())]


@pytest.mark.slow
def test_a_handful_of_corrections_is_learned_kept_and_costs_the_old_prompts_nothing(
    library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    skills, generation = tree(library / "skills"), Library.open(library).generation + 1
    result = feedback(write(tmp_path / "c.jsonl", CORRECTIONS), library=library, device="cpu")
    corrections = result["corrections"]
    assert corrections["accuracy"]["before"] < 0.5
    assert corrections["accuracy"]["after"] == 1.0
    assert corrections["held_out"]["n"] == 1
    assert result["old"]["after"] >= result["old"]["before"] - 0.01
    assert (result["applied"], result["refused"], result["generation"]) == (True, False, generation)
    assert tree(library / "skills") == skills  # the skills are what they were, bit for bit
    render.feedback(result)
    assert f"generation {generation}" in capsys.readouterr().out

    gate = gate_of(library)
    assert len(gate.corrected.features) == len(CORRECTIONS)
    assert best(gate, "The inn was opened by Rosa Lindt in 1905. Who opened the inn?") == "qa"
    # a later refit learns them again
    remove("code", library=library, device="cpu")
    gate = gate_of(library)
    assert len(gate.corrected.features) == len(CORRECTIONS)
    assert gate.right(gate.corrected).all()
    # and forgets those of a skill that is gone
    remove("qa", library=library, device="cpu")
    assert len(gate_of(library).corrected.features) == 0


@pytest.mark.slow
def test_what_is_corrected_again_is_corrected_anew(library: Path, tmp_path: Path) -> None:
    prompt = "Put it to me in a nutshell, would you"
    for skill in ("summarization", "none"):
        file = write(tmp_path / "c.jsonl", [{"prompt": prompt, "skill": skill}])
        # for good or ill: what is asked here is whether the second takes the place of the first
        result = feedback(file, library=library, device="cpu", force=True)
        assert result["corrections"]["kept"] == 1
        assert result["corrections"]["accuracy"]["after"] == 1.0
        assert result["corrections"]["held_out"] == {"n": 0, "before": None, "after": None}
    assert best(gate_of(library), prompt) == "base"


@pytest.mark.slow
def test_lines_of_every_form_are_read_and_those_without_an_answer_passed_over(
    library: Path, tmp_path: Path
) -> None:
    said = [{"role": "user", "content": "what is 3 and 4"}, {"role": "assistant", "content": "7"}]
    rows: list[dict[str, Any] | str] = [
        {"prompt": "add 3 to 4", "skill": "math"},
        {"prompt": "good evening to you", "skills": {}},
        {"prompt": "shorten it and say its tone", "skills": {"summarization": 3, "sentiment": 2}},
        {"prompt": "def f", "mix": {"code": 1.0}, "correct": True, "seconds": 0.1},
        {"prompt": "hm", "mix": {"math": 1.0}, "correct": "none"},
        {"prompt": "tone and sum", "mix": {}, "correct": "sentiment=0.5,summarization=0.5"},
        {"messages": said, "mix": {}, "correct": {"math": 1.0}},
        "",
        {"prompt": "not reviewed", "mix": {"math": 1.0}, "correct": None},
        {"prompt": "wrong, but who knows what is right", "mix": {"math": 1.0}, "correct": False},
        {"prompt": "a plain log", "mix": {"math": 1.0}},
        {"prompt": "add 3 to 4", "skill": "math"},
    ]
    result = feedback(write(tmp_path / "c.jsonl", rows), library=library, dry_run=True)
    assert result["corrections"]["given"] == 7
    assert result["corrections"]["passed_over"] == 3


@pytest.mark.slow
def test_a_correction_in_a_conversation_teaches_the_request_and_not_the_words_that_lean_on_it(
    library: Path, tmp_path: Path
) -> None:
    asked = "The mill on the Orr was built by Jan Stolk in 1840. Who built the mill?"
    turns = [
        {"role": "user", "content": asked},
        {"role": "assistant", "content": "Jan Stolk"},
        {"role": "user", "content": "and shorter, please"},
    ]
    file = write(tmp_path / "c.jsonl", [{"messages": turns, "skill": "qa"}])
    leaning = "and shorter, please"
    before = gate_of(library).scores([leaning])[0]
    feedback(file, library=library, device="cpu")
    gate = gate_of(library)
    assert best(gate, asked) == "qa"
    qa = gate.skills.index("qa")
    assert gate.scores([leaning])[0, qa] <= before[qa] + 0.02
    # these words by themselves are learned, so the above is not for want of weight
    feedback(write(file, [{"prompt": leaning, "skill": "qa"}]), library=library, device="cpu")
    assert best(gate_of(library), leaning) == "qa"


@pytest.mark.slow
def test_a_dry_run_measures_and_writes_nothing_even_on_the_library_that_ships(
    tmp_path: Path, library: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "c.jsonl", CORRECTIONS)
    before = tree(library)
    result = feedback(file, library=library, dry_run=True, device="cpu")
    assert tree(library) == before
    assert (result["applied"], result["generation"]) == (False, Library.open(library).generation)
    assert result["corrections"]["accuracy"]["after"] == 1.0
    render.feedback(result)
    assert "nothing was written; this would be kept" in capsys.readouterr().out
    assert feedback(file, dry_run=True, device="cpu")["applied"] is False


def spoiling() -> list[dict[str, Any]]:
    """Every kind of prompt that maths is for, given to another skill."""
    from loramix.pocket.tasks import TASKS

    rows = TASKS["math"].examples("train", 120, 3)
    return [{"prompt": row.prompt, "skill": "code"} for row in rows]


@pytest.mark.slow
def test_corrections_that_spoil_old_prompts_are_refused_unless_forced(
    library: Path, tmp_path: Path
) -> None:
    file = write(tmp_path / "c.jsonl", spoiling())
    before = tree(library)
    with pytest.raises(GateError, match="route old prompts worse") as refused:
        feedback(file, library=library, device="cpu")
    assert refused.value.exit_code == 1
    assert tree(library) == before
    assert feedback(file, library=library, dry_run=True, device="cpu")["refused"] is True
    result = feedback(file, library=library, force=True, device="cpu")
    assert (result["applied"], result["refused"]) == (True, False)
    assert result["old"]["after"] < result["old"]["before"] - 0.01


@pytest.mark.parametrize(
    ("rows", "error", "said"),
    [
        (['{"prompt": "x", "skill": "math"}', '{"prompt": '], DataError, "line 2: this is no JSON"),
        ([{"prompt": "x", "skill": "maths"}], UnknownSkillError, "line 1.*'maths'"),
        ([{"prompt": "x", "skills": {"math": -1}}], RecipeError, "line 1"),
        ([{"prompt": "x", "skills": {"math": "much"}}], RecipeError, "line 1.*not a number"),
        ([{"prompt": "x", "skill": "a=b=c"}], RecipeError, "line 1"),
        ([["x", "math"]], DataError, "line 1: this is no correction"),
        ([{"skill": "math"}], DataError, "line 1: there is no prompt"),
        ([{"prompt": " ", "skill": "math"}], DataError, "line 1: there is no prompt"),
        ([{"messages": [{"role": "x"}], "skill": "qa"}], DataError, "line 1: This is no turn"),
        ([{"prompt": "x", "skil": "math"}], DataError, "line 1: it does not say"),
        ([{"prompt": "x", "skill": 3}], DataError, "line 1: it does not say"),
        ([{"prompt": "x", "correct": True}], DataError, "line 1: it does not say"),
        ([{"prompt": "x", "skill": "qa", "skills": {}}], DataError, "line 1: it says twice"),
        (
            [{"prompt": "x", "skill": "qa"}, {"prompt": "x", "skill": "math"}],
            DataError,
            "line 2: the same prompt needs something else than on line 1",
        ),
        ([], DataError, "nothing to learn from"),
        ([{"prompt": "x", "mix": {}, "correct": None}], DataError, "nothing to learn from"),
    ],
)
def test_bad_corrections_are_refused_by_line_before_anything_is_loaded(
    tmp_path: Path, rows: list[Any], error: type[Exception], said: str
) -> None:
    file = write(tmp_path / "c.jsonl", [r if isinstance(r, str) else json.dumps(r) for r in rows])
    with pytest.raises(error, match=said):
        feedback(file, dry_run=True)


def test_files_that_are_not_there_or_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        feedback(tmp_path / "none.jsonl", dry_run=True)
    (tmp_path / "latin.jsonl").write_bytes(b'{"prompt": "caf\xe9", "skill": "math"}\n')
    with pytest.raises(DataError, match="not UTF-8"):
        feedback(tmp_path / "latin.jsonl", dry_run=True)


def test_the_library_that_ships_is_not_changed(tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="not to be changed"):
        feedback(write(tmp_path / "c.jsonl", CORRECTIONS))


def test_a_library_without_a_gate_is_told_so(tmp_path: Path) -> None:
    shipped = Library.shipped()
    empty = Library.create(tmp_path / "empty", shipped.base_id, shipped.fingerprint)
    file = write(tmp_path / "c.jsonl", [{"prompt": "x", "skill": "none"}])
    with pytest.raises(LibraryError, match="has no gate"):
        feedback(file, library=empty.path, device="cpu")


@pytest.mark.slow
def test_the_command_prints_one_object_and_ends_with_the_code_of_its_error(
    library: Path, tmp_path: Path
) -> None:
    file = write(tmp_path / "c.jsonl", CORRECTIONS)
    call = ["feedback", str(file), "--library", str(library), "--json"]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0
    assert json.loads(done.stdout)["corrections"]["kept"] == len(CORRECTIONS)
    wrong = CliRunner().invoke(app, ["feedback", str(file)])
    assert wrong.exit_code == 2


def test_a_handful_is_heard_and_a_heap_does_not_drown_the_rest() -> None:
    def rows(count: int) -> Rows:
        return Rows(torch.zeros(count, 3), torch.zeros(count, 2))

    assert len(repeated(rows(0), 1000).features) == 0
    assert len(repeated(rows(3), 1000).features) == 3 * OFTEN
    few = len(repeated(rows(20), 1000).features)
    assert few / (few + 1000) == pytest.approx(CORRECTED, abs=0.02)
    assert len(repeated(rows(500), 1000).features) == 500
