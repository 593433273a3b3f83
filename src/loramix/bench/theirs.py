"""Others as candidates, those that run in this process: PEFT and transformers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loramix.base import encode_prompt
from loramix.bench.measure import MissingPeer, Run, Timed, quiet
from loramix.bench.ours import PROMPT, EndlessBase, twin


def generate_run(base: EndlessBase, rows: int, tokens: int) -> Run:
    """`model.generate` without adapters, greedy, timed from the first token on."""
    return _generating(base.model, base, rows, tokens)


def peft_run(base: EndlessBase, folders: Sequence[Path], names: Sequence[str], tokens: int) -> Run:
    """PEFT's mixed batch: `generate(adapter_names=…)`, one adapter a row.

    Args:
        base: without skills; it stays as it is.
        folders: of the adapters, each named as its skill.
        names: of the adapter of each row.
        tokens: timed in each row.
    """
    from peft import PeftModel

    # in the base's own dtype: as fast as PEFT can be
    options: dict[str, Any] = {"autocast_adapter_dtype": False}
    first, *others = folders
    with quiet():
        model: Any = PeftModel.from_pretrained(
            twin(base).model, str(first), adapter_name=first.name, **options
        )
        for folder in others:
            model.load_adapter(str(folder), folder.name, **options)
    return _generating(model.eval(), base, len(names), tokens, adapter_names=list(names))


def batch_run(base: EndlessBase, rows: int, tokens: int) -> Run:
    """transformers' own continuous batching, `generate_batch`, without adapters."""
    try:
        from transformers import ContinuousBatchingConfig, GenerationConfig
    except ImportError as error:
        raise MissingPeer(f"this transformers is too old: {error}") from error

    model: Any = twin(base).model
    prompts = [encode_prompt(base, PROMPT) for _ in range(rows)]
    make: Any = GenerationConfig
    config = make(do_sample=False, max_new_tokens=tokens + 1, eos_token_id=-1)
    # without a size, its cache takes most of the memory that is free, and minutes to fill
    length = len(prompts[0]) + tokens + 1
    make = ContinuousBatchingConfig
    pages = rows * (length // 256 + 2)  # of 256 tokens each
    room = make(page_size=256, num_blocks=pages, max_batch_tokens=max(256, rows))

    def run() -> Timed:
        with quiet():
            outputs = model.generate_batch(
                prompts,
                generation_config=config,
                continuous_batching_config=room,
                record_timestamps=True,
                progress_bar=False,
            )
        stamps = [output.timestamps for output in outputs.values()]
        start = max(times[0] for times in stamps)  # every row has its first token
        late = [time for times in stamps for time in times if time > start]
        return Timed(len(late), max(late) - start)

    return run


def _generating(model: Any, base: EndlessBase, rows: int, tokens: int, **extra: Any) -> Run:
    """`model.generate` of `rows` rows [rows, T] of one prompt."""
    ids = torch.tensor([encode_prompt(base, PROMPT)] * rows)

    def run() -> Timed:
        stamps: list[float] = []

        def note(ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
            stamps.append(time.perf_counter())
            return torch.zeros(len(ids), dtype=torch.bool)

        with torch.inference_mode(), quiet():
            model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=tokens + 1,
                pad_token_id=base.pad_id,
                stopping_criteria=[note],
                **extra,
            )
        return Timed(rows * (len(stamps) - 1), stamps[-1] - stamps[0])

    return run
