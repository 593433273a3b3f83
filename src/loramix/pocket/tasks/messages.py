"""Reviews, e-mails, support messages and app-store comments, made from clauses.

A message is a list of opinions (an aspect, praised or blamed), facts that carry no feeling, and
the small talk around them. Sentiment and summarization both read such messages.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from loramix.pocket import words
from loramix.pocket.words import Split, phrases, pool

KINDS = ("review", "e-mail", "support message", "app comment", "comment", "message", "feedback")

PRAISE = phrases("""
the {a} is {good} | the {a} was {good} | I {like} the {a} | the {a} turned out {good}
we thought the {a} was {good} | I found the {a} {good} | the {a} really is {good}
no complaints about the {a} | I must say the {a} is {good} | the {a} impressed all of us
the {a} made my day | my family loves the {a} | the {a} works really well
{good}, that is the word for the {a} | the best part was the {a} | the {a} exceeded my hopes
I have nothing but praise for the {a} | honestly, the {a} is {good} | the {a} is not bad at all
thumbs up for the {a} | thank you for the {good} {a}
""")

BLAME = phrases("""
the {a} is {bad} | the {a} was {bad} | I {dislike} the {a} | the {a} turned out {bad}
we thought the {a} was {bad} | I found the {a} {bad} | the {a} really is {bad}
I have to complain about the {a} | sadly the {a} is {bad} | the {a} let all of us down
the {a} ruined my day | my family hates the {a} | the {a} does not work properly
{bad}, that is the word for the {a} | the worst part was the {a} | the {a} fell short of my hopes
I have nothing good to say about the {a} | honestly, the {a} is {bad} | the {a} is not {good}
thumbs down for the {a} | please fix the {bad} {a} | the {a} stopped working after a day
""")

FACTS = phrases("""
I ordered it on {day} | it arrived on {day} | I bought this {product} in {month}
we were there with {n} people | this is my {nth} {product} | the {product} is {color}
I live in {city} | it came in {n} boxes | we stayed for {n} nights | I use it on {day} and {day2}
my order number is {big} | I am writing from {city} | it was for my {relative}
the {product} weighs {n} kilos | they are open until {n} on {day} | I read about it in {month}
my {relative} has the same {product} | the shop is in {city} | it has {n} parts
I paid by card on {day} | there is a shop next to the station | the box is {color}
we drove there from {city} | we went there with my {relative} | it is on the {nth} floor
""")

OPENERS = phrases("""
Hello, | Hi there, | Dear team, | Good morning, | Hi {first}, | To whom it may concern, | Hey,
Dear {first}, | Hello support,
""")
CLOSERS = phrases("""
Regards, {first} | Thanks, {first} | Best, {first} | Yours, {first} {last} | {first}
Kind regards, {first} {last}
""")
TITLES = phrases("""
My {product} | About the {product} | {product}, {month} | Order {big} | Our visit
""")
CONTRASTS = ("but", "however,", "yet", "on the other hand,", "although")
RELATIVES = ("sister", "brother", "mother", "father", "son", "daughter", "neighbor", "aunt", "wife")
NTH = ("first", "second", "third", "fourth", "fifth")


@dataclass(frozen=True)
class Message:
    """A text with what it praises and what it blames, in the order of the text."""

    text: str
    praised: tuple[str, ...]
    blamed: tuple[str, ...]

    @property
    def tone(self) -> str:
        """positive, negative, mixed or neutral."""
        if self.praised and self.blamed:
            return "mixed"
        return "positive" if self.praised else "negative" if self.blamed else "neutral"


def fill(rng: random.Random, template: str, split: Split, **given: str) -> str:
    """Fills a template's slots from the word pools of `split`."""
    day, other = rng.sample(words.WEEKDAYS, 2)
    return template.format_map(
        {
            "day": day,
            "day2": other,
            "month": rng.choice(words.MONTHS),
            "product": rng.choice(pool(words.PRODUCTS, split)),
            "color": rng.choice(pool(words.COLORS, split)),
            "city": rng.choice(pool(words.CITIES, split)),
            "first": rng.choice(pool(words.FIRST, split)),
            "last": rng.choice(pool(words.LAST, split)),
            "relative": rng.choice(RELATIVES),
            "n": str(rng.randint(2, 12)),
            "nth": rng.choice(NTH),
            "big": str(rng.randint(1000, 9999)),
            "good": rng.choice(words.GOOD),
            "bad": rng.choice(words.BAD),
            "like": rng.choice(words.LIKE),
            "dislike": rng.choice(words.DISLIKE),
            **given,
        }
    )


def sentence(text: str) -> str:
    """The text with a capital letter and a full stop."""
    return text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")


def draw_message(
    rng: random.Random,
    split: Split,
    tone: str | None = None,
    sentences: tuple[int, int] = (1, 5),
) -> Message:
    """Draws a message.

    Args:
        rng: the source of chance.
        split: whose words and clause templates to use.
        tone: positive, negative, mixed or neutral; drawn if None.
        sentences: the fewest and the most sentences, greetings not counted.
    """
    tone = tone or rng.choice(("positive", "negative", "mixed", "neutral"))
    wanted = rng.randint(*sentences)
    good = {"positive": rng.choice((1, 1, 2)), "mixed": rng.choice((1, 1, 1, 2))}.get(tone, 0)
    bad = {"negative": rng.choice((1, 1, 2)), "mixed": rng.choice((1, 1, 1, 2))}.get(tone, 0)
    if wanted == 1 and tone != "mixed":
        good, bad = min(good, 1), min(bad, 1)
    aspects = rng.sample(pool(words.ASPECTS, split), good + bad)
    opinions = [True] * good + [False] * bad
    rng.shuffle(opinions)
    clauses: list[str] = []
    praised: list[str] = []
    blamed: list[str] = []
    for aspect, liked in zip(aspects, opinions, strict=True):
        (praised if liked else blamed).append(aspect)
        template = rng.choice(pool(PRAISE if liked else BLAME, split))
        clauses.append(fill(rng, template, split, a=aspect))
    parts = _joined(rng, clauses, opinions)
    neutral = pool(FACTS, split)
    missing = max(0 if clauses else 1, wanted - len(parts))
    for fact in rng.sample(neutral, min(missing, len(neutral))):
        parts.insert(rng.randint(0, len(parts)), sentence(fill(rng, fact, split)))
    return Message(_framed(rng, parts, split), tuple(praised), tuple(blamed))


def _joined(rng: random.Random, clauses: Sequence[str], liked: Sequence[bool]) -> list[str]:
    """Sentences of the clauses, some neighbours joined by and or but."""
    parts: list[str] = []
    index = 0
    while index < len(clauses):
        if index + 1 < len(clauses) and rng.random() < 0.35:
            same = liked[index] == liked[index + 1]
            word = "and" if same else rng.choice(CONTRASTS)
            parts.append(sentence(f"{clauses[index]}, {word} {clauses[index + 1]}"))
            index += 2
        else:
            parts.append(sentence(clauses[index]))
            index += 1
    return parts


def _framed(rng: random.Random, parts: Sequence[str], split: Split) -> str:
    """The sentences as a bare text, a letter or a titled review."""
    text = " ".join(parts)
    if rng.random() < 0.1:
        text = text.replace(".", "!") if rng.random() < 0.5 else text.lower()
    frame = rng.random()
    if frame < 0.2:
        text = fill(rng, rng.choice(OPENERS), split) + " " + text
        if rng.random() < 0.6:
            text += " " + fill(rng, rng.choice(CLOSERS), split)
    elif frame < 0.3:
        text = fill(rng, rng.choice(TITLES), split) + ": " + text
    return text
