"""Pre-trains the pocket base on the streams that corpus.py wrote; resumes where it stopped.

    torchrun --nproc-per-node 2 tools/pocket/pretrain.py --work build/pocket --minutes 60

A process for each core is faster than two threads of one; without torchrun there is one process.
The learning rate follows the share of the time that has passed, so that a run ends when it was
meant to on whatever machine. Every few minutes a checkpoint and, beside it, a model folder that
`AutoModelForCausalLM` loads are written.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
from corpus import CONTEXT
from torch import distributed
from torch.nn import functional as F
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

SHAPE = {
    "hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 4,
    "num_key_value_heads": 4, "intermediate_size": 704,
}  # fmt: skip
TOKENS_PER_STEP = 8192
SHORT = 256  # most sequences; every eighth step has CONTEXT
TOKENS_AT_ONCE = 1024  # what goes through the model in one piece: its activations stay in cache
WARM, COOL = 0.01, 0.45  # shares of the time spent warming up and cooling down
MUON_RATE, ADAM_RATE = 0.01, 3e-3


def make_model(vocabulary: int) -> LlamaForCausalLM:
    """A fresh Llama of the pocket shape."""
    config = LlamaConfig(
        vocab_size=vocabulary, tie_word_embeddings=False, max_position_embeddings=CONTEXT,
        bos_token_id=1, eos_token_id=2, pad_token_id=0, **SHAPE,
    )  # fmt: skip
    # attention as plain matrix products: the fused CPU kernel's backward is three times slower
    return LlamaForCausalLM._from_config(config, attn_implementation="eager")


@torch.no_grad()
def wire_lookback(model: LlamaForCausalLM) -> None:
    """Starts the model with an induction circuit: "what came after this token before?"

    A model this small, on this few tokens, does not find the circuit by itself (docs/log.md), and
    without it can neither copy an aspect from a review nor answer from a passage. So it is born
    with one, as plain weights that training is free to change (Olsson et al. 2022, "In-context
    Learning and Induction Heads", describe it in trained models):

    - layer 0, head 0 looks at the token before. Query and key come from a constant that every
      embedding carries in dimension 0; rotated by RoPE, their product peaks at distance 1. It
      writes that token's content (its dimensions from 1 on, as many as a head has) into
      dimensions kept free for it.
    - layer 1, head 0 matches the token here (query) with the tokens after which others stand
      (key), in rotary pairs so slow that distance hardly matters, and writes the content of what
      stood there into other free dimensions, where the head of the model reads it.

    Embeddings start large, so that Adam's steps of a fixed size do not carry them away from the
    circuit; the head of the model starts with nothing but the circuit's answer.
    """
    config = model.config
    size = config.hidden_size // config.num_attention_heads
    half = size // 2
    content, seen, answer = (slice(at, at + size) for at in (1, 128, 192))
    embedding, head = model.model.embed_tokens.weight, model.lm_head.weight
    constant, scale = 4.0, 0.5
    embedding.normal_(std=scale)
    embedding[:, 0] = constant * scale
    embedding[:, seen] = embedding[:, answer] = 0.0
    head.zero_()
    head[:, answer] = embedding[:, content] * 0.1 / scale
    previous, match = model.model.layers[0].self_attn, model.model.layers[1].self_attn
    pairs = torch.arange(8)
    theta = 10_000.0 ** (-pairs / half)
    gain = 6.5 / constant
    for layer in model.model.layers:  # nothing else writes at first, so that the circuit is clear
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
    for attention in (previous, match):
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
            projection.weight[:size] = 0.0
        attention.v_proj.weight[:size, content] = torch.eye(size)
    previous.q_proj.weight[pairs, 0] = gain
    previous.k_proj.weight[pairs, 0] = gain * theta.cos()
    previous.k_proj.weight[pairs + half, 0] = gain * theta.sin()
    previous.o_proj.weight[seen, :size] = torch.eye(size) * scale
    slow = torch.cat([torch.arange(half // 2, half), torch.arange(size - half // 2, size)])
    dims = torch.arange(len(slow))
    match.q_proj.weight[slow, content.start + dims] = 1.6
    match.k_proj.weight[slow, seen.start + dims] = 1.6
    match.o_proj.weight[answer, :size] = torch.eye(size) * scale


class Streams:
    """Draws rows of token ids from the sources by their shares.

    A row of short documents starts where one starts: a recap whose passage was cut off would
    teach the model to make things up.
    """

    def __init__(self, work: Path, rng: np.random.Generator) -> None:
        manifest = json.loads((work / "streams.json").read_text())
        self.arrays = [np.load(work / f"{name}.npy", mmap_mode="r") for name in manifest]
        self.counts = [np.load(work / f"{name}.counts.npy", mmap_mode="r") for name in manifest]
        starts = [np.flatnonzero(array == 1) for array in self.arrays]  # of documents
        self.starts = [
            found if len(array) < CONTEXT * len(found) else None
            for found, array in zip(starts, self.arrays, strict=True)
        ]
        shares = np.array([entry["share"] for entry in manifest.values()])
        self.shares, self.rng = shares / shares.sum(), rng

    def batch(self, rows: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """[rows, length + 1] ids, and [rows, length] what each but the first counts."""
        picked = self.rng.choice(len(self.arrays), size=rows, p=self.shares)
        out, counts = [], []
        for source in picked:
            array = self.arrays[source]
            last, starts = len(array) - length - 1, self.starts[source]
            start = int(self.rng.integers(0, last) if starts is None else self.rng.choice(starts))
            start = min(start, last)
            out.append(torch.from_numpy(array[start : start + length + 1].astype(np.int64)))
            count = self.counts[source][start + 1 : start + length + 1]
            counts.append(torch.from_numpy(count.astype(np.float32)))
        return torch.stack(out), torch.stack(counts)


def rate(progress: float) -> float:
    """The schedule: up, flat, and down linearly to nothing."""
    return max(0.0, min(1.0, progress / WARM, (1.0 - progress) / COOL))


def export(model: LlamaForCausalLM, work: Path, folder: Path, report: dict[str, object]) -> None:
    """Writes a model folder in bf16, whole or not at all."""
    staging = folder.with_name(folder.name + ".new")
    copy = LlamaForCausalLM(model.config)
    copy.load_state_dict(model.state_dict())
    copy.to(torch.bfloat16).save_pretrained(staging)
    AutoTokenizer.from_pretrained(work / "tokenizer").save_pretrained(staging)
    (staging / "training.json").write_text(json.dumps(report, indent=1))
    old = folder.with_name(folder.name + ".old")
    if folder.exists():
        folder.rename(old)
    staging.rename(folder)
    for file in old.glob("*") if old.exists() else ():
        file.unlink()
    with contextlib.suppress(FileNotFoundError):
        old.rmdir()


def average(parameters: list[torch.nn.Parameter], seconds: float) -> float:
    """Gives every process the mean gradient, and returns the mean of `seconds`."""
    if not distributed.is_initialized():
        return seconds
    grads = [p.grad for p in parameters if p.grad is not None]
    clock = grads[0].new_tensor([seconds])
    flat = torch.cat([*(grad.flatten() for grad in grads), clock])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    for grad, part in zip(grads, flat.split([g.numel() for g in grads] + [1]), strict=False):
        grad.copy_(part.view_as(grad))
    return flat[-1].item()


def main() -> None:
    """Trains until the time is up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=90.0)
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--save-every", type=float, default=120.0, help="seconds")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if world > 1:
        distributed.init_process_group("gloo")
        os.sched_setaffinity(0, {rank % (os.cpu_count() or 1)})
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = AutoTokenizer.from_pretrained(args.work / "tokenizer")
    model = make_model(len(tokenizer))
    wire_lookback(model)
    model.to(device)
    named = list(model.named_parameters())
    others = [p for n, p in named if p.ndim != 2 or "embed" in n or "lm_head" in n]
    matrices = [p for n, p in named if all(p is not other for other in others)]
    muon = torch.optim.Muon(matrices, lr=MUON_RATE, weight_decay=0.01, momentum=0.95)
    adam = torch.optim.AdamW(others, lr=ADAM_RATE, betas=(0.9, 0.98), weight_decay=0.0)
    streams = Streams(args.work, np.random.default_rng(rank))
    state = {"step": 0, "seconds": 0.0, "tokens": 0, "loss": math.nan}
    checkpoint = args.work / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=False)
        model.load_state_dict(saved["model"])
        muon.load_state_dict(saved["muon"])
        adam.load_state_dict(saved["adam"])
        state = saved["state"]
        streams.rng = np.random.default_rng([rank, state["step"]])
        print(f"resumed at step {state['step']}", flush=True)

    def loss_of(ids: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device, dtype=torch.bfloat16):
            hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
            logits = model.lm_head(hidden)
        losses = F.cross_entropy(
            logits.flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none"
        )
        return (losses * counts.flatten()).sum()

    compiled = torch.compile(loss_of, dynamic=False)
    limit = args.minutes * 60
    started = last_save = last_print = time.monotonic()
    earlier, parameters = state["seconds"], list(model.parameters())
    log = (args.work / "losses.jsonl").open("a")
    while state["seconds"] < limit:
        length = CONTEXT if state["step"] % 8 == 7 else SHORT
        rows = TOKENS_PER_STEP // length // world
        ids, counts = (part.to(device) for part in streams.batch(rows, length))
        factor = rate(state["seconds"] / limit)
        for optimizer, peak in ((muon, MUON_RATE), (adam, ADAM_RATE)):
            for group in optimizer.param_groups:
                group["lr"] = peak * factor
        value, total = 0.0, counts.sum()
        at_once = max(1, TOKENS_AT_ONCE // length)
        for part, weights in zip(ids.split(at_once), counts.split(at_once), strict=True):
            loss = compiled(part, weights) / total
            loss.backward()
            value += loss.item()
        # the same in all processes, so that they stop together
        state["seconds"] = average(parameters, earlier + time.monotonic() - started)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        muon.step()
        adam.step()
        muon.zero_grad()
        adam.zero_grad()
        smooth = state["loss"]
        state["loss"] = value if math.isnan(smooth) else 0.98 * smooth + 0.02 * value
        state["step"] += 1
        state["tokens"] += ids[:, 1:].numel() * world
        now = time.monotonic()
        if rank == 0 and now - last_print > 15:
            last_print = now
            log.write(json.dumps(state) + "\n")
            log.flush()
            print(json.dumps({**state, "speed": state["tokens"] / state["seconds"]}), flush=True)
        if rank == 0 and (now - last_save > args.save_every or state["seconds"] >= limit):
            saved = {
                "model": model.state_dict(), "muon": muon.state_dict(),
                "adam": adam.state_dict(), "state": dict(state),
            }  # fmt: skip
            torch.save(saved, checkpoint.with_suffix(".new"))
            os.replace(checkpoint.with_suffix(".new"), checkpoint)
            export(model, args.work, args.work / "model", dict(state))
            last_save = time.monotonic()


if __name__ == "__main__":
    main()
