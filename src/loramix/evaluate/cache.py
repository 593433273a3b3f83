"""Answers that were computed before, in one SQLite file, found by what made them.

The key of an answer is a digest of the base, the adapters and weights of its mix, the prompt and
how it was written; so nothing has to be thrown away when a skill changes. An entry carries a digest
of its own: one that was altered, or a file that is no cache, is told by a warning and computed
again. A run that was killed finds what it had written.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from loramix.generate import Completion
from loramix.mix import Mix

FORMAT = "loramix answers 1"
"""Part of every key: raised when the engine writes other text for the same request."""

_WAIT = 5.0  # seconds for another process that writes
_EVERY = 1.0  # seconds between commits: what a kill costs


class CacheWarning(UserWarning):
    """Something of the cache that costs time and changes no score."""


class Question(NamedTuple):
    """What is asked: a prompt, the mix that answers, the most tokens; decoding is greedy."""

    prompt: str
    mix: Mix
    max_new_tokens: int


def default_cache() -> Path:
    """Where answers are kept if nothing else is said: in the user's cache folder."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "loramix" / "answers.sqlite"


class AnswerCache:
    """The answers of one base.

    Args:
        path: the file; it and its folder are made.
        base: what tells the base from others: fingerprint and type of its weights.
        skills: skill → digest of its adapter.

    Attributes:
        hits, broken: entries that were found, and that had to be computed again.
        lost: whether the disk does not take answers.
    """

    def __init__(self, path: Path, base: str, skills: Mapping[str, str]) -> None:
        self.path, self._base, self._skills = path, base, skills
        self.hits = self.broken = 0
        self._committed = time.monotonic()
        self._connection = self._open()
        self.lost = self._connection is None

    def get(self, question: Question) -> Completion | None:
        """The answer, if it is there and whole."""
        if self._connection is None:
            return None
        try:
            found = self._connection.execute(
                "SELECT answer, digest FROM answers WHERE key = ?", (self.key(question),)
            ).fetchone()
            if found is None:
                return None
            completion = _read(*found)
        except (sqlite3.Error, ValueError, TypeError, KeyError, AttributeError):
            self.broken += 1
            if self.broken == 1:
                _warn(f"{self.path}: a broken entry; what it held is computed again")
            return None
        self.hits += 1
        return completion

    def put(self, question: Question, completion: Completion) -> None:
        """Keep an answer; a disk that does not take it ends the keeping, not the evaluation."""
        if self._connection is None:
            return
        answer = json.dumps(
            [completion.text, completion.prompt_tokens, completion.finish_reason,
             list(completion.token_ids)]
        )  # fmt: skip
        row = (self.key(question), answer, _digest(answer))
        try:
            self._connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", row)
            if time.monotonic() - self._committed > _EVERY:
                self.commit()
        except sqlite3.Error as error:
            self._give_up(error)

    def commit(self) -> None:
        """Force what was put to the disk."""
        self._committed = time.monotonic()
        if self._connection is not None:
            try:
                self._connection.commit()
            except sqlite3.Error as error:
                self._give_up(error)

    def close(self) -> None:
        """Commit and let go of the file."""
        self.commit()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def key(self, question: Question) -> str:
        """The digest of everything that decides the answer."""
        mix = [[self._skills[name], weight] for name, weight in question.mix.weights.items()]
        parts = [FORMAT, self._base, sorted(mix), question.prompt, question.max_new_tokens]
        return _digest(json.dumps(parts))

    def _open(self) -> sqlite3.Connection | None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                return _connect(self.path)
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):  # a disk, a lock: not the content
                    raise
                aside = self.path.with_name(f"{self.path.name}.broken")
                _warn(f"{self.path} is no cache ({error}); it is now {aside.name}, and a new one "
                      "begins")  # fmt: skip
                self.path.replace(aside)
                return _connect(self.path)
        except (OSError, sqlite3.Error) as error:
            _warn(f"Answers are not kept: {self.path}: {error}")
            return None

    def _give_up(self, error: sqlite3.Error) -> None:
        _warn(f"Answers are no longer kept: {self.path}: {error}")
        connection, self._connection = self._connection, None
        self.lost = True
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_WAIT)
    try:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS answers "
            "(key TEXT PRIMARY KEY, answer TEXT NOT NULL, digest TEXT NOT NULL)"
        )
        connection.execute("SELECT key, answer, digest FROM answers LIMIT 1").fetchone()
        connection.commit()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _read(answer: str, digest: str) -> Completion:
    if _digest(answer) != digest:
        raise ValueError("the entry is not what was written")
    text, prompt_tokens, finish_reason, ids = json.loads(answer)
    return Completion(text, prompt_tokens, len(ids), finish_reason, tuple(ids))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _warn(text: str) -> None:
    warnings.warn(text, CacheWarning, stacklevel=4)
