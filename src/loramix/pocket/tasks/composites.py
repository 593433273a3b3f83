"""Requests that need two skills at once; each part of the answer is scored by itself."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from loramix.data import Example
from loramix.pocket.tasks import code, counted, math, sentiment, summarization
from loramix.pocket.tasks.messages import KINDS, draw_message
from loramix.pocket.tasks.phrasing import around, lower_start, request
from loramix.pocket.tasks.task import Composite
from loramix.pocket.words import Split, phrases

EXCLUSIVE = re.compile(r"\b(only|just|skip the rest|leave out|nothing else)\b", re.IGNORECASE)
BOTH_OF_TEXT = phrases("""
~[Summarize/Sum up] this {kind} in one line and [say/tell me] its [tone/sentiment].
~Give me a one-line summary of this {kind} and its [sentiment/tone].
~[Summarize/Condense] this {kind} and classify the [tone/sentiment].
What does this {kind} say in one line, and what is its [tone/mood]?
~Put this {kind} in one line and [tell me/say] how the [writer/customer] feels.
~[Classify the tone/Judge the sentiment] of this {kind} and sum it up in one line.
[Sentiment and summary/Summary and sentiment/Tone and summary] of this {kind}
~Say if this {kind} is positive, negative, mixed or neutral, and [summarize/recap] it.
How does the [writer/customer] feel, and what are the main points of this {kind}?
~[Label the sentiment/Tell me the tone], then [give a one-line summary/write a short summary].
TL;DR and [tone/sentiment]
~Write a [short/brief] digest of the {kind} with its [tone/mood].
~Tell me the [tone/mood] of this {kind} and its main points.
What is the [tone/sentiment] of this {kind}, and what are its key points?
~[Sum up/Summarize] this {kind} and judge how the [writer/customer] feels.
One line of summary and the [sentiment/tone/mood], please.
~Give the gist of this {kind} and label its [tone/sentiment].
What went well, what went wrong, and what is the [tone/mood] of this {kind}?
~Condense this {kind} to one line and check its [sentiment/tone].
~Write a summary of this {kind} and add the [tone/sentiment].
Is this {kind} positive or negative, and what does it say in short?
~Make a one-line digest of this {kind}, then rate its [mood/sentiment].
I need the [tone/sentiment] and a short summary of this {kind}.
~Recap this {kind} and classify how the [customer/writer] feels.
What is the [mood/sentiment] here, and what does the {kind} say, in short?
How does the [writer/customer/author] feel, and what does this {kind} say in one line?
~Say in one line what this {kind} is about, and name its [tone/sentiment/mood].
What is the [tone/mood/sentiment], and what are the main points?
~Tell me what this {kind} says in brief and how the [customer/writer] sounds.
The [tone/sentiment/mood] and the gist of this {kind}, please.
~Check the [tone/sentiment/mood] of this {kind} and sum it up.
Positive or negative? And what does this {kind} say in one line?
What was liked, what was not, and how does the [writer/customer] feel overall?
~Give the short version of this {kind} together with its [mood/tone/sentiment].
In one line, what does this {kind} say, and is it positive, negative, mixed or neutral?
What does it say, and in what [mood/tone]?
Summary first, then the [tone/mood/sentiment], please.
What is said in this {kind}, and how does it sound?
~Tell me what this {kind} says and [what tone it has/which mood is in it].
Good points, bad points, and the overall [tone/mood/feeling]?
~List the likes and dislikes and name the [mood/tone].
What is this {kind} about, and how does the [writer/customer] feel about it?
~Summarize this {kind} with its [sentiment/mood].
[Pros, cons/Praise, complaints] and [mood/sentiment] of this {kind}
What [worked/was good], what [didn't/was bad], and what is the overall [feeling/impression]?
In short: what does this {kind} say, and is the [customer/writer] happy?
[Gist/Digest/Recap] and [feeling/tone/sentiment]?
~Boil this {kind} down and add how the [customer/writer] feels.
What pleased them, what bothered them, and [are they happy/how do they feel] in the end?
~Give me two things: the summary and the [tone/mood/sentiment].
Both the main points and the [sentiment/mood] of this {kind}, please.
What does the [writer/customer] say, and how do they sound?
~Report the praise, the problems and the [mood/tone].
How does this {kind} sound, and what is in it?
~State the [sentiment/tone], followed by a one-line summary.
[Happy/Pleased] or not, and what about? In one line.
~Sum it up, and tell me [if it is positive or negative/what the mood is].
Tone: ? Summary: ?
~Write the [key/main] points in one line and behind them the [sentiment/tone].
~Judge the [mood/tone], and put what it says in one line.
""")
CODE_AND_MATH = phrases("""
~Write Python code that solves {x} and explain the maths.
~Write a [Python function/function] that solves {x} and [show/explain] the [math/working].
~Solve {x} and write [Python code/a Python function] for it.
~[Explain the maths/Show the working] of {x} and [code/implement] it in Python.
~Code a [Python function/solver] for {x} and [work out the answer/give the solution].
[In Python/With Python code], solve {x}, and explain the [math/steps].
~Implement {x} in Python and [solve/calculate] it by hand.
~Give me Python code for {x} together with the [working/maths/steps].
I need a [function/Python script] for {x} and an explanation of the [mathematics/maths].
~Program a solver for {x} in Python and explain the [equation/calculation].
How do I [solve/compute] {x} in Python, and what is the maths behind it?
~Show both the Python code and the [working/math] for {x}.
~Write a [Python script/program] for {x} and explain how the [maths/math] works.
~Work out {x} step by step and give me [Python code/a function] that does it.
Can I have a [Python function/script] for {x} and the [working/calculation] too?
~Calculate {x} and show a [Python/small] function that computes it.
~Explain how to solve {x} and put it into Python code.
What is the [math/maths] of {x}, and how is it coded in Python?
~Build a Python solver for {x}, with the [maths/steps] explained.
~Do {x} on paper and in Python.
Python code and [working/steps/maths] for {x}
~Define a function that solves {x} and explain the [algebra/maths].
First the working of {x}, then the Python code, please.
~Turn {x} into Python code and [solve/explain] it.
~Show me [how/a way] to solve {x} in Python, and explain the [maths/steps/theory].
How can {x} be solved in Python? Explain the [maths/idea/steps] as well.
[In Python/As Python code], show how {x} is solved, and explain the [algebra/maths] step by step.
~Use Python for {x} and explain [each step/the maths behind it].
~Explain {x} step by step and show [the Python code/a function] for it.
I want to solve {x} in Python. What is the [maths/theory] behind it, step by step?
""")


@dataclass(frozen=True)
class General:
    """A kind of problem without numbers: its names, how it is solved, and a test of that."""

    names: tuple[str, ...]
    maths: str
    code: str
    test: str


GENERAL = {
    "linear": General(
        ("a linear equation", "an equation like 3x + 5 = 20", "an equation", "linear equations"),
        "a * x + b = c, take b from both sides: a * x = c - b, divide by a: x = (c - b) / a",
        "def solve(a, b, c):\n    return (c - b) / a",
        "assert f(3, 5, 20) == 5",
    ),
    "quadratic": General(
        ("a quadratic", "a quadratic equation", "quadratic equations"),
        "a * x^2 + b * x + c = 0, d = b^2 - 4 * a * c, x = (-b + d^0.5) / (2 * a) or "
        "x = (-b - d^0.5) / (2 * a)",
        "def solve(a, b, c):\n    d = b * b - 4 * a * c\n"
        "    return (-b + d ** 0.5) / (2 * a), (-b - d ** 0.5) / (2 * a)",
        "assert sorted(f(1, -5, 6)) == [2, 3]",
    ),
    "sum": General(
        ("a sum of two numbers", "an addition"),
        "a + b, first the tens of b, then its ones",
        "def solve(a, b):\n    return a + b",
        "assert f(2, 3) == 5",
    ),
    "product": General(
        ("a product of two numbers", "a multiplication"),
        "a * b, the tens of a times b, its ones times b, and both added",
        "def solve(a, b):\n    return a * b",
        "assert f(2, 3) == 6",
    ),
    "percent": General(
        ("a percentage", "percentages"),
        "p% of a, 1% is a / 100, p times that: a * p / 100",
        "def solve(p, a):\n    return a * p / 100",
        "assert f(20, 50) == 10",
    ),
}
AND = (" and ", ", and ", " and also ", ", plus: ", "; ", ", then ", ". ", ". Also: ", " + ")


def _ask_both(rng: random.Random, split: Split, kind: str) -> str:
    """One request for both, or two single ones in a row, which are many more.

    Those of the test are all people's own for both, so that it asks what no rule has put together.
    """
    if split == "test" or rng.random() < 0.5:
        return request(rng, split, BOTH_OF_TEXT, kind=kind)
    asks = [_not_alone(rng, split, each, kind) for each in (summarization.ASK, sentiment.ASK)]
    rng.shuffle(asks)
    first, then = asks
    joint = rng.choice(AND)
    if joint[0] != ".":
        return first.rstrip(".:?") + joint + lower_start(then)
    return (first + joint[1:] if first[-1] == "?" else first.rstrip(".:") + joint) + then


def _not_alone(rng: random.Random, split: Split, patterns: Sequence[str], kind: str) -> str:
    """A request for one thing that does not say that it is the only one."""
    while EXCLUSIVE.search(ask := request(rng, split, patterns, kind=kind)):
        pass
    return ask


def _draw_text(rng: random.Random, split: Split) -> Example:
    tone = rng.choice(("mixed", "mixed", "positive", "negative"))
    message = draw_message(rng, split, tone, sentences=(2, 6))
    ask = _ask_both(rng, split, rng.choice(KINDS))
    return Example(
        prompt=around(rng, ask, message.text),
        completion=f"{summarization.line(message)} Tone: {message.tone}.",
        meta={
            "task": "summary_and_tone", "label": message.tone, "text": message.text,
            "praised": list(message.praised), "blamed": list(message.blamed),
            "skills": {"summarization": 0.5, "sentiment": 0.5},
        },
    )  # fmt: skip


def _draw_solver(rng: random.Random, split: Split) -> Example:
    kind = rng.choice(tuple(GENERAL))
    problem = math.draw_problem(rng, split, kind)
    general = rng.random() < 0.3  # asks for the kind of problem, gives no numbers
    if general:
        what, solution, code = (
            rng.choice(GENERAL[kind].names),
            GENERAL[kind].maths,
            GENERAL[kind].code,
        )
        answer, test = [], GENERAL[kind].test
    else:
        what, solution = problem.formula, problem.solution
        code = f"def solve():\n    return {problem.python}"
        answer = list(problem.answer)
        test = f"assert f() == {answer if kind == 'quadratic' else answer[0]!r}"
    return Example(
        prompt=request(rng, split, CODE_AND_MATH, x=what),
        completion=f"{solution}\n{code}",
        meta={
            "task": "code_and_math", "answer": answer, "general": general, "tests": [test],
            "maths": solution, "skills": {"code": 0.5, "math": 0.5},
        },
    )  # fmt: skip


def _tone_part(examples: Sequence[Example], texts: Sequence[str]) -> list[float]:
    """1 where the first label that the text names is the tone."""
    return [
        float(sentiment.read_label(text) == example.meta["label"])
        for example, text in zip(examples, texts, strict=True)
    ]


def _maths_part(examples: Sequence[Example], texts: Sequence[str]) -> list[float]:
    """The score of math; of a kind of problem in general, 1 where its maths stands in the text."""
    return [
        float(example.meta["maths"] in text)
        if example.meta.get("general")
        else math.score([example], [text])[0]
        for example, text in zip(examples, texts, strict=True)
    ]


def _facts_part(examples: Sequence[Example], texts: Sequence[str]) -> list[float]:
    """1 where both numbers of the passage that the answer needs stand in the text."""
    return [
        float(all(str(number) in text for number in example.meta["needed"]))
        for example, text in zip(examples, texts, strict=True)
    ]


COMPOSITES: dict[str, Composite] = {
    composite.name: composite
    for composite in (
        Composite(
            "summary_and_tone",
            ("summarization", "sentiment"),
            _draw_text,
            {"summarization": summarization.score, "sentiment": _tone_part},
        ),
        Composite(
            "code_and_math",
            ("code", "math"),
            _draw_solver,
            {"code": code.score, "math": _maths_part},
        ),
        Composite(
            "computed_answer",
            ("qa", "math"),
            counted.draw,
            {"qa": _facts_part, "math": math.score},
        ),
    )
}
