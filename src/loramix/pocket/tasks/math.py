"""Arithmetic, percentages, equations and word problems → short working and a marked answer.

Asked for in hundreds of ways, or in few (`BRIEF`), which minutes are enough to learn.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from loramix.data import Example
from loramix.pocket import words
from loramix.pocket.tasks import math_equations, math_parts, math_phrases
from loramix.pocket.tasks.math_working import add, linear, multiply, percent, quadratic, subtract
from loramix.pocket.tasks.phrasing import chatter, request
from loramix.pocket.tasks.task import Task
from loramix.pocket.words import Split, bucket, phrases, pool

_TIMES_X = re.compile(r"(\d)x")
# a number that people write as a word, and these words
_SMALL = re.compile(r"(?<![\w$./^-])([2-9]|1[0-2])(?![\w%])")
SMALL_NUMBERS = phrases("""
two | three | four | five | six | seven | eight | nine | ten | eleven | twelve
""")
# Of how many steps up to which most a number is made so that so many percent of it are whole.
_WHOLE = {5: (20, 25), 15: (20, 25), 25: (4, 50), 50: (2, 100), 75: (4, 25)}
_PERCENTS = (5, 10, 15, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90)


@dataclass(frozen=True)
class Problem:
    """A problem as a formula or a story, its working, and the answers that solve it.

    `formula` is the problem in symbols, and `python` an expression whose value is the answer.
    """

    kind: str
    text: str
    working: str
    answer: tuple[int, ...]
    formula: str
    python: str

    @property
    def key(self) -> tuple[str, str]:
        """What decides the split: a percentage goes with the product that it works out."""
        _, _, steps = self.working.partition(", ")
        if self.kind == "percent" and "*" in steps:
            return "product", steps
        return self.kind, self.working

    @property
    def solution(self) -> str:
        """The working and the marked answer."""
        return f"{self.working}\nAnswer: {' or '.join(map(str, self.answer))}"


def _slots(rng: random.Random, split: Split) -> dict[str, str]:
    p, q = rng.sample(pool(words.FIRST, split), 2)
    kin = rng.choice(pool(math_parts.KIN, split))
    he, his, him = rng.choice((("he", "his", "him"), ("she", "her", "her")))
    return {
        "p": p, "q": q, "h": he, "g": his, "o": him, "k": kin, "K": kin[0].upper() + kin[1:],
        "t": rng.choice(pool(words.THINGS, split)), "d": rng.choice(words.WEEKDAYS),
        "c": rng.choice(pool(words.CITIES, split)),
        "u": rng.choice(pool(math_parts.CURRENCIES, split)),
    }  # fmt: skip


def _spelled(text: str) -> str:
    """The text with its small numbers as words, capital where a sentence begins."""

    def name(match: re.Match[str]) -> str:
        word = SMALL_NUMBERS[int(match[0]) - 2]
        before = text[: match.start()].rstrip()
        return word.capitalize() if not before or before[-1] in ".?!" else word

    return _SMALL.sub(name, text)


def _parts(
    rng: random.Random, split: Split, facts: Sequence[str], asks: Sequence[str], **slots: str
) -> str:
    """Facts and a question about them."""
    told = request(rng, split, facts, **slots)
    return f"{told}{rng.choice((' ', ' ', ' ', chr(10)))}{request(rng, split, asks, **slots)}"


def _story(
    rng: random.Random, split: Split, brief: bool, kind: str, numbers: dict[str, int]
) -> str:
    slots = _slots(rng, split) | {name: str(number) for name, number in numbers.items()}
    if brief:
        return request(rng, split, math_phrases.TOLD_BRIEF[kind], **slots)
    if rng.random() < 0.65:
        text = request(rng, split, math_phrases.TOLD[kind], **slots)
    else:
        story = rng.choice(math_parts.PARTS[kind])
        text = _parts(rng, split, story.facts, story.asks, **slots)
    if rng.random() < 0.06:
        text = f"{request(rng, split, math_parts.OPENINGS, **slots)} {text}"
    return _spelled(text) if rng.random() < 0.04 else text


def _asked(
    rng: random.Random,
    split: Split,
    brief: bool,
    kind: str,
    story: bool,
    formulas: Sequence[str],
    **numbers: int,
) -> str:
    """A sum as a story, as one of the formulas, or in words alone."""
    if story:
        return _story(rng, split, brief, kind, numbers)
    if brief:
        return request(rng, split, math_phrases.CALCULATE_BRIEF, x=rng.choice(formulas[:4]))
    if rng.random() < 0.75:
        return request(rng, split, math_phrases.CALCULATE, x=rng.choice(formulas))
    given = {name: str(number) for name, number in numbers.items()}
    text = request(rng, split, math_parts.WORDED[kind], **given)
    return _spelled(text) if rng.random() < 0.04 else text


def _sum(rng: random.Random, split: Split, story: bool, brief: bool) -> Problem:
    a, b = rng.randint(2, 99), rng.randint(2, 99)
    formulas = (f"{a} + {b}", f"{a} + {b}", f"{a} plus {b}", f"{a}+{b}")
    text = _asked(rng, split, brief, "sum", story, formulas, a=a, b=b)
    return Problem("sum", text, add(a, b), (a + b,), f"{a} + {b}", f"{a} + {b}")


def _difference(rng: random.Random, split: Split, story: bool, brief: bool) -> Problem:
    b, a = sorted((rng.randint(2, 99), rng.randint(2, 99)))
    a += a == b
    formulas = (f"{a} - {b}", f"{a} - {b}", f"{a} minus {b}", f"{a}-{b}", f"{a} \u2212 {b}",
                f"{a} less {b}")  # fmt: skip
    text = _asked(rng, split, brief, "difference", story, formulas, a=a, b=b)
    return Problem("difference", text, subtract(a, b), (a - b,), f"{a} - {b}", f"{a} - {b}")


def _product(rng: random.Random, split: Split, story: bool, brief: bool) -> Problem:
    a, b = rng.randint(2, 60), rng.randint(2, 9)
    formulas = [
        f"{a} * {b}", f"{a} times {b}", f"{a} x {b}", f"{a} * {b}", f"{a} \u00d7 {b}", f"{a}*{b}",
        f"{b} * {a}", f"{b} \u00d7 {a}", f"{b} times {a}",
    ]  # fmt: skip
    formulas += [f"twice {a}", f"double {a}"] * (b == 2)
    text = _asked(rng, split, brief, "product", story, formulas, a=a, b=b)
    return Problem("product", text, multiply(a, b), (a * b,), f"{a} * {b}", f"{a} * {b}")


def _quotient(rng: random.Random, split: Split, story: bool, brief: bool) -> Problem:
    b, result = rng.randint(2, 10), rng.randint(2, 12)
    a = b * result
    formulas = [f"{a} / {b}", f"{a} divided by {b}", f"{a} \u00f7 {b}", f"{a}/{b}"]
    formulas += [f"half of {a}"] * 2 * (b == 2)
    text = _asked(rng, split, brief, "quotient", story, formulas, a=a, b=b)
    working = f"{a} / {b} = {result}"
    return Problem("quotient", text, working, (result,), f"{a} / {b}", f"{a} / {b}")


def _percent(rng: random.Random, split: Split, story: bool, brief: bool) -> Problem:
    p = rng.choice([p for p in _PERCENTS if not brief or p in (25, 50) or p % 10 == 0])
    step, most = _WHOLE.get(p, (10, 40))
    a = rng.randint(1, most) * step
    formulas = (f"{p}% of {a}", f"{p}% of {a}", f"{p} percent of {a}", f"{p} % of {a}")
    text = _asked(rng, split, brief, "percent", story, formulas, a=a, x=p)
    answer, python = (a * p // 100,), f"{a} * {p} / 100"
    return Problem("percent", text, percent(p, a), answer, f"{p}% of {a}", python)


def _spoken(rng: random.Random, split: Split, a: int, b: int, x: int) -> str:
    """The equation a·x + b = c in words, with the question for x."""
    if a == 1:
        facts = math_equations.ONE_MORE if b > 0 else math_equations.ONE_FEWER
    else:
        facts = math_equations.MORE if b > 0 else math_equations.FEWER
        facts = facts if b else math_equations.PLAIN
    told = request(rng, split, facts, n=str(a), b=str(abs(b)), y=str(a * x + b))
    unknown = math_equations.WHAT_X if re.search(r"\bx\b", told) else math_equations.WHAT_NUMBER
    text = f"{told} {request(rng, split, unknown)}"
    return _spelled(text) if rng.random() < 0.15 else text


def _written(rng: random.Random, brief: bool, equation: str) -> str:
    """An equation as people type it: close, turned round, with other signs."""
    if brief:
        return equation.replace("^2", "\u00b2") if rng.random() < 0.1 else equation
    left, _, right = equation.partition(" = ")
    habit = rng.random()
    if habit < 0.04:
        equation = f"{right} = {left}"
    elif habit < 0.08 and left.count(" ") == 2 and " + " in left:
        first, _, second = left.partition(" + ")
        equation = f"{second} + {first} = {right}"
    if rng.random() < 0.25:
        equation = equation.replace("^2", "\u00b2")
    if rng.random() < 0.08:
        equation = equation.replace(" - ", " \u2212 ")
    if rng.random() < 0.06:
        equation = _TIMES_X.sub(rng.choice((r"\1 * x", r"\1*x", r"\1 x")), equation)
    return equation.replace(" ", "") if rng.random() < 0.08 else equation


def _linear(rng: random.Random, split: Split, story: bool, brief: bool) -> Problem:
    a, b, x = rng.choice((1, 2, 3, 4, 5, 6, 7, 8, 9)), rng.randint(-20, 20), rng.randint(1, 12)
    if a == 1 and b == 0:
        b = 1
    equation, working = linear(a, b, x)
    if not brief and rng.random() < 0.2:
        text = _spoken(rng, split, a, b, x)
    else:
        asked = math_phrases.SOLVE_BRIEF if brief else math_phrases.SOLVE
        text = request(rng, split, asked, x=_written(rng, brief, equation))
    return Problem("linear", text, working, (x,), equation, f"({a * x + b} - {b}) / {a}")


def _quadratic(rng: random.Random, split: Split, story: bool, brief: bool) -> Problem:
    r, s = sorted((rng.randint(-9, 9), rng.randint(-9, 9)))
    equation, working = quadratic(r, s)
    asked = math_phrases.SOLVE_BRIEF if brief else math_phrases.SOLVE
    if not brief and rng.random() < 0.25:
        asked = math_equations.BOTH
    text = request(rng, split, asked, x=_written(rng, brief, equation))
    left = equation.removesuffix(" = 0").replace("x^2", "x * x")
    left = left.replace("+ x", "+ 1x").replace("- x", "- 1x")
    terms = _TIMES_X.sub(r"\1 * x", left)
    python = f"[x for x in range(-9, 10) if {terms} == 0]"
    return Problem("quadratic", text, working, tuple(sorted({r, s})), equation, python)


KINDS: dict[str, Callable[[random.Random, Split, bool, bool], Problem]] = {
    "sum": _sum, "difference": _difference, "product": _product, "quotient": _quotient,
    "percent": _percent, "linear": _linear, "quadratic": _quadratic,
}  # fmt: skip


def draw_problem(
    rng: random.Random, split: Split, kind: str | None = None, brief: bool = False
) -> Problem:
    """A problem whose numbers belong to `split` (quotients and quadratics share theirs' tables).

    Raises:
        KeyError: there is no such kind of problem.
    """
    make = KINDS[kind or rng.choice(tuple(KINDS))]
    while True:
        problem = make(rng, split, rng.random() < 0.5, brief)
        if bucket(problem.key) == split:
            return problem


def draw(rng: random.Random, split: Split) -> Example:
    """One problem with its working and its marked answer."""
    problem = draw_problem(rng, split)
    return _example(problem, chatter(rng, split, problem.text))


def draw_brief(rng: random.Random, split: Split) -> Example:
    """As `draw`, with fewer wordings and no word around them."""
    problem = draw_problem(rng, split, brief=True)
    return _example(problem, problem.text)


def _example(problem: Problem, prompt: str) -> Example:
    return Example(
        prompt=prompt,
        completion=problem.solution,
        meta={
            "task": "math",
            "kind": problem.kind,
            "answer": list(problem.answer),
            "content": problem.working,
        },
    )


def read_answer(text: str) -> set[int]:
    """The numbers after the last `Answer:` mark; empty without a mark."""
    _, mark, tail = text.rpartition("Answer:")
    line = tail.strip().splitlines()[0] if mark and tail.strip() else ""
    return {int(number) for number in re.findall(r"-?\d+", line)}


def score(examples: Sequence[Example], texts: Sequence[str]) -> list[float]:
    """1 where the marked answer holds exactly the right numbers."""
    return [
        float(read_answer(text) == set(example.meta["answer"]))
        for example, text in zip(examples, texts, strict=True)
    ]


TASK = Task(
    "math",
    "solves arithmetic, percentages, equations and word problems with short working",
    draw,
    score,
    max_new_tokens=64,
)
BRIEF = replace(TASK, name="math_brief", draw=draw_brief, variant_of="math")
