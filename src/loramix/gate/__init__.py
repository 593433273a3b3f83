"""Routers: which skills does a prompt need, and how much of each?

router.py     the contract: prompts → scores over skills → mix
features.py   a prompt as a vector [F], from the base's token states (states.py) and words.py
network.py    the gate's network and its fitting
learned.py    the gate: the learned router, with its memory (memory.py) and calibrate.py
encoder.py    words → the features `request`: finds what is asked, whatever the text is about
phrasings.py  requests as people write them; kinds.py  which of them a description means
conversation.py  the routing of a last message; signs.py  whether it leans on earlier ones
why.py        which words carried a decision, and the nearest examples
keywords.py, centroid.py, fixed.py   the other routers
store.py      routers by name, and the gate of a library
"""

from __future__ import annotations

from loramix.gate.centroid import CentroidRouter
from loramix.gate.conversation import TurnRouting, route_prompts, route_turns
from loramix.gate.features import FeatureExtractor
from loramix.gate.fixed import FixedRouter
from loramix.gate.keywords import KeywordRouter
from loramix.gate.kinds import kind_of, kinds_of, prompts_for
from loramix.gate.learned import LearnedGate
from loramix.gate.router import RoutedExample, Router, Routing, route, targets_of
from loramix.gate.store import (
    ROUTERS,
    check_router,
    learn_gate,
    make_policy,
    make_router,
    plug_in,
    read_gate,
    reads_requests,
    same_kind,
)
from loramix.gate.why import Why, why

__all__ = [
    "ROUTERS",
    "CentroidRouter",
    "FeatureExtractor",
    "FixedRouter",
    "KeywordRouter",
    "LearnedGate",
    "RoutedExample",
    "Router",
    "Routing",
    "TurnRouting",
    "Why",
    "check_router",
    "kind_of",
    "kinds_of",
    "learn_gate",
    "make_policy",
    "make_router",
    "plug_in",
    "prompts_for",
    "read_gate",
    "reads_requests",
    "route",
    "route_prompts",
    "route_turns",
    "same_kind",
    "targets_of",
    "why",
]
