"""The report is one page that needs nothing else, and shows what it was given, safely."""

from __future__ import annotations

import copy
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from loramix.errors import StorageError
from loramix.evaluate.report import duration, figure, render_report, write_report

NAMES = ["sentiment", "math", "code"]


def everything() -> dict[str, Any]:
    """One of everything that a report can show."""
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
        "routers": {
            "keywords": {
                "accuracy": 0.876,
                "low": 0.812,
                "high": 0.923,
                "none_auroc": 0.9,
                "top_two": 0.5,
            }
        },
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
            "n": 30,
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
            {
                "name": "both",
                "rows": [
                    {
                        "mix": "blend",
                        "parts": [0.5, 0.75],
                        "mean": 0.625,
                        "interval": [0.5, 0.7],
                    }
                ],
            }
        ],
        "composites": {
            "base": 0.0,
            "chain": 0.4,
            "blend": 0.75,
            "intervals": {"base": [0.0, 0.0], "chain": [0.3, 0.5], "blend": [0.6, 0.9]},
            "blend_over": {
                "base": {"mean": 0.75, "low": 0.6, "high": 0.9},
                "chain": {"mean": 0.35, "low": -0.02, "high": 0.7},
            },
            "two_parts": {
                "n": 40,
                "base": 0.0,
                "chain": 0.4,
                "blend": 0.75,
                "intervals": {"base": [0.0, 0.0], "chain": [0.3, 0.5], "blend": [0.6, 0.9]},
            },
        },
        "matrix": {
            "tasks": ["math", "code"],
            "systems": ["base", "math", "code", "gate/auto"],
            "metrics": ["own", "own"],
            "scores": [[0.1, 0.9, 0.25, 0.88], [0.0, 0.05, 0.95, None]],
            "low": [[0.05, 0.8, 0.15, 0.8], [0.0, 0.01, 0.86, None]],
            "high": [[0.15, 0.97, 0.35, 0.95], [0.09, 0.1, 1.0, None]],
        },
        "forgetting": {
            "tasks": ["math", "code"],
            "base": {"math": 0.1, "code": 0.0},
            "loramix": [{"math": 0.9}, {"math": 0.9, "code": 0.95}],
            "one_adapter": [{"math": 0.9}, {"math": 0.125, "code": 0.95}],
            "intervals": {
                "loramix": [
                    {"math": [0.8, 0.95]},
                    {"math": [0.8, 0.95], "code": [0.86, 0.99]},
                ],
                "one_adapter": [
                    {"math": [0.8, 0.95]},
                    {"math": [0.06, 0.23], "code": [0.86, 0.99]},
                ],
            },
            "n": 60,
        },
        "retention": {
            "method": "ties",
            "rank": 16,
            "before": {"math": 0.8, "code": 1.0},
            "after": {"math": 0.4, "code": 0.9},
            "intervals": {"math": [0.3, 0.5], "code": [0.8, 0.96]},
        },
        "storage": {
            "shapes": [
                {
                    "name": "small",
                    "disk": {
                        "base": 10_000_000,
                        "adapters": [11_000_000, 12_000_000, 13_000_000],
                        "full": [10_000_000, 20_000_000, 30_000_000],
                    },
                    "resident": {
                        "adapters": [101_000_000, 102_000_000, 103_000_000],
                        "full": [110_000_000, 120_000_000],
                    },
                }
            ]
        },
        "training": {
            name: {"losses": [3.0, 2.0, 1.0], "dev_losses": [[3, 1.1]], "steps": 3, "tokens": 99}
            for name in NAMES
        },
        "failures": [
            {"task": "math", "system": "base", "reason": "no <b>memory</b> for it", "rows": 3},
            {"task": "math", "system": "code", "reason": "no <b>memory</b> for it", "rows": 3},
        ],
        "not_measured": [{"what": "What a larger base does", "how": "give one"}],
        "phases": {"train": 300.0, "score": 60.0},
        "seconds": 423.0,
        "peak_rss_mb": 1234.5,
        "machine": "2 cores",
    }


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    return everything()


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


def section(page: str, anchor: str) -> str:
    """The text of one section, its figures included."""
    [found] = re.findall(rf'<section id="{anchor}">(.*?)</section>', page, flags=re.DOTALL)
    return found


def caption(page: str, anchor: str) -> str:
    """What the first figure of a section is said to show."""
    return re.findall(r"<figcaption>(.*?)</figcaption>", section(page, anchor), flags=re.DOTALL)[0]


def test_the_page_needs_nothing_from_anywhere(page: str) -> None:
    for tag, attributes in parsed(page).tags:
        assert tag not in ("script", "link", "iframe", "img", "object")
        for name in ("src", "href", "xlink:href"):
            value = attributes.get(name)
            assert value is None or value.startswith("#")
    assert "@import" not in page
    assert not re.search(r"https?:|//\w", page)
    policy = page[page.index("Content-Security-Policy") :].partition(">")[0]
    assert "default-src 'none'" in policy
    assert len(page.encode()) < 3_000_000


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
    for text in ("code 0.90", "0.625", "7:03 min", "1234", "2 cores"):
        assert text in page
    assert re.search(r"keywords.*0\.876", page)
    plots = {"training": 3, "routing": 1, "forgetting": 2, "storage": 2}
    for anchor, count in plots.items():
        assert section(page, anchor).count('class="plot"') == count
    assert page.count('class="plot"') == sum(plots.values())
    assert re.search(r"two parts.*0\.75.*0\.60–0\.90", section(page, "blends"), flags=re.DOTALL)
    assert "(ties, rank 16)" in section(page, "retention")
    assert "0.88" in section(page, "matrix")


def test_each_figure_says_what_to_see_from_its_own_data(page: str, result: dict[str, Any]) -> None:
    for figure_html in re.findall(r"<section.*?</section>", page, flags=re.DOTALL):
        assert "<figcaption>" in figure_html
    assert "from 0.95 (sentiment) to" in caption(page, "skills")
    assert "the base alone at most 0.10" in caption(page, "skills")
    assert "costs 0.010" in caption(page, "skills")
    assert "27 of 28 prompts" in caption(page, "routing")
    assert "1 prompts of sentiment were sent to math" in caption(page, "routing")
    assert "1 got one skill and 1 the base alone" in caption(page, "prompts")
    # their own intervals do not meet, but they answered the same requests
    best = "blend does best, 0.75, before chain with 0.40; "
    assert best + "that may be chance" in caption(page, "blends")
    clear = copy.deepcopy(result)
    clear["composites"]["blend_over"]["chain"]["low"] = 0.1
    assert best + "over the same requests that is clear" in caption(render_report(clear), "blends")
    assert "no earlier task loses anything" in caption(page, "forgetting")
    assert "with one adapter math falls from 0.90 to 0.12" in caption(page, "forgetting")
    assert "Least is kept of math, 50 %" in caption(page, "retention")
    # 10 MB + 100 x 1 MB against 100 x 10 MB; 100 MB + 100 x 1 MB against 100 MB + 100 x 10 MB
    assert "110 MB on disk" in caption(page, "storage")
    assert "1.0 GB as full models, 9.1 times" in caption(page, "storage")
    assert "200 MB and 1.1 GB, 5.5 times" in caption(page, "storage")
    assert "scores 0.93 on average, on other tasks 0.15" in caption(page, "matrix")
    assert "1 of 2 are met; missed: a bar that is missed" in caption(page, "bars")
    fallen = result["forgetting"] | {"loramix": [{"math": 0.9}, {"math": 0.5, "code": 0.9}]}
    assert "With loramix math falls from 0.90 to 0.50" in caption(
        render_report({"forgetting": fallen}), "forgetting"
    )


def test_low_scores_are_called_low_and_chance_is_called_chance() -> None:
    rows = {
        "math": {"base": 0.0, "skill": 0.03, "intervals": {"base": [0, 0.04], "skill": [0, 0.08]}},
        "qa": {"base": 0.0, "skill": 0.9, "intervals": {"base": [0, 0.04], "skill": [0.8, 1]}},
    }
    skills = section(render_report({"skills": rows}), "skills")
    assert "on math the gain is not clear of chance" in skills
    assert "In absolute terms math (0.03) is low" in skills


def test_differences_say_what_is_clear_and_failures_what_failed(page: str) -> None:
    shown = section(page, "differences")
    assert "blend over base" in shown
    assert "+0.60 to +0.90" in shown
    assert "−0.02 to +0.70" in shown
    assert "Of 2 differences 1 are clearly above nought, 0 clearly below, and 1 may be" in shown
    failed = section(page, "failures")
    assert "3 of base and code" in failed
    assert "no &lt;b&gt;memory&lt;/b&gt; for it" in failed
    assert "give one" in section(page, "missing")
    nothing = render_report({"skills": {"math": {"base": 0.1}}, "failures": []})
    assert "Every row was read, answered and judged." in section(nothing, "failures")


def test_headline_means_are_over_the_tasks_that_all_systems_share() -> None:
    rows = {
        "math": {"base": 0.1, "skill": 0.9, "routed": 0.9},
        "code": {"base": 0.3, "skill": 0.7, "routed": 0.5},
        "films": {"base": 0.8, "routed": 0.8},  # of no skill
    }
    page = render_report({"tasks": rows})
    assert "2 skills score 0.80 where the frozen base alone scores 0.20; with the gate choosing, " \
        "0.70: means over math and code." in page  # fmt: skip
    for figure_, label in (("0.800", "right adapter"), ("0.700", "routed by the gate"),
                           ("0.200", "base alone")):  # fmt: skip
        assert re.search(rf"<b>{figure_}</b><span>mean score[^<]*{label}, 2 of 3 tasks<", page)
    assert "costs 0.100 on average over math and code" in page
    matrix = {
        "tasks": ["math", "code"],
        "systems": ["base", "math", "code", "gate/top1", "mix x"],
        "scores": [[0.1, 0.9, 0.2, 0.8, 1.0], [0.1, 0.2, 0.9, 0.8, None]],
    }
    said = caption(render_report({"matrix": matrix}), "matrix")
    assert "Of the other systems that took math and code, gate/top1 does best, 0.80" in said


def test_one_skill_is_not_told_as_several() -> None:
    matrix = {"tasks": ["tone"], "systems": ["base"], "scores": [[0.5]]}
    page = render_report({"skills": {"tone": {"base": 0.1, "skill": 0.9}}, "matrix": matrix})
    assert "The skill scores 0.90 where the frozen base alone scores 0.10" in page
    assert "1 task, 1 system." in page


def test_metrics_of_which_less_is_better_are_drawn_but_not_ranked() -> None:
    rows = {
        "text": {"base": 90.0, "skill": 12.0, "higher_is_better": False, "n": 20},
        "math": {"base": 0.1, "skill": 0.9, "n": 20},
    }
    matrix = {
        "tasks": ["text", "math"],
        "systems": ["base", "text", "math"],
        "metrics": ["perplexity", "own"],
        "scores": [[90.0, 12.0, 88.0], [0.1, 0.2, 0.9]],
    }
    page = render_report({"tasks": rows, "matrix": matrix})
    assert "With its adapter math scores 0.90" in caption(page, "skills")
    assert "text (perplexity)" in section(page, "matrix")
    assert "On its own task a skill scores 0.90" in caption(page, "matrix")
    # a mean of scores and perplexities would be no figure at all
    assert "0.900" in page
    assert "mean score of the base alone" in page
    assert "6.450" not in page


def test_a_gain_is_clear_where_the_difference_on_the_same_examples_is() -> None:
    intervals = {"base": [0.1, 0.6], "skill": [0.4, 0.9]}
    row = {"base": 0.4, "skill": 0.7, "n": 20, "own_skill": "math", "intervals": intervals}
    said = "the gain is not clear of chance"
    for low, clear in ((0.05, True), (-0.05, False), (None, False)):
        over = {} if low is None else {"over_base": {"mean": 0.3, "low": low, "high": 0.5}}
        page = render_report({"tasks": {"math": row | {"systems": {"math": over}}}})
        assert (said not in caption(page, "skills")) == clear


def test_the_gates_scores_are_drawn_and_a_long_prompt_loses_its_middle(
    result: dict[str, Any],
) -> None:
    heat = {"rows": ["sentiment", "base"], "columns": ["sentiment", "math", "base"],
            "scores": [[0.9, 0.08, 0.02], [0.25, 0.05, 0.7]]}  # fmt: skip
    result = copy.deepcopy(result)
    result["gate"]["heat"] = heat
    result["samples"][1]["prompt"] = "Start " + "and on " * 500 + "end"
    page = render_report(result)
    assert "rows: prompts of; columns: mean score of" in page
    result["gate"]["heat"] = {"rows": [], "columns": ["sentiment"], "scores": []}
    assert "columns: mean score of" not in render_report(result)
    assert (
        "0.70 (base) or more in the mean; most that goes elsewhere is 0.25, of base to sentim"
        in page
    )
    assert re.search(r"Start and on .{300,360} \[… 2,809 letters …\] .{300,360}and on end<", page)


def test_what_eval_gives_is_drawn_as_it_is(result: dict[str, Any]) -> None:
    """Its `skills` are those of composites, before and after, and are not taken for scores."""
    page = render_report(
        {
            "tasks": {"math": {"base": 0.1, "skill": 0.9, "routed": 0.9, "n": 40}},
            "routing": {"gate": result["gate"], "keywords": result["routers"]["keywords"]},
            "skills": {"code": {"before": 0.9, "after": 0.8}},
            "composites": result["composites"],
        }
    )
    assert "With its adapter math scores 0.90" in caption(page, "skills")
    assert "27 of 28 prompts" in caption(page, "routing")
    assert "Right most often is gate, 99 %" in caption(page, "routers")


def test_the_contents_name_every_section_and_nothing_else(page: str) -> None:
    contents = page[page.index("<nav") : page.index("</nav>")]
    assert re.findall(r'href="#(\w+)"', contents) == re.findall(r'<section id="(\w+)"', page)


def test_every_drawn_score_shows_how_sure_it_is(page: str) -> None:
    assert "Wilson" in section(page, "skills")  # and not what a bootstrap says of 40 of 40
    assert "<small>±0.05</small>" in section(page, "matrix")
    assert "(0.812 to 0.923)" in section(page, "routers")
    for anchor in ("skills", "blends", "retention"):
        assert "<u style=" in section(page, anchor), anchor
    bare = everything()
    del bare["forgetting"]["intervals"], bare["gate"]["n"]
    plain = render_report(bare)
    for anchor in ("forgetting", "routing"):
        drawn, less = (section(text, anchor).count("<path d=") for text in (page, plain))
        assert drawn > less, anchor


def test_one_point_is_drawn_and_not_drawn_on() -> None:
    shape = {
        "name": "one",
        "disk": {"base": 10, "adapters": [12_000], "full": [10_000]},
        "resident": {"adapters": [], "full": []},
    }
    page = section(render_report({"storage": {"shapes": [shape]}}), "storage")
    assert page.count('class="plot"') == 1
    assert "100 skills would" not in page
    assert "too few were weighed" in page


def test_plots_take_their_colours_from_the_page_in_light_and_in_dark(page: str) -> None:
    for svg in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL):
        left = set(re.findall(r"#[0-9a-fA-F]{6}\b", svg))
        assert left == set()
        used = set(re.findall(r"var\((--[a-z0-9-]+)\)", svg))
        assert used
        for variable in used:
            assert page.count(f"{variable}:") >= 2, f"{variable} lacks a light or a dark value"
    assert "prefers-color-scheme: dark" in page


def test_parts_that_were_not_measured_are_left_out() -> None:
    page = render_report({"skills": {"math": {"base": 0.1, "skill": None}}})
    parsed(page)
    for heading in ("Routing", "Training", "Bars", "Two skills at once", "Time and memory"):
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
