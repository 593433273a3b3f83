"""Requests that need two skills at once; each part of the answer is scored by itself."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from loramix.data import Example
from loramix.pocket import words
from loramix.pocket.tasks import code, math, math_working, qa, sentiment, summarization
from loramix.pocket.tasks.messages import KINDS, draw_message
from loramix.pocket.tasks.phrasing import around, lower_start, request
from loramix.pocket.tasks.task import Composite
from loramix.pocket.words import Split, phrases, pool

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
HAVE = phrases("""
{p} has {a} {t} | {p} owns {a} {t} | {p} keeps {a} {t} | {p} counts {a} {t}
In the cupboard {p} has {a} {t} | {p} holds {a} {t}
{p} has got {a} {t} | {p} bought {a} {t} | {p} found {a} {t} | On the table {p} has {a} {t}
{p} brought {a} {t} | {p} stores {a} {t} at home
{p} collected {a} {t} | At home {p} has {a} {t} | {p} was given {a} {t} | {p} packed {a} {t}
{p} picked {a} {t} | {p} carries {a} {t} | There are {a} {t} in the bag of {p} | {p} won {a} {t}
{p} takes care of {a} {t} | {p} made {a} {t} | {p} ordered {a} {t} | {p} is left with {a} {t}
""")
TOGETHER = phrases("""
How many {t} do {p} and {q} have together? | How many {t} is that in total?
What is the total number of {t} of {p} and {q}? | {p} and {q} have how many {t} in all?
Add the {t} of {p} and {q}: how many? | How many {t} do both have in all?
How many {t} do {p} and {q} own in total? | What do the {t} of {p} and {q} add up to?
How many {t} are there if {p} and {q} put theirs together? | Count the {t} of both: how many?
{p} and {q} together have how many {t}? | What is the sum of the {t} of {p} and {q}?
How many {t} are there altogether? | Combined, how many {t} do {p} and {q} have?
Altogether, {p} and {q} have how many {t}? | How many {t} do the two have in total?
How many {t} would {p} have with those of {q} added? | Sum up the {t} of {p} and {q}.
Give the total of the {t} of both. | How many {t} in all? | What is the sum of both numbers of {t}?
How big is the pile of {t} if {p} and {q} share it? | How many {t} do they have between them?
Taken together, how many {t} are these? | What number of {t} do {p} and {q} hold jointly?
{p} gives all {t} to {q}. How many does {q} have then? | Work out the total number of {t}.
If all {t} are counted, how many are there? | How many {t} have {p} and {q} in sum?
Tell me how many {t} both own altogether. | All {t} of {p} and {q}: how many?
What would you get by adding the {t} of {p} to those of {q}? | How many {t} does the pair have?
Find the sum of the {t} that {p} and {q} have. | In all, how many {t} do {p} and {q} have?
The {t} of {p} plus the {t} of {q} make how many? | Both of them together: how many {t}?
Add up the {t} of both. | What is the total of the {t}? | The sum of all {t}, please.
What do you get if you add the {t} of {q} to the {t} of {p}? | What is the joint number of {t}?
The {t} of both, added up: how many? | How many {t} does that make in total?
{p} has {t} and {q} has {t}. How many is that in sum? | How many {t} are with {p} and {q} in all?
What is the number of all {t}? | What total do the {t} of {p} and {q} give?
{p} plus {q}: how many {t}? | How many {t} will there be if both put them on one heap?
How many {t} do {p} and {q} have altogether? | Count up all the {t}. | How many {t} as a sum?
Both put their {t} into one box. How many {t} are in it? | What is the whole number of {t}?
Together, how many {t} is that? | How many {t} have the two between them, all in all?
Add those of {q} to those of {p}: how many {t}? | Give me the sum of the two numbers of {t}.
How many {t} do {p} and {q} count jointly? | Say how many {t} there are with both added.
If {q} gives every one to {p}, how many {t} has {p}? | Total the {t} of {p} and {q}.
""")
APART = phrases("""
How many more {t} does {p} have than {q}? | By how many {t} is {p} ahead of {q}?
What is the difference between the {t} of {p} and {q}? | How many {t} more has {p} than {q}?
Compute how many more {t} {p} has than {q}. | {p} has how many {t} more than {q}?
How many fewer {t} does {q} have than {p}? | How many {t} does {q} lack to have as many as {p}?
By how many {t} does {p} beat {q}? | What is the gap between the {t} of {p} and {q}?
How many {t} more does {p} own than {q}? | {q} has how many {t} fewer than {p}?
How many {t} must {q} get to have as many as {p}? | {p} exceeds {q} by how many {t}?
How many extra {t} does {p} have compared with {q}? | How many {t} is {q} short of {p}?
Subtract the {t} of {q} from those of {p}. | By what number of {t} is {q} behind {p}?
How much larger is the number of {t} of {p} than that of {q}? | How many {t} apart are {p} and {q}?
How many {t} less than {p} does {q} have? | {p} has more {t} than {q}. How many more?
{q} has fewer {t} than {p}. How many fewer? | Find the difference in {t} between {p} and {q}.
What is left if the {t} of {q} are taken from those of {p}? | How many {t} more than {q} has {p}?
Compared with {q}, {p} has how many more {t}? | Compared with {p}, {q} has how many fewer {t}?
How many {t} does {p} have beyond what {q} has? | {q} needs how many more {t} to reach {p}?
How many {t} would {p} have to lose to have as many as {q}? | How many {t} fewer than {p} has {q}?
Tell me by how many {t} {p} leads {q}. | How many {t} more do you find with {p} than with {q}?
Work out how many {t} {q} lacks compared with {p}. | By how many {t} does {q} trail {p}?
By how many {t} is {p} in the lead? | What is the gap in {t} between {p} and {q}?
Take the {t} of {q} away from the {t} of {p}: how many are left? | How many fewer {t} has {q}?
The {t} of {p} minus the {t} of {q} make how many? | What is {p} minus {q} in {t}?
How many {t} is {p} ahead of {q}? | How many {t} is {q} behind {p}? | How many more {t} has {p}?
By what margin of {t} does {p} lead {q}? | How large is the difference in the number of {t}?
How many {t} does {q} miss to come up to {p}? | {q} has less {t} than {p}. How many less?
What is the difference of their {t}? | By how many {t} does {p} outdo {q}?
How many {t} would {q} still need to have what {p} has? | How many {t} more than {q} does {p} own?
How many of the {t} of {p} are more than {q} has? | How far is {q} behind {p}, in {t}?
Say how many more {t} {p} has than {q}. | Say how many fewer {t} {q} has than {p}.
Give me the difference between the {t} of {q} and of {p}. | How many {t} does {q} lag behind {p}?
What must {q} add to have as many {t} as {p}? | How many {t} does {p} have on top of what {q} has?
By how many {t} is the number of {q} below that of {p}? | How many {t} too few has {q} for {p}?
""")


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


def _draw_counted(rng: random.Random, split: Split) -> Example:
    more = rng.random() < 0.5
    while True:
        a, b = rng.randint(2, 60), rng.randint(2, 60)
        if (not more or a > b) and words.bucket((more, a, b)) == split:
            break
    p, q = rng.sample(pool(words.FIRST, split), 2)
    thing = rng.choice(pool(words.THINGS, split))
    have = pool(HAVE, split)
    sentences = [
        rng.choice(have).format(p=p, a=a, t=thing) + ".",
        rng.choice(have).format(p=q, a=b, t=thing) + ".",
    ]
    for name in (p, q):
        kind = rng.choice(("city", "job", "hobby"))
        fact = rng.choice(pool(qa.PERSON[kind].facts, split))
        sentences.append(fact.format(s=name, v=qa.PERSON[kind].value(rng, split)) + ".")
    counts = {sentences[0]: (p, a), sentences[1]: (q, b)}
    rng.shuffle(sentences)
    ask = rng.choice(pool(APART if more else TOGETHER, split)).format(p=p, q=q, t=thing)
    result = a - b if more else a + b
    # what is read comes in the order of the passage; which of the two is more is for the maths
    read = [counts[sentence] for sentence in sentences if sentence in counts]
    facts = ", ".join(f"{name} {count}" for name, count in read)
    first, second = (count for _, count in read)
    working = math_working.subtract(a, b) if more else math_working.add(first, second)
    return Example(
        prompt=qa.lay_out(rng, split, " ".join(sentences), ask),
        completion=f"{facts}. {working}\nAnswer: {result}",
        meta={
            "task": "computed_answer", "answer": [result], "needed": [a, b],
            "skills": {"qa": 0.5, "math": 0.5},
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
            _draw_counted,
            {"qa": _facts_part, "math": math.score},
        ),
    )
}
