"""EleutherAI's harness runs on a library, with a task of a local file and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from loramix.errors import UsageError
from loramix.library import Library
from loramix.pocket.tasks import TASKS

lm_eval = pytest.importorskip("lm_eval")

from loramix.harness import LoramixLM, main  # noqa: E402  # after it is known that it can be

CHOICES = ["negative", "neutral", "mixed", "positive"]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task of each kind of request, on local files."""
    place = tmp_path_factory.mktemp("harness")
    rows = {
        "tone": [{"ask": e.prompt, "answer": e.completion} for e in
                 TASKS["sentiment"].examples("test", 6)],
        "sums": [{"ask": e.prompt, "answer": e.completion} for e in
                 TASKS["math"].examples("test", 6)],
    }  # fmt: skip
    for name, some in rows.items():
        text = "".join(json.dumps(row) + "\n" for row in some)
        (place / f"{name}.jsonl").write_text(text, "utf-8")

    def task(name: str, data: str, more: str) -> None:
        (place / f"{name}.yaml").write_text(
            f"""\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {place / data}.jsonl}}}}
test_split: test
doc_to_text: "{{{{ask}}}}"
{more}
""",
            "utf-8",
        )

    task("tone_choice", "tone", f"""\
output_type: multiple_choice
doc_to_choice: {CHOICES}
doc_to_target: "{{{{{CHOICES}.index(answer)}}}}"
metric_list: [{{metric: acc}}]""")  # fmt: skip
    task("sums_written", "sums", """\
output_type: generate_until
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n\\n"], max_gen_toks: 64}
metric_list: [{metric: exact_match}]""")  # fmt: skip
    task("sums_text", "sums", """\
output_type: loglikelihood_rolling
doc_to_target: "{{ask}}"
metric_list: [{metric: word_perplexity}]""")  # fmt: skip
    return place


@pytest.fixture(autouse=True)
def _offline(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def run(tasks: Path, names: list[str], **arguments: Any) -> dict[str, Any]:
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(tasks), include_defaults=False)
    found = lm_eval.simple_evaluate(
        model="loramix", model_args={"device": "cpu", **arguments}, tasks=names,
        task_manager=manager, bootstrap_iters=0,
    )  # fmt: skip
    assert found is not None
    results: dict[str, Any] = found["results"]
    return results


@pytest.mark.slow
def test_the_harness_scores_a_library_with_all_three_kinds_of_requests(tasks: Path) -> None:
    names = ["tone_choice", "sums_written", "sums_text"]
    routed = run(tasks, names)
    assert routed["tone_choice"]["acc,none"] == 1.0
    assert routed["sums_written"]["exact_match,none"] >= 0.5
    assert routed["sums_text"]["word_perplexity,none"] > 1
    base = run(tasks, ["sums_written"], mix="base")
    assert base["sums_written"]["exact_match,none"] < routed["sums_written"]["exact_match,none"]


@pytest.mark.slow
def test_the_harness_own_command_line_knows_the_model(tasks: Path, tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "loramix.harness", "run", "--model", "loramix",
        "--model_args", "mix=sentiment=0.5+math=0.5", "--device", "cpu", "--tasks", "tone_choice",
        "--include_path", str(tasks), "--output_path", str(tmp_path / "out"), "--limit", "2",
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert "tone_choice" in done.stdout
    [written] = (tmp_path / "out").rglob("results*.json")
    assert json.loads(written.read_text("utf-8"))["config"]["base"] == "pocket"


@pytest.fixture(scope="module")
def model() -> LoramixLM:
    return LoramixLM(mix="base", raw=True, device="cpu")


def asked(*args: Any) -> Any:
    return SimpleNamespace(args=args)


def test_read_as_they_stand_the_base_rates_texts_as_the_harness_own_model_does(
    model: LoramixLM,
) -> None:
    from lm_eval.models.huggingface import HFLM

    base = model._session.base
    theirs = HFLM(
        pretrained=base.model, tokenizer=base.tokenizer, batch_size=1, device="cpu",
        max_length=base.max_length,
    )  # fmt: skip
    pairs = [asked("The sum of 2 and 3 is", " 5"), asked("", "Hello there"),
             asked("one two three " * 200, " four")]  # fmt: skip
    for ours, wanted in zip(
        model.loglikelihood(pairs), theirs.loglikelihood(pairs, disable_tqdm=True), strict=True
    ):
        assert ours[0] == pytest.approx(wanted[0], abs=2e-3)
        assert ours[1] == wanted[1]
    texts = [asked("A short text."), asked("word " * 900)]
    wanted_sums = theirs.loglikelihood_rolling(texts, disable_tqdm=True)
    assert model.loglikelihood_rolling(texts)[0] == pytest.approx(wanted_sums[0], abs=2e-3)
    until = {"until": ["\n"], "max_gen_toks": 8}
    prompts = [asked("The sum of 2 and 3 is", until)]
    assert model.generate_until(prompts) == theirs.generate_until(prompts, disable_tqdm=True)


def test_a_template_that_the_harness_applied_is_not_applied_again() -> None:
    plain = LoramixLM(mix="math", device="cpu")
    ask = TASKS["math"].examples("test", 1)[0].prompt
    text = plain.apply_chat_template([{"role": "user", "content": ask}])
    until = {"max_gen_toks": 24}
    once, twice = plain.generate_until([asked(ask, until), asked(text, until)])
    assert once == twice
    one, two = plain.loglikelihood([asked(ask, " 12"), asked(text, "12")])
    assert one == pytest.approx(two)


def test_a_prompt_beyond_the_context_loses_its_beginning_and_that_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = LoramixLM(mix="math", device="cpu")
    ask = TASKS["math"].examples("test", 1)[0].prompt
    until = {"max_gen_toks": 24}
    long, short = asked("word " * 2000 + ask, until), asked(ask, until)
    assert "" not in model.generate_until([long, short])
    assert "1 of 2 prompts do not fit" in caplog.text
    rendered = model.apply_chat_template([{"role": "user", "content": "word " * 2000 + ask}])
    assert model.generate_until([asked(rendered, until)]) != [""]


def test_each_context_has_the_mix_that_the_gate_gives_it() -> None:
    routed = LoramixLM(device="cpu")
    prompts = {name: TASKS[name].examples("test", 1)[0].prompt for name in ("math", "code")}
    routed.generate_until([asked(p, {"max_gen_toks": 2}) for p in prompts.values()])
    assert {str(mix) for mix in routed.mixes.values()} == {"math=1", "code=1"}


@pytest.mark.slow
def test_the_command_line_tells_a_wrong_argument_without_a_traceback(
    tasks: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["harness", "run", "--model", "loramix", "--model_args", "libary=x", "--tasks",
                 "tone_choice", "--include_path", str(tasks)]  # fmt: skip
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert "did you mean 'library'" in told
    assert "Traceback" not in told


def test_an_argument_that_there_is_not_is_told() -> None:
    with pytest.raises(UsageError, match="did you mean 'library'"):
        LoramixLM(libary=str(Library.shipped().path))
