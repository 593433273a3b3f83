"""Random schedules on bases of many makes: each request writes what it writes alone."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest
import torch

from engine_oracle import BYTES, ask, expected
from loramix.adapter import LoraSettings, init_adapter
from loramix.base import Base
from loramix.engine import Engine, Limits, Submission
from loramix.mixed import MixedModel
from tiny_base import make_base

SOFT = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 4.0}
SHAPES: list[tuple[str, dict[str, Any], list[str]]] = [
    ("llama", {}, ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]),
    ("mistral", {"sliding_window": 7}, ["q_proj", "down_proj"]),
    ("qwen2", {}, ["k_proj", "o_proj"]),
    ("qwen3", {}, ["q_proj", "gate_proj"]),
    ("phi3", {"sliding_window": 9}, ["qkv_proj", "gate_up_proj"]),
    ("gemma2", {"head_dim": 8, "sliding_window": 7, "query_pre_attn_scalar": 8, **SOFT},
     ["q_proj", "v_proj"]),
    ("gemma3_text", {"head_dim": 8, "sliding_window": 7}, ["q_proj"]),
    ("gpt2", {}, ["c_attn", "c_fc"]),
    ("gpt_neox", {}, ["query_key_value", "dense_h_to_4h"]),
    ("opt", {}, ["q_proj", "fc1"]),
]  # fmt: skip
MIXES = ["base", "s0", "s0=0.5,s1=0.7", "s2=1.3", "s0=0.2,s1=0.3,s2=0.4"]
WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "dogs", "é", "你", "add", "four", "zebra"]
MOST = 14
"""Tokens of a completion."""


def make_skills(base: Base, modules: list[str], draw: random.Random) -> MixedModel:
    """Three skills of ranks of their own, which change what is written."""
    mixed = MixedModel(base.model)
    for seed in range(3):
        settings = LoraSettings(r=draw.choice([1, 4, 9]), alpha=16, target_modules=modules)
        made = init_adapter(base.model, settings, seed)
        generator = torch.Generator().manual_seed(seed)
        changed = {
            path: dataclasses.replace(
                module, B=torch.randn(module.B.shape, generator=generator) * 0.3
            )
            for path, module in made.modules.items()
        }
        mixed.add(f"s{seed}", dataclasses.replace(made, modules=changed))
    return mixed


def run_schedule(base: Base, mixed: MixedModel, draw: random.Random) -> None:
    """Ten requests that come when they like, of which some are cancelled."""
    common = " ".join(draw.choices(WORDS, k=20))  # the prefix cache has something to keep
    prompts = [f"{common} {' '.join(draw.choices(WORDS, k=draw.randint(0, 5)))}" for _ in range(3)]
    limits = Limits(
        max_rows=draw.randint(1, 6),
        cache_bytes=draw.choice([BYTES, 240_000]),
        chunk_tokens=draw.randint(1, 30),
        prompt_tokens=draw.randint(1, 60),
        prefix_bytes=draw.choice([0, 30_000, BYTES]),
    )
    engine = Engine(base, mixed, limits=limits)
    todo = [
        (draw.randint(0, 12), draw.choice([*prompts, "dog"]), draw.choice(MIXES),
         draw.randint(1, MOST), draw.choice([1, 1, 2, 3]))
        for _ in range(10)
    ]  # fmt: skip
    handles: list[tuple[str, str, int, Submission]] = []
    step = 0
    while step <= 12 or engine.busy:
        for come, prompt, mix, tokens, n in todo:
            if come == step:
                handle = engine.submit(ask(prompt, mix, tokens, n=n))
                handles.append((prompt, mix, tokens, handle))
        if handles and draw.random() < 0.05:
            draw.choice(handles)[-1].cancel()
        engine.step()
        step += 1
    wanted = {pair: expected(base, pair[0], MOST, mixed, pair[1])
              for pair in {(prompt, mix) for prompt, mix, *_ in handles}}  # fmt: skip
    for prompt, mix, tokens, handle in handles:
        for done in handle.result():
            cut = done.completion_tokens if done.finish_reason == "cancel" else tokens
            assert list(done.token_ids) == wanted[prompt, mix][:cut]
    stats = engine.stats()
    assert (stats.running, stats.waiting, stats.cache_bytes) == (0, 0, 0)
    engine.close()


@pytest.mark.slow
@pytest.mark.parametrize(("arch", "shape", "modules"), SHAPES, ids=[shape[0] for shape in SHAPES])
def test_any_schedule_on_any_base_writes_what_each_request_alone_does(
    arch: str, shape: dict[str, Any], modules: list[str]
) -> None:
    for seed in range(8):
        draw = random.Random(seed)
        base = make_base(arch, seed=seed, **shape)
        run_schedule(base, make_skills(base, modules, draw), draw)
