"""Templates: a row's columns → text, with Python's format syntax.

`"{question}"` is a column, `"{answers[0]}"` the first of a list, `"{answers[text][0]}"` the same
inside a table of columns, `"{{"` a brace. Attributes (`{a.b}`) are refused: a template says which
data to show and must not reach into Python objects.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Any

from loramix.data.files import Row
from loramix.errors import DataError, nearest

_FORMATTER = string.Formatter()


class _Columns(string.Formatter):
    """Looks fields up in a row, by our rules instead of Python's."""

    def __init__(self, row: Row) -> None:
        self.row = row

    def get_field(self, field: str, _args: Any, _columns: Any) -> tuple[Any, str]:
        return _lookup(field, self.row), field


def template_columns(template: str) -> tuple[str, ...]:
    """The columns that a template reads, in order, each once.

    Raises:
        ValueError: the template does not parse, or uses `{}`, `{0}` or `{a.b}`.
    """
    columns: dict[str, None] = {}
    for _, field, spec, _ in _FORMATTER.parse(template):
        if field is None:
            continue
        name, rest = _split(field)
        if not name or name.isdigit():
            raise ValueError(f"'{{{field}}}' names no column; write {{column}}")
        if any(is_attribute for is_attribute, _ in rest):
            raise ValueError(f"'{{{field}}}' reads an attribute; write {{column[key]}}")
        columns[name] = None
        for nested in template_columns(spec or ""):
            columns[nested] = None
    return tuple(columns)


def render(template: str, row: Row) -> str:
    """The text that a template makes of a row.

    Raises:
        DataError: the row lacks a column or an element, or holds what is no text.
    """
    try:
        text = _Columns(row).vformat(template, (), row.values)
    except ValueError as error:
        raise DataError(
            f"{row.where}: the template cannot be filled: {error}", given=template
        ) from error
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"{row.where}: half a character (a lone surrogate) in the text",
            given=ascii(text[max(error.start - 20, 0) : error.end]),
            hint="correct or remove that row",
        ) from error
    return text


def _split(field: str) -> tuple[str, list[tuple[bool, str | int]]]:
    """A field's column, then its steps as (is an attribute, key); as str.format reads it."""
    head, rest = string._string.formatter_field_name_split(field)  # type: ignore[attr-defined]
    return str(head), list(rest)


def _lookup(field: str, row: Row) -> Any:
    name, steps = _split(field)
    if name not in row.values:
        near = nearest(name, row.values)
        raise DataError(
            f"{row.where}: no column '{name}'",
            given=f"columns {', '.join(map(str, row.values)) or 'none'}",
            expected=None if near is None else f"perhaps '{near}'",
            hint="correct the column's name in the prompt or completion template, or the data",
        )
    value = row.values[name]
    for _, key in steps:
        value = _step(value, key, field, row)
    if value is None:
        raise DataError(f"{row.where}: '{field}' is null", hint="fill in or remove that row")
    if isinstance(value, bytes):
        raise DataError(f"{row.where}: '{field}' holds bytes, not text", hint="decode that column")
    if isinstance(value, list | Mapping):
        inside = "0" if isinstance(value, list) else next(iter(value), "key")
        raise DataError(
            f"{row.where}: '{field}' holds a {type(value).__name__}, not text",
            given=str(value)[:60],
            hint=f"pick what to show: {{{field}[{inside}]}}",
        )
    return value


def _step(value: Any, key: str | int, field: str, row: Row) -> Any:
    if isinstance(value, list) and isinstance(key, int):
        if key < len(value):
            return value[key]
        given = f"{len(value)} elements"
    elif isinstance(value, Mapping):
        if str(key) in value:
            return value[str(key)]
        given = f"keys {', '.join(map(str, value))}"
    else:
        given = f"{type(value).__name__}: {str(value)[:60]}"
    raise DataError(
        f"{row.where}: '{field}' has no [{key}]",
        given=given,
        hint="correct the template or that row",
    )
