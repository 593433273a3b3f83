"""Scores of base, skills and routed whole; how well a router routes; bars; report.html.

answering.py   greedy answers of all systems through one engine; cache.py keeps them
scoring.py     metrics by name, and which of them suits a task; likelihood.py: of given texts
measure.py     what systems make of tasks: asks, rates, marks; the three below make figures of it
matrix.py      every system on every task; result.py: the plain data that comes of it
skills.py      base, skill and routed on held-out examples
composites.py  requests that need two skills, answered in five ways
routing.py     a router's accuracy, calibration, none of these, two at once
metrics.py     means with their intervals, classification figures
bars.py        what has to be reached, next to what was
forgetting.py  what earlier skills lose when later ones are learned
storage.py     N adapters against N models, on disk and in memory
plots.py       inline SVG that follows the page's colours
report/        one HTML file with all of it
"""

from __future__ import annotations

from loramix.evaluate.answering import Answers, mixed_model
from loramix.evaluate.bars import Bar, bar, bar_between
from loramix.evaluate.cache import AnswerCache, CacheWarning, Question, default_cache
from loramix.evaluate.composites import COMPOSITE_SYSTEMS, both_right, evaluate_composites
from loramix.evaluate.matrix import evaluate_matrix
from loramix.evaluate.measure import EvalTask, System
from loramix.evaluate.metrics import Score, difference_of, ece, score_of
from loramix.evaluate.report import write_report
from loramix.evaluate.result import Evaluation
from loramix.evaluate.routing import evaluate_router, joint_score, top_two_share
from loramix.evaluate.scoring import Metric, check_metric, find_metric, own_metric, score_each
from loramix.evaluate.skills import (
    EvaluationWarning,
    ScoreMany,
    TestSet,
    evaluate_skills,
)

__all__ = [
    "COMPOSITE_SYSTEMS",
    "AnswerCache",
    "Answers",
    "Bar",
    "CacheWarning",
    "EvalTask",
    "Evaluation",
    "EvaluationWarning",
    "Metric",
    "Question",
    "Score",
    "ScoreMany",
    "System",
    "TestSet",
    "bar",
    "bar_between",
    "both_right",
    "check_metric",
    "default_cache",
    "difference_of",
    "ece",
    "evaluate_composites",
    "evaluate_matrix",
    "evaluate_router",
    "evaluate_skills",
    "find_metric",
    "joint_score",
    "mixed_model",
    "own_metric",
    "score_each",
    "score_of",
    "top_two_share",
    "write_report",
]
