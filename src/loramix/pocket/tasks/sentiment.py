"""Says how a writer feels: positive, negative, mixed or neutral."""

from __future__ import annotations

import random
from collections.abc import Sequence

from loramix.data import Example
from loramix.pocket.tasks.messages import KINDS, draw_message
from loramix.pocket.tasks.phrasing import around, request
from loramix.pocket.tasks.task import Task
from loramix.pocket.words import Split, phrases

LABELS = ("positive", "negative", "mixed", "neutral")

ASK = phrases("""
~[Classify/Judge/Label/Rate/Assess] the [sentiment/tone/mood] of this {kind}.
What is the [sentiment/tone/mood] of this {kind}?
~[Tell me/Say] how the [writer/author/customer] feels.
Is this {kind} positive, negative, mixed or neutral?
~[Identify/Detect/Determine] the [sentiment/tone/feeling] [here/in this {kind}].
How does the [writer/customer/author] [feel/sound]?
Positive, negative, mixed or neutral?
Sentiment of the following {kind}
~Decide whether this {kind} is positive, negative, mixed or neutral.
[Sentiment/Tone/Mood]?
Is the [customer/writer/person] [happy/satisfied/pleased] or [unhappy/upset/annoyed]?
~Classify only the [tone/sentiment] of the {kind}.
~[Label/Tag/Mark] this {kind} by [sentiment/tone].
What [feeling/mood/attitude] does this {kind} [express/show/convey]?
Does this {kind} sound [positive/good] or [negative/bad]?
~Give me the overall [sentiment/tone] in one word.
What is the [attitude/opinion] of the [writer/customer] here?
~Analyze the [sentiment/mood/tone] of the text.
[Sentiment/Tone] analysis
~[Find out/Check] if the [writer/author] is [happy/content] with it.
How would you [describe/classify/label] the [tone/sentiment/mood] of this {kind}?
~Only say how the [customer/writer] feels about it.
One word for the [tone/mood/sentiment] of this {kind}
~Do a [sentiment/tone] check on this {kind}.
Check the [tone/sentiment/mood] of this {kind}.
~Run a [sentiment/tone] analysis on this {kind}.
~[Test/Look] whether the [writer/customer] is [pleased/happy] or not.
What is the overall [sentiment/tone/mood]?
Which [tone/sentiment] does this {kind} have?
In what [mood/spirit] was this {kind} written?
The [tone/sentiment] of this {kind}, please.
~Rate this {kind} as positive, negative, mixed or neutral.
Would you call this {kind} [positive/negative]?
Is this [good or bad feedback/praise or complaint]?
~Name the [tone/mood/sentiment] of this {kind}.
How [happy/pleased/satisfied] is the [writer/customer/author]?
[Happy/Satisfied] or not?
~Tell me if this {kind} is [positive/negative/friendly].
Does the [writer/customer] sound [happy/angry/pleased]?
~Read the mood of this {kind}.
What does the [writer/customer/author] feel?
~Pick one: positive, negative, mixed, neutral.
What [sentiment/feeling/tone] is in this {kind}?
~Put a [sentiment/tone] label on this {kind}.
~Make a [tone/mood/sentiment] check of the text.
I only want the [tone/sentiment/mood] of this {kind}.
~Determine how the [author/writer] feels about it.
~Give this {kind} one label: positive, negative, mixed or neutral.
~Choose one of positive, negative, mixed and neutral.
Which of these fits: positive, negative, mixed or neutral?
Is the [writer/customer/author] [satisfied/content/glad/angry]?
In which [mood/tone/temper] is this {kind} written?
How [glad/angry/content/upset] does the [writer/customer/author] sound?
What is the [writer/customer/author] feeling here?
~Take one label: positive, negative, mixed or neutral.
One of: positive, negative, mixed, neutral
How [good/bad] is the [mood/feeling] of the [writer/customer]?
Was the [writer/customer/author] [happy/satisfied/pleased/angry] when this was written?
~Select positive, negative, mixed or neutral for this {kind}.
What is the general [tone/mood/sentiment] of this {kind}?
""")


def draw(rng: random.Random, split: Split) -> Example:
    """One message with a request to judge it, and its label."""
    message = draw_message(rng, split)
    ask = request(rng, split, ASK, kind=rng.choice(KINDS))
    return Example(
        prompt=around(rng, ask, message.text),
        completion=message.tone,
        meta={"task": "sentiment", "text": message.text, "label": message.tone},
    )


def read_label(text: str) -> str | None:
    """The first of the four labels that the text names."""
    found = [(text.lower().find(label), label) for label in LABELS]
    return min(((at, label) for at, label in found if at >= 0), default=(0, None))[1]


def score(examples: Sequence[Example], texts: Sequence[str]) -> list[float]:
    """1 where the answer is the label and nothing else."""
    return [
        float(text.strip().strip(".").lower() == example.meta["label"])
        for example, text in zip(examples, texts, strict=True)
    ]


TASK = Task("sentiment", "says how the writer of a text feels", draw, score, max_new_tokens=8)
