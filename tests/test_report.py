"""The report is one page that needs nothing else, and shows what it was given, safely."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from loramix.errors import StorageError
from loramix.evaluate.report import duration, figure, render_report, write_report

NAMES = ["sentiment", "math", "code"]


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    """One of everything."""
    return {
        "title": "A run",
        "lead": "What it was.",
        "skills": {
            name: {
                "base": 0.1,
                "skill": 0.95,
                "routed": 0.94,
                "intervals": {"base": [0.05, 0.15], "skill": [0.9, 1.0]},
            }
            for name in NAMES
        },
        "skill_bar": 0.92,
        "routers": {"keywords": {"accuracy": 0.876, "none_auroc": 0.9, "top_two": 0.5}},
        "gate": {
            "accuracy": 0.99,
            "macro_f1": 0.99,
            "ece": 0.01,
            "none_auroc": 0.97,
            "top_two": float("nan"),
            "confusion": {
                "names": [*NAMES, "base"],
                "counts": [[9, 1, 0, 0], [0, 9, 0, 0], [0, 0, 9, 0], [0, 0, 0, 0]],
            },
            "calibration": [{"confidence": 0.95, "accuracy": 0.96, "share": 1.0}],
        },
        "bars": [
            {"name": "a bar that is met", "bar": "≥ 0.92", "figure": 0.95, "met": True},
            {"name": "a bar that is missed", "bar": "< 0.25", "figure": 0.31, "met": False},
        ],
        "samples": [
            {
                "title": "hostile",
                "prompt": "<script>alert('prompt')</script>",
                "scores": {"code": 0.9, "math": 0.05, "base": 0.05},
                "mix": {"code": 1.0},
                "text": "<img src=x onerror=alert(1)>",
            },
            {
                "title": "none",
                "prompt": "Hi!",
                "scores": {"base": 0.99, "math": 0.01},
                "mix": {},
                "text": "",
            },
        ],
        "blends": [
            {"name": "both", "rows": [{"mix": "blend", "parts": [0.5, 0.75], "mean": 0.625}]}
        ],
        "training": {
            name: {
                "losses": [3.0, 2.0, 1.0],
                "dev_losses": [[3, 1.1]],
                "steps": 3,
                "tokens": 99,
                "examples": 1234,
                "description": f"Does {name}.",
            }
            for name in NAMES
        },
        "forgetting": {
            "tasks": NAMES,
            "loramix": [dict.fromkeys(NAMES[:count], 0.9) for count in (1, 2, 3)],
            "one_adapter": [
                {"sentiment": 0.9},
                {"sentiment": 0.3, "math": 0.8},
                {"sentiment": 0.0, "math": 0.1, "code": 0.9},
            ],
            "unchanged": True,
            "moved": 0.0,
            "fell": 0.9,
            "n": 60,
        },
        "retention": {
            "method": "regmean",
            "rank": 64,
            "before": dict.fromkeys(NAMES, 0.9),
            "after": {"sentiment": 0.9, "math": 0.45, "code": 0.9},
            "intervals": {name: [0.4, 1.0] for name in NAMES},
        },
        "storage": {
            "shapes": [
                {
                    "name": "small",
                    "n": 3,
                    "disk": {
                        "base": 30_000_000,
                        "adapters": [31_000_000, 32_000_000, 33_000_000],
                        "full": [30_000_000, 60_000_000, 90_000_000],
                    },
                    "resident": {
                        "adapters": [500_000_000, 502_000_000, 504_000_000],
                        "full": [500_000_000, 530_000_000],
                    },
                }
            ]
        },
        "phases": {"train": 300.0, "score": 60.0},
        "seconds": 423.0,
        "peak_rss_mb": 1234.5,
        "machine": "2 cores",
    }


@pytest.fixture(scope="module")
def page(result: dict[str, Any]) -> str:
    return render_report(result)


class _Tags(HTMLParser):
    """Collects tags with their attributes, and checks that they nest."""

    VOID = frozenset({"meta", "br", "img", "link", "path", "use", "input", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def parsed(page: str) -> _Tags:
    tags = _Tags()
    tags.feed(page)
    assert tags.open == []
    return tags


def test_the_page_needs_nothing_from_anywhere(page: str) -> None:
    for tag, attributes in parsed(page).tags:
        assert tag not in ("script", "link", "iframe", "img", "object")
        for name in ("src", "href", "xlink:href"):
            value = attributes.get(name)
            assert value is None or value.startswith("#")
    policy = next(a for t, a in parsed(page).tags if t == "meta" and "http-equiv" in a)
    assert (policy["content"] or "").startswith("default-src 'none'")
    assert all(url.startswith("#") for url in re.findall(r"url\(([^)]*)\)", page))
    assert "@import" not in page
    urls = {url for url in re.findall(r"https?://[^\s\"'<]+", page) if "w3.org" not in url}
    assert urls == set()


def test_ids_are_unique_and_every_reference_has_one(page: str) -> None:
    ids = [a["id"] for _, a in parsed(page).tags if "id" in a]
    assert len(ids) == len(set(ids))
    wanted = set(re.findall(r"url\(#([^)]+)\)", page)) | set(re.findall(r'href="#([^"]+)"', page))
    assert wanted <= set(ids)


def test_what_a_model_wrote_is_text_and_not_markup(page: str) -> None:
    assert "<script>" not in page
    assert "<img" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "&lt;script&gt;alert(&#39;prompt&#39;)&lt;/script&gt;" in page


def test_everything_that_was_measured_is_shown(page: str) -> None:
    for text in ("a bar that is met", "a bar that is missed", "✓ met", "✗ missed", "1 / 2"):
        assert text in page
    for text in ("code 0.90", "0.625", "7:03 min", "1234", "2 cores", "1,234", "Does math."):
        assert text in page
    assert re.search(r"keywords.*0\.876", page)
    assert page.count('class="plot"') == 8


def test_every_figure_says_what_to_see_with_the_figures_of_the_run(page: str) -> None:
    assert page.count("<figure") == page.count("What to see:") == 8
    said = " ".join(page.split())
    assert "earlier skills moved by 0.0 points" in said
    assert "by up to 90 points" in said
    assert "math keeps the least, 50 %" in said
    assert "sentiment sent to math, 1 time." in said
    assert "at most 1.0 points" in said


def test_what_was_not_measured_of_storage_is_marked_as_such(page: str) -> None:
    assert "one more skill is 1 MB of files instead of 30 MB" in page
    assert '<td class="n">90 MB</td>' in page  # three models on disk: measured
    assert "≈ 3 GB" in page  # a hundred
    assert "≈ 560 MB" in page  # three in memory, where two were


def test_the_parts_that_are_there_can_be_jumped_to(page: str) -> None:
    ids = {a["id"] for t, a in parsed(page).tags if t == "section"}
    links = {a["href"] for t, a in parsed(page).tags if t == "a"}
    assert links == {f"#{id}" for id in ids}
    assert len(ids) == 10


def test_the_page_is_small(page: str) -> None:
    assert len(page.encode()) <= 3_000_000


def test_plots_take_their_colours_from_the_page_in_light_and_in_dark(page: str) -> None:
    for svg in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL):
        left = set(re.findall(r"#[0-9a-fA-F]{6}\b", svg))
        assert left <= {"#ffffff"}  # counts on the dark squares of the heat map
        used = set(re.findall(r"var\((--[a-z0-9-]+)\)", svg))
        assert used
        for variable in used:
            assert page.count(f"{variable}:") >= 2, f"{variable} lacks a light or a dark value"
    assert "prefers-color-scheme: dark" in page


def test_parts_that_were_not_measured_are_left_out() -> None:
    page = render_report({"skills": {"math": {"base": 0.1, "skill": None}}})
    parsed(page)
    for heading in (
        "Routing",
        "What was trained",
        "Bars",
        "Two skills at once",
        "Time and memory of this run",
    ):
        assert f"<h2>{heading}</h2>" not in page
    assert "<h2>Skills</h2>" in page


def test_the_same_result_gives_the_same_page(result: dict[str, Any], page: str) -> None:
    assert render_report(result) == page


def test_writing_makes_the_folder_and_leaves_one_file(tmp_path: Path) -> None:
    path = write_report({"title": "A run"}, tmp_path / "new" / "report.html")
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_a_place_that_cannot_be_written_is_said_clearly(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="report"):
        write_report({"title": "A run"}, tmp_path / "file" / "report.html")


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (float("nan"), "–"), (0.91951, "0.920"), (1.0, "1.000"), (2048.4, "2,048")],
)
def test_figures_are_rounded_for_reading(value: float | None, shown: str) -> None:
    assert figure(value) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(4.4, "4 s"), (100, "1:40 min"), (480, "8:00 min")])
def test_durations_read_well(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
