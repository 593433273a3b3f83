"""Training by real processes: killed, stopped by Ctrl-C, and on a base of TinyLlama's size."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import ROOT
from small_disk import small_disk
from tiny_base import save_base

pytestmark = pytest.mark.slow

STEPS = 40
RUN = """
import sys
sys.path[:0] = [{src!r}, {tests!r}]
from loramix.base import load_base
from loramix.train import train_skills
from test_train import jobs, settings
base = load_base({base!r})
train_skills(base, jobs(), settings(max_steps={steps}), {out!r}, save_seconds=0)
"""
YAML = """
base: base
library: library
skills:
  cats: {data: {path: cats.jsonl}, prompt: "{q}", completion: "{a}", lora: {r: 4}}
  dogs: {data: {path: dogs.jsonl}, prompt: "{q}", completion: "{a}", lora: {r: 4}}
train: {max_steps: 60, batch_size: 8, lr: 0.01, eval_every: 10, bf16: false, patience: 0}
evaluation: {examples: 4, max_new_tokens: 4}
gate: {memory: 20}
"""


def start(*command: str, cwd: Path) -> subprocess.Popen[str]:
    """A process of its own, with this checkout's package."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, *command], cwd=cwd, env=env, stdout=pipe, stderr=pipe, text=True
    )


def wait_for(process: subprocess.Popen[str], ready: object) -> None:
    """Waits until `ready()` or the process's end."""
    deadline = time.monotonic() + 300
    while process.poll() is None and not ready() and time.monotonic() < deadline:  # type: ignore[operator]
        time.sleep(0.01)


def test_kill_9_at_any_instant_loses_nothing_but_time(tmp_path: Path) -> None:
    save_base(tmp_path / "base")

    def script(out: str) -> str:
        return RUN.format(
            src=str(ROOT / "src"),
            tests=str(ROOT / "tests"),
            base=str(tmp_path / "base"),
            steps=STEPS,
            out=str(tmp_path / out),
        )

    whole = start("-c", script("whole"), cwd=tmp_path)
    assert whole.communicate()[1] is not None
    assert whole.returncode == 0
    rng = random.Random(0)
    kills = 0
    while True:
        process = start("-c", script("cut"), cwd=tmp_path)
        before = set(tmp_path.glob("cut/checkpoint-*"))
        wait_for(process, lambda b=before: set(tmp_path.glob("cut/checkpoint-*")) - b)
        if kills < 3:
            time.sleep(rng.random() * 0.5)
            process.kill()
        _, errors = process.communicate()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, errors
        kills += 1
    losses = [json.loads((tmp_path / out / "losses.json").read_text()) for out in ("whole", "cut")]
    assert kills >= 1
    for name in ("short", "long"):
        assert losses[1][name]["train"] == pytest.approx(losses[0][name]["train"], rel=1e-6)
        looks = [[loss for _, loss in run[name]["dev"]] for run in losses]
        assert looks[1] == pytest.approx(looks[0], rel=1e-6)


def lay_out(folder: Path) -> Path:
    """A base, the data of two skills and a YAML; where the run keeps its checkpoints."""
    save_base(folder / "base", max_position_embeddings=256)
    for word in ("cat", "dog"):
        rows = [{"q": f"{word} number {i}", "a": f"{word}{i % 3}"} for i in range(60)]
        text = "\n".join(map(json.dumps, rows))
        (folder / f"{word}s.jsonl").write_text(text)
    (folder / "config.yaml").write_text(YAML)
    return folder / "library-training"


def test_a_disk_that_fills_up_while_training_costs_no_checkpoint(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64 << 20) as disk:
        training = lay_out(disk.folder)
        command = ("-m", "loramix", "train", "config.yaml", "--json")
        stopped = start(*command, cwd=disk.folder)
        wait_for(stopped, (training / "run.json").exists)
        stopped.send_signal(signal.SIGINT)
        stopped.communicate(timeout=300)
        kept = sorted(training.glob("checkpoint-*"))
        assert kept

        filler = disk.folder / "filler"
        filler.write_bytes(b"x" * shutil.disk_usage(disk.folder).free)
        full = start(*command, cwd=disk.folder)
        out, errors = full.communicate(timeout=300)
        assert full.returncode == 1, errors
        assert out == ""
        assert "Traceback" not in errors
        assert "No space left" in errors
        assert str(training) in errors
        assert sorted(training.glob("checkpoint-*")) == kept
        assert all((checkpoint / "complete").exists() for checkpoint in kept)

        filler.unlink()
        again = start(*command, cwd=disk.folder)
        out, errors = again.communicate(timeout=600)
        assert again.returncode == 0, errors
        assert json.loads(out)["skills"]["cats"]["steps"] == 60


def test_ctrl_c_keeps_a_checkpoint_exits_with_130_and_goes_on(tmp_path: Path) -> None:
    training = lay_out(tmp_path)

    stopped = start("-m", "loramix", "train", "config.yaml", "--json", cwd=tmp_path)
    wait_for(stopped, (training / "run.json").exists)
    stopped.send_signal(signal.SIGINT)
    out, errors = stopped.communicate(timeout=300)
    assert stopped.returncode == 130, errors
    assert out == ""
    assert "Traceback" not in errors
    assert "run it again to go on" in errors
    assert list(training.glob("checkpoint-*/complete"))
    assert not (tmp_path / "library").exists()

    step = max(int(p.name.partition("-")[2]) for p in training.glob("checkpoint-*"))
    again = start("-m", "loramix", "train", "config.yaml", "--json", cwd=tmp_path)
    out, errors = again.communicate(timeout=600)
    assert again.returncode == 0, errors
    result = json.loads(out)
    assert set(result["skills"]) == {"cats", "dogs"}
    assert result["skills"]["cats"]["steps"] == 60 > step
    assert result["seconds"] > 0
    assert (tmp_path / "library" / "skills" / "cats" / "adapter_model.safetensors").is_file()
    assert {entry.name for entry in training.iterdir()} == {"losses.json", "losses.png"}


@pytest.mark.alone
@pytest.mark.peer
def test_a_base_of_1b_trains_in_12_gb_and_peft_loads_the_adapter(tmp_path: Path) -> None:
    import psutil

    if psutil.virtual_memory().available < 9 << 30:
        pytest.skip("needs 9 GB of free memory")
    bench = start(str(ROOT / "benches" / "train_1b.py"), "--json", cwd=tmp_path)
    out, errors = bench.communicate(timeout=1800)
    assert bench.returncode == 0, errors
    result = json.loads(out)
    assert result["peak_rss_mb"] < 12_000
    assert result["peft_difference"] < 0.05
    assert result["losses"][-1] < result["losses"][0]
