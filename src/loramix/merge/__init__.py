"""Experts: several skills merged into one adapter, or into a standalone model.

thin.py        sums of low-rank updates and their best rank-r part, never made dense
methods.py     the merge methods, pure functions on one matrix, and their registry
expert.py      adapters → one adapter, matrix by matrix, checked first
inputs.py      what each matrix reads in prompts of a skill, for the method that needs it
distil.py      an expert that learns from the skills that it was merged of
stream.py      tokens on their way through skills and expert, for the method that follows them
retention.py   every skill's score before and after
search.py      the best worst-skill retention within a time budget
output.py      the folder of an expert, whole or absent
"""

from __future__ import annotations

from loramix.merge.expert import Expert, merge_adapters
from loramix.merge.methods import METHODS, Cut, Method, Setting, Share
from loramix.merge.thin import Product

__all__ = [
    "METHODS",
    "Cut",
    "Expert",
    "Method",
    "Product",
    "Setting",
    "Share",
    "merge_adapters",
]
