"""Metrics are what their definitions say, fit what they can score, and survive hostile answers."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from loramix.answers import METRICS
from loramix.base import Base, encode_example
from loramix.data import Example
from loramix.errors import UsageError
from loramix.evaluate import find_metric
from loramix.evaluate.likelihood import Row, likelihoods
from loramix.evaluate.metrics import RESAMPLES, figure_interval, resampled_means, score_of
from loramix.evaluate.scoring import SCORED, companions, default_metric, score_each
from loramix.mix import Mix
from loramix.mixed import MixedModel
from loramix.pocket.tasks import TASKS
from tiny import random_adapter
from tiny_base import make_base


def rows(*answers: str, **meta: object) -> list[Example]:
    return [Example(f"ask {i}", answer, dict(meta)) for i, answer in enumerate(answers)]


# ── the figures ──────────────────────────────────────────────────────────────────────────────


def test_macro_f1_is_scikit_learns_for_any_answers() -> None:
    draw = random.Random(0)
    for _ in range(20):
        truth = [draw.choice("xyz") for _ in range(12)]
        given = [draw.choice(["x", "y", "z", "neither of them"]) for _ in range(12)]
        metric = SCORED["macro_f1"]
        assert metric.mark is not None
        ours = float(metric.figure(metric.mark(rows(*truth), given).values.mean(axis=0)))
        labels = sorted(set(truth))
        theirs = f1_score(truth, given, labels=labels, average="macro", zero_division=0)
        assert ours == pytest.approx(theirs)


def test_one_bootstrap_serves_every_metric() -> None:
    values = np.asarray([[1.0, 2.0], [0.0, 1.0], [1.0, 5.0]])
    both = resampled_means(values, seed=3)
    assert both.shape == (RESAMPLES, 2)
    alone = resampled_means(values[:, :1], seed=3)
    assert np.allclose(both[:, :1], alone)  # the same rows are drawn: systems are paired
    score = score_of([0.5, 0.0, 1.0], seed=3)
    means = resampled_means(np.asarray([[0.5], [0.0], [1.0]]), seed=3)
    assert (score.low, score.high) == tuple(np.quantile(means, [0.025, 0.975]))


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_classes_that_are_all_right_are_not_certain(metric: str) -> None:
    scored = SCORED[metric]
    assert scored.mark is not None
    values = scored.mark(rows(*["yes", "no"] * 20), ["yes", "no"] * 20).values
    figure = float(scored.figure(values.mean(axis=0)))
    low, high = figure_interval(values, figure, scored.figure(resampled_means(values, 0)))
    assert (figure, high) == (1.0, 1.0)
    assert low == pytest.approx(0.912, abs=5e-4)


def test_rouge_is_that_of_the_package_and_reads_any_script() -> None:
    assert METRICS["rouge_1"]("the cat sat", "a cat stood") == pytest.approx(0.5)
    assert METRICS["rouge_2"]("one two three", "one two four") == pytest.approx(0.5)
    assert METRICS["rouge_l"]("one two three", "one three two") == pytest.approx(2 / 3)
    assert METRICS["rouge_l"]("добрый день", "добрый вечер") == pytest.approx(0.5)
    assert METRICS["rouge_l"]("", "") == 1.0
    assert METRICS["rouge_1"]("word", "") == 0.0


def test_what_makes_another_answer_is_not_normalised_away() -> None:
    signed = rows("-1", "1", "-1", "1")
    assert score_each("accuracy", signed, ["1", "1", " -1", "1."]) == [0.0, 1.0, 1.0, 1.0]
    choices = rows("A", "B")
    assert score_each("accuracy", choices, ["", "b"]) == [0.0, 1.0]
    assert score_each("accuracy", choices, ['"a".', "the B"]) == [1.0, 0.0]
    code = rows("x = a + b", "return x > y", "y = [1,\n     2]")
    given = ["x = b - a", "return x < y", "  y = [1, 2]\n"]
    assert score_each("identical", code, given) == [0.0, 0.0, 1.0]
    assert SCORED["accuracy"].misfit(rows("yes", "...")) is not None


def test_the_best_of_several_right_answers_counts() -> None:
    examples = [
        Example("who?", "Ada", {"answers": ["Ada", "Ada Lovelace"]}),
        Example("who?", "Bo", {"answers": {"text": ["Bo", "Bo Diddley"]}}),
        Example("who?", "Cy", {"answers": ["somebody else"]}),  # not where Cy was taken from
    ]
    given = ["Ada Lovelace", "Bo Diddley", "somebody else"]
    assert score_each("exact", examples, given) == [1.0, 1.0, 0.0]


def test_perplexity_is_exp_of_nats_a_token() -> None:
    values = np.asarray([[2.0, 1.0], [1.0, 5.0]])
    assert float(SCORED["perplexity"].figure(values.mean(axis=0))) == pytest.approx(math.exp(0.5))
    assert not SCORED["perplexity"].higher


@pytest.fixture(scope="module")
def base() -> Base:
    return make_base()


def test_likelihoods_are_those_of_each_row_alone_under_its_mix(base: Base) -> None:
    mixed = MixedModel(base.model)
    mixed.add("a", random_adapter(base.model, seed=1))
    mixed.add("b", random_adapter(base.model, seed=2))
    texts = [("one", "two words"), ("a longer prompt than that", "x"), ("three", "and more words")]
    mixes = [Mix.parse("a=0.5,b=0.5"), Mix.base(), Mix.parse("b")]
    asked = []
    for (prompt, completion), mix in zip(texts, mixes, strict=True):
        ids, labels = encode_example(base, prompt, completion)
        asked.append(Row(ids, labels.count(-100), mix))
    together = likelihoods(mixed, base, asked)
    for row, found in zip(asked, together, strict=True):
        weights = torch.tensor([[row.mix.weights.get(name, 0.0) for name in ("a", "b")]])
        with torch.no_grad(), mixed.using(weights, ["a", "b"]):
            logits = mixed.base(torch.tensor([row.ids])).logits[0]
        logs = logits.log_softmax(-1)
        wanted = sum(float(logs[t - 1, row.ids[t]]) for t in range(row.start, len(row.ids)))
        assert found.logprob == pytest.approx(wanted, abs=1e-3)
        assert found.tokens == len(row.ids) - row.start
        best = logits.argmax(-1).tolist()
        assert found.greedy == all(
            best[t - 1] == row.ids[t] for t in range(row.start, len(row.ids))
        )


# ── which of them fits ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("answers", "name"),
    [
        (["positive", "negative"] * 4, "accuracy"),
        (["0", "1"] * 4, "accuracy"),
        ([str(i % 6) for i in range(30)], "accuracy"),
        ([str(i % 25) for i in range(200)], "number"),
        (["42", "7", "-3.5", "1,000"], "number"),
        (["6 * 7 = 42 apples in all.\n#### 42", "So it is 3.\n#### 3"], "number"),
        (["Paris", "Ada Lovelace", "in 1815", "the red house", "Bo"], "f1"),
        (["The film was long and the actors were good.", "A dull book about nothing much."],
         "rouge_l"),
    ],
)  # fmt: skip
def test_the_answers_say_which_metric_suits_them(answers: list[str], name: str) -> None:
    assert default_metric(rows(*answers)).name == name


def test_rows_with_tests_are_programs() -> None:
    assert default_metric(rows("x", tests=["assert f(1)"])).name == "tests"
    assert default_metric(rows("x", test_list=["assert f(1)"])).name == "tests"


@pytest.mark.parametrize(
    ("name", "answers", "words"),
    [
        ("number", ["7", "yes"], "the answer 'yes' has no number"),
        ("tests", ["x"], "no column `tests`"),
        ("accuracy", ["a very long answer that is no class"], "is no name of a class"),
        ("macro_f1", [f"class {i}" for i in range(51)], "51 different answers"),
        ("f1", ["!!!"], "has no words to compare"),
    ],
)
def test_a_metric_that_does_not_fit_is_refused_and_a_better_one_named(
    name: str, answers: list[str], words: str
) -> None:
    with pytest.raises(UsageError, match=words) as told:
        find_metric(name, "mine", rows(*answers))
    assert "--metric mine=" in str(told.value)


def test_an_unknown_metric_is_told_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'rouge_l'"):
        find_metric("rouge_L", "mine", rows("x"))


def test_companions_fit_too() -> None:
    assert [m.name for m in companions(SCORED["f1"], rows("one", "two"))] == ["exact"]
    assert [m.name for m in companions(SCORED["exact"], rows("one", "two"))] == ["f1"]
    assert companions(SCORED["number"], rows("1")) == []


# ── programs ─────────────────────────────────────────────────────────────────────────────────


def test_programs_are_scored_as_the_builtin_task_does() -> None:
    task = TASKS["code"]
    examples = task.examples("test", 4)
    texts = [example.completion for example in examples]
    texts[1] = "def f(x): return None"
    texts[2] = "no program at all"
    assert score_each("tests", examples, texts) == task.score_many(examples, texts)


@pytest.mark.parametrize(
    "answer",
    [
        "C = 0\ndef g(x): return x\ndef f(x): return g(x)",
        "class N:\n    at = 3\n\ndef f(x):\n    return N.at",
        "f = lambda x: x",
        "def f(x):\n    return g(x)\n\ndef g(x):\n    return int(x)\n\ndef h():\n    return 4",
        "Here it is:\n@staticmethod\ndef f(x):\n    return x",
        "```python\nC = 3\n\ndef only(x):\n    return C\n```\nIt returns three.",
        "import math as f\ndef only(x): return x",
        "class f(int):\n    pass\n\ndef g(x):\n    return 4",
        "TABLE = [\n    3,\n]\ndef last(x):\n    return TABLE[0]",
    ],
)
def test_a_right_program_passes_however_it_is_written(answer: str) -> None:
    assert score_each("tests", rows("x", tests=["assert f(3) == 3"]), [answer]) == [1.0]


def test_the_code_of_an_answer_begins_after_its_words() -> None:
    wrong = ["Sure\nx", "nothing = here", "C = 1\ndef f(x) return x", "return f"]
    assert score_each("tests", rows(*wrong, tests=["assert f(3) == 3"]), wrong) == [0.0] * 4


HOSTILE = {
    "loops": ("def f(x):\n    while True: pass", "stopped after"),
    "forks": ("import os\ndef f(x):\n    while True: os.fork()", ""),
    "fills the disk": (
        "def f(x):\n    with open('big', 'wb') as file:\n        while 1: file.write(b'x' * 9999)",
        "",
    ),
    "opens a socket": (
        "import socket\ndef f(x):\n    socket.create_connection(('127.0.0.1', 9))",
        "",
    ),
    "ends the process": ("import os\ndef f(x):\n    os._exit(0)", ""),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_program_that_does_harm_is_wrong_and_the_next_is_judged(what: str) -> None:
    program, words = HOSTILE[what]
    examples = rows("x", "x", tests=["assert f(2) == 2"])
    mark = SCORED["tests"].mark
    assert mark is not None
    marks = mark(examples, [program, "def f(x):\n    return x"])
    assert marks.values[:, 0].tolist() == [0.0, 1.0]
    [(reason, count)] = marks.failed.items()
    assert count == 1
    assert words in reason
    assert reason


def test_a_program_that_is_only_wrong_is_no_failure() -> None:
    mark = SCORED["tests"].mark
    assert mark is not None
    marks = mark(rows("x", tests=["assert f(2) == 2"]), ["def f(x):\n    return 3"])
    assert marks.values.tolist() == [[0.0]]
    assert marks.failed == {}
