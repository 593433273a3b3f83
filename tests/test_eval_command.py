"""`loramix eval`: builtin tasks, and composites answered in five ways."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from loramix.base import Base, check_prompt, load_base
from loramix.commands.eval_systems import digests
from loramix.commands.evaluate import evaluate
from loramix.data import Example
from loramix.errors import (
    AdapterMismatchError,
    LibraryError,
    LoramixError,
    PromptError,
    UnknownSkillError,
    UsageError,
)
from loramix.evaluate import (
    AnswerCache,
    Answers,
    Question,
    both_right,
    evaluate_composites,
    mixed_model,
)
from loramix.evaluate.answering import Answer
from loramix.evaluate.metrics import wilson
from loramix.evaluate.plots import grouped_bars, standalone
from loramix.gate import FixedRouter
from loramix.generate import Completion
from loramix.library import Library
from loramix.mix import Mix
from loramix.pocket.tasks import COMPOSITES, TASKS
from loramix.render_eval import evaluate as show
from tiny import random_adapter
from tiny_base import save_base
from tiny_library import make_card, make_memory

SYSTEMS = ("base", "top1", "naive", "chain", "blend")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two libraries of the five skills on a tiny base, both without a gate."""
    place = tmp_path_factory.mktemp("eval")
    base = save_base(place / "base", max_position_embeddings=1024)
    for folder, first in (("library", 0), ("apart", 10)):
        library = Library.create(place / folder, str(place / "base"), base.fingerprint)
        with library.edit() as txn:
            for seed, name in enumerate(TASKS, start=first):
                adapter = random_adapter(base.model, seed=seed)
                txn.add(name, adapter, make_card(name), make_memory())
    return place


@pytest.fixture(scope="module")
def base(place: Path) -> Base:
    return load_base(str(place / "base"), device="cpu")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


class Spelled:
    """A composite whose parts are letters that the answer must hold."""

    skills = ("math", "code")
    max_new_tokens = 4

    def answerable(self, split: Any, n: int, seed: int = 0) -> list[Example]:
        return [Example(f"ask {i}", "x") for i in range(n)]

    def score_parts(
        self, examples: Sequence[Example], texts: Sequence[str]
    ) -> dict[str, list[float]]:
        return {"math": [float("M" in t) for t in texts], "code": [float("C" in t) for t in texts]}


class Scripted(Answers):
    """Answers that say with what they were made: M for math, C for code, small for half of it."""

    def ask(self, questions: Sequence[Question], step: Any = None) -> list[Answer]:
        self.asked = [*getattr(self, "asked", []), *(q.prompt for q in questions)]
        return [self.answer(question) for question in questions]

    def answer(self, question: Question) -> Answer:
        try:
            check_prompt(self.base, question.prompt)
        except PromptError as error:
            return error
        weights = question.mix.weights.items()
        text = "".join(name[0].upper() if weight == 1 else name[0] for name, weight in weights)
        return Completion(text, 1, 1, "stop", ())


def test_each_system_answers_as_it_should(base: Base) -> None:
    mixed = mixed_model(base, {})
    answers, apart = Scripted(base, mixed), Scripted(base, mixed)
    both = FixedRouter(("math", "code"), "math=0.5,code=0.5")
    found = evaluate_composites(answers, {"spelled": Spelled()}, router=both, apart=apart, n=3)
    row = found["spelled"]
    assert {system: row[system] for system in SYSTEMS} == {
        "base": 0.0, "top1": 0.0, "naive": 0.0, "chain": 1.0, "blend": 0.0,
    }  # fmt: skip
    assert row["top1_skill"] == "math"
    assert row["parts"]["top1"] == {"math": 1.0, "code": 0.0}
    assert row["intervals"]["chain"] == pytest.approx(wilson(1.0, row["n"]))
    assert found["chain"] == 1.0
    assert "ask 0\nM" in answers.asked  # the second reads the first's answer
    assert found["blend_over"]["chain"]["mean"] == -1.0
    alike = found["blend_over"]["base"]  # on three requests, which prove little
    assert (alike["mean"], alike["low"]) == (0.0, -alike["high"])
    assert 0.5 < alike["high"] < 1
    assert apart.asked == ["ask 0", "ask 1", "ask 2"]
    less = evaluate_composites(answers, {"spelled": Spelled()}, n=2)
    assert set(less) == {"base", "top1", "chain", "intervals", "spelled"}  # no blend to compare


def test_a_second_prompt_that_does_not_fit_leaves_the_first_answer(base: Base) -> None:
    class Long(Spelled):
        def answerable(self, split: Any, n: int, seed: int = 0) -> list[Example]:
            room = base.max_length - len(base.tokenizer("<|user|></s><|assistant|>")["input_ids"])
            return [Example("7" * (room - 1), "x")]

    row = evaluate_composites(Scripted(base, mixed_model(base, {})), {"long": Long()}, n=1)["long"]
    assert row["parts"]["chain"] == {"math": 1.0, "code": 0.0}
    [(reason, rows)] = row["failed"]["chain"].items()
    assert (rows, reason.partition(":")[0]) == (1, "of the second of a chain")


def test_a_request_that_cannot_be_answered_is_wrong_and_told_and_the_others_go_on(
    base: Base,
) -> None:
    class OneLong(Spelled):
        def answerable(self, split: Any, n: int, seed: int = 0) -> list[Example]:
            return [Example("7" * 2 * base.max_length, "x"), *super().answerable(split, n - 1)]

        def score_parts(
            self, examples: Sequence[Example], texts: Sequence[str]
        ) -> dict[str, list[float]]:
            return {"math": [1.0] * len(texts), "code": [1.0] * len(texts)}

    both = FixedRouter(("math", "code"), "math=0.5,code=0.5")
    scripted = Scripted(base, mixed_model(base, {}))
    row = evaluate_composites(scripted, {"long": OneLong()}, router=both, n=4)["long"]
    for system in ("base", "top1", "chain", "blend"):
        assert row[system] == 0.75
        assert row["parts"][system] == {"math": 0.75, "code": 0.75}
        [(reason, rows)] = row["failed"][system].items()
        assert (rows, "does not fit into the context" in reason) == (1, True)


def test_right_is_where_all_parts_are() -> None:
    assert both_right({"a": [1, 1, 0.5], "b": [1, 0, 1]}) == [1.0, 0.0, 0.0]


def test_the_command_measures_composites_tasks_and_what_blending_did(
    place: Path, tmp_path: Path
) -> None:
    plot, page = tmp_path / "plots" / "eval.svg", tmp_path / "report.html"
    told = evaluate(
        "composites,sentiment", apart=place / "apart", limit=2, plot=plot, report=page,
        device="cpu", library=place / "library", systems="base,skill", also="samples",
    )  # fmt: skip
    composites = told["composites"]
    for name in COMPOSITES:
        row = composites[name]
        for system in ("base", "top1", "naive", "chain"):
            low, high = row["intervals"][system]
            assert 0 <= low <= row[system] <= high <= 1
    assert set(told["skills"]) == set(TASKS)
    assert all({"before", "after"} <= row.keys() for row in told["skills"].values())
    assert told["tasks"]["sentiment"].keys() >= {"base", "skill", "n"}
    text = plot.read_text("utf-8")
    ET.fromstring(text)
    assert "summary_and_tone" in text
    shown = page.read_text("utf-8")
    for part in ("loramix eval", "Two skills at once", "Every system on every task", "sentiment"):
        assert part in shown
    assert told["report"] == str(page)
    json.dumps(told)


def test_the_systems_that_were_asked_for_answer_the_composites(place: Path) -> None:
    told = evaluate("composites", limit=1, device="cpu", library=place / "library", systems="base")
    for name in COMPOSITES:
        assert set(told["composites"][name]["intervals"]) == {"base"}
    assert (told["tasks"], told["failures"]) == ({}, [])
    assert told["matrix"]["tasks"] == told["matrix"]["scores"] == []


@pytest.mark.slow
def test_programs_that_do_harm_hold_up_no_other_and_are_told(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the skill answered is put into the cache, where the evaluation finds it."""
    answers = {
        "loop": "def f(x):\n    while True: pass",
        "fork": "import os\ndef f(x):\n    os.fork()\n    return x",
        "fill the disk": "def f(x):\n    open('big', 'wb').write(b'x' * 10**9)\n    return x",
        "open a socket": "import socket\ndef f(x):\n    socket.socket()\n    return x",
        "say nothing": "I do not know.",
        "be wrong": "def f(x):\n    return x + 1",
        "be right": "def f(x):\n    return x",
    }
    rows = [
        {"prompt": what, "completion": answers["be right"], "tests": ["assert f(3) == 3"]}
        for what in answers
    ]
    tasks = tmp_path / "harm.jsonl"
    tasks.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    library, base = Library.open(place / "library"), load_base(str(place / "base"), device="cpu")
    path, scope = tmp_path / "answers", f"{base.fingerprint} {base.precision}"
    cache = AnswerCache(path, scope, digests(library, ()))
    for what, text in answers.items():
        cache.put(Question(what, Mix.parse("code"), 40), Completion(text, 1, 1, "stop", (2,)))
    cache.close()
    told = evaluate(
        f"code={tasks}", library=library.path, systems="skill", cache=path, device="cpu",
        max_new_tokens=40,
    )  # fmt: skip
    assert told["answers"]["computed"] == 0
    task = told["tasks"]["code"]
    assert (task["metric"], task["n"]) == ("tests", len(answers))
    assert task["skill"] == pytest.approx(1 / len(answers))
    reasons = {failure["reason"]: failure["rows"] for failure in told["failures"]}
    assert sum(reasons.values()) == 5, reasons  # a wrong program is wrong, and no failure
    for words in ("stopped after", "no Python function in the answer"):
        assert any(words in reason for reason in reasons), reasons
    show(told)
    shown = capsys.readouterr().out
    assert all(f"rows that failed, {reason}: code {rows}" in shown for reason, rows in
               reasons.items())  # fmt: skip


def test_a_plot_stands_alone_with_its_colours() -> None:
    rows = {"kind": {"base": 0.1, "blend": 0.9, "intervals": {"blend": [0.8, 1.0]}}}
    text = standalone(grouped_bars(rows, SYSTEMS))
    ET.fromstring(text)
    assert "var(" not in text
    assert "#2f6fde" in text


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"tasks": "composite"}, UsageError, "did you mean 'composites'"),
        ({"tasks": "maths"}, UsageError, "did you mean 'math'"),
        ({"tasks": " ,"}, UsageError, "No task is named"),
        ({"tasks": "math,math=code"}, UsageError, "Two tasks have the name"),
        ({"systems": "bases"}, UsageError, "did you mean 'base'"),
        ({"systems": "experts"}, UsageError, "--expert DIR"),
        ({"systems": "base,mixes"}, UsageError, "name one with --mix"),
        ({"systems": "routed"}, UsageError, "has no gate"),
        ({"tasks": "composites", "systems": "mixes", "mixes": ["math"]}, UsageError, "alone"),
        ({"mixes": ["maths=0.5"]}, UnknownSkillError, "did you mean 'math'"),
        ({"experts": [Path("nowhere")]}, UsageError, "holds no expert"),
        ({"metrics": ["rouge"]}, UsageError, "no such metric"),
        ({"tasks": "math", "metrics": ["maths=f1"]}, UsageError, "did you mean 'math'"),
        ({"tasks": "math", "metrics": ["tests"]}, UsageError, "does not fit the task 'math'"),
        ({"plot": "eval.gif"}, UsageError, "No picture is drawn as .gif"),
        ({"tasks": "math", "apart": "apart"}, UsageError, "on composites only"),
        ({"apart": "nowhere"}, LibraryError, "no such folder"),
        ({"plot": "."}, UsageError, "is a folder"),
        ({"report": Path()}, UsageError, "is a folder"),
    ],
)
def test_a_wrong_call_is_told_before_the_base_is_loaded(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    kind: type[LoramixError],
    words: str,
) -> None:
    monkeypatch.setattr("loramix.base.load_base", lambda *_: pytest.fail("loaded"))
    for key in ("apart", "plot"):
        if key in changes:
            changes = {**changes, key: place / changes[key]}
    with pytest.raises(kind, match=words):
        evaluate(**{"library": place / "library", **changes})


def test_libraries_that_do_not_fit_are_told(place: Path, tmp_path: Path) -> None:
    few = Library.open(place / "library").copy_to(tmp_path / "few")
    with few.edit() as txn:
        txn.remove("math")
    with pytest.raises(UnknownSkillError, match="math"):
        evaluate("composites", library=few.path)
    with pytest.raises(UnknownSkillError, match="math"):
        evaluate(library=place / "library", apart=few.path)
    with pytest.raises(AdapterMismatchError, match="another base"):
        evaluate(
            "composites", library=place / "library", apart=Library.shipped().path, device="cpu"
        )
