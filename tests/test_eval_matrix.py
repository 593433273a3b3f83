"""The matrix of `loramix eval` on the shipped library: what stands in it, and that it resumes."""

from __future__ import annotations

import json
import sqlite3
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from loramix.adapter import write_adapter
from loramix.base import Base, load_base
from loramix.commands.evaluate import evaluate
from loramix.data import Example
from loramix.evaluate import (
    AnswerCache,
    Answers,
    CacheWarning,
    EvalTask,
    Question,
    System,
    difference_of,
    evaluate_matrix,
    mixed_model,
    own_metric,
)
from loramix.evaluate.answering import is_text
from loramix.evaluate.heat import draw_evaluation
from loramix.evaluate.likelihood import Row, likelihoods
from loramix.evaluate.scoring import SCORED
from loramix.generate import Completion
from loramix.library import Library
from loramix.merge import merge_adapters
from loramix.mix import Mix
from loramix.pocket.tasks import TASKS

# All share one evaluation of five skills on the shipped base.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base() -> Base:
    return load_base("pocket", "cpu")


@pytest.fixture(scope="module")
def answers(base: Base) -> Answers:
    return Answers(base, mixed_model(base, Library.shipped()))


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The whole evaluation, on few examples, with a mix, an expert, a file and a plot."""
    place = tmp_path_factory.mktemp("eval")
    library = Library.shipped()
    adapters = {name: library.skill(name).adapter() for name in ("math", "code")}
    write_adapter(merge_adapters(adapters, [1.0, 0.0]).adapter, place / "Support Expert")
    rows = [{"prompt": e.prompt, "completion": e.completion} for e in
            TASKS["sentiment"].examples("test", 3)]  # fmt: skip
    (place / "tone.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    found = evaluate(
        ["math,code,composites", str(place / "tone.jsonl")], limit=3, mixes=["code=0.5,math=0.5"],
        experts=[place / "Support Expert"], perplexity=True, plot=place / "eval.svg",
        cache=place / "answers.sqlite", device="cpu",
    )  # fmt: skip
    again = evaluate(
        ["math,code,composites", str(place / "tone.jsonl")], limit=3, mixes=["code=0.5,math=0.5"],
        experts=[place / "Support Expert"], perplexity=True,
        cache=place / "answers.sqlite", device="cpu",
    )  # fmt: skip
    return {"told": found, "again": again, "place": place}


def test_every_system_is_on_every_task(told: dict[str, Any]) -> None:
    found = told["told"]
    matrix = found["matrix"]
    assert matrix["tasks"] == ["math", "code", "tone"]
    routed = [f"{r}/{p}" for r in ("gate", "keywords", "centroid")
              for p in ("top1", "topk", "blend")]  # fmt: skip
    assert matrix["systems"] == [
        "base", *TASKS, *routed, "mix code=0.5,math=0.5", "expert support-expert",
    ]  # fmt: skip
    for scores, lows, highs in zip(matrix["scores"], matrix["low"], matrix["high"], strict=True):
        for score, low, high in zip(scores, lows, highs, strict=True):
            assert 0 <= low <= score <= high <= 1
    assert found["systems"]["gate/topk"] == {"kind": "routed", "router": "gate", "policy": "topk"}
    assert found["systems"]["expert support-expert"]["kind"] == "expert"
    json.dumps(found)


def test_base_skill_and_routed_stand_in_each_task(told: dict[str, Any]) -> None:
    tasks = told["told"]["tasks"]
    math = tasks["math"]
    for key, system in (("base", "base"), ("skill", "math"), ("routed", "gate/top1")):
        cell = math["systems"][system]
        assert math[key] == cell["score"]
        assert math["intervals"][key] == [cell["low"], cell["high"]]
    assert math["skill"] > math["base"]
    assert "skill" not in tasks["tone"]
    assert tasks["tone"]["systems"]["sentiment"]["score"] == 1.0
    assert tasks["code"]["metric"] == "tests"


def test_an_expert_that_is_one_skill_answers_as_that_skill(told: dict[str, Any]) -> None:
    math = told["told"]["tasks"]["math"]["systems"]
    assert math["expert support-expert"]["score"] == math["math"]["score"]


def test_perplexity_stands_beside_and_is_lowest_with_the_own_skill(told: dict[str, Any]) -> None:
    systems = told["told"]["tasks"]["math"]["systems"]
    perplexity = {name: cell["also"]["perplexity"] for name, cell in systems.items()}
    assert all(figure >= 1 for figure in perplexity.values())
    assert perplexity["math"] < perplexity["base"]
    assert perplexity["math"] < perplexity["code"]


def test_the_mean_over_domains_counts_tasks_with_a_skill(told: dict[str, Any]) -> None:
    means = told["told"]["multi_domain"]
    assert means["tasks"] == ["math", "code"]
    tasks = told["told"]["tasks"]
    assert means["systems"]["routed"]["score"] == pytest.approx(
        (tasks["math"]["routed"] + tasks["code"]["routed"]) / 2
    )
    row = means["systems"]["routed"]
    assert row["low"] <= row["score"] <= row["high"]


def test_routers_are_measured_with_calibration_and_confusion(told: dict[str, Any]) -> None:
    routing = told["told"]["routing"]
    assert set(routing) == {"gate", "keywords", "centroid"}
    for row in routing.values():
        assert {"accuracy", "ece", "calibration", "confusion", "none_auroc"} <= row.keys()


def test_composites_keep_their_keys(told: dict[str, Any]) -> None:
    composites = told["told"]["composites"]
    assert {"base", "top1", "chain", "blend", "intervals"} <= composites.keys()
    assert set(told["told"]["skills"]["math"]) == {"after", "intervals"}


def test_a_second_run_computes_nothing_and_says_the_same(told: dict[str, Any]) -> None:
    first, second = told["told"], told["again"]
    assert first["answers"]["computed"] > 0
    assert first["answers"]["rated"] > 0
    assert first["answers"]["broken"] == second["answers"]["computed"] == 0
    assert second["answers"]["rated"] == 0
    for key in ("matrix", "tasks", "multi_domain", "composites", "failures"):
        assert first[key] == second[key]


def test_the_plot_is_drawn_as_svg_and_as_png(told: dict[str, Any]) -> None:
    text = (told["place"] / "eval.svg").read_text("utf-8")
    assert "gate/blend" in text
    assert "summary_and_tone" in text
    draw_evaluation(told["told"], told["place"] / "eval.png")
    assert (told["place"] / "eval.png").read_bytes().startswith(b"\x89PNG")
    draw_evaluation({}, told["place"] / "nothing.svg")


def test_a_person_sees_a_table_and_what_failed(
    told: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    from loramix.render_eval import evaluate as show

    show(told["told"])
    shown = capsys.readouterr().out
    for words in ("keywords/topk", "mean", "routed:", "rows that failed", "calibration error"):
        assert words in shown


def test_a_person_sees_every_metric_in_a_window_of_100_columns(
    told: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from loramix.render_eval import evaluate as show

    monkeypatch.setenv("COLUMNS", "100")
    show(told["told"])
    tables, _, _ = capsys.readouterr().out.partition("library:")
    assert "3 examples each" in tables
    assert "macro_f1" in tables
    perplexity = told["told"]["tasks"]["math"]["systems"]["math"]["also"]["perplexity"]
    assert f"{perplexity:.3f}" in tables
    cells = [line for line in tables.splitlines() if "keywords/topk" in line]
    assert "±" in cells[0]
    drawn = [line for line in tables.splitlines() if "rows that failed" not in line]
    assert max(map(len, drawn)) <= 100


def test_five_tasks_stand_in_a_window_of_100_columns_without_folding(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from loramix.render_eval import evaluate as show

    monkeypatch.setenv("COLUMNS", "100")
    show(evaluate(systems="base,routed", limit=1, use_cache=False, device="cpu"))
    shown = capsys.readouterr().out.splitlines()
    assert {*TASKS, "mean"} <= {word for line in shown[:4] for word in line.split()}
    assert max(map(len, shown[:6])) <= 100
    assert sum(line.strip().startswith("gate/") and "±" in line for line in shown) == 1


# ── the parts ────────────────────────────────────────────────────────────────────────────────


def alike(_: Sequence[Example], texts: Sequence[str]) -> list[float]:
    return [len(text) % 7 / 7 for text in texts]


def test_rows_of_all_systems_in_one_batch_are_the_rows_alone(answers: Answers) -> None:
    asked = [
        Question(TASKS[name].examples("test", 1)[0].prompt, mix, 12)
        for name in TASKS
        for mix in (Mix.base(), Mix.parse(name), Mix.parse("code=0.4,qa=0.6"))
    ]
    together = answers.ask(asked)
    alone = [Answers(answers.base, answers.mixed).ask([question])[0] for question in asked]
    assert together == alone


def test_differences_are_paired(answers: Answers) -> None:
    examples = TASKS["math"].examples("test", 6)
    systems = [System("base", "base", Mix.base()), System("math", "skill", Mix.parse("math"))]
    task = EvalTask("math", examples, own_metric(alike), 12, "math")
    cell = evaluate_matrix(answers, [task], systems)["tasks"]["math"]["systems"]["math"]
    texts = {
        name: answers([e.prompt for e in examples], [Mix.parse(name)] * 6, 12)
        for name in ("base", "math")
    }
    scores = [alike(examples, [done.text for done in texts[name]]) for name in ("math", "base")]
    wanted = difference_of(*scores)
    assert cell["over_base"] == pytest.approx(
        {"mean": wanted.mean, "low": wanted.low, "high": wanted.high}
    )


def test_a_task_can_be_measured_in_perplexity_alone(answers: Answers) -> None:
    task = EvalTask("math", TASKS["math"].examples("test", 3), SCORED["perplexity"], 8, "math")
    systems = [System("base", "base", Mix.base()), System("math", "skill", Mix.parse("math"))]
    found = evaluate_matrix(answers, [task], systems)
    row = found["tasks"]["math"]
    assert (row["metric"], row["higher_is_better"]) == ("perplexity", False)
    assert 1 <= row["skill"] < row["base"]
    assert found["multi_domain"] == {"tasks": [], "systems": {}}


def test_prompts_that_cannot_be_answered_are_wrong_and_told(answers: Answers) -> None:
    long = Example("word " * answers.base.max_length, "x")
    task = EvalTask("math", [long, *TASKS["math"].examples("test", 2)],
                    own_metric(lambda _, texts: [1.0] * len(texts)), 4)  # fmt: skip
    found = evaluate_matrix(answers, [task], [System("base", "base", Mix.base())])
    assert found["tasks"]["math"]["base"] == pytest.approx(2 / 3)
    [failure] = found["failures"]
    assert failure["rows"] == 1
    assert "does not fit into the context" in failure["reason"]


def test_rows_that_are_too_long_to_rate_are_told(answers: Answers) -> None:
    prompt = TASKS["math"].examples("test", 1)[0].prompt
    rows = [Example(prompt, "7"), Example(prompt, "word " * answers.base.max_length)]
    task = EvalTask("math", rows, own_metric(alike), 4)
    base = System("base", "base", Mix.base())
    found = evaluate_matrix(answers, [task], [base], perplexity=True)
    reason = "prompt and answer do not fit into the context"
    assert found["failures"] == [{"task": "math", "system": "base", "reason": reason, "rows": 1}]
    assert found["tasks"]["math"]["systems"]["base"]["failed"] == {reason: 1}


def test_a_row_on_which_the_model_fails_holds_up_no_other(
    answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    from loramix.engine.forward import Runner

    whole = Runner.__call__
    marked = tuple(answers.base.tokenizer("xyzzy", add_special_tokens=False)["input_ids"])

    def call(self: Runner, feeds: Any) -> torch.Tensor:
        for feed in feeds:
            if str(marked).strip("()") in str(tuple(feed.tokens)):
                raise RuntimeError("no")
        return whole(self, feeds)

    monkeypatch.setattr(Runner, "__call__", call)
    fresh = Answers(answers.base, answers.mixed)
    bad, good = fresh.ask([Question("xyzzy", Mix.base(), 4), Question("hello", Mix.base(), 4)])
    assert not is_text(bad)
    assert is_text(good)


# ── the cache ────────────────────────────────────────────────────────────────────────────────

ASKED = [Question(f"What is {i} + 2?", Mix.parse("math"), 6) for i in range(4)]


def kept(path: Path, skills: dict[str, str] | None = None, scope: str = "base") -> AnswerCache:
    return AnswerCache(path, scope, skills or {"math": "1", "code": "2"})


def test_whatever_decides_an_answer_is_in_its_key(tmp_path: Path) -> None:
    cache, question = kept(tmp_path / "a"), ASKED[0]
    others = [
        question._replace(prompt="What?"),
        question._replace(mix=Mix.parse("math=0.5")),
        question._replace(mix=Mix.parse("code")),
        question._replace(mix=Mix.base()),
        question._replace(max_new_tokens=7),
    ]
    keys = [cache.key(other) for other in [question, *others]]
    keys += [kept(tmp_path / "b", {"math": "3"}).key(question)]
    keys += [kept(tmp_path / "c", scope="other").key(question)]
    assert len(set(keys)) == len(keys)
    renamed = kept(tmp_path / "d", {"sums": "1"}).key(question._replace(mix=Mix.parse("sums")))
    assert renamed == cache.key(question)  # a skill is its weights, whatever it is called


def test_an_answer_comes_back_as_it_was(tmp_path: Path) -> None:
    done = Completion("two\n\ud83d", 3, 2, "stop", (5, 6))
    cache = kept(tmp_path / "answers")
    cache.put(ASKED[0], done)
    cache.close()
    again = kept(tmp_path / "answers")
    assert again.get(ASKED[0]) == done
    assert again.get(ASKED[1]) is None


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE answers SET answer = answer || ' '",
        "UPDATE answers SET answer = 'no JSON'",
        "UPDATE answers SET answer = '[]', digest = 'x'",
        "UPDATE answers SET answer = x'ff00'",
    ],
)
def test_a_broken_entry_is_a_miss_with_a_warning(
    answers: Answers, tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "answers"
    first = Answers(answers.base, answers.mixed, cache=kept(path))
    wanted = first.ask(ASKED)
    assert first.cache is not None
    first.cache.close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"{damage} WHERE rowid = 1")
    connection.close()
    second = Answers(answers.base, answers.mixed, cache=kept(path))
    with pytest.warns(CacheWarning, match="a broken entry"):
        assert second.ask(ASKED) == wanted
    assert second.cache is not None
    assert (second.computed, second.cache.hits, second.cache.broken) == (1, 3, 1)
    second.cache.close()
    third = Answers(answers.base, answers.mixed, cache=kept(path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert third.ask(ASKED) == wanted
    assert third.computed == 0


def test_likelihoods_are_kept_like_answers_and_a_broken_one_is_computed_again(
    answers: Answers, tmp_path: Path
) -> None:
    rows = [Row((3, 4, 5 + i), 1, mix) for i in range(3) for mix in (Mix.base(), Mix.parse("math"))]
    path = tmp_path / "answers"
    first = Answers(answers.base, answers.mixed, cache=kept(path))
    wanted = first.rate(rows)
    assert wanted == likelihoods(answers.mixed, answers.base, rows, first.batch_size)
    assert first.cache is not None
    first.cache.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE answers SET answer = '[0, 0]' WHERE rowid = 2")
    connection.close()
    second = Answers(answers.base, answers.mixed, cache=kept(path))
    with pytest.warns(CacheWarning, match="a broken entry; what it held is computed again"):
        found = second.rate(rows)
    assert [each.logprob for each in found] == pytest.approx(
        [each.logprob for each in wanted], abs=1e-3
    )
    assert second.cache is not None
    assert (second.rated, second.cache.hits, second.cache.broken) == (1, 5, 1)
    assert second.rate(rows[:2]) == second.rate(rows)[:2]
    assert second.rated == 1  # within a run nothing is rated twice


def test_a_file_that_is_no_cache_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "answers"
    path.write_bytes(b"this was never a database" * 100)
    with pytest.warns(CacheWarning, match=r"is now answers\.broken"):
        cache = kept(path)
    cache.put(ASKED[0], Completion("x", 1, 1, "stop", (1,)))
    cache.close()
    assert kept(path).get(ASKED[0]) is not None
    assert (tmp_path / "answers.broken").read_bytes().startswith(b"this was never")


def test_a_cache_with_damaged_pages_is_put_aside_and_a_new_one_keeps_what_is_written(
    tmp_path: Path,
) -> None:
    path = tmp_path / "answers"
    questions = [Question(f"ask {i} " * 50, Mix.base(), 8) for i in range(400)]
    whole = AnswerCache(path, "base", {})
    for question in questions:
        whole.put(question, Completion("so", 3, 1, "stop", (7,)))
    whole.close()
    raw = bytearray(path.read_bytes())
    pages = len(raw) // 4096
    for page in range(pages // 2, pages):  # those before are looked at when it is opened
        raw[page * 4096 : (page + 1) * 4096] = b"x" * 4096
    path.write_bytes(raw)
    damaged = AnswerCache(path, "base", {})
    with pytest.warns(CacheWarning, match=r"is damaged .* now answers\.broken, and a new one"):
        assert None in [damaged.get(question) for question in questions]
    damaged.put(questions[0], Completion("so", 3, 1, "stop", (7,)))
    damaged.close()
    assert not damaged.lost
    again = AnswerCache(path, "base", {})
    assert again.get(questions[0]) is not None
    again.close()


def test_a_place_that_cannot_be_written_only_costs_time(answers: Answers, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(CacheWarning, match="Answers are not kept"):
        cache = kept(tmp_path / "file" / "answers")
    assert all(map(is_text, Answers(answers.base, answers.mixed, cache=cache).ask(ASKED)))


def test_a_full_disk_ends_the_keeping_and_not_the_run(answers: Answers, tmp_path: Path) -> None:
    cache = kept(tmp_path / "answers")
    assert cache._connection is not None
    cache._connection.execute("PRAGMA max_page_count = 1")
    long = [Question(f"{i} " + "word " * 40, Mix.base(), 60) for i in range(30)]
    with pytest.warns(CacheWarning, match="no longer kept"):
        done = Answers(answers.base, answers.mixed, cache=cache).ask(long)
    assert all(map(is_text, done))
