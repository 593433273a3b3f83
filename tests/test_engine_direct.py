"""The short way through a Llama: the same logits as the long one, and only where nobody listens."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from engine_oracle import MIXES, PROMPTS, World, ask, loud_adapter, make_mixed
from loramix.adapter import LoraSettings, init_adapter
from loramix.engine import Engine
from loramix.engine.direct import Direct
from loramix.mixed import MixedModel
from loramix.stack import add_by_row, add_mix
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_skills_row_by_row_give_what_all_of_them_stacked_do(dtype: torch.dtype) -> None:
    model = make_tiny(dtype=dtype)
    mixed = MixedModel(model)
    for seed in range(6):
        mixed.add(f"s{seed}", random_adapter(model, seed=seed))
    weights = torch.zeros(4, 6)
    # row 2 has none
    weights[0, 1], weights[1, 2], weights[1, 5], weights[3, 4] = 0.5, 0.3, 0.9, -1.5
    with torch.inference_mode(), mixed.using(weights) as scope:
        path = "model.layers.0.self_attn.q_proj"
        stack = scope._stack(path, torch.float32, torch.device("cpu"))
        assert stack is not None
        assert stack.by_row is not None
        assert stack.by_row.a.shape[:2] == (4, 8)
        x = torch.randn(4, 1, stack.a.shape[1]).to(dtype)
        output = torch.randn(4, 1, stack.b.shape[0]).to(dtype)
        one = add_by_row(x, output.clone(), stack.by_row)
        other = add_mix(x, output.clone(), stack, 4)
        assert torch.equal(one[2], output[2])
    torch.testing.assert_close(one, other)
