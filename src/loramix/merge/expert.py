"""Adapters → one adapter, one matrix after the other, so that memory stays small.

Weights are normalised: g_k = scale · w_k / Σ w. So 2:1 and 10:5 give one expert, and with one
weight above 0 there is nothing to merge: the result is that adapter, whatever the method.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from loramix.errors import AdapterMismatchError, ConfigError
from loramix.lora import Adapter, LoraModule, embedded_paths
from loramix.merge.methods import METHODS, Cut, Setting, Share, find_method
from loramix.merge.thin import Product
from loramix.peft_config import Config, plain_config

if TYPE_CHECKING:
    from loramix.merge.stream import Stream

CONVENTION = "normalised: each weight is divided by their sum, then times the scale"
MOST_RANK = 64
"""The default rank is the sum of the skills' ranks, up to this, or the largest of them."""
DENSITY = 0.5

Inputs = Mapping[str, Mapping[str, Tensor]]
"""Skill → path → XᵀX, float64 as a `Share` has it; see `loramix.merge.inputs`."""


@dataclass(frozen=True, eq=False)
class Expert:
    """Several skills as one adapter.

    Attributes:
        adapter: plain LoRA, alpha = r, one rank, no patterns; float32.
        method: that merged it.
        weights: skill → g_k, as used.
        scale: Σ g_k.
        rank: of every matrix.
        density: share of the entries kept, None where the method keeps all.
        seed: of what is random, None where nothing is.
        energy: 1 - Σ‖M - M_r‖² / Σ‖M‖² over all matrices: what the rank could hold.
        distilled: steps and rows in which it has learned from its skills again, None without.
    """

    adapter: Adapter
    method: str
    weights: Mapping[str, float]
    scale: float
    rank: int
    density: float | None
    seed: int | None
    energy: float
    distilled: tuple[int, int] | None = None

    def to_dict(self) -> dict[str, Any]:
        """All but the adapter, as the expert's card says it."""
        return {
            "method": self.method,
            "rank": self.rank,
            "energy": self.energy,
            "weights": dict(self.weights),
            "scale": self.scale,
            "density": self.density,
            "seed": self.seed,
            "convention": CONVENTION,
            "distilled": None
            if self.distilled is None
            else dict(zip(("steps", "rows"), self.distilled, strict=True)),
        }


def merge_adapters(
    adapters: Mapping[str, Adapter],
    weights: Sequence[float] | None = None,
    method: str = "linear",
    *,
    rank: int | None = None,
    density: float | None = None,
    scale: float = 1.0,
    seed: int = 0,
    inputs: Inputs | None = None,
    stream: Stream | None = None,
    step: Callable[[int, int], None] = lambda _done, _all: None,
) -> Expert:
    """Merges adapters of any ranks, scalings, patterns and target modules.

    A module that an adapter lacks counts as zero there. Computed in float64.

    Args:
        adapters: skill → adapter, all for one base.
        weights: one a skill, at least 0; None is the same for all. Normalised.
        method: one of `METHODS`.
        rank: of the result; None is the sum of the ranks, up to `MOST_RANK` or the largest.
        density: share of the entries that ties, dare_* and magnitude_prune keep, in (0, 1];
            None is 0.5.
        scale: what the weights sum to after normalising.
        seed: of the methods that draw.
        inputs: for regmean.
        stream: for regmean_seq.
        step: called with how many matrices are done, and how many there are.

    Raises:
        ConfigError: weights, rank, density or method that cannot be.
        AdapterMismatchError: the adapters are for different bases: their shapes differ.
    """
    chosen = find_method(method)
    shares, shapes = check_request(adapters, weights, density, scale)
    active = {name: adapter for name, adapter in adapters.items() if shares[name]}
    if len(active) == 1:
        method, chosen = "linear", METHODS["linear"]  # nothing to merge: the adapter itself
    wanted = merged_rank(active, shapes, rank, method)
    paths = list(dict.fromkeys(path for adapter in active.values() for path in adapter.modules))
    embeddings = embedded_paths(active)
    modules, lost, total = {}, 0.0, 0.0
    if not chosen.sequential:
        stream = None
    if stream is not None:
        stream.begin()
        paths = [path for path in stream.order if path in set(paths)]
    for done, path in enumerate(paths):
        setting = Setting(wanted, DENSITY if density is None else density, _seed(seed, path))
        parts = [
            Share(
                _delta(adapter, path, shapes[path]),
                shares[name],
                *(stream.moments(name, path) if stream else (_gram(inputs, name, path),)),
            )
            for name, adapter in active.items()
        ]
        cut = chosen.merge(parts, setting)
        modules[path] = replace(_padded(cut, wanted), embedding=path in embeddings)
        if stream is not None:
            stream.place(path, modules[path])
        lost, total = lost + cut.lost, total + cut.total
        step(done + 1, len(paths))
    return Expert(
        Adapter(modules, _config(list(active.values()), modules, wanted)),
        method,
        shares,
        scale,
        wanted,
        (DENSITY if density is None else density) if chosen.uses_density else None,
        seed if chosen.seeded else None,
        1.0 if total <= 0 else 1 - lost / total,
    )


def check_request(
    adapters: Mapping[str, Adapter],
    weights: Sequence[float] | None,
    density: float | None,
    scale: float,
) -> tuple[dict[str, float], dict[str, tuple[int, int]]]:
    """The normalised weights, and (D_in, D_out) of every module; the raises of `merge_adapters`."""
    shares = _normalised(list(adapters), weights, scale)
    if density is not None and not 0 < density <= 1:
        raise ConfigError(
            "The density is no share.",
            given=f"density {density:g}",
            expected="above 0, at most 1: the share of the entries that each skill keeps",
            hint="leave it out, or give a number such as 0.5",
        )
    return shares, check_one_base(adapters)


def check_one_base(adapters: Mapping[str, Adapter]) -> dict[str, tuple[int, int]]:
    """(D_in, D_out) of every module. Raises AdapterMismatchError where two adapters differ."""
    shapes: dict[str, tuple[int, int]] = {}
    owner: dict[str, str] = {}
    for name, adapter in adapters.items():
        for path, module in adapter.modules.items():
            shape = module.A.shape[1], module.B.shape[0]
            if shapes.setdefault(path, shape) != shape:
                raise AdapterMismatchError(
                    "The skills were trained for different bases.",
                    given=f"{path} is {list(shapes[path])} in {owner[path]!r} and "
                    f"{list(shape)} in {name!r}",
                    expected="skills of one base: the same shape [D_in, D_out] in all of them",
                    hint="merge skills of one library",
                )
            owner.setdefault(path, name)
    return shapes


def _normalised(
    names: Sequence[str], weights: Sequence[float] | None, scale: float
) -> dict[str, float]:
    weights = [1.0] * len(names) if weights is None else list(weights)
    if not names or len(weights) != len(names):
        raise ConfigError(
            "A merge needs one weight for each skill.",
            given=f"{len(weights)} weights for {len(names)} skills ({', '.join(names) or 'none'})",
            hint="give as many weights as skills, in the same order, or none at all",
        )
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights):
        raise ConfigError(
            "A weight of the merge cannot be used.",
            given=", ".join(f"{weight:g}" for weight in weights),
            expected="finite numbers of at least 0",
        )
    if not math.isfinite(scale) or scale <= 0:
        raise ConfigError(
            "The scale of the merge cannot be used.", given=scale, expected="a number above 0"
        )
    total = math.fsum(weights)
    if total <= 0:
        raise ConfigError(
            "All weights of the merge are zero.",
            given=", ".join(f"{weight:g}" for weight in weights),
            expected="at least one weight above 0",
            hint="leave the weights out to merge all skills evenly",
        )
    return {name: scale * w / total for name, w in zip(names, weights, strict=True)}


def merged_rank(
    active: Mapping[str, Adapter],
    shapes: Mapping[str, tuple[int, int]],
    rank: int | None,
    method: str,
) -> int:
    """The rank of the result, the same for every matrix.

    Raises:
        ConfigError: it is larger than the matrices, or the method has its own.
    """
    ranks = [adapter.rank for adapter in active.values()]
    paths = {path for adapter in active.values() for path in adapter.modules}
    sums = max(sum(a.modules[p].rank for a in active.values() if p in a.modules) for p in paths)
    most = max(min(shapes[path]) for path in paths)
    if METHODS[method].keeps_rank:
        if rank is not None and rank != sums:
            raise ConfigError(
                f"The method {method} keeps every rank, so that none can be chosen.",
                given=f"rank {rank}",
                expected=f"{sums}, the sum of the skills' ranks",
                hint="leave the rank out, or use the method linear, which cuts to a rank",
            )
        return sums
    if rank is None:
        return min(max(min(sums, MOST_RANK), *ranks), most)
    if rank < 1 or rank > most:
        raise ConfigError(
            "The rank does not fit the matrices." if rank > 0 else "The rank is no rank.",
            given=f"rank {rank}",
            expected=f"from 1 to {most}, the smaller side of the largest matrix",
            hint="leave it out, or give a smaller one" if rank > 0 else "give a whole number",
        )
    return rank


def _seed(seed: int, path: str) -> int:
    """A seed for each matrix, so that two of one shape do not drop the same entries."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{path}".encode()).digest()[:7], "big")


def _delta(adapter: Adapter, path: str, shape: tuple[int, int]) -> Product:
    """ΔW of one module with its scaling inside, float64; rank 0 where the adapter lacks it."""
    module = adapter.modules.get(path)
    if module is None:
        double = torch.float64
        return Product(torch.zeros(0, shape[0], dtype=double), torch.zeros(shape[1], 0).double())
    return Product(module.A.detach().double(), module.B.detach().double() * module.scaling)


def _gram(inputs: Inputs | None, name: str, path: str) -> Tensor | None:
    return None if inputs is None else inputs.get(name, {}).get(path)


def _padded(cut: Cut, rank: int) -> LoraModule:
    """The product with zeros up to the rank that all matrices have; scaling 1 since alpha = r."""
    a, b = cut.product.A.float(), cut.product.B.float()
    more = rank - cut.product.rank
    a = torch.cat([a, a.new_zeros(more, a.shape[1])]).contiguous()
    b = torch.cat([b, b.new_zeros(b.shape[0], more)], dim=1).contiguous()
    return LoraModule(a, b, 1.0)


def _config(sources: Sequence[Adapter], modules: Mapping[str, LoraModule], rank: int) -> Config:
    """A plain LoRA's config: alpha = r, no patterns.

    Short names of modules where all sources have the same list of them and nothing else decides
    what is covered; else whole paths, which always say what is meant.
    """
    config = plain_config(rank, rank)
    lists = [_short_names(source.config) for source in sources]
    same = lists[0] is not None and all(names == lists[0] for names in lists)
    config["target_modules"] = lists[0] if same else sorted(modules)
    for key in ("base_model_name_or_path", "fan_in_fan_out"):
        config[key] = sources[0].config.get(key)
    return config


def _short_names(config: Config) -> list[str] | None:
    """The sorted target_modules, where they alone say which layers are covered."""
    targets = config.get("target_modules")
    if not isinstance(targets, list) or not targets:
        return None
    if config.get("exclude_modules") or config.get("layers_to_transform") not in (None, []):
        return None
    return sorted(targets)
