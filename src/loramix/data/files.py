"""Rows of a data file, each with the line that it came from.

One reader a suffix. Text is UTF-8, with or without a byte order mark, with any line ends. A
reader never guesses: what it cannot read exactly is a DataError that names the line.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loramix.errors import DataError

BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Row:
    """One row of a table: its columns, and where it stands for messages about it.

    `meta` is what the example keeps beside its texts; None keeps the columns themselves.
    """

    values: dict[str, Any]
    where: str
    meta: dict[str, Any] | None = None


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file, read by the suffix of its name.

    Raises:
        DataError: no such file, no reader for it, or a line that cannot be read.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{path}: no reader for this kind of file",
            given=path.suffix or "no suffix",
            expected=", ".join(READERS),
            hint="convert it, or rename it if it is one of these",
        )
    try:
        yield from reader(path)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read",
            given=error.strerror or str(error),
            hint="check the path and who may read it",
        ) from error


def _lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file with their line ends, decoded one by one to name a bad one."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            if number == 1:
                raw = raw.removeprefix(BOM)
            try:
                yield raw.decode("utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{path}, line {number}: not UTF-8 text",
                    given=f"byte 0x{raw[error.start]:02x} at column {error.start + 1}",
                    expected="UTF-8",
                    hint=f"convert it: iconv -f LATIN1 -t UTF-8 {path.name} > fixed{path.suffix}",
                ) from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _parse(text: str, where: str, first_line: int | None = None) -> Any:
    """Strict JSON; `first_line` is given when the text is a whole file of many lines."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        place = where if first_line is None else f"{where}, line {error.lineno}"
        raise DataError(
            f"{place}: broken JSON: {error.msg} at column {error.colno}",
            given=_excerpt(error.doc.splitlines(), error.lineno),
            hint="correct or remove that line",
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: broken JSON: {error}", hint="correct or remove it") from error


def _excerpt(lines: list[str], number: int) -> str:
    # a line that ends too early is broken behind its last character, maybe on a line after it
    near = [line.strip() for line in lines[:number] if line.strip()]
    line = near[-1] if near else ""
    return line if len(line) <= 80 else line[:77] + "…"


def _row(value: Any, where: str) -> Row:
    if not isinstance(value, dict):
        raise DataError(
            f"{where}: not a row",
            given=f"{type(value).__name__}: {str(value)[:60]}",
            expected='an object with columns, such as {"prompt": "…", "completion": "…"}',
            hint="make each row a JSON object",
        )
    return Row(value, where)


def _read_jsonl(path: Path) -> Iterator[Row]:
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            where = f"{path}, line {number}"
            yield _row(_parse(line, where), where)


def _read_json(path: Path) -> Iterator[Row]:
    text = "".join(_lines(path))
    if not text.strip():
        return
    table = _parse(text, str(path), first_line=1)
    if not isinstance(table, list):
        raise DataError(
            f"{path}: not a table",
            given=type(table).__name__,
            expected="a JSON array of objects",
            hint="put the rows into one array, or one row on each line of a .jsonl file",
        )
    for number, value in enumerate(table, start=1):
        yield _row(value, f"{path}, row {number}")


def _read_csv(path: Path, delimiter: str = ",") -> Iterator[Row]:
    reader = csv.reader(_lines(path), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    start = 1
    try:
        for cells in reader:
            # A quoted cell may hold line ends: a row is named by the line that it begins on.
            where, start = f"{path}, line {start}", reader.line_num + 1
            if not cells:
                continue
            if header is None:
                header = _header(cells, where)
            elif len(cells) != len(header):
                raise DataError(
                    f"{where}: {len(cells)} cells in a table of {len(header)} columns",
                    given=delimiter.join(cells)[:80],
                    expected=", ".join(header),
                    hint="put cells that hold the separator or a line end in double quotes",
                )
            else:
                yield Row(dict(zip(header, cells, strict=True)), where)
    except csv.Error as error:
        raise DataError(
            f"{path}, line {start}: broken CSV: {error}",
            hint="look for a double quote that is never closed",
        ) from error


def _header(cells: list[str], where: str) -> list[str]:
    names = [cell.strip() for cell in cells]
    if "" in names or len(set(names)) < len(names):
        raise DataError(
            f"{where}: the first line must name each column once",
            given=", ".join(names),
            hint="give the file a header line with distinct names",
        )
    return names


def _read_tsv(path: Path) -> Iterator[Row]:
    yield from _read_csv(path, delimiter="\t")


def _read_parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for values in batch.to_pylist():
                    number += 1
                    yield Row(values, f"{path}, row {number}")
    except pyarrow.ArrowException as error:
        raise DataError(
            f"{path}: not a whole Parquet file",
            given=str(error).splitlines()[0],
            hint="write or download it again",
        ) from error


READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".parquet": _read_parquet,
}
