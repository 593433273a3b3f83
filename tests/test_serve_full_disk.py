"""A full disk costs the change that needs it and nothing else, and is told without paths."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from loramix.library import Library
from serve_app import client, code
from serve_process import chat, copied_library
from small_disk import small_disk
from tiny_library import tree

CHAT, LOAD, UPLOAD = "/v1/chat/completions", "/v1/load_lora_adapter", "/page/upload"
MATH = {"lora_name": "sums", "lora_path": "math"}
FILES = ("adapter_config.json", "adapter_model.safetensors")
FULL = (507, "storage_failed")


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """The shipped library, with an adapter in the folder beside it."""
    path = copied_library(tmp_path / "place" / "library")
    shutil.copytree(path / "skills" / "math", path.parent / "adapters" / "math")
    return path


def works(http: Any, model: str = "math") -> bool:
    return bool(http.post(CHAT, json=chat("What is 2 + 3?", model)).status_code == 200)


def upload(http: Any, library: Path) -> Any:
    folder = library / "skills" / "math"
    files = {name: (name, (folder / name).read_bytes()) for name in FILES}
    return http.post(UPLOAD, data={"lora_name": "sums"}, files=files)


def check_refused(answer: Any, *folders: Path) -> None:
    """A refusal with a stable code, that tells what to do and not where things lie."""
    assert code(answer) == FULL, answer.text
    told = answer.json()["error"]["message"]
    assert "full" in told or "No space left" in told
    assert "free some space" in told
    for folder in (*folders, tempfile.gettempdir()):
        assert str(folder) not in answer.text


@pytest.mark.slow
def test_an_upload_that_cannot_be_kept_is_refused(
    library: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = tree(library.parent)
    with (
        small_disk(library.parent.parent / "spool", 1_200_000) as disk,
        client(library=library, allow_runtime_lora=True) as http,
    ):
        monkeypatch.setattr(tempfile, "tempdir", str(disk.folder))  # larger than what stays in RAM
        with caplog.at_level("INFO", "loramix.serve"):
            check_refused(upload(http, library), disk.folder, library.parent)
        [line] = [record for record in caplog.records if record.getMessage() == "request"]
        assert line.levelname == "ERROR"
        assert line.fields["error"] == "storage_failed"  # type: ignore[attr-defined]
        assert str(disk.folder) in caplog.text  # whoever runs the server reads it there
        assert works(http)
        assert list(disk.folder.iterdir()) == []
        assert tree(library.parent) == before
        disk.grow(50_000_000)
        assert upload(http, library).status_code == 200
        assert works(http, "sums")


@pytest.mark.parametrize("how", ["upload", "load"])
def test_an_adapter_that_cannot_be_copied_is_refused(
    library: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(library.parent)
    with small_disk(library.parent.parent / "small", 1_200_000) as disk:
        own = {"lora_dir": disk.folder} if how == "upload" else {}
        with client(library=library, allow_runtime_lora=True, **own) as http:
            if how == "upload":
                check_refused(upload(http, library), disk.folder)
            else:
                monkeypatch.setattr(tempfile, "tempdir", str(disk.folder))
                check_refused(http.post(LOAD, json=MATH), disk.folder)
            assert works(http)
        assert list(disk.folder.iterdir()) == []
    assert tree(library.parent) == before


@pytest.mark.slow
def test_a_library_on_a_full_disk_stays_as_it_is_and_can_be_changed_when_there_is_room(
    library: Path,
) -> None:
    size = sum(len(content) for content in tree(library).values())
    with small_disk(library.parent.parent / "small", size + 1_500_000) as disk:
        path = disk.folder / "library"
        shutil.copytree(library, path)
        before = tree(path)
        adapters = library.parent / "adapters"
        with client(library=path, allow_runtime_lora=True, lora_dir=adapters) as http:
            check_refused(http.post(LOAD, json=MATH), disk.folder)
            assert tree(path) == before
            assert works(http)
            assert works(http, "code")
            Library.open(path).verify()
            disk.grow(2 * size + 50_000_000)
            assert http.post(LOAD, json=MATH).status_code == 200
            assert works(http, "sums")
        Library.open(path).verify()
