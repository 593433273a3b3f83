"""Skills that stay are folded into the layers they adapt: the same outputs, in fewer products."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from engine_oracle import make_mixed
from loramix.adapter import LoraSettings
from loramix.engine.group import Group
from loramix.engine.product import _has_packing, is_packed
from loramix.generate import stream
from loramix.mix import Mix
from loramix.mixed import MixedModel
from loramix.sampling import Sampling
from tiny import random_adapter
from tiny_base import make_base

ROWS, STEPS = 4, 12


@dataclass(frozen=True)
class Kind:
    """Of layers: how wide they are, and their dtype."""

    width: int
    dtype: torch.dtype = torch.bfloat16

    @property
    def copies(self) -> bool:
        return self.width < 2048


class Layers(nn.Module):
    """Three layers that read the same, as a model of their own would have them."""

    def __init__(self, kind: Kind, bias: bool) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(7)
        for name, out in (("k_proj", 32), ("q_proj", 96), ("v_proj", 32)):
            layer = nn.Linear(kind.width, out, bias=bias)
            for part in layer.parameters():
                part.data = torch.randn(part.shape, generator=random) / kind.width**0.5
            self.add_module(name, layer)
        self.to(kind.dtype).requires_grad_(False)

    @property
    def list(self) -> list[nn.Module]:
        return list(self.children())


NARROW, FLOATS, WIDE = Kind(64), Kind(512, torch.float32), Kind(2048)


@pytest.fixture(params=[NARROW, FLOATS, WIDE], ids=["narrow", "fp32", "wide"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Kind:
    """Layers whose weights are copied, and layers with rows to spare."""
    kind: Kind = request.param
    monkeypatch.setattr("loramix.engine.product.has_tiles", lambda: True)
    monkeypatch.setattr("loramix.engine.product.packed_floats_pay", _has_packing)
    if kind.copies and not is_packed(torch.zeros(8, kind.width, dtype=kind.dtype)):
        pytest.skip(f"this processor multiplies no {kind.dtype} in a layout of oneDNN's own")
    return kind


def skills(layers: Layers, *targets: Sequence[str], seed: int = 0) -> MixedModel:
    mixed = MixedModel(layers)  # type: ignore[arg-type]
    for place, names in enumerate(targets):
        put(mixed, layers, f"s{place}", names, seed + place)
    return mixed


def put(mixed: MixedModel, layers: Layers, name: str, targets: Sequence[str], seed: int) -> None:
    made = LoraSettings(r=4 + seed % 3, alpha=8, target_modules=list(targets))
    mixed.add(name, random_adapter(layers, made, seed=seed))


def steps(kind: Kind, rows: int = ROWS) -> Iterator[Tensor]:
    random = torch.Generator().manual_seed(3)
    for _ in range(STEPS):
        yield torch.randn(rows, kind.width, generator=random).to(kind.dtype)


def close(made: Sequence[Tensor], wanted: Sequence[Tensor]) -> None:
    for got, right in zip(made, wanted, strict=True):
        share = 0.03 if right.dtype == torch.bfloat16 else 1e-5
        torch.testing.assert_close(got, right, rtol=share, atol=share)


def weights(step: int, skills: int, shares: str, rows: int = ROWS) -> Tensor:
    if shares == "ones":
        return torch.ones(rows, skills)
    made = torch.rand(rows, skills, generator=torch.Generator().manual_seed(step // 5)) + 0.1
    made[0] = 0
    return made


@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
@pytest.mark.parametrize("shares", ["blends that change", "ones"])
@pytest.mark.parametrize(
    "targets",
    [
        (["q_proj"], ["q_proj", "v_proj"]),
        (["k_proj", "v_proj"], ["v_proj"]),
        (["k_proj", "q_proj", "v_proj"],),
        (["v_proj"],),
        (["k_proj"], ["q_proj"]),
    ],
    ids=lambda targets: " ".join("+".join(name[0] for name in names) for names in targets),
)
def test_folded_layers_are_the_layers_mixed_one_by_one(
    kind: Kind, bias: bool, shares: str, targets: tuple[list[str], ...]
) -> None:
    layers = Layers(kind, bias)
    group = Group(layers.list, copies=kind.copies)
    mixed = skills(layers, *targets)
    with torch.inference_mode():
        for step, x in enumerate(steps(kind)):
            with mixed.using(weights(step, len(targets), shares)):
                close(group(x), [layer(x) for layer in layers.list])
    assert group.folded
    # rows to spare are no copies; others are at least those of the weights
    assert group.bytes >= sum(layer.weight.nbytes for layer in layers.list) or not kind.copies
    group.forget()
    assert group.bytes == 0


def test_a_skill_that_comes_goes_or_is_replaced_is_what_it_is_now(kind: Kind) -> None:
    layers = Layers(kind, False)
    group = Group(layers.list, copies=kind.copies)
    mixed = skills(layers, ["q_proj", "v_proj"], ["q_proj"])
    scope = mixed.using(weights(0, 2, "blend"))

    def agree() -> None:
        with torch.inference_mode():
            for x in steps(kind):
                with scope:
                    close(group(x), [layer(x) for layer in layers.list])

    agree()
    put(mixed, layers, "s1", ["q_proj"], 5)  # the scope stays, as that of running rows does
    agree()
    put(mixed, layers, "more", ["k_proj"], 6)
    agree()
    mixed.remove("more")
    agree()
    with torch.inference_mode():
        for x in steps(kind):
            with mixed.using(torch.zeros(ROWS, 2)):
                close(group(x), [nn.functional.linear(x, part.weight) for part in layers.list])


def test_two_engines_in_turn_over_one_base_each_have_their_skills(kind: Kind) -> None:
    layers = Layers(kind, False)
    copies = kind.copies
    twin = copy.deepcopy(layers, {id(part): part for part in layers.parameters()})
    one, two = Group(layers.list, copies), Group(twin.list, copies)
    first, second = skills(layers, ["q_proj"]), skills(twin, ["q_proj"], seed=9)
    with torch.inference_mode():
        for x in steps(kind):
            for group, mixed, modules in ((one, first, layers), (two, second, twin)):
                with mixed.using(torch.ones(ROWS, 1)):
                    close(group(x), [layer(x) for layer in modules.list])
        for group, mixed, modules in ((one, first, layers), (two, second, twin)) * 2:
            for x in steps(kind):
                with mixed.using(torch.ones(ROWS, 1)):
                    close(group(x), [layer(x) for layer in modules.list])
            assert group.folded


def test_two_models_in_force_at_once_are_both_mixed(kind: Kind) -> None:
    layers = Layers(kind, False)
    group = Group(layers.list, copies=kind.copies)
    first, second = skills(layers, ["q_proj"]), skills(layers, ["q_proj"], seed=9)
    with torch.inference_mode(), first.using(torch.ones(ROWS, 1)):
        for x in steps(kind):
            close(group(x), [layer(x) for layer in layers.list])
        with second.using(torch.ones(ROWS, 1)):
            for x in steps(kind):
                close(group(x), [layer(x) for layer in layers.list])
        for x in steps(kind):
            close(group(x), [layer(x) for layer in layers.list])


def test_a_batch_that_grows_and_shrinks_keeps_its_mix(kind: Kind) -> None:
    layers = Layers(kind, True)
    group = Group(layers.list, copies=kind.copies)
    mixed = skills(layers, ["q_proj", "v_proj"], ["q_proj", "v_proj"])
    with torch.inference_mode():
        for rows in (4, 9, 1, 40, 4):
            for step, x in enumerate(steps(kind, rows)):
                blend = weights(step, 2, "blend", rows) + 0.1
                with mixed.using(blend):
                    close(group(x), [layer(x) for layer in layers.list])


def test_rows_to_spare_that_do_not_suffice_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loramix.engine.product.has_tiles", lambda: True)
    layers = Layers(WIDE, False)
    group = Group(layers.list)
    mixed = MixedModel(layers)  # type: ignore[arg-type]
    wide = LoraSettings(r=300, alpha=8, target_modules=["q_proj"])
    mixed.add("wide", random_adapter(layers, wide))
    with torch.inference_mode():
        for x in steps(WIDE):
            with mixed.using(torch.ones(ROWS, 1)):
                close(group(x), [layer(x) for layer in layers.list])
    assert not group.folded
    put(mixed, layers, "small", ["q_proj"], 1)
    with torch.inference_mode():
        for names, there in ((["small"], True), (["wide"], False)):  # nothing of it stays below
            for x in steps(WIDE):
                with mixed.using(torch.ones(ROWS, 1), names):
                    close(group(x), [layer(x) for layer in layers.list])
            assert held(layers) == group.folded == there


def test_two_engines_in_turn_fold_anew_and_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loramix.engine.product.has_tiles", lambda: True)
    layers = Layers(WIDE, False)
    twin = copy.deepcopy(layers, {id(part): part for part in layers.parameters()})
    pairs = [(Group(one.list), skills(one, ["q_proj"]), one) for one in (layers, twin)]
    with torch.inference_mode():
        for step, x in enumerate(steps(WIDE)):
            for group, mixed, modules in pairs:
                with mixed.using(torch.ones(ROWS, 1)):
                    close(group(x), [layer(x) for layer in modules.list])
                assert group.folded or step < 2


def test_what_comes_and_goes_elsewhere_unfolds_nothing(kind: Kind) -> None:
    layers = Layers(kind, False)
    group = Group(layers.list, copies=kind.copies)
    mixed = skills(layers, ["q_proj"], ["v_proj"])
    scope = mixed.using(torch.ones(ROWS, 1), ["s0"])
    with torch.inference_mode():
        for x in steps(kind):
            with scope:
                group(x)
        for place, x in enumerate(steps(kind)):
            put(mixed, layers, f"other{place}", ["q_proj"], place)
            with scope:
                close(group(x), [layer(x) for layer in layers.list])
            assert group.folded


def test_folded_skills_go_with_the_skill_or_when_told(kind: Kind) -> None:
    layers = Layers(kind, False)
    group = Group(layers.list, copies=kind.copies)
    mixed = skills(layers, ["q_proj"])
    for end in (lambda: mixed.remove("s0"), group.forget):
        with torch.inference_mode():
            for x in steps(kind):
                with mixed.using(torch.ones(ROWS, 1)):
                    group(x)
            assert group.folded
            assert held(layers) != kind.copies
            end()
            close(group(x), [nn.functional.linear(x, part.weight) for part in layers.list])
            assert not group.folded
            assert not held(layers)
        if not mixed.names:
            put(mixed, layers, "s0", ["q_proj"], 0)


def held(layers: Layers) -> bool:
    """Whether the storage of the weights has more in it than they are."""
    weights = [layer.weight for layer in layers.list]
    whole = torch.empty(0, dtype=weights[0].dtype).set_(weights[0].untyped_storage())
    return bool(whole[sum(weight.numel() for weight in weights) :].any())


def test_a_model_that_is_gone_does_not_keep_the_next_one_from_being_folded(kind: Kind) -> None:
    layers = Layers(kind, False)
    group = Group(layers.list, copies=kind.copies)
    gone = skills(layers, ["q_proj"], seed=4)
    del gone
    gc.collect()
    assert not any(layer._forward_hooks for layer in layers.list)
    mixed = skills(layers, ["q_proj"])
    with torch.inference_mode():
        for x in steps(kind):
            with mixed.using(torch.ones(ROWS, 1)):
                close(group(x), [layer(x) for layer in layers.list])
    assert group.folded


def test_folded_skills_do_not_keep_their_model_alive(kind: Kind) -> None:
    layers = Layers(kind, False)
    group = Group(layers.list, copies=kind.copies)
    mixed = skills(layers, ["q_proj"])
    with torch.inference_mode():
        for x in steps(kind):
            with mixed.using(torch.ones(ROWS, 1)):
                group(x)
    gone = weakref.ref(mixed)
    del mixed
    gc.collect()
    assert gone() is None
    with torch.inference_mode():
        close(group(x), [nn.functional.linear(x, part.weight) for part in layers.list])


@pytest.mark.parametrize("cut", [False, True], ids=["to the end", "left off"])
def test_generating_leaves_no_skill_below_the_weights(
    cut: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loramix.engine.product.has_tiles", lambda: True)
    monkeypatch.setattr("loramix.engine.product._NARROW", 8)
    monkeypatch.setattr("loramix.engine.product._has_packing", lambda: False)
    base = make_base(dtype=torch.bfloat16)
    mixed = make_mixed(base)
    pieces = stream(mixed, base, ["the cat"] * 4, Mix.parse("one=0.5,two=0.5"), Sampling(20))
    there = False
    for step, _ in enumerate(pieces):
        there |= below(base.model)
        if cut and step == 9:
            break
    del pieces
    assert there
    assert not below(base.model)


def below(model: nn.Module) -> bool:
    """Whether something stands in the storage of some weights behind the last of them."""
    ends: dict[int, tuple[Tensor, int]] = {}
    for weight in model.parameters():
        place, end = weight.untyped_storage().data_ptr(), weight.storage_offset() + weight.numel()
        ends[place] = weight, max(end, ends.get(place, (weight, 0))[1])
    wholes = [
        (torch.empty(0, dtype=weight.dtype).set_(weight.untyped_storage()), end)
        for weight, end in ends.values()
    ]
    return any(bool(whole[end:].any()) for whole, end in wholes)
