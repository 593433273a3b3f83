"""What a server bounds, and what it says to those whom it refuses."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from loramix.errors import UsageError
from loramix.library import Library
from loramix.serve import ServeSettings
from serve_app import client, code
from serve_process import chat, copied_library

URL = "/v1/chat/completions"
LONG: dict[str, Any] = {"model": "base", "max_tokens": 200, "temperature": 2.0}
"""Takes a while: a high temperature seldom draws the end of a text."""


@pytest.fixture(scope="module")
def http() -> Iterator[TestClient]:
    """For the tests that need no limits of their own."""
    with client() as made:
        yield made


def test_a_body_that_is_too_large_is_refused_before_it_is_read() -> None:
    with client(max_body=1000) as http:
        assert code(http.post(URL, json=chat("x" * 1000))) == (413, "body_too_large")

        def chunks() -> Any:
            for _ in range(100):
                yield b"x" * 100

        headers = {"content-type": "application/json"}
        assert code(http.post(URL, content=chunks(), headers=headers)) == (413, "body_too_large")
        assert http.post(URL, json=chat("What is 2 + 3?", "math")).status_code == 200


def test_prompts_tokens_and_choices_are_bounded() -> None:
    with client(max_prompt_tokens=20, max_tokens=50, max_n=2) as http:
        words = chat("one two three four five six seven " * 5, "math")
        assert code(http.post(URL, json=words)) == (400, "context_length_exceeded")
        for more in ({"max_tokens": 51}, {"max_completion_tokens": 51}, {"n": 3}):
            assert code(http.post(URL, json=chat("hello", **more))) == (400, "too_large")
        huge = chat("word " * 100_000, "math")
        assert code(http.post(URL, json=huge)) == (400, "context_length_exceeded")
        answer = http.post(URL, json=chat("hello", "base", n=2, max_tokens=50))
        assert answer.status_code == 200


def test_a_rate_is_kept_and_the_refusal_says_when_to_come_again() -> None:
    with client(rate=3) as http:
        body = chat("What is 2 + 3?", "math")
        assert [http.post(URL, json=body).status_code for _ in range(3)] == [200] * 3
        refused = http.post(URL, json=body)
        assert code(refused) == (429, "rate_limit_exceeded")
        assert 1 <= int(refused.headers["retry-after"]) <= 21
        assert http.get("/v1/models").status_code == 200


def test_requests_of_one_client_at_once_are_bounded() -> None:
    with client(concurrency=2) as http, ThreadPoolExecutor(6) as pool:
        bodies = [chat("hello", n=8, seed=i, **LONG) for i in range(6)]
        found = list(pool.map(lambda body: http.post(URL, json=body), bodies))
        statuses = [answer.status_code for answer in found]
        assert statuses.count(200) >= 2
        assert {code(answer) for answer in found if answer.status_code != 200} == {
            (429, "too_many_at_once")
        }
        assert http.post(URL, json=chat("What is 2 + 3?", "math")).status_code == 200


def test_a_full_queue_answers_429_and_recovers() -> None:
    with client(max_rows=1, max_queue=2) as http, ThreadPoolExecutor(8) as pool:
        bodies = [chat("hello", seed=i, **LONG) for i in range(8)]
        found = list(pool.map(lambda body: http.post(URL, json=body), bodies))
        refused = [answer for answer in found if answer.status_code != 200]
        assert refused
        assert {code(answer) for answer in refused} == {(429, "queue_full")}
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
        assert http.post(URL, json=chat("What is 2 + 3?", "math")).status_code == 200
        counted = f'loramix_requests_total{{endpoint="{URL}",status="429"}} {len(refused)}.0'
        assert counted in http.get("/metrics").text.splitlines()


def test_a_deadline_ends_a_request() -> None:
    with client(deadline=0.05) as http:
        begun = time.monotonic()
        answer = http.post(URL, json=chat("hello", n=8, deadline=60.0, **LONG))
        assert code(answer) == (504, "deadline_exceeded")
        assert time.monotonic() - begun < 5
        assert http.app.state.engine.stats().running == 0  # type: ignore[attr-defined]


def test_an_error_in_a_stream_is_its_last_event() -> None:
    with client() as http:
        http.post(URL, json=chat("hello", "base"))
        with http.stream(
            "POST", URL, json=chat("hello", deadline=0.3, n=8, stream=True, **LONG)
        ) as got:
            events = [line for line in got.iter_lines() if line]
        assert "deadline_exceeded" in events[-1]
        assert "data: [DONE]" not in events


@pytest.mark.parametrize("most", [0, 64 << 20])
def test_the_beginnings_of_prompts_are_kept_within_the_bytes_given(most: int) -> None:
    body = chat("What is 2 + 3? " * 8, "base", max_tokens=1)
    with client(prefix_bytes=most) as http:
        for _ in range(2):
            assert http.post(URL, json=body).status_code == 200
        values = dict(line.rsplit(" ", 1) for line in http.get("/metrics").text.splitlines())
    assert (float(values["loramix_reused_tokens_total"]) > 0) == (most > 0)
    assert (float(values["loramix_prefix_bytes"]) > 0) == (most > 0)


def test_what_does_not_fit_into_the_cache_that_was_given_is_refused() -> None:
    with client(cache_bytes=1 << 10) as http:
        refused = http.post(URL, json=chat("What is 2 + 3?", "base"))
    assert code(refused) == (400, "too_large")
    assert "1,024 bytes" in refused.text


def test_the_metrics_count_what_was_done() -> None:
    with client() as http:
        http.post(URL, json=chat("What is 2 + 3?"))
        http.post(URL, json=chat("What is 2 + 3?", "code=0.5,math=0.5"))
        http.post(URL, json=chat("What is 2 + 3?", "no-such-skill"))
        lines = http.get("/metrics").text.splitlines()
        values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        asked = 'loramix_requests_total{endpoint="/v1/chat/completions",status='
        assert float(values[f'{asked}"200"}}']) == 2
        assert float(values[f'{asked}"404"}}']) == 1
        assert float(values['loramix_mixes_total{chosen_by="gate",kind="skill"}']) == 1
        assert float(values['loramix_mixes_total{chosen_by="request",kind="blend"}']) == 1
        assert float(values['loramix_skill_uses_total{skill="math"}']) == 2
        for name in ("first_token_seconds", "token_seconds"):
            assert float(values[f"loramix_{name}_count"]) == 2
        assert float(values["loramix_gate_confidence_count"]) == 1
        assert float(values["loramix_resident_skills"]) == 2
        assert float(values["loramix_mixing_bytes"]) > 0
        for name in ("gate", "prompt", "step"):  # the gate's share of the prompts can be told
            assert float(values[f"loramix_{name}_seconds_total"]) > 0
        assert float(values["loramix_completion_tokens_total"]) > 0
        assert float(values["loramix_rows_running"]) == 0


def test_the_route_is_read_from_the_part_of_the_conversation_that_was_asked_for() -> None:
    turns = [
        {"role": "user", "content": "What is 15% of 240?"},
        {"role": "assistant", "content": "36"},
        {"role": "user", "content": "Write a Python function that doubles a number."},
    ]
    with client() as http:

        def mix(how: str | None) -> dict[str, float]:
            body = {"messages": turns, **({} if how is None else {"route_by": how})}
            routed = http.post("/v1/route", json=body).json()["mix"]
            answered = http.post(URL, json={"model": "auto", "max_tokens": 2, **body}).json()
            assert answered["loramix"]["mix"] == routed
            return dict(routed)

        assert set(mix(None)) == set(mix("last")) == {"code"}
        assert set(mix("first")) == {"math"}
        assert mix("conversation").keys() <= {"code", "math"}
        turns[-1]["content"] = "and again, but for 20%"  # makes sense with the first one only
        assert set(mix("last")) == {"math"}


def test_a_router_and_a_policy_can_be_asked_for() -> None:
    with client() as http:
        answer = http.post(URL, json=chat("What is 2 + 3?", router="keywords", policy="blend"))
        assert answer.json()["loramix"]["router"] == "keywords"
        assert answer.json()["loramix"]["policy"] == "blend"
        fixed = http.post(URL, json=chat("What is 2 + 3?", router="fixed:code=1"))
        assert fixed.json()["loramix"]["mix"] == {"code": 1.0}
        for more in ({"router": "gates"}, {"policy": "top"}):
            assert code(http.post(URL, json=chat("hello", **more))) == (400, "invalid_value")
        named = http.post(URL, json=chat("hello", "math", router="gate"))
        assert named.json()["error"]["param"] == "router"


def test_why_is_what_the_command_line_says() -> None:
    from loramix.commands.route import route

    text = "What is 15% of 240?"
    with client() as http:
        answer = http.post("/v1/route", json={"prompt": text, "why": True}).json()
    told = route(text, why=True)
    assert answer["mix"] == told["mix"]
    got, want = answer["why"]["attribution"], told["why"]["attribution"]
    assert [part[0] for part in got["parts"]] == [part[0] for part in want["parts"]]
    assert [part[1] for part in got["parts"]] == pytest.approx([p[1] for p in want["parts"]])
    assert [near[1] for near in got["nearest"]] == [near[1] for near in want["nearest"]]


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"temprature": 1}, "temperature"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"top_logprobs": 1}, "logprobs"),
        ({"stream_options": {"include_usage": True}}, "stream"),
        ({"max_tokens": 3, "max_completion_tokens": 4}, "max_tokens"),
        ({"n": "2"}, "n"),
        ({"temperature": 2.5}, "temperature"),
        ({"mix": {"math": -1}}, "mix"),
    ],
)
def test_nothing_is_silently_ignored(http: TestClient, more: dict[str, Any], name: str) -> None:
    answer = http.post(URL, json=chat("hello", **more))
    assert answer.status_code == 400
    assert name in answer.json()["error"]["message"]


def test_fields_that_mean_nothing_may_be_there(http: TestClient) -> None:
    more = {"tools": None, "response_format": {"type": "text"}, "logit_bias": {}, "store": False}
    answer = http.post(URL, json=chat("hello", "base", max_tokens=2, **more))
    assert answer.status_code == 200


def test_a_server_open_to_everybody_is_refused(tmp_path: Path) -> None:
    for settings in (
        {"host": "0.0.0.0"},
        {"host": "192.0.2.1"},
        {"api_keys": ("short",)},
        {"api_keys": ("with a\nline break",)},
        {"lora_dir": tmp_path},
        {"max_queue": 0},
        {"cache_bytes": 0},
        {"prefix_bytes": -1},
        {"route_by": "lost"},
        {"deadline": float("inf")},
        {"deadline": 1e12},
        {"grace": float("nan")},
        {"grace": float("inf")},
        {"grace": -1},
        {"chunk_interval": -0.1},
        {"chunk_interval": float("nan")},
        {"chunk_interval": float("inf")},
    ):
        with pytest.raises(UsageError):
            ServeSettings(**settings)  # type: ignore[arg-type]
    ServeSettings(host="0.0.0.0", allow_remote=True)
    ServeSettings(host="0.0.0.0", api_keys=("a-key-of-some-length",))
    ServeSettings(host="::1")


def test_prompts_and_answers_are_logged_where_that_was_asked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with client(log_prompts=True) as http, caplog.at_level("INFO", "loramix.serve"):
        http.post(URL, json=chat("What is 2 + 3?", "math"))
        http.post(URL, json=chat("What is 2 + 3?", "math", stream=True))
    fields = [record.fields for record in caplog.records if record.message == "request"]
    assert [line["answer"] for line in fields] == [["2 + 3 = 5\nAnswer: 5"]] * 2
    assert all(line["prompt"][0]["content"] == "What is 2 + 3?" for line in fields)


def test_without_a_gate_a_skill_has_to_be_named(tmp_path: Path) -> None:
    library = Library.open(copied_library(tmp_path / "library"))
    with library.edit() as txn:
        txn.remove("qa")  # and with it goes the gate, which knew of it
    with client(library=library.path) as http:
        body = chat("What is 2 + 3?")
        assert code(http.post(URL, json=body)) == (400, "no_gate")
        assert code(http.post("/v1/route", json={"prompt": "What is 2 + 3?"})) == (400, "no_gate")
        assert http.post(URL, json={**body, "router": "fixed:code=1"}).status_code == 200
        assert http.post(URL, json={**body, "model": "math"}).status_code == 200
