"""Words and sentences of a prompt, for the routers that look at them."""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Iterable

_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?|\d+|[^\s\w]")
_SENTENCE_END = re.compile(r"(?<=[.!?:;])[\"'”’)\]]*(?=\s)|(?=\n)")
LONGEST = 160  # characters; a longer sentence is read in pieces, so that its ends stand out


def words_of(text: str) -> list[str]:
    """Lower-case words of `text`; a number becomes `0`, other marks stand alone.

    >>> words_of("Solve 3x + 12 = 0, don't guess!")
    ['solve', '0', 'x', '+', '0', '=', '0', ',', "don't", 'guess', '!']
    """
    found: list[str] = _WORD.findall(text.lower().replace("’", "'"))
    return ["0" if word.isdigit() else word for word in found]


def marked_words(text: str) -> list[str]:
    """`words_of`, with the line breaks between them: they part a request from its text.

    >>> marked_words("Sum up:\\n\\nIt broke")
    ['sum', 'up', ':', '\\n', 'it', 'broke']
    """
    lines = [words for line in text.split("\n") if (words := words_of(line))]
    out = [word for words in lines for word in (*words, "\n")]
    return out[:-1]


def terms_of(text: str) -> list[str]:
    """Words, and pairs of neighbouring words, each as often as it occurs.

    >>> terms_of("sum it up")
    ['sum', 'it', 'up', 'sum it', 'it up']
    """
    words = words_of(text)
    return words + [f"{a} {b}" for a, b in itertools.pairwise(words)]


def buckets_of(terms: Iterable[str], buckets: int) -> list[int]:
    """The buckets in `range(buckets)` that `terms` fall into, the same on every machine."""
    return sorted({zlib.crc32(term.encode()) % buckets for term in terms})


def pieces_of(text: str) -> list[str]:
    """Sentences, lines and parts of very long sentences; joined they are the text.

    The blanks stay at the start of a piece, where tokenizers expect them.

    >>> pieces_of("Sum this up: it broke. I sent it back")
    ['Sum this up:', ' it broke.', ' I sent it back']
    """
    cuts = [0, *(end.end() for end in _SENTENCE_END.finditer(text)), len(text)]
    sentences = [text[a:b] for a, b in itertools.pairwise(cuts)]
    pieces: list[str] = []
    for sentence in sentences:
        while len(sentence) > LONGEST:
            at = sentence.find(" ", LONGEST * 3 // 4)
            if at < 0:
                break
            pieces.append(sentence[:at])
            sentence = sentence[at:]
        if sentence.strip() or not pieces:
            pieces.append(sentence)
        else:  # only blanks
            pieces[-1] += sentence
    return pieces
