"""What was computed before, in one SQLite file, found by what made it.

Answers, likelihoods of given texts, and records: what a longer measurement came to. The key of
each is a digest of all that decides it, such as the base, the adapters and weights of its mix, the
prompt and how it was written; so nothing has to be thrown away when a skill changes. An entry
carries a digest of its own: one that was altered, or a file that is no cache, is told by a warning
and computed again. A run that was killed finds what it had written.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from loramix.evaluate.likelihood import Likelihood, Row
from loramix.generate import Completion
from loramix.mix import Mix

FORMAT = "loramix answers 1"
"""Part of every key: raised when the engine writes other text for the same request."""

RATED_FORMAT = "loramix likelihoods 1"
"""The same of likelihoods."""

T = TypeVar("T")

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
        self._renewed = False
        self._committed = time.monotonic()
        self._connection = self._open()
        self.lost = self._connection is None

    def get(self, question: Question) -> Completion | None:
        """The answer, if it is there and whole."""
        return self._get(self.key(question), _completion)

    def put(self, question: Question, completion: Completion) -> None:
        """Keep an answer; a disk that does not take it ends the keeping, not the evaluation."""
        self._put(
            self.key(question),
            [completion.text, completion.prompt_tokens, completion.finish_reason,
             list(completion.token_ids)],
        )  # fmt: skip

    def get_rated(self, row: Row) -> Likelihood | None:
        """The likelihood of a row, if it is there and whole."""
        return self._get(self.rated_key(row), _likelihood)

    def put_rated(self, row: Row, rated: Likelihood) -> None:
        """Keep the likelihood of a row."""
        self._put(self.rated_key(row), [rated.logprob, rated.tokens, rated.greedy])

    def get_record(self, *parts: Any) -> Any:
        """What was kept under these parts, plain data all of them; None if it is not there."""
        return self._get(self._record_key(parts), lambda value: value)

    def put_record(self, value: Any, *parts: Any) -> None:
        """Keep plain data under what decides it."""
        self._put(self._record_key(parts), value)
        self.commit()

    def _get(self, key: str, read: Callable[[Any], T]) -> T | None:
        if self._connection is None:
            return None
        try:
            found = self._connection.execute(
                "SELECT answer, digest FROM answers WHERE key = ?", (key,)
            ).fetchone()
            if found is None:
                return None
            value = read(_read(*found))
        except (sqlite3.Error, ValueError, TypeError, KeyError, AttributeError) as error:
            if _is_damage(error):
                self._failed(error)
                return None
            self.broken += 1
            if self.broken == 1:
                _warn(f"{self.path}: a broken entry; what it held is computed again")
            return None
        self.hits += 1
        return value

    def _put(self, key: str, value: Any) -> None:
        if self._connection is None:
            return
        text = json.dumps(value)
        try:
            self._connection.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", (key, text, _digest(text))
            )
            if time.monotonic() - self._committed > _EVERY:
                self.commit()
        except sqlite3.Error as error:
            self._failed(error)

    def commit(self) -> None:
        """Force what was put to the disk."""
        self._committed = time.monotonic()
        if self._connection is not None:
            try:
                self._connection.commit()
            except sqlite3.Error as error:
                self._failed(error)

    def close(self) -> None:
        """Commit and let go of the file."""
        self.commit()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def key(self, question: Question) -> str:
        """The digest of everything that decides the answer."""
        mix = self._mix(question.mix)
        parts = [FORMAT, self._base, mix, question.prompt, question.max_new_tokens]
        return _digest(json.dumps(parts))

    def rated_key(self, row: Row) -> str:
        """The same of a likelihood."""
        parts = [RATED_FORMAT, self._base, self._mix(row.mix), list(row.ids), row.start]
        return _digest(json.dumps(parts))

    def _record_key(self, parts: tuple[Any, ...]) -> str:
        return _digest(json.dumps(["loramix record 1", self._base, *parts]))

    def _mix(self, mix: Mix) -> list[list[Any]]:
        return sorted([self._skills[name], weight] for name, weight in mix.weights.items())

    def _open(self) -> sqlite3.Connection | None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                return _connect(self.path)
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                return self._begin_anew(f"is no cache ({error})")
        except (OSError, sqlite3.Error) as error:
            _warn(f"Answers are not kept: {self.path}: {error}")
            return None

    def _begin_anew(self, fault: str) -> sqlite3.Connection:
        aside = self.path.with_name(f"{self.path.name}.broken")
        _warn(f"{self.path} {fault}; it is now {aside.name}, and a new one begins")
        self.path.replace(aside)
        return _connect(self.path)

    def _failed(self, error: Exception) -> None:
        """A new file in the place of a damaged one, once; else answers are no longer kept."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()
        if _is_damage(error) and not self._renewed:
            self._renewed = True
            with contextlib.suppress(OSError, sqlite3.Error):
                self._connection = self._begin_anew(f"is damaged ({error})")
                return
        _warn(f"Answers are no longer kept: {self.path}: {error}")
        self.lost = True


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


def _is_damage(error: Exception) -> bool:
    """Whether the content of the file is at fault, and not a disk or a lock."""
    return type(error) is sqlite3.DatabaseError  # disks, locks and misuse have kinds of their own


def _read(answer: str, digest: str) -> Any:
    if _digest(answer) != digest:
        raise ValueError("the entry is not what was written")
    return json.loads(answer)


def _completion(value: Any) -> Completion:
    text, prompt_tokens, finish_reason, ids = value
    return Completion(text, prompt_tokens, len(ids), finish_reason, tuple(ids))


def _likelihood(value: Any) -> Likelihood:
    logprob, tokens, greedy = value
    return Likelihood(float(logprob), int(tokens), bool(greedy))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _warn(text: str) -> None:
    warnings.warn(text, CacheWarning, stacklevel=5)
