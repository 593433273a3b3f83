"""Figures for Prometheus: what was asked, how long it took, what the engine holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from loramix.serve.answers import Answer
    from loramix.serve.serving import Serving

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
_SHARES = tuple(i / 10 for i in range(1, 11))


class Metrics:
    """The figures of one server.

    Args:
        serving: whose engine is looked at when somebody asks.
    """

    def __init__(self, serving: Serving) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "loramix_requests", "Requests.", ("endpoint", "status"), registry=registry
        )
        self.in_flight = Gauge(
            "loramix_requests_in_flight", "Requests that are being answered.", registry=registry
        )
        self.seconds = Histogram(
            "loramix_request_seconds",
            "From the request to the end of its answer.",
            ("endpoint",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.first_token = Histogram(
            "loramix_first_token_seconds",
            "From the submission to the first token.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.per_token = Histogram(
            "loramix_token_seconds",
            "Between two tokens of a completion, the mean of each request.",
            buckets=_TOKEN_SECONDS,
            registry=registry,
        )
        self.kinds = Counter(
            "loramix_mixes",
            "Mixes that answered: base, one skill, or a blend.",
            ("kind", "chosen_by"),
            registry=registry,
        )
        self.skills = Counter(
            "loramix_skill_uses",
            "Answers whose mix held the skill.",
            ("skill",),
            registry=registry,
        )
        self.confidence = Histogram(
            "loramix_gate_confidence",
            "The best score of each routing.",
            buckets=_SHARES,
            registry=registry,
        )
        registry.register(_Engine(serving))

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self.registry)

    def answered(self, answer: Answer, seconds: float) -> None:
        """Count an answer, finished or not.

        Args:
            seconds: from the submission to its end.
        """
        submission = answer.submission
        if answer.first is not None:
            self.first_token.observe(answer.first)
            tokens = answer.tokens / submission.request.n
            if tokens > 1:
                self.per_token.observe((seconds - answer.first) / (tokens - 1))
        mix, routing = submission.mix, submission.routing
        if mix is not None:
            kind = ("base", "skill")[len(mix.weights)] if len(mix.weights) < 2 else "blend"
            self.kinds.labels(kind, "request" if routing is None else routing.router).inc()
            for name in mix.weights:
                self.skills.labels(name).inc()
        if routing is not None:
            self.confidence.observe(max(routing.scores.values()))


class _Engine(Collector):
    """What the engine says when it is asked."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    def collect(self) -> Iterator[Metric]:
        stats = self._serving.engine.stats()
        for name, help, value in (
            ("rows_running", "Completions that are being written.", stats.running),
            ("rows_waiting", "Completions that wait for a slot.", stats.waiting),
            ("resident_skills", "Skills in memory.", stats.resident),
            ("resident_bytes", "That they take.", stats.resident_bytes),
            ("mixing_bytes", "That skills take as batches mix them.", stats.mixing_bytes),
            ("cache_bytes", "Keys and values of the rows that run.", stats.cache_bytes),
            ("prefix_bytes", "Keys and values kept of earlier prompts.", stats.prefix_bytes),
            ("library_generation", "Of the library.", self._serving.library.generation),
            ("engine_alive", "Whether the engine's thread runs.", int(self._serving.engine.alive)),
        ):
            yield GaugeMetricFamily(f"loramix_{name}", help, value)
        for name, help, count in (
            ("steps", "Forwards.", stats.steps),
            ("prompt_tokens", "Prompt tokens that were computed.", stats.prompt_tokens),
            ("completion_tokens", "Tokens that were written.", stats.completion_tokens),
            ("reused_tokens", "Prompt tokens taken from the cache.", stats.reused_tokens),
            ("requests_failed", "Requests that the engine gave up.", stats.failed),
            ("skill_loads", "Skills that were read.", stats.loads),
            ("skill_evictions", "Skills that were let go.", stats.evictions),
            ("gate_seconds", "Spent choosing mixes.", stats.gate_seconds),
            ("prompt_seconds", "Spent on prompt tokens.", stats.prompt_seconds),
            ("step_seconds", "Spent in forwards.", stats.step_seconds),
            ("engine_restarts", "Times that its thread was replaced.", self._serving.revived),
        ):
            yield CounterMetricFamily(f"loramix_{name}", help, count)
