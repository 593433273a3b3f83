"""Arithmetic for the pocket base: facts, sums in steps, sums told as stories."""

from __future__ import annotations

import random
import re

from marks import ASSISTANT, END, USER, known

from loramix.pocket import words
from loramix.pocket.tasks import math, math_working
from loramix.pocket.words import phrases


def _fact(rng: random.Random) -> str:
    """One true line of arithmetic; what follows the bar or the first equals sign can be known."""
    kind = rng.randint(0, 17)
    if kind <= 1:
        a, b = rng.randint(1, 140), rng.choice((rng.randint(1, 9), rng.randint(1, 9) * 10))
        return f"{a} + {b} = {a + b}" if rng.random() < 0.8 else f"{b} + {a} = {a + b}"
    if kind == 2:
        a, b = rng.randint(1, 140), rng.choice((rng.randint(1, 9), rng.randint(1, 9) * 10))
        a = max(a, b)
        return f"{a} - {b} = {a - b}"
    if kind == 3:
        a, b = rng.choice((*range(1, 13), 20, 30, 40, 50, 60)), rng.randint(1, 12)
        return f"{a} * {b} = {a * b}"
    if kind == 4:
        a, b = rng.randint(1, 12), rng.randint(1, 12)
        return f"{a * b} / {b} = {a}"
    if kind == 5:
        a, b = rng.randint(1, 54) * 10, rng.randint(2, 9) * rng.randint(1, 9)
        return f"{a} + {b} = {a + b}"
    if kind == 6:
        a, c = rng.randint(-20, 128), rng.randint(1, 20)
        return f"{a} + {c} = {a + c}" if rng.random() < 0.5 else f"{a} - {c} = {a - c}"
    if kind == 7:
        a = rng.randint(1, 60)
        return rng.choice((
            f"10% of {a * 10} is {a}", f"{a * 10} / 10 = {a}", f"{2 * a} / 2 = {a}",
            f"{4 * (a % 25 + 1)} / 4 = {a % 25 + 1}", f"half of {2 * a} is {a}",
            f"{a} * {a % 9 + 1} = {a * (a % 9 + 1)}",
        ))  # fmt: skip
    if kind <= 11:
        equation, factors = math_working.quadratic(
            *sorted((rng.randint(-9, 9), rng.randint(-9, 9)))
        )
        left, right = equation.removesuffix(" = 0"), factors.removesuffix(" = 0")
        return f"{left} = {right}" if rng.random() < 0.8 else f"{right} = {left}"
    if kind <= 14:
        return _steps(rng)
    return _story(rng)


def _steps(rng: random.Random) -> str:
    """A sum with its steps; none that the test set of the math skill asks for."""
    while True:
        kind = rng.choice(("sum", "difference", "product", "percent", "linear"))
        problem = math.draw_problem(rng, rng.choice(("train", "dev")), kind, brief=True)
        if "?" not in problem.formula:
            joint = rng.choice((": ", " -> ", " by steps: ", ", so "))
            return f"{problem.formula}{joint}|{problem.working}"


STORIES = {
    "sum": phrases("""
    {p} had {a} {t} and got {b} more, so | {p} has {a} {t}, {q} has {b}, together
    {a} {t} came first and {b} later, in total
    {p} sold {a} {t} before noon and {b} after it, in all
    {a} {t} on {d} and {b} on {d2} make | on top of {a} {t} {p} puts {b} more:
    {p} picked {a} {t}, then {b} more, altogether | one shelf holds {a} {t}, another {b}; both hold
    {q} added {b} {t} to the {a} of {p}, so | {a} {t} were sold early and {b} late; sold in sum:
    with {a} {t} at home and {b} at work {p} owns | the shop got {a} {t} on {d}, {b} on {d2}, total
    {p} found {a} {t} in one drawer and {b} in the next, all told | first {a} {t}, then another {b}:
    {a} {t} arrived by truck and {b} by train; what arrived:
    {p} wrote down {a} {t}, {q} {b}; both lists:
    {p} brings {a} {t} and {q} brings {b}, which makes
    the day began with {a} {t} and {b} came in later:
    between breakfast and lunch {a} {t} went out, then {b}, overall
    {a} red {t} next to {b} blue ones:
    {b} {t} join the {a} that were there, now | {p} keeps {a} {t}, {q} keeps {b}, the two of them
    {p} saw {a} {t} here and {b} there, so the count is | {a} {t} plus the {b} that {q} made come to
    in {m} it was {a} {t}, in {m2} {b}; for the two months
    the farm gave {a} {t} last year and {b} this year, summed up:
    a box of {a} {t} and a box of {b} {t}, opened together:
    {p} won {a} {t} at noon and {b} at night, so the prize is
    """),
    "difference": phrases("""
    {p} had {a} {t} and gave {b} to {q}, so | of {a} {t}, {b} were lost, so
    {p} wants {a} {t} and owns {b}; still missing: | {b} of the {a} {t} broke; whole ones:
    {p} ate {b} of {a} {t}; what remains: | {q} took {b} {t} from the {a} of {p}, leaving
    {a} {t} were there and {b} are gone, so | the shop had {a} {t} and sold {b}; unsold:
    {p} used {b} of the {a} {t}; not used: | {p} must make {a} {t} and made {b}; to do:
    {b} of {a} {t} fell down; still up: | after {b} of {a} {t} went away there were
    {p} carried {a} {t} and dropped {b}, so there remain | {a} {t} minus the {b} that {q} used:
    from a pile of {a} {t} {b} were taken, on the pile:
    {b} out of {a} {t} are sold already; for sale:
    {p} counts {a} {t}, {q} counts {b}, so {p} is ahead by | the goal is {a} {t}, so far {b}; to go:
    {a} {t} in the morning, {b} fewer at night: | {q} eats {b} of the {a} {t}; uneaten:
    {p} returned {b} of {a} {t} and keeps | {a} {t} were planned, {b} did not come; present:
    since {b} of the {a} {t} were old, the new ones are | {p} spent {b} of {a} {t}; in the purse:
    {a} {t} hung there until {b} were cut; hanging:
    the bus held {a} {t}, {b} were unloaded; on board:
    the team started with {a} {t} and used up {b}, so the rest is | {b} {t} short of {a} means
    """),
    "product": phrases("""
    {b} boxes with {a} {t} each hold | {p} carries {a} {t} at a time, {b} times, so
    {a} {t} in each of {b} bags make | every day {a} {t}, for {b} days:
    {b} people with {a} {t} each have | {b} rows of {a} {t} are | {b} packs, each of {a} {t}:
    {p} fills {b} shelves with {a} {t} on each, so | {a} {t} a week over {b} weeks come to
    each of {b} houses has {a} {t}, so all houses have | {a} {t} from each of {b} friends:
    {b} times {p} takes {a} {t}, which makes | {p} gets {a} {t} an hour and works {b} hours:
    one box weighs as much as {a} {t}; {b} boxes: | {b} tables with {a} {t} apiece show
    a row has {a} {t}, and there are {b} rows: | every one of {b} pupils holds {a} {t}; together:
    {p} reads {a} pages on each of {b} days, so | {b} trips with {a} {t} a trip bring
    the shop sells {a} {t} per day, in {b} days | {a} {t} a bag, {b} bags:
    {q} orders {b} sets of {a} {t}, so there come | {b} shelves, {a} {t} on every shelf, in sum
    """),
    "quotient": phrases("""
    {a} {t} shared among {b} people give | {a} {t} in {b} equal heaps:
    {b} friends split {a} {t} evenly, each gets | {a} {t} over {b} bags, in each bag
    {p} deals {a} {t} to {b} players, each has | {a} {t} cut into {b} like parts give
    {b} tables share {a} {t}, one table gets | {a} {t} for {b} people, fairly shared:
    {p} hands {a} {t} out to {b} people in equal parts, each holds
    {a} {t} fill {b} boxes evenly, one box has
    of {a} {t} each of {b} pupils takes the same, namely | {b} heaps from {a} {t}; one heap:
    {a} {t} in {b} rows of the same length: | {q} spreads {a} {t} over {b} days, a day has
    {a} {t} went to {b} houses, each house got | {b} workers made {a} {t}, each made
    {p} and friends, {b} in all, part {a} {t}; each part:
    {a} {t} are packed by {b}s, giving packs:
    a team of {b} divides {a} {t}; one member has | {a} {t} last {b} days, so per day
    """),
}


def _story(rng: random.Random) -> str:
    """A sum told as something that happened; what can be known stands after the bar."""
    kind = rng.choice(("sum", "sum", "difference", "difference", "product", "quotient"))
    problem = math.draw_problem(rng, rng.choice(("train", "dev")), kind, brief=True)
    a, b = (int(part) for part in re.findall(r"\d+", problem.formula))
    p, q = rng.sample(words.FIRST, 2)
    t = rng.choice(words.THINGS)
    (d, d2), (m, m2) = rng.sample(words.WEEKDAYS, 2), rng.sample(words.MONTHS, 2)
    told = rng.choice(STORIES[kind]).format(a=a, b=b, p=p, q=q, t=t, d=d, d2=d2, m=m, m2=m2)
    return f"{told} |{problem.working}"


def _marked(fact: str) -> str:
    """A fact with the part marked that can be known."""
    for sign in ("|", " = ", " is "):
        head, found, tail = fact.partition(sign)
        if found:
            return head + found.strip("|") + known(tail)
    return fact


STEPS = ("Steps of", "Go through", "Step by step:", "In steps:", "Steps:")


def _turn(rng: random.Random) -> str:
    """A sum or a story with its steps as the other side's turn; no question, no marked answer."""
    form = rng.random()
    if form < 0.2:
        equation, factors = math_working.quadratic(
            *sorted((rng.randint(-9, 9), rng.randint(-9, 9)))
        )
        said, steps = f"Factors of {equation}", factors
    elif form < 0.5:
        said, _, steps = _steps(rng).partition("|")
        said = f"{rng.choice(STEPS)} {said.removesuffix(', so ').removesuffix(' by steps: ')}"
        said = said.removesuffix(": ").removesuffix(" -> ")
    else:
        said, _, steps = _story(rng).partition("|")
        said = said.strip()
    return f"{USER}{said}{ASSISTANT}{known(steps + END)}"


def arithmetic(rng: random.Random) -> str:
    """Lines of arithmetic facts, or turns that go through their steps."""
    if rng.random() < 0.4:
        return "".join(_turn(rng) for _ in range(rng.randint(2, 5)))
    separator = rng.choice(("\n", "\n", ", ", "; "))
    return separator.join(_marked(_fact(rng)) for _ in range(rng.randint(3, 10)))
