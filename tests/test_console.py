"""What goes in and out, whatever the encoding, and where a stream is closed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tiny_library import make_adapter, make_card, make_library, make_memory

SAID = "grün → 日本"
READ = "import sys; from loramix import console; console.prepare_streams()\n"
READ += "sys.stdout.buffer.write(console.read_prompt(sys.argv[1]).encode())"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library whose card says what few encodings hold."""
    library = make_library(tmp_path_factory.mktemp("console") / "lib")
    card = make_card("north").model_copy(update={"description": SAID})
    with library.edit() as txn:
        txn.add("north", make_adapter(), card, make_memory())
    return library.path


def call(*arguments: object, **changes: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        check=False,
        env={**os.environ, **changes},
    )


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii", "cp1252"])
def test_json_is_json_in_every_encoding(library: Path, encoding: str) -> None:
    ended = call(
        *("-m", "loramix", "list", "--json", "--library", library), PYTHONIOENCODING=encoding
    )
    assert ended.returncode == 0, ended.stderr
    skills = json.loads(ended.stdout.decode(encoding))["skills"]
    assert skills["north"]["description"] == SAID


def test_a_text_that_the_encoding_cannot_hold_is_written_escaped(library: Path) -> None:
    call_it = ("-m", "loramix", "show", "north", "--library", library)
    ended = call(*call_it, PYTHONIOENCODING="latin-1")
    assert ended.returncode == 0, ended.stderr
    assert "grün \\u2192 \\u65e5\\u672c" in ended.stdout.decode("latin-1")
    ended = call(*call_it[:3], "→", "--library", library, PYTHONIOENCODING="ascii")
    assert ended.returncode == 2
    assert b"\\u2192" in ended.stderr
    assert b"Traceback" not in ended.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("options", ["", "--json"])
def test_a_closed_stream_is_one_that_nobody_reads(library: Path, closed: str, options: str) -> None:
    shell = f'"$0" -m loramix list {options} --library "$1" {closed}'
    ended = subprocess.run(
        ["sh", "-c", shell, sys.executable, str(library)], capture_output=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_a_prompt_is_utf_8_whatever_the_locale() -> None:
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ended = call("-c", READ, "grüße", **plain)
    assert ended.stdout.decode() == "grüße", ended.stderr
    ended = subprocess.run(
        [sys.executable, "-c", READ, "-"],
        input="grüße".encode(),
        capture_output=True,
        check=False,
        env={**os.environ, **plain},
    )
    assert ended.stdout.decode() == "grüße", ended.stderr


@pytest.mark.parametrize("columns", ["1", "20", "80"])
def test_a_narrow_terminal_cuts_no_name(tmp_path: Path, columns: str) -> None:
    long = "a-skill-with-a-name-of-forty-characters_"
    grown = make_library(tmp_path / "lib")
    with grown.edit() as txn:
        txn.add(long, make_adapter(), make_card(long), make_memory())
    ended = call("-m", "loramix", "list", "--library", grown.path, COLUMNS=columns)
    assert long in ended.stdout.decode()
    assert "rank" in ended.stdout.decode()
