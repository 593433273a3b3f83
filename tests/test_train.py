"""Training: the base stays, skills do not touch each other, and nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from loramix.adapter import Adapter, LoraSettings, init_adapter
from loramix.base import Base, DeviceWarning, encode_example, weights_hash
from loramix.config import TrainConfig
from loramix.data import Example
from loramix.data.batches import TokenRow
from loramix.errors import (
    AdapterMismatchError,
    Interrupted,
    LoramixError,
    ResourceError,
    UsageError,
)
from loramix.mixed import MixedModel
from loramix.train import SkillJob, TrainProgress, train_skills
from loramix.train.batches import Grid, build_batches, split
from loramix.train.history import SkillHistory
from loramix.train.module import TrainModule
from tiny import ARCHITECTURES
from tiny_base import make_base

LORA = LoraSettings(r=4, alpha=8)
TARGETS = {"gpt2": ("c_attn",), "gpt_neox": ("query_key_value",)}


def examples(count: int, length: int = 1, answer: str = "yes") -> list[Example]:
    """Prompts of `length` to `length + 2` words, with a short answer."""
    return [
        Example(" ".join(["cat"] * (length + i % 3)) + f" {i}", f"{answer}{i % 2}")
        for i in range(count)
    ]


def settings(**changes: Any) -> TrainConfig:
    """A few steps, in float32 so that runs can be compared."""
    values = {"max_steps": 4, "lr": 0.01, "batch_size": 4, "eval_every": 2, "bf16": False}
    return TrainConfig(**{**values, **changes})


def jobs() -> list[SkillJob]:
    """Two skills of unlike length, size and rank."""
    return [
        SkillJob("short", examples(20), examples(4), LORA),
        SkillJob("long", examples(9, 8, "no"), examples(3, 8, "no"), LoraSettings(r=2, alpha=2)),
    ]


def difference(one: Adapter, other: Adapter) -> float:
    """The largest difference of any weight."""
    return max(
        float((one.modules[path].delta() - other.modules[path].delta()).abs().max())
        for path in one.modules
    )


def rows_of(base: Base, some: Sequence[Example]) -> list[TokenRow]:
    return [TokenRow(*encode_example(base, e.prompt, e.completion)) for e in some]


def module_of(base: Base, *names: str, dropout: float = 0.0, **more: Any) -> TrainModule:
    mixed = MixedModel(base.model)
    targets = TARGETS.get(base.model.config.model_type, ("q_proj", "v_proj"))
    for seed, name in enumerate(names):
        settings = LoraSettings(r=4, dropout=dropout, target_modules=targets)
        adapter = init_adapter(base, settings, seed)
        generator = torch.Generator().manual_seed(seed)
        for lora in adapter.modules.values():
            lora.B.normal_(std=0.2, generator=generator)
        mixed.add(name, adapter, trainable=True)
    options = {"bf16": False, "checkpointing": False, "longest": 99, "pad_id": base.pad_id, **more}
    return TrainModule(mixed, **options)


def test_dropout_acts_on_what_is_learned_and_not_on_dev_losses() -> None:
    base = make_base()
    batch = build_batches({"skill": rows_of(base, examples(4))}, base.pad_id)[0]
    plain, dropping = module_of(base, "skill"), module_of(make_base(), "skill", dropout=0.5)
    wanted = plain.train(False)(batch)
    assert torch.equal(dropping.train(False)(batch), wanted)
    assert not torch.allclose(dropping.train()(batch), wanted)
    assert torch.equal(dropping.train(False)(batch), wanted)


def test_the_loss_is_that_of_the_completion_alone() -> None:
    base = make_base()
    row = rows_of(base, examples(1, 5))[0]
    module = module_of(base, "skill")
    batch = build_batches({"skill": [row]}, base.pad_id)[0]
    found = module(batch)[0]
    with module.mixed.using(torch.ones(1, 1), ["skill"]):
        logits = base.model(torch.tensor([row.input_ids])).logits[0, :-1]
    expected = functional.cross_entropy(
        logits, torch.tensor(row.labels[1:]), ignore_index=-100, reduction="sum"
    )
    assert module.slices
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_padded_pass_of_several_skills_has_the_losses_of_rows_by_themselves(arch: str) -> None:
    base = make_base(arch)
    module = module_of(base, "a", "b")
    rows = {"a": rows_of(base, examples(5)), "b": rows_of(base, examples(3, 12))}
    together = module(build_batches(rows, base.pad_id)[0])
    for k, (name, some) in enumerate(rows.items()):
        alone = sum(module(build_batches({name: [row]}, base.pad_id)[0])[0] for row in some)
        torch.testing.assert_close(together[k], alone, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("arch", ["llama", "gpt2"])
def test_passes_rounded_up_to_few_shapes_have_the_same_losses_and_gradients(arch: str) -> None:
    base = make_base(arch)
    module = module_of(base, "a", "b")
    rows = {"a": rows_of(base, examples(5)), "b": rows_of(base, examples(3, 12))}
    [exact] = build_batches(rows, base.pad_id)
    [wide] = build_batches(rows, base.pad_id, shapes=Grid(16, 64, base.max_length))
    assert wide.input_ids.shape[1] % 16 == 0 < wide.input_ids.shape[1] - exact.input_ids.shape[1]
    assert len(wide.picks) == 64 > len(exact.picks)
    found = []
    for batch in (exact, wide):
        module.mixed.zero_grad()
        losses = module(batch)
        losses.sum().backward()
        found.append([losses, *(p.grad for p in module.mixed.parameters() if p.requires_grad)])
    for before, after in zip(*found, strict=True):
        torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)


def test_no_pass_is_wider_than_the_base_takes() -> None:
    base = make_base()
    row = rows_of(base, examples(1))[0]
    tight = Grid(8, 1, len(row))
    assert build_batches({"a": [row]}, base.pad_id, shapes=tight)[0].input_ids.shape[1] == len(row)


def test_architectures_of_today_compute_no_logits_for_prompts() -> None:
    for arch in ("llama", "mistral", "qwen2", "qwen3", "gpt2"):
        assert module_of(make_base(arch), "a").slices, arch
    head = LoraSettings(r=2, target_modules=("lm_head",))
    base = make_base(tie_word_embeddings=False)
    mixed = MixedModel(base.model)
    mixed.add("a", init_adapter(base, head), trainable=True)
    module = TrainModule(mixed, bf16=False, checkpointing=False, longest=9, pad_id=base.pad_id)
    assert not module.slices
    assert module(build_batches({"a": rows_of(base, examples(2))}, base.pad_id)[0]).requires_grad


@given(st.lists(st.integers(1, 60), min_size=1, max_size=9), st.integers(0, 200))
def test_rows_are_cut_into_the_cheapest_passes(lengths: list[int], cost: int) -> None:
    cuts = split(lengths, cost)
    assert sorted(i for cut in cuts for i in cut) == list(range(len(lengths)))

    def price(rows: list[list[int]]) -> int:
        return sum(cost + len(some) * max(some) for some in rows)

    ordered = sorted(lengths, reverse=True)
    ways = (
        [ordered[a:b] for a, b in pairwise([0, *chosen, len(ordered)])]
        for count in range(len(ordered))
        for chosen in combinations(range(1, len(ordered)), count)
    )
    assert price([[lengths[i] for i in cut] for cut in cuts]) == min(map(price, ways))


def test_several_skills_in_one_run_are_what_each_is_by_itself(tmp_path: Path) -> None:
    base = make_base()
    one_run = train_skills(base, jobs(), settings(epochs=2, max_steps=None), tmp_path / "1", True)
    each = train_skills(base, jobs(), settings(epochs=2, max_steps=None), tmp_path / "2", False)
    for name, result in one_run.items():
        assert result.steps == each[name].steps
        assert result.losses == pytest.approx(each[name].losses, rel=1e-4)
        assert difference(result.adapter, each[name].adapter) < 1e-4
    assert one_run["short"].steps != one_run["long"].steps


def test_b_moves_with_its_own_share_of_the_learning_rate(tmp_path: Path) -> None:
    base = make_base()
    job = SkillJob("skill", examples(8), (), LORA)
    start = init_adapter(base, LORA, 0)
    begun = replace(job, start=start)
    moved = {}
    for ratio in (1.0, 4.0):
        config = settings(max_steps=1, warmup=0, loraplus_lr_ratio=ratio)
        moved[ratio] = train_skills(base, [begun], config, tmp_path / str(ratio))["skill"].adapter
    for path, first in start.modules.items():
        one, four = moved[1.0].modules[path], moved[4.0].modules[path]
        torch.testing.assert_close(four.A, one.A)
        torch.testing.assert_close(four.B - first.B, 4 * (one.B - first.B), rtol=1e-4, atol=1e-7)
        assert float((one.B - first.B).abs().max()) > 0.005  # AdamW's first step is the rate


def test_noise_on_the_embeddings_is_for_training_alone(tmp_path: Path) -> None:
    base = make_base()
    job = SkillJob("skill", examples(8), examples(4), LORA)
    found = {}
    for alpha in (0, 15):
        config = settings(max_steps=1, lr=1e-9, neftune_noise_alpha=alpha)
        found[alpha] = train_skills(base, [job], config, tmp_path / str(alpha))["skill"]
    assert found[15].losses != pytest.approx(found[0].losses, rel=1e-4)
    [(_, quiet)], [(_, noisy)] = found[0].dev_losses, found[15].dev_losses
    assert noisy == pytest.approx(quiet, rel=1e-5)
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(base.model(ids).logits, make_base().model(ids).logits)


def test_the_base_is_the_same_bit_for_bit_after_training(tmp_path: Path) -> None:
    base = make_base()
    before, ids = weights_hash(base.model), torch.tensor([[5, 6, 7]])
    logits = base.model(ids).logits
    result = train_skills(base, jobs(), settings(), tmp_path)["short"]
    assert weights_hash(base.model) == before == result.base_hash
    assert torch.equal(base.model(ids).logits, logits)
    assert not any(p.requires_grad for p in base.model.parameters())


@pytest.mark.parametrize("arch", ["llama", "gpt2", "gpt_neox"])
def test_training_lowers_the_loss(arch: str, tmp_path: Path) -> None:
    lora = LoraSettings(r=4, target_modules=TARGETS.get(arch, ("q_proj", "v_proj")))
    job = SkillJob("skill", examples(8), (), lora)
    config = settings(max_steps=12, lr=0.03, batch_size=8)
    result = train_skills(make_base(arch), [job], config, tmp_path)["skill"]
    assert result.losses[-1] < 0.8 * result.losses[0]
    assert result.best_step == result.steps == 12
    assert result.tokens > 0 < result.seconds
    assert result.peak_rss_mb > 50


def test_accumulated_passes_are_one_large_pass(tmp_path: Path) -> None:
    job = SkillJob("skill", examples(8), (), LORA)
    large = train_skills(make_base(), [job], settings(batch_size=8), tmp_path / "1")
    small = train_skills(make_base(), [job], settings(batch_size=3, grad_accum=3), tmp_path / "2")
    assert small["skill"].losses == pytest.approx(large["skill"].losses, rel=1e-4)


def test_checkpointing_changes_memory_and_nothing_else(tmp_path: Path) -> None:
    base = make_base()
    plain = train_skills(base, jobs(), settings(), tmp_path / "1")
    again = train_skills(base, jobs(), settings(gradient_checkpointing=True), tmp_path / "2")
    assert again["long"].losses == pytest.approx(plain["long"].losses, rel=1e-4)
    assert not any(getattr(m, "gradient_checkpointing", False) for m in base.model.modules())
    assert not any(m.training for m in base.model.modules())


def test_bf16_comes_near_float32(tmp_path: Path) -> None:
    exact = train_skills(make_base(), jobs(), settings(), tmp_path / "1")
    rough = train_skills(make_base(), jobs(), settings(bf16=True), tmp_path / "2")
    half = train_skills(make_base(dtype=torch.bfloat16), jobs(), settings(), tmp_path / "3")
    stored_half = make_base()
    for param in stored_half.model.parameters():
        param.data = param.data.bfloat16().float()
    before = weights_hash(stored_half.model)
    cast = train_skills(stored_half, jobs(), settings(bf16=True), tmp_path / "4")
    assert weights_hash(stored_half.model) == before
    assert stored_half.model.config._attn_implementation == "sdpa"
    for found in (rough, half, cast):
        assert found["short"].losses == pytest.approx(exact["short"].losses, rel=0.05)
        assert found["short"].adapter.modules.popitem()[1].A.dtype == torch.float32


def test_a_bf16_base_trains_in_float32_where_bf16_is_slow_and_is_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("loramix.train.module.multiplies_bf16", lambda: False)
    half, widened = make_base(), make_base()
    for param in half.model.parameters():  # not its buffers, which loading leaves in float32, too
        param.data = param.data.bfloat16()
    for param in widened.model.parameters():
        param.data = param.data.bfloat16().float()
    before = weights_hash(half.model)
    expected = train_skills(widened, jobs(), settings(), tmp_path / "1")
    found = train_skills(half, jobs(), settings(), tmp_path / "2")
    assert half.model.dtype == torch.bfloat16
    assert weights_hash(half.model) == before
    for name in expected:
        assert found[name].losses == expected[name].losses
        assert difference(found[name].adapter, expected[name].adapter) == 0

    # nor is it done where the memory for it is lacking
    narrow = module_of(half, "skill", room=1000)
    assert half.model.dtype == torch.bfloat16
    assert "stays in bfloat16" in caplog.text
    narrow.close()
    # and what fails on the way leaves it as it was, too
    monkeypatch.setattr(TrainModule, "_checkpoint", lambda _self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        module_of(half, "skill", checkpointing=True)
    assert half.model.dtype == torch.bfloat16
    assert weights_hash(half.model) == before


def test_early_stopping_keeps_the_best_weights(tmp_path: Path) -> None:
    base = make_base()
    worse = SkillJob("worse", examples(8), examples(4, 1, "never"), LORA)
    fine = SkillJob("fine", examples(8), examples(8), LORA)
    config = settings(max_steps=30, lr=0.05, patience=2)
    results = train_skills(base, [worse, fine], config, tmp_path)
    stopped, losses = results["worse"], dict(results["worse"].dev_losses)
    assert stopped.stopped_early
    assert stopped.steps < 30 == results["fine"].steps
    assert losses[stopped.best_step] == min(losses.values()) == stopped.dev_loss
    assert len([step for step in losses if step > stopped.best_step]) == 2
    module = module_of(base)
    module.mixed.add("worse", stopped.adapter)
    batch = build_batches({"worse": rows_of(base, worse.dev)}, base.pad_id)[0]
    assert float(module(batch)[0]) / len(batch.picks) == pytest.approx(stopped.dev_loss, rel=1e-4)


class Stopper:
    """Stops a run as Ctrl-C pressed twice does, at a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, progress: TrainProgress) -> None:
        if progress.step >= self.step:
            raise KeyboardInterrupt


def test_a_stopped_run_goes_on_to_the_same_end(tmp_path: Path) -> None:
    lora = LoraSettings(r=4, dropout=0.1)
    some = [SkillJob("a", examples(20), examples(4), lora), SkillJob("b", examples(9), (), lora)]
    config = settings(max_steps=9, neftune_noise_alpha=5)
    whole = train_skills(make_base(), some, config, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train_skills(
            make_base(), some, config, tmp_path / "cut", progress=Stopper(6), save_seconds=0
        )
    steps: list[int] = []
    resumed = train_skills(
        make_base(), some, config, tmp_path / "cut", progress=lambda p: steps.append(p.step)
    )
    assert min(steps) >= 5
    for name, result in whole.items():
        assert resumed[name].losses == pytest.approx(result.losses, rel=1e-6)
        assert difference(resumed[name].adapter, result.adapter) < 1e-6
        assert resumed[name].tokens == result.tokens


def test_a_checkpoint_without_its_mark_is_not_used(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train_skills(make_base(), jobs(), settings(), tmp_path, True, Stopper(4), save_seconds=0)
    found = sorted(tmp_path.glob("checkpoint-*"))
    assert len(found) == 2
    (found[-1] / "complete").unlink()
    (found[-1] / "history.json").write_text("{")
    steps: list[int] = []
    train_skills(make_base(), jobs(), settings(), tmp_path, True, lambda p: steps.append(p.step))
    assert min(steps) >= int(found[0].name.removeprefix("checkpoint-"))
    assert not list(tmp_path.glob("checkpoint-*"))


def test_a_run_that_has_ended_is_not_done_again_and_another_is(tmp_path: Path) -> None:
    first = train_skills(make_base(), jobs(), settings(), tmp_path)
    told: list[TrainProgress] = []
    again = train_skills(make_base(), jobs(), settings(), tmp_path, progress=told.append)
    assert not told
    assert again["long"].losses == first["long"].losses
    assert difference(again["long"].adapter, first["long"].adapter) == 0
    train_skills(make_base(), jobs(), settings(lr=0.02), tmp_path, progress=told.append)
    assert told[-1].step == told[-1].total == 4


def test_curves_are_saved(tmp_path: Path) -> None:
    results = train_skills(make_base(), jobs(), settings(), tmp_path)
    curves = json.loads((tmp_path / "losses.json").read_text())
    assert curves["short"]["train"] == list(results["short"].losses)
    assert (tmp_path / "losses.png").read_bytes().startswith(b"\x89PNG")


def test_too_little_memory_is_said_before_the_start_with_what_fits(tmp_path: Path) -> None:
    some = [SkillJob("skill", [*examples(64), *examples(64, 40)], (), LORA)]

    def run(limit_mb: float, **changes: Any) -> None:
        limit = int(limit_mb * 2**20)
        config = settings(batch_size=64, max_steps=2, **changes)
        train_skills(make_base(), some, config, tmp_path, memory_limit=limit)

    with pytest.raises(ResourceError, match="a smaller base"):
        run(1)
    with pytest.raises(ResourceError, match="max_length to") as caught:
        run(70)
    assert not list(tmp_path.glob("checkpoint-*"))
    fits = int(str(caught.value).partition("max_length to ")[2].split(",")[0])
    run(70, max_length=fits)


def test_a_failing_device_hands_over_to_the_cpu_with_one_warning(tmp_path: Path) -> None:
    base = make_base()
    expected = train_skills(base, jobs(), settings(), tmp_path / "1")
    base.device = torch.device("cuda")  # which then fails in the middle of the third step
    passes = 0

    def fail(*_: object) -> None:
        nonlocal passes
        passes += base.model.training or torch.is_grad_enabled()
        if base.device.type == "cuda" and passes == 6:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB.")

    handle = base.model.model.register_forward_pre_hook(fail)
    with pytest.warns(DeviceWarning) as warned:
        found = train_skills(base, jobs(), settings(), tmp_path / "2", save_seconds=0)
    handle.remove()
    assert len([w for w in warned if w.category is DeviceWarning]) == 1
    assert base.device.type == "cpu"
    assert found["long"].losses == pytest.approx(expected["long"].losses, rel=1e-5)


def test_a_loss_that_is_no_number_stops_the_run() -> None:
    history = SkillHistory("skill", [], 0)
    history.learned(2.5)
    with pytest.raises(LoramixError, match=r"lower train\.lr"):
        history.learned(float("nan"))


def test_jobs_that_cannot_be_one_run_are_refused(tmp_path: Path) -> None:
    twice = [SkillJob("a", examples(4)), SkillJob("a", examples(4))]
    with pytest.raises(UsageError, match="different names"):
        train_skills(make_base(), twice, settings(), tmp_path)
    own = [SkillJob("a", examples(4), config=settings()), SkillJob("b", examples(4))]
    with pytest.raises(UsageError, match="settings of its own"):
        train_skills(make_base(), own, settings(), tmp_path, together=True)


def test_a_skill_goes_on_from_given_weights_and_leaves_them_as_they_are(tmp_path: Path) -> None:
    base, job = make_base(), jobs()[0]
    first = train_skills(base, [job], settings(), tmp_path / "1")["short"].adapter
    kept = {path: (m.A.clone(), m.B.clone()) for path, m in first.modules.items()}
    on = SkillJob("short", job.train, job.dev, LORA, start=first)
    # without steps that move it, what goes on from an adapter is that adapter
    still = train_skills(base, [on], settings(lr=1e-12), tmp_path / "2")["short"].adapter
    assert difference(first, still) < 1e-6
    moved = train_skills(base, [on], settings(), tmp_path / "3")["short"]
    assert (
        moved.losses[0]
        < 0.95 * train_skills(base, [job], settings(), tmp_path / "4")["short"].losses[0]
    )
    assert difference(first, moved.adapter) > 1e-3
    for path, module in first.modules.items():
        assert torch.equal(module.A, kept[path][0])
        assert torch.equal(module.B, kept[path][1])


def test_a_skill_cannot_go_on_from_an_adapter_of_another_shape(tmp_path: Path) -> None:
    base, job = make_base(), jobs()[0]
    other = init_adapter(base, LoraSettings(r=2, alpha=8))
    with pytest.raises(AdapterMismatchError, match="another LoRA"):
        train_skills(
            base, [SkillJob("short", job.train, (), LORA, start=other)], settings(), tmp_path
        )


def test_a_run_from_other_weights_is_another_run(tmp_path: Path) -> None:
    base, job = make_base(), jobs()[0]
    plain = train_skills(base, [job], settings(), tmp_path)["short"]
    on = SkillJob("short", job.train, job.dev, LORA, start=plain.adapter)
    assert train_skills(base, [on], settings(), tmp_path)["short"].losses != plain.losses
