"""The mixed forward against slow computations that are obviously right."""

from __future__ import annotations

import copy
import dataclasses
import tempfile
import warnings
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel

from loramix.adapter import Adapter, LoraModule, LoraSettings, blend_adapter, write_adapter
from loramix.base import Int8Linear
from loramix.errors import (
    AdapterMismatchError,
    RecipeError,
    UnknownSkillError,
    UnsupportedAdapterError,
    UsageError,
)
from loramix.mixed import MixedModel, mix_together, shelves_at
from loramix.stack import stack_skills
from tiny import ARCHITECTURES, make_tiny, random_adapter, token_ids

TARGETS: dict[str, list[tuple[str, ...] | str]] = {
    "llama": [
        ("q_proj", "v_proj"),
        ("o_proj", "down_proj", "lm_head"),
        r".*\.0\..*(q|k|up)_proj",
        r"model\.layers\.\d+\.self_attn\.[qo]_proj",
        ("embed_tokens", "v_proj"),
    ],
    "gpt2": [
        ("c_attn",),
        ("attn.c_proj", "c_fc"),
        r".*\.1\.(attn|mlp)\.c_proj",
        "all-linear",
        ("wte", "c_attn"),
    ],
}


def lora_settings(arch: str) -> st.SearchStrategy[LoraSettings]:
    """Random ranks, scalings, target sets and patterns."""
    part = {"llama": "q_proj", "gpt2": "c_attn"}[arch]
    return st.builds(
        LoraSettings,
        r=st.integers(1, 9),
        alpha=st.sampled_from([1.0, 2.5, 8.0, 16.0]),
        target_modules=st.sampled_from(TARGETS[arch]),
        use_rslora=st.booleans(),
        rank_pattern=st.sampled_from([{}, {part: 3}, {r".*\.1\..*": 2}]),
        alpha_pattern=st.sampled_from([{}, {part: 5.0}, {r".*\.0\..*": 1.5}]),
    )


@st.composite
def batches(draw: st.DrawFn) -> tuple[str, list[LoraSettings], torch.Tensor]:
    """An architecture, K skills for it, and weights [B, K] with zeros among them."""
    arch = draw(st.sampled_from(["llama", "gpt2"]))
    skills = draw(st.lists(lora_settings(arch), min_size=1, max_size=3))
    weight = st.sampled_from([0.0, 0.0, 1.0, 0.25, 0.6, 1.7])
    row = st.lists(weight, min_size=len(skills), max_size=len(skills))
    return arch, skills, torch.tensor(draw(st.lists(row, min_size=1, max_size=4)))


def build(
    arch: str, skills: list[LoraSettings], dtype: torch.dtype = torch.float32
) -> tuple[PreTrainedModel, MixedModel, list[Adapter], list[str]]:
    model = make_tiny(arch, dtype)
    adapters = [random_adapter(model, shape, seed=i) for i, shape in enumerate(skills)]
    mixed = MixedModel(model)
    names = [f"skill-{i}" for i in range(len(adapters))]
    for name, adapter in zip(names, adapters, strict=True):
        mixed.add(name, adapter)
    return model, mixed, adapters, names


@torch.no_grad()
def logits(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    return model(ids).logits


@torch.no_grad()
def mixed_logits(
    mixed: MixedModel, ids: torch.Tensor, weights: torch.Tensor, names: list[str]
) -> torch.Tensor:
    return mixed(ids, mix_weights=weights, mix_names=names).logits


def distance(got: torch.Tensor, right: torch.Tensor) -> float:
    """Relative error in the Frobenius norm."""
    return float((got.double() - right.double()).norm() / right.double().norm())


def merged(model: PreTrainedModel, adapters: list[Adapter], row: torch.Tensor) -> PreTrainedModel:
    """Oracle 3: the base in float64 with Σ g·ΔW added to its weights."""
    model = copy.deepcopy(model).double().requires_grad_(False)
    layers = dict(model.named_modules())
    for adapter, g in zip(adapters, row.tolist(), strict=True):
        for path, module in adapter.modules.items():
            layer, delta = layers[path], g * module.delta()
            if module.embedding:  # a weight of its own: a head may be tied to it
                layer.weight = torch.nn.Parameter(layer.weight + delta.T)
            else:
                layer.weight.data += delta.T if type(layer).__name__ == "Conv1D" else delta
    return model


@given(batches())
def test_a_batch_equals_its_rows_run_one_by_one(batch) -> None:
    arch, skills, weights = batch
    _, mixed, _, names = build(arch, skills)
    ids = token_ids(len(weights), 6)
    together = mixed_logits(mixed, ids, weights, names)
    for b in range(len(weights)):
        alone = mixed_logits(mixed, ids[b : b + 1], weights[b : b + 1], names)
        assert distance(together[b : b + 1], alone) < 1e-5


@given(batches())
@settings(max_examples=15)
@pytest.mark.peer
def test_a_one_hot_mix_equals_peft_with_that_adapter(batch) -> None:
    arch, skills, _ = batch
    model, mixed, adapters, names = build(arch, skills)
    ids = token_ids(len(names), 6)
    got = mixed_logits(mixed, ids, torch.eye(len(names)), names)
    for k, adapter in enumerate(adapters):
        assert distance(got[k : k + 1], peft_logits(model, adapter, ids[k : k + 1])) < 1e-5


def peft_logits(model: PreTrainedModel, adapter: Adapter, ids: torch.Tensor) -> torch.Tensor:
    with tempfile.TemporaryDirectory() as folder:
        write_adapter(adapter, folder)
        return logits(PeftModel.from_pretrained(make_like(model), folder), ids)


def make_like(model: PreTrainedModel) -> PreTrainedModel:
    """The same model without hooks of ours."""
    fresh = type(model)(model.config).to(model.dtype).eval()
    fresh.load_state_dict(model.state_dict())
    return fresh


@given(batches())
def test_any_mix_equals_the_base_with_the_weighted_deltas_added(batch) -> None:
    arch, skills, weights = batch
    model, mixed, adapters, names = build(arch, skills)
    ids = token_ids(len(weights), 6)
    got = mixed_logits(mixed, ids, weights, names)
    for b, row in enumerate(weights):
        right = logits(merged(model, adapters, row), ids[b : b + 1])
        assert distance(got[b : b + 1], right) < 1e-5


@given(batches())
@settings(max_examples=15)
def test_in_bfloat16_a_mix_errs_no_more_than_bfloat16_itself(batch) -> None:
    # The yardstick is the best that bfloat16 weights can do for one row alone: merge in
    # float64, round once, run. Twice its error, since the mix rounds A x and the sum as well,
    # and one unit in the last place (2^-8) where the yardstick happens to be lucky.
    arch, skills, weights = batch
    model, mixed, adapters, names = build(arch, skills, torch.bfloat16)
    ids = token_ids(len(weights), 6)
    got = mixed_logits(mixed, ids, weights, names)
    assert got.dtype == torch.bfloat16
    for b, row in enumerate(weights):
        exact = merged(model, adapters, row)
        right = logits(exact, ids[b : b + 1])
        rounded = logits(exact.to(torch.bfloat16), ids[b : b + 1])
        assert distance(got[b : b + 1], right) < 2 * distance(rounded, right) + 2**-8


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [2, 200])
def test_a_decoding_step_equals_the_same_token_in_the_prompt(dtype: torch.dtype, rows: int) -> None:
    # Few rows in half precision take other products than many, and than the prompt does.
    mixed = two_skills(make_tiny("llama", dtype))
    ids, weights = token_ids(rows, 6), torch.tensor([[1.0, 0.0], [0.3, 0.7]]).repeat(rows // 2, 1)
    with torch.inference_mode(), mixed.using(weights, ["a", "b"]):
        whole = mixed.base(ids).logits[:, -1]
        cache = mixed.base(ids[:, :-1], use_cache=True).past_key_values
        step = mixed.base(ids[:, -1:], past_key_values=cache).logits[:, -1]
    assert step.dtype == dtype
    assert distance(step, whole) < (1e-5 if dtype == torch.float32 else 2**-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_an_empty_mix_is_the_base_bit_for_bit(arch: str, dtype: torch.dtype) -> None:
    model = make_tiny(arch, dtype)
    ids = token_ids(3, 6)
    before = logits(model, ids)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    mixed = MixedModel(model)
    mixed.add("a", random_adapter(model, LoraSettings(target_modules="all-linear")))
    assert torch.equal(mixed_logits(mixed, ids, torch.zeros(3, 1), ["a"]), before)
    assert torch.equal(mixed_logits(mixed, ids, torch.zeros(3, 0), []), before)
    assert torch.equal(logits(mixed, ids), before)
    # A row without skills, in a batch with others, is the base's too.
    some = mixed_logits(mixed, ids, torch.tensor([[1.0], [0.0], [0.5]]), ["a"])
    assert torch.equal(some[1], before[1])
    assert not torch.equal(some[0], before[0])
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@given(batches())
@settings(max_examples=12)
@pytest.mark.peer
def test_a_mix_exported_as_one_adapter_is_the_mix_in_peft(batch) -> None:
    arch, skills, weights = batch
    row = weights[:1]
    if not row.any():
        row = torch.full_like(row, 0.6)
    model, mixed, adapters, names = build(arch, skills)
    ids = token_ids(1, 6)
    got = mixed_logits(mixed, ids, row, names)
    exported = blend_adapter(adapters, row[0].tolist())
    assert distance(peft_logits(model, exported, ids), got) < 1e-5


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_architecture_mixes_exactly(arch: str) -> None:
    skills = [
        LoraSettings(r=2, target_modules="all-linear"),
        LoraSettings(r=5, target_modules=".*"),
    ]
    model = make_tiny(arch)
    first = random_adapter(model, skills[0], seed=1)
    second = random_adapter(model, skills[0].model_copy(update={"r": 5, "use_rslora": True}), 2)
    mixed = MixedModel(model)
    mixed.add("first", first)
    mixed.add("second", second)
    ids, weights = token_ids(2, 6), torch.tensor([[0.3, 0.7], [0.0, 1.0]])
    got = mixed_logits(mixed, ids, weights, ["first", "second"])
    for b, row in enumerate(weights):
        right = logits(merged(model, [first, second], row), ids[b : b + 1])
        assert distance(got[b : b + 1], right) < 1e-5


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_architecture_mixes_its_embeddings_exactly(arch: str) -> None:
    model = make_tiny(arch)
    table = model.get_input_embeddings()
    [path] = [path for path, module in model.named_modules() if module is table]
    adapters = [
        random_adapter(model, LoraSettings(r=2 + i, target_modules=(path,)), i) for i in range(2)
    ]
    mixed = MixedModel(model)
    for name, adapter in zip("ab", adapters, strict=True):
        mixed.add(name, adapter)
    ids, weights = token_ids(2, 6), torch.tensor([[0.3, 0.7], [0.0, 1.0]])
    got = mixed_logits(mixed, ids, weights, ["a", "b"])
    for b, row in enumerate(weights):
        right = logits(merged(model, adapters, row), ids[b : b + 1])
        assert distance(got[b : b + 1], right) < 1e-5
    linear = {path: dataclasses.replace(adapters[0].modules[path], embedding=False)}
    with pytest.raises(UnsupportedAdapterError, match=rf"{path} is no linear layer"):
        mixed.add("c", Adapter(linear, adapters[0].config))


def two_skills(
    model: PreTrainedModel,
    trainable: bool = False,
    dropout: float = 0.0,
    targets: tuple[str, ...] = ("q_proj", "v_proj"),
) -> MixedModel:
    mixed = MixedModel(model)
    for i, name in enumerate(["a", "b"]):
        shape = LoraSettings(r=3 + i, alpha=7, dropout=dropout, target_modules=targets)
        mixed.add(name, random_adapter(model, shape, seed=i), trainable=trainable)
    return mixed


def test_generation_in_one_batch_equals_each_row_alone(tiny_llama: PreTrainedModel) -> None:
    mixed = two_skills(tiny_llama)
    ids, weights = token_ids(3, 5), torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.4, 0.6]])
    length = {"max_new_tokens": 8, "min_new_tokens": 8, "do_sample": False}
    with mixed.using(weights, ["a", "b"]):
        together = mixed.base.generate(ids, attention_mask=torch.ones_like(ids), **length)
    for b in range(3):
        with mixed.using(weights[b : b + 1], ["a", "b"]):
            row = ids[b : b + 1]
            alone = mixed.base.generate(row, attention_mask=torch.ones_like(row), **length)
        assert torch.equal(together[b], alone[0])


def test_stacks_are_made_once_for_all_tokens_and_later_scopes(
    tiny_llama: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def counted(modules: Sequence[LoraModule], dtype: torch.dtype) -> object:
        made.append(len(modules))
        return stack_skills(modules, dtype)

    monkeypatch.setattr("loramix.scope.stack_skills", counted)
    mixed = two_skills(tiny_llama)
    mixed.add("never-used", random_adapter(tiny_llama, seed=5))
    ids, names = token_ids(2, 5), ["a", "b", "never-used"]
    scope = mixed.using(torch.tensor([[1.0, 0.0, 0.0], [0.2, 0.8, 0.0]]), names)
    with torch.inference_mode(), scope:
        for _ in range(4):
            mixed.base(ids)
    with torch.no_grad(), mixed.using(torch.tensor([[0.5, 0.5, 0.0]]), names):
        mixed.base(ids[:1])
    layers = 2 * 2  # q and v of two layers
    assert made == [2] * layers  # two active skills of three, once for each layer


def test_a_changed_skill_is_never_answered_from_an_old_stack(tiny_llama: PreTrainedModel) -> None:
    mixed = two_skills(tiny_llama)
    ids, ones = token_ids(1, 5), torch.ones(1, 1)
    scope = mixed.using(ones, ["a"])
    with torch.no_grad(), scope:
        before = mixed.base(ids).logits
    other = random_adapter(tiny_llama, seed=9)
    mixed.add("a", other)
    with torch.no_grad(), scope:
        after = mixed.base(ids).logits
    assert distance(after, logits(merged(tiny_llama, [other], ones[0]), ids)) < 1e-5
    state = mixed.state_dict()
    mixed.load_state_dict({k: v * 0 if k.startswith("skills") else v for k, v in state.items()})
    with torch.no_grad(), scope:
        assert torch.equal(mixed.base(ids).logits, logits(tiny_llama, ids))
    assert not torch.equal(before, after)
    mixed.remove("a")
    with pytest.raises(UnknownSkillError), scope:
        pass


def test_an_inner_scope_replaces_the_outer_and_gives_way_again(tiny_llama: PreTrainedModel) -> None:
    mixed, ids = two_skills(tiny_llama), token_ids(1, 5)
    first, second = (mixed_logits(mixed, ids, torch.ones(1, 1), [name]) for name in "ab")
    with torch.no_grad(), mixed.using(torch.ones(1, 1), ["a"]):
        with mixed.using(torch.ones(1, 1), ["b"]):
            assert torch.equal(mixed.base(ids).logits, second)
        assert torch.equal(mixed.base(ids).logits, first)
        with pytest.raises(ZeroDivisionError), mixed.using(torch.ones(1, 1), ["b"]):
            raise ZeroDivisionError
        assert torch.equal(mixed.base(ids).logits, first)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("weights", ["blend", "ones", "one row of none"])
def test_layers_mixed_together_are_the_layers_mixed_one_by_one(
    dtype: torch.dtype, weights: str, tiny_llama: PreTrainedModel
) -> None:
    model = copy.deepcopy(tiny_llama).to(dtype)
    mixed = MixedModel(model)
    for place, targets in enumerate((["q_proj"], ["q_proj", "k_proj", "v_proj"], ["v_proj"])):
        made = LoraSettings(r=2 + place, alpha=8, target_modules=targets)
        mixed.add(f"s{place}", random_adapter(model, made, seed=place))
    own = model.model.layers[0].self_attn
    layers = [own.q_proj, own.k_proj, own.v_proj]
    generator = torch.Generator().manual_seed(1)
    rows = torch.ones(4, 3) if weights == "ones" else torch.rand(4, 3, generator=generator)
    if weights == "one row of none":
        rows[2] = 0
    for tokens in (4, 12):  # one of each row, and several
        x = torch.randn(tokens, model.config.hidden_size, generator=generator).to(dtype)
        for _ in range(2):  # the second time with stacks that were kept
            with torch.inference_mode(), mixed.using(rows):
                one_by_one = [layer(x) for layer in layers]
                plain = [torch.nn.functional.linear(x, layer.weight) for layer in layers]
                made = mix_together(shelves_at(layers), x, plain)
                again = [layer(x) for layer in layers]
            tolerance = 1e-5 if dtype == torch.float32 else 0.05
            for got, wanted, later in zip(made, one_by_one, again, strict=True):
                torch.testing.assert_close(got, wanted, rtol=tolerance, atol=tolerance)
                torch.testing.assert_close(later, wanted, rtol=tolerance, atol=tolerance)
    mixed.remove("s1")
    x = torch.randn(4, model.config.hidden_size, generator=generator).to(dtype)
    with torch.inference_mode(), mixed.using(rows[:, :2]):
        plain = [torch.nn.functional.linear(x, layer.weight) for layer in layers]
        made = mix_together(shelves_at(layers), x, plain)
        wanted = [layer(x) for layer in layers]
    for got, right in zip(made, wanted, strict=True):
        torch.testing.assert_close(got, right, rtol=0.05, atol=0.05)


def test_a_scope_in_force_does_not_keep_a_skill_as_it_was(tiny_llama: PreTrainedModel) -> None:
    ids = token_ids(2, 5)
    mixed = two_skills(tiny_llama)
    names, weights = ["a", "b"], torch.ones(2, 2)
    for seed, rank in ((5, 4), (6, 7)):
        scope = mixed.using(weights, names)
        with scope, torch.no_grad():
            mixed.base(ids)
            made = LoraSettings(r=rank, alpha=8)
            mixed.add("a", random_adapter(tiny_llama, made, seed=seed))
            mixed.base(ids)  # with what it began with
        with mixed.using(weights, names):
            found = logits(tiny_llama, ids)
        fresh = MixedModel(copy.deepcopy(tiny_llama))
        for name in names:
            fresh.add(name, mixed.adapter(name))
        with fresh.using(weights, names):
            torch.testing.assert_close(found, logits(fresh.base, ids))


def test_a_removed_skill_leaves_no_trace(tiny_llama: PreTrainedModel) -> None:
    ids = token_ids(1, 5)
    before = logits(tiny_llama, ids)
    mixed = two_skills(tiny_llama)
    mixed.remove("a")
    mixed.remove("b")
    assert mixed.names == ()
    assert not any(layer._forward_hooks for name, layer in tiny_llama.named_modules() if name)
    assert torch.equal(logits(tiny_llama, ids), before)


@pytest.mark.parametrize("name", ["keys", "update", "train", "pop", "0", "a-b_c"])
def test_a_skill_may_have_any_lawful_name(tiny_llama: PreTrainedModel, name: str) -> None:
    mixed = MixedModel(tiny_llama)
    mixed.add(name, random_adapter(tiny_llama))
    assert mixed.names == (name,)
    assert mixed.adapter(name).rank == 4


def test_mistakes_in_the_weights_are_said(tiny_llama: PreTrainedModel) -> None:
    mixed, ids = two_skills(tiny_llama), token_ids(4, 5)
    with pytest.raises(UsageError, match="2 rows of weights, 4 rows in the batch"):
        mixed(ids, mix_weights=torch.ones(2, 2), mix_names=["a", "b"])
    with pytest.raises(UsageError, match="rows"), mixed.using(torch.ones(3, 2)):
        mixed.base.model(ids)  # past the model's own door
    with pytest.raises(UsageError, match="wrong shape"):
        mixed.using(torch.ones(4, 3), ["a", "b"])
    with pytest.raises(UsageError, match="wrong shape"):
        mixed.using(torch.ones(2), ["a", "b"])
    with pytest.raises(UsageError, match="twice"):
        mixed.using(torch.ones(4, 2), ["a", "a"])
    with pytest.raises(RecipeError):
        mixed.using(torch.tensor([[float("nan"), 1.0]]), ["a", "b"])
    with pytest.raises(UnknownSkillError):
        mixed.using(torch.ones(4, 1), ["c"])
    with pytest.raises(UnknownSkillError):
        mixed.adapter("c")
    wider = random_adapter(make_tiny("llama", hidden_size=64))
    with pytest.raises(AdapterMismatchError, match="another base"):
        mixed.add("wider", wider)


def joint_gradients(
    mixed: MixedModel, ids: torch.Tensor, weights: torch.Tensor
) -> dict[str, list[torch.Tensor]]:
    mixed.zero_grad()
    with mixed.using(weights, ["a", "b"]):
        logps = mixed.base(ids).logits.float().log_softmax(-1)
    # As a Trainer may do it: the scope is left before the backward pass.
    (-logps[:, :-1].gather(2, ids[:, 1:, None]).sum()).backward()
    return {
        name: [torch.zeros_like(p) if p.grad is None else p.grad for p in mixed.parameters_of(name)]
        for name in "ab"
    }


def largest_distance(got: dict[str, list], right: dict[str, list]) -> float:
    pairs = [(g, r) for name in right for g, r in zip(got[name], right[name], strict=True)]
    scale = max(float(r.norm()) for _, r in pairs)
    return max(float((g - r).norm()) for g, r in pairs) / scale


@pytest.mark.parametrize("arch", ["llama", "gpt2"])
def test_each_row_trains_its_own_adapter(arch: str) -> None:
    model = make_tiny(arch)
    mixed = MixedModel(model)
    for i, name in enumerate(["a", "b"]):
        shape = LoraSettings(r=3 + i, target_modules="all-linear")
        mixed.add(name, random_adapter(model, shape, seed=i), trainable=True)
    ids = token_ids(2, 6)
    both = joint_gradients(mixed, ids, torch.eye(2))
    first = joint_gradients(mixed, ids[:1], torch.eye(2)[:1])
    second = joint_gradients(mixed, ids[1:], torch.eye(2)[1:])
    assert largest_distance(both, {"a": first["a"], "b": second["b"]}) < 1e-5
    assert all(not grad.any() for grad in first["b"] + second["a"])
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.peer
def test_gradients_are_those_of_peft(tiny_llama: PreTrainedModel, tmp_path) -> None:
    targets = ("q_proj", "v_proj", "embed_tokens")
    mixed, ids = two_skills(tiny_llama, trainable=True, targets=targets), token_ids(2, 6)
    ours = joint_gradients(mixed, ids, torch.tensor([[1.0, 0.0], [1.0, 0.0]]))["a"]
    write_adapter(mixed.adapter("a"), tmp_path)
    theirs = PeftModel.from_pretrained(make_like(tiny_llama), tmp_path, is_trainable=True)
    logps = theirs(ids).logits.log_softmax(-1)
    (-logps[:, :-1].gather(2, ids[:, 1:, None]).sum()).backward()
    grads = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}
    right = [
        next(
            grad for name, grad in grads.items() if f"{path}.lora_" in name and f"_{side}." in name
        )
        for side in "AB"
        for path in mixed.adapter("a").modules
    ]
    assert largest_distance({"a": ours}, {"a": right}) < 1e-5


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_checkpointed_layers_give_the_same_gradients(reentrant: bool, dropout: float) -> None:
    ids, weights = token_ids(2, 6), torch.tensor([[1.0, 0.0], [0.3, 0.7]])
    mixed = two_skills(make_tiny("llama"), trainable=True, dropout=dropout).train()
    torch.manual_seed(5)
    right = joint_gradients(mixed, ids, weights)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mixed.gradient_checkpointing_enable({"use_reentrant": reentrant})
        torch.manual_seed(5)
        got = joint_gradients(mixed, ids, weights)
    assert largest_distance(got, right) < 1e-6


def test_autocast_trains_float32_skills_in_bfloat16_quietly(tiny_llama: PreTrainedModel) -> None:
    mixed = two_skills(tiny_llama, trainable=True)
    ids, weights = token_ids(2, 6), torch.tensor([[1.0, 0.0], [0.3, 0.7]])
    right = joint_gradients(mixed, ids, weights)
    with warnings.catch_warnings(), torch.autocast("cpu", torch.bfloat16):
        warnings.simplefilter("error")
        got = joint_gradients(mixed, ids, weights)
    assert all(grad.dtype == torch.float32 for grad in got["a"])
    assert largest_distance(got, right) < 0.05


@pytest.mark.parametrize("trainable", [False, True])
@pytest.mark.parametrize("kind", ["fp32", "bf16", "fp16", "int8"])
def test_a_frozen_skill_takes_no_wider_dtype_than_its_base(kind: str, trainable: bool) -> None:
    dtype = {"fp32": torch.float32, "fp16": torch.float16}.get(kind, torch.bfloat16)
    model = make_tiny("llama", dtype)
    if kind == "int8":
        for path, layer in list(model.named_modules()):
            if isinstance(layer, nn.Linear):
                model.set_submodule(path, Int8Linear(layer.weight, layer.bias))
    mixed = MixedModel(model)
    mixed.add("wide", random_adapter(make_tiny("llama")), trainable=trainable)
    held = {tensor.dtype for tensor in mixed.parameters_of("wide")}
    assert held == {torch.float32 if trainable else dtype}


def test_a_bfloat16_base_trains_float32_skills() -> None:
    model = make_tiny("llama", torch.bfloat16)
    mixed = MixedModel(model)
    half = {
        path: LoraModule(m.A.bfloat16(), m.B.bfloat16(), m.scaling)
        for path, m in random_adapter(model).modules.items()
    }
    for name in "ab":
        mixed.add(name, Adapter(half, random_adapter(model).config), trainable=True)
    got = joint_gradients(mixed, token_ids(2, 6), torch.eye(2))
    assert all(grad.dtype == torch.float32 and grad.any() for grad in got["a"] + got["b"])


def test_inside_one_scope_an_optimizer_step_is_seen_at_once(tiny_llama: PreTrainedModel) -> None:
    mixed, ids = two_skills(tiny_llama, trainable=True), token_ids(1, 6)
    optimizer = torch.optim.AdamW(mixed.parameters_of("a"), lr=0.1)
    with mixed.using(torch.ones(1, 1), ["a"]):
        first = logits(mixed.base, ids)
        mixed.base(ids, labels=ids).loss.backward()
        optimizer.step()
        second = logits(mixed.base, ids)
    assert not torch.equal(first, second)
    right = logits(merged(tiny_llama, [mixed.adapter("a")], torch.ones(1)), ids)
    assert distance(second, right) < 1e-5


def test_training_leaves_the_adapter_that_was_given_as_it_was(tiny_llama: PreTrainedModel) -> None:
    given_adapter = random_adapter(tiny_llama)
    before = {path: module.A.clone() for path, module in given_adapter.modules.items()}
    mixed, ids = MixedModel(tiny_llama), token_ids(1, 6)
    mixed.add("a", given_adapter, trainable=True)
    optimizer = torch.optim.SGD(mixed.parameters_of("a"), lr=1.0)
    mixed(ids, labels=ids, mix_weights=torch.ones(1, 1)).loss.backward()
    optimizer.step()
    assert all(torch.equal(m.A, before[path]) for path, m in given_adapter.modules.items())
    trained = mixed.adapter("a")
    assert any(not torch.equal(m.A, before[path]) for path, m in trained.modules.items())


def test_dropout_acts_only_while_training(tiny_llama: PreTrainedModel) -> None:
    mixed, ids = two_skills(tiny_llama, trainable=True, dropout=0.5), token_ids(2, 6)
    weights = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    plain = mixed_logits(mixed.eval(), ids, weights, ["a", "b"])
    assert torch.equal(mixed_logits(mixed, ids, weights, ["a", "b"]), plain)
    dropped = mixed_logits(mixed.train(), ids, weights, ["a", "b"])
    assert not torch.allclose(dropped[0], plain[0])
    assert torch.equal(dropped[1], plain[1])  # a row of the base alone


def test_weights_can_learn_too(tiny_llama: PreTrainedModel) -> None:
    mixed, ids = two_skills(tiny_llama), token_ids(1, 6)
    weights = torch.tensor([[0.5, 0.5]], requires_grad=True)
    loss = mixed(ids, labels=ids, mix_weights=weights, mix_names=["a", "b"]).loss
    loss.backward()
    step = 1e-3
    with torch.no_grad():
        for k in range(2):
            moved = weights.detach().clone()
            moved[0, k] += step
            up = mixed(ids, labels=ids, mix_weights=moved, mix_names=["a", "b"]).loss
            assert float(weights.grad[0, k]) == pytest.approx(
                float((up - loss) / step), rel=0.1, abs=1e-3
            )


def test_stacks_made_in_inference_mode_serve_training_later(tiny_llama: PreTrainedModel) -> None:
    mixed, ids = two_skills(tiny_llama), token_ids(1, 6)
    scope = mixed.using(torch.tensor([[0.5, 0.5]]), ["a", "b"])
    with torch.inference_mode(), scope:
        mixed.base(ids)
    embeds = tiny_llama.get_input_embeddings()(ids).detach().requires_grad_(True)
    with scope:
        mixed.base(inputs_embeds=embeds).logits.sum().backward()
    assert embeds.grad is not None


def test_a_mixed_model_can_be_dropped_before_its_base(tiny_llama: PreTrainedModel) -> None:
    ids = token_ids(1, 5)
    before = logits(tiny_llama, ids)
    mixed = two_skills(tiny_llama)
    del mixed
    assert torch.equal(logits(tiny_llama, ids), before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_cuda_the_mix_follows_the_base(dtype: torch.dtype) -> None:
    model = make_tiny("llama", dtype)
    mixed = two_skills(model, trainable=True)
    ids, weights = token_ids(2, 6), torch.tensor([[1.0, 0.0], [0.3, 0.7]])
    right = mixed_logits(mixed, ids, weights, ["a", "b"])
    mixed.to("cuda")
    got = mixed_logits(mixed, ids.cuda(), weights, ["a", "b"])
    assert got.device.type == "cuda"
    assert distance(got.cpu(), right) < (1e-4 if dtype == torch.float32 else 0.05)
    mixed.gradient_checkpointing_enable()
    assert joint_gradients(mixed.train(), ids.cuda(), weights)["a"][0].is_cuda
