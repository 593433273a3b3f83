"""Claim: 8 streaming clients get at least 0.85 of the tokens that the engine writes without HTTP.

python benches/serve_overhead.py [--rounds 5] [--requests 6] [--tokens 128] [--chunk-interval 0]

The same requests, with the same seeds, go to a server and to an engine in this process, in turn.
Each client sends its next request when the last one is answered.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parent))

from serve_load import ask, request, server

from loramix.base import load_base
from loramix.engine import Engine, Request
from loramix.library import Library
from loramix.sampling import Sampling

CLIENTS = 8
BAR = 0.85


def over_http(port: int, pid: int, work: list[list[dict[str, Any]]]) -> tuple[float, float]:
    """Tokens a second, and tokens a second of the server's processor time."""

    async def client(bodies: list[dict[str, Any]]) -> int:
        written = 0
        for body in bodies:
            reply = await ask(port, "POST", "/v1/chat/completions", body)
            assert reply.status == 200, reply
            assert reply.whole, reply
            written += reply.tokens
        return written

    async def all_clients() -> int:
        return sum(await asyncio.gather(*map(client, work)))

    process = psutil.Process(pid)
    begun, used = time.perf_counter(), sum(process.cpu_times()[:2])
    tokens = asyncio.run(all_clients())
    spent = sum(process.cpu_times()[:2]) - used
    return tokens / (time.perf_counter() - begun), tokens / spent


def in_process(engine: Engine, work: list[list[dict[str, Any]]]) -> tuple[float, float]:
    """The same; nobody looks at them before an answer is whole, which costs the least."""

    async def client(bodies: list[dict[str, Any]]) -> int:
        written = 0
        for body in bodies:
            sampling = Sampling(body["max_tokens"], body["temperature"], seed=body["seed"])
            asked = Request(body["messages"], body["model"], sampling)
            written += (await engine.submit(asked).wait())[0].completion_tokens
        return written

    async def all_clients() -> int:
        return sum(await asyncio.gather(*map(client, work)))

    process = psutil.Process()
    begun, used = time.perf_counter(), sum(process.cpu_times()[:2])
    tokens = asyncio.run(all_clients())
    spent = sum(process.cpu_times()[:2]) - used
    return tokens / (time.perf_counter() - begun), tokens / spent


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=6, help="of each client in a round")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--chunk-interval", help="as of `loramix serve`")
    options = parser.parse_args()
    own = () if options.chunk_interval is None else ("--chunk-interval", options.chunk_interval)
    library = Library.shipped()
    engine = Engine(load_base(library.base_id), library=library, router="gate").start()
    http: list[tuple[float, float]] = []
    alone: list[tuple[float, float]] = []
    with server(*own) as running:
        for number in range(options.rounds + 1):
            draw = random.Random(number)
            work: list[list[dict[str, Any]]] = [
                [request(draw, options.tokens) for _ in range(options.requests)]
                for _ in range(CLIENTS)
            ]
            if number % 2:  # what else the machine does falls on both
                rates = over_http(running.port, running.pid, work), in_process(engine, work)
            else:
                rates = in_process(engine, work), over_http(running.port, running.pid, work)
                rates = rates[::-1]
            if number:  # the first round only warms up
                http.append(rates[0])
                alone.append(rates[1])
                print(
                    f"round {number}: http {rates[0][0]:.0f}, engine {rates[1][0]:.0f}",
                    file=sys.stderr,
                )
    engine.close()
    pairs = list(zip(http, alone, strict=True))
    ratio = statistics.median(a[0] / b[0] for a, b in pairs)
    of_cpu = statistics.median(a[1] / b[1] for a, b in pairs)
    found = {
        "clients": CLIENTS,
        "tokens_per_second": {
            "http": round(statistics.median(rate for rate, _ in http), 1),
            "engine": round(statistics.median(rate for rate, _ in alone), 1),
        },
        "ratio": round(ratio, 3),
        "ratio_of_processor_time": round(of_cpu, 3),
        "bar": BAR,
        "met": ratio >= BAR,
    }
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
