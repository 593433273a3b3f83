"""What the shipped base learns of real data: the bar of examples/real_tasks.yaml, on less of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from conftest import ROOT
from loramix.base import pocket_path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (pocket_path() / "config.json").exists(), reason="the pocket base is not built"
    ),
]


def smaller(shared: Path, into: Path) -> Path:
    """The shipped YAML with two epochs instead of three and fewer questions: 4 minutes, not 5."""
    text = (ROOT / "examples" / "real_tasks.yaml").read_text("utf-8")
    config = yaml.safe_load(text.replace("../../shared", str(shared)))
    config["library"] = str(into / "library")
    config["train"]["epochs"] = 2
    config["skills"]["qa"]["data"]["limit"] = 1500
    (into / "real_tasks.yaml").write_text(yaml.safe_dump(config), "utf-8")
    return into / "real_tasks.yaml"


def test_real_tasks_reach_their_bar(shared: Path, tmp_path: Path) -> None:
    if not (shared / "data" / "sentiment" / "train.jsonl").is_file():
        pytest.skip(f"no sentences of SST-2 in {shared}")
    done = subprocess.run(
        [sys.executable, "-m", "loramix", "train", str(smaller(shared, tmp_path)), "--json"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    skills = json.loads(done.stdout)["skills"]
    assert {skill["scored_on"] for skill in skills.values()} == {"dev"}
    assert {skill["n"] for skill in skills.values()} == {500}
    assert skills["sentiment"]["skill"] >= 0.70
    for name in ("sentiment", "qa"):
        assert skills[name]["gain"]["low"] > 0, skills[name]
