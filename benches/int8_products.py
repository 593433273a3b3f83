"""Claim: of torch's products with int8 weights loramix takes the fastest, or one that is near it.

    python benches/int8_products.py [--json]

One decoding step of a TinyLlama layer for 1, 4, 8 and 64 rows, in turn within each round, in
seconds of the processor over matrices that do not fit into its caches; medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch.nn import functional

from loramix.base import int8 as kernels

SHAPES = ((2048, 2048), (2048, 5632), (5632, 2048), (2048, 32000))
"""D_in and D_out of TinyLlama's layers and of its head."""
ROWS = (1, 4, 8, 64)
BYTES = 64 << 20
"""int8 weights that a round goes through."""


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
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)  # seconds of the processor would count waiting threads
    table = time_products()
    if args.json:
        json.dump(table, sys.stdout)
        return
    for row in table:
        took = row["milliseconds"]
        assert isinstance(took, dict)
        shown = "  ".join(f"{name} {value:.2f}" for name, value in took.items())
        sys.stdout.write(f"{row['in']:>5} → {row['out']:<6}{row['rows']:>3} rows, ms: {shown}\n")


if __name__ == "__main__":
    main()
