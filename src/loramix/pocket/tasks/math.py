"""Arithmetic, percentages, equations and word problems → short working and a marked answer."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loramix.data import Example
from loramix.pocket import words
from loramix.pocket.tasks.math_phrases import (
    CALCULATE,
    GAIN,
    GROUPS,
    LOSS,
    PORTION,
    SHARE,
    SOLVE,
)
from loramix.pocket.tasks.phrasing import request
from loramix.pocket.tasks.task import Task
from loramix.pocket.words import Split, bucket, pool

_TIMES_X = re.compile(r"(\d)x")


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


def add(a: int, b: int) -> str:
    """`a + b` with the tens first where both have two digits."""
    tens, ones = b - b % 10, b % 10
    if a < 10 or not tens or not ones:
        return f"{a} + {b} = {a + b}"
    return f"{a} + {tens} = {a + tens}, {a + tens} + {ones} = {a + b}"


def subtract(a: int, b: int) -> str:
    """`a - b` with the tens first where b has two digits."""
    tens, ones = b - b % 10, b % 10
    if not tens or not ones:
        return f"{a} - {b} = {a - b}"
    return f"{a} - {tens} = {a - tens}, {a - tens} - {ones} = {a - b}"


def multiply(a: int, b: int) -> str:
    """`a * b` with the tens of `a` first where it has two digits."""
    tens, ones = a - a % 10, a % 10
    if not tens or not ones or b == 10:
        return f"{a} * {b} = {a * b}"
    return (
        f"{tens} * {b} = {tens * b}, {ones} * {b} = {ones * b}, {tens * b} + {ones * b} = {a * b}"
    )


def percent(p: int, a: int) -> str:
    """`p` percent of `a`, by way of a half, a quarter or tenths."""
    if p == 50:
        return f"50% is half, {a} / 2 = {a // 2}"
    if p == 25:
        return f"25% is a quarter, {a} / 4 = {a // 4}"
    if p == 10:
        return f"10% is a tenth, {a} / 10 = {a // 10}"
    return f"10% of {a} is {a // 10}, {multiply(a // 10, p // 10)}"


def linear(a: int, b: int, x: int) -> tuple[str, str]:
    """The equation a·x + b = c and its working."""
    c = a * x + b
    left = f"{a}x" if a > 1 else "x"
    sign, other = ("+", "-") if b > 0 else ("-", "+")
    equation = f"{left} {sign} {abs(b)} = {c}" if b else f"{left} = {c}"
    steps = [f"{left} = {c} {other} {abs(b)} = {c - b}"] if b else []
    if a > 1:
        steps.append(f"x = {a * x} / {a} = {x}")
    return equation, ", ".join(steps)


def _term(value: int, unit: str) -> str:
    """A signed term such as ` - 5x`."""
    if value == 0:
        return ""
    size = "" if abs(value) == 1 and unit else str(abs(value))
    return f" {'+' if value > 0 else '-'} {size}{unit}"


def quadratic(r: int, s: int) -> tuple[str, str]:
    """The equation (x - r)(x - s) = 0, multiplied out, and its working; r ≤ s."""

    def factor(root: int) -> str:
        return f"(x{_term(-root, '')})" if root else "x"

    equation = f"x^2{_term(-r - s, 'x')}{_term(r * s, '')} = 0"
    factors = f"{factor(r)}^2" if r == s else factor(r) + factor(s)
    return equation, f"{factors} = 0"


def _story(rng: random.Random, split: Split, patterns: Sequence[str], **numbers: int) -> str:
    p, q = rng.sample(pool(words.FIRST, split), 2)
    slots = {
        "p": p, "q": q, "t": rng.choice(pool(words.THINGS, split)),
        "d": rng.choice(words.WEEKDAYS), "c": rng.choice(pool(words.CITIES, split)),
    }  # fmt: skip
    given = {name: str(number) for name, number in numbers.items()}
    return request(rng, split, patterns, **slots, **given)


def _ask(rng: random.Random, split: Split, patterns: Sequence[str], formula: str) -> str:
    return request(rng, split, patterns, x=formula)


def _sum(rng: random.Random, split: Split, story: bool) -> Problem:
    a, b = rng.randint(2, 99), rng.randint(2, 99)
    formula = rng.choice((f"{a} + {b}", f"{a} + {b}", f"{a} plus {b}", f"{a}+{b}"))
    text = _story(rng, split, GAIN, a=a, b=b) if story else _ask(rng, split, CALCULATE, formula)
    return Problem("sum", text, add(a, b), (a + b,), f"{a} + {b}", f"{a} + {b}")


def _difference(rng: random.Random, split: Split, story: bool) -> Problem:
    b, a = sorted((rng.randint(2, 99), rng.randint(2, 99)))
    a += a == b
    formula = rng.choice((f"{a} - {b}", f"{a} - {b}", f"{a} minus {b}", f"{a}-{b}"))
    text = _story(rng, split, LOSS, a=a, b=b) if story else _ask(rng, split, CALCULATE, formula)
    return Problem("difference", text, subtract(a, b), (a - b,), f"{a} - {b}", f"{a} - {b}")


def _product(rng: random.Random, split: Split, story: bool) -> Problem:
    a, b = rng.randint(2, 60), rng.randint(2, 9)
    formula = rng.choice((f"{a} * {b}", f"{a} times {b}", f"{a} x {b}", f"{a} * {b}"))
    text = _story(rng, split, GROUPS, a=a, b=b) if story else _ask(rng, split, CALCULATE, formula)
    return Problem("product", text, multiply(a, b), (a * b,), f"{a} * {b}", f"{a} * {b}")


def _quotient(rng: random.Random, split: Split, story: bool) -> Problem:
    b, result = rng.randint(2, 10), rng.randint(2, 12)
    a = b * result
    formula = rng.choice((f"{a} / {b}", f"{a} divided by {b}"))
    text = _story(rng, split, SHARE, a=a, b=b) if story else _ask(rng, split, CALCULATE, formula)
    working = f"{a} / {b} = {result}"
    return Problem("quotient", text, working, (result,), f"{a} / {b}", f"{a} / {b}")


def _percent(rng: random.Random, split: Split, story: bool) -> Problem:
    p = rng.choice((10, 20, 25, 30, 40, 50, 60, 70, 80, 90))
    a = rng.randint(1, 25) * 4 if p == 25 else rng.randint(1, 60) * 2 if p == 50 else 0
    a = a or rng.randint(1, 30) * 10
    formula = rng.choice((f"{p}% of {a}", f"{p}% of {a}", f"{p} percent of {a}"))
    asked = _ask(rng, split, CALCULATE, formula)
    text = _story(rng, split, PORTION, a=a, x=p) if story else asked
    answer, python = (a * p // 100,), f"{a} * {p} / 100"
    return Problem("percent", text, percent(p, a), answer, f"{p}% of {a}", python)


def _linear(rng: random.Random, split: Split, story: bool) -> Problem:
    a, b, x = rng.choice((1, 2, 3, 4, 5, 6, 7, 8, 9)), rng.randint(-20, 20), rng.randint(1, 12)
    if a == 1 and b == 0:
        b = 1
    equation, working = linear(a, b, x)
    text = _ask(rng, split, SOLVE, equation)
    return Problem("linear", text, working, (x,), equation, f"({a * x + b} - {b}) / {a}")


def _quadratic(rng: random.Random, split: Split, story: bool) -> Problem:
    r, s = sorted((rng.randint(-9, 9), rng.randint(-9, 9)))
    equation, working = quadratic(r, s)
    squared = equation.replace("^2", "²") if rng.random() < 0.1 else equation
    text = _ask(rng, split, SOLVE, squared)
    left = equation.removesuffix(" = 0").replace("x^2", "x * x")
    left = left.replace("+ x", "+ 1x").replace("- x", "- 1x")
    terms = _TIMES_X.sub(r"\1 * x", left)
    python = f"[x for x in range(-9, 10) if {terms} == 0]"
    return Problem("quadratic", text, working, tuple(sorted({r, s})), equation, python)


KINDS: dict[str, Callable[[random.Random, Split, bool], Problem]] = {
    "sum": _sum, "difference": _difference, "product": _product, "quotient": _quotient,
    "percent": _percent, "linear": _linear, "quadratic": _quadratic,
}  # fmt: skip


def draw_problem(rng: random.Random, split: Split, kind: str | None = None) -> Problem:
    """A problem whose numbers belong to `split` (quotients and quadratics share theirs' tables).

    Raises:
        KeyError: there is no such kind of problem.
    """
    make = KINDS[kind or rng.choice(tuple(KINDS))]
    while True:
        problem = make(rng, split, rng.random() < 0.5)
        if bucket(problem.key) == split:
            return problem


def draw(rng: random.Random, split: Split) -> Example:
    """One problem with its working and its marked answer."""
    problem = draw_problem(rng, split)
    return Example(
        prompt=problem.text,
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
