"""Run the notebooks from top to bottom, keep their outputs, and leave out what is only noise.

    python tools/notebooks.py              # all of them, in place
    python tools/notebooks.py notebooks/multi_lora_math_code_qa.ipynb

An .ipynb is its own source: edit it in Jupyter or in an editor, then run this. What is kept are
texts and pictures; progress bars and warnings (stderr), times, counters and the machine's names
are not, so that a second run changes only what has changed.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from markers import ROOT

FOLDER = ROOT / "notebooks"
CELL_SECONDS = 1800  # a busy machine is slow; the whole is meant to take a minute or two


def execute(notebook: NotebookNode) -> NotebookNode:
    """Runs all cells in a fresh kernel, in the folder of the notebooks.

    Raises:
        CellExecutionError: a cell raised; the message shows where.
    """
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(FOLDER)}},
        record_timing=False,
    )
    done: NotebookNode = client.execute()
    return done


def cleaned(notebook: NotebookNode) -> NotebookNode:
    """The notebook without noise: no stderr, and only what a reader or Jupyter needs."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for number, cell in enumerate(notebook.cells):
        cell.metadata = {}
        cell.id = f"cell-{number:02d}"
        if cell.cell_type != "code":
            continue
        cell.execution_count = None
        kept = [out for out in cell.outputs if out.get("name") != "stderr"]
        for out in kept:
            if out.output_type in ("display_data", "execute_result"):
                out.metadata = {}
            if "image/png" in out.get("data", {}):
                out.data = {"image/png": out.data["image/png"]}
            if out.output_type == "execute_result":
                out.execution_count = None
        cell.outputs = kept
    return notebook


def main() -> None:
    """Runs what is named, or every notebook; says how long each took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("notebooks", nargs="*", type=Path)
    os.environ.setdefault("PYTHONPATH", str(ROOT / "src"))
    for path in parser.parse_args().notebooks or sorted(FOLDER.glob("*.ipynb")):
        start = time.monotonic()
        notebook = cleaned(execute(nbformat.read(path, as_version=4)))
        nbformat.write(notebook, path)
        print(f"{path.name}: {time.monotonic() - start:.0f} s, {path.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
