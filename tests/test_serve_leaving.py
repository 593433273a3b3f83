"""A client that goes away, or is too slow, frees its place before there is anything to send."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from loramix.serve import page
from serve_app import Live, code, live, soon
from serve_process import chat, copied_library

CHAT, ROUTE, UPLOAD = "/v1/chat/completions", "/v1/route", "/page/upload"
SUM = "What is 2 + 3?"


@contextmanager
def held(engine: Any) -> Iterator[None]:
    """Nothing is routed or written meanwhile."""
    begun, go = threading.Event(), threading.Event()
    task = engine.between(lambda: (begun.set(), go.wait(60)))
    assert begun.wait(30)
    try:
        yield
    finally:
        go.set()
        task.result(30)


def send(at: Live, path: str, body: dict[str, Any]) -> socket.socket:
    """A request on its way."""
    data = json.dumps(body).encode()
    raw = socket.create_connection(("127.0.0.1", at.port), 30)
    raw.sendall(
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        f"content-length: {len(data)}\r\n\r\n".encode()
        + data
    )
    return raw


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (ROUTE, {"prompt": SUM}),
        (ROUTE, {"prompt": SUM, "why": True}),
        (CHAT, chat(SUM, router="keywords")),
    ],
    ids=["route", "why", "chat"],
)
def test_who_leaves_while_a_router_decides_frees_the_place(
    path: str, body: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with live(max_queue=1) as at, at.client() as http, caplog.at_level("INFO", "loramix.serve"):
        routed = http.post(ROUTE, json={"prompt": SUM}).json()
        with held(at.app.state.engine):
            with closing(send(at, path, body)):
                both = "loramix_requests_in_flight 2.0"  # that one, and who asks for the figure
                assert soon(lambda: both in http.get("/metrics").text.splitlines())
                assert code(http.post(ROUTE, json={"prompt": SUM})) == (429, "queue_full")

            def free() -> bool:
                asked = http.post(ROUTE, json={"prompt": SUM, "deadline": 0.05})
                return code(asked) == (504, "deadline_exceeded")

            assert soon(free)  # though nothing could be done of what was asked
        left = [r.fields for r in caplog.records if getattr(r, "fields", {}).get("status") == 499]
        assert [(line["path"], line["error"]) for line in left] == [(path, "client_left")]
        assert http.post(ROUTE, json={"prompt": SUM}).json() == routed


def test_who_leaves_before_the_body_is_whole_is_no_faulty_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def lines() -> list[tuple[str, str]]:
        found = [getattr(record, "fields", {}) for record in caplog.records]
        return [(line["path"], line["error"]) for line in found if line.get("status") == 499]

    with live() as at, caplog.at_level("INFO", "loramix.serve"):
        with socket.create_connection(("127.0.0.1", at.port), 30) as raw:
            raw.sendall(
                f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                'content-length: 1000\r\n\r\n{"model": "math"'.encode()
            )
            time.sleep(0.2)
        assert soon(lambda: lines() == [(CHAT, "client_left")])


@pytest.mark.slow
def test_an_explanation_that_nobody_waits_for_ends_before_its_end() -> None:
    with live() as at, at.client() as http:
        engine, turns = at.app.state.engine, []
        between = engine.between

        def counted(work: Any) -> Any:
            turns.append(time.monotonic())
            return between(work)

        engine.between = counted
        wanted = {"prompt": f"{SUM} " * 30, "why": True}
        assert http.post(ROUTE, json=wanted).status_code == 200
        whole = len(turns)
        assert whole > 10
        turns.clear()
        with closing(send(at, ROUTE, wanted)):
            assert soon(lambda: len(turns) >= 4)
        time.sleep(0.2)
        seen = len(turns)
        time.sleep(1.0)
        assert len(turns) <= seen + 1 < whole


# ── uploads ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def open_server(tmp_path: Path) -> Iterator[Live]:
    library = copied_library(tmp_path / "library")
    (tmp_path / "adapters").mkdir()
    with live(library=library, allow_runtime_lora=True) as at:
        yield at


@pytest.mark.parametrize(
    ("bound", "drips"),
    [("UPLOAD_PAUSE", False), ("UPLOAD_SECONDS", True)],
    ids=["nothing more comes", "it comes in drips"],
)
def test_an_upload_has_its_time(
    open_server: Live, bound: str, drips: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, bound, 1.0)
    head = '--x\r\ncontent-disposition: form-data; name="lora_name"\r\n\r\n'
    with socket.create_connection(("127.0.0.1", open_server.port), 30) as raw:
        begun = time.monotonic()
        raw.sendall(
            f"POST {UPLOAD} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n"
            f"content-type: multipart/form-data; boundary=x\r\n\r\n{head}".encode()
        )
        raw.settimeout(0.1)
        answer = b""
        while not answer and time.monotonic() < begun + 20:
            if drips:
                raw.sendall(b"a")
            try:
                answer = raw.recv(65536)
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"request_timeout" in answer
    assert 1.0 <= time.monotonic() - begun < 10
    with open_server.client() as http:
        assert http.post(CHAT, json=chat(SUM, "math")).status_code == 200
