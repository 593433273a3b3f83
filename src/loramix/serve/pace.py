"""How fast the line moves: from that, how long a request would wait."""

from __future__ import annotations

import time
from collections import deque


class Pace:
    """How many completions end in a second, over the last ten."""

    WINDOW = 10.0

    def __init__(self) -> None:
        self._ends: deque[tuple[float, int]] = deque()
        self._count = 0

    def add(self, count: int) -> None:
        """So many have ended now."""
        self._ends.append((time.monotonic(), count))
        self._count += count

    @property
    def rate(self) -> float:
        """A second; 0 where nobody knows yet."""
        now = time.monotonic()
        while self._ends and self._ends[0][0] < now - self.WINDOW:
            self._count -= self._ends.popleft()[1]
        return self._count / max(1.0, now - self._ends[0][0]) if self._ends else 0.0
