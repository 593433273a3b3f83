"""Whatever breaks, the rest is served, the library opens, and the server starts again."""

from __future__ import annotations

import ctypes
import errno
import json
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from loramix.library import Library
from serve_app import client, code, live, soon
from serve_process import ServerProcess, chat, copied_library, serving

CHAT, LOAD = "/v1/chat/completions", "/v1/load_lora_adapter"
SUM = "What is 2 + 3?"
LONG = {"max_tokens": 400, "temperature": 2.0, "seed": 3, "stream": True}
RESTART_SECONDS = 10.0


def works(http: Any, model: str = "math") -> bool:
    return bool(http.post(CHAT, json=chat(SUM, model)).status_code == 200)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    return copied_library(tmp_path / "library")


# ── files ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fault", ["corrupted", "cut", "replaced", "deleted", "a folder"])
def test_one_bad_adapter_harms_nobody_else_and_may_be_mended(library: Path, fault: str) -> None:
    weights = library / "skills" / "code" / "adapter_model.safetensors"
    whole = weights.read_bytes()
    with client(library=library) as http:
        weights.unlink()
        if fault == "corrupted":
            weights.write_bytes(whole[:-4] + b"oops")
        elif fault == "cut":
            weights.write_bytes(whole[: len(whole) // 2])
        elif fault == "replaced":  # by weights that fit, and are another skill's
            weights.write_bytes((library / "skills" / "math" / weights.name).read_bytes())
        elif fault == "a folder":
            weights.mkdir()
        for model in ("code", "code=0.5,math=0.5"):
            answer = http.post(CHAT, json=chat(SUM, model))
            assert code(answer) == (503, "skill_unavailable")
            assert str(library) not in answer.text
        assert works(http)
        assert works(http, "auto")
        assert works(http, "base")
        if fault == "a folder":
            weights.rmdir()
        weights.write_bytes(whole)
        assert works(http, "code")
    Library.open(library).verify()


DAMAGE = ("adapter_model.safetensors", "adapter_config.json", "memory.safetensors", "skill.json")


@pytest.mark.parametrize("fault", [*DAMAGE, "no card", "no folder"])
def test_a_server_starts_beside_a_damaged_skill_and_sees_it_mended(
    library: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder, aside = library / "skills" / "code", library.parent / "code"
    shutil.copytree(folder, aside)
    if fault == "no folder":
        shutil.rmtree(folder)
    elif fault == "no card":
        (folder / "skill.json").write_text("{")
    else:
        (folder / fault).unlink()
    with client(library=library) as http:
        assert "damaged, and not served" in caplog.text
        for model in ("code", "code=0.5,math=0.5"):
            assert code(http.post(CHAT, json=chat(SUM, model))) == (503, "skill_unavailable")
        body = chat(SUM, "auto", mix={"code": 1})
        assert code(http.post(CHAT, json=body)) == (503, "skill_unavailable")
        asks = chat("Write a Python function that adds two numbers.", "auto")
        assert code(http.post(CHAT, json=asks)) == (503, "skill_unavailable")
        assert works(http)
        assert works(http, "auto")
        assert works(http, "base")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(aside, folder)
        assert soon(lambda: works(http, "code"))
    Library.open(library).verify()


def test_a_folder_that_may_not_be_read_is_damage_and_the_watch_goes_on(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, is_file = library / "skills" / "code", Path.is_file

    def refused(path: Path) -> bool:
        if path.parent == folder:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", refused)
    with client(library=library) as http:
        assert code(http.post(CHAT, json=chat(SUM, "code"))) == (503, "skill_unavailable")
        assert works(http)
        time.sleep(1.5)  # the watch looks at it again meanwhile
        monkeypatch.undo()
        assert soon(lambda: works(http, "code"))


def test_a_server_starts_beside_a_damaged_gate_and_sees_it_mended(library: Path) -> None:
    gate = next((library / "gate").glob("*.safetensors"))
    whole = gate.read_bytes()
    gate.write_bytes(whole[:-1])
    with client(library=library) as http:
        assert code(http.post(CHAT, json=chat(SUM, "auto"))) == (503, "skill_unavailable")
        assert works(http)
        gate.write_bytes(whole)
        assert soon(lambda: works(http, "auto"))


def test_what_others_change_is_seen_beside_a_damaged_skill(library: Path) -> None:
    with client(library=library) as http:
        assert works(http, "code")
        other = Library.open(library, lenient=True)
        adapter, card = other.skill("math").adapter(), other.skill("math").card
        memory = other.skill("math").memory()
        with other.edit() as txn:
            txn.add("sums", adapter, card, memory)
            (library / "skills" / "code" / "adapter_model.safetensors").unlink()
        assert soon(lambda: works(http, "sums"))
        assert works(http, "code")  # it is in memory


def test_a_skill_that_was_read_goes_on_without_its_file(library: Path) -> None:
    with client(library=library) as http:
        assert works(http, "code")
        (library / "skills" / "code" / "adapter_model.safetensors").unlink()
        assert works(http, "code")


@pytest.mark.slow
def test_skills_in_memory_do_not_hang_on_their_files_that_are_cut_or_overwritten(
    library: Path,
) -> None:
    """In a process of its own, which a page of a file that is gone would end."""
    names = ("sentiment", "math", "code", "qa")
    with serving("--library", str(library)) as server, server.client() as http:
        assert all(works(http, name) for name in names)
        said = http.post(CHAT, json=chat(SUM, "math")).json()["choices"]
        for name, content in zip(names, (b"x" * 100, b"", b"\0" * 2_000_000, b""), strict=True):
            with (library / "skills" / name / "adapter_model.safetensors").open("r+b") as file:
                file.truncate(0)
                file.write(content)
        assert works(http, "sentiment=0.4,code=0.3,qa=0.3")
        assert works(http, "math=0.5,qa=0.5")
        assert http.post(CHAT, json=chat(SUM, "math")).json()["choices"] == said


def test_what_another_process_changes_is_seen(library: Path) -> None:
    with client(library=library) as http:
        assert works(http, "code")
        other = Library.open(library)
        adapter, card = other.skill("math").adapter(), other.skill("math").card
        with other.edit() as txn:
            txn.add("code", adapter, card, other.skill("code").memory(), replace=True)
            txn.add("sums", adapter, card, other.skill("math").memory())
        assert soon(lambda: works(http, "sums"))
        said = [http.post(CHAT, json=chat(SUM, name)).json() for name in ("code", "math")]
        texts = [answer["choices"][0]["message"]["content"] for answer in said]
        assert texts[0] == texts[1]


@pytest.mark.slow
def test_a_disk_that_fails_in_the_end_leaves_the_library_as_it_is(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(library / "skills" / "math", library.parent / "adapters" / "math")
    before = Library.open(library).generation

    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with client(library=library, allow_runtime_lora=True) as http:
        body = {"lora_name": "sums", "lora_path": "math"}
        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", fails)
            assert code(http.post(LOAD, json=body)) == (507, "storage_failed")
            assert works(http)
        assert Library.open(library).generation == before
        assert http.post(LOAD, json=body).status_code == 200
        assert works(http, "sums")


# ── the engine ───────────────────────────────────────────────────────────────────────────────


def kill_engine(engine: Any) -> None:
    """End its thread from outside, wherever it is."""
    thread = engine._thread
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit)
    )


def test_an_engine_that_is_killed_is_replaced() -> None:
    with client() as http:
        found: list[tuple[int, str]] = []

        def ask() -> None:
            body = chat("Tell me more", "base", **{**LONG, "stream": False})
            found.append(code(http.post(CHAT, json={**body, "n": 8})))

        thread = threading.Thread(target=ask)
        thread.start()
        assert soon(lambda: http.app.state.engine.stats().running > 0)
        kill_engine(http.app.state.engine)
        thread.join(30)
        assert found == [(500, "model_failed")]  # nobody waits for ever
        assert soon(lambda: http.get("/health").status_code == 200)
        assert works(http)
        assert http.app.state.serving.revived == 1
        stats = http.app.state.engine.stats()
        assert (stats.running, stats.waiting) == (0, 0)


@pytest.mark.parametrize("include_usage", [False, True])
def test_a_stream_whose_engine_is_killed_ends_with_an_error_and_the_next_one_works(
    include_usage: bool,
) -> None:
    with live() as at, at.client() as http:
        engine = at.app.state.engine
        before = http.post(CHAT, json=chat(SUM, "math", seed=1)).json()["choices"]
        body = chat("Tell me more", "base", n=2, **LONG)
        if include_usage:
            body["stream_options"] = {"include_usage": True}
        with http.stream("POST", CHAT, json=body) as got:
            lines = (line for line in got.iter_lines() if line)
            begun = [next(lines) for _ in range(3)]
            kill_engine(engine)
            died = time.monotonic()
            rest = list(lines)
        assert got.status_code == 200
        assert all('"choices"' in line for line in [*begun, *rest[:-1]])
        last = json.loads(rest[-1].removeprefix("data: "))
        assert set(last) == {"error"}
        assert (last["error"]["code"], last["error"]["type"]) == ("model_failed", "server_error")
        assert soon(lambda: http.get("/health").status_code == 200)
        assert http.post(CHAT, json=chat(SUM, "math", seed=1)).json()["choices"] == before
        assert time.monotonic() - died < RESTART_SECONDS
        assert at.app.state.serving.revived == 1
        stats = engine.stats()
        assert (stats.running, stats.waiting) == (0, 0)
        with http.stream("POST", CHAT, json=chat(SUM, "math", stream=True)) as got:
            assert [line for line in got.iter_lines() if line][-1] == "data: [DONE]"


def test_an_engine_that_is_killed_while_nothing_runs_is_replaced() -> None:
    with live() as at, at.client() as http:
        assert works(http)
        kill_engine(at.app.state.engine)
        died = time.monotonic()
        works(http)  # wakes the thread, which ends; this request may be lost with it
        assert soon(lambda: at.app.state.serving.revived == 1)
        assert works(http)
        assert time.monotonic() - died < RESTART_SECONDS


# ── the process ──────────────────────────────────────────────────────────────────────────────


class Stream:
    """A stream that has begun; `lines` are what has come of it."""

    def __init__(self, server: ServerProcess) -> None:
        self.lines: list[str] = []
        self.broken = False
        begun = threading.Event()

        def read() -> None:
            body = chat("Tell me more", "base", **LONG)
            try:
                with server.client() as http, http.stream("POST", CHAT, json=body) as got:
                    for line in got.iter_lines():
                        begun.set()
                        self.lines += [line] if line else []
            except httpx.HTTPError:
                self.broken = True

        self._thread = threading.Thread(target=read)
        self._thread.start()
        assert begun.wait(30)

    def join(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()


@pytest.fixture
def adapters(library: Path) -> Path:
    shutil.copytree(library / "skills" / "math", library.parent / "adapters" / "math")
    return library.parent / "adapters"


@pytest.mark.slow
def test_sigterm_finishes_streams_and_changes_and_ends_well(library: Path, adapters: Path) -> None:
    with serving("--library", str(library), "--allow-runtime-lora") as server:
        loaded: list[int] = []

        def load() -> None:
            with server.client() as http:
                body = {"lora_name": "sums", "lora_path": "math"}
                loaded.append(http.post(LOAD, json=body).status_code)

        stream = Stream(server)
        change = threading.Thread(target=load)
        change.start()
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        stream.join()
        change.join(60)
        assert stream.lines[-1] == "data: [DONE]"
        assert loaded == [200]
        assert server.process.wait(30) == 0
        assert [line["event"] for line in server.log()][-1] == "ended"
    assert "sums" in Library.open(library).skills


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.1, 1.0, 3.0])
def test_after_sigkill_the_library_opens_and_the_server_starts_again(
    library: Path, adapters: Path, seconds: float
) -> None:
    with serving("--library", str(library), "--allow-runtime-lora") as server:
        stream = Stream(server)

        def load() -> None:
            body = {"lora_name": "sums", "lora_path": "math"}
            with server.client() as http:
                try:
                    http.post(LOAD, json=body)
                except httpx.HTTPError:
                    return

        change = threading.Thread(target=load)
        change.start()
        time.sleep(seconds)
        server.process.kill()
        stream.join()
        change.join(60)
        assert stream.broken or stream.lines[-1] == "data: [DONE]"
    Library.open(library).verify()
    with serving("--library", str(library)) as again, again.client() as http:
        assert again.seconds < RESTART_SECONDS
        assert works(http)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("file", DAMAGE)
def test_a_server_whose_skill_lost_a_file_is_restarted_with_the_rest(
    library: Path, file: str
) -> None:
    with serving("--library", str(library)) as server, server.client() as http:
        assert works(http, "code")
        (library / "skills" / "code" / file).unlink()
        server.process.kill()
    with serving("--library", str(library)) as again, again.client() as http:
        assert again.seconds < RESTART_SECONDS
        assert works(http)
        assert code(http.post(CHAT, json=chat(SUM, "code"))) == (503, "skill_unavailable")
        told = [line for line in again.log() if line["event"] == "damaged, and not served"]
        assert [line["name"] for line in told] == ["code"]


@pytest.mark.slow
def test_a_client_that_leaves_frees_its_place() -> None:
    with serving() as server, server.client() as http:
        with http.stream("POST", CHAT, json=chat("Tell me more", "base", n=8, **LONG)) as got:
            next(got.iter_lines())

        def free() -> bool:
            lines = http.get("/metrics").text.splitlines()
            return "loramix_rows_running 0.0" in lines

        assert soon(free)
        assert soon(lambda: "cancel" in json.dumps(server.log()))
