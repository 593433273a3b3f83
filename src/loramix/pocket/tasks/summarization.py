"""Puts a message into one line: what was praised and what went wrong."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from loramix.data import Example
from loramix.pocket.tasks.messages import KINDS, Message, draw_message
from loramix.pocket.tasks.phrasing import around, request
from loramix.pocket.tasks.task import Task
from loramix.pocket.words import Split, phrases

ASK = phrases("""
~[Summarize/Sum up/Summarise] this {kind}.
~[Summarize/Sum up/Condense] this {kind} in one [line/sentence].
~Give me a [one-line/short/brief] summary of this {kind}.
~[Put/Boil down] this {kind} in one line.
~[Shorten/Condense] this {kind} to one [line/sentence].
What is this {kind} about, in one line?
TL;DR
~Write a [short/brief/one-line] [summary/digest] of the following {kind}.
What did the [customer/writer] like and what went wrong?
~Only give me one line of summary.
What are the main points of this {kind}?
~Make a [digest/summary] of this {kind}.
~List what was praised and what went wrong in this {kind}.
Summary of this {kind}
~Give the gist of this {kind} [in one line/briefly].
What was [good/praised] and what was [bad/wrong], in one line?
In [short/one line], what does this {kind} say?
~Recap this {kind} [briefly/in one line].
[Summary/Digest/Gist]
~Tell me [in brief/in one line/shortly] what this {kind} says.
Short version
~Reduce this {kind} to its main points.
~[Summarize/Sum up] the [praise and the problems/good and the bad] in this {kind}.
What are the key points here?
What are the [key/main/essential] facts of this {kind}?
Which points does this {kind} make?
The [key/main] points, please.
~Give me the [essence/core/main points] of this {kind}.
~Pull out the [key/main/important] points.
What is the [gist/essence/core] of this {kind}?
~Tell me the main [points/things] in one line.
~Write one line about what this {kind} says.
~Compress this {kind} into one [line/sentence].
What does the [writer/customer] say, in [short/brief]?
~Name what the [writer/customer] liked and what [failed/was bad].
One line about this {kind}
~Make it short: what does this {kind} say?
~Sum it up.
The short of it, please.
~Digest this {kind} for me.
What should I [know/remember] from this {kind}, in one line?
~List the good and the bad points of this {kind}.
Which things were [praised/liked] and which were [criticized/blamed]?
~Bring this {kind} down to one line.
~Write a headline for this {kind}.
I have no time to read this {kind}. What does it say?
~Just give me the short version of this {kind}.
~Put the important points of this {kind} in one line.
~Say it in one line.
What is [important/worth knowing] in this {kind}, in one line?
~Write down the main points of this {kind}.
One sentence that sums up this {kind}, please.
What does it come down to?
~Tell me in one sentence what this {kind} says.
[Pros and cons of this {kind}/Praise and complaints in this {kind}]
What are the [pros and cons/pluses and minuses/ups and downs] in this {kind}?
~Name the strengths and the weaknesses that this {kind} [names/tells of].
What [worked/went well] and what [didn't/went badly], in one line?
[Likes and dislikes/Plus and minus] of this {kind}
What pleased the [customer/writer] and what bothered them?
Compliments and complaints in one line, please.
What did they like and what not? [One line./In one sentence.]
What did the [customer/writer] [enjoy/love], and what did they [hate/dislike]?
~Sort this {kind} into praise and problems, in one line.
~Skip the rest and [give me/write down] the praise and the complaints.
Which things were they [glad about/happy with], and which [annoyed/upset] them?
~Strip this {kind} down to what was liked and what was not.
What does the [customer/writer] praise, and what do they find fault with? [Briefly./One line.]
~Write one line for the [report/log/minutes]: what was fine and what was not.
What [delighted/impressed] the [customer/writer], and what disappointed them?
~Tell me briefly which things [worked/pleased] and which [failed/displeased].
The best and the worst of this {kind}, in one line
What was the [customer/writer] content with, and with what not? [One line./In short.]
~Note in one line what was [appreciated/commended] and what was [faulted/blamed].
~One sentence for my [boss/colleague], please: what was nice and what was not?
What do they [recommend/speak well of], and what do they [warn of/grumble about]?
~Make a note of what this {kind} praises and blames.
What made them happy and what made them unhappy, in [one line/short]?
~Leave out the chatter: what was [good/right], what was [bad/wrong]?
~Fill in from this {kind}: liked, trouble with.
""")


def line(message: Message) -> str:
    """The summary of a message, one line."""

    def names(aspects: Sequence[str]) -> str:
        return " and ".join(f"the {aspect}" for aspect in aspects)

    liked = f"Liked {names(message.praised)}" if message.praised else "Nothing praised"
    wrong = f"trouble with {names(message.blamed)}" if message.blamed else "no trouble"
    return f"{liked}; {wrong}."


def draw(rng: random.Random, split: Split) -> Example:
    """One message of two to six sentences with a request for a summary."""
    tone = rng.choice(("mixed", "mixed", "positive", "negative"))
    message = draw_message(rng, split, tone, sentences=(2, 6))
    ask = request(rng, split, ASK, kind=rng.choice(KINDS))
    return Example(
        prompt=around(rng, ask, message.text),
        completion=line(message),
        meta={
            "task": "summarization",
            "text": message.text,
            "praised": list(message.praised),
            "blamed": list(message.blamed),
        },
    )


def read_line(text: str) -> tuple[set[str], set[str]]:
    """What a summary line says was praised, and what went wrong."""
    first = text.strip().splitlines()[0].lower() if text.strip() else ""
    first = first.partition(". ")[0]  # what follows the line's full stop is another's part
    liked, _, wrong = first.partition(";")

    def aspects(part: str, lead: str) -> set[str]:
        _, found, rest = part.partition(lead)
        names = re.split(r",| and ", rest.strip(" .")) if found else []
        return {name.strip().removeprefix("the ").strip() for name in names} - {""}

    return aspects(liked, "liked "), aspects(wrong, "trouble with ")


def score(examples: Sequence[Example], texts: Sequence[str]) -> list[float]:
    """Half for the exact set of what was praised, half for the exact set of what went wrong.

    A text without the line's form earns nothing, so that saying nothing is not rewarded.
    """
    scores = []
    for example, text in zip(examples, texts, strict=True):
        praised, blamed = read_line(text)
        formed = ";" in text and "trouble" in text
        right = (praised == set(example.meta["praised"])) + (blamed == set(example.meta["blamed"]))
        scores.append(right / 2 if formed else 0.0)
    return scores


TASK = Task(
    "summarization",
    "puts a message into one line: what was praised and what went wrong",
    draw,
    score,
    max_new_tokens=40,
)
