"""Claim: at 10 times its capacity a server answers or says 429, in time, and recovers in 10 s.

python benches/serve_overload.py [--seconds 30] [--times 10] [--deadline 20]

First some clients find out how many requests a second it answers; then ten times as many come,
whether or not the earlier ones are answered.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from serve_load import Reply, Server, ask, request, server

ROWS, QUEUE, TOKENS = 8, 32, 48
RECOVERY = 10.0
PATH = "/v1/chat/completions"


async def capacity(port: int, seconds: float) -> float:
    """Requests a second that are answered to as many clients as there are slots."""
    end, answered = time.monotonic() + seconds, 0

    async def client(number: int) -> None:
        nonlocal answered
        draw = random.Random(number)
        while time.monotonic() < end:
            await ask(port, "POST", PATH, request(draw, TOKENS))
            answered += 1

    await asyncio.gather(*map(client, range(ROWS)))
    return answered / seconds


async def flood(port: int, rate: float, seconds: float) -> list[Reply]:
    """Send so many requests a second."""
    draw, begun = random.Random(0), time.monotonic()
    tasks: list[asyncio.Task[Reply]] = []
    while (now := time.monotonic() - begun) < seconds:
        while len(tasks) < now * rate:
            tasks.append(asyncio.create_task(ask(port, "POST", PATH, request(draw, TOKENS))))
        await asyncio.sleep(0.005)
    return list(await asyncio.gather(*tasks))


async def recovery(port: int, usual: float) -> float:
    """Seconds until a request is answered about as fast as on an idle server."""
    begun, draw = time.monotonic(), random.Random(1)
    while time.monotonic() < begun + 60:
        reply = await ask(port, "POST", PATH, request(draw, 8))
        if reply.whole and reply.status == 200 and reply.first < max(0.5, 3 * usual):
            return time.monotonic() - begun
        await asyncio.sleep(0.2)
    return float("inf")


async def measure(
    running: Server, seconds: float, times: float, deadline: float
) -> dict[str, object]:
    """All of it."""
    port = running.port
    await capacity(port, 3)
    rate = await capacity(port, 8)
    usual = (await ask(port, "POST", PATH, request(random.Random(2), 8))).first
    replies = await flood(port, rate * times, seconds)
    recovered = await recovery(port, usual)
    good = [reply for reply in replies if reply.status == 200 and reply.whole and not reply.error]
    refused = [reply for reply in replies if reply.status == 429]
    other = Counter(
        f"{reply.status} {reply.error}"
        for reply in replies
        if reply.status != 429 and not (reply.status == 200 and reply.whole and not reply.error)
    )
    spent = sorted(reply.seconds for reply in good)
    p99 = spent[min(len(spent) - 1, int(len(spent) * 0.99))]
    return {
        "capacity_per_second": round(rate, 2),
        "offered_per_second": round(len(replies) / seconds, 2),
        "answered": len(good),
        "refused_429": len(refused),
        "with_retry_after": sum("retry-after" in reply.headers for reply in refused),
        "other": dict(other),
        "p99_seconds": round(p99, 2),
        "deadline": deadline,
        "recovered_seconds": round(recovered, 2),
        "met": not other and p99 <= deadline and recovered <= RECOVERY,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--times", type=float, default=10)
    parser.add_argument("--deadline", type=float, default=20)
    options = parser.parse_args()
    limits = ("--max-rows", str(ROWS), "--max-queue", str(QUEUE))
    with server(*limits, "--deadline", str(options.deadline)) as running:
        found = asyncio.run(measure(running, options.seconds, options.times, options.deadline))
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
