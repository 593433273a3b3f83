"""How finely skills that were trained apart must be weighted before they answer together.

    python benches/blend_weights.py [--library DIR] [--rows 200] [--test 60] [--steps 120]

The base and the adapters stay as they are. For each kind of composite the ways below learn on
`--rows` requests of the train split, and are measured on the test split: right are the answers
both of whose parts are right. Then the same weights are forced on prompts that need one skill.

pair      a number for each skill: 2
layers    a number for each skill and adapted matrix (CAT of "LoRA Soups", arXiv 2410.13025): 84
tokens    in each layer a gate on each token's hidden state (LoRA-Flow, arXiv 2402.11455), softmax
free      the same, without the softmax: weights may be negative or add up to more than 1
matrices  `free` with a gate for each adapted matrix
glue      half of each skill, and beside them a new adapter, the only one that learns
tokens+   `free` and a new adapter together
new       the new adapter without the skills: what the rows teach by themselves
"""

from __future__ import annotations

import argparse
import functools
import json
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import torch
from gate_data import say, table
from torch import Tensor, nn
from torch.nn import functional

from loramix.adapter import Adapter, LoraSettings, init_adapter
from loramix.base import Base, encode_example, encode_prompt, load_base
from loramix.data import Example
from loramix.evaluate import Answers, evaluate_composites, mixed_model, score_of
from loramix.evaluate.composites import both_right
from loramix.gate import make_policy, read_gate
from loramix.library import Library
from loramix.pocket.tasks import COMPOSITES, TASKS
from loramix.stack import stack_skills

METHODS = ("pair", "layers", "tokens", "free", "matrices", "glue", "tokens+", "new")
RATES = {"pair": 2e-2, "layers": 2e-2}
"""Learning rates; of the gates and of a new adapter it is `RATE`."""

RATE, BATCH, TOGETHER = 5e-3, 8, 64


class Fusion(nn.Module):
    """K frozen adapters beside a base under weights that learn, and perhaps a new adapter.

    Args:
        base: the frozen base.
        adapters: of the same base and the same matrices.
        method: of `METHODS`.
        rank: of the new adapter.
    """

    def __init__(self, base: Base, adapters: Sequence[Adapter], method: str, rank: int) -> None:
        super().__init__()
        self.method, self.count = method, len(adapters)
        self.base = base  # no module itself, so that its parameters are not ours
        self.paths = list(adapters[0].modules)
        model: Any = base.model
        modules = {path: [a.modules[path] for a in adapters] for path in self.paths}
        self.stacks = {p: stack_skills(some, torch.float32) for p, some in modules.items()}
        self.columns = {
            p: torch.tensor([k for k, m in enumerate(some) for _ in range(m.rank)])
            for p, some in modules.items()
        }
        width, even = base.model.config.hidden_size, torch.full((self.count,), 1 / self.count)
        self.fixed = nn.Parameter(even.repeat(len(self.paths) if method == "layers" else 1, 1))
        if method == "new":
            self.fixed.data.zero_()
        self.fixed.requires_grad_(method in ("pair", "layers"))
        gates = {"tokens": 1, "free": 1, "tokens+": 1, "matrices": len(self.paths)}.get(method, 0)
        per_layer = max(1, gates // len(model.model.layers))
        self.gate = nn.Parameter(
            torch.zeros(len(model.model.layers), per_layer, self.count, width + 1)
        )
        if method != "tokens":
            self.gate.data[..., -1] = 1 / self.count
        self.gate.requires_grad_(gates > 0)
        self.fresh = nn.ParameterDict()
        self.scaling = 0.0
        if method in ("glue", "tokens+", "new"):
            shape = LoraSettings(r=rank, alpha=2 * rank, target_modules=names_of(self.paths))
            for path, module in init_adapter(base.model, shape, seed=0).modules.items():
                self.fresh[path.replace(".", "/") + "A"] = nn.Parameter(module.A.clone())
                self.fresh[path.replace(".", "/") + "B"] = nn.Parameter(module.B.clone())
                self.scaling = module.scaling
        self.now: Tensor = even

    @property
    def learned(self) -> list[nn.Parameter]:
        """What learns."""
        return [p for p in self.parameters() if p.requires_grad]

    @contextmanager
    def on(self) -> Iterator[None]:
        """Inside, every forward of the base is mixed."""
        handles, model = [], cast(Any, self.base.model)
        for number, layer in enumerate(model.model.layers):
            enter = functools.partial(self._enter, number)
            handles.append(layer.register_forward_pre_hook(enter))
        modules = dict(self.base.model.named_modules())
        for place, path in enumerate(self.paths):
            mix = functools.partial(self._mix, place, path)
            handles.append(modules[path].register_forward_hook(mix))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, layer: int, _module: object, args: tuple[Tensor, ...]) -> None:
        if not self.gate.requires_grad:
            return
        x = args[0]  # [B, T, D]
        seen = functional.rms_norm(x, x.shape[-1:]) / x.shape[-1] ** 0.5
        ones = torch.ones_like(seen[..., :1])
        heads = self.gate[layer]  # [gates, K, D + 1]
        if self.method == "tokens":  # softmax(W x) + b
            found = (seen @ heads[0, :, :-1].T * GAIN).softmax(-1) + heads[0, :, -1]
            self.now = found[:, :, None]
        else:
            slopes = torch.cat((heads[..., :-1] * GAIN, heads[..., -1:]), -1)
            self.now = torch.einsum("btd,gkd->btgk", torch.cat((seen, ones), -1), slopes)

    def _mix(
        self, place: int, path: str, _module: object, args: tuple[Tensor, ...], out: Tensor
    ) -> Tensor:
        x = args[0]
        if self.gate.requires_grad:
            per_layer = self.now.shape[2]
            weights = self.now[:, :, place % per_layer]  # [B, T, K]
        else:
            weights = self.fixed[place if self.fixed.shape[0] > 1 else 0]  # [K]
        a, b = self.stacks[path]
        out = out + (x @ a.T * weights[..., self.columns[path]]) @ b.T
        if self.scaling:
            key = path.replace(".", "/")
            out = out + (x @ self.fresh[key + "A"].T) @ self.fresh[key + "B"].T * self.scaling
        return out


GAIN = 16.0
"""Gates see states of norm 1; times this, so that a step moves slopes as much as offsets."""


def names_of(paths: Sequence[str]) -> list[str]:
    """The last names of paths, each once."""
    return list(dict.fromkeys(path.rpartition(".")[2] for path in paths))


def learn(fusion: Fusion, base: Base, rows: Sequence[Example], steps: int, seed: int) -> float:
    """Trains what learns on completions; the mean loss of the last tenth of the steps."""
    encoded = [encode_example(base, row.prompt, row.completion) for row in rows]
    rate = RATES.get(fusion.method, RATE)
    optimizer = torch.optim.AdamW(fusion.learned, lr=rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    rng, queue, losses = random.Random(seed), [], []
    with fusion.on():
        for _ in range(steps):
            while len(queue) < BATCH:
                queue += rng.sample(encoded, len(encoded))
            batch, queue = queue[:BATCH], queue[BATCH:]
            loss = loss_of(base, batch)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(fusion.learned, 1.0)
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
    last = losses[-max(1, steps // 10) :]
    return sum(last) / len(last)


def loss_of(base: Base, batch: Sequence[tuple[list[int], list[int]]]) -> Tensor:
    """Nats a token of the completions."""
    width = max(len(ids) for ids, _ in batch)
    ids = torch.tensor([ids + [base.pad_id] * (width - len(ids)) for ids, _ in batch])
    labels = torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in batch])
    model: Any = base.model
    states = model.model(ids, use_cache=False).last_hidden_state[:, :-1]  # padded on the right
    wanted = labels[:, 1:] != -100
    return functional.cross_entropy(model.lm_head(states[wanted]), labels[:, 1:][wanted])


@torch.inference_mode()
def write(fusion: Fusion, base: Base, prompts: Sequence[str], most: int) -> list[str]:
    """Greedy answers under what was learned."""
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    texts = [""] * len(prompts)
    model: Any = base.model
    with fusion.on():
        for start in range(0, len(order), TOGETHER):
            places = order[start : start + TOGETHER]
            ids = [encode_prompt(base, prompts[i]) for i in places]
            width = max(map(len, ids))
            padded = torch.tensor([[base.pad_id] * (width - len(row)) + row for row in ids])
            mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids])
            done = model.generate(
                padded, attention_mask=mask, max_new_tokens=most, do_sample=False,
                pad_token_id=base.pad_id,
            )  # fmt: skip
            for place, row in zip(places, done[:, width:], strict=True):
                texts[place] = base.tokenizer.decode(row, skip_special_tokens=True)
    return texts


def measured(
    base: Base,
    adapters: dict[str, Adapter],
    kind: str,
    method: str,
    args: argparse.Namespace,
    show: Callable[[str], None],
) -> dict[str, Any]:
    """One way, learned on one kind of composite."""
    composite, began = COMPOSITES[kind], time.perf_counter()
    fusion = Fusion(base, [adapters[name] for name in composite.skills], method, args.rank)
    rows = composite.answerable("train", args.rows, args.seed)
    if args.native:
        rows = [replace(row, completion=native(row.completion)) for row in rows]
    for name in composite.skills:
        rows += TASKS[name].examples("train", args.singles, args.seed) if args.singles else []
    loss = learn(fusion, base, rows, args.steps, args.seed)
    held = composite.answerable(args.split, args.test, args.seed)
    texts = write(fusion, base, [row.prompt for row in held], composite.max_new_tokens)
    for row, text in list(zip(held, texts, strict=True))[: args.show]:
        show(f"{method}: {row.completion!r}\n  {text!r}")
    parts = composite.score_parts(held, texts)
    joint = score_of(both_right(parts), args.seed)
    alone = {}
    for name in composite.skills:
        task = TASKS[name]
        own = task.examples(args.split, args.alone, args.seed)
        texts = write(fusion, base, [row.prompt for row in own], task.max_new_tokens)
        alone[name] = sum(task.score_many(own, texts)) / len(own)
    return {
        "joint": joint.mean,
        "interval": [joint.low, joint.high],
        "parts": {name: sum(marks) / len(marks) for name, marks in parts.items()},
        "alone": alone,
        "loss": loss,
        "learned": sum(p.numel() for p in fusion.learned),
        "seconds": time.perf_counter() - began,
    }


def native(completion: str) -> str:
    """A summary and its tone as the two skills write them: what weights alone could reach."""
    line, found, tone = completion.partition(" Tone: ")
    return f"{line}\n{tone.rstrip('.')}" if found else completion


def main() -> None:
    """Prints tables, or with --json one object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library")
    parser.add_argument("--kinds", nargs="+", default=list(COMPOSITES), choices=list(COMPOSITES))
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=METHODS)
    parser.add_argument("--rows", type=int, default=200, help="composites to learn from")
    parser.add_argument("--singles", type=int, default=0, help="and rows of each skill's own task")
    parser.add_argument("--native", action="store_true", help="tones in the skill's own form")
    parser.add_argument("--steps", type=int, default=120, help=f"of {BATCH} rows")
    parser.add_argument("--rank", type=int, default=4, help="of the new adapter")
    parser.add_argument("--test", type=int, default=60, help="requests of each kind")
    parser.add_argument("--alone", type=int, default=30, help="prompts of each skill's own task")
    parser.add_argument("--split", default="test", choices=("dev", "test"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=int, default=0, help="answers to print to stderr")
    parser.add_argument("--plain", action="store_true", help="also base, top1, naive, chain, gate")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    library = Library.open(args.library) if args.library else Library.shipped()
    base = load_base(library.base_id, "cpu")
    library.check_base(base)
    adapters = {name: skill.adapter(base) for name, skill in library.skills.items()}
    result: dict[str, Any] = {"settings": vars(args), "kinds": {}}
    if args.plain:
        answers = Answers(base, mixed_model(base, adapters))
        kinds = {kind: COMPOSITES[kind] for kind in args.kinds}
        router, policy = read_gate(library, base), make_policy(library)
        result["plain"] = evaluate_composites(
            answers, kinds, router=router, policy=policy, apart=answers, n=args.test, seed=args.seed
        )
        if not args.json:
            say(json.dumps(result["plain"]))
        for name in answers.mixed.names:
            answers.mixed.remove(name)
    for kind in args.kinds:
        found = result["kinds"][kind] = {}
        for method in args.methods:
            found[method] = row = measured(base, adapters, kind, method, args, note)
            note(f"{kind} {method} {json.dumps(row)}")
        if not args.json and found:
            say(f"\n{kind}\n\n{shown(found)}")
    if args.json:
        say(json.dumps(result))


def note(line: str) -> None:
    """A line to stderr."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def shown(found: dict[str, Any]) -> str:
    """The table of one kind."""
    first = next(iter(found.values()))
    names = list(first["parts"])
    head = ("way", "both right", "interval", *names, *(f"{n} alone" for n in names), "learned")
    return table(
        head,
        [
            (
                method,
                row["joint"],
                "{:.2f} to {:.2f}".format(*row["interval"]),
                *(row["parts"][name] for name in names),
                *(row["alone"][name] for name in names),
                row["learned"],
            )
            for method, row in found.items()
        ],
    )


if __name__ == "__main__":
    main()
