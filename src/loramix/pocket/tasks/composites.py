"""Requests that need two skills at once; each part of the answer is scored by itself."""

from __future__ import annotations

import random
from collections.abc import Sequence

from loramix.data import Example
from loramix.pocket import words
from loramix.pocket.tasks import code, math, math_working, qa, sentiment, summarization
from loramix.pocket.tasks.messages import KINDS, draw_message
from loramix.pocket.tasks.phrasing import around, request
from loramix.pocket.tasks.task import Composite
from loramix.pocket.words import Split, phrases, pool

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
GENERIC = {
    "linear": ("a linear equation", "an equation like 3x + 5 = 20", "an equation"),
    "quadratic": ("a quadratic", "a quadratic equation", "quadratic equations"),
    "sum": ("a sum of two numbers", "an addition"),
    "product": ("a product of two numbers", "a multiplication"),
    "percent": ("a percentage", "percentages"),
}
HAVE = phrases("""
{p} has {a} {t} | {p} owns {a} {t} | {p} keeps {a} {t} | {p} counts {a} {t}
In the cupboard {p} has {a} {t} | {p} holds {a} {t}
{p} has got {a} {t} | {p} bought {a} {t} | {p} found {a} {t} | On the table {p} has {a} {t}
{p} brought {a} {t} | {p} stores {a} {t} at home
""")
TOGETHER = phrases("""
How many {t} do {p} and {q} have together? | How many {t} is that in total?
What is the total number of {t} of {p} and {q}? | {p} and {q} have how many {t} in all?
Add the {t} of {p} and {q}: how many? | How many {t} do both have in all?
How many {t} do {p} and {q} own in total? | What do the {t} of {p} and {q} add up to?
How many {t} are there if {p} and {q} put theirs together? | Count the {t} of both: how many?
{p} and {q} together have how many {t}? | What is the sum of the {t} of {p} and {q}?
""")
APART = phrases("""
How many more {t} does {p} have than {q}? | By how many {t} is {p} ahead of {q}?
What is the difference between the {t} of {p} and {q}? | How many {t} more has {p} than {q}?
Compute how many more {t} {p} has than {q}. | {p} has how many {t} more than {q}?
How many fewer {t} does {q} have than {p}? | How many {t} does {q} lack to have as many as {p}?
By how many {t} does {p} beat {q}? | What is the gap between the {t} of {p} and {q}?
How many {t} more does {p} own than {q}? | {q} has how many {t} fewer than {p}?
""")


def _draw_text(rng: random.Random, split: Split) -> Example:
    tone = rng.choice(("mixed", "mixed", "positive", "negative"))
    message = draw_message(rng, split, tone, sentences=(2, 6))
    ask = request(rng, split, BOTH_OF_TEXT, kind=rng.choice(KINDS))
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
    kind = rng.choice(("linear", "quadratic", "sum", "product", "percent"))
    problem = math.draw_problem(rng, split, kind)
    general = rng.random() < 0.3  # asks for the kind of problem, gives no numbers
    what = rng.choice(GENERIC[kind]) if general else problem.formula
    value = list(problem.answer) if kind == "quadratic" else problem.answer[0]
    return Example(
        prompt=request(rng, split, CODE_AND_MATH, x=what),
        completion=f"{problem.solution}\ndef solve():\n    return {problem.python}",
        meta={
            "task": "code_and_math", "answer": list(problem.answer), "general": general,
            "tests": [f"assert f() == {value!r}"],
            "skills": {"code": 0.5, "math": 0.5},
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
    rng.shuffle(sentences)
    ask = rng.choice(pool(APART if more else TOGETHER, split)).format(p=p, q=q, t=thing)
    result = a - b if more else a + b
    working = math_working.subtract(a, b) if more else math_working.add(a, b)
    return Example(
        prompt=qa.lay_out(rng, split, " ".join(sentences), ask),
        completion=f"{p} {a}, {q} {b}. {working}\nAnswer: {result}",
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
            {"code": code.score, "math": math.score},
        ),
        Composite(
            "computed_answer",
            ("qa", "math"),
            _draw_counted,
            {"qa": _facts_part, "math": math.score},
        ),
    )
}
