"""Spans for OpenTelemetry: one for each request, with what its GenAI conventions ask for.

The names are those of the semantic conventions (`http.*`, `gen_ai.*`); what they have no name for
begins with `loramix.`. The libraries are optional and are imported here only.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from loramix import __version__
from loramix.errors import UsageError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span
    from starlette.types import Scope

    from loramix.serve.answers import Answer
    from loramix.serve.observe import Note
    from loramix.serve.settings import ServeSettings

SERVICE = "loramix"
_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
_REQUEST = ("temperature", "top_p", "top_k", "seed", "frequency_penalty", "presence_penalty")


class Tracing:
    """Makes a span of each request.

    A program that has set a tracer provider of its own gets the spans through that; else they go
    to a collector, as the variables `OTEL_*` and the settings say.

    Args:
        settings: with or without prompts, and where the collector is.

    Raises:
        UsageError: OpenTelemetry is not installed.
    """

    def __init__(self, settings: ServeSettings) -> None:
        try:
            from opentelemetry import propagate, trace

            self._own: TracerProvider | None = None
            if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
                self._own = _provider(settings.otlp_traces_endpoint)
        except ImportError as error:
            raise UsageError(
                "Traces are asked for, and OpenTelemetry is not installed.",
                given=str(error),
                expected="opentelemetry-sdk and opentelemetry-exporter-otlp-proto-http",
                hint="pip install 'loramix[otel]'",
            ) from error
        self._trace, self._extract = trace, propagate.extract
        self._tracer = trace.get_tracer(SERVICE, __version__, self._own)

    def begin(self, scope: Scope) -> Span:
        """A span, in the trace that the request's headers name."""
        headers = {key.decode("latin-1"): text.decode("latin-1") for key, text in scope["headers"]}
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        return self._tracer.start_span(
            method,
            context=self._extract(headers),
            kind=self._trace.SpanKind.SERVER,
            attributes={
                "http.request.method": method,
                "url.path": scope["path"][:200],
                "url.scheme": scope.get("scheme", "http"),
            },
        )

    def within(self, span: Span) -> AbstractContextManager[Span]:
        """What others trace inside belongs to the span."""
        return self._trace.use_span(span, record_exception=False, set_status_on_exception=False)

    def trace_id(self, span: Span) -> str:
        """By which a log line and a trace can be found together."""
        return self._trace.format_trace_id(span.get_span_context().trace_id)

    def end(self, span: Span, note: Note, method: str, route: str | None, status: int) -> None:
        """Write down what came of the request, and let the span go.

        Args:
            method: of the request.
            route: the path as it was declared; None for one that there is not.
            status: of the response.
        """
        attributes: dict[str, Any] = {
            "http.response.status_code": status,
            "http.route": route,
            "loramix.request.id": note.id,
            "gen_ai.request.model": note.model,
        }
        if note.error is not None:
            attributes["error.type"] = note.error.code
        if note.answer is not None:
            attributes |= _of_answer(note.answer)
            if note.prompt is not None:  # the settings allow it
                attributes |= _texts(note.prompt, note.answer)
        for name, value in attributes.items():
            if value is not None:
                span.set_attribute(name, value)
        if route is not None:
            span.update_name(f"{method} {route}")
        if status >= 500 or note.cause is not None:
            span.set_status(self._trace.Status(self._trace.StatusCode.ERROR))
        span.end()

    def close(self) -> None:
        """Send what has not been sent yet."""
        if self._own is not None:
            self._own.shutdown()


def _provider(endpoint: str | None) -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    found = Resource.create({"service.version": __version__})
    if str(found.attributes.get("service.name", "")).startswith("unknown_service"):
        found = found.merge(Resource({"service.name": SERVICE}))  # OTEL_SERVICE_NAME is not set
    provider = TracerProvider(resource=found)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return provider


def _of_answer(answer: Answer) -> dict[str, Any]:
    body, submission = answer.body, answer.submission
    sampling, routing = submission.request.sampling, submission.routing
    return {
        "gen_ai.operation.name": "chat" if answer.chat else "text_completion",
        "gen_ai.provider.name": SERVICE,
        "gen_ai.output.type": "text",
        "gen_ai.request.max_tokens": sampling.max_new_tokens,
        "gen_ai.request.choice.count": submission.request.n,
        "gen_ai.request.stream": bool(body.stream),
        "gen_ai.request.stop_sequences": list(sampling.stop) or None,
        **{f"gen_ai.request.{name}": getattr(body, name) for name in _REQUEST},
        "gen_ai.response.id": answer.id,
        "gen_ai.response.finish_reasons": [reason or "cancel" for reason in answer.reasons],
        "gen_ai.response.time_to_first_chunk": answer.first,
        "gen_ai.usage.input_tokens": len(submission.prompt_ids),
        "gen_ai.usage.output_tokens": answer.tokens,
        "loramix.mix": None if submission.mix is None else str(submission.mix),
        "loramix.router": None if routing is None else routing.router,
        "loramix.policy": None if routing is None else routing.policy,
        "loramix.gate.seconds": submission.gate_seconds,
    }


def _texts(prompt: str | list[dict[str, str]], answer: Answer) -> dict[str, str]:
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    asked = [_message(turn["role"], turn["content"]) for turn in turns]
    told = [
        {**_message("assistant", text), "finish_reason": reason or "cancel"}
        for text, reason in zip(answer.texts or (), answer.reasons, strict=False)
    ]
    return {
        "gen_ai.input.messages": json.dumps(asked),
        "gen_ai.output.messages": json.dumps(told),
    }


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}
