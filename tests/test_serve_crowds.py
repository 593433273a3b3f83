"""Crowds: many changes, many prompts to route, slow bodies. Those who ask for little get it."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from loramix.serve import ServeSettings, create_app, guard
from loramix.serve.serving import Serving
from serve_app import client, code, pocket
from serve_process import ServerProcess, chat, copied_library

URL = "/v1/chat/completions"
ROUTE = "/v1/route"
CROWD = 40
"""More than Python's default executor has threads on any machine that tests run on."""


def serving_of(http: TestClient) -> Serving:
    """What answers."""
    serving: Serving = http.app.state.serving  # type: ignore[attr-defined]
    return serving


def test_changes_that_wait_for_each_other_keep_no_prompt_from_being_read(tmp_path: Path) -> None:
    library = copied_library(tmp_path)
    (library.parent / "adapters").mkdir(exist_ok=True)
    with (
        client(library=library, allow_runtime_lora=True) as http,
        ThreadPoolExecutor(CROWD + 1) as pool,
    ):
        assert http.portal is not None
        changing = serving_of(http).changing
        http.portal.call(changing.acquire)  # a change that takes its time
        body = {"lora_name": "nobody"}
        waiting = [
            pool.submit(http.post, "/v1/unload_lora_adapter", json=body) for _ in range(CROWD)
        ]
        answer = pool.submit(http.post, URL, json=chat("What is 2 + 3?", "math"))
        try:
            assert answer.result(timeout=20).status_code == 200
            assert not any(one.done() for one in waiting)
        finally:
            http.portal.call(changing.release)
        told = [code(one.result(timeout=20)) for one in waiting]
        assert told == [(404, "model_not_found")] * CROWD


def test_prompts_that_wait_for_a_router_are_bounded() -> None:
    with client(max_queue=3) as http, ThreadPoolExecutor(8) as pool:
        held, engine = threading.Event(), serving_of(http).engine
        holding = engine.between(lambda: held.wait(30))
        try:
            body = {"prompt": "What is 2 + 3?"}
            asked = [pool.submit(http.post, ROUTE, json=body) for _ in range(8)]
            refused, rest = wait(asked, timeout=2)
        finally:
            held.set()
        assert holding.result(30)
        assert [code(one.result()) for one in refused] == [(429, "queue_full")] * 5
        assert all("retry-after" in one.result().headers for one in refused)
        assert [one.result(timeout=30).status_code for one in rest] == [200] * 3


def test_a_body_that_drips_has_so_long_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.5)
    app = create_app(ServeSettings(), pocket())
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0.2)
        return {"type": "http.request", "body": b" ", "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": URL, "raw_path": URL.encode(),
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "scheme": "http",
        "http_version": "1.1", "asgi": {"version": "3.0"}, "app": app,
    }  # fmt: skip
    try:
        asyncio.run(asyncio.wait_for(app(scope, receive, send), 10))
    finally:
        app.state.serving.close()
    assert sent[0]["status"] == 408
    assert b"request_timeout" in sent[1]["body"]


@pytest.mark.slow
def test_a_rate_holds_whatever_address_a_client_says_it_comes_from() -> None:
    server = ServerProcess("--rate", "2")
    try:
        with server.client() as http:
            body = chat("hi", "base", max_tokens=1)
            answers = [
                http.post(URL, json=body, headers={"x-forwarded-for": f"10.0.0.{number}"})
                for number in range(4)
            ]
        assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
        told = [line["client"] for line in server.log() if line["event"] == "request"]
        assert not any(client.startswith("10.0.0.") for client in told)
    finally:
        server.stop()


def test_a_library_that_is_named_by_a_full_stop_leaves_messages_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = copied_library(tmp_path)
    monkeypatch.chdir(library)
    with client(library=Path()) as http:
        told = http.post(URL, json=chat("hi", "nobody")).json()["error"]["message"]
        assert "There is no model 'nobody'." in told
        assert "LIBRARY" not in told
