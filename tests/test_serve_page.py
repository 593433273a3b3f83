"""The page: what the server gives to it, and, in a real browser, what a person can do with it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from loramix.library import Library
from loramix.serve import page as page_module
from serve_app import client
from serve_process import copied_library

KEY = "a-key-of-the-test"
STATIC = Path(page_module.__file__).parent / "static"
REPORT = "<!doctype html><title>figures</title><h1 style='color:teal'>the figures</h1>"


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A server without keys that takes adapters and has a report beside its library."""
    folder = tmp_path_factory.mktemp("open")
    (folder / "report.html").write_text(REPORT)
    (folder / "adapters").mkdir()
    library = copied_library(folder / "library")
    with client(library=library, allow_runtime_lora=True) as made:
        yield made


@pytest.fixture(scope="module")
def closed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A server with a key and a report, which takes no adapters."""
    report = tmp_path_factory.mktemp("closed") / "figures.html"
    report.write_text(REPORT)
    with client(api_keys=(KEY,), report=report) as made:
        yield made


# ── what the server gives ────────────────────────────────────────────────────────────────────────


def test_the_page_may_run_and_reach_nothing_but_its_own_server(open_server: TestClient) -> None:
    for path in ("/", *(f"/page/{file.name}" for file in STATIC.iterdir())):
        answer = open_server.get(path)
        assert answer.status_code == 200, path
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_files_of_the_page_name_no_other_host_and_write_no_markup() -> None:
    markup = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|\bstyle=")
    for file in STATIC.iterdir():
        text = file.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"(https?:)?//[a-z]+\.", text), file.name
        assert not markup.search(text), file.name
        assert len(text.splitlines()) <= 400, file.name


def test_every_file_that_the_page_names_is_there(open_server: TestClient) -> None:
    named = set(re.findall(r'"page/([\w.]+)"', (STATIC / "index.html").read_text("utf-8")))
    for file in STATIC.glob("*.js"):
        named |= set(re.findall(r'from "\./([\w.]+)"', file.read_text("utf-8")))
    assert {"app.js", "page.css", "chat.js"} <= named
    assert all(open_server.get(f"/page/{name}").status_code == 200 for name in named)


def test_a_file_that_has_not_changed_is_not_sent_again(open_server: TestClient) -> None:
    tag = open_server.get("/").headers["etag"]
    assert open_server.get("/", headers={"if-none-match": tag}).status_code == 304


def test_the_page_is_told_how_much_it_may_ask_for(tmp_path: Path) -> None:
    with client(library=copied_library(tmp_path / "library"), max_tokens=64) as bounded:
        assert bounded.get("/page/limits").json() == {"max_tokens": 64, "context": 512}
    with client(library=copied_library(tmp_path / "other")) as plain:  # 1024, and no more room
        assert plain.get("/page/limits").json() == {"max_tokens": 512, "context": 512}


@pytest.mark.parametrize(
    "path", ["/page/none.js", "/page/..%2fpage.py", "/page/%2e%2e/page.py", "/page//etc/passwd"]
)
def test_nothing_beside_the_page_can_be_asked_for(open_server: TestClient, path: str) -> None:
    answer = open_server.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]["message"]


def test_the_report_is_shown_in_a_sandbox(open_server: TestClient) -> None:
    answer = open_server.get("/report")
    assert "the figures" in answer.text
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "script" not in answer.headers["content-security-policy"]


def test_without_a_report_it_says_how_to_get_one(tmp_path: Path) -> None:
    with client(library=copied_library(tmp_path / "library")) as bare:
        answer = bare.get("/report")
        assert answer.status_code == 404
        assert "--report" in answer.json()["error"]["message"]
        assert bare.post("/page/report").status_code == 404


def test_with_a_key_the_page_is_open_and_the_report_needs_it(closed_server: TestClient) -> None:
    keyed = {"authorization": f"Bearer {KEY}"}
    assert closed_server.get("/").status_code == 200
    assert closed_server.get("/report").status_code == 401
    assert closed_server.post("/page/report").status_code == 401
    assert closed_server.get("/report", headers=keyed).status_code == 200
    url = closed_server.post("/page/report", headers=keyed).json()["url"]
    assert "the figures" in closed_server.get(f"/{url}").text


@pytest.mark.parametrize("ticket", ["", "1.", "99999999999.00", "x.y", "é", "1" * 5000])
def test_a_ticket_that_the_server_did_not_make_shows_nothing(
    closed_server: TestClient, ticket: str
) -> None:
    assert closed_server.get("/page/report", params={"ticket": ticket}).status_code == 403


def test_a_ticket_ends(closed_server: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    url = closed_server.post("/page/report", headers={"authorization": f"Bearer {KEY}"}).json()[
        "url"
    ]
    later = time.time() + page_module.TICKET_SECONDS + 1
    monkeypatch.setattr(page_module.time, "time", lambda: later)
    assert closed_server.get(f"/{url}").status_code == 403


# ── an adapter through the page ──────────────────────────────────────────────────────────────────


def adapter_files(skill: str = "math") -> dict[str, tuple[str, bytes]]:
    folder = Library.shipped().path / "skills" / skill
    names = ("adapter_config.json", "adapter_model.safetensors")
    return {name: (name, (folder / name).read_bytes()) for name in names}


@pytest.mark.slow
def test_an_uploaded_adapter_is_a_skill_at_once_and_nothing_else_stays(
    open_server: TestClient,
) -> None:
    form = {"lora_name": "sums", "description": "adds", "examples": "What is 1+1?\n\nAdd 2 and 3."}
    answer = open_server.post("/page/upload", data=form, files=adapter_files())
    assert answer.status_code == 200, answer.text
    skills = {skill["name"]: skill for skill in open_server.get("/v1/skills").json()["skills"]}
    assert skills["sums"]["description"] == "adds"
    library = open_server.app.state.library  # type: ignore[attr-defined]
    assert list((library.path.parent / "adapters").iterdir()) == []
    said = open_server.post(
        "/v1/chat/completions",
        json={"model": "sums", "messages": [{"role": "user", "content": "What is 3 + 4?"}]},
    )
    assert said.json()["loramix"]["mix"] == {"sums": 1.0}
    gone = open_server.post("/v1/unload_lora_adapter", json={"lora_name": "sums"})
    assert gone.status_code == 200


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"lora_name": "../up"}, "name"),
        ({"lora_name": ""}, "name"),
        ({"adapter_model.safetensors": b"no tensors"}, "safetensors"),
        ({"adapter_config.json": b"{}"}, ""),
        ({"adapter_model.safetensors": None}, "adapter_model.safetensors"),
        ({"description": "x" * 5000}, "description"),
        ({"more": "x"}, "fields"),
    ],
    ids=["path as name", "no name", "weights", "config", "no file", "long text", "a field more"],
)
def test_a_wrong_upload_is_refused_in_words_and_leaves_nothing(
    open_server: TestClient, change: dict[str, Any], told: str
) -> None:
    files = adapter_files()
    form = {"lora_name": "wrong", "examples": "one\ntwo"}
    for name, value in change.items():
        if "." not in name:
            form[name] = value
        elif value is None:
            del files[name]
        else:
            files[name] = (name, value)
    answer = open_server.post("/page/upload", data=form, files=files)
    assert 400 <= answer.status_code < 500
    assert told in answer.json()["error"]["message"]
    library = open_server.app.state.library  # type: ignore[attr-defined]
    assert list((library.path.parent / "adapters").iterdir()) == []
    names = [skill["name"] for skill in open_server.get("/v1/skills").json()["skills"]]
    assert "wrong" not in names


@pytest.mark.parametrize(
    "headers",
    [{"sec-fetch-site": "cross-site"}, {"origin": "http://elsewhere.example"}, {"origin": "null"}],
    ids=["said by the browser", "of another origin", "of a hidden origin"],
)
def test_no_other_site_can_upload_through_a_visitor(
    open_server: TestClient, headers: dict[str, str]
) -> None:
    answer = open_server.post(
        "/page/upload", data={"lora_name": "x"}, files=adapter_files(), headers=headers
    )
    assert answer.status_code == 403


def test_an_upload_has_a_bound(open_server: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "UPLOAD_BYTES", 100_000)
    answer = open_server.post("/page/upload", data={"lora_name": "x"}, files=adapter_files())
    assert answer.status_code == 413


def test_without_leave_nothing_is_uploaded(closed_server: TestClient) -> None:
    answer = closed_server.post(
        "/page/upload",
        data={"lora_name": "x"},
        files=adapter_files(),
        headers={"authorization": f"Bearer {KEY}"},
    )
    assert answer.status_code in (403, 404)
