"""The short way through a Llama: the same logits as the long one, and only where nobody listens."""

from __future__ import annotations

import copy
import dataclasses
import gc
import threading
from typing import Any

import pytest
import torch

from engine_oracle import (
    MIXES,
    PROMPTS,
    TOKENS,
    World,
    ask,
    expected,
    loud_adapter,
    make_mixed,
)
from loramix.adapter import LoraSettings, init_adapter
from loramix.base import encode_prompt
from loramix.engine import Engine, Limits
from loramix.engine.direct import Direct
from loramix.engine.product import _has_packing, frozen_product, is_packed
from loramix.mixed import MixedModel
from tiny import make_tiny, random_adapter
from tiny_base import make_base

FAMILY = ("llama", "mistral", "qwen2", "qwen3")


def written(engine: Engine) -> list[tuple[int, ...]]:
    handles = [engine.submit(ask(p, m)) for p, m in zip(PROMPTS, MIXES, strict=True)]
    return [handle.result()[0].token_ids for handle in handles]


def noting(run: Any, logits: list[torch.Tensor]) -> Any:
    """Runs, and keeps the logits."""

    def noted(feeds: Any) -> torch.Tensor:
        logits.append(run(feeds))
        return logits[-1]

    return noted


@pytest.mark.parametrize("arch", FAMILY)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_the_short_way_gives_the_logits_of_the_long_one(
    arch: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = make_base(arch, dtype=dtype)
    mixed = make_mixed(base)
    kept: list[list[torch.Tensor]] = []
    for fits in (True, False):
        monkeypatch.setattr(Direct, "fits", lambda _model, fits=fits: fits)
        engine = Engine(base, mixed)
        logits: list[torch.Tensor] = []
        monkeypatch.setattr(engine._steps, "_runner", noting(engine._steps._runner, logits))
        for prompt, mix in zip(PROMPTS, MIXES, strict=True):
            engine.submit(ask(prompt, mix))
        engine.step()
        engine.step()
        kept.append(logits)
    tolerance = 1e-5 if dtype == torch.float32 else 0.1
    for short, long in zip(*kept, strict=True):
        torch.testing.assert_close(short, long, rtol=tolerance, atol=tolerance)


def test_a_base_of_another_make_runs_its_own_forward() -> None:
    assert all(Direct.fits(make_tiny(arch)) for arch in FAMILY)
    assert not any(Direct.fits(make_tiny(arch)) for arch in ("gpt2", "gpt_neox", "opt"))


def test_a_hook_on_any_module_hears_what_it_waits_for() -> None:
    world = World()
    wanted = written(world.engine())
    names = [name for name, _ in world.base.model.named_modules()]
    assert Direct(world.base.model).unheard
    for name in names:
        heard: list[Any] = []
        module = world.base.model.get_submodule(name)
        handle = module.register_forward_hook(lambda *_, heard=heard: heard.append(1))
        try:
            assert written(world.engine()) == wanted
        finally:
            handle.remove()
        # a list of layers is never called, nor is it by the model's own forward
        assert bool(heard) == (not isinstance(module, torch.nn.ModuleList)), name
    assert Direct(world.base.model).unheard


def test_a_mixed_head_is_mixed_by_its_rows() -> None:
    base = make_base()
    adapter = loud_adapter(base, 1)
    head = init_adapter(base.model, LoraSettings(r=4, target_modules=["lm_head"]), 3)
    for module in head.modules.values():
        module.B.normal_(generator=torch.Generator().manual_seed(1))
    mixed = MixedModel(base.model)
    mixed.add("one", adapter)
    mixed.add("two", head)
    together = written(Engine(base, mixed))
    alone = []
    for prompt, mix in zip(PROMPTS, MIXES, strict=True):
        alone.append(Engine(base, mixed).submit(ask(prompt, mix)).result()[0].token_ids)
    assert together == alone


@pytest.mark.parametrize("arch", ["llama", "qwen2", "gpt2"])
def test_embeddings_are_mixed_by_rows_that_come_and_go(arch: str) -> None:
    base = make_base(arch)
    table = base.model.get_input_embeddings()
    [name] = [path for path, module in base.model.named_modules() if module is table]
    mixed = MixedModel(base.model)
    for seed, skill in enumerate(("one", "two")):
        shape = LoraSettings(r=3 + seed, target_modules=[name, "v_proj", "c_attn"])
        mixed.add(skill, random_adapter(base.model, shape, seed))
    right = [
        tuple(expected(base, prompt, TOKENS, mixed, mix))
        for prompt, mix in zip(PROMPTS, MIXES, strict=True)
    ]
    assert written(Engine(base, mixed)) == right
    plain = [tuple(expected(base, prompt, TOKENS)) for prompt in PROMPTS]
    assert plain != right
    assert plain[0] == right[0]


@pytest.mark.parametrize("arch", FAMILY)
def test_weights_that_the_engine_joins_keep_their_values_and_cost_no_memory(arch: str) -> None:
    base = make_base(arch)
    before = {name: part.clone() for name, part in base.model.state_dict().items()}
    written(Engine(base, make_mixed(base)))
    after = base.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    stored = {part.untyped_storage().data_ptr(): part.untyped_storage() for part in after.values()}
    kept = {part.data_ptr(): part.nbytes for part in after.values()}
    assert sum(storage.nbytes() for storage in stored.values()) == sum(kept.values())


def test_weights_that_moved_after_they_were_joined_are_the_ones_that_count() -> None:
    world = World()
    engine = world.engine(prefix_bytes=0)
    wanted = written(engine)
    for part in world.base.model.parameters():
        part.data = part.data.clone()
    assert written(engine) == wanted
    for part in world.base.model.parameters():
        part.data = part.data.flip(0)
    now = written(engine)
    assert now != wanted
    assert now == [tuple(world.expected(p, m)) for p, m in zip(PROMPTS, MIXES, strict=True)]


def test_packed_weights_that_moved_are_packed_again() -> None:
    base = make_base(dtype=torch.bfloat16)
    engine = Engine(base, mixed := make_mixed(base))
    wanted = written(engine)
    for part in base.model.parameters():
        part.data = part.data.flip(0)
    now = written(engine)
    assert now != wanted
    assert now == written(Engine(base, mixed))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("width", [64, 512, 2048])
@pytest.mark.parametrize("tiles", [False, True])
@pytest.mark.parametrize("native", [False, True], ids=["widened", "as torch multiplies"])
@pytest.mark.parametrize("copies", [False, True], ids=["as they lie", "copied"])
def test_every_product_with_frozen_weights_is_the_float64_product(
    dtype: torch.dtype,
    width: int,
    tiles: bool,
    native: bool,
    copies: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not native and not _has_packing():
        pytest.skip("this build of torch lacks oneDNN")
    monkeypatch.setattr("loramix.engine.product.has_tiles", lambda: tiles)
    monkeypatch.setattr("loramix.engine.product.packed_floats_pay", lambda: not native)
    if not native:
        monkeypatch.setattr("loramix.engine.product.multiplies_bf16", lambda: False)
        monkeypatch.setattr("loramix.base.widen.multiplies_bf16", lambda: False)
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(96, width, generator=generator).to(dtype)
    for bias in (torch.randn(96, generator=generator).to(dtype), None):
        product = frozen_product(weight, bias, copies)
        for rows in (0, 1, 2, 8, 33, 200):
            x = torch.randn(rows, width, generator=generator).to(dtype)
            exact = x.double() @ weight.double().t() + (0 if bias is None else bias.double())
            made = product(x)
            assert made.dtype == dtype
            assert made.is_contiguous()
            torch.testing.assert_close(
                made.double(), exact, rtol=4 * torch.finfo(dtype).eps, atol=width * 1e-5
            )


def test_models_of_their_own_over_the_same_weights_do_not_meet_each_others_skills(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In two threads; wide layers in bfloat16, below whose weights the skills in force stand."""
    monkeypatch.setattr("loramix.engine.product.has_tiles", lambda: True)
    sizes = {"hidden_size": 2048, "intermediate_size": 64, "num_attention_heads": 8}
    base = make_base(dtype=torch.bfloat16, num_key_value_heads=2, initializer_range=0.02, **sizes)
    shared = {id(part): part for part in base.model.parameters()}
    twin = dataclasses.replace(base, model=copy.deepcopy(base.model, shared))
    worlds = []
    for seed, one in enumerate((base, twin)):
        mixed = MixedModel(one.model)
        mixed.add("one", loud_adapter(one, seed))
        worlds.append((mixed, Engine(one, mixed, limits=Limits(prefix_bytes=0)), list[Any]()))

    def write(engine: Engine, found: list[Any]) -> None:
        for _ in range(4):
            found += engine.submit(ask(PROMPTS[1], "one", 20, logprobs=0)).result()

    threads = [threading.Thread(target=write, args=world[1:]) for world in worlds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    prompt = encode_prompt(base, PROMPTS[1])
    for mixed, _, found in worlds:
        assert len(found) == 4
        for answer in found:
            ids = torch.tensor([[*prompt, *answer.token_ids]])
            with torch.inference_mode(), mixed.using(torch.ones(1, 1), ["one"]):
                told = mixed.base(ids).logits[0, len(prompt) - 1 : -1].float().log_softmax(-1)
            wanted = told.gather(1, ids[0, len(prompt) :, None])[:, 0]
            chosen = torch.tensor([token.chosen for token in answer.logprobs])
            torch.testing.assert_close(chosen, wanted, rtol=0, atol=0.2)


@pytest.mark.parametrize("pays", [False, True])
def test_weights_are_not_copied_where_they_are_wide_or_it_does_not_pay_or_it_must_not_be(
    pays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if pays and not _has_packing():
        pytest.skip("this build of torch lacks oneDNN")
    monkeypatch.setattr("loramix.engine.product.packed_floats_pay", lambda: pays)
    assert is_packed(torch.randn(96, 512)) == pays
    for weight in (torch.randn(96, 2048).bfloat16(), torch.randn(96, 512), torch.randn(96, 64)):
        copies = not pays or weight.shape != (96, 512)
        product = frozen_product(weight, None, copies)
        x = torch.randn(3, weight.shape[1]).to(weight.dtype)
        before = product(x)
        weight.mul_(2)
        torch.testing.assert_close(product(x), before * 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_weights_that_are_loaded_into_a_base_are_the_ones_that_count(dtype: torch.dtype) -> None:
    base = make_base(dtype=dtype)
    engine = Engine(base, mixed := make_mixed(base), limits=Limits(prefix_bytes=0))
    before = written(engine)
    others = {name: part.flip(0) for name, part in base.model.state_dict().items()}
    base.model.load_state_dict(others)
    now = written(engine)
    assert now != before
    assert now == written(Engine(base, mixed))


def test_a_mixed_model_that_is_gone_leaves_the_base_as_it_was() -> None:
    base = make_base()
    alone = Engine(base).submit(ask()).result()
    mixed = make_mixed(base)
    assert Engine(base, mixed).submit(ask(mix="one")).result() != alone
    del mixed
    gc.collect()
    assert Engine(base).submit(ask()).result() == alone


@pytest.mark.parametrize("shared", [True, False], ids=["one mixed model", "two mixed models"])
def test_engines_of_one_base_in_two_threads_do_not_mix_up_their_skills(shared: bool) -> None:
    base = make_base()
    first = make_mixed(base)
    second = first if shared else make_mixed(base)
    wanted = {
        mix: [tuple(expected(base, prompt, TOKENS, first, mix)) for prompt in PROMPTS]
        for mix in ("one", "two")
    }
    got: dict[str, list[list[tuple[int, ...]]]] = {"one": [], "two": []}

    def work(mixed: MixedModel, mix: str) -> None:
        engine = Engine(base, mixed).start()
        for _ in range(8):
            handles = [engine.submit(ask(prompt, mix)) for prompt in PROMPTS]
            got[mix].append([handle.result()[0].token_ids for handle in handles])
        engine.close()

    pairs = ((first, "one"), (second, "two"))
    threads = [threading.Thread(target=work, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(answers == wanted[mix] for mix in got for answers in got[mix])
    assert all(len(answers) == 8 for answers in got.values())


def test_two_engines_over_one_base_write_the_same() -> None:
    world = World()
    first, second = world.engine(), world.engine()
    assert written(first) == written(second) == written(first)
