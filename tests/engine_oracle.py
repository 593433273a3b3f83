"""What an engine must write, by a way that is slow and obviously right: `model.generate`."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import torch

from loramix.adapter import Adapter, LoraSettings, init_adapter
from loramix.base import Base, encode_prompt
from loramix.engine import Engine, Limits, Request
from loramix.mix import Mix
from loramix.mixed import MixedModel
from loramix.sampling import Sampling
from tiny_base import make_base

PROMPTS = ["the cat", "add two and two to get four and sit", "dog", "zebra on the mat, and then?"]
MIXES = ["base", "one", "one=0.5,two=0.7", "two=1.5"]
TOKENS = 12
BYTES = 1 << 30


def loud_adapter(base: Base, seed: int, rank: int = 4) -> Adapter:
    """An adapter that changes what is written: B is not zero."""
    settings = LoraSettings(r=rank, alpha=2 * rank, target_modules=["q_proj", "v_proj"])
    made = init_adapter(base.model, settings, seed)
    generator = torch.Generator().manual_seed(seed)
    modules = {
        path: dataclasses.replace(
            module, B=torch.randn(module.B.shape, generator=generator).to(module.B.dtype) * 0.5
        )
        for path, module in made.modules.items()
    }
    return dataclasses.replace(made, modules=modules)


def make_mixed(base: Base) -> MixedModel:
    """The skills `one` and `two` beside a base."""
    mixed = MixedModel(base.model)
    mixed.add("one", loud_adapter(base, 1))
    mixed.add("two", loud_adapter(base, 2))
    return mixed


def expected(
    base: Base, prompt: str, tokens: int, mixed: MixedModel | None = None, mix: str = "base"
) -> list[int]:
    """What `model.generate` writes, greedily, under the mix."""
    ids = torch.tensor([encode_prompt(base, prompt)])

    def write() -> list[int]:
        out: Any = base.model.generate(  # type: ignore[operator]
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=tokens,
            pad_token_id=base.pad_id,
        )
        return [int(token) for token in out[0, ids.shape[1] :]]

    weights = Mix.parse(mix).weights
    if mixed is None or not weights:
        return write()
    with mixed.using(torch.tensor([list(weights.values())]), list(weights)):
        return write()


class World:
    """A base with two skills, and what it writes for every prompt under every mix."""

    def __init__(self) -> None:
        self.base = make_base()
        self.mixed = make_mixed(self.base)

    @functools.cache  # noqa: B019 - one world lives as long as the tests
    def expected(self, prompt: str, mix: str) -> list[int]:
        """TOKENS tokens."""
        return expected(self.base, prompt, TOKENS, self.mixed, mix)

    def engine(self, **limits: Any) -> Engine:
        """An engine of their own, without a thread."""
        return Engine(self.base, self.mixed, limits=Limits(**{"cache_bytes": BYTES, **limits}))


def ask(prompt: str = PROMPTS[0], mix: str = "base", tokens: int = TOKENS, **more: Any) -> Request:
    """A request; what `Sampling` takes goes there."""
    own = {f.name for f in dataclasses.fields(Request)}
    outer = {name: more.pop(name) for name in list(more) if name in own}
    return Request(prompt, mix, Sampling(tokens, **more), **outer)
