"""The demo: small on a tiny base, whole on pocket with its bars."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loramix.adapter import LoraSettings
from loramix.base import load_base, pocket_path
from loramix.commands.demo import demo
from loramix.config import TrainConfig
from loramix.demo import DemoSettings, run_demo
from loramix.errors import LibraryError, StorageError
from loramix.evaluate.report import render_report
from loramix.gate import make_router, route
from loramix.generate import generate
from loramix.library import Library
from loramix.mix import Mix
from loramix.pocket.tasks import COMPOSITES, TASKS
from machine import SLOW, rows_a_second
from tiny_base import save_base

pocket = pytest.mark.skipif(
    not (pocket_path() / "config.json").exists(), reason="the pocket base is not built"
)


def small(base: Path) -> DemoSettings:
    """A demo of seconds: nothing is learned, everything happens."""
    return DemoSettings(
        base=str(base),
        train_examples=dict.fromkeys(TASKS, 16),
        dev_examples=4,
        train=TrainConfig(epochs=1, batch_size=8, lr=1e-3),
        lora=LoraSettings.model_validate({"r": 2}),
        gate_prompts=24,
        memory=8,
        base_examples=2,
        test_examples=3,
        test_prompts=8,
        composite_examples=2,
        blends={},
        forgetting_examples=8,
        forgetting_tests=2,
        expert="linear",
        weighed=0,
        batch_size=16,
    )


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    save_base(folder, max_position_embeddings=1024)
    return folder


@pytest.fixture(scope="module")
def ran(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("demo") / "out"
    return out, run_demo(out, seed=3, settings=small(tiny))


def test_the_result_has_the_keys_that_others_rely_on(ran: tuple[Path, dict[str, Any]]) -> None:
    out, result = ran
    assert set(result["skills"]) == set(TASKS)
    for row in result["skills"].values():
        for system in ("base", "skill", "routed"):
            assert 0 <= row[system] <= 1
            low, high = row["intervals"][system]
            assert low <= row[system] <= high
    assert 0 <= result["gate"]["accuracy"] <= 1
    assert {"name", "bar", "figure", "met"} == set(result["bars"][0])
    assert result["seconds"] > 0
    assert result["peak_rss_mb"] > 0
    assert Path(result["library"]) == out / "library"
    assert Path(result["report"]) == out / "report.html"
    json.dumps(result)


def test_the_skills_come_one_after_another_and_nothing_of_the_earlier_ones_moves(
    ran: tuple[Path, dict[str, Any]],
) -> None:
    found = ran[1]["forgetting"]
    assert found["tasks"] == list(TASKS)
    assert [list(stage) for stage in found["loramix"]] == [
        list(TASKS)[: place + 1] for place in range(len(TASKS))
    ]
    assert len(found["one_adapter"]) == len(TASKS)
    assert found["unchanged"]
    assert found["moved"] == 0
    assert set(found["base"]) == set(TASKS)


def test_all_skills_are_merged_into_one_expert_and_scored(ran: tuple[Path, dict[str, Any]]) -> None:
    kept = ran[1]["retention"]
    assert kept["method"] == "linear"
    assert set(kept["before"]) == set(kept["after"]) == set(kept["intervals"]) == set(TASKS)
    assert kept["before"] == {name: row["skill"] for name, row in ran[1]["skills"].items()}


def test_every_bar_of_the_demo_is_in_the_table(ran: tuple[Path, dict[str, Any]]) -> None:
    names = [bar["name"] for bar in ran[1]["bars"]]
    assert len(names) == len(set(names)) == 21
    assert ran[1]["seed"] == 3


def test_the_library_of_the_demo_routes_and_generates(
    ran: tuple[Path, dict[str, Any]], tiny: Path
) -> None:
    base = load_base(str(tiny), "cpu")
    library = Library.open(ran[1]["library"])
    library.check_base(base)
    library.verify()
    assert set(library.skills) == set(TASKS)
    card = library.skill("math").card
    assert card.description == TASKS["math"].description
    assert (card.task, library.skill("qa").card.task) == ("math_brief", "qa")
    assert set(card.scores) == {"base", "skill", "routed"}
    router = make_router("gate", base=base, library=library)
    [routing] = route(router, ["What is 2 + 3?"])
    assert set(routing.scores) == {*TASKS, "base"}
    generate(None, base, ["What is 2 + 3?"], Mix.base())


def test_the_full_demo_teaches_requests_in_peoples_own_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[DemoSettings | None] = []
    monkeypatch.setattr(
        "loramix.demo.run_demo", lambda out, *, settings, **_: asked.append(settings) or {}
    )
    for full in (False, True):
        demo(tmp_path, full=full)
    assert asked[0] is None
    brief, wide = DemoSettings(), asked[1]
    assert wide is not None
    assert (brief.tasks["code"].name, wide.tasks["code"].name) == ("code_brief", "code")
    assert all(wide.train_examples[name] > brief.train_examples[name] for name in TASKS)


def test_the_report_shows_the_result(ran: tuple[Path, dict[str, Any]]) -> None:
    page = (ran[0] / "report.html").read_text(encoding="utf-8")
    for heading in ("Bars", "Skills", "Routing", "Two skills at once", "Training"):
        assert f"<h2>{heading}</h2>" in page
    assert page.count("16 examples from its generator, epochs: 1<small") == len(TASKS)
    assert page.count("rank 2, ") == len(TASKS)
    assert render_report(ran[1])


def test_what_is_left_is_the_library_the_report_and_the_losses(
    ran: tuple[Path, dict[str, Any]],
) -> None:
    left = {path.name for path in ran[0].iterdir()}
    assert left == {"library", "report.html", "losses.json", "losses.png"}


@pytest.mark.slow
def test_a_second_demo_replaces_the_first_one_in_one_change(
    ran: tuple[Path, dict[str, Any]], tiny: Path
) -> None:
    before = Library.open(ran[1]["library"]).generation
    again = run_demo(ran[0], seed=3, settings=small(tiny))
    assert Library.open(again["library"]).generation == before + 1
    same = {name: row["skill"] for name, row in again["skills"].items()}
    assert same == {name: row["skill"] for name, row in ran[1]["skills"].items()}


@pytest.mark.slow
def test_skills_go_on_from_what_they_are_to_learn_to_blend(
    ran: tuple[Path, dict[str, Any]], tiny: Path, tmp_path: Path
) -> None:
    blended = replace(
        small(tiny),
        blends=dict.fromkeys(COMPOSITES, 8),
        kept_examples=dict.fromkeys(TASKS, 8),
    )
    result = run_demo(tmp_path / "out", seed=3, settings=blended)
    skills = Library.open(result["library"]).skills
    for name, row in result["training"].items():
        first = ran[1]["training"][name]
        assert row["losses"][: len(first["losses"])] == first["losses"]
        assert row["steps"] > first["steps"]
        assert row["tokens"] > first["tokens"]
        assert len(row["losses"]) == row["steps"]
        data = skills[name].card.provenance["data"]
        assert "16 examples from its generator, epochs: 1; then in one pass 8 more and" in data
    assert "8 of code_and_math, 8 of computed_answer" in result["training"]["math"]["data"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "library", "report.html", "losses.json", "losses.png",
    }  # fmt: skip


def test_a_library_that_is_not_the_demos_stays_as_it_is(tiny: Path, tmp_path: Path) -> None:
    Library.create(tmp_path / "library", "another", "f" * 64)
    with pytest.raises(LibraryError, match="another library"):
        run_demo(tmp_path, settings=small(tiny))
    assert Library.open(tmp_path / "library").base_id == "another"
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "library").mkdir()
    (tmp_path / "notes" / "library" / "diary.txt").write_text("mine")
    with pytest.raises(LibraryError):
        run_demo(tmp_path / "notes", settings=small(tiny))
    assert (tmp_path / "notes" / "library" / "diary.txt").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_said_before_any_work(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    start = time.monotonic()
    with pytest.raises(StorageError):
        run_demo(tmp_path / "file" / "out", settings=small(tiny))
    assert time.monotonic() - start < 5


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "loramix", "demo", *arguments]


@pytest.mark.alone
@pocket
@pytest.mark.slow
def test_the_demo_reaches_its_bars(tmp_path: Path) -> None:
    if (speed := rows_a_second()) < SLOW:
        pytest.xfail(
            f"not run: this machine trains {speed:.0f} rows a second, and the bar of "
            f"{DemoSettings().seconds:.0f} s is one of cores that train {SLOW} and more"
        )
    done = subprocess.run(
        command("--out", str(tmp_path / "demo"), "--json", "--device", "cpu"),
        capture_output=True,
        text=True,
        timeout=3600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout)
    missed = [b for b in result["bars"] if not b["met"]]
    late = [b for b in missed if b["name"] == "the whole demo, seconds"]
    assert [b for b in missed if b not in late] == []
    assert Path(result["report"]).stat().st_size > 50_000
    load = max(os.getloadavg()[:2])
    if late and load > 3:  # the demo's own two processors, and somebody else's
        pytest.xfail(
            f"all other bars are met, but it took {late[0]['figure']} s beside other work "
            f"(load {load:.1f}): the bar of {late[0]['bar']} s is one of two idle cores"
        )
    settings = DemoSettings()
    rows = sum(settings.train_examples.values()) * settings.train.epochs
    speed = rows / result["phases"]["train five skills"]
    if late and speed < SLOW:  # a try of seconds may have been luckier than the whole
        pytest.xfail(
            f"all other bars are met, but it took {late[0]['figure']} s on a machine that trains "
            f"{speed:.0f} rows a second: the bar of {late[0]['bar']} s is one of cores that "
            f"train {SLOW} and more"
        )
    assert late == []


def stopped(out: Path, ready: Callable[[str], bool], seconds: float) -> tuple[int, int]:
    """A demo that gets a Ctrl-C some seconds after `ready(stderr)`.

    Returns:
        The step after which it stopped, and how many steps there are.
    """
    said = out.with_name("stderr")
    with said.open("w") as stderr:
        process = subprocess.Popen(
            command("--out", str(out), "--json", "--device", "cpu"),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            # a test run in the background of a script inherits that Ctrl-C is ignored
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        deadline = time.monotonic() + 300
        while not ready(said.read_text()) and time.monotonic() < deadline:
            assert process.poll() is None, said.read_text()[-2000:]
            time.sleep(0.1)
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        stdout, _ = process.communicate(timeout=120)
    errors = said.read_text()
    assert process.returncode == 130, errors[-2000:]
    assert stdout == ""
    assert "Traceback" not in errors
    told = re.search(r"Stopped after step (\d+) of (\d+)", errors)
    assert told, errors[-2000:]
    return int(told[1]), int(told[2])


@pocket
@pytest.mark.slow
def test_ctrl_c_keeps_a_checkpoint_and_the_next_run_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    training = out / "training"

    def sealed() -> int:
        """The steps of the latest checkpoints of all processes."""
        latest: dict[Path, int] = {}
        for mark in training.glob("**/checkpoint-*/complete"):
            step = int(mark.parent.name.removeprefix("checkpoint-"))
            latest[mark.parents[1]] = max(step, latest.get(mark.parents[1], 0))
        return sum(latest.values())

    first, total = stopped(out, lambda _: (training / "run.json").exists(), 15)
    assert 3 < first < total
    assert sealed() == first
    assert Library.open(out / "library").skills == {}
    # a run that started over would be at one of its first steps by now
    second, total_again = stopped(out, lambda stderr: "train five skills" in stderr, 8)
    assert total_again == total
    assert first < second < total
    assert sealed() == second
