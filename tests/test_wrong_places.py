"""A file where a folder is expected, and the other way round: one message, nothing written."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import pytest

from loramix.cli import app
from loramix.library import Library
from tiny_base import save_base
from tiny_library import make_library


def call(*arguments: object) -> tuple[int, str]:
    """The exit code and stderr of the command line, which writes nothing to stdout."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            app([str(argument) for argument in arguments], prog_name="loramix")
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert out.getvalue() == ""
    return code, err.getvalue()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that is no folder."""
    file = tmp_path / "c.yaml"
    file.write_text("base: pocket\n")
    return file


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("list", "-l", "{file}"), "This is a file, and a library is a folder"),
        (("list", "-l", "{file}/deeper"), "There is no such folder"),
        (("init", "{file}/x"), "needs a folder"),
        (("init", "{file}/x/y"), "needs a folder"),
        (("demo", "--out", "{file}"), "the demo writes a folder"),
        (("demo", "--out", "{file}/x"), "the demo writes a folder"),
        (("train", "."), "YAML file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_place_of_the_wrong_kind_is_told_once(
    file: Path, arguments: tuple[str, ...], told: str
) -> None:
    code, err = call(*(argument.replace("{file}", str(file)) for argument in arguments))
    assert code == 2
    assert told in err
    assert err.count("Error:") == 1
    assert file.read_text() == "base: pocket\n"


def test_a_file_is_no_adapter(file: Path, tmp_path: Path) -> None:
    library = make_library(tmp_path / "lib").path
    code, err = call("add", file, "--name", "new", "--examples", file, "-l", library)
    assert code == 2
    assert "an adapter is a folder" in err


def test_a_folder_in_the_place_of_the_manifest_is_told(tmp_path: Path) -> None:
    (tmp_path / "lib" / "library.json").mkdir(parents=True)
    code, err = call("list", "-l", tmp_path / "lib")
    assert code == 2
    assert "library.json is a folder" in err


def test_an_unknown_name_without_a_near_one_lists_those_that_are_there(tmp_path: Path) -> None:
    library: Library = make_library(tmp_path / "lib", "math", "code")
    for arguments in (("show", "zzz"), ("generate", "hi", "--mix", "zzz")):
        code, err = call(*arguments, "-l", library.path)
        assert code == 2
        assert "math" in err
        assert "code" in err
        assert "name one of them" in err
    for option in ("--router", "--policy"):
        code, err = call("generate", "hi", option, "zzz", "-l", library.path)
        assert code == 2
        assert "name one of them" in err


def config_of(folder: Path, more: str = "") -> Path:
    """A YAML of one skill on the base in `folder/base`."""
    (folder / "rows.jsonl").write_text(json.dumps({"prompt": "a", "completion": "b"}) + "\n")
    skill = f"{{data: {{path: rows.jsonl}}{more}}}"
    (folder / "c.yaml").write_text(f"base: ./base\nskills:\n  one: {skill}\n")
    return folder / "c.yaml"


def test_a_base_without_its_config_says_what_to_give(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    code, err = call("train", config_of(tmp_path))
    assert code == 1
    assert "no config.json" in err
    assert "do this:" in err


def test_target_modules_that_match_nothing_list_the_names_that_exist(tmp_path: Path) -> None:
    save_base(tmp_path / "base")
    code, err = call("train", config_of(tmp_path, ", lora: {target_modules: [nope]}"))
    assert code == 2
    assert "q_proj" in err
    assert "name some of these in target_modules" in err
