"""llama.cpp with a blend of LoRAs a row, as a worker of serve.py.

The job: model and adapters (GGUF), rows (for each: [index of the adapter, weight], …), prompt
(token ids), tokens, vocabulary, threads. Its context has one set of scales, so rows whose blends
differ run one after the other; only their decoding is timed.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np


def prepare(job: dict[str, Any]) -> Callable[[], tuple[int, float]]:
    """Loads the model; a round writes all rows."""
    llama_cpp.llama_backend_init()
    settings = llama_cpp.llama_model_default_params()
    if "amx" in Path("/proc/cpuinfo").read_text("utf-8"):
        settings.use_extra_bufts = False  # its repacked weights crashed there
    model = llama_cpp.llama_model_load_from_file(job["model"].encode(), settings)
    if not model:
        raise RuntimeError("llama.cpp cannot load the model")
    loras = [llama_cpp.llama_adapter_lora_init(model, path.encode()) for path in job["adapters"]]
    if not all(loras):
        raise RuntimeError("llama.cpp cannot load an adapter")
    shape = llama_cpp.llama_context_default_params()
    shape.n_ctx = len(job["prompt"]) + job["tokens"] + 64
    shape.n_threads = shape.n_threads_batch = job["threads"]
    context = llama_cpp.llama_init_from_model(model, shape)
    if not context:
        raise RuntimeError("llama.cpp cannot make a context")

    def feed(tokens: Sequence[int]) -> int:
        """The likeliest token after these."""
        ids = (llama_cpp.llama_token * len(tokens))(*tokens)
        if llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(ids, len(tokens))):
            raise RuntimeError("llama.cpp cannot decode")
        scores = llama_cpp.llama_get_logits_ith(context, -1)
        return int(np.ctypeslib.as_array(scores, (job["vocabulary"],)).argmax())

    def run() -> tuple[int, float]:
        seconds = 0.0
        for blend in job["rows"]:
            llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
            _mix(context, [(loras[place], weight) for place, weight in blend])
            token = feed(job["prompt"])
            start = time.perf_counter()
            for _ in range(job["tokens"]):
                token = feed([token])
            seconds += time.perf_counter() - start
        return len(job["rows"]) * job["tokens"], seconds

    return run


def _mix(context: Any, blend: Sequence[tuple[Any, float]]) -> None:
    """Set the adapters of a context with their scales."""
    kind: Any = llama_cpp.llama_adapter_lora_p_ctypes
    adapters = (kind * len(blend))(*(adapter for adapter, _ in blend))
    scales = (ctypes.c_float * len(blend))(*(weight for _, weight in blend))
    if llama_cpp.llama_set_adapters_lora(context, adapters, len(blend), scales):
        raise RuntimeError("llama.cpp cannot set the adapters")
