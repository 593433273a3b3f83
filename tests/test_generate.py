"""Completions: what the model would write, whatever the batch, piece by piece."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loramix.adapter import Adapter, LoraSettings, init_adapter
from loramix.base import Base, DeviceWarning, encode_prompt, weights_hash
from loramix.detokenize import Detokenizer
from loramix.errors import PromptError, UnknownSkillError, UsageError
from loramix.generate import Completion, Piece, Sampling, generate, stream
from loramix.mix import Mix
from loramix.mixed import MixedModel
from loramix.sampling import probabilities
from tiny import ARCHITECTURES
from tiny_base import make_base, make_fallback_tokenizer, make_tokenizer

PROMPTS = ["the cat", "add two and two to get four and sit", "dog", "zebra on the mat, and then?"]
MIXES = [Mix.parse(r) for r in ("one", "base", "one=0.5,two=0.7", "two=1.5")]


def random_adapter(base: Base, seed: int) -> Adapter:
    """An adapter that changes what is written: B is not zero."""
    made = init_adapter(
        base.model, LoraSettings(r=4, alpha=8, target_modules=["q_proj", "v_proj"]), seed
    )
    generator = torch.Generator().manual_seed(seed)
    modules = {
        path: dataclasses.replace(
            module, B=torch.randn(module.B.shape, generator=generator).to(module.B.dtype) * 0.5
        )
        for path, module in made.modules.items()
    }
    return dataclasses.replace(made, modules=modules)


@pytest.fixture(scope="module")
def base() -> Base:
    return make_base()


@pytest.fixture(scope="module")
def mixed(base: Base) -> MixedModel:
    mixed = MixedModel(base.model)
    mixed.add("one", random_adapter(base, 1))
    mixed.add("two", random_adapter(base, 2))
    return mixed


def reference(base: Base, prompt: str, max_new_tokens: int) -> list[int]:
    """What `model.generate` writes, greedily."""
    ids = torch.tensor([encode_prompt(base, prompt)])
    out: Any = base.model.generate(  # type: ignore[operator]
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=max_new_tokens,
        pad_token_id=base.pad_id,
    )
    return [int(token) for token in out[0, ids.shape[1] :]]


# ── the same tokens, whatever the way ────────────────────────────────────────────────────────


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_greedy_tokens_are_those_of_model_generate(arch: str) -> None:
    base = make_base(arch)
    done = generate(None, base, PROMPTS, Mix.base(), Sampling(max_new_tokens=20))
    for prompt, completion in zip(PROMPTS, done, strict=True):
        assert list(completion.token_ids) == reference(base, prompt, 20)


def test_a_mixed_row_says_what_model_generate_says_under_that_mix(
    base: Base, mixed: MixedModel
) -> None:
    mix = Mix.parse("one=0.5,two=0.7")
    [done] = generate(mixed, base, PROMPTS[:1], mix, Sampling(max_new_tokens=20))
    with mixed.using(torch.tensor([[0.5, 0.7]]), ["one", "two"]):
        assert list(done.token_ids) == reference(base, PROMPTS[0], 20)
    assert list(done.token_ids) != reference(base, PROMPTS[0], 20)


@pytest.mark.parametrize("sampling", [Sampling(24), Sampling(24, temperature=1.0, seed=5)])
def test_rows_of_a_batch_are_as_if_each_were_alone(
    base: Base, mixed: MixedModel, sampling: Sampling
) -> None:
    together = generate(mixed, base, PROMPTS, MIXES, sampling)
    for batch_size in (1, 2, 3):
        assert generate(mixed, base, PROMPTS, MIXES, sampling, batch_size=batch_size) == together
    for row, (prompt, mix) in enumerate(zip(PROMPTS, MIXES, strict=True)):
        seed = None if sampling.seed is None else sampling.seed + row
        alone = dataclasses.replace(sampling, seed=seed)
        assert generate(mixed, base, [prompt], mix, alone) == [together[row]]


def test_rows_that_end_early_leave_the_batch(base: Base, mixed: MixedModel) -> None:
    free = generate(mixed, base, PROMPTS, MIXES, Sampling(16))
    ends = tuple({c.text[5:8] for c in free[:2]})
    widths: list[int] = []
    handle = base.model.register_forward_pre_hook(
        lambda _m, _a, kwargs: widths.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    try:
        done = generate(mixed, base, PROMPTS, MIXES, Sampling(16, stop=ends))
    finally:
        handle.remove()
    assert widths[0] == sum(c.prompt_tokens for c in done)
    rows = widths[1:]
    assert rows == sorted(rows, reverse=True)
    assert 1 + len(rows) == max(c.completion_tokens for c in done)
    assert 4 + sum(rows) == sum(c.completion_tokens for c in done)


def test_the_base_is_untouched_and_an_empty_mix_is_the_base(base: Base, mixed: MixedModel) -> None:
    before = weights_hash(base.model)
    with_adapters = generate(mixed, base, PROMPTS, Mix.base(), Sampling(12))
    assert with_adapters == generate(None, base, PROMPTS, Mix.base(), Sampling(12))
    assert weights_hash(base.model) == before


def test_streams_of_two_calls_can_take_turns(base: Base, mixed: MixedModel) -> None:
    calls = [
        stream(mixed, base, PROMPTS[:2], MIXES[:2], Sampling(10)),
        stream(mixed, base, PROMPTS[2:], MIXES[2:], Sampling(10)),
    ]
    texts = [""] * 4
    for both in zip(*calls, strict=True):
        for first, pieces in zip((0, 2), both, strict=True):
            for piece in pieces:
                texts[first + piece.row] += piece.text
    together = generate(mixed, base, PROMPTS, MIXES, Sampling(10))
    assert texts == [completion.text for completion in together]


def test_bf16_writes_with_a_mix() -> None:
    base = make_base(dtype=torch.bfloat16)
    mixed = MixedModel(base.model)
    mixed.add("one", random_adapter(base, 1))
    done = generate(mixed, base, PROMPTS, Mix.parse("one"), Sampling(8))
    assert all(completion.completion_tokens > 0 for completion in done)


# ── where a completion ends ──────────────────────────────────────────────────────────────────


def ending_base(after: int) -> Base:
    """A base that says end-of-text as its token number `after`."""
    base = make_base()

    def force(_module: Any, _args: Any, kwargs: Any, out: Any) -> Any:
        start = len(encode_prompt(base, PROMPTS[0]))
        if int(kwargs["position_ids"][-1, -1]) == start + after - 2:
            out.logits[:, -1, 2] = 1e4
        return out

    base.model.register_forward_hook(force, with_kwargs=True)
    return base


def test_end_of_text_ends_it_and_is_counted_but_not_shown() -> None:
    [done] = generate(None, ending_base(4), PROMPTS[:1], Mix.base(), Sampling(20))
    assert (done.finish_reason, done.completion_tokens) == ("stop", 4)
    assert done.token_ids[-1] == 2
    assert "</s>" not in done.text
    assert done.prompt_tokens == len(encode_prompt(make_base(), PROMPTS[0]))


def test_the_limit_ends_it() -> None:
    [done] = generate(None, make_base(), PROMPTS[:1], Mix.base(), Sampling(3))
    assert (done.finish_reason, done.completion_tokens) == ("length", 3)


def test_the_context_ends_it() -> None:
    base = make_base(max_position_embeddings=32)
    [done] = generate(None, base, ["z" * 20], Mix.base(), Sampling(500))
    assert done.prompt_tokens + done.completion_tokens == 32
    assert done.finish_reason == "length"


def test_a_stop_text_ends_it_and_no_part_of_it_is_shown(base: Base) -> None:
    [free] = generate(None, base, PROMPTS[:1], Mix.base(), Sampling(30))
    stop = free.text[8:12]
    [done] = generate(None, base, PROMPTS[:1], Mix.base(), Sampling(30, stop=(stop, "never")))
    assert done.text == free.text[: free.text.find(stop)]
    assert done.finish_reason == "stop"
    assert done.completion_tokens < free.completion_tokens


# ── pieces of text ───────────────────────────────────────────────────────────────────────────

TOKENIZER = make_tokenizer()


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=40), st.lists(st.text(min_size=1, max_size=3), max_size=2))
def test_pieces_join_to_the_text_before_the_first_stop(text: str, stop: list[str]) -> None:
    detokenizer = Detokenizer(TOKENIZER, stop)
    shown = ""
    for token in TOKENIZER(text)["input_ids"]:
        shown += detokenizer.push(token)
        assert text.startswith(shown)  # never a broken character, never taken back
    shown += detokenizer.finish()
    cuts = [text.find(s) for s in stop if s in text]
    assert shown == text[: min(cuts)] if cuts else shown == text
    assert detokenizer.stopped == bool(cuts)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 299), max_size=30))
def test_pieces_of_any_tokens_join_to_their_decoding(ids: list[int]) -> None:
    detokenizer = Detokenizer(TOKENIZER)
    shown = "".join(detokenizer.push(token) for token in ids) + detokenizer.finish()
    assert shown == TOKENIZER.decode(ids, skip_special_tokens=True)


def test_a_character_of_four_tokens_comes_out_whole() -> None:
    ids = TOKENIZER("é🙂")["input_ids"]
    assert len(ids) == 6
    detokenizer = Detokenizer(TOKENIZER)
    assert [detokenizer.push(token) for token in ids] == ["", "é", "", "", "", "🙂"]


FALLBACK = make_fallback_tokenizer()
PLAIN = ["▁", "▁the", "▁a", "cat", "a", "é", "▁你", "<s>", "</s>"]


def spelled(text: str) -> list[int]:
    """As bytes."""
    ids = FALLBACK.convert_tokens_to_ids([f"<0x{byte:02X}>" for byte in text.encode()])
    assert isinstance(ids, list)
    return ids


def pieces_of(ids: list[int]) -> list[str]:
    detokenizer = Detokenizer(FALLBACK)
    return [*(detokenizer.push(token) for token in ids), detokenizer.finish()]


SPELLED = st.text(max_size=2).filter(lambda text: "�" not in text).map(spelled)
WORDS = st.sampled_from(PLAIN).map(lambda token: [FALLBACK.vocab[token]])
BYTES = st.integers(0, 255).map(lambda byte: [FALLBACK.vocab[f"<0x{byte:02X}>"]])


@settings(max_examples=80, deadline=None)
@given(st.lists(st.one_of(WORDS, SPELLED), max_size=8))
def test_pieces_join_to_the_text_where_bytes_spell_and_blanks_are_stripped(
    parts: list[list[int]],
) -> None:
    ids = [token for part in parts for token in part]
    assert "".join(pieces_of(ids)) == FALLBACK.decode(ids, skip_special_tokens=True)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.one_of(WORDS, SPELLED, BYTES), max_size=8))
def test_every_byte_is_shown_once_whole_or_broken(parts: list[list[int]]) -> None:
    ids = [FALLBACK.vocab["a"], *(token for part in parts for token in part)]  # no blank first
    shown = "".join(pieces_of(ids))
    tokens = [FALLBACK.convert_ids_to_tokens(i) for i in ids if i not in FALLBACK.all_special_ids]
    given = [1 if t.startswith("<0x") else len(t.replace("▁", " ").encode()) for t in tokens]
    assert sum(1 if letter == "�" else len(letter.encode()) for letter in shown) == sum(given)


def test_a_broken_character_is_shown_once_for_each_byte() -> None:
    cut = spelled("好")[:2]
    assert pieces_of([*spelled("你"), *cut]) == ["", "", "你", "", "", "��"]
    assert pieces_of([*cut, FALLBACK.vocab["▁a"]]) == ["", "", "�� a", ""]


def test_the_stream_joins_to_the_completions(base: Base, mixed: MixedModel) -> None:
    sampling = Sampling(12, temperature=2.0, seed=1)
    texts, last = [""] * 4, [None] * 4
    tokens: list[list[int]] = [[], [], [], []]
    for pieces in stream(mixed, base, PROMPTS, MIXES, sampling):
        for piece in pieces:
            assert isinstance(piece, Piece)
            row, token, text, finish_reason, logprobs = piece
            assert logprobs is None
            assert last[row] is None
            texts[row] += text
            tokens[row].append(token)
            last[row] = finish_reason
    for row, done in enumerate(generate(mixed, base, PROMPTS, MIXES, sampling)):
        assert isinstance(done, Completion)
        assert (texts[row], tuple(tokens[row])) == (done.text, done.token_ids)
        assert last[row] == done.finish_reason


# ── sampling ─────────────────────────────────────────────────────────────────────────────────


def test_a_seed_repeats_and_another_differs(base: Base) -> None:
    def draw(seed: int | None) -> str:
        sampling = Sampling(20, temperature=1.0, seed=seed)
        return generate(None, base, PROMPTS[:1], Mix.base(), sampling)[0].text

    assert draw(1) == draw(1)
    assert len({draw(seed) for seed in range(5)}) > 1
    assert len({draw(None) for _ in range(5)}) > 1


@pytest.mark.parametrize(
    "narrow", [{"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-6}, {"temperature": 1e-300}]
)
def test_the_narrowest_sampling_is_greedy(base: Base, narrow: dict[str, float]) -> None:
    sampling = Sampling(15, **{"temperature": 1.0, **narrow})
    drawn = generate(None, base, PROMPTS, Mix.base(), sampling)
    assert drawn == generate(None, base, PROMPTS, Mix.base(), Sampling(15))


def test_the_distribution_is_the_one_that_was_asked_for() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    torch.testing.assert_close(probabilities(logits, Sampling(temperature=1.0)), logits.exp())
    squared = logits.exp() ** 2
    torch.testing.assert_close(
        probabilities(logits, Sampling(temperature=0.5)), squared / squared.sum()
    )
    top = torch.tensor([[0.625, 0.375, 0, 0]])
    torch.testing.assert_close(probabilities(logits, Sampling(temperature=1.0, top_k=2)), top)
    torch.testing.assert_close(probabilities(logits, Sampling(temperature=1.0, top_p=0.75)), top)
    torch.testing.assert_close(
        probabilities(logits, Sampling(temperature=1.0, top_k=3, top_p=0.5)),
        torch.tensor([[1.0, 0, 0, 0]]),
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"top_k": -1},
        {"max_new_tokens": 0},
        {"stop": ("",)},
        {"max_new_tokens": 2.5},
        {"top_k": 1.5},
        {"seed": 1.5},
        {"seed": (1,)},
        {"temperature": [0.5]},
        {"stop_tokens": 5},
        {"logprobs": 1.5},
        {"temperature": "warm"},
        {"stop": (1,)},
        {"stop_tokens": ("x",)},
    ],
)
def test_sampling_out_of_range_is_a_wrong_call(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Sampling(**wrong)


# ── wrong calls fail before the first token ──────────────────────────────────────────────────


def test_wrong_calls_fail_at_once(base: Base, mixed: MixedModel) -> None:
    with pytest.raises(PromptError, match="empty"):
        stream(mixed, base, ["the cat", ""], Mix.base())
    with pytest.raises(PromptError, match="203 tokens"):
        stream(mixed, base, ["z" * 200], Mix.base())
    with pytest.raises(UnknownSkillError, match="'onee'"):
        stream(mixed, base, PROMPTS[:1], Mix.parse("onee"))
    with pytest.raises(UnknownSkillError):
        stream(None, base, PROMPTS[:1], Mix.parse("one"))
    with pytest.raises(UsageError, match="one mix for each"):
        generate(mixed, base, PROMPTS, MIXES[:2])
    with pytest.raises(UsageError, match="list"):
        generate(mixed, base, "the cat", Mix.base())
    with pytest.raises(UsageError, match="batch_size"):
        generate(mixed, base, PROMPTS, Mix.base(), batch_size=0)
    assert generate(mixed, base, [], Mix.base()) == []


# ── an accelerator that fails ────────────────────────────────────────────────────────────────


def generate_on_failing(base: Base, mixed: MixedModel) -> list[Completion]:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        done = generate(mixed, base, PROMPTS, MIXES, Sampling(10), batch_size=2)
    assert [w.category for w in seen] == [DeviceWarning]
    assert base.device.type == "cpu"
    return done


def fresh(device: str = "cpu") -> tuple[Base, MixedModel]:
    base = make_base()
    mixed = MixedModel(base.model)
    mixed.add("one", random_adapter(base, 1))
    mixed.add("two", random_adapter(base, 2))
    base.device = torch.device(device)
    return base, mixed


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_not_there_is_replaced_by_the_cpu_with_one_warning(
    base: Base, mixed: MixedModel
) -> None:
    assert generate_on_failing(*fresh("cuda")) == generate(
        mixed, base, PROMPTS, MIXES, Sampling(10)
    )


def test_running_out_of_memory_midway_loses_nothing(base: Base, mixed: MixedModel) -> None:
    broken, broken_mixed = fresh()
    calls = 0

    def fail(_module: Any, _args: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            broken.device = torch.device("cuda")
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    broken.model.register_forward_pre_hook(fail)
    done = generate_on_failing(broken, broken_mixed)
    assert calls > 5
    assert done == generate(mixed, base, PROMPTS, MIXES, Sampling(10))


def test_other_errors_and_a_cpu_that_fails_are_not_hidden() -> None:
    base, mixed = fresh()
    error: Exception = torch.OutOfMemoryError("no memory")

    def fail(_module: Any, _args: Any) -> None:
        raise error

    base.model.register_forward_pre_hook(fail)
    with pytest.raises(torch.OutOfMemoryError):
        generate(mixed, base, PROMPTS, MIXES)
    base.device, error = torch.device("cuda"), ValueError("a fault of ours")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeviceWarning)
        with pytest.raises(ValueError, match="a fault of ours"):
            generate(mixed, base, PROMPTS, MIXES)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_gpu_writes_what_the_cpu_writes(base: Base, mixed: MixedModel) -> None:
    on_gpu, mixed_on_gpu = fresh("cuda")
    mixed_on_gpu.to("cuda")
    done = generate(mixed_on_gpu, on_gpu, PROMPTS, MIXES, Sampling(10))
    assert done == generate(mixed, base, PROMPTS, MIXES, Sampling(10))
    assert on_gpu.device.type == "cuda"
