"""The engine: many requests on one base, each with its own mix, that come and go at any step.

    with Engine(base, library=library, router="gate") as engine:
        for piece in engine.submit(Request("What is 2 + 3?", mix="math=0.7,qa=0.3")):
            print(piece.text, end="")

engine.py      takes requests from any thread, and lets a thread run the steps
steps.py       what happens in a step: who comes and goes, one forward, the next tokens
request.py     a request and its handle
row.py         one completion on its way
scheduler.py   who runs, in which slot, and what each row feeds
forward.py     one forward for all rows of a step
attention.py   attention over the slots, through transformers' interface; support.py: for whom
cache.py       keys and values of the rows that run
prefix.py      keys and values of prompts that came before
residency.py   the skills in memory
routing.py     mixes for requests that leave them to the router
faults.py, stats.py   what a request fails of; what an engine did and holds
"""

from __future__ import annotations

from loramix.engine.engine import Engine
from loramix.engine.request import Completion, Piece, Request, Submission
from loramix.engine.scheduler import Limits
from loramix.engine.stats import Stats

__all__ = ["Completion", "Engine", "Limits", "Piece", "Request", "Stats", "Submission"]
