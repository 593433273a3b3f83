"""The documentation's table of errors has every code that the server can give, and no other."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from loramix import serve

ROOT = Path(__file__).resolve().parent.parent
STATUSES = range(400, 600)
OF_A_BODY = {(400, "unsupported_field"), (400, "unknown_field")}
"""Codes that the checks of a body's fields give by themselves."""

TYPES = {"authentication_error", "rate_limit_error"}
"""OpenAI's types of errors, which stand beside a status too."""


def pairs(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Each status, or name of one, before a code: in a call, a tuple, or a table of codes."""
    named = {
        target.id: node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        parts: list[ast.expr | None] = []
        if isinstance(node, ast.Call):
            parts = [*node.args]
        elif isinstance(node, ast.Tuple):
            parts = [*node.elts]
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                parts += [key, value]
        for first, second in itertools.pairwise(parts):
            status = (
                first.value if isinstance(first, ast.Constant)
                else named.get(first.id) if isinstance(first, ast.Name)
                else None
            )  # fmt: skip
            if (
                isinstance(second, ast.Constant)
                and status in STATUSES
                and isinstance(second.value, str)
                and re.fullmatch("[a-z]+(_[a-z]+)*", second.value)
                and second.value not in TYPES
            ):
                yield status, second.value


def test_the_table_of_errors_has_every_code_and_no_other() -> None:
    given = set(OF_A_BODY)
    for file in Path(serve.__file__).parent.glob("*.py"):
        given |= set(pairs(ast.parse(file.read_text("utf-8"))))
    text = (ROOT / "docs" / "serving.md").read_text("utf-8")
    table = text[text.index("## Errors") :].partition("\n## ")[0]
    rows = re.findall(r"^\| (\d{3})\b[^|]*\| (.*) \|$", table, re.MULTILINE)
    told = {(int(status), code) for status, codes in rows for code in re.findall(r"`(\w+)`", codes)}
    assert told == given
