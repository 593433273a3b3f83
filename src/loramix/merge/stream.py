"""Tokens on their way through the skills and through the expert so far, for `regmean_seq`.

The skills' streams are recorded once. The expert's is run again for each group of matrices that
read one tensor, with all matrices before them merged, so that each group meets the inputs that it
will meet, and can make good what those before it got wrong.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from loramix.base import Base, encode_prompt, is_conv1d
from loramix.lora import Adapter, LoraModule, embedded_paths
from loramix.mixed import MixedModel
from loramix.peft_config import plain_config

RIDGE = 1e-4
_BATCH = 16
_MOST = 1 << 30
"""Bytes that the recorded inputs of all skills may take; rows are left out beyond."""

Tokens = Sequence[Sequence[int]]


class _Reached(Exception):
    """The layer that was waited for has its input; the rest of the forward is not needed."""


class Stream:
    """What every matrix reads and should give, in the order in which the base runs them.

    Args:
        base: the frozen base.
        adapters: skill → adapter.
        rows: skill → prompts with their answers.
    """

    def __init__(
        self,
        base: Base,
        adapters: Mapping[str, Adapter],
        rows: Mapping[str, Sequence[tuple[str, str]]],
    ) -> None:
        self._base, self._adapters = base, adapters
        self._layers = dict(base.model.named_modules())
        self._paths = list(dict.fromkeys(p for a in adapters.values() for p in a.modules))
        self._embeddings = embedded_paths(adapters)
        self._mixed = MixedModel(base.model)
        self._tokens = self._fitting(rows)
        self._leader: dict[str, str] = {}
        self._own: dict[str, dict[str, Tensor]] = {}
        for name, adapter in adapters.items():
            self._mixed.add("skill", adapter)
            self._own[name] = self._record(name, "skill", self._paths)
        self._mixed.remove("skill")
        self.begin()

    @property
    def order(self) -> list[str]:
        """All matrices, as the base runs them."""
        return list(self._leader)

    def begin(self) -> None:
        """Forget what was merged."""
        self._placed: dict[str, LoraModule] = {}
        self._group = ""
        self._now: dict[str, Tensor] = {}

    def place(self, path: str, module: LoraModule) -> None:
        """The merged matrix of `path`; those after it will meet its outputs."""
        self._placed[path] = module

    def moments(self, name: str, path: str) -> tuple[Tensor, Tensor | None]:
        """(X̂ᵀX̂ + ρI, YᵀX̂ + ρΔW) of one skill and one matrix, means over its tokens.

        As the `gram` and the `cross` of a `Share`: of embeddings a diagonal, and None.

        X̂ [N, D_in] is what the expert so far gives the matrix, X what the skill gives it, and
        Y = X (W + ΔW)ᵀ - X̂ Wᵀ what the merged update should add.
        """
        module = self._adapters[name].modules.get(path)
        leader = self._leader[path]
        if path in self._embeddings:  # whatever was merged, the tokens are the same
            tokens = self._own[name][leader].long()
            counts = token_counts(tokens, count_tokens(self._base)) / len(tokens)
            steady(counts)
            return counts, None
        if leader != self._group:
            self._group = leader
            self._now = {skill: self._merged_input(skill, leader) for skill in self._adapters}
        x, seen = self._own[name][leader].double(), self._now[name].double()
        layer: nn.Module = self._layers[path]
        weight = _weight(layer)
        wanted = (x - seen) @ weight.T
        if module is not None:
            a, b = module.A.double(), module.B.double() * module.scaling
            wanted = wanted + (x @ a.T) @ b.T
        gram, cross = seen.T @ seen / len(seen), wanted.T @ seen / len(seen)
        ridge = steady(gram)
        return gram, cross if module is None else cross + ridge * module.delta()

    def _merged_input(self, name: str, leader: str) -> Tensor:
        if not self._placed:
            return self._own[name][leader]
        rank = next(iter(self._placed.values())).rank
        config = {**plain_config(rank, rank), "target_modules": sorted(self._placed)}
        self._mixed.add("merged", Adapter(dict(self._placed), config))
        return self._record(name, "merged", [leader])[leader]

    def _fitting(self, rows: Mapping[str, Sequence[tuple[str, str]]]) -> dict[str, list[list[int]]]:
        tokenizer, ends = self._base.tokenizer, self._base.eos_ids[:1]
        tokens = {
            name: [
                [
                    *encode_prompt(self._base, prompt),
                    *tokenizer(answer, add_special_tokens=False)["input_ids"],
                    *ends,
                ][: self._base.max_length]
                for prompt, answer in some
            ]
            for name, some in rows.items()
        }
        widths = {
            path: 1 if m.embedding else m.A.shape[1]
            for a in self._adapters.values()
            for path, m in a.modules.items()
        }
        room = _MOST // (4 * sum(widths.values()) * len(tokens))  # tokens of each skill
        kept = {}
        for name, some in tokens.items():
            kept[name], used = some[:1], len(some[0])
            for row in some[1:]:
                used += len(row)
                if used <= room:
                    kept[name].append(row)
        return kept

    @torch.no_grad()
    def _record(self, name: str, skill: str, paths: Sequence[str]) -> dict[str, Tensor]:
        """Leader → its inputs [N, D_in] in the rows of a skill; a pass ends when all are seen."""
        found: dict[str, list[Tensor]] = {}
        last: list[Tensor | str] = []
        waited = set(paths)

        def hook(path: str) -> object:
            def see(_: nn.Module, given: tuple[Tensor, ...]) -> None:
                if last and given[0] is last[0]:
                    self._leader[path] = str(last[1])
                else:
                    self._leader.setdefault(path, path)
                    last[:] = [given[0], path]
                    found.setdefault(path, []).append(given[0][mask].float().cpu())
                seen.add(path)
                if seen >= waited:
                    raise _Reached

            return self._layers[path].register_forward_pre_hook(see)

        hooks = [hook(path) for path in paths]
        try:
            rows = self._tokens[name]
            for start in range(0, len(rows), _BATCH):
                some, seen = rows[start : start + _BATCH], set[str]()
                longest = max(map(len, some))
                ids = torch.tensor(
                    [[*row, *[self._base.pad_id] * (longest - len(row))] for row in some]
                )
                mask = torch.tensor([[i < len(row) for i in range(longest)] for row in some])
                ids, mask = ids.to(self._base.device), mask.to(self._base.device)
                weights = torch.ones(len(some), 1)
                with contextlib.suppress(_Reached):
                    self._mixed(
                        ids,
                        attention_mask=mask.long(),
                        mix_weights=weights,
                        mix_names=[skill],
                        use_cache=False,
                    )
                last.clear()
        finally:
            for handle in hooks:
                handle.remove()  # type: ignore[attr-defined]
        return {path: torch.cat(parts) for path, parts in found.items()}


def count_tokens(base: Base) -> int:
    """How many tokens the embeddings hold."""
    table: nn.Module = base.model.get_input_embeddings()
    assert isinstance(table.weight, Tensor)
    return table.weight.shape[0]


def token_counts(tokens: Tensor, all_tokens: int) -> Tensor:
    """How often each token comes up, [all_tokens] float64: the diagonal of XᵀX of one-hot rows."""
    return torch.bincount(tokens.cpu(), minlength=all_tokens).double()


def steady(gram: Tensor) -> float:
    """Adds a ridge to XᵀX, or to its diagonal, in place; says which."""
    diagonal = gram if gram.dim() == 1 else gram.diagonal()
    ridge = RIDGE * float(diagonal.mean()) + 1e-12
    diagonal.add_(ridge)
    return ridge


def _weight(layer: nn.Module) -> Tensor:
    """W [D_out, D_in] in float64."""
    weight = layer.weight.detach().double().cpu()  # type: ignore[operator]
    return weight.T if is_conv1d(layer) else weight
