"""Texts that the request encoder is fitted on besides rows and books: code, and prose about it."""

from __future__ import annotations

import ast
import importlib.metadata
import random
import sysconfig
from collections.abc import Iterator
from pathlib import Path

FREE = ("MIT", "BSD", "Apache", "ISC", "PSF", "Python Software Foundation")


def stubs() -> list[str]:
    """Functions to be completed, as people paste them: gate_encoder_stubs.txt, one a line."""
    told = (Path(__file__).parent / "gate_encoder_stubs.txt").read_text("utf-8").split("\n")
    return [line.replace("\\n", "\n") for line in told if line.strip()]


def docstrings(count: int, seed: int = 0) -> list[str]:
    """What Python's own library says of its modules, classes and functions: prose about code."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    told = (ast.get_docstring(n) for n in _library() if isinstance(n, documented))
    found = [text for text in told if text and len(text.split()) > 12]
    random.Random(seed).shuffle(found)
    return found[:count]


def library_stubs(count: int, seed: int = 0) -> list[str]:
    """Functions of Python's own library without their bodies: what is told of them is kept."""
    rng, found = random.Random(seed), []
    for node in _library():
        told = ast.get_docstring(node) if isinstance(node, ast.FunctionDef) else None
        if told and len(told.split()) > 5:
            found.append(_stub(_head(node), told, rng))
    rng.shuffle(found)
    return found[:count]


def heads(count: int, seed: int = 0) -> list[str]:
    """First lines of functions of Python's own library."""
    found = {_head(n) for n in _library() if isinstance(n, ast.FunctionDef) and n.name[0] != "_"}
    return random.Random(seed).sample(sorted(found), count)


def framed(text: str, head: str, rng: random.Random) -> str:
    """A function to be completed that tells `text` in its docstring, whatever that is about."""
    name = head.removeprefix("def ").partition("(")[0]
    values = ["[]", "''", "True", "None", "[1, 2]", "'abc'", str(rng.randint(0, 99))]
    shown = [
        rng.choice((">>> {f}\n{v}", "{f} -> {v}", "{f} == {v}", "{f} => {v}")).format(
            f=f"{name}({rng.choice(values)})", v=rng.choice(values)
        )
        for _ in range(rng.randint(0, 3))
    ]
    before = rng.choice(("", "For example:\n", "Examples:\n")) if shown else ""
    return _stub(head, f"{text}\n{before}" + "\n".join(shown), rng)


def _library() -> Iterator[ast.AST]:
    """All nodes of the modules of Python's own library."""
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        try:
            yield from ast.walk(ast.parse(path.read_text("utf-8")))
        except (SyntaxError, UnicodeDecodeError):
            continue


def _head(node: ast.FunctionDef) -> str:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"def {node.name}({ast.unparse(node.args)}){returns}:"


def _stub(head: str, told: str, rng: random.Random) -> str:
    quotes = rng.choice(('"""', '"""', "'''"))
    opening = rng.choice(("", "", " ", "\n    "))
    lines = "\n    ".join(told.strip().split("\n"))
    imports = rng.choice(("", "", "from typing import List\n\n\n", "import math\n\n"))
    closing = rng.choice(("", "\n    ", "\n    "))
    return f"{imports}{head}\n    {quotes}{opening}{lines}{closing}{quotes}\n"


def descriptions(count: int, seed: int = 0) -> list[str]:
    """Parts of what installed packages say of themselves: how to install, commands, examples."""
    rng, found = random.Random(seed), []
    for package in sorted(importlib.metadata.distributions(), key=lambda own: own.name):
        licence = " ".join(
            told
            for key in ("License-Expression", "License", "Classifier")
            for told in package.metadata.get_all(key, ())
        )
        if not any(free in licence for free in FREE):
            continue
        words = str(package.metadata.get_payload() or "").split(" ")
        for at in range(0, min(len(words), 4000) - 40, 100):
            found.append(" ".join(words[at : at + rng.randint(20, 140)]))
    rng.shuffle(found)
    return found[:count]
