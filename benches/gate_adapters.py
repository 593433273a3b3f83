"""Routers that ask the adapters themselves: published designs for the table of gate_shift.py.

    python benches/gate_adapters.py LIBRARY [--base pocket]     # trains the five adapters they need

Arrow (Ostapenko et al., 2024, arXiv 2405.11157) compares each token's state with the direction that
each adapter stretches most, and needs no training. Likelihood asks under which adapter the prompt
itself is most probable. Both read the base's states, so they are given at most 512 tokens of a
prompt, its beginning and its end, where requests stand.

The library is that of examples/real_tasks.yaml, on fewer and shorter rows and for two epochs.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import yaml
from gate_data import SHARED, say
from torch import Tensor

from loramix.adapter import Adapter
from loramix.base import Base, encode_prompt
from loramix.commands.train import train
from loramix.evaluate import mixed_model
from loramix.evaluate.likelihood import Row, likelihoods
from loramix.library import Library
from loramix.merge.thin import Product, thin_spectrum
from loramix.mix import Mix

YAML = Path(__file__).resolve().parent.parent / "examples" / "real_tasks.yaml"
ROWS = {"sentiment": 800, "summarization": 240, "math": 480, "code": 640, "qa": 320}
LONGEST = 512
_BATCH_TOKENS = 4096  # padding included
_TYPICAL = 200  # prompts from which an adapter's usual gain is taken


class Arrow:
    """Arrow's choice for each token at each adapted layer, as one choice for the prompt.

    The prototype v of an adapter at a layer is the top right-singular vector of its ΔW = B A. A
    token whose input to the layer is x, scaled to length √D as a LayerNorm gives it, has the scores
    softmax_k |v_k · x|, with the absolute value because the sign of v means nothing. A prompt's
    scores are their mean over its tokens and all adapted layers, so that each decision that the
    original takes has one vote, as sure as it was. The states are those of the base alone: the
    original's depend on what earlier layers chose, which a choice for a whole prompt cannot.

    Args:
        base: what the adapters are of.
        adapters: by skill; the scores' columns are in this order, then `base`, which is always 0.
        rule: `soft` as above; `votes` counts each token's best adapter at each layer alone; `mean`
            takes the mean of |v_k · x| and one softmax of it in the end.
    """

    def __init__(self, base: Base, adapters: dict[str, Adapter], rule: str = "soft") -> None:
        self.base, self.rule = base, rule
        self.prototypes = prototypes(list(adapters.values()))

    def fit(self, prompts: Sequence[str], targets: Tensor) -> Arrow:
        """Nothing to learn."""
        return self

    @torch.inference_mode()
    def scores(self, prompts: Sequence[str]) -> Tensor:
        """Scores [B, K + 1]; rows sum to 1."""
        out = torch.zeros(len(prompts), len(next(iter(self.prototypes.values()))) + 1)
        rows = [ends(encode_prompt(self.base, prompt)) for prompt in prompts]
        for places in batches([len(row) for row in rows]):
            out[places, :-1] = self._read([rows[place] for place in places])
        return out

    def _read(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """[b, K] of the rows of one batch."""
        width = max(map(len, rows))
        # Right padding needs no mask in the forward: no real token sees it.
        ids = torch.tensor([[*row, *[self.base.pad_id] * (width - len(row))] for row in rows])
        real = torch.tensor([[1.0] * len(row) + [0.0] * (width - len(row)) for row in rows])
        total = torch.zeros(len(rows), len(next(iter(self.prototypes.values()))))
        layers = dict(self.base.model.named_modules())

        def hook(vectors: Tensor):
            def add(_layer, inputs):
                said = likeness(inputs[0].float(), vectors)
                if self.rule == "soft":
                    said = said.softmax(-1)
                elif self.rule == "votes":
                    said = torch.nn.functional.one_hot(said.argmax(-1), said.shape[-1]).float()
                total.add_(torch.einsum("btk,bt->bk", said, real) / real.sum(1, keepdim=True))

            return add

        hooks = [
            layers[path].register_forward_pre_hook(hook(vectors))
            for path, vectors in self.prototypes.items()
        ]
        try:
            self.base.model(input_ids=ids, use_cache=False, logits_to_keep=1)
        finally:
            for each in hooks:
                each.remove()
        mean = total / len(self.prototypes)
        return mean.softmax(1) if self.rule == "mean" else mean


def prototypes(adapters: Sequence[Adapter]) -> dict[str, Tensor]:
    """Layer → the top right-singular vectors [K, D_in] of each adapter's B A, of length 1.

    Through QR of the thin factors; B A is never formed. Only layers that all adapters have.
    """
    shared = [p for p in adapters[0].modules if all(p in a.modules for a in adapters)]
    return {
        path: torch.stack([thin_spectrum(Product(m.A.float(), m.B.float())).V[0] for m in modules])
        for path in shared
        for modules in [[a.modules[path] for a in adapters]]
    }


def likeness(x: Tensor, vectors: Tensor) -> Tensor:
    """|v_k · x| [..., K] of states x [..., D], scaled to length √D, and unit vectors [K, D]."""
    scale = x.shape[-1] ** 0.5 / x.norm(dim=-1, keepdim=True).clamp_min(1e-9)
    return ((x * scale) @ vectors.T).abs()


class Likelihoods:
    """Mean log-probability of a prompt's tokens under each adapter and the base, kept by prompt."""

    def __init__(self, base: Base, library: Library, skills: Sequence[str]) -> None:
        self.base, self.skills = base, tuple(skills)
        self._mixed = mixed_model(base, library)
        self._known: dict[str, Tensor] = {}

    def __call__(self, prompts: Sequence[str]) -> Tensor:
        """[B, K + 1] nats a token; the last column is the base."""
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._known]
        mixes = [*(Mix.of({name: 1.0}) for name in self.skills), Mix.base()]
        ids = [ends(encode_prompt(self.base, prompt)) for prompt in new]
        rows = [Row(own, 1, mix) for own in ids for mix in mixes]
        found = iter(likelihoods(self._mixed, self.base, rows))
        for prompt in new:
            self._known[prompt] = torch.tensor(
                [each.logprob / each.tokens for each in (next(found) for _ in mixes)]
            )
        return torch.stack([self._known[prompt] for prompt in prompts])


class PromptLikelihood:
    """The adapter under which the prompt is most probable.

    Args:
        rated: `Likelihoods`.
        against: `skills` has a softmax of the skills' mean log-probabilities (the base scores 0);
            `base` lets the base win too, as none of these; `usual` takes what each adapter gains
            over the base, less its mean gain on prompts that it is fitted on, by its deviation.
    """

    def __init__(self, rated: Likelihoods, against: str = "skills") -> None:
        self.rated, self.against = rated, against

    def fit(self, prompts: Sequence[str], targets: Tensor) -> PromptLikelihood:
        """Only `usual` learns, K means and deviations, from a few of the prompts."""
        if self.against == "usual":
            some = random.Random(0).sample(list(prompts), min(_TYPICAL, len(prompts)))
            gains = self._gains(some)
            self.mean, self.deviation = gains.mean(0), gains.std(0).clamp_min(1e-4)
        return self

    def scores(self, prompts: Sequence[str]) -> Tensor:
        """Scores [B, K + 1]; rows sum to 1."""
        if self.against == "base":
            return self.rated(prompts).softmax(1)
        if self.against == "usual":
            raw = (self._gains(prompts) - self.mean) / self.deviation
        else:
            raw = self.rated(prompts)[:, :-1]
        return torch.nn.functional.pad(raw.softmax(1), (0, 1))

    def _gains(self, prompts: Sequence[str]) -> Tensor:
        found = self.rated(prompts)
        return found[:, :-1] - found[:, -1:]


def ends(ids: Sequence[int]) -> list[int]:
    """At most LONGEST tokens: of more, the first and the last half."""
    if len(ids) <= LONGEST:
        return list(ids)
    return [*ids[: LONGEST // 2], *ids[-LONGEST // 2 :]]


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Places of rows of like length, of at most _BATCH_TOKENS with their padding."""
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[place] > _BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def main() -> None:
    """Trains the adapters and says how well they do, briefly."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("library", type=Path)
    parser.add_argument("--base", default="pocket")
    args = parser.parse_args()
    document = yaml.safe_load(YAML.read_text("utf-8").replace("../../shared", str(SHARED)))
    document |= {"base": args.base, "library": str(args.library.resolve())}
    for name, skill in document["skills"].items():
        skill["data"]["limit"] = ROWS[name]
    document["train"] |= {"epochs": 2, "max_length": 320}
    document["gate"] = {"features": "request"}
    document["evaluation"] = {"examples": 20, "max_new_tokens": 40}
    with tempfile.TemporaryDirectory() as place:
        config = Path(place) / "real_tasks.yaml"
        config.write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")
        say(json.dumps(train(config)))


if __name__ == "__main__":
    main()
