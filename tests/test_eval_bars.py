"""The bars of the whole evaluation of the shipped library: its time, its score, its page."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from loramix.base import pocket_path
from loramix.commands.evaluate import evaluate
from machine import SLOW, rows_a_second

SECONDS, ROUTED, BYTES = 240, 0.92, 3_000_000


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.skipif(
    not (pocket_path() / "config.json").exists(), reason="the pocket base is not built"
)
def test_the_whole_evaluation_of_pocket_keeps_its_bars(tmp_path: Path) -> None:
    """Every system on every task with its page, and nothing kept from before.

    The bar of time is of two cores that have nothing else to do. Where others use them, the
    processor's own seconds on both are held against it instead of the clock; a slow machine is
    told so, once all else holds.
    """
    before, threads = os.times(), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        page = tmp_path / "report.html"
        told = evaluate(use_cache=False, device="cpu", report=page)
    finally:
        torch.set_num_threads(threads)
    spent = sum(os.times()[:4]) - sum(before[:4])  # own and children's, user and system
    routed = told["multi_domain"]["systems"]["routed"]
    assert len(told["multi_domain"]["tasks"]) == 5
    assert routed["score"] >= ROUTED
    assert page.stat().st_size <= BYTES
    taken = min(told["seconds"], spent / 2)
    if taken > SECONDS and (rows := rows_a_second()) < SLOW:
        pytest.xfail(f"{taken:.0f} s of {SECONDS}; this machine trains {rows:.0f} rows a second")
    assert taken <= SECONDS, (told["seconds"], spent, told["phases"])
