"""In what type a base's weights are held: what can be asked for, and what `auto` picks."""

from __future__ import annotations

import functools
import statistics
import time
from typing import NamedTuple

import torch

from loramix.base.folder import StoredWeights
from loramix.errors import UsageError

_NAMES = {
    "fp32": torch.float32,
    "float32": torch.float32,
    "bf16": torch.bfloat16,
    "bfloat16": torch.bfloat16,
    "fp16": torch.float16,
    "float16": torch.float16,
    "int8": torch.int8,
}
_TINY = 20_000_000
"""Up to so many parameters a step is mostly calls, which take as long in any dtype."""

_SMALL = 300_000_000
"""Up to so many a CPU computes in float32, which is exact, unless bfloat16 is much faster."""

_MUCH = 1.5
"""A CPU with instructions for bfloat16 is faster by more than this, one without them slower."""


class Weights(NamedTuple):
    """How weights are held.

    Attributes:
        dtype: that the base computes in, and its weights' too unless they are int8.
        int8: whether its linear layers hold int8 weights.
    """

    dtype: torch.dtype
    int8: bool = False


def named(dtype: str | torch.dtype) -> torch.dtype | None:
    """The torch dtype of a name; None for `auto`.

    Raises:
        UsageError: no base can be held so.
    """
    if isinstance(dtype, torch.dtype) and (dtype.is_floating_point or dtype == torch.int8):
        return dtype
    if dtype == "auto" or (isinstance(dtype, str) and dtype in _NAMES):
        return _NAMES.get(dtype)
    raise UsageError(
        "This is no data type for a base.",
        given=dtype,
        expected="auto, fp32, bf16, fp16 or int8",
    )


def pick_weights(asked: torch.dtype | None, device: torch.device, stored: StoredWeights) -> Weights:
    """What was asked for, or what suits the machine and the size of the base.

    On CUDA that is bfloat16 where it has it. On a CPU it is float32 up to 20M parameters, up to
    300M bfloat16 if that is at least 1.5 times as fast here, and above that bfloat16, unless it is
    1.5 times as slow and twice the memory that float32 takes is free. It is never int8, which
    alone changes the weights a lot and is asked for by name.

    Raises:
        UsageError: int8 on another device than a CPU.
    """
    if asked == torch.int8:
        if device.type != "cpu":
            raise UsageError(
                "int8 weights are for the CPU.",
                given=f"dtype int8, device {device}",
                expected="device cpu, or dtype bf16",
            )
        return Weights(torch.bfloat16, int8=True)
    if asked is not None:
        return Weights(asked)
    if device.type == "cuda" and torch.cuda.is_available():
        return Weights(torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32)
    parameters = stored.count()
    if parameters <= _TINY:
        return Weights(torch.float32)
    if parameters <= _SMALL:
        return Weights(torch.bfloat16 if bf16_speed() >= _MUCH else torch.float32)
    if bf16_speed() >= 1 / _MUCH:
        return Weights(torch.bfloat16)
    import psutil

    fits = 2 * 4 * parameters <= psutil.virtual_memory().available
    return Weights(torch.float32 if fits else torch.bfloat16)


@functools.cache
def bf16_speed() -> float:
    """How many times as fast as in float32 a product of 8 rows is here; measured once.

    It takes some 20 milliseconds. The answer is far from the border: with instructions for
    bfloat16 it takes less than half of float32's time, without them several times as long.
    """
    pairs = []
    for dtype in (torch.float32, torch.bfloat16):
        # smaller ones are mostly the call, which costs more in bfloat16
        weight = torch.full((2048, 2048), 0.5, dtype=dtype)
        pairs.append((torch.ones(8, 2048, dtype=dtype), weight, list[float]()))
    with torch.inference_mode():
        for _ in range(6):
            for x, weight, seconds in pairs:
                begun = time.perf_counter()
                torch.nn.functional.linear(x, weight)
                seconds.append(time.perf_counter() - begun)
    plain, half = (statistics.median(seconds[1:]) for *_, seconds in pairs)
    return plain / half
