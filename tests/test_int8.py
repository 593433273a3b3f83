"""int8 weights: the products are exact in them, and everything else works as on any base."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import PreTrainedModel

from engine_oracle import BYTES, PROMPTS, ask, expected, loud_adapter
from loramix.adapter import Adapter, LoraSettings
from loramix.base import (
    Base,
    Int8Linear,
    encode_prompt,
    fingerprint_files,
    int8,
    load_base,
    to_int8,
)
from loramix.base.folder import StoredWeights
from loramix.base.int8 import int8_linear, int_products_pay, quantise
from loramix.config import TrainConfig
from loramix.data.example import Example
from loramix.engine import Engine, Limits
from loramix.errors import BaseError, UsageError
from loramix.mixed import MixedModel
from loramix.train import SkillJob, train_skills
from tiny import ARCHITECTURES, make_tiny, random_adapter, token_ids
from tiny_base import make_base, save_base

ROWS = [1, 2, 4, 5, 8, 11, 16, 17, 64, 65]
"""Every product that is chosen by the number of rows, and both sides of each border."""


def distance(got: torch.Tensor, right: torch.Tensor) -> float:
    """Relative error in the Frobenius norm."""
    return float((got.double() - right.double()).norm() / right.double().norm())


def make_int8(arch: str = "llama", **changes: Any) -> PreTrainedModel:
    model = make_tiny(arch, torch.bfloat16, **changes)
    to_int8(model, smallest=0)
    return model


def full(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """The same model with ordinary layers that hold the dequantised weights."""
    model = copy.deepcopy(model)
    for path, layer in list(model.named_modules()):
        if isinstance(layer, Int8Linear):
            plain = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None)
            plain.weight.data = layer.dequantised()
            if layer.bias is not None:
                plain.bias.data = layer.bias.data
            parent, _, name = path.rpartition(".")
            setattr(model.get_submodule(parent), name, plain)
    for parameter in model.parameters():  # the buffers of the positions stay as they are
        parameter.data = parameter.data.to(dtype)
    return model


@torch.no_grad()
def logits(model: nn.Module, ids: torch.Tensor) -> torch.Tensor:
    return model(ids).logits


# ── one layer ────────────────────────────────────────────────────────────────────────────────


@given(st.integers(1, 40), st.integers(1, 6), st.sampled_from([1e-6, 1.0, 3e4]), st.booleans())
def test_a_code_is_the_nearest_one(rows: int, width: int, size: float, half: bool) -> None:
    generator = torch.Generator().manual_seed(rows * width)
    weight = torch.randn(rows, 16 * width, generator=generator) * size
    weight[0] = 0
    weight = weight.bfloat16() if half else weight
    codes, scale = quantise(weight)
    assert codes.dtype == torch.int8
    assert scale.dtype == torch.bfloat16
    assert int(codes.min()) >= -127
    off = (codes.double() * scale.double()[:, None] - weight.double()).abs()
    assert (off <= scale.double()[:, None] * 0.5000001).all()
    top = codes.abs().amax(1)
    assert (top[weight.abs().amax(1) > 0] >= 126).all()  # no range is given away


@pytest.mark.parametrize("digits", [True, False])
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize(("out", "width"), [(1, 16), (5, 48), (48, 32), (300, 176)])
def test_a_product_is_the_float64_product_with_the_dequantised_weights(
    rows: int, out: int, width: int, digits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8, "int_products_pay", lambda: digits and int_products_pay())
    monkeypatch.setattr(int8, "_BLOCK", 128)
    x = torch.randn(rows, width).bfloat16()
    x[0, 0] = 100.0  # an outlier, as real models have them
    codes, scale = quantise(torch.randn(out, width))
    got = int8_linear(x, codes, scale)
    right = x.double() @ (codes.double() * scale.double()[:, None]).t()
    assert got.dtype == torch.bfloat16
    # half a unit in the last place of the result; the widened product rounds twice
    assert distance(got, right) < 2 * 2**-8
    # what 16 bits of a row can be off by, weight for weight
    off = x.double().abs().amax(1, keepdim=True) * 2**-15.9
    off = off @ (codes.double().abs().sum(1) * scale.double())[None]
    assert ((got.double() - right).abs() <= 2**-7 * right.abs() + off).all()


def test_rows_of_zeros_and_of_any_size_are_right() -> None:
    x = torch.randn(8, 32) * torch.tensor([0.0, 1e-30, 1e-5, 1.0, 1e4, 1e10, 1e20, 1e30])[:, None]
    x = x.bfloat16()
    codes, scale = quantise(torch.randn(16, 32) * 1e-3)
    right = x.double() @ (codes.double() * scale.double()[:, None]).t()
    got = int8_linear(x, codes, scale)
    assert not got[0].any()
    for row in range(1, 8):
        assert distance(got[row], right[row]) < 2**-7


@pytest.mark.parametrize("rows", [0, 3, 8, 65])
def test_no_rows_are_none_and_no_numbers_stay_none(rows: int) -> None:
    codes, scale = quantise(torch.randn(48, 32))
    x = torch.randn(rows, 32).bfloat16()
    assert int8_linear(x, codes, scale).shape == (rows, 48)
    if rows:
        x[1, 4], x[2, 4] = torch.inf, torch.nan
        found = int8_linear(x, codes, scale).isfinite()
        assert not found[1:3].any()  # the engine ends such rows, and only them
        assert found[0].all()
        assert found[3:].all()


@pytest.mark.skipif(not int_products_pay(), reason="this processor has no int8 products")
def test_a_row_does_not_depend_on_the_others() -> None:
    x = torch.randn(64, 176).bfloat16()
    codes, scale = quantise(torch.randn(300, 176))
    together = int8_linear(x, codes, scale)
    for some in (slice(0, 5), slice(3, 11), slice(40, 64)):
        assert torch.equal(int8_linear(x[some], codes, scale), together[some])


# ── a whole model ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_architecture_computes_with_the_dequantised_weights(arch: str) -> None:
    model = make_int8(arch)
    layers = [path for path, layer in model.named_modules() if isinstance(layer, Int8Linear)]
    assert any("lm_head" in path or "embed_out" in path for path in layers)
    assert not any(type(layer) is nn.Linear for layer in model.modules())
    ids = token_ids(3, 6)
    exact = logits(full(model, torch.float64), ids)
    rounded = logits(full(model, torch.bfloat16), ids)
    assert distance(logits(model, ids), exact) < 2 * distance(rounded, exact) + 2**-8


def test_tied_weights_leave_the_embedding_as_it_is() -> None:
    model = make_tiny("llama", torch.bfloat16, tie_word_embeddings=True)
    before = model.get_input_embeddings().weight.detach().clone()
    to_int8(model, smallest=0)
    assert torch.equal(model.get_input_embeddings().weight, before)
    head = model.get_output_embeddings()
    assert isinstance(head, Int8Linear)
    assert distance(head.dequantised(), before) < 0.01


def test_small_layers_and_odd_widths_stay_as_they_are() -> None:
    model = make_tiny("llama", torch.bfloat16, intermediate_size=40)
    to_int8(model, smallest=1000)
    mlp, attention = model.model.layers[0].mlp, model.model.layers[0].self_attn
    assert type(mlp.down_proj) is nn.Linear  # 40 wide
    assert isinstance(mlp.up_proj, Int8Linear)
    assert type(attention.k_proj) is nn.Linear  # 512 weights
    assert isinstance(attention.q_proj, Int8Linear)


@pytest.mark.parametrize("arch", ["llama", "gpt2"])
def test_int8_twice_is_int8(arch: str) -> None:
    model, ids = make_int8(arch), token_ids(2, 4)
    before = logits(model, ids)
    to_int8(model, smallest=0)
    assert torch.equal(logits(model, ids), before)


def test_what_wants_other_weights_fails_and_says_what_to_do() -> None:
    model = make_int8()
    assert not hasattr(model.model.layers[0].mlp.up_proj, "weight")
    for x in (torch.randn(2, 32), torch.randn(2, 32).bfloat16().requires_grad_()):
        with pytest.raises(BaseError, match="int8") as caught:
            model.model.layers[0].mlp.up_proj(x)
        assert "load the base with" in str(caught.value)
    with pytest.raises(BaseError, match="computes in bfloat16"):
        copy.deepcopy(model).double()(token_ids(1, 4))


# ── mixes on top ─────────────────────────────────────────────────────────────────────────────


def skills_of(arch: str) -> tuple[PreTrainedModel, MixedModel, list[Adapter]]:
    model, shape = make_int8(arch), LoraSettings(r=4, alpha=8, target_modules="all-linear")
    plain = make_tiny(arch, torch.bfloat16)
    adapters = [random_adapter(plain, shape, seed) for seed in (1, 2)]
    mixed = MixedModel(model)
    for name, adapter in zip("ab", adapters, strict=True):
        mixed.add(name, adapter)
    return model, mixed, adapters


@pytest.mark.parametrize("arch", ["llama", "gpt2"])
@pytest.mark.parametrize("rows", [2, 8])
def test_a_mix_is_the_int8_base_with_the_weighted_deltas_added(arch: str, rows: int) -> None:
    model, mixed, adapters = skills_of(arch)
    weights = torch.tensor([[0.6, 0.4], [0.0, 1.0]]).repeat(rows // 2, 1)
    ids = token_ids(rows, 1)
    with torch.no_grad(), mixed.using(weights, ["a", "b"]):
        got = mixed.base(ids).logits
    for b, row in enumerate(weights.tolist()):
        merged = full(model, torch.float64)
        for g, adapter in zip(row, adapters, strict=True):
            for path, module in adapter.modules.items():
                merged.get_submodule(path).weight.data += g * module.delta()
        exact = logits(merged, ids[b : b + 1])
        rounded = logits(merged.to(torch.bfloat16), ids[b : b + 1])
        assert distance(got[b : b + 1], exact) < 2 * distance(rounded, exact) + 2**-8


@pytest.mark.parametrize("arch", ["llama", "gpt2"])
@pytest.mark.parametrize("rows", [3, 9])
def test_an_empty_mix_is_the_int8_base_bit_for_bit(arch: str, rows: int) -> None:
    model, mixed, _ = skills_of(arch)
    plain, ids = make_int8(arch), token_ids(rows, 1)
    with torch.no_grad(), mixed.using(torch.zeros(rows, 2)):
        assert torch.equal(mixed.base(ids).logits, logits(plain, ids))
    assert torch.equal(logits(model, ids), logits(plain, ids))


def test_the_engine_runs_an_int8_base() -> None:
    base = make_base(dtype=torch.bfloat16)
    to_int8(base.model, smallest=0)
    base.int8 = True
    mixed = MixedModel(base.model)
    mixed.add("one", loud_adapter(base, 1))
    for mix in ("base", "one"):
        engine = Engine(base, mixed, limits=Limits(cache_bytes=BYTES))
        handles = [engine.submit(ask(prompt, mix)) for prompt in PROMPTS]
        for handle in handles:
            assert handle.result()[0].completion_tokens == 12
    # greedy texts differ where two tokens are equally likely; alone the products are the same
    alone = Engine(base, mixed, limits=Limits(cache_bytes=BYTES)).submit(ask(PROMPTS[2], tokens=1))
    assert [alone.result()[0].token_ids[0]] == expected(base, PROMPTS[2], 1)


def test_training_needs_the_full_weights(tmp_path: Path) -> None:
    base = make_base(dtype=torch.bfloat16)
    to_int8(base.model, smallest=0)
    base.int8 = True
    job = SkillJob("cats", [Example("the cat", " sat")], [], LoraSettings(r=2))
    with pytest.raises(BaseError, match="Training needs the full weights") as caught:
        train_skills(base, [job], TrainConfig(), tmp_path)
    assert "loaded as int8" in str(caught.value)
    mixed = MixedModel(base.model)  # and where somebody trains by himself
    mixed.add("cats", loud_adapter(base, 1), trainable=True)
    with pytest.raises(BaseError, match="without gradients"), mixed.using(torch.ones(2, 1)):
        mixed.base(token_ids(2, 4))


# ── loading ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base whose layers are large enough for int8, but for the thin ones."""
    folder = tmp_path_factory.mktemp("base")
    save_base(folder, hidden_size=256, intermediate_size=320)
    return folder


@pytest.fixture(scope="module")
def loaded(saved: Path) -> Base:
    return load_base(str(saved), dtype="int8")


def test_a_base_loads_as_int8(saved: Path, loaded: Base) -> None:
    half = load_base(str(saved), device="cpu", dtype="bf16")
    assert (loaded.precision, loaded.dtype, loaded.int8) == ("int8", torch.bfloat16, True)
    assert (half.precision, half.int8) == ("bf16", False)
    assert loaded.fingerprint == half.fingerprint == fingerprint_files(saved)
    assert loaded.model.dtype == torch.bfloat16
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    mlp = loaded.model.model.layers[1].mlp  # type: ignore[union-attr]
    assert isinstance(mlp.down_proj, Int8Linear)
    assert not mlp.down_proj.training
    ids = torch.tensor([encode_prompt(half, "the cat sat on the mat")])
    assert distance(logits(loaded.model, ids), logits(half.model, ids)) < 0.05
    exact = full(loaded.model, torch.float64)
    assert distance(logits(loaded.model, ids), logits(exact, ids)) < 0.02
    buffers = {name: buffer.dtype for name, buffer in half.model.named_buffers()}
    own = {n: b.dtype for n, b in loaded.model.named_buffers() if not n.endswith(".scale")}
    assert own == buffers


def test_weights_are_rounded_once_from_what_is_stored(loaded: Base) -> None:
    stored = make_base(hidden_size=256, intermediate_size=320).model  # float32, as it was saved
    layer = loaded.model.get_submodule("model.layers.0.mlp.up_proj")
    assert isinstance(layer, Int8Linear)
    codes, scale = quantise(stored.get_submodule("model.layers.0.mlp.up_proj").weight)
    assert torch.equal(layer.codes, codes)
    assert torch.equal(layer.scale, scale)


def test_a_file_that_has_another_weight_under_that_name_is_not_believed(saved: Path) -> None:
    stored = StoredWeights(saved)
    name = "model.layers.0.mlp.up_proj.weight"
    weight = make_base(hidden_size=256, intermediate_size=320).model.get_parameter(name)
    assert torch.equal(stored(name, weight), weight)
    assert stored(name, weight) is not weight
    for other in (weight + 1, weight[:-1]):
        assert torch.equal(stored(name, other), other)
    assert torch.equal(stored("no.such.weight", weight), weight)


def test_weights_of_an_ordinary_base_lie_in_lines_of_the_cache(saved: Path) -> None:
    for dtype in ("fp32", "bf16"):
        model = load_base(str(saved), "cpu", dtype).model
        assert not any(parameter.data_ptr() % 64 for parameter in model.parameters())


def test_int8_is_for_the_cpu(saved: Path) -> None:
    with pytest.raises(UsageError, match="int8 weights are for the CPU") as caught:
        load_base(str(saved), device="cuda", dtype="int8")
    assert "bf16" in str(caught.value)
