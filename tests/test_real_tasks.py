"""The YAML of five real tasks: its bars on the shipped base, and the same YAML on other bases."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import ROOT
from loramix.base import pocket_path
from loramix.bench.shapes import SHAPES, write_base
from loramix.config import load_config
from machine import SLOW, rows_a_second

EXAMPLE = ROOT / "examples" / "real_tasks.yaml"
TASKS = ("sentiment", "summarization", "math", "code", "qa")


@pytest.fixture
def data(shared: Path) -> Path:
    """The folder of the real data."""
    if not all((shared / "data" / name / "train.jsonl").is_file() for name in TASKS):
        pytest.skip(f"not all of {', '.join(TASKS)} are in {shared / 'data'}")
    return shared


def changed(shared: Path, into: Path, base: str, changes: Mapping[str, Any]) -> Path:
    """The shipped YAML with another base and with `changes`, such as {"train.max_steps": 2}."""
    config = yaml.safe_load(EXAMPLE.read_text("utf-8").replace("../../shared", str(shared)))
    for key, value in {"base": base, "library": str(into / "library"), **changes}.items():
        *parts, last = key.split(".")
        place = config
        for part in parts:
            place = place[part]
        place[last] = value
    (into / "real_tasks.yaml").write_text(yaml.safe_dump(config, sort_keys=False), "utf-8")
    return into / "real_tasks.yaml"


def only(names: Sequence[str], config: Path) -> Path:
    """The same file with these skills alone, for a test that has not the time for all."""
    settings = yaml.safe_load(config.read_text("utf-8"))
    settings["skills"] = {name: settings["skills"][name] for name in names}
    config.write_text(yaml.safe_dump(settings, sort_keys=False), "utf-8")
    return config


def trained(config: Path) -> dict[str, Any]:
    """What `loramix train CONFIG --json` says, in a process of its own."""
    return ran("train", str(config))


def ran(*command: str) -> dict[str, Any]:
    """What a command says with `--json`."""
    done = subprocess.run(
        [sys.executable, "-m", "loramix", *command, "--json"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=3000,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_the_five_tasks_are_raw_texts_with_held_out_rows() -> None:
    skills = load_config(EXAMPLE).skills
    assert tuple(skills) == TASKS
    for skill in skills.values():
        assert skill.test is not None
        assert skill.dev is None, "early stopping holds its rows out of the training data"
        words = skill.prompt.replace("{", " {").split()
        assert all(word.startswith("{") for word in words), "the gate is to read raw texts"


def test_base_is_the_only_line_that_names_a_base() -> None:
    lines = [line for line in EXAMPLE.read_text("utf-8").splitlines() if line.startswith("base:")]
    assert lines == ["base: pocket"]
    text = EXAMPLE.read_text("utf-8").replace(lines[0], "base: TinyLlama/TinyLlama-1.1B-Chat-v1.0")
    settings = yaml.safe_load(text)
    assert settings.pop("base").startswith("TinyLlama/")
    assert "pocket" not in json.dumps(settings)


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.skipif(
    not (pocket_path() / "config.json").exists(), reason="the pocket base is not built"
)
def test_film_reviews_and_questions_beat_the_base(data: Path, tmp_path: Path) -> None:
    """Two of the five and fewer questions; the whole, with its bars: benches/real_tasks.py."""
    if (speed := rows_a_second()) < SLOW:
        pytest.xfail(f"not run: a machine that trains {speed:.0f} rows a second takes ten minutes")
    less = {"skills.qa.data.limit": 800, "train.max_length": 384, "evaluation.max_new_tokens": 24}
    report = trained(only(("sentiment", "qa"), changed(data, tmp_path, "pocket", less)))
    assert report["skills"]["sentiment"]["skill"] >= 0.70
    for name, skill in report["skills"].items():
        assert skill["scored_on"] == "test"
        assert skill["n"] == 500
        assert skill["gain"]["low"] > 0, (name, skill)
    assert report["gate"]["accuracy"] >= 0.97


@pytest.mark.slow
@pytest.mark.skipif(
    not (pocket_path() / "config.json").exists(), reason="the pocket base is not built"
)
def test_two_commands_train_evaluate_and_report_the_five_tasks(data: Path, tmp_path: Path) -> None:
    """A slice of each: what the two commands at the head of the YAML do, not how well."""
    few: dict[str, Any] = {f"skills.{name}.data.limit": 24 for name in TASKS}
    few |= {f"skills.{name}.test.limit": 6 for name in TASKS}
    few |= {"train.max_steps": 2, "train.batch_size": 2, "train.grad_accum": 1}
    few |= {"evaluation.examples": 3, "evaluation.max_new_tokens": 6}
    config = changed(data, tmp_path, "pocket", few)
    trained(config)
    page = tmp_path / "report.html"
    told = ran("eval", str(config), "--report", str(page), "--cache", str(tmp_path / "answers"))
    assert list(told["tasks"]) == list(TASKS)
    assert {told["tasks"][name]["metric"] for name in TASKS} == {
        "exact", "rouge_l", "number", "identical", "f1",
    }  # fmt: skip
    text = page.read_text("utf-8")
    for anchor in ("training", "skills", "matrix", "differences", "routing", "prompts",
                   "retention", "storage", "failures", "time"):  # fmt: skip
        assert f'<section id="{anchor}">' in text
    assert text.count('class="plot"') >= 5 + 1 + 2  # losses, calibration, storage
    assert len(text.encode()) <= 3_000_000


@pytest.mark.alone
@pytest.mark.slow
def test_a_base_of_tinyllamas_shape_needs_no_other_change(data: Path, tmp_path: Path) -> None:
    """Random weights, one step, the tasks of short rows: the path of a user who changes `base`."""
    base = write_base(SHAPES["tinyllama"], tmp_path / "tinyllama")
    names = ("sentiment", "code")
    few: dict[str, Any] = {f"skills.{name}.data.limit": 20 for name in names}
    few |= {f"skills.{name}.test.limit": 4 for name in names}
    few |= {"train.max_steps": 1, "train.batch_size": 1, "train.grad_accum": 1}
    few |= {"evaluation.examples": 1, "evaluation.max_new_tokens": 2}
    config = only(names, changed(data, tmp_path, str(base), few))
    report = trained(config)
    assert set(report["skills"]) == set(names)
    assert all(skill["steps"] == 1 for skill in report["skills"].values())
    assert (tmp_path / "library" / "skills" / "code" / "adapter_model.safetensors").is_file()
    assert report["peak_rss_mb"] <= 12_000
    page = tmp_path / "report.html"
    told = ran("eval", str(config), "--limit", "1", "--report", str(page), "--no-cache")
    assert set(told["tasks"]) == set(names)
    assert '<section id="skills">' in page.read_text("utf-8")
