"""Codes of errors that take some doing: each is asked for as a client would meet it."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from loramix.library import Library
from loramix.mix import Mix
from loramix.serve import adapters as changes
from loramix.storage import WriterLock
from serve_app import Live, code, live, soon
from serve_process import chat, copied_library, serving

CHAT, LOAD, UNLOAD = "/v1/chat/completions", "/v1/load_lora_adapter", "/v1/unload_lora_adapter"
SUM = "What is 2 + 3?"
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with a mix that has a name, and adapters of several kinds beside it."""
    folder = tmp_path_factory.mktemp("serve")
    library = copied_library(folder / "library")
    with Library.open(library).edit() as txn:
        txn.set_mix("both", Mix.parse("code=0.5,math=0.5"))

    def adapter(name: str) -> Path:
        made = folder / "adapters" / name
        made.mkdir(parents=True)
        for file in (CONFIG, WEIGHTS):
            shutil.copy(library / "skills" / "math" / file, made)
        return made

    adapter("plain")
    for name, more in (("dora", {"use_dora": True}), ("bits", {"bias": "all"})):
        config = adapter(name) / CONFIG
        config.write_text(json.dumps({**json.loads(config.read_text()), **more}))
    wide, huge = adapter("wide") / WEIGHTS, adapter("huge") / WEIGHTS
    tensors = load_file(wide)
    save_file({key: torch.cat([t, t], dim=1) for key, t in tensors.items()}, wide)
    save_file({key: t * 1e20 for key, t in tensors.items()}, huge)
    return folder


@pytest.fixture(scope="module")
def at(place: Path) -> Iterator[Live]:
    with live(library=place / "library", allow_runtime_lora=True) as served:
        yield served


@pytest.fixture
def http(at: Live) -> Iterator[Any]:
    with at.client() as client:
        yield client


@pytest.mark.parametrize(
    ("adapter", "expected", "said"),
    [
        ("dora", "unsupported_adapter", "use_dora"),
        ("bits", "unsupported_adapter", "bias: all"),
        ("wide", "adapter_mismatch", "shape"),
    ],
)
def test_an_adapter_that_cannot_be_a_skill_here_says_why(
    http: Any, place: Path, adapter: str, expected: str, said: str
) -> None:
    before = Library.open(place / "library").generation
    answer = http.post(LOAD, json={"lora_name": "guest", "lora_path": adapter})
    assert code(answer) == (400, expected)
    told = answer.json()["error"]
    assert told["param"] == "lora_path"
    assert said in told["message"]
    assert str(place) not in answer.text
    assert Library.open(place / "library").generation == before


def test_a_skill_that_a_mix_needs_stays(http: Any, place: Path) -> None:
    answer = http.post(UNLOAD, json={"lora_name": "math"})
    assert code(answer) == (409, "skill_in_use")
    assert answer.json()["error"]["param"] == "lora_name"
    assert "both" in answer.json()["error"]["message"]
    assert str(place) not in answer.text
    assert http.post(CHAT, json=chat(SUM, "both", max_tokens=2)).status_code == 200


@pytest.mark.slow
def test_weights_that_the_model_cannot_compute_with_are_the_clients_fault(http: Any) -> None:
    assert http.post(LOAD, json={"lora_name": "huge", "lora_path": "huge"}).status_code == 200
    answer = http.post(CHAT, json=chat(SUM, "huge"))
    assert code(answer) == (400, "no_numbers")
    with http.stream("POST", CHAT, json=chat(SUM, "huge", stream=True)) as got:
        assert got.status_code == 400
    assert http.post(CHAT, json=chat(SUM, "math", max_tokens=2)).status_code == 200
    assert http.post(UNLOAD, json={"lora_name": "huge"}).status_code == 200


def test_a_change_that_waits_too_long_for_another_is_told_to_come_again(
    at: Live, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "WAIT_SECONDS", 0.3)
    waited: list[Any] = []

    def change() -> None:
        with at.client() as other:
            body = {"lora_name": "qa", "expected_generation": 0}
            waited.append(other.post(UNLOAD, json=body))

    first = threading.Thread(target=change)
    with at.client() as http:
        with WriterLock(place / "library", 10):  # as another process would hold it
            first.start()
            assert soon(at.app.state.serving.changing.locked)
            answer = http.post(UNLOAD, json={"lora_name": "qa"})
            assert code(answer) == (503, "library_busy")
            assert int(answer.headers["retry-after"]) >= 1
        first.join(60)
        assert [code(answer) for answer in waited] == [(409, "generation_conflict")]
        assert http.get("/v1/models/qa").status_code == 200


@pytest.mark.slow
def test_a_library_that_another_process_writes_is_busy_and_not_told_of(
    http: Any, place: Path
) -> None:
    with WriterLock(place / "library", 10):
        answer = http.post(UNLOAD, json={"lora_name": "qa"})
        assert code(answer) == (503, "library_busy")
        for secret in (str(place), "process", "pytest"):
            assert secret not in answer.text


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("presence_penalty", (-2.01, 2.01, "1", True)),
        ("frequency_penalty", (-2.01, 2.01, [1], 1e300)),
        ("repetition_penalty", (0, -1, 10.5, "x")),
    ],
)
def test_penalties_have_their_ranges(http: Any, field: str, values: tuple[Any, ...]) -> None:
    for path, body in (
        (CHAT, chat(SUM, "math", max_tokens=2)),
        ("/v1/completions", {"model": "math", "prompt": SUM, "max_tokens": 2}),
    ):
        for value in values:
            answer = http.post(path, json={**body, field: value})
            assert code(answer) == (400, "invalid_value"), value
            assert answer.json()["error"]["param"] == field
        for value in (2, 1.5, None):
            assert http.post(path, json={**body, field: value}).status_code == 200, value


@pytest.mark.slow
def test_who_comes_while_the_server_ends_is_told_so() -> None:
    """The connection was open and its request had begun, so that it still gets an answer."""
    data = json.dumps(chat(SUM, "math")).encode()
    with serving() as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), 30) as raw:
            raw.sendall(
                f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                f"content-length: {len(data)}\r\n\r\n".encode()
            )
            time.sleep(0.5)
            server.process.send_signal(signal.SIGTERM)
            assert soon(lambda: any(line["event"] == "ending" for line in server.log()))
            raw.sendall(data)
            answer = b"".join(iter(lambda: raw.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 5" in answer.lower()
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "shutting_down"
        assert server.process.wait(30) == 0
