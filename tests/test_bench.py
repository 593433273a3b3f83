"""Benchmarks: every name runs for real on a tiny base, and what is not installed is said so."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from loramix import render
from loramix.base import pocket_path
from loramix.bench import BENCHES, Settings, run_bench
from loramix.bench.measure import MissingPeer, Timed, alternate
from loramix.bench.ours import base_folder, engine_run, open_base, twin
from loramix.bench.peer import Worker, worker
from loramix.bench.shapes import Shape, random_adapter, write_base
from loramix.bench.theirs import generate_run
from loramix.bench.zipf import zipf
from loramix.cli import app
from loramix.errors import UsageError
from loramix.mixed import MixedModel
from loramix.pocket.tasks import TASKS
from tiny_base import save_base

TINY = Shape(32, 48, 2, 4, 2, 512, 128, False)


def no_bar(done: float, total: float, note: str) -> None:
    """Shows nothing."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(TINY, tmp_path_factory.mktemp("bench") / "tiny")


@pytest.fixture
def settings(folder: Path, tmp_path: Path) -> Settings:
    return Settings(2, 4, 2, "fp32", str(folder), tmp_path / "nobody")


def check(result: dict[str, Any], name: str) -> None:
    """What holds for the report of every benchmark."""
    assert result["bench"] == name
    assert result["machine"]["processor"]
    assert result["machine"]["torch"] == torch.__version__
    rates, missing = result["tokens_per_second"], result["missing"]
    assert all(rate is None or rate > 0 for rate in rates.values())
    for key, (low, high) in result["spread"].items():
        assert low <= rates[key] <= high
    for key, ratio in result["ratio"].items():
        assert (ratio is None) == (key in missing), key
        assert ratio is None or ratio > 0
    assert all(missing.values())


@pytest.mark.peer
def test_mix_measures_what_is_installed_and_names_what_is_not(settings: Settings) -> None:
    result = run_bench("mix", settings, no_bar)
    check(result, "mix")
    assert set(result["ratio"]) == {"base", "peft", "vllm", "transformers"}
    assert set(result["missing"]) == {"vllm"}
    assert "benches/peers.py vllm" in result["missing"]["vllm"]
    rates = result["tokens_per_second"]
    assert rates["vllm"] is None
    assert result["ratio"]["peft"] == rates["loramix"] / rates["peft"]
    assert (result["rows"], result["tokens"], result["rounds"]) == (2, 4, 2)


def test_mix_1b_asks_for_llama_cpp(settings: Settings) -> None:
    result = run_bench("mix-1b", settings, no_bar)
    check(result, "mix-1b")
    assert set(result["ratio"]) == {"base", "llamacpp"}
    assert set(result["missing"]) == {"llamacpp"}


def test_single_compares_with_generate_and_with_the_memory(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loramix.bench.machine._STREAMED", 1 << 20)
    result = run_bench("single", settings, no_bar)
    check(result, "single")
    assert set(result["ratio"]) == {"generate"}
    assert {"fp32", "bf16"} <= set(result["share"])
    assert all(share > 0 for share in result["share"].values())
    weights = result["weights_mb"]
    assert weights["fp32"] == pytest.approx(2 * weights["bf16"], rel=0.01)


def test_zipf_loads_skills_from_a_library(settings: Settings) -> None:
    result = zipf(settings, no_bar, (16,))
    check(result, "zipf")
    assert set(result["ratio"]) == {"zipf_16"}
    assert result["resident"]["skills_8"] <= 8 < result["loads"]["skills_16"] <= 16


@pytest.mark.alone
@pytest.mark.slow
def test_memory_looks_at_a_process_of_its_own(settings: Settings) -> None:
    result = run_bench("memory", settings, no_bar)
    check(result, "memory")
    assert 50 < result["resident_mb"]["fp32"] <= result["peak_mb"]["fp32"] + 1


@pytest.fixture
def real_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Shared data that holds a text."""
    file = tmp_path / "shared" / "data" / "summarization" / "dev.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"document": "the cat sat on the mat. " * 20}) + "\n", "utf-8")
    monkeypatch.setenv("LORAMIX_SHARED", str(tmp_path / "shared"))
    return file


def test_int8_measures_what_the_weights_cost(
    settings: Settings, real_text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run_bench("int8", settings, no_bar)
    check(result, "int8")
    found = result["perplexity"]
    assert found.keys() == {"bf16", "int8"}
    assert result["ratio"]["perplexity"] == pytest.approx(found["int8"] / found["bf16"])
    assert set(result["missing"]) == {"skills"}
    assert "pocket" in result["missing"]["skills"]
    render.bench(result)
    assert f"bf16 {found['bf16']:.3f}, int8 {found['int8']:.3f}" in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, "{broken", '{"words": "a"}', "[]"])
def test_int8_says_why_it_read_no_text(
    settings: Settings, real_text: Path, content: str | None
) -> None:
    real_text.unlink()
    if content is not None:
        real_text.write_text(content, "utf-8")
    result = run_bench("int8", settings, no_bar)
    check(result, "int8")
    assert result["ratio"]["perplexity"] is None
    assert "dev.jsonl" in result["missing"]["perplexity"]


def test_int8_needs_no_shared_data(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LORAMIX_SHARED", raising=False)
    assert "LORAMIX_SHARED" in run_bench("int8", settings, no_bar)["missing"]["perplexity"]


@pytest.mark.slow
@pytest.mark.skipif(
    not (pocket_path() / "config.json").exists(), reason="the pocket base is not built"
)
def test_int8_scores_the_shipped_skills_on_both_types(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("LORAMIX_SHARED", raising=False)
    result = run_bench("int8", Settings(rows=2, tokens=8), no_bar)
    check(result, "int8")
    assert set(result["missing"]) == {"perplexity"}
    assert set(result["skills"]) == set(TASKS)
    for scores in result["skills"].values():
        assert scores.keys() == {"bf16", "int8"}
        assert all(0 <= score <= 1 for score in scores.values())
    render.bench(result)
    said = capsys.readouterr().out
    assert [name for name in TASKS if name not in said] == []


def test_each_candidate_runs_once_in_each_round_and_once_before() -> None:
    ran: list[str] = []

    def candidate(name: str, tokens: int) -> Any:
        def run() -> Timed:
            ran.append(name)
            return Timed(tokens, 2.0)

        return run

    rates, failed = alternate({"a": candidate("a", 4), "b": candidate("b", 8)}, 2, no_bar)
    assert ran == ["a", "b"] * 3
    assert rates == {"a": [2.0, 2.0], "b": [4.0, 4.0]}
    assert failed == {}


def test_a_peer_that_fails_in_a_round_loses_its_own_figures_alone() -> None:
    left = [1, 1]

    def failing() -> Timed:
        if not left:
            raise MissingPeer("out of memory")
        return Timed(left.pop(), 1.0)

    rates, failed = alternate({"peer": failing, "ours": lambda: Timed(4, 2.0)}, 3, no_bar)
    assert rates == {"ours": [2.0, 2.0, 2.0]}
    assert failed == {"peer": "out of memory"}


def test_a_base_is_one_that_is_given_or_random_weights_of_a_shape() -> None:
    with base_folder("some/base", "31m") as (id, shown):
        assert (id, shown) == ("some/base", "some/base")
    with base_folder("shape:pocket", "31m") as (id, shown):
        assert Path(id, "model.safetensors").exists()
        assert shown == "pocket, random weights"
    with pytest.raises(UsageError, match="no such shape") as caught, base_folder("shape:x", "31m"):
        pass
    assert "shape:tinyllama" in str(caught.value)


def test_candidates_write_as_many_tokens_as_were_asked_for(folder: Path) -> None:
    base = open_base(str(folder), "fp32")
    mixed = MixedModel(twin(base).model)
    mixed.add("s0", random_adapter(base, 0))
    assert engine_run(base, None, ["base"] * 3, 5)().tokens == 15
    assert generate_run(base, 3, 5)().tokens == 15


def test_a_twin_shares_weights_and_nothing_else(folder: Path) -> None:
    base = open_base(str(folder), "fp32")
    other = twin(base)
    MixedModel(other.model).add("s0", random_adapter(base, 0))
    for one, two in zip(base.model.parameters(), other.model.parameters(), strict=True):
        assert one is two
    assert not any(module._forward_hooks for module in base.model.modules())


def test_every_id_of_a_made_base_has_a_text(folder: Path) -> None:
    base = open_base(str(folder), "fp32")
    assert len(base.tokenizer) == TINY.vocabulary
    assert all(base.tokenizer.decode([id]) for id in range(3, TINY.vocabulary))


# ── peers ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_a_worker_that_fails_says_why() -> None:
    job = {"model": "no/such/base", "dtype": "fp32", "skills": 1, "rows": 1, "tokens": 1}
    with (
        pytest.raises(MissingPeer, match=r"does not run: BaseError"),
        worker(Path(sys.executable), "memory_worker", job),
    ):
        pass


def test_a_worker_that_dies_says_its_last_words() -> None:
    with pytest.raises(MissingPeer, match="No module named 'no_worker'"):
        Worker(Path(sys.executable), "no_worker", {})


# ── the command ──────────────────────────────────────────────────────────────────────────────


def test_the_command_prints_one_json_object(settings: Settings) -> None:
    call = ["bench", "mix-1b", "--json", "--rows", "1", "--tokens", "2", "--rounds", "1"]
    call += ["--base", str(settings.base), "--peers", str(settings.peers)]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.stderr
    result = json.loads(done.stdout)
    check(result, "mix-1b")
    assert result["dtype"] == "float32"


def test_a_person_reads_rates_ratios_and_what_is_missing(settings: Settings) -> None:
    call = ["bench", "mix-1b", "--rows", "1", "--tokens", "2", "--rounds", "1"]
    done = CliRunner().invoke(app, [*call, "--base", str(settings.base), "--peers", "nobody"])
    assert done.exit_code == 0, done.stderr
    assert "tokens a second" in done.stdout
    assert "missing: llamacpp" in done.stdout


def test_a_wrong_name_is_a_wrong_call() -> None:
    done = CliRunner().invoke(app, ["bench", "mixx"])
    assert done.exit_code == 2
    assert "did you mean mix" in done.stderr
    assert all(name in done.stderr for name in BENCHES)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (["mix", "--dtype", "fp7"], "no data type"),
        (["single", "--base", "no/such/base"], "base"),
        (["mix", "--tokens", "999"], "context"),
    ],
)
def test_what_cannot_be_measured_is_said(folder: Path, call: list[str], said: str) -> None:
    base = [] if "--base" in call else ["--base", str(folder)]
    done = CliRunner().invoke(app, ["bench", *call, *base])
    assert done.exit_code in (1, 2)
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_base_of_ones_own_is_measured_though_it_ends_its_texts(tmp_path: Path) -> None:
    save_base(tmp_path)
    result = run_bench("mix-1b", Settings(2, 8, 1, base=str(tmp_path), peers=tmp_path), no_bar)
    check(result, "mix-1b")
