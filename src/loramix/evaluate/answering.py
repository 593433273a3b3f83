"""Greedy answers, each computed once, whatever asks for them.

    answers = Answers(base, mixed_model(base, library))
    done = answers.ask([Question("What is 2 + 3?", Mix.parse("math"), 64), …])

All questions go to one engine, whatever their mixes: rows of different systems stand in the same
batch, and a row that ends makes room for the next question at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeGuard

from loramix.adapter import Adapter
from loramix.base import Base
from loramix.engine import Engine, Limits, Request, Submission
from loramix.errors import ForwardError, LoramixError, ResourceError
from loramix.evaluate.cache import AnswerCache, Question
from loramix.evaluate.likelihood import Likelihood, Row, rate_all
from loramix.generate import Completion, Sampling
from loramix.library import Library
from loramix.mix import Mix
from loramix.mixed import MixedModel

Answer = Completion | LoramixError
"""A completion, or why there is none."""

_AHEAD = 4
"""Batches of questions that wait in the engine; more would only take memory."""


@dataclass
class Answers:
    """Answers of a base and its skills.

    The same prompt with the same mix gives the same text, so a routed prompt whose mix is its
    own skill is not run again.

    Attributes:
        base: the frozen base.
        mixed: the same with the skills beside it.
        batch_size: rows answered together.
        cache: answers of earlier runs.
        computed: completions that were written, not found.
        computed_tokens: of these.
        rated: likelihoods that were computed, not found.
    """

    base: Base
    mixed: MixedModel
    batch_size: int = 32
    cache: AnswerCache | None = None
    computed: int = 0
    computed_tokens: int = 0
    rated: int = 0
    _known: dict[Question, Answer] = field(default_factory=dict)
    _likely: dict[Row, Likelihood] = field(default_factory=dict)

    def __call__(
        self,
        prompts: Sequence[str],
        mixes: Sequence[Mix],
        max_new_tokens: int,
        step: Callable[[int], None] = lambda _: None,
    ) -> list[Completion]:
        """One completion for each prompt; `step` is told how many more are done.

        Raises:
            LoramixError: what the first prompt without an answer failed of.
        """
        asked = [Question(p, m, max_new_tokens) for p, m in zip(prompts, mixes, strict=True)]
        done = self.ask(asked, step)
        for answer in done:
            if isinstance(answer, LoramixError):
                raise answer
        return [answer for answer in done if is_text(answer)]

    def ask(
        self, questions: Sequence[Question], step: Callable[[int], None] = lambda _: None
    ) -> list[Answer]:
        """An answer for each question, or why it has none: one that fails holds up no other."""
        fresh = [q for q in dict.fromkeys(questions) if q not in self._known]
        if self.cache is not None:
            found = {q: done for q in fresh if (done := self.cache.get(q)) is not None}
            self._known.update(found)
            fresh = [q for q in fresh if q not in found]
        step(len(questions) - len(fresh))
        if fresh:
            try:
                self._run(sorted(fresh, key=_in_line), step)
            finally:  # what is done is kept, whatever ended it
                if self.cache is not None:
                    self.cache.commit()
        return [self._known[question] for question in questions]

    def rate(
        self, rows: Sequence[Row], step: Callable[[int], None] = lambda _: None
    ) -> list[Likelihood]:
        """How likely each row is, kept like the answers; a row's ids are a tuple."""
        fresh = [row for row in dict.fromkeys(rows) if row not in self._likely]
        if self.cache is not None:
            found = {row: each for row in fresh if (each := self.cache.get_rated(row)) is not None}
            self._likely.update(found)
            fresh = [row for row in fresh if row not in found]
        step(len(rows) - len(fresh))
        try:
            for place, each in rate_all(self.mixed, self.base, fresh, self.batch_size):
                self._likely[fresh[place]] = each
                self.rated += 1
                step(1)
                if self.cache is not None:
                    self.cache.put_rated(fresh[place], each)
        finally:
            if self.cache is not None:
                self.cache.commit()
        return [self._likely[row] for row in rows]

    def _run(self, questions: Sequence[Question], step: Callable[[int], None]) -> None:
        # no two questions share keys and values of a prompt
        limits = Limits(max_rows=self.batch_size, prefix_bytes=0)
        engine = Engine(self.base, self.mixed, limits=limits)
        requests = [
            Request(q.prompt, q.mix, Sampling(max_new_tokens=q.max_new_tokens)) for q in questions
        ]
        for place, answer in run_all(engine, requests):
            question = questions[place]
            self._known[question] = answer
            step(1)
            if is_text(answer):
                self.computed += 1
                self.computed_tokens += answer.completion_tokens
                if self.cache is not None:
                    self.cache.put(question, answer)


def _in_line(question: Question) -> tuple[list[str], int]:
    """Like skills stand together, then like lengths: a batch computes all skills of its rows for
    each row, which a small base feels.
    """
    return sorted(question.mix.weights), len(question.prompt)


def run_all(engine: Engine, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
    """Have an engine answer requests of one completion each; (place, answer) as they end."""
    waiting, running = deque(enumerate(requests)), dict[Submission, int]()
    while waiting or running:
        while waiting and len(running) < _AHEAD * engine.limits.max_rows:
            place, request = waiting.popleft()
            try:
                running[engine.submit(request)] = place
            except LoramixError as refused:
                yield place, refused
        ended = [handle for handle, piece in engine.step() if piece.finish_reason is not None]
        if engine.failed:
            ended += [handle for handle in running if handle.error is not None]
        for handle in ended:
            error = handle.error
            if error is None:
                yield running.pop(handle), handle.result()[0]
            else:
                own = error if isinstance(error, LoramixError) else ForwardError(str(error))
                yield running.pop(handle), own


def is_text(answer: Answer) -> TypeGuard[Completion]:
    """Whether there is an answer, and not the reason why there is none."""
    return isinstance(answer, Completion)


def why_not(answer: LoramixError) -> str:
    """The reason in a few words, the same for all rows that it befell."""
    if isinstance(answer, ForwardError):
        return "the model failed"
    if isinstance(answer, ResourceError):
        return "no memory for it"
    return answer.what.rstrip(".")


def mixed_model(base: Base, skills: Library | Mapping[str, Adapter] | MixedModel) -> MixedModel:
    """The base with all of `skills` beside it."""
    if isinstance(skills, MixedModel):
        return skills
    mixed = MixedModel(base.model)
    if isinstance(skills, Library):
        skills.check_base(base)
        skills = {name: skill.adapter(base.model) for name, skill in skills.skills.items()}
    for name, adapter in skills.items():
        mixed.add(name, adapter)
    return mixed
