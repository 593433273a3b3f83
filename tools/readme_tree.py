"""Write the annotated tree of the code into the README: a line a file, its docstring's first.

python tools/readme_tree.py
"""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from markers import README, ROOT, fill

TOP = "src/loramix"
DATA = {
    "pocket/base": "the base that ships with the package: weights, tokenizer, model card",
    "pocket/library": "the ready-made library of the five pocket skills, with its gate",
    "gate/requests": "the request encoder that ships with the package: words, phrasings, weights",
    "serve/static": "the page itself: hand-written HTML, CSS and JavaScript, a view a file",
}


def tracked() -> list[PurePosixPath]:
    """The files under `src/loramix` that git tracks, or would if asked, relative to it."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", TOP]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    paths = (ROOT / name for name in set(listed.split("\0")) if name)
    return sorted(PurePosixPath(p.relative_to(ROOT / TOP).as_posix()) for p in paths if p.exists())


def summary(path: Path) -> str:
    """The first line of a module's docstring, without its full stop; "" where there is none."""
    if path.suffix != ".py":
        return DATA.get(path.relative_to(ROOT / TOP).as_posix(), "")
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return text.partition("\n")[0].rstrip(".")


def _rows(files: list[PurePosixPath], folder: PurePosixPath) -> Iterator[tuple[str, str]]:
    """The lines below one folder: its files first, then each folder in it."""
    inside = [path for path in files if path.is_relative_to(folder)]
    indent = "  " * (len(folder.parts) + 1)
    for path in inside:
        if path.parent == folder and path.name not in ("__init__.py", "py.typed"):
            yield f"{indent}{path.name}", summary(ROOT / TOP / path)
    depth = len(folder.parts)
    for below in sorted({folder / p.parts[depth] for p in inside if len(p.parts) > depth + 1}):
        line = DATA.get(str(below))
        if line is None:
            package = below / "__init__.py"
            line = summary(ROOT / TOP / package) if package in files else ""
        yield f"{indent}{below.name}/", line
        if str(below) not in DATA:
            yield from _rows(files, below)


def tree() -> str:
    """The tree as a Markdown code block."""
    rows = list(_rows(tracked(), PurePosixPath()))
    width = max(len(name) for name, _ in rows) + 2
    body = "\n".join(f"{name:<{width}}{line}".rstrip() for name, line in rows)
    return f"```text\n{TOP}/\n{body}\n```\n"


if __name__ == "__main__":
    fill(README, "tree", tree())
