"""The command line as a user meets it: exit codes, what goes where, and no tracebacks."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import yaml

import loramix
from loramix import console
from loramix.adapter import LoraSettings, init_adapter, read_adapter, write_adapter
from loramix.base import Base
from loramix.cli import app
from loramix.errors import LoramixError
from tiny_base import save_base

SKILLS = ("north", "south")
COMMANDS = [
    *("demo", "init", "train", "add", "remove"),
    *("list", "show", "route", "generate", "chat"),
    *("fit-mix", "eval"),
]


class Ended(NamedTuple):
    code: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        """stdout is one JSON object on one line, and nothing else."""
        assert self.code == 0, self.err
        lines = self.out.splitlines()
        assert len(lines) == 1, self.out
        found: dict[str, Any] = json.loads(lines[0])
        return found


def run(*arguments: object, typed: str = "") -> Ended:
    """The command line in this process. A traceback would be an error of the test."""
    out, err, stdin = io.StringIO(), io.StringIO(), sys.stdin
    sys.stdin = io.StringIO(typed)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            app([str(argument) for argument in arguments], prog_name="loramix")
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        sys.stdin = stdin
    return Ended(code, out.getvalue(), err.getvalue())


def refused(ended: Ended, *words: str, code: int = 2) -> None:
    """Said once, on stderr only, with the right exit code."""
    assert ended.code == code, ended.err
    assert ended.out == ""
    assert "Traceback" not in ended.err
    for word in words:
        assert word in ended.err


def rows(skill: str, count: int = 24) -> str:
    lines = [
        {"text": f"{skill} wind number {i}, which way?", "answer": skill} for i in range(count)
    ]
    return "".join(json.dumps(line) + "\n" for line in lines)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny base, data, a YAML, and the library that `loramix train` made of it."""
    place = tmp_path_factory.mktemp("cli")
    save_base(place / "base")
    for skill in SKILLS:
        (place / f"{skill}.jsonl").write_text(rows(skill))
    config = {
        "base": "base",
        "library": "library",
        "skills": {
            skill: {
                "description": f"says {skill}",
                "data": {"path": f"{skill}.jsonl"},
                "prompt": "{text}",
                "completion": "{answer}",
                "lora": {"r": 2, "alpha": 4},
            }
            for skill in SKILLS
        },
        "gate": {"memory": 16},
        "train": {"max_steps": 2, "batch_size": 4},
        "evaluation": {"examples": 2, "max_new_tokens": 4},
    }
    (place / "config.yaml").write_text(yaml.safe_dump(config))
    trained = run("train", place / "config.yaml", "--device", "cpu", "--json").json()
    assert set(trained["skills"]) == set(SKILLS)
    assert Path(trained["library"]) == place / "library"
    assert trained["seconds"] > 0
    return place


@pytest.fixture(scope="module")
def base(place: Path) -> Base:
    return loramix.load_base(str(place / "base"), device="cpu")


@pytest.fixture
def library(place: Path) -> Iterator[Path]:
    """The library; a test that uses it must leave it as it was."""
    before = loramix.Library.open(place / "library").generation
    yield place / "library"
    assert loramix.Library.open(place / "library").generation == before


@pytest.fixture
def own_library(place: Path, tmp_path: Path) -> Path:
    """A copy of the library that a test may change."""
    return loramix.Library.open(place / "library").copy_to(tmp_path / "own").path


@pytest.fixture
def adapter(base: Base, tmp_path: Path) -> Path:
    """An adapter folder that fits the base."""
    made = init_adapter(base.model, LoraSettings(r=2, alpha=4), seed=1)
    write_adapter(made, tmp_path / "adapter")
    return tmp_path / "adapter"


def test_version_and_help_go_to_stdout() -> None:
    assert run("--version") == Ended(0, f"loramix {loramix.__version__}\n", "")
    shown = run("--help")
    assert (shown.code, shown.err) == (0, "")
    for command in [
        "demo",
        "init",
        "train",
        "add",
        "remove",
        "list",
        "show",
        "route",
        "generate",
        "chat",
    ]:
        assert command in shown.out
        assert run(command, "--help").code == 0


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (["lst"], "lst"),
        (["list", "--libary", "x"], "--libary"),
        (["route"], "PROMPT"),
        (["add", "x", "--examples", "y"], "--name"),
        (["generate", "hi", "--max-new-tokens", "0"], "max-new-tokens"),
        (["generate", "hi", "--max-new-tokens", "many"], "max-new-tokens"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_call_ends_with_2(call: list[str], word: str) -> None:
    ended = run(*call)
    assert ended.code == 2
    assert ended.out == ""
    assert word in ended.err or word.lower() in ended.err.lower()


def test_init_writes_a_config_that_it_does_not_replace_unasked(tmp_path: Path) -> None:
    target = tmp_path / "loramix.yaml"
    assert run("init", target, "--json").json() == {"path": str(target)}
    target.write_text("mine")
    refused(run("init", target), str(target), "--force")
    assert target.read_text() == "mine"
    assert run("init", target, "--force").code == 0
    assert yaml.safe_load(target.read_text())["base"] == "pocket"
    refused(run("init", tmp_path / "none" / "x.yaml"), "no such folder")


def test_list_and_show_give_the_skills(library: Path) -> None:
    assert set(run("list", "--library", library, "--json").json()["skills"]) == set(SKILLS)
    shown = run("show", "north", "--library", library, "--json").json()
    assert list(shown["skills"]) == ["north"]
    assert shown["skills"]["north"]["description"] == "says north"
    for call in (["list"], ["show", "north"]):
        ended = run(*call, "--library", library)
        assert ended.code == 0
        assert "says north" in ended.out


@pytest.mark.parametrize("router", ["gate", "keywords", "centroid", "fixed:north=0.5,south=0.5"])
def test_route_gives_scores_that_sum_to_one(library: Path, router: str) -> None:
    given = run("route", "north wind?", "--router", router, "--library", library, "--json").json()
    assert set(given["scores"]) == {*SKILLS, "base"}
    assert sum(given["scores"].values()) == pytest.approx(1, abs=1e-4)
    assert set(given["mix"]) <= set(SKILLS)
    assert given["router"] == router.partition(":")[0]
    assert given["policy"]
    assert run("route", "north wind?", "--router", router, "--library", library).code == 0


@pytest.mark.parametrize("mix", ["auto", "base", "north", "north=0.5,south=0.4"])
def test_generate_gives_text_mix_and_usage(library: Path, mix: str) -> None:
    call = ["generate", "north wind?", "--mix", mix, "--max-new-tokens", "3", "--library", library]
    given = run(*call, "--json").json()
    assert isinstance(given["text"], str)
    assert given["usage"]["prompt_tokens"] > 0
    assert 1 <= given["usage"]["completion_tokens"] <= 3
    expected = {"base": {}, "north": {"north": 1.0}}.get(mix)
    if expected is not None:
        assert given["mix"] == expected
    spoken = run(*call)
    assert spoken.code == 0
    assert spoken.out.strip() == given["text"].strip()


def test_a_prompt_can_come_from_stdin(library: Path) -> None:
    call = ["--mix", "base", "--max-new-tokens", "3", "--library", library, "--json"]
    given = run("generate", "north wind?", *call).json()
    assert run("generate", "-", *call, typed="north wind?").json() == given


def test_chat_answers_turn_by_turn_until_the_input_ends(library: Path) -> None:
    typed = "/skills\n/mix north\nwhich way?\n/mix nosuch\n/mix base\nand now?\n"
    ended = run("chat", "--max-new-tokens", "3", "--library", library, typed=typed)
    assert ended.code == 0
    assert "north" in ended.out
    assert "nosuch" in ended.out + ended.err
    assert "Traceback" not in ended.err
    assert run("chat", "--library", library, typed="/quit\nignored\n").code == 0


def test_add_and_remove_change_the_skills_and_refit_the_gate(
    own_library: Path, adapter: Path, tmp_path: Path
) -> None:
    examples = tmp_path / "west.jsonl"
    examples.write_text("".join(json.dumps({"prompt": f"west {i}"}) + "\n" for i in range(20)))
    old = read_adapter(own_library / "skills" / "north")
    call = ["add", adapter, "--name", "west", "--examples", examples, "--library", own_library]
    added = run(*call, "--json").json()
    assert set(added["skills"]) == {*SKILLS, "west"}
    assert 0 <= added["gate"]["accuracy"] <= 1
    assert loramix.Library.open(own_library).generation == added["generation"]
    new = read_adapter(own_library / "skills" / "north")
    assert all(torch.equal(old.modules[key].A, new.modules[key].A) for key in old.modules)
    scores = run("route", "west 3", "--library", own_library, "--json").json()["scores"]
    assert set(scores) == {*SKILLS, "west", "base"}

    refused(run(*call), "west")
    assert run(*call, "--replace").code == 0
    removed = run("remove", "west", "--library", own_library, "--json").json()
    assert set(removed["skills"]) == set(SKILLS)


@pytest.mark.parametrize("router", ["gate", "keywords"])
def test_route_tells_which_words_decided_and_their_credits_sum_to_the_score(
    library: Path, router: str
) -> None:
    options = ("--why", "--router", router, "--library", library)
    given = run("route", "the wind in the north?", *options, "--json").json()
    told = given["why"]["attribution"]
    assert told["score"] == pytest.approx(given["scores"][told["skill"]], abs=1e-5)
    credits = sum(credit for _, credit in told["parts"])
    assert told["start"] + credits == pytest.approx(told["score"], abs=1e-9)
    assert "".join(text for text, _ in told["parts"]) == "the wind in the north?"
    shown = run("route", "the wind in the north?", *options)
    assert shown.code == 0
    assert f"{told['skill']} {told['score']:.2f} = " in " ".join(shown.out.split())


def test_a_fitted_mix_is_saved_and_used_by_the_other_commands(
    own_library: Path, tmp_path: Path
) -> None:
    task = tmp_path / "task.jsonl"
    task.write_text(rows("north", 6).replace('"text"', '"prompt"').replace("answer", "completion"))
    call = ["fit-mix", "--examples", task, "--evaluations", "4", "--library", own_library]
    given = run(*call, "--save", "wind", "--device", "cpu", "--json").json()
    assert set(given["baselines"]) == {"base", *SKILLS, "uniform", "routed"}
    assert 0 <= given["score"] <= 1
    spoken = run(*call, "--method", "search")
    assert spoken.code == 0
    assert "routed" in spoken.out
    assert "recommended" in spoken.out
    for command in (["list"], ["show", "wind"]):
        told = run(*command, "--library", own_library)
        assert told.code == 0
        assert "wind" in told.out
    answer = ["generate", "which way?", "--max-new-tokens", "2", "--library", own_library, "--json"]
    assert run(*answer, "--mix", "wind").json()["mix"] == pytest.approx(given["mix"])
    asked = ["route", "which way?", "--router", "fixed:wind", "--library", own_library]
    assert run(*asked).code == 0
    said = run("chat", "--library", own_library, typed="/skills\n/mix wind\n")
    assert "wind: the mix" in said.out
    refused(run(*call, "--save", "wind"), "already has a mix", "loramix remove wind")
    assert run("remove", "wind", "--library", own_library, "--json").json()["mixes"] == {}


def test_eval_refuses_what_it_cannot_measure(library: Path) -> None:
    refused(run("eval", "--tasks", "maths", "--library", library), "did you mean 'math'?")
    refused(run("eval", "--library", library), "Nothing says what to measure on")
    refused(run("eval", "--tasks", "composites", "--library", library), "There is no skill named")


def test_eval_measures_a_file_and_a_mix(own_library: Path, tmp_path: Path) -> None:
    file = tmp_path / "north.jsonl"
    file.write_text(rows("north", 4))
    call = [
        *("eval", "--tasks", f"north={file}", "--prompt", "{text}", "--completion", "{answer}"),
        *("--mix", "north=0.5,south=0.5", "--systems", "base,skill", "--device", "cpu"),
        *("--library", own_library, "--cache", tmp_path / "answers", "--metric", "f1"),
    ]
    given = run(*call, "--json").json()
    assert given["tasks"]["north"].keys() >= {"base", "skill", "intervals", "n", "systems"}
    assert given["matrix"]["systems"] == ["base", "north", "mix north=0.5,south=0.5"]
    assert given["answers"]["computed"] > 0
    shown = run(*call)
    assert shown.code == 0
    assert "north" in shown.out
    assert "f1" in shown.out.split()
    assert "0 answers written" in shown.out
    refused(run(*call, "--metric", "number"), "does not fit the task 'north'")


@pytest.mark.parametrize("prompt", ["", "   \n"])
@pytest.mark.parametrize("command", ["route", "generate"])
def test_an_empty_prompt_is_refused(library: Path, command: str, prompt: str) -> None:
    refused(run(command, prompt, "--library", library, "--json"), "empty")


def test_a_prompt_that_is_not_utf_8_is_refused(library: Path) -> None:
    refused(run("route", "caf\udcff", "--library", library), "UTF-8")
    ended = subprocess.run(
        [sys.executable, "-m", "loramix", "route", "-", "--library", str(library)],
        input=b"caf\xff",
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 2
    assert b"UTF-8" in ended.stderr
    assert b"Traceback" not in ended.stderr


def test_a_prompt_longer_than_the_context_is_refused(library: Path) -> None:
    ended = run("generate", "wind " * 500, "--mix", "base", "--library", library)
    refused(ended, "at most 127, so that there is room for an answer")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (["generate", "hi", "--mix", "nort"], ["nort", "north"]),
        (["generate", "hi", "--mix", "nosuch"], ["nosuch", "south"]),
        (["generate", "hi", "--mix", "north=much"], ["north"]),
        (["generate", "hi", "--mix", "north=-1"], ["-1"]),
        (["generate", "hi", "--mix", "north=0"], ["nothing"]),
        (["generate", "hi", "--mix", "north=nan"], ["nan"]),
        (["generate", "hi", "--mix", "=,="], ["=,="]),
        (["generate", "hi", "--temperature", "1", "--top-p", "0"], ["top_p"]),
        (["generate", "hi", "--policy", "best"], ["best", "top1"]),
        (["route", "hi", "--policy", "best"], ["best", "top1"]),
        (["route", "hi", "--router", "gates"], ["gates", "gate"]),
        (["route", "hi", "--router", "fixed:nosuch"], ["nosuch"]),
        (["show", "nort"], ["nort", "north"]),
        (["remove", "nosuch"], ["nosuch"]),
        (["chat", "--mix", "nosuch"], ["nosuch"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_the_library_cannot_give_is_refused(
    library: Path, call: list[str], words: list[str]
) -> None:
    refused(run(*call, "--library", library), *words)


@pytest.mark.parametrize("command", [["list"], ["route", "hi"], ["generate", "hi"], ["chat"]])
def test_a_folder_that_is_no_library_is_refused(tmp_path: Path, command: list[str]) -> None:
    refused(run(*command, "--library", tmp_path), str(tmp_path))
    refused(run(*command, "--library", tmp_path / "none"), "none")


def test_a_library_of_a_newer_schema_is_refused(own_library: Path) -> None:
    manifest = own_library / "library.json"
    content = json.loads(manifest.read_text())
    key = next(key for key in content if "schema" in key)
    manifest.write_text(json.dumps({**content, key: 999}))
    refused(run("list", "--library", own_library), "newer")


def spoil_nothing(folder: Path) -> None:
    """An adapter that is right in itself."""


def edit_config(**changes: object) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return spoil


def edit_tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        path = folder / "adapter_model.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path, metadata={"format": "pt"})

    return spoil


def pickle_it(folder: Path) -> None:
    (folder / "adapter_model.safetensors").unlink()
    torch.save({}, folder / "adapter_model.bin")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (edit_config(use_dora=True), ["DoRA"]),
        (edit_config(peft_type="IA3"), ["IA3"]),
        (pickle_it, ["safetensors"]),
        (edit_tensors(lambda t: t.pop(min(t))), ["q_proj"]),
        (edit_tensors(lambda t: t.update(surplus=torch.zeros(2))), ["surplus"]),
        (edit_tensors(lambda t: t[min(t)].fill_(float("nan"))), ["NaN"]),
        (lambda folder: (folder / "adapter_config.json").unlink(), ["adapter_config.json"]),
        (lambda folder: (folder / "adapter_config.json").write_text("{"), ["adapter_config.json"]),
        (
            lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"rubbish"),
            ["adapter_model.safetensors"],
        ),
    ],
    ids=["dora", "ia3", "pickled", "missing", "surplus", "nan", "no-config", "no-json", "rubbish"],
)
def test_an_adapter_that_cannot_be_used_leaves_the_library_as_it_was(
    library: Path,
    place: Path,
    adapter: Path,
    spoil: Callable[[Path], object],
    words: list[str],
) -> None:
    spoil(adapter)
    call = ["add", adapter, "--name", "west", "--examples", place / "north.jsonl"]
    refused(run(*call, "--library", library, "--json"), *words)


def test_an_adapter_for_another_base_is_refused(library: Path, place: Path, tmp_path: Path) -> None:
    other = save_base(tmp_path / "other", hidden_size=48, head_dim=12)
    write_adapter(init_adapter(other.model, LoraSettings(r=2), seed=0), tmp_path / "adapter")
    call = ["add", tmp_path / "adapter", "--name", "west", "--examples", place / "north.jsonl"]
    refused(run(*call, "--library", library), "q_proj")


@pytest.mark.parametrize("name", ["auto", "base", "all", "Ünfit", "a/b", "../x", "x" * 65])
def test_a_name_that_no_skill_may_have_is_refused(
    library: Path, place: Path, adapter: Path, name: str
) -> None:
    call = ["add", adapter, "--name", name, "--examples", place / "north.jsonl"]
    refused(run(*call, "--library", library), name[:10])


def test_the_shipped_library_is_not_changed(adapter: Path, place: Path) -> None:
    refused(run("add", adapter, "--name", "west", "--examples", place / "north.jsonl"), "--library")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["none.jsonl"]),
        ("", ["no rows"]),
        (rows("north", 2) + '{"text": "broken\n', ["line 3"]),
        ('{"words": "a", "answer": "b"}\n', ["text", "words"]),
    ],
    ids=["missing", "empty", "broken", "column"],
)
def test_data_that_cannot_be_used_stops_training_before_it_starts(
    place: Path, tmp_path: Path, content: str | None, words: list[str]
) -> None:
    data = tmp_path / "none.jsonl"
    if content is not None:
        data.write_text(content)
    config = yaml.safe_load((place / "config.yaml").read_text())
    config["base"] = str(place / "base")
    config["skills"]["north"]["data"] = {"path": str(data)}
    config["skills"]["south"]["data"] = {"path": str(place / "south.jsonl")}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    refused(run("train", tmp_path / "config.yaml", "--json"), *words)
    assert not (tmp_path / "library" / "library.json").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("base: pocket\nskils: {}\n", ["skils", "skills"]),
        ("base: [\n", ["line"]),
        ("", ["empty", "loramix init"]),
        ("base: pocket\nskills: {}\n", ["skills"]),
    ],
    ids=["unknown-key", "no-yaml", "empty", "no-skills"],
)
def test_a_config_that_means_nothing_is_refused(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(text)
    refused(run("train", config), *words)
    refused(run("train", tmp_path / "nosuch.yaml"), "nosuch.yaml")


def test_training_only_a_skill_that_is_not_there_is_refused(place: Path) -> None:
    refused(run("train", place / "config.yaml", "--skill", "nort"), "nort", "north")


def test_a_base_that_is_not_there_ends_with_1(place: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((place / "config.yaml").read_text())
    for skill in SKILLS:
        config["skills"][skill]["data"] = {"path": str(place / f"{skill}.jsonl")}
    config["base"] = "./nosuch"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    refused(run("train", tmp_path / "config.yaml"), "nosuch", code=1)


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="the device is there")
def test_a_device_that_fails_gives_way_to_the_cpu_with_one_warning(place: Path) -> None:
    call = ["generate", "hi", "--max-new-tokens", "2", "--library", str(place / "library")]
    ended = subprocess.run(
        [sys.executable, "-m", "loramix", *call, "--device", "cuda", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["text"] is not None
    warned = [line for line in ended.stderr.splitlines() if line.startswith("Warning: ")]
    assert len(warned) == 1, ended.stderr
    assert "cuda" in warned[0].lower()
    assert "frozen.py" not in ended.stderr, "a user is not shown a place in the code"
    assert "Traceback" not in ended.stderr


def test_a_full_disk_is_told_whoever_found_it() -> None:
    """Writers of tensors wrap what the system said in errors of their own."""
    from safetensors import SafetensorError

    plain = OSError(28, "No space left on device", "model.bin")
    wrapped = RuntimeError("enforce fail at inline_container.cc")
    wrapped.__cause__ = plain
    rust = SafetensorError("Error while serializing: I/O error: No space left on device")
    for error in (plain, wrapped, rust):
        told = console.as_user_error(error)
        assert told is not None
        assert told.exit_code == 1
        assert "disk is full" in str(told)
    assert console.as_user_error(RuntimeError("a fault of ours")) is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_output_that_cannot_be_written_is_told_without_a_traceback(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "loramix", "init", str(tmp_path / "x.yaml"), "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ended.returncode == 1
    assert "disk is full" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr


def test_a_reader_who_has_gone_is_no_reason_to_complain() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        ended = subprocess.run(
            [sys.executable, "-m", "loramix", "--help"],
            stdout=pipe,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert ended.returncode == 1
    assert ended.stderr == b""


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "loramix", *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a test run in the background of a script inherits that Ctrl-C is ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_ctrl_c_ends_with_130_and_no_traceback() -> None:
    process = start("generate", "-")
    assert process.stdin is not None
    # More than a pipe holds: this returns once the command has begun to read its prompt.
    process.stdin.write("wind " * 50_000)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err


def test_errors_keep_their_exit_codes() -> None:
    def all_below(kind: type[LoramixError]) -> Iterator[type[LoramixError]]:
        yield kind
        for below in kind.__subclasses__():
            yield from all_below(below)

    for kind in all_below(LoramixError):
        assert kind("what").exit_code in {1, 2, 130}
        assert console.as_user_error(kind("what")).exit_code == kind.exit_code  # type: ignore[union-attr]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion_knows_the_commands(shell: str) -> None:
    asked = {"COMP_WORDS": "loramix ro", "COMP_CWORD": "1", "_TYPER_COMPLETE_ARGS": "loramix ro"}
    ended = subprocess.run(
        [sys.executable, "-c", "from loramix.cli import main; main()"],
        env={**os.environ, "_LORAMIX_COMPLETE": f"complete_{shell}", **asked}
        | ({"_TYPER_COMPLETE_FISH_ACTION": "get-args"} if shell == "fish" else {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "route" in ended.stdout
    assert "Traceback" not in ended.stderr


def test_sampling_that_changes_nothing_is_told() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        told = run("generate", " ", "--seed", "3", "--top-p", "0.5").err
        assert "Warning: --top-p and --seed without --temperature change nothing" in told
        assert "Warning" not in run("generate", " ", "--seed", "3", "--temperature", "0.5").err


def test_ctrl_c_before_the_commands_are_there_is_told_as_later_on(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt")
    call = [sys.executable, "-m", "loramix", "list"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    ended = subprocess.run(call, capture_output=True, text=True, env=env, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "Stopped.\n")
