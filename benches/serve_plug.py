"""Claim: adapters go in and out of a busy server in seconds, and its streams go on meanwhile.

python benches/serve_plug.py [--clients 8] [--rounds 3] [--examples 4] [--features early]

The seconds of each load and unload, idle and under load, and what the streams lose to them: their
tokens a second and the longest wait for an event, with and without changes. With `--features` the
library's gate is learned anew, to read features of that kind (`early`: of layers of the base).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from serve_load import ask, request, server

from loramix.base import load_base
from loramix.gate import RoutedExample, learn_gate
from loramix.library import Library
from loramix.pocket.tasks import NONE, TASKS

LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"
PATH = "/v1/chat/completions"
GATE_PROMPTS = 200  # of each skill, and of none


def learn(library: Library, features: str) -> None:
    """Give the library a gate that reads `features`."""
    base = load_base(library.base_id, "cpu")
    examples = [RoutedExample(row.prompt) for row in NONE.examples("train", GATE_PROMPTS)]
    for name in library.skills:
        rows = TASKS[name].examples("train", GATE_PROMPTS)
        examples += [RoutedExample(row.prompt, {name: 1.0}) for row in rows]
    gate = learn_gate(base, examples, tuple(library.skills), features=features)
    with library.edit() as txn:
        for name, skill in library.skills.items():
            txn.add(name, skill.adapter(base), skill.card, gate.memories[name], replace=True)
        txn.set_gate(*gate.state())


async def change(port: int, rounds: int, examples: int) -> dict[str, list[float]]:
    """Load a skill and unload it, again and again; the seconds of each."""
    spent: dict[str, list[float]] = {"load": [], "unload": []}
    prompts = [row.prompt for row in TASKS["math"].examples("dev", examples)]
    body = {"lora_name": "guest", "lora_path": "guest", "examples": prompts}
    for _ in range(rounds):
        for name, path, sent in (
            ("load", LOAD, body),
            ("unload", UNLOAD, {"lora_name": "guest"}),
        ):
            reply = await ask(port, "POST", path, sent)
            if reply.status != 200:
                raise RuntimeError(reply.text or reply.error)
            spent[name].append(reply.seconds)
    return spent


async def streams(port: int, clients: int, stop: asyncio.Event) -> tuple[int, float]:
    """Stream until `stop`; the tokens, and the longest wait for an event of any stream."""
    tokens, longest = 0, 0.0

    async def client(number: int) -> None:
        nonlocal tokens, longest
        draw = random.Random(number)
        while not stop.is_set():
            reply = await ask(port, "POST", PATH, request(draw, 96))
            if reply.status != 200 or reply.error or not reply.whole:
                raise RuntimeError(f"{reply.status} {reply.error} {reply.text}")
            tokens += reply.tokens
            longest = max(longest, reply.longest)

    await asyncio.gather(*map(client, range(clients)))
    return tokens, longest


async def during(port: int, clients: int, work: object) -> tuple[object, float, float]:
    """What `work` gives, and the streams' tokens a second and longest wait meanwhile."""
    stop = asyncio.Event()
    begun = time.monotonic()
    running = asyncio.create_task(streams(port, clients, stop))
    found = await work  # type: ignore[misc]
    stop.set()
    tokens, longest = await running
    return found, tokens / (time.monotonic() - begun), longest


async def measure(port: int, clients: int, rounds: int, examples: int) -> dict[str, object]:
    """All of it."""
    await change(port, 1, examples)
    idle = await change(port, rounds, examples)
    await during(port, clients, asyncio.sleep(2))
    _, quiet, wait = await during(port, clients, asyncio.sleep(10))
    busy, changing, changing_wait = await during(port, clients, change(port, rounds, examples))
    seconds = {
        f"{name}_{when}": {"median": round(statistics.median(all), 2), "most": round(max(all), 2)}
        for when, spent in (("idle", idle), ("busy", busy))
        for name, all in spent.items()  # type: ignore[attr-defined]
    }
    return {
        "clients": clients,
        "seconds": seconds,
        "tokens_per_second": {"without": round(quiet, 1), "with_changes": round(changing, 1)},
        "longest_wait": {"without": round(wait, 3), "with_changes": round(changing_wait, 3)},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--examples", type=int, default=4, help="prompts that come with a load")
    parser.add_argument("--features", help="of the gate; without it the shipped one stays")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        copy = Library.shipped().copy_to(Path(folder) / "library")
        if options.features is not None:
            learn(copy, options.features)
        library = copy.path
        guest = Path(folder) / "adapters" / "guest"
        guest.mkdir(parents=True)
        for file in ("adapter_config.json", "adapter_model.safetensors"):
            shutil.copy(library / "skills" / "math" / file, guest)
        with server("--library", str(library), "--allow-runtime-lora") as running:
            work = measure(running.port, options.clients, options.rounds, options.examples)
            found = asyncio.run(work)
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
