"""vLLM with one LoRA a row, as a worker of serve.py.

The job: model (folder), adapters (folders), rows (index of the adapter of each row), prompt
(token ids), tokens, dtype, threads. Its engine is stepped here, so that no HTTP is timed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any


def prepare(job: dict[str, Any]) -> Callable[[], tuple[int, float]]:
    """Loads the model; a round writes all rows."""
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # the engine in this process
    os.environ["OMP_NUM_THREADS"] = str(job["threads"])
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")

    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    length = len(job["prompt"]) + job["tokens"] + 1
    llm = LLM(
        model=job["model"],
        dtype=job["dtype"],
        enable_lora=True,
        max_loras=max(1, len(job["adapters"])),
        max_lora_rank=16,
        max_num_seqs=len(job["rows"]),
        max_model_len=length + 16,
        enable_prefix_caching=False,
    )
    engine = llm.llm_engine
    loras = [
        LoRARequest(f"s{place}", place + 1, folder) for place, folder in enumerate(job["adapters"])
    ]
    how = SamplingParams(temperature=0, max_tokens=job["tokens"] + 1, ignore_eos=True)
    rounds = 0

    def run() -> tuple[int, float]:
        nonlocal rounds
        rounds += 1
        for place, adapter in enumerate(job["rows"]):
            engine.add_request(
                f"{rounds}-{place}",
                {"prompt_token_ids": list(job["prompt"])},
                how,
                lora_request=loras[adapter],
            )
        written = dict.fromkeys(range(len(job["rows"])), 0)
        start, before = 0.0, 0
        while engine.has_unfinished_requests():
            for output in engine.step():
                place = int(output.request_id.split("-")[1])
                written[place] = len(output.outputs[0].token_ids)
            if not start and all(written.values()):  # every row has its first token
                start, before = time.perf_counter(), sum(written.values())
        return sum(written.values()) - before, time.perf_counter() - start

    return run
