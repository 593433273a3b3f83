"""int8 weights: what they cost, and which of torch's products is the fastest.

Claim: on real text int8 raises the perplexity of a base by at most 1 % over bfloat16, and skills
score at most 1 point less on it.

    python benches/int8.py [--base pocket] [--text FILE] [--tokens 16000] [--json]
    python benches/int8.py --library DIR [--examples 100] [--json]
    python benches/int8.py --products [--json]

Without a file the text is the language reference that ships with Python. `--library` scores its
skills on held-out examples of the builtin tasks of their names instead. `--products` times one
decoding step of a TinyLlama layer for 1, 4, 8 and 64 rows, in turn within each round, in seconds
of the processor over matrices that do not fit into its caches; medians.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from loramix.base import Base, load_base
from loramix.base import int8 as kernels

DTYPES = ("fp32", "bf16", "int8")
WINDOW = 512
SHAPES = ((2048, 2048), (2048, 5632), (5632, 2048), (2048, 32000))
"""D_in and D_out of TinyLlama's layers and of its head."""
ROWS = (1, 4, 8, 64)
BYTES = 64 << 20
"""int8 weights that a round goes through."""


def read_text(path: Path | None, characters: int) -> str:
    """Real text: the beginning of a file, packed with zstd or not."""
    if path is None:
        from pydoc_data.topics import topics

        return "\n\n".join(topics[name] for name in sorted(topics))[:characters]
    with path.open("rb") as file:
        stream: io.IOBase = file
        if path.suffix == ".zst":
            import zstandard

            stream = zstandard.ZstdDecompressor().stream_reader(file)
        return stream.read(4 * characters).decode("utf-8", "ignore")[:characters]


@torch.inference_mode()
def perplexity(base: Base, text: str, tokens: int) -> float:
    """exp of the mean loss of each token of `text` given those before it in its window."""
    ids = base.tokenizer(text, add_special_tokens=False)["input_ids"][:tokens]
    window = min(WINDOW, base.max_length)
    total, count = 0.0, 0
    for start in range(0, len(ids) - 1, window):
        part = torch.tensor([ids[start : start + window]])
        if part.shape[1] > 1:
            logits = base.model(part, use_cache=False).logits[0, :-1].float()
            total += float(functional.cross_entropy(logits, part[0, 1:], reduction="sum"))
            count += part.shape[1] - 1
    return math.exp(total / count)


def perplexities(base: str, text: Path | None, tokens: int) -> dict[str, object]:
    """The perplexity of a base in each type, and what int8 adds to that of bf16 in percent."""
    words = read_text(text, 12 * tokens)
    found = {dtype: perplexity(load_base(base, "cpu", dtype), words, tokens) for dtype in DTYPES}
    return {
        "base": base,
        "text": "Python's language reference" if text is None else text.name,
        "tokens": tokens,
        "perplexity": {dtype: round(value, 4) for dtype, value in found.items()},
        "rise_percent": round(100 * (found["int8"] / found["bf16"] - 1), 3),
    }


def skill_scores(folder: Path, examples: int) -> dict[str, object]:
    """Scores of a library's skills on bf16 and int8, and by how many points int8 is below."""
    from loramix.evaluate import evaluate_skills
    from loramix.library import Library
    from loramix.pocket.tasks import TASKS

    library = Library.open(folder)
    tasks = {name: task for name, task in TASKS.items() if name in library.skills}
    scores: dict[str, dict[str, float]] = {name: {} for name in tasks}
    for dtype in ("bf16", "int8"):
        base = load_base(library.base_id, "cpu", dtype)
        found = evaluate_skills(base, library, tasks, ["skill"], examples)
        for name in tasks:
            scores[name][dtype] = round(found[name]["skill"]["score"], 4)
    falls = {name: 100 * (score["bf16"] - score["int8"]) for name, score in scores.items()}
    return {
        "base": library.base_id,
        "examples": examples,
        "scores": scores,
        "fall_points": {name: round(fall, 2) for name, fall in falls.items()},
        "mean_fall_points": round(statistics.mean(falls.values()), 2),
    }


def products(width: int, out: int, rows: int) -> dict[str, Callable[[int], object]]:
    """What can be timed for one shape: a name → one product with weight number i."""
    count = max(2, BYTES // (width * out))
    codes = [torch.randint(-127, 128, (out, width), dtype=torch.int8) for _ in range(count)]
    half = [matrix.to(torch.bfloat16) for matrix in codes]
    scale = torch.full((out,), 1e-3, dtype=torch.bfloat16)
    x = torch.randn(rows, width).bfloat16()
    wide, plain = x.float(), half[0].float()

    def turn(i: int) -> int:
        return i % count

    return {
        "fp32": lambda i: functional.linear(wide, plain),
        "bf16": lambda i: functional.linear(x, half[turn(i)]),
        "packed": lambda i: torch.ops.aten._weight_int8pack_mm(x, codes[turn(i)], scale),
        "digits": lambda i: kernels._by_digits(x, codes[turn(i)], scale),
        "widened": lambda i: functional.linear(x, codes[turn(i)].to(x.dtype)) * scale,
        "chosen": lambda i: kernels.int8_linear(x, codes[turn(i)], scale),
    }


@torch.inference_mode()
def time_products(rounds: int = 5) -> list[dict[str, object]]:
    """Milliseconds of each product for each shape and number of rows."""
    table = []
    for width, out in SHAPES:
        for rows in ROWS:
            candidates = products(width, out, rows)
            repeats = max(2, min(8, BYTES // (width * out)))
            seconds: dict[str, list[float]] = {name: [] for name in candidates}
            for turn in range(rounds + 1):
                for name, product in candidates.items():
                    begun = time.process_time()
                    for i in range(repeats):
                        product(i)
                    if turn:  # the first round sets the products up
                        seconds[name].append((time.process_time() - begun) / repeats)
            took = {name: round(1e3 * statistics.median(s), 3) for name, s in seconds.items()}
            table.append({"in": width, "out": out, "rows": rows, "milliseconds": took})
    return table


def main() -> None:
    """Measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", default="pocket", help="pocket, an id, or a folder")
    parser.add_argument("--text", type=Path, help="a text file, .zst too")
    parser.add_argument("--tokens", type=int, default=16_000)
    parser.add_argument("--library", type=Path, help="a library with skills of builtin tasks")
    parser.add_argument("--examples", type=int, default=100, help="of each task")
    parser.add_argument("--products", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(0)
    report: Any
    lines: list[str]
    if args.products:
        torch.set_num_threads(1)  # seconds of the processor would count waiting threads
        report = time_products()
        lines = [
            f"{row['in']:>5} → {row['out']:<6}{row['rows']:>3} rows, ms: "
            + "  ".join(f"{name} {took:.2f}" for name, took in row["milliseconds"].items())
            for row in report
        ]
    elif args.library:
        report = skill_scores(args.library, args.examples)
        lines = [
            f"{name:15}" + "  ".join(f"{dtype} {score:.3f}" for dtype, score in found.items())
            for name, found in report["scores"].items()
        ]
        lines.append(f"int8 below bf16 by {report['mean_fall_points']:.2f} points in the mean")
    else:
        report = perplexities(args.base, args.text, args.tokens)
        found = "  ".join(f"{name} {value}" for name, value in report["perplexity"].items())
        lines = [
            f"{report['base']}, {args.tokens} tokens of {report['text']}: {found}; "
            f"int8 against bf16: {report['rise_percent']:+.2f} %"
        ]
    if args.json:
        json.dump(report, sys.stdout)
        return
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
