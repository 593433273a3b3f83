"""What is said about a request that cannot be answered, and which tokens are reported."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from serve_app import client, code
from serve_process import chat

URL, TEXTS, ROUTE = "/v1/chat/completions", "/v1/completions", "/v1/route"
SUM = "What is 2 + 3?"
ANSWER = "2 + 3 = 5\nAnswer: 5"


@pytest.fixture(scope="module")
def http() -> Iterator[TestClient]:
    with client() as made:
        yield made


def error(answer: Any) -> dict[str, Any]:
    return dict(answer.json()["error"])


def events(http: TestClient, url: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    with http.stream("POST", url, json={**body, "stream": True}) as got:
        lines = [line[6:] for line in got.iter_lines() if line.startswith("data: {")]
    return [json.loads(line)["choices"][0] for line in lines]


def test_chunks_keep_their_interval_and_hold_all_that_was_written() -> None:
    told: dict[float, list[str]] = {}
    for interval in (0.0, 0.3, 10.0):
        with client(chunk_interval=interval) as http:
            begun = time.monotonic()
            choices = events(http, URL, chat(SUM, "math"))
            assert time.monotonic() - begun < 10
        told[interval] = [choice["delta"]["content"] for choice in choices]
        assert "".join(told[interval]) == ANSWER
    assert len(told[10.0]) == 2 <= len(told[0.3]) < len(told[0.0])


@pytest.mark.parametrize("stop", ["\nAnswer", "wer", "= 5\nAnswer: 6", "Answer: 55"])
def test_logprobs_tell_of_the_text_and_not_of_what_a_stop_cuts_away(
    http: TestClient, stop: str
) -> None:
    body = chat(SUM, "math", stop=stop, logprobs=True, top_logprobs=1)
    whole = http.post(URL, json=body).json()["choices"][0]
    text = whole["message"]["content"]
    assert text == ANSWER.partition(stop)[0]
    told = "".join(token["token"] for token in whole["logprobs"]["content"])
    assert told.startswith(text)
    last = whole["logprobs"]["content"][-1]["token"]
    assert len(told) - len(last) < len(text)  # at most a token of which the text has a part
    streamed = events(http, URL, body)
    shown = told = ""
    for choice in streamed:
        shown += choice["delta"]["content"]
        told += "".join(t["token"] for t in (choice["logprobs"] or {"content": ()})["content"])
        assert len(told) - len(last) < max(1, len(shown))  # never ahead of what is shown
    assert shown == text
    tokens = [t for c in streamed for t in (c["logprobs"] or {"content": ()})["content"]]
    assert [t["token"] for t in tokens] == [t["token"] for t in whole["logprobs"]["content"]]
    plain = {"model": "math", "prompt": SUM, "stop": stop, "logprobs": 1}
    lists = http.post(TEXTS, json=plain).json()["choices"][0]
    for token, offset in zip(
        lists["logprobs"]["tokens"], lists["logprobs"]["text_offset"], strict=True
    ):
        assert ANSWER[offset:].startswith(token)
        assert offset < len(lists["text"])


@pytest.mark.parametrize(
    ("more", "param", "said"),
    [
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "string or a"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]},
            "messages[0].content[0].text",
            "valid string",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages[0].content[0].image_url",
            "only text is read",
        ),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "required"),
        ({"messages": [{"role": "tool", "content": "hi"}]}, "messages[0].role", "'user'"),
        ({"stop": 5}, "stop", "valid string or a valid list"),
        ({"stop": ["a", ""]}, "stop[1]", "at least 1 character"),
        ({"mix": {"math": "much"}}, "mix.math", "valid number"),
        ({"max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
    ],
)
def test_a_fault_names_its_field_as_the_client_wrote_it(
    http: TestClient, more: dict[str, Any], param: str, said: str
) -> None:
    told = error(http.post(URL, json={**chat(SUM), **more}))
    assert told["param"] == param
    assert said in told["message"]
    for inner in ("constrained", "list[", "TextPart", "dict["):
        assert inner not in told["message"] + told["param"]


def test_an_unknown_model_is_told_in_words_of_the_interface(http: TestClient) -> None:
    for model in ("gpt-4o", "gpt=0.5,math=0.5", "Math"):
        answer = http.post(URL, json=chat(SUM, model))
        assert code(answer) == (404, "model_not_found")
        told = error(answer)
        assert told["param"] == "model"
        assert "GET /v1/models" in told["message"]
        assert "loramix " not in told["message"]
        assert "--" not in told["message"]
    assert "'math'" in error(http.post(URL, json=chat(SUM, "mth")))["message"]
    mixed = http.post(URL, json=chat(SUM, mix={"gpt": 1.0}))
    assert code(mixed) == (400, "invalid_mix")
    assert "GET /v1/models" in error(mixed)["message"]


def test_more_tokens_than_the_context_has_are_refused_and_not_cut(http: TestClient) -> None:
    context = http.get("/v1/models/base").json()["max_model_len"]
    with client(max_tokens=2 * context) as wide:
        plain = wide.post(URL, json=chat(SUM, "math"))  # all that the context has left
        assert plain.status_code == 200
        room = context - plain.json()["usage"]["prompt_tokens"]
        for name in ("max_tokens", "max_completion_tokens"):
            answer = wide.post(URL, json=chat(SUM, "math", **{name: room + 1}))
            assert code(answer) == (400, "context_length_exceeded")
            told = error(answer)
            assert told["param"] == name
            for figure in (context, context + 1, context - room, room + 1, room):
                assert str(figure) in told["message"]
            assert wide.post(URL, json=chat(SUM, "math", **{name: room})).status_code == 200
        prompt = {"model": "math", "prompt": SUM, "max_tokens": context, "stream": True}
        assert code(wide.post(TEXTS, json=prompt)) == (400, "context_length_exceeded")
        engine, end = wide.app.state.engine, time.monotonic() + 10  # type: ignore[attr-defined]
        while engine.stats().running and time.monotonic() < end:
            time.sleep(0.01)
        assert not engine.stats().running


@pytest.mark.parametrize("query", ["stream=true", "api-version=2024-10-21", "x", "x=1&x=2"])
def test_a_query_is_refused_and_not_ignored(http: TestClient, query: str) -> None:
    name = query.partition("=")[0]
    for answer in (
        http.post(f"{URL}?{query}", json=chat(SUM, "math")),
        http.post(f"{ROUTE}?{query}", json={"prompt": SUM}),
        http.get(f"/v1/models?{query}"),
        http.get(f"/metrics?{query}"),
    ):
        assert code(answer) == (400, "unknown_parameter")
        assert error(answer)["param"] == name
        assert f"'{name}'" in error(answer)["message"]


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_a_probe_may_ask_for_the_head_alone_and_add_a_query(http: TestClient, path: str) -> None:
    for method in ("GET", "HEAD"):
        answer = http.request(method, f"{path}?probe=1")
        assert answer.status_code == 200
        assert bool(answer.content) == (method == "GET")


def test_a_conversation_without_the_user_is_refused(http: TestClient) -> None:
    alone = [{"role": "system", "content": "Be brief."}]
    for path, body in ((URL, {"model": "math"}), (URL, {"model": "auto"}), (ROUTE, {})):
        answer = http.post(path, json={**body, "messages": alone})
        assert code(answer) == (400, "invalid_prompt")
        assert error(answer)["param"] == "messages"
        assert "user" in error(answer)["message"]


def test_routing_keeps_its_deadline() -> None:
    with client(deadline=60) as http:
        engine = http.app.state.engine  # type: ignore[attr-defined]
        held, go = threading.Event(), threading.Event()

        def hold() -> None:
            held.set()
            go.wait(30)

        task = engine.between(hold)  # whoever wants the base waits for this
        assert held.wait(30)
        try:
            asked = {"prompt": SUM, "deadline": 0.2}
            for path, body in (
                (ROUTE, asked),
                (ROUTE, {**asked, "why": True}),
                (URL, chat(SUM, router="keywords", deadline=0.2)),
            ):
                begun = time.monotonic()
                assert code(http.post(path, json=body)) == (504, "deadline_exceeded")
                assert time.monotonic() - begun < 10
        finally:
            go.set()
            task.result(30)
        assert http.post(ROUTE, json={"prompt": SUM}).json()["mix"] == {"math": 1.0}
        assert code(http.post(ROUTE, json={**asked, "deadline": 1e-3, "why": True})) == (
            504,
            "deadline_exceeded",
        )
