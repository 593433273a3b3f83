"""What an engine did and holds, in numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stats:
    """What the engine did and holds.

    Attributes:
        running, waiting: completions.
        failed: requests that ended with an error.
        steps: forwards for all rows.
        prompt_tokens, completion_tokens: that were computed.
        reused_tokens: of prompts, taken from the prefix cache.
        gate_seconds: spent choosing mixes.
        prompt_seconds: spent on prompt tokens, their share of the steps that they were in.
        step_seconds: of all steps.
        cache_bytes, prefix_bytes, resident_bytes: held now.
        mixing_bytes: of the skills as batches mix them: stacked, and folded into copies of weights.
        resident, loads, evictions: skills in memory, read, and let go.
    """

    running: int
    waiting: int
    failed: int
    steps: int
    prompt_tokens: int
    completion_tokens: int
    reused_tokens: int
    gate_seconds: float
    prompt_seconds: float
    step_seconds: float
    cache_bytes: int
    prefix_bytes: int
    resident_bytes: int
    mixing_bytes: int
    resident: int
    loads: int
    evictions: int

    @property
    def gate_share(self) -> float:
        """Gate time as a share of prompt time; 0 before the first prompt."""
        return self.gate_seconds / self.prompt_seconds if self.prompt_seconds else 0.0
