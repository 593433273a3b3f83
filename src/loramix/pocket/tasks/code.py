"""Writes a small Python function for an instruction; scored by running it against tests."""

from __future__ import annotations

import ast
import random
from collections.abc import Sequence

from loramix.data import Example
from loramix.pocket.sandbox import run_many
from loramix.pocket.tasks.phrasing import request
from loramix.pocket.tasks.programs import draw_program
from loramix.pocket.tasks.task import Task
from loramix.pocket.words import Split, phrases

ASK = phrases("""
~Write a [Python/python/small Python] function that returns {x}.
~[Write/Create/Make] a function that [returns/gives] {x}.
~Write Python code [for/that returns] {x}.
~Implement a [Python function/function] that [computes/returns] {x}.
~Code a function that returns {x}.
~Define a function [for/returning] {x}.
[Python function/A Python function] that returns {x}
~[Show/Give] me a Python function that returns {x}.
How do I [get/compute/write] {x} in Python?
[In Python/Using Python], return {x}.
I need a [function/Python function] that returns {x}.
~Program a [method/function] to get {x}.
Python code [for/to get] {x}
[def/function] for {x} in Python
What is the Python code for {x}?
~Build a [small/short] function to [compute/find/return] {x}.
~Write a [script/snippet] that [returns/finds] {x} in Python.
~Write [Python/code] that [computes/works out] {x}.
""")


def draw(rng: random.Random, split: Split) -> Example:
    """One instruction with the program that it asks for and its tests."""
    program = draw_program(rng, split)
    prompt = request(rng, split, ASK, x=rng.choice(list(program.says)))
    if rng.random() < 0.2:
        prompt = prompt.rstrip(".?") + f". Call it {program.name}."
    return Example(
        prompt=prompt,
        completion=program.code,
        meta={"task": "code", "content": program.key, "tests": program.tests()},
    )


_PLAIN = ("def ", "import ", "from ")  # a line that begins so is code, though the rest be broken
_BEGINNINGS = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign,
)  # fmt: skip


def source(text: str) -> str:
    """The code in a text: what stands in a fence, from its first statement on.

    It begins at the first line from which the rest is a program that begins with a definition, an
    assignment or an import (words before the code are none); else at the first `def` or `import`.
    """
    if "```" in text:
        text = text.split("```")[1].removeprefix("python")
    lines = text.strip("\n").splitlines()
    plain = next((i for i, line in enumerate(lines) if line.startswith(_PLAIN)), None)
    for start in range(len(lines) if plain is None else plain):
        rest = "\n".join(lines[start:])
        tree = _parse(rest)
        if tree is not None and tree.body and isinstance(tree.body[0], _BEGINNINGS):
            return rest
    return "\n".join(lines[plain or 0 :])


def with_handle(code: str) -> str | None:
    """The code, with its last function named `f` too unless it has an `f` of its own.

    None if it does not parse or defines neither function nor class.
    """
    tree = _parse(code)
    if tree is None:
        return None
    functions = [name for node in tree.body for name in _functions(node)]
    if "f" in functions:
        return code
    if functions:
        return f"{code}\nf = {functions[-1]}\n"
    return code if any(isinstance(node, ast.ClassDef) for node in tree.body) else None


def _parse(code: str) -> ast.Module | None:
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _functions(node: ast.stmt) -> list[str]:
    """The names that a statement gives to functions; any `f` may be called like one."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return [node.name]
    if isinstance(node, ast.ClassDef) and node.name == "f":
        return ["f"]
    if isinstance(node, ast.Assign):
        names = [each.id for each in node.targets if isinstance(each, ast.Name)]
        return [name for name in names if name == "f" or isinstance(node.value, ast.Lambda)]
    return []


def score(examples: Sequence[Example], texts: Sequence[str]) -> list[float]:
    """1 where the text's function passes all its tests, each run in a process of its own."""
    programs = [with_handle(source(text)) for text in texts]
    runs = [
        (code, example.meta["tests"])
        for code, example in zip(programs, examples, strict=True)
        if code is not None
    ]
    outcomes = iter(run_many(runs) if runs else [])
    return [float(code is not None and next(outcomes).passed) for code in programs]


TASK = Task(
    "code", "writes a small Python function for an instruction", draw, score, max_new_tokens=72
)
