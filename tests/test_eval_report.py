"""`loramix train YAML` and `loramix eval YAML --report`: the page has all that the claims need."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from loramix.commands.evaluate import evaluate
from loramix.commands.train import train
from loramix.errors import UsageError
from loramix.evaluate import EvaluationWarning
from loramix.evaluate.report.comparisons import signed
from loramix.library import Library
from test_report import section
from tiny_base import save_base

pytestmark = pytest.mark.slow

SECTIONS = {
    "training", "skills", "matrix", "differences", "routing", "routers", "prompts", "retention",
    "storage", "failures", "time",
}  # fmt: skip


def sections(page: Path) -> set[str]:
    return set(re.findall(r'<section id="(\w+)">', page.read_text("utf-8")))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YAML of two skills on a tiny base, trained for two steps."""
    place = tmp_path_factory.mktemp("eval-report")
    save_base(place / "base", max_position_embeddings=256)
    said = {"animal": ("the cat sat on", "mat"), "number": ("add two and", "four")}
    skills = {}
    for name, (prompt, answer) in said.items():
        rows = [{"q": f"{prompt} {i}", "a": answer if i % 4 else "dog"} for i in range(40)]
        rows[7] = {"q": f"{prompt} {'long ' * 200}", "a": answer}  # fits no context
        for file, some in (("train", rows[10:]), ("dev", rows[:10])):
            text = "".join(json.dumps(row) + "\n" for row in some)
            (place / f"{name}-{file}.jsonl").write_text(text, "utf-8")
        skills[name] = {
            "description": f"says {answer}",
            "data": {"path": f"{name}-train.jsonl"},
            "dev": {"path": f"{name}-dev.jsonl"},
            "prompt": "{q}",
            "completion": "{a}",
            "metric": "exact",
        }
    config = {
        "base": "base",
        "library": "library",
        "skills": skills,
        "train": {"max_steps": 2, "batch_size": 4, "max_length": 128},
        "evaluation": {"examples": 10, "max_new_tokens": 4},
    }
    (place / "loramix.yaml").write_text(yaml.safe_dump(config, sort_keys=False), "utf-8")
    with pytest.warns(EvaluationWarning, match="1 of 10 rows count as wrong"):
        train(place / "loramix.yaml", device="cpu")
    return place


@pytest.fixture(scope="module")
def told(place: Path) -> dict[str, Any]:
    return measured(place, "report.html")


def measured(place: Path, report: str, **changes: Any) -> dict[str, Any]:
    given = {"cache": place / "answers", "device": "cpu", **changes}
    return evaluate(config=place / "loramix.yaml", report=place / report, **given)


def test_the_page_of_a_yaml_has_a_section_for_each_claim(
    place: Path, told: dict[str, Any]
) -> None:
    page = place / "report.html"
    assert sections(page) == SECTIONS | {"missing"}
    text = page.read_text("utf-8")
    assert len(text.encode()) <= 3_000_000
    trained = section(text, "training")
    assert "says mat" in trained
    assert trained.count('class="plot"') == 2  # the losses that training left beside the library
    assert section(text, "prompts").count('class="mix"') == len(told["samples"]) == 4
    assert all(sample["text"] is not None for sample in told["samples"])
    assert "all skills merged" in section(text, "retention")
    assert "what earlier skills lose" in section(text, "missing").lower()
    assert "--also forgetting" in section(text, "missing")
    json.dumps(told)


def test_what_failed_and_what_is_chance_stand_on_the_page(
    place: Path, told: dict[str, Any]
) -> None:
    text = (place / "report.html").read_text("utf-8")
    assert told["failures"]
    assert "does not fit into the context" in section(text, "failures")
    differences = section(text, "differences")
    assert "animal over base" in differences
    assert "gate/top1 over animal alone" in differences
    cell = told["tasks"]["animal"]["systems"]["animal"]["over_base"]
    assert signed(cell["low"]) in differences


def test_an_expert_stands_beside_the_skills_that_it_was_made_of(told: dict[str, Any]) -> None:
    [merge] = told["retention"]
    assert merge["name"] == "all skills merged"
    assert set(merge["before"]) == set(merge["after"]) == {"animal", "number"}
    assert told["systems"]["all skills merged"]["kind"] == "expert"


def test_what_is_forgotten_is_measured_when_asked_for_kept_and_shown_again(place: Path) -> None:
    with pytest.warns(EvaluationWarning, match="1 of 10 rows count as wrong"):
        asked = measured(place, "asked.html", also="all", perplexity=True)
    found = asked["forgetting"]
    assert found["unchanged"]
    assert found["moved"] == 0.0
    assert len(found["loramix"]) == len(found["one_adapter"]) == 2
    assert "forgetting" in sections(place / "asked.html")
    assert "missing" not in sections(place / "asked.html")
    again = measured(place, "again.html", also="none")
    assert again["forgetting"]["one_adapter"] == found["one_adapter"]
    assert again["answers"]["computed"] == 0
    assert "--also storage" in section((place / "again.html").read_text("utf-8"), "missing")
    rated = measured(place, "rated.html", also="none", perplexity=True)
    assert (rated["answers"]["rated"], rated["answers"]["computed"]) == (0, 0)


def test_a_standalone_model_answers_by_itself(place: Path) -> None:
    from loramix.commands.merging import merge

    library = Library.open(place / "library")
    merge(["animal", "number"], place / "whole", full=True, tasks="none", library=library.path,
          device="cpu")  # fmt: skip
    told = measured(place, "whole.html", experts=[place / "whole"], also="none",
                    systems="base,skill,experts")  # fmt: skip
    assert told["systems"]["model whole"] == {"kind": "model", "path": str(place / "whole")}
    for row in told["tasks"].values():
        assert 0 <= row["systems"]["model whole"]["score"] <= 1
    assert "model whole" in section((place / "whole.html").read_text("utf-8"), "retention")


def test_all_parts_are_those_that_can_be_had(place: Path) -> None:
    told = measured(place, "all.html", also="all", systems="base")
    assert "retention" not in told
    assert "add skill to --systems" in section((place / "all.html").read_text("utf-8"), "missing")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prompt": "{q}"}, "no task is one"),
        ({"use_cache": False}, "--no-cache keeps none"),
        ({"also": "forgeting"}, "did you mean 'forgetting'"),
        ({"also": "merging", "systems": "base"}, "add skill to --systems"),
    ],
)
def test_what_would_have_no_effect_is_refused(
    place: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        measured(place, "none.html", **changes)
