"""Scores of base, skills and routed whole; how well a router routes; bars; report.html.

skills.py      base, skill and routed on held-out examples
composites.py  requests that need two skills, answered in five ways
routing.py     a router's accuracy, calibration, none of these, two at once
metrics.py     means with bootstrap intervals, classification figures
bars.py        what has to be reached, next to what was
forgetting.py  what earlier skills lose when later ones are learned
storage.py     N adapters against N models, on disk and in memory
drawing.py     the look of all plots: inline SVG that follows the page's colours
plots.py       bars, heat map, calibration, losses; lines.py: forgetting, room
views.py       what the page says about its figures
template.py    the page's HTML; page.py: its style, in light, in dark and on paper
report.py      one HTML file with all of it
"""

from __future__ import annotations

from loramix.evaluate.bars import Bar, bar, bar_between
from loramix.evaluate.composites import COMPOSITE_SYSTEMS, both_right, evaluate_composites
from loramix.evaluate.metrics import Score, difference_of, ece, score_of
from loramix.evaluate.report import write_report
from loramix.evaluate.routing import evaluate_router, joint_score, top_two_share
from loramix.evaluate.skills import Answers, ScoreMany, TestSet, evaluate_skills, mixed_model

__all__ = [
    "COMPOSITE_SYSTEMS",
    "Answers",
    "Bar",
    "Score",
    "ScoreMany",
    "TestSet",
    "bar",
    "bar_between",
    "both_right",
    "difference_of",
    "ece",
    "evaluate_composites",
    "evaluate_router",
    "evaluate_skills",
    "joint_score",
    "mixed_model",
    "score_of",
    "top_two_share",
    "write_report",
]
