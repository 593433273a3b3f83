"""Arithmetic, percentages, equations and word problems → short working and a marked answer."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loramix.data import Example
from loramix.pocket import words
from loramix.pocket.tasks.phrasing import request
from loramix.pocket.tasks.task import Task
from loramix.pocket.words import Split, bucket, phrases, pool

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
    def solution(self) -> str:
        """The working and the marked answer."""
        return f"{self.working}\nAnswer: {' or '.join(map(str, self.answer))}"


CALCULATE = phrases("""
What is {x}? | ~Calculate {x}. | ~Work out {x}. | ~Compute {x}. | How much is {x}? | {x} = ? | {x}
~Find {x}. | ~Evaluate {x}. | What do you get for {x}? | What does {x} equal? | ~Solve {x}.
~Tell me what {x} is. | Result of {x} | ~Figure out {x}. | What's {x}? | What is the value of {x}?
~Give me the result of {x}.
How much do I get for {x}? | ~Do the sum: {x} | I need the value of {x}. | {x} equals what?
{x} is what?
~Help me with {x}. | Quick: {x} | ~Take {x}. What comes out? | {x} makes | Answer this: {x}
Can you do {x}? | {x}, please.
""")
SOLVE = phrases("""
~Solve {x}. | ~Solve the equation {x}. | ~Find x if {x}. | What is x in {x}? | ~Solve for x: {x}
{x}, what is x? | If {x}, what is x? | ~Find the [solution/solutions] of {x}. | For which x is {x}?
~Work out x from {x}. | ~Determine x: {x} | ~Find all x with {x}. | What are the solutions of {x}?
~Solve this equation: {x} | x = ? when {x} | ~Compute x such that {x}. | ~Find the roots of {x}.
~Work out the [solution/roots] of {x}.
Which x solves {x}? | x from {x} | I need x: {x} | Which number is x in {x}?
The equation is {x}. Find x.
Given {x}, what is x? | Help me solve {x}. | ~Calculate x: {x} | {x}. Solve it.
Which x makes {x} true? | Equation: {x}
What value must x have in {x}? | ~Get x out of {x}.
""")

GAIN = phrases("""
{p} has {a} {t} and [gets/buys/finds] {b} more. How many {t} does {p} have now?
{p} had {a} {t}. Then {q} gave {p} {b} more. How many {t} are there now?
There are {a} {t} in a box and {b} {t} in a bag. How many {t} are there in all?
{p} has {a} {t} and {q} has {b}. How many {t} do they have together?
{p} collected {a} {t} on {d} and {b} the next day. How many {t} is that in total?
A shop sold {a} {t} in the morning and {b} in the afternoon. How many {t} did it sell?
{p} bakes {a} {t} before lunch and {b} after lunch. How many {t} is that altogether?
One box holds {a} {t} and another holds {b}. What is the total?
{p} found {a} {t} and then {b} more. How many does {p} have?
There were {a} {t} on the shelf. {p} put {b} more there. How many {t} are on it now?
{p} counted {a} {t} and {q} counted {b}. How many did both count?
On {d} {a} {t} arrived and later {b} more. How many {t} arrived in all?
{p} read {a} pages on {d} and {b} pages the day after. How many pages in total?
A farmer picked {a} {t} in one field and {b} in the other. How many were picked?
{p} paid {a} coins for {t} and {b} coins for bread. How much did {p} pay?
The first bus carried {a} people, the second {b}. How many people did they carry?
If {p} has {a} {t} and {q} gives {p} {b}, how many {t} does {p} have?
{a} {t} are red and {b} {t} are blue. How many {t} are there altogether?
""")
LOSS = phrases("""
{p} has {a} {t} and [gives away/loses/sells] {b}. How many {t} are left?
{p} had {a} {t} and {q} took {b} of them. How many {t} does {p} still have?
There were {a} {t} on a table and {b} fell off. How many {t} are still on the table?
A shop had {a} {t} and sold {b} on {d}. How many {t} remain?
{p} needs {a} {t} and has {b}. How many more {t} does {p} need?
{q} brought {a} {t} and {b} were used. How many {t} are left over?
Of {a} {t}, {b} broke. How many are whole?
{p} had {a} coins and spent {b}. How many coins are left?
There are {a} {t}. {p} eats {b} of them. How many {t} remain?
{p} baked {a} {t}; {b} were eaten. How many are left?
If {p} has {a} {t} and gives {b} to {q}, how many does {p} keep?
A book has {a} pages and {p} has read {b}. How many pages are left to read?
{a} people were on the train and {b} got off. How many people are still on it?
{p} has {a} {t} and {q} has {b}. How many more {t} does {p} have than {q}?
A box held {a} {t} until {b} were taken out. What is left in it?
{p} wants to sell {a} {t} and has sold {b}. How many {t} are still to be sold?
From {a} {t} {p} throws away {b}. How many {t} stay?
After losing {b} of {a} {t}, how many {t} does {p} have?
""")
GROUPS = phrases("""
There are {b} boxes with {a} {t} each. How many {t} are there in all?
{p} buys {b} bags of {t}. Each bag holds {a} {t}. How many {t} does {p} have?
{p} packs {a} {t} into each of {b} boxes. How many {t} are packed?
A shop has {b} shelves with {a} {t} on each. How many {t} is that?
{p} makes {a} {t} a day. How many {t} does {p} make in {b} days?
Each of {b} children brings {a} {t}. How many {t} do they bring together?
One bag holds {a} {t}. How many {t} are in {b} bags?
{p} has {b} packs of {a} {t}. How many {t} is that altogether?
A ticket costs {a} coins. What do {b} tickets cost?
{p} earns {a} coins an hour. How much does {p} earn in {b} hours?
There are {b} rows of {a} {t}. How many {t} are there?
Every day {p} sells {a} {t}. How many are sold in {b} days?
{b} friends have {a} {t} each. How many {t} do they have in total?
A car carries {a} {t}. How many {t} do {b} cars carry?
{p} writes {a} pages a week. How many pages is that after {b} weeks?
If one box contains {a} {t}, how many {t} do {b} boxes contain?
{p} plants {b} rows with {a} flowers in each row. How many flowers are planted?
On each of {b} tables there are {a} {t}. How many {t} are there together?
""")
PORTION = phrases("""
{x}% of the {a} {t} come from {c}. How many {t} is that?
There are {a} {t} and {x}% of them are new. How many {t} are new?
{p} has {a} {t} and sells {x}% of them. How many {t} does {p} sell?
A box of {t} costs {a} coins and the price falls by {x}%. By how many coins does it fall?
Of {a} people in {c}, {x}% have {t}. How many people is that?
{x} percent of {a} {t} are broken. How many are broken?
{p} gives {q} {x}% of {a} {t}. How many {t} does {q} get?
{p} has to pay {x}% of {a} coins as tax. How much tax is that?
A shop in {c} has {a} {t}; {x}% are sold on {d}. How many are sold?
What is a discount of {x}% on a price of {a} coins?
{p} saves {x}% of {a} coins. How many coins does {p} save?
In {c} {x}% of {a} visitors came on {d}. How many visitors were that?
""")
SHARE = phrases("""
{p} shares {a} {t} equally among {b} friends. How many {t} does each one get?
{a} {t} are put into {b} equal boxes. How many {t} are in each box?
{p} splits {a} {t} into {b} equal groups. How many {t} are in one group?
A teacher divides {a} {t} among {b} children. How many {t} does each child get?
There are {a} {t} for {b} tables. How many {t} does each table get?
{b} people share {a} {t} fairly. How many {t} does each get?
{p} has {a} {t} for {b} children, the same for each. How many does one child get?
{a} {t} are packed into {b} bags evenly. How many {t} does a bag hold?
{p} cuts {a} {t} into {b} equal parts. How big is one part?
{b} workers made {a} {t}, all the same number. How many {t} did each make?
A ticket costs {b} coins. How many tickets can {p} buy for {a} coins?
If {a} {t} are divided equally among {b} people, how many {t} does each person get?
{p} puts {a} {t} in {b} rows of equal length. How many {t} stand in a row?
{p} reads {a} pages in {b} days, the same every day. How many pages a day?
There are {a} {t} in {b} boxes, all equally full. How many {t} are in one box?
{a} {t} last {p} for {b} days. How many {t} does {p} use a day?
{a} people sit at {b} tables, the same number at each. How many people sit at one table?
{b} cars bring {a} {t}, each the same. How many {t} does one car bring?
""")


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
    return f"10% of {a} is {a // 10}, {a // 10} * {p // 10} = {a * p // 100}"


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
        key = (problem.kind, problem.working)
        if bucket(key) == split:
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
