"""The notebooks: they run from top to bottom, and what they show is kept and is nobody's own."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
NAMES = ("mixlora_sentiment_summarization", "multi_lora_math_code_qa")
MOST_BYTES = 700_000

# What has to hold in the kernel when all cells have run; the names are the notebook's. Its gate of
# 600 prompts takes "Which things upset them?" for a question of the tone: a tenth of the summaries.
REACHED = {
    "mixlora_sentiment_summarization": """
assert gate.accuracy >= 0.95, gate.accuracy
assert [len(r.mix.weights) for r in routings] == [2, 1, 1, 1], routings
for name, row in results.items():
    assert row["skill"]["score"] >= 0.8 > 0.3 >= row["base"]["score"], (name, row)
    assert row["one only"]["score"] >= row["skill"]["score"] - 0.2, (name, row)
assert joint["chain"] > joint["blend"], joint
assert set(Library.open(library.path).skills) == set(SKILLS)
""",
    "multi_lora_math_code_qa": """
assert same >= len(prompts) - 1, (same, len(prompts))  # a tie may fall either way
for name in SKILLS:
    assert table[name][name] >= 0.6 > 0.3 >= table["base"][name], (name, table)
    assert table["gate"][name] >= table[name][name] - 0.05, (name, table)
assert table["gate"]["mean"] > max(table["expert"]["mean"], table["50/40/10"]["mean"])
""",
}


def read(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((FOLDER / f"{name}.ipynb").read_text("utf-8"))
    return document


def outputs(name: str) -> list[dict[str, Any]]:
    cells = [cell for cell in read(name)["cells"] if cell["cell_type"] == "code"]
    return [output for cell in cells for output in cell["outputs"]]


def test_every_notebook_is_tested() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NAMES) == set(REACHED)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_kept_and_none_is_an_error(name: str) -> None:
    kept = outputs(name)
    pictures = [output for output in kept if "image/png" in output.get("data", {})]
    assert len(pictures) >= 5
    assert {output["output_type"] for output in kept} == {"stream", "display_data"}
    assert (FOLDER / f"{name}.ipynb").stat().st_size < MOST_BYTES


@pytest.mark.parametrize("name", NAMES)
def test_outputs_hold_no_noise_of_the_run(name: str) -> None:
    printed = ["".join(o["text"]) for o in outputs(name) if o["output_type"] == "stream"]
    noise = re.compile(r"/tmp|/home|site-packages|Warning|it/s\]|<[\w.]+ object at|object at 0x")
    assert [found[0] for text in printed if (found := noise.search(text))] == []
    assert all(o["name"] == "stdout" for o in outputs(name) if o["output_type"] == "stream")
    for cell in read(name)["cells"]:
        assert cell["metadata"] == {}
        assert cell.get("execution_count") is None


@pytest.mark.parametrize("name", NAMES)
def test_only_public_doors_of_the_package_are_used(name: str) -> None:
    code = "".join(
        "".join(cell["source"]) + "\n"
        for cell in read(name)["cells"]
        if cell["cell_type"] == "code"
    )
    assert re.findall(r"\._[a-z]\w*|import _\w+", code) == []


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_from_top_to_bottom(name: str) -> None:
    for module in ("nbclient", "nbformat", "ipykernel"):
        pytest.importorskip(module, reason="running notebooks needs `pip install loramix[test]`")
    import nbformat

    from notebooks import execute

    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(REACHED[name]))
    execute(notebook)
