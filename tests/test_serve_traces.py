"""Requests are traced with OpenTelemetry where that is asked for, without prompts."""

from __future__ import annotations

import http.server
import json
import sys
import threading
from typing import Any

import pytest

from loramix.errors import UsageError
from loramix.serve import ServeSettings, create_app
from serve_app import client
from serve_process import chat, serving

pytest.importorskip("opentelemetry.sdk")

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

URL = "/v1/chat/completions"
SUM = "What is 2 + 3?"
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    """Of a provider that the program around the server has set; there is one for a process."""
    made, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(made))
    trace.set_tracer_provider(provider)
    return made


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> InMemorySpanExporter:
    exporter.clear()
    return exporter


def ours(spans: InMemorySpanExporter) -> list[ReadableSpan]:
    """FastAPI may have spans of its own, where the program around it has set a provider."""
    found = spans.get_finished_spans()
    return [
        s for s in found if s.instrumentation_scope and s.instrumentation_scope.name == "loramix"
    ]


def test_a_request_is_a_span_with_what_the_conventions_ask_for(
    spans: InMemorySpanExporter,
) -> None:
    with client(otel=True) as http:
        headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
        body = chat(SUM, temperature=0.0, seed=1, stop=["zzz"])
        answer = http.post(URL, json=body, headers=headers).json()
        http.post(URL, json=chat(SUM, "code=0.5,math=0.5", stream=True, n=2))
        http.post("/v1/completions", json={"model": "math", "prompt": SUM})
        http.post(URL, json=chat(SUM, "nobody"))
        http.get("/no/such/path")
        http.get("/health")
    found = ours(spans)
    assert [span.name for span in found] == [
        *(f"POST {path}" for path in (URL, URL, "/v1/completions", URL)),
        "GET",
    ]
    one, streamed, text, unknown, lost = (dict(span.attributes or {}) for span in found)
    assert f"{found[0].context.trace_id:032x}" == TRACE
    assert found[0].kind is trace.SpanKind.SERVER
    wanted = {
        "http.request.method": "POST",
        "http.route": URL,
        "http.response.status_code": 200,
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "loramix",
        "gen_ai.request.model": "auto",
        "gen_ai.request.seed": 1,
        "gen_ai.request.temperature": 0.0,
        "gen_ai.request.stop_sequences": ("zzz",),
        "gen_ai.response.id": answer["id"],
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": answer["usage"]["prompt_tokens"],
        "gen_ai.usage.output_tokens": answer["usage"]["completion_tokens"],
        "loramix.mix": "math=1",
        "loramix.router": "gate",
    }
    assert {name: one.get(name) for name in wanted} == wanted
    assert 0 < one["gen_ai.response.time_to_first_chunk"] < 60
    assert streamed["loramix.mix"] == "code=0.5,math=0.5"
    assert streamed["gen_ai.request.stream"] is True
    assert streamed["gen_ai.response.finish_reasons"] == ("stop", "stop")
    assert streamed["gen_ai.usage.output_tokens"] > 0
    assert text["gen_ai.operation.name"] == "text_completion"
    assert unknown["error.type"] == "model_not_found"
    assert lost["http.response.status_code"] == 404
    assert SUM not in str([span.to_json() for span in found])


def test_prompts_are_in_the_spans_where_that_was_asked(
    spans: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    with client(otel=True, log_prompts=True) as http, caplog.at_level("INFO", "loramix.serve"):
        http.post(URL, json=chat(SUM, "math"))
    (span,) = ours(spans)
    texts = dict(span.attributes or {})
    part = {"type": "text", "content": SUM}
    asked = json.loads(str(texts["gen_ai.input.messages"]))
    assert asked == [{"role": "user", "parts": [part]}]
    (told,) = json.loads(str(texts["gen_ai.output.messages"]))
    assert told["parts"][0]["content"] == "2 + 3 = 5\nAnswer: 5"
    (line,) = [record.fields for record in caplog.records if record.message == "request"]
    assert line["trace"] == f"{span.context.trace_id:032x}"


def test_without_being_asked_nothing_is_traced(spans: InMemorySpanExporter) -> None:
    with client() as http:
        http.post(URL, json=chat(SUM, "math"))
    assert not ours(spans)


@pytest.mark.slow
def test_a_collector_gets_the_spans_before_the_server_ends() -> None:
    got: list[tuple[str, bytes]] = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{collector.server_port}/v1/traces"
        env = {"OTEL_SERVICE_NAME": "our-own-name"}
        with serving("--otlp-traces-endpoint", url, env=env) as running:
            with running.client() as asking:
                assert asking.post(URL, json=chat(SUM, "math")).status_code == 200
            assert running.stop() == 0
        collector.shutdown()
    assert {path for path, _ in got} == {"/v1/traces"}
    sent = b"".join(body for _, body in got)
    for name in (b"gen_ai.usage.output_tokens", b"our-own-name", b"POST /v1/chat/completions"):
        assert name in sent


def test_what_is_missing_or_wrong_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="http://localhost:4318"):
        ServeSettings(otlp_traces_endpoint="localhost:4317")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(UsageError, match=r"pip install 'loramix\[otel\]'"):
        create_app(ServeSettings(otel=True))
