"""Any data can be a task of `loramix eval`, and what cannot is told before a base is loaded."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from loramix.commands.eval_tasks import Reading, Wanted, parse_metrics, read_tasks
from loramix.commands.evaluate import evaluate
from loramix.config import load_config
from loramix.data.load import load_train_dev
from loramix.errors import DataError, LoramixError, UsageError
from loramix.pocket.tasks import BUILTIN, COMPOSITES, TASKS

ROWS = [{"text": f"film {i}", "label": ("good", "bad")[i % 2]} for i in range(8)]


def reading(**changes: Any) -> Reading:
    given: dict[str, Any] = {"prompt": "{text}", "completion": "{label}", "limit": 100, **changes}
    skills = given.pop("skills", list(TASKS))
    learned = skills if isinstance(skills, dict) else dict.fromkeys(skills, "")
    return Reading(learned, **given)


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def read(*items: object, **changes: Any) -> Wanted:
    return read_tasks([str(item) for item in items], reading(**changes))


def test_jsonl_csv_and_parquet_are_the_same_task(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    write_jsonl(tmp_path / "films.jsonl", ROWS)
    with (tmp_path / "films.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["text", "label"])
        writer.writeheader()
        writer.writerows(ROWS)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "films.parquet")
    found = []
    for suffix in ("jsonl", "csv", "parquet"):
        [task] = read(tmp_path / f"films.{suffix}").tasks
        assert (task.name, task.skill, task.metric.name) == ("films", None, "accuracy")
        found.append([(e.prompt, e.completion) for e in task.examples])
    assert found[0] == found[1] == found[2]


def test_a_local_dataset_folder_with_a_split(tmp_path: Path) -> None:
    import datasets

    table = datasets.Dataset.from_list(ROWS)
    datasets.DatasetDict({"train": table, "check": table.select(range(3))}).save_to_disk(
        str(tmp_path / "films")
    )
    [task] = read(f"sentiment={tmp_path / 'films'}@check").tasks
    assert (task.skill, len(task.examples)) == ("sentiment", 3)
    with pytest.raises(DataError, match="no split 'nope'"):
        read(f"{tmp_path / 'films'}@nope")


def test_an_id_of_the_hub_is_read_by_the_datasets_library(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(dataset: str, name: str | None, split: str) -> Any:
        import datasets

        asked.append((dataset, name, split))
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr("datasets.load_dataset", load)
    wanted = read("nyu-mll/glue:sst2@validation", "qa=hub:squad")
    assert asked == [("nyu-mll/glue", "sst2", "validation"), ("squad", None, "test")]
    assert [(task.name, task.skill) for task in wanted.tasks] == [("glue", None), ("qa", "qa")]


def test_a_name_says_whose_task_a_file_is(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "My Films.jsonl", ROWS)
    wanted = read(file, f"sentiment={file},math", "composites")
    assert [(t.name, t.skill) for t in wanted.tasks] == [
        ("my-films", None), ("sentiment", "sentiment"), ("math", "math"),
    ]  # fmt: skip
    assert wanted.composites
    with pytest.raises(UsageError, match="Two tasks have the name 'math'"):
        read("math", f"math={file}")


def test_a_file_with_commas_in_its_name_is_one_file(tmp_path: Path) -> None:
    [task] = read(write_jsonl(tmp_path / "a,b=c.jsonl", ROWS)).tasks
    assert task.name == "a-b-c"


def test_without_tasks_the_skills_say_what_is_measured() -> None:
    every = read()
    assert [task.name for task in every.tasks] == list(TASKS)
    assert every.composites
    few = read(skills=["math", "mine"])
    assert [task.name for task in few.tasks] == ["math"]
    assert not few.composites
    with pytest.raises(UsageError, match="Nothing says what to measure on"):
        read(skills=["mine"])


def test_a_skill_is_measured_on_the_task_that_its_card_says_it_has_learned() -> None:
    [brief] = read(skills={"math": "math_brief"}).tasks
    assert (brief.name, brief.skill) == ("math", "math")
    assert "math_brief" in brief.source
    assert [e.prompt for e in brief.examples] == [
        e.prompt for e in BUILTIN["math_brief"].examples("test", len(brief.examples))
    ]
    [named] = read("math_brief", skills={"math": "math_brief"}).tasks
    assert (named.name, named.skill) == ("math_brief", "math")
    [odd] = read(skills={"math": "text-classification"}).tasks
    assert odd.builtin == "math", "what is no task of ours says nothing"
    [other] = read(skills={"sums": "math"}).tasks
    assert (other.name, other.skill, other.builtin) == ("sums", "sums", "math")


def test_a_metric_can_be_said_for_all_and_for_one(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "films.jsonl", ROWS)
    metrics = parse_metrics(["f1,films=macro_f1"])
    wanted = read(file, "qa", metrics=metrics)
    assert [task.metric.name for task in wanted.tasks] == ["macro_f1", "f1"]


def test_the_metric_follows_from_the_whole_file_whatever_the_limit(tmp_path: Path) -> None:
    ids = [{"text": f"film {i}", "label": str(i % 3)} for i in range(60)]
    long = [{"text": f"ask {i}", "label": f"{'a word ' * (i + 1)}"} for i in range(60)]
    for rows, name in ((ids, "accuracy"), (ROWS * 4, "accuracy"), (long, "rouge_l")):
        file = write_jsonl(tmp_path / "rows.jsonl", rows)
        for limit in (1, 3, 100):
            [task] = read(file, limit=limit).tasks
            assert len(task.examples) == min(limit, len(rows))
            assert task.metric.name == name


def test_rows_that_are_no_examples_are_left_out_and_counted(tmp_path: Path) -> None:
    broken = [{"text": "x", "label": None}, {"text": " ", "label": "good"}, {"text": "y"}]
    [task] = read(write_jsonl(tmp_path / "films.jsonl", [*ROWS, *broken])).tasks
    assert len(task.examples) == len(ROWS)
    assert task.left_out == {
        "'label' is null": 1, "the prompt is empty": 1, "no column 'label'": 1,
    }  # fmt: skip


# ── refused ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"text": "x"}\n{"text": "y"}\n', "no column 'label'"),
        ("", "no rows"),
        ("\n\n", "no rows"),
        ('{"text": "x", "label"', "broken JSON"),
        ('["x", "good"]\n', "not a row"),
    ],
)
def test_a_file_that_makes_no_example_is_refused_before_the_base_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, words: str
) -> None:
    monkeypatch.setattr("loramix.base.load_base", lambda *_: pytest.fail("loaded"))
    file = tmp_path / "films.jsonl"
    file.write_text(content, "utf-8")
    with pytest.raises(DataError, match=words):
        evaluate(str(file), prompt="{text}", completion="{label}")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"question": "x", "answer": "y"}\n', "--prompt '{COLUMN}' --completion '{COLUMN}'"),
        ('{"text": "x", "label"\n', 'given:    {"text": "x", "label"'),
        (None, "check the path in --tasks "),
    ],
)
def test_what_is_wrong_with_a_file_is_told_in_words_of_the_command_line(
    tmp_path: Path, content: str | None, words: str
) -> None:
    file = tmp_path / "films.jsonl"
    if content is not None:
        file.write_text(content, "utf-8")
    with pytest.raises(DataError) as told:
        read(file)
    assert words in str(told.value)
    assert "YAML" not in str(told.value)


@pytest.mark.parametrize(
    ("item", "words"),
    [("nowhere.jsonl", "no such file"), ("no-such-thing", "no builtin task")],
)
def test_a_place_that_holds_no_task_is_told(item: str, words: str) -> None:
    with pytest.raises(LoramixError, match=words):
        read(item)


# ── a YAML ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def config(tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "films.jsonl", ROWS * 3)
    write_jsonl(tmp_path / "held.jsonl", ROWS[:4])
    path = tmp_path / "loramix.yaml"
    path.write_text(
        """\
base: pocket
library: lib
skills:
  films: {data: {path: films.jsonl}, prompt: "{text}", completion: "{label}"}
  held:
    data: {path: films.jsonl}
    dev: {path: held.jsonl}
    prompt: "{text}"
    completion: "{label}"
    metric: macro_f1
  math: {data: {builtin: math}}
blends:
  both: {skills: {math: 0.5, films: 0.5}, data: {builtin: computed_answer}}
evaluation: {examples: 5}
""",
        "utf-8",
    )
    return path


def test_the_tasks_of_a_yaml_are_what_training_held_out(config: Path) -> None:
    settings = load_config(config)
    wanted = read_tasks([], reading(skills=["films", "held", "math"], limit=5), settings)
    films, held, math, both = wanted.tasks
    own = settings.skills["films"]
    _, dev = load_train_dev(own.data, None, own.prompt, own.completion, dev_fraction=0.1, seed=0)
    assert {e.prompt for e in films.examples} <= {e.prompt for e in dev}
    assert (held.metric.name, len(held.examples)) == ("macro_f1", 4)
    assert [e.prompt for e in math.examples] == [
        e.prompt for e in TASKS["math"].examples("test", 5)
    ]
    assert (both.skill, len(both.examples)) == (None, 5)
    assert both.max_new_tokens == COMPOSITES["computed_answer"].max_new_tokens
    assert {str(mix) for mix in wanted.blends.values()} == {"films=0.5,math=0.5"}


def test_rows_that_a_yaml_keeps_for_tests_are_the_task(config: Path) -> None:
    tested = "  math: {data: {builtin: math}, test: {path: held.jsonl}, prompt: '{text}', "
    tested += "completion: '{label}'"
    text = config.read_text("utf-8").replace("  math: {data: {builtin: math}", tested)
    config.write_text(text.replace("    dev: {path: held.jsonl}", "    test: {path: held.jsonl}"))
    asked = reading(skills=["films", "held", "math"])
    for task in read_tasks(["held", "math"], asked, load_config(config)).tasks:
        assert [e.prompt for e in task.examples] == [row["text"] for row in ROWS[:4]]
        assert task.source.endswith("held.jsonl")


def test_a_skill_of_a_yaml_can_be_named_and_its_metric_changed(config: Path) -> None:
    settings = load_config(config)
    asked = reading(skills=["films", "held", "math"], limit=5, metrics={"held": "exact"})
    [task] = read_tasks(["held"], asked, settings).tasks
    assert task.metric.name == "exact"
    with pytest.raises(UsageError, match="did you mean 'films'"):
        read_tasks(["film"], asked, settings)


def test_the_help_shows_how_a_split_is_named() -> None:
    from typer.testing import CliRunner

    from loramix.cli import app

    shown = CliRunner().invoke(app, ["eval", "--help"], env={"COLUMNS": "200"}).output
    assert "ORG/DATASET[:CONFIG][@SPLIT]" in shown
