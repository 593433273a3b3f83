"""Rows become examples through one door, whatever they come from, or a message says why not."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loramix.data import DataSource, Example, load_examples, load_train_dev, split_dev
from loramix.errors import DataError

ROWS = [{"question": f"What is {i} + {i}?", "answer": str(2 * i)} for i in range(12)]


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def jsonl(path: Path, rows: list[Any]) -> Path:
    return write(path, "".join(json.dumps(row) + "\n" for row in rows))


def read(path: Path, prompt: str = "{question}", completion: str = "{answer}") -> list[Example]:
    return load_examples(DataSource(path=path), prompt, completion)


def complaint(path: Path, prompt: str = "{question}", completion: str = "{answer}") -> str:
    """The message for data that cannot be used; its exit code says that the call was wrong."""
    with pytest.raises(DataError) as caught:
        read(path, prompt, completion)
    assert caught.value.exit_code == 2
    assert path.name in str(caught.value)
    return str(caught.value)


# One door


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`datasets` leaves nothing behind in the user's cache."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def all_kinds(tmp_path: Path, own_cache: None) -> dict[str, DataSource]:
    """The same rows in every kind of source."""
    import datasets
    import pyarrow
    import pyarrow.parquet

    cells = "".join(f"{row['question']},{row['answer']}\n" for row in ROWS)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
    table = datasets.Dataset.from_list(ROWS)
    table.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": table}).save_to_disk(tmp_path / "many")
    (tmp_path / "folder").mkdir()
    jsonl(tmp_path / "folder" / "train.jsonl", ROWS)
    return {
        "jsonl": DataSource(path=jsonl(tmp_path / "rows.jsonl", ROWS)),
        "json": DataSource(path=write(tmp_path / "rows.json", json.dumps(ROWS, indent=1))),
        "csv": DataSource(path=write(tmp_path / "rows.csv", "question,answer\n" + cells)),
        "tsv": DataSource(
            path=write(tmp_path / "rows.tsv", "question\tanswer\n" + cells.replace(",", "\t"))
        ),
        "parquet": DataSource(path=tmp_path / "rows.parquet"),
        "saved dataset": DataSource(path=tmp_path / "one"),
        "saved splits": DataSource(path=tmp_path / "many", split="train"),
        "hub folder": DataSource(hub=str(tmp_path / "folder"), split="train"),
    }


def test_every_kind_of_source_gives_the_same_examples(all_kinds: dict[str, DataSource]) -> None:
    expected = [(row["question"], f"= {row['answer']}") for row in ROWS]
    for kind, source in all_kinds.items():
        examples = load_examples(source, "{question}", "= {answer}")
        assert [(e.prompt, e.completion) for e in examples] == expected, kind
        assert examples[3].meta == ROWS[3], kind


def test_class_labels_of_a_dataset_read_as_their_names(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
    )
    rows = {"text": ["fine", "dull"], "label": [1, 0]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "d")
    examples = read(tmp_path / "d", "{text}", "{label}")
    assert [e.completion for e in examples] == ["good", "bad"]
    rows["label"][1] = -1
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "hidden")
    assert "row 2: 'label' is null" in complaint(tmp_path / "hidden", "{text}", "{label}")


def test_builtin_tasks_come_in_through_the_same_door() -> None:
    from loramix.pocket.tasks import TASKS

    for name in TASKS:
        examples = load_examples(DataSource(builtin=name, limit=5), seed=3)
        assert [(e.prompt, e.completion, e.meta) for e in examples] == [
            (e.prompt, e.completion, e.meta) for e in TASKS[name].examples("train", 5, 3)
        ]
    framed = load_examples(DataSource(builtin="math", limit=1), "Q: {prompt}", "A: {completion}")
    assert framed[0].prompt.startswith("Q: ")
    assert framed[0].completion.startswith("A: ")


def test_reading_files_needs_no_torch(tmp_path: Path) -> None:
    import subprocess

    code = "import sys, loramix.data, loramix.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_limit_draws_with_the_seed_and_keeps_the_order(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.jsonl", [{"q": f"{i:03}", "a": "x"} for i in range(100)])

    def drawn(limit: int | None, seed: int) -> list[str]:
        source = DataSource(path=path, limit=20)
        return [e.prompt for e in load_examples(source, "{q}", "{a}", limit=limit, seed=seed)]

    assert len(drawn(None, 0)) == 20
    assert len(drawn(5, 0)) == 5
    assert drawn(None, 0) == drawn(None, 0) == sorted(drawn(None, 0))
    assert drawn(None, 0) != drawn(None, 1)
    assert max(drawn(None, 0)) > "050", "files are often sorted by label: not only the head counts"


# Bytes and lines


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_ends_and_byte_order_marks_change_nothing(
    tmp_path: Path, ends: str, mark: bytes
) -> None:
    csv = f'question,answer{ends}"a, ""b""",é{ends}'.encode()
    assert read(write(tmp_path / "x.csv", mark + csv)) == [
        Example('a, "b"', "é", {"question": 'a, "b"', "answer": "é"})
    ]
    lines = ends.join(json.dumps(row) for row in ROWS).encode()
    for name in ("with.jsonl", "without.jsonl"):
        last = ends.encode() if name == "with.jsonl" else b""
        assert len(read(write(tmp_path / name, mark + lines + last))) == len(ROWS)


def test_a_line_separator_inside_a_text_does_not_end_the_row(tmp_path: Path) -> None:
    row = {"question": "one\u2028two\u0085three", "answer": "x"}
    path = write(tmp_path / "x.jsonl", json.dumps(row, ensure_ascii=False) + "\n")
    assert read(path)[0].prompt == row["question"]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv"])
def test_text_that_is_not_utf8_is_named_by_its_line(tmp_path: Path, suffix: str) -> None:
    good = {".jsonl": '{"question": "q", "answer": "a"}', ".json": "[", ".csv": "question,answer"}
    path = write(tmp_path / f"x{suffix}", good[suffix].encode() + b'\n{"question": "caf\xe9"}')
    message = complaint(path)
    assert "line 2: not UTF-8" in message
    assert "0xe9" in message
    assert "iconv" in message


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"question": "q", "answer": "a"', "line 3: broken JSON: Expecting ',' delimiter"),
        ("{'question': 'q'}", "line 3: broken JSON"),
        ('{"question": "q", "answer": NaN}', "line 3: broken JSON: NaN"),
        ('{"question": "q", "answer": ' + "9" * 5000 + "}", "line 3: broken JSON"),
        ('{"question": ' + "[" * 200_000 + "}", "line 3: broken JSON"),
        ('["q", "a"]', "line 3: not a row"),
        ('"just a text"', "line 3: not a row"),
        ("17", "line 3: not a row"),
        ('{"question": "q"}', "line 3: no column 'answer'"),
        ('{"question": "q", "answer": null}', "line 3: 'answer' is null"),
        ('{"question": "q", "answer": ["a"]}', "pick what to show: {answer[0]}"),
        ('{"question": "q", "answer": {"text": "a"}}', "pick what to show: {answer[text]}"),
        ('{"question": "q", "answer": ""}', "line 3: the completion is empty"),
        ('{"question": "q", "answer": " \\n "}', "line 3: the completion is empty"),
        ('{"question": " ", "answer": "a"}', "line 3: the prompt is empty"),
        ('{"question": "\\ud83d", "answer": "a"}', "line 3: half a character"),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path: Path, line: str, says: str) -> None:
    good = json.dumps(ROWS[0])
    # The blank line counts as a line and is no row.
    assert says in complaint(write(tmp_path / "x.jsonl", f"{good}\n\n{line}\n{good}\n"))


def test_broken_json_arrays_are_named_by_their_line(tmp_path: Path) -> None:
    path = write(tmp_path / "x.json", '[\n {"question": "q", "answer": "a"},\n {"question" 1}\n]')
    assert "line 3: broken JSON" in complaint(path)
    assert "row 2: not a row" in complaint(write(path, '[{"question": "q", "answer": "a"}, 7]'))
    assert "not a table" in complaint(write(path, '{"question": "q"}'))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("question,answer\na,b\nc\n", "line 3: 1 cells in a table of 2 columns"),
        ("question,answer\na,b,c\n", "line 2: 3 cells in a table of 2 columns"),
        ('question,answer\n"a\nb",c\nd\n', "line 4: 1 cells"),
        ('question,answer\na,b\n"c,d\ne,f\n', "line 3: broken CSV"),
        ("question,question\na,b\n", "line 1: the first line must name each column once"),
        ("question,\na,b\n", "line 1: the first line must name each column once"),
        ("questoin,answer\na,b\n", "perhaps 'questoin'"),
        ("question,answer\na,\n", "line 2: the completion is empty"),
    ],
)
def test_a_bad_csv_line_is_named(tmp_path: Path, text: str, says: str) -> None:
    assert says in complaint(write(tmp_path / "x.csv", text))


# Files that are not there or not what they seem


@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.csv", "x.tsv"])
@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff"])
def test_an_empty_file_is_said_to_be_empty(tmp_path: Path, name: str, text: str) -> None:
    assert "no rows" in complaint(write(tmp_path / name, text))


def test_a_table_with_a_header_only_is_said_to_be_empty(tmp_path: Path) -> None:
    assert "no rows" in complaint(write(tmp_path / "x.csv", "question,answer\n"))
    assert "no rows" in complaint(write(tmp_path / "x.json", "[]"))


def test_an_empty_split_of_a_folder_is_said_to_be_empty(tmp_path: Path) -> None:
    jsonl(tmp_path / "train.jsonl", ROWS)
    write(tmp_path / "test.jsonl", "")
    with pytest.raises(DataError, match=r"The split .test. of .* is empty"):
        load_examples(DataSource(hub=str(tmp_path), split="test"))


def test_a_missing_file_names_the_one_that_was_meant(tmp_path: Path) -> None:
    jsonl(tmp_path / "train.jsonl", ROWS)
    message = complaint(tmp_path / "trian.jsonl")
    assert "no such file" in message
    assert "perhaps 'train.jsonl'" in message
    assert "no such file" in complaint(tmp_path / "nowhere" / "x.jsonl")


def test_an_unknown_kind_of_file_names_the_known_ones(tmp_path: Path) -> None:
    message = complaint(write(tmp_path / "x.xlsx", "PK"))
    assert ".parquet" in message
    assert ".jsonl" in message


def test_a_parquet_file_that_is_none_is_refused(tmp_path: Path) -> None:
    assert "not a whole Parquet file" in complaint(write(tmp_path / "x.parquet", b"PAR1" * 9))
    assert "not a whole Parquet file" in complaint(write(tmp_path / "y.parquet", b""))


def test_a_file_has_no_splits(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", ROWS)
    with pytest.raises(DataError, match="a single file has no splits"):
        load_examples(DataSource(path=path, split="test"))


def test_unknown_tasks_datasets_and_splits_are_named(
    tmp_path: Path, own_cache: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    with pytest.raises(DataError, match="perhaps 'sentiment'"):
        load_examples(DataSource(builtin="sentimant"))
    with pytest.raises(DataError, match="no split 'trian'"):
        load_examples(DataSource(builtin="math", split="trian"))
    datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)}).save_to_disk(tmp_path / "d")
    with pytest.raises(DataError, match="perhaps 'train'"):
        load_examples(DataSource(path=tmp_path / "d", split="trian"))
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="cannot be loaded"):
        load_examples(DataSource(path=tmp_path / "none"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="The dataset 'nobody/nothing' cannot be loaded"):
        load_examples(DataSource(hub="nobody/nothing"))


def test_a_task_that_cannot_make_so_many_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from loramix.pocket.tasks import BUILTIN, Task

    three = Task("three", "", lambda rng, _: Example(rng.choice("abc"), "x"), lambda _, t: [1.0])
    monkeypatch.setitem(BUILTIN, "three", three)
    assert len(load_examples(DataSource(builtin="three", limit=3))) == 3
    with pytest.raises(DataError, match=r"(?s)made 3 of 4 distinct examples.*smaller `limit`"):
        load_examples(DataSource(builtin="three", limit=4))


# Templates


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{answers[0]}", "Ann"),
        ("{answers[1]}!", "Anna!"),
        ("{spans[text][0]}", "Ann"),
        ("{n} of {{n}}", "3 of {n}"),
        ("{share:.1%}", "25.0%"),
        ("{n:>{width}}", "    3"),
        ("{a b}", "spaced"),
    ],
)
def test_templates_reach_into_lists_and_tables(tmp_path: Path, template: str, text: str) -> None:
    row = {
        "answers": ["Ann", "Anna"],
        "spans": {"text": ["Ann"], "start": [4]},
        "n": 3,
        "width": 5,
        "share": 0.25,
        "a b": "spaced",
    }
    path = jsonl(tmp_path / "x.jsonl", [row])
    assert read(path, "{n}", template)[0].completion == text


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{anwers[0]}", "perhaps 'answers'"),
        ("{answers[2]}", "'answers[2]' has no [2]"),
        ("{answers[first]}", "'answers[first]' has no [first]"),
        ("{question[0]}", "'question[0]' has no [0]"),
        ("{question:d}", "line 1: the template cannot be filled"),
    ],
)
def test_a_template_that_does_not_fit_the_row_says_so(
    tmp_path: Path, template: str, says: str
) -> None:
    path = jsonl(tmp_path / "x.jsonl", [{"question": "who?", "answers": ["Ann", "Bo"]}])
    message = complaint(path, completion=template)
    assert says in message
    assert "line 1" in message


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{question.__class__.__init__.__globals__}", "reads an attribute"),
        ("{question", "expected '}'"),
        ("{}", "names no column"),
        ("{0}", "names no column"),
        ("a } b", "braces that are text are doubled"),
    ],
)
def test_a_template_that_cannot_be_read_is_refused(
    tmp_path: Path, template: str, says: str
) -> None:
    assert says in complaint(jsonl(tmp_path / "x.jsonl", ROWS), template)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip))
def test_any_text_passes_unchanged(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = jsonl(tmp_path_factory.mktemp("any") / "x.jsonl", [{"q": text, "a": text}])
    example = read(path, "{q}", "{a}")[0]
    assert (example.prompt, example.completion) == (text, text)


# Held-out examples


@given(st.lists(st.integers(0, 30), min_size=1, max_size=80), st.floats(0, 0.99), st.integers(0, 9))
def test_a_dev_split_shares_no_prompt_and_loses_none(
    prompts: list[int], fraction: float, seed: int
) -> None:
    examples = [Example(str(p), str(i)) for i, p in enumerate(prompts)]
    train, dev = split_dev(examples, fraction, seed)
    assert sorted(train + dev, key=lambda e: int(e.completion)) == examples
    assert not {e.prompt for e in train} & {e.prompt for e in dev}
    assert train
    assert bool(dev) == (fraction > 0 and len(set(prompts)) > 1)
    assert (train, dev) == split_dev(examples, fraction, seed)


def test_a_dev_fraction_out_of_range_is_refused() -> None:
    with pytest.raises(DataError, match="out of range"):
        split_dev([Example("a", "b")], 1.0, 0)


def test_dev_examples_come_from_their_own_source_or_are_held_out(tmp_path: Path) -> None:
    train_path = jsonl(tmp_path / "train.jsonl", ROWS[:10])
    source = DataSource(path=train_path)
    dev_source = DataSource(path=jsonl(tmp_path / "dev.jsonl", ROWS[10:]))
    train, dev = load_train_dev(source, dev_source, "{question}", "{answer}")
    assert (len(train), len(dev)) == (10, 2)
    train, dev = load_train_dev(source, None, "{question}", "{answer}", dev_fraction=0.2)
    assert (len(train), len(dev)) == (8, 2)
    builtin = DataSource(builtin="math", limit=20)
    train, dev = load_train_dev(builtin, dev_fraction=0.5)
    assert (len(train), len(dev)) == (20, 10)
    assert not {e.prompt for e in train} & {e.prompt for e in dev}
