"""Adapters come and go while the server runs; streams on their way are not disturbed."""

from __future__ import annotations

import itertools
import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from loramix.base import load_base
from loramix.gate import RoutedExample, learn_gate
from loramix.library import Library
from loramix.pocket.tasks import TASKS
from serve_process import ServerProcess, chat, copied_library, serving

pytestmark = pytest.mark.slow

CHAT, LOAD, UNLOAD = "/v1/chat/completions", "/v1/load_lora_adapter", "/v1/unload_lora_adapter"
SUM = "What is 2 + 3?"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serve")
    library = copied_library(folder / "library")
    for name in ("math", "code"):
        shutil.copytree(library / "skills" / name, folder / "adapters" / name)
    plain = folder / "adapters" / "plain"
    plain.mkdir()
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(library / "skills" / "math" / file, plain)
    expert = folder / "adapters" / "expert"
    shutil.copytree(plain, expert)
    (expert / "expert.json").write_text('{"method": "linear", "weights": {"math": 1.0}}')
    broken = folder / "adapters" / "broken"
    shutil.copytree(plain, broken)
    weights = broken / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    other = folder / "adapters" / "other"
    shutil.copytree(plain, other)
    config = json.loads((other / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "somebody/another-model"
    (other / "adapter_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[ServerProcess]:
    with serving("--library", str(place / "library"), "--allow-runtime-lora") as running:
        yield running


@pytest.fixture
def http(server: ServerProcess) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def text(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_what_is_loaded_answers_the_next_request_and_goes_again(
    http: httpx.Client, place: Path
) -> None:
    before = http.get("/v1/skills").json()["generation"]
    wanted = text(http.post(CHAT, json=chat(SUM, "math")))
    body = {"lora_name": "sums", "lora_path": "plain", "expected_generation": before}
    told = http.post(LOAD, json=body)
    assert told.status_code == 200, told.text
    assert told.json()["generation"] == before + 1
    assert "sums" in told.json()["skills"]
    # vLLM's two fields alone: nothing to teach the gate
    assert [warning["code"] for warning in told.json()["warnings"]] == ["no_examples"]
    assert text(http.post(CHAT, json=chat(SUM, "sums"))) == wanted
    assert http.get("/v1/models/sums").json()["parent"] == "base"
    assert "sums" in http.post("/v1/route", json={"prompt": SUM}).json()["scores"]
    assert "sums" in Library.open(place / "library").skills  # a restart will have it

    assert code(http.post(LOAD, json=body)) == (409, "name_taken")
    stale = {"lora_name": "sums", "expected_generation": before}
    assert code(http.post(UNLOAD, json=stale)) == (409, "generation_conflict")
    gone = http.post(UNLOAD, json={**stale, "expected_generation": before + 1})
    assert gone.status_code == 200, gone.text
    assert code(http.post(CHAT, json=chat(SUM, "sums"))) == (404, "model_not_found")
    assert code(http.post(UNLOAD, json={"lora_name": "sums"})) == (404, "model_not_found")
    assert text(http.post(CHAT, json=chat(SUM))) == wanted


def test_a_stream_on_its_way_keeps_the_skill_that_is_replaced_and_removed(
    http: httpx.Client, server: ServerProcess
) -> None:
    body = {"lora_name": "guest", "lora_path": "math", "examples": ["Guess a number"]}
    assert http.post(LOAD, json=body).status_code == 200
    long = chat("Tell me about numbers", "guest", max_tokens=300, temperature=2.0, seed=5)
    wanted = text(http.post(CHAT, json=long))
    found: list[str] = []
    begun = threading.Event()

    def stream() -> None:
        with (
            server.client() as other,
            other.stream("POST", CHAT, json={**long, "stream": True}) as got,
        ):
            for line in got.iter_lines():
                begun.set()
                found.append(line)

    thread = threading.Thread(target=stream)
    thread.start()
    assert begun.wait(30)
    replaced = http.post(LOAD, json={**body, "lora_path": "code", "load_inplace": True})
    assert replaced.status_code == 200, replaced.text
    assert http.post(UNLOAD, json={"lora_name": "guest"}).status_code == 200
    thread.join(60)
    assert found[-2] == "data: [DONE]"
    chunks = [json.loads(line[6:]) for line in found if line.startswith("data: {")]
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks) == wanted


def test_streams_go_on_while_a_gate_that_reads_layers_learns_a_skill(tmp_path: Path) -> None:
    path = copied_library(tmp_path / "library")
    shutil.copytree(path / "skills" / "math", tmp_path / "adapters" / "math")
    prompts = {name: [row.prompt for row in TASKS[name].examples("train", 40)] for name in TASKS}
    learn_from(Library.open(path), prompts, "early")
    with serving("--library", str(path), "--allow-runtime-lora") as server, server.client() as http:
        events: list[float] = []
        over = threading.Event()

        def stream() -> None:
            body = chat("Tell me more", "base", max_tokens=400, temperature=2.0, stream=True)
            with server.client() as other:
                while not over.is_set():
                    with other.stream("POST", CHAT, json=body) as got:
                        events.extend(time.monotonic() for line in got.iter_lines() if line)

        threads = [threading.Thread(target=stream) for _ in range(3)]
        for thread in threads:
            thread.start()
        while len(events) < 100:
            time.sleep(0.05)
        begun = time.monotonic()
        body = {"lora_name": "sums", "lora_path": "math", "examples": prompts["math"]}
        assert http.post(LOAD, json=body).status_code == 200
        seconds = time.monotonic() - begun
        over.set()
        for thread in threads:
            thread.join()
        times = [begun, *(at for at in sorted(events) if begun < at < begun + seconds)]
        gaps = [after - before for before, after in itertools.pairwise([*times, begun + seconds])]
        assert max(gaps) < seconds / 4
        routed = http.post("/v1/route", json={"prompt": SUM}).json()["scores"]
        assert "sums" in routed


def learn_from(library: Library, prompts: dict[str, list[str]], features: str) -> None:
    """Give the library a gate of such features, learned from these prompts."""
    base = load_base(library.base_id, "cpu")
    examples = [RoutedExample(p, {name: 1.0}) for name, own in prompts.items() for p in own]
    gate = learn_gate(base, examples, tuple(library.skills), features=features)
    with library.edit() as txn:
        for name, skill in library.skills.items():
            txn.add(name, skill.adapter(base), skill.card, gate.memories[name], replace=True)
        txn.set_gate(*gate.state())


def test_a_damaged_adapter_is_refused_and_the_library_stays_as_it_is(
    http: httpx.Client, place: Path
) -> None:
    before = Library.open(place / "library").generation
    body = {"lora_name": "broken", "lora_path": "broken"}
    assert code(http.post(LOAD, json=body)) == (400, "invalid_adapter")
    assert Library.open(place / "library").generation == before
    assert code(http.post(CHAT, json=chat(SUM, "broken"))) == (404, "model_not_found")


def test_an_adapter_that_names_another_base_is_told_of_as_add_does(http: httpx.Client) -> None:
    body = {"lora_name": "other", "lora_path": "other", "examples": ["Add 3 and 4"]}
    told = http.post(LOAD, json=body)
    assert told.status_code == 200, told.text
    (warning,) = told.json()["warnings"]
    assert warning["code"] == "other_base"
    assert "'somebody/another-model'" in warning["message"]
    assert http.post(UNLOAD, json={"lora_name": "other"}).status_code == 200


def test_an_unloaded_skill_leaves_the_gate_of_the_others_as_it_was(
    http: httpx.Client, place: Path
) -> None:
    def scores() -> dict[str, float]:
        return dict(http.post("/v1/route", json={"prompt": SUM}).json()["scores"])

    body = {"lora_name": "brief", "lora_path": "plain", "examples": ["Turn left at the mill"]}
    assert http.post(LOAD, json=body).status_code == 200
    before = scores()
    network = Library.open(place / "library").gate()
    assert http.post(UNLOAD, json={"lora_name": "brief"}).status_code == 200
    after = scores()
    kept = Library.open(place / "library").gate()
    assert set(before) - set(after) == {"brief"}
    assert network is not None
    assert kept is not None
    hidden = [name for name in kept[0] if name.startswith("network.whole")]
    assert hidden
    for name in hidden:  # nothing was fitted anew
        assert kept[0][name].equal(network[0][name])
    left = sum(value for name, value in before.items() if name != "brief")
    if network[1]["temperature"] == kept[1]["temperature"]:
        for name, value in after.items():
            assert value == pytest.approx(before[name] / left, abs=1e-4)


def test_an_expert_is_listed_as_one(http: httpx.Client) -> None:
    assert http.post(LOAD, json={"lora_name": "wise", "lora_path": "expert"}).status_code == 200
    assert http.get("/v1/models/wise").json()["loramix"]["kind"] == "expert"
    assert http.get("/v1/models/math").json()["loramix"]["kind"] == "skill"


def test_changes_at_the_same_time_all_happen(http: httpx.Client, server: ServerProcess) -> None:
    answers: list[httpx.Response] = []

    def load(number: int) -> None:
        with server.client() as other:
            body = {"lora_name": f"at-once-{number}", "lora_path": "plain"}
            answers.append(other.post(LOAD, json=body))

    threads = [threading.Thread(target=load, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [200] * 3
    listed = {model["id"] for model in http.get("/v1/models").json()["data"]}
    assert {f"at-once-{number}" for number in range(3)} <= listed


def test_the_shipped_library_takes_no_adapters() -> None:
    from loramix.errors import LibraryError
    from serve_app import client

    with pytest.raises(LibraryError, match="not to be changed"), client(allow_runtime_lora=True):
        pass
