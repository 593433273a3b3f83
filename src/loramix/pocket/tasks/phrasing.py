"""Puts a request and the text it is about together, as people do: before, after, around."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from loramix.pocket import words
from loramix.pocket.words import Split, phrases, pool

SOFTENERS = ("", "", "", "", "Please ", "Can you ", "Could you ", "I need you to ", "Would you ")
# What people say around a request that does not change it; every sixth for the test set alone.
BEFORE = phrases("""
Hi, | Hello, | Hey, | Hi! | Quick question: | Hello! | Good morning, | Good evening! | Hey there,
I need some help. | Can you help me with this? | I'm stuck here. | From my homework:
Sorry to bother you. | A question: | Ok, | Please help. | One more: | So,
This is for school. | I have a question.
My kid asked me this: | I'm not good at this. | Dear assistant, | Next one: | Hi all, | Hmm,
Just checking: | I can't figure this out. | Please help me out: | Maybe you know this. | Now,
For my class: | My teacher wants to know: | Need a hand here. | Excuse me, | It's for a quiz.
Okay, | Got a minute? | I don't understand this one. | Here's my question: | Help!
My sister's exercise: | Silly question: | Could you check this for me? | Let's see: | Hi again,
I've been thinking about this all day. | Well, | Something easy: | Good day! | Question for you:
""")
AFTER = phrases("""
Thanks! | Thanks. | pls | please | Thank you! | Please help! | thanks | Thanks in advance.
I have to hand this in soon. | I need it for school. | thx | I can't work it out. | Thank you.
I'm in a hurry. | Help please. | Any help is welcome. | Just the answer, please. | plz | Cheers!
I forgot how to do this. | Show me how. | Thank you very much! | My son wants to know. | ty
Please show the steps. | It's for my homework. | Thanks a lot. | I keep getting it wrong. | Cheers
I'm not sure how this works. | How do you do that? | Many thanks! | I don't have a calculator.
asap | Please be quick. | Hope you can help.
""")
# Words that keep their capital behind "Hi,".
_CAPITALS = frozenset(("I", *words.FIRST, *words.CITIES, *words.WEEKDAYS))


def request(rng: random.Random, split: Split, patterns: Sequence[str], **slots: str) -> str:
    """One request from the patterns of `split`; `[a/b/c]` in a pattern is a choice."""
    text = rng.choice(pool(patterns, split))
    while "[" in text:
        head, _, rest = text.partition("[")
        options, _, tail = rest.partition("]")
        text = head + rng.choice(options.split("/")) + tail
    for name, value in slots.items():
        text = text.replace("{" + name + "}", value)
    if text[0] == "~":  # an imperative, which may be asked more softly
        softener = rng.choice(SOFTENERS)
        body = text[1:]
        text = softener + (body[0].lower() + body[1:] if softener else body)
        if softener.startswith(("Can", "Could", "Would")) and rng.random() < 0.7:
            text = text.rstrip(".:") + "?"
    return vary(rng, text)


def vary(rng: random.Random, text: str) -> str:
    """Small habits of typing: no capital at the start, no full stop, or none of these."""
    habit = rng.random()
    if habit < 0.08:
        return text[0].lower() + text[1:]
    if habit < 0.14:
        return text.rstrip(".:?")
    return text


def chatter(
    rng: random.Random,
    split: Split,
    text: str,
    before: Sequence[str] = BEFORE,
    after: Sequence[str] = AFTER,
) -> str:
    """A whole prompt with what people say before and behind it, and as carelessly typed."""
    if rng.random() < 0.12:
        said = rng.choice(pool(before, split))
        if said[-1] == ",":
            text = lower_start(text)
        text = f"{said}{_gap(rng)}{text}"
    if rng.random() < 0.1:
        said = rng.choice(pool(after, split))
        if said[0].islower():
            text = re.sub(r"(?<!= )[.:?]+$", "", text)
        elif text[-1] not in ".:?":
            text += "."
        text = f"{text}{_gap(rng)}{said}"
    habit = rng.random()
    if habit < 0.06:
        text = text.lower()
    if 0.04 < habit < 0.08:
        text = re.sub(r"(?<!= )[,.:;?!](?=\s|$)", "", text)
    if "'" in text and rng.random() < 0.15:
        text = text.replace("'", "")
    return re.sub(r" +", " ", text).strip()


def lower_start(text: str) -> str:
    """`text` as it goes on behind a comma: its first word in lower case, unless that is a name."""
    first, _, rest = text.partition(" ")
    if re.split(r"\W", first)[0] in _CAPITALS:
        return text
    return f"{first.lower()} {rest}".rstrip()


def _gap(rng: random.Random) -> str:
    return "\n" if rng.random() < 0.15 else " "


def around(rng: random.Random, ask: str, text: str) -> str:
    """The request before or after the text."""
    habit = rng.random()
    if habit < 0.35:
        return f"{ask.rstrip('.:?')}: {text}"
    if habit < 0.55:
        return f"{ask}\n{text}"
    if habit < 0.65:
        return f"{ask} {text}" if ask[-1] in ".:?" else f"{ask}: {text}"
    if habit < 0.75:
        return f'{ask}\n"{text}"'
    if habit < 0.9:
        return f"{text}\n{ask}"
    return f"{text} {ask}"
