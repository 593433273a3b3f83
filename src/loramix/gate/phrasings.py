"""Requests as people write them: many phrasings of what a prompt may ask, by kind.

The bank is `requests/phrasings.txt`, a small grammar of choices; its head says how it reads.
`requests/joins.txt` has what stands between two requests in one prompt, and
`requests/questions.txt` questions that nearly any text can be asked.

A gate that saw each request around many texts learns to look for the request and not at what the
text is about (`crossed`): the counterfactual augmentation of Kaushik, Hovy & Lipton (2020), by
recombination.
"""

from __future__ import annotations

import functools
import itertools
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources

from loramix.gate.router import RoutedExample

Lines = Mapping[str, tuple[str, ...]]

PAIRED = 4
"""Prompts that ask for two skills, for all pairs together: so many times those of one skill. More
bring the shares of two nearer to what is asked, and make the gate less sure where one is."""

_CHOICE = re.compile(r"\(([^()]*)\)")
_NAME = re.compile(r"\$([a-z]+)")
_DEFINED = re.compile(r"\$([a-z]+) = (.*)")
_TIMES = re.compile(r"\*(\d+) ")
_SPACES = re.compile(r" +(?=[?!.,:;])| {2,}")
_BETWEEN = (" ", "\n", "\n\n", "\n\n", ": ", ":\n", ":\n\n", ". ", " - ")
_AFTER = (" ", "\n", "\n\n", "\n\n", "\n\n\n", " - ", "\n---\n")


@functools.cache
def bank() -> tuple[Lines, Lines]:
    """The lines of each kind: its requests, and its descriptions."""
    names: dict[str, str] = {}
    requests: dict[str, list[str]] = {}
    described: dict[str, list[str]] = {}
    for kind, line in _lines("phrasings.txt"):
        if defined := _DEFINED.fullmatch(line):
            names[defined[1]] = defined[2]
        else:
            line = _NAME.sub(lambda found: names[found[1]], line)
            times = _TIMES.match(line)
            into = described if line.startswith("~") else requests
            said = line[times.end() :] if times else line.removeprefix("~ ")
            into.setdefault(kind, []).extend([said] * (int(times[1]) if times else 1))
    frozen = [{k: tuple(own) for k, own in lines.items()} for lines in (requests, described)]
    return frozen[0], frozen[1]


@functools.cache
def questions() -> tuple[str, ...]:
    """Questions that nearly any text can be asked, for requests that hold one."""
    return tuple(line for _, line in _lines("questions.txt"))


@functools.cache
def joins() -> Lines:
    """Patterns with `{a}` and `{b}`: `evenly`, and `mostly` where `{a}` is the main thing."""
    found: dict[str, list[str]] = {}
    for how, line in _lines("joins.txt"):
        found.setdefault(how, []).append(line.replace("\\n", "\n"))
    return {how: tuple(own) for how, own in found.items()}


def _lines(file: str) -> Iterator[tuple[str, str]]:
    """(section, line) of a file of `requests`, without what is blank or a remark."""
    text = (resources.files("loramix.gate") / "requests" / file).read_text("utf-8")
    section = ""
    for line in map(str.strip, text.split("\n")):
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            yield section, line


def spoken(line: str, rng: random.Random) -> str:
    """One phrasing of a line: each choice is made by chance.

    >>> spoken("(sum|sum) it up ( |)?", random.Random(0))
    'sum it up?'
    """
    while found := _CHOICE.search(line):
        line = line[: found.start()] + rng.choice(found[1].split("|")) + line[found.end() :]
    return _SPACES.sub(
        lambda f: "" if f.end() < len(f.string) and f.string[f.end()] in "?!.,:;" else " ", line
    ).strip()


def placed(request: str, text: str, rng: random.Random) -> str:
    """A prompt: the request before, after or around the text, as `{text}` in it says."""
    if "{text}" in request:
        return request.replace("\\n", "\n").replace("{text}", text)
    if not text:
        return request
    request = _cased(request, rng)
    if rng.random() < 0.5:
        between = rng.choice(_BETWEEN)
        if request[-1:] in "?!.:" and between[0] in ":.":
            between = between[1:] or " "
        if rng.random() < 0.1:
            text = f'"{text}"'
        return request + between + text
    return text + rng.choice(_AFTER) + request


def misspelt(text: str, rng: random.Random, rate: float = 0.25) -> str:
    """`text` with slips of the keys in about a quarter of its longer words."""
    words = text.split(" ")
    for i, word in enumerate(words):
        if len(word) > 3 and word.isalpha() and rng.random() < rate:
            at = rng.randrange(1, len(word) - 1)
            slips = (
                word[:at] + word[at + 1] + word[at] + word[at + 2 :],
                word[:at] + word[at + 1 :],
                word[:at] + word[at] + word[at:],
            )
            words[i] = rng.choice(slips)
    return " ".join(words)


def request(
    kind: str, rng: random.Random, asked: Sequence[str] = (), lines: Lines | None = None
) -> str:
    """A phrasing of a request of that kind; it may hold `{text}`.

    Args:
        kind: a kind of the bank.
        rng: of the choices.
        asked: what `{q}` may stand for; by default `questions()`.
        lines: by default those of the bank.
    """
    found = spoken(rng.choice((lines or bank()[0])[kind]), rng)
    return found.replace("{q}", rng.choice(asked or questions())) if "{q}" in found else found


def crossed(
    texts: Mapping[str, Sequence[str]],
    kinds: Mapping[str, str],
    count: int,
    *,
    seed: int = 0,
    asked: Sequence[str] = (),
    lines: Lines | None = None,
    paired: int = PAIRED,
) -> list[RoutedExample]:
    """Prompts that put each skill's request around the texts of all skills.

    Args:
        texts: skill → texts of its data.
        kinds: skill → kind of the bank; of all other kinds come prompts of no skill.
        count: prompts for each skill, and at most for each pair; twice as many of none, which can
            be so many things.
        seed: of all choices.
        asked: questions for requests that hold one; by default `questions()`.
        lines: by default those of the bank.
        paired: prompts that ask for two skills, so many times `count` for all pairs together.
    """
    rng = random.Random(seed)
    every = [text for own in texts.values() for text in own]
    chosen = lines or bank()[0]
    others = [kind for kind in chosen if kind not in kinds.values()]

    def prompt(kind: str) -> str:
        said = request(kind, rng, asked, chosen)
        said = misspelt(said, rng) if rng.random() < 0.15 else said
        alone = kind in ALONE
        return placed(said, "" if alone else rng.choice(every), rng)

    made = [
        RoutedExample(prompt(kind), {skill: 1.0})
        for skill, kind in kinds.items()
        for _ in range(count)
    ]
    made += [RoutedExample(prompt(rng.choice(others))) for _ in range(2 * count if others else 0)]
    pairs = list(itertools.combinations(kinds, 2))
    rng.shuffle(pairs)
    for i in range(count * min(paired, len(pairs))):
        weights, said = both(*pairs[i % len(pairs)], kinds, rng, asked, chosen)
        made.append(RoutedExample(placed(said, rng.choice(every), rng), weights))
    return made


ALONE = (
    "recipe", "smalltalk", "advice", "horoscope", "travel", "weather", "shopping", "medical",
    "coaching", "news", "ordering", "device", "games", "workout", "reminders", "roleplay",
)  # fmt: skip
"""Kinds of the bank that ask about no text."""

MOST = 0.7
"""The share of the skill that a prompt mainly asks for."""


def both(
    first: str,
    second: str,
    kinds: Mapping[str, str],
    rng: random.Random,
    asked: Sequence[str],
    lines: Lines,
) -> tuple[dict[str, float], str]:
    """One request that asks for two skills, and the shares: halves, or 0.7 and 0.3."""
    if rng.random() < 0.5:
        first, second = second, first
    said = [
        request(kinds[name], rng, asked, lines).split("{text}")[-1].replace("\\n", " ").strip()
        or request(kinds[name], rng, asked, {kinds[name]: ("{q}",)})
        for name in (first, second)
    ]
    mostly = rng.random() < 0.5
    pattern = rng.choice(joins()["mostly" if mostly else "evenly"])
    share = MOST if mostly else 0.5
    text = pattern.replace("{a}", said[0].rstrip("?.")).replace("{b}", said[1])
    return {first: share, second: 1 - share}, text


def _cased(request: str, rng: random.Random) -> str:
    request = request[:1].upper() + request[1:] if rng.random() < 0.8 else request
    return request + "." if request[-1:].isalpha() and rng.random() < 0.3 else request
