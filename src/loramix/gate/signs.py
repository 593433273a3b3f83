"""Signs, in its words, that a message leans on what was said before it.

They are closed classes of English words (links, pointers, openings of fragments) and a count of
what is new; of another language only the length and what is new can be told.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from loramix.gate.words import words_of


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_CLAUSE = re.compile(r"[^.?!:;\n]+")
_LINKS = _set(
    "and but or also again now then so same no yes ok okay alright well hmm next ditto suppose"
)
_LINKING = re.compile(r"(what|how) (about|of|if)\b")
_SOCIAL = _set(
    "thanks thank thx cheers bye goodbye hello hi hey good morning evening afternoon night "
    "welcome great nice perfect cool awesome lovely wonderful tomorrow later see you"
)
_LEAVES = re.compile(
    r"\b(thank(s| you)|thx|good ?bye|see you|have an? (good|nice|great)|you( are|'?re) (great|the "
    r"best)|how (are|is) (you|it going|things)|(something|anything) else|by the way|btw|(new|"
    r"different|other) (topic|subject|question|task|problem)|unrelated|forget (it|that)|"
    r"never ?mind|(that|this) (was|is|will be) all)\b"
)
_REVISES = re.compile(
    r"\b(again|instead|another|other|same|too (long|short|much|little|many|formal|vague)|rather|"
    r"once more|more|less|fewer|(short|long|simpl|brief|fast|clear|nic|easi|strict|plain)er)\b"
)
_EDITS = _set(
    "add remove drop skip keep include mention ignore change replace rename rephrase reword "
    "rewrite redo retry try fix check correct explain expand extend shorten double halve swap"
)
_POINTS = _set(
    "it its that this these those them they he she his her hers him their one ones there "
    "first second third last previous above both either half part rest"
)
_PREPOSITIONS = _set(
    "in with without as for of at on by to from like using per before after until about "
    "only just not even one two three"
)
_INDEFINITE = _set("a an some any")
_ARTICLES = _set("a an the")
_ASKS = _set(
    "what who whom whose which when where why how is are was were do does did can could will "
    "would should"
)
_PLAIN = (
    _LINKS
    | _SOCIAL
    | _POINTS
    | _PREPOSITIONS
    | _ARTICLES
    | _ASKS
    | _set("i me my we us our your be been am has have had please if than s t m re")
)
_BRIEF = 12


@dataclass(frozen=True)
class Signs:
    """What the first clause of a message says about whether the message stands alone.

    A clause that only greets or links ("Great.", "OK, and:") is passed over. Each sign is from
    0 to 1.

    Attributes:
        link: it begins with words that go on from something ("and", "now", "what about").
        revises: it asks for another form of what there is ("shorter", "again", "instead").
        edits: it is brief and begins with a verb that takes what there is ("rename", "keep").
        points: it holds a pointer ("it", "the second one"); the less, the more there is new.
        thing: it asks for a thing that is new ("a poem"): "a" or "some" inside a sentence.
        known: content words that were said before, of 3.
        fragment: it is brief and begins like no sentence ("in one line", "of 300?").
        leaves: it greets, thanks, takes leave or changes the subject.
        new: content words that were not said before, of 6.
    """

    link: float
    revises: float
    edits: float
    points: float
    thing: float
    known: float
    fragment: float
    leaves: float
    new: float


def signs_of(message: str, before: Sequence[str]) -> Signs:
    """The signs of a message after the texts `before` it, answers included."""
    words, rest = _first_clause(message)
    clause = " ".join(words)
    spoken = {_stem(word) for text in before for word in words_of(text)}
    content = {_stem(word) for word in words if word not in _PLAIN and word != "0"}
    fresh = content - spoken
    brief = len(words) <= _BRIEF
    opens = rest[:1]
    fragment = (
        not rest
        or opens[0] in _PREPOSITIONS
        or (opens[0] in _ARTICLES and len(rest) <= 4)
        or (opens[0] in _ASKS and len(rest) <= 3)
    )
    revises = bool(_REVISES.search(clause))
    leaves = brief and (bool(_LEAVES.search(clause)) or all(word in _SOCIAL for word in words))
    return Signs(
        link=float(any(word in _LINKS for word in words[:2]) or bool(_LINKING.match(clause))),
        revises=float(brief and revises),
        edits=float(brief and bool(rest) and rest[0] in _EDITS),
        points=float(brief and any(word in _POINTS for word in words)) / (1 + len(fresh)),
        thing=float(not fragment and any(word in _INDEFINITE for word in rest[1:])),
        known=min(3, len(content & spoken)) / 3,
        fragment=float(brief and fragment and not leaves and len(fresh) < 4),
        leaves=float(leaves),
        new=min(6, len(fresh)) / 6,
    )


def _first_clause(message: str) -> tuple[list[str], list[str]]:
    """Its words, and those after its links; of the last clause where all are links."""
    words: list[str] = []
    for clause in _CLAUSE.findall(message):
        found = [word for word in words_of(clause) if word[0].isalnum()]
        words = found or words
        start = next((i for i, w in enumerate(words) if w not in _LINKS | _SOCIAL), len(words))
        if start < len(words):
            return words, words[start:]
    return words, []


def _stem(word: str) -> str:
    """A word without its commonest endings, so that "clocks" was said where "clock" was."""
    return re.sub(r"(?<=\w{3})(ing|ed|es|s|e)$", "", word)
