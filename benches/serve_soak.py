"""Claim: 64 streaming clients for 5 minutes meet no error, leave no slot taken, and memory is flat.

python benches/serve_soak.py [--seconds 300] [--clients 64] [--tokens 48]

Skills, blends, the base and the gate are mixed, and every tenth request leaves midway.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from serve_load import Server, ask, request, server

LEAVE = 0.1
FLAT = 32.0  # MiB


async def soak(running: Server, clients: int, seconds: float, tokens: int) -> dict[str, object]:
    """Run the clients; what came of their requests, and the memory second by second."""
    ends: Counter[str] = Counter()
    wrong: list[str] = []
    firsts: list[float] = []
    memory: list[float] = []
    written = 0
    end = time.monotonic() + seconds

    async def client(number: int) -> None:
        nonlocal written
        draw = random.Random(number)
        while time.monotonic() < end:
            leave = draw.randint(1, 6) if draw.random() < LEAVE else None
            body = request(draw, tokens)
            reply = await ask(running.port, "POST", "/v1/chat/completions", body, leave)
            if reply.status == 429:
                ends["429"] += 1
                await asyncio.sleep(int(reply.headers["retry-after"]))
            elif leave is not None and reply.events >= leave and not reply.error:
                ends["left"] += 1
            elif reply.status == 200 and reply.whole and not reply.error:
                ends["answered"] += 1
                written += reply.tokens
                firsts.append(reply.first)
            else:
                ends["wrong"] += 1
                wrong.append(f"{reply.status} {reply.error} {reply.text[:200]}")

    async def watch() -> None:
        while time.monotonic() < end:
            memory.append(running.memory())
            await asyncio.sleep(1)

    await asyncio.gather(watch(), *(client(number) for number in range(clients)))
    fifth = max(1, len(memory) // 5)
    warm, last = statistics.median(memory[fifth : 2 * fifth]), statistics.median(memory[-fifth:])
    return {
        "seconds": seconds,
        "clients": clients,
        "ends": dict(ends),
        "wrong": wrong[:5],
        "tokens_per_second": round(written / seconds, 1),
        "first_token_p50": round(statistics.median(firsts), 3),
        "first_token_p99": round(sorted(firsts)[int(len(firsts) * 0.99)], 3),
        "memory_mib": {"warm": round(warm, 1), "last": round(last, 1)},
        "flat": last - warm < FLAT,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=48)
    options = parser.parse_args()
    with server() as running:
        found = asyncio.run(soak(running, options.clients, options.seconds, options.tokens))
        time.sleep(2)
        figures = running.figures()
        left = figures["loramix_rows_running"] + figures["loramix_rows_waiting"]
        found["slots_left_taken"] = left
        found["met"] = bool(not found["wrong"] and found["flat"] and not left)
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
