"""Features of a prompt: fixed width, the base's own states, nothing of it changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gate_prompts import tiny_base
from loramix.adapter import LoraSettings
from loramix.base import weights_hash
from loramix.errors import ConfigError
from loramix.gate import FeatureExtractor
from loramix.gate.features import MAX_TOKENS, SLOTS
from loramix.gate.states import PROJECTED, StateReader
from loramix.gate.words import pieces_of, terms_of
from loramix.mixed import MixedModel
from tiny import random_adapter
from tiny_base import make_base

KINDS = (
    "auto",
    "embeddings",
    "early",
    "middle",
    "words",
    "words/mean,sentences",
    "embeddings/first,last+words",
    "early/max+embeddings/sentences",
)
PROMPTS = ("Hi", "Sum this up: it broke. I sent it back.", "one two three " * 300, "a. " * 50, "…")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("arch", ["llama", "gpt2"])
def test_every_kind_gives_finite_vectors_of_its_width(kind: str, arch: str) -> None:
    layers = {"num_hidden_layers": 4} if arch == "llama" else {"n_layer": 4}
    extractor = FeatureExtractor(make_base(arch, **layers), kind)
    features = extractor.features(PROMPTS)
    assert features.shape == (len(PROMPTS), extractor.width)
    assert features.dtype == torch.float32
    assert features.isfinite().all()
    assert features.abs().sum(1).gt(0).all()
    assert extractor.features([]).shape == (0, extractor.width)


def test_states_are_those_of_the_base_and_the_base_stays_as_it_is() -> None:
    base = make_base(num_hidden_layers=4)
    before = weights_hash(base.model)
    reader = StateReader(base, ["embeddings", "early", "middle"])
    rows = [[7, 8, 9, 10], [11, 12]]
    states = reader.read(rows)
    for place, row in enumerate(rows):
        with torch.no_grad():
            true = base.model(torch.tensor([row]), output_hidden_states=True).hidden_states
        for source, depth in (("embeddings", 0), ("early", 1), ("middle", 2)):
            torch.testing.assert_close(states[source][place, : len(row)], true[depth][0])
    assert weights_hash(base.model) == before
    hooks = sum(len(module._forward_hooks) for module in base.model.modules())
    reader.read(rows)
    assert sum(len(module._forward_hooks) for module in base.model.modules()) == hooks


def test_embeddings_are_the_bases_own_while_skills_that_adapt_them_run() -> None:
    base = make_base()
    mixed = MixedModel(base.model)
    mixed.add("a", random_adapter(base.model, LoraSettings(target_modules=("embed_tokens",))))
    reader, rows = StateReader(base, ["embeddings"]), [[7, 8, 9, 10], [11, 12]]
    alone = reader.read(rows)["embeddings"]
    with mixed.using(torch.ones(5, 1)):
        torch.testing.assert_close(reader.read(rows)["embeddings"], alone, rtol=0, atol=0)


def test_layers_run_in_short_turns_of_the_base_and_nothing_else_does() -> None:
    base = make_base(num_hidden_layers=4)
    sizes: list[int] = []
    inside: list[bool] = []
    now = False

    def turn(work: Callable[[], Any]) -> Any:
        nonlocal now
        now = True
        try:
            return work()
        finally:
            now = False

    def seen(_module: Any, _args: Any, output: Any) -> None:
        states = output[0] if isinstance(output, tuple) else output
        sizes.append(states.shape[:2].numel())
        inside.append(now)

    prompts = [f"{prompt} {i}" for i in range(50) for prompt in PROMPTS]
    for kind, layers in (("early+embeddings", True), ("embeddings+words", False)):
        wanted = FeatureExtractor(base, kind).features(prompts)
        sizes.clear()
        inside.clear()
        handle = base.model.model.layers[0].register_forward_hook(seen)
        found = FeatureExtractor(dataclasses.replace(base, turn=turn), kind).features(prompts)
        handle.remove()
        assert found.equal(wanted)
        assert all(inside)
        assert (len(sizes) > 5) is layers
        assert all(size <= 1024 for size in sizes)


def test_wide_states_are_projected_so_that_distances_stay() -> None:
    base = make_base(hidden_size=768, intermediate_size=64, num_attention_heads=4)
    reader = StateReader(base, ["embeddings"])
    assert reader.width == PROJECTED
    ids = list(range(10, 40))
    small = reader.read([ids])["embeddings"][0]
    large = base.model.get_input_embeddings()(torch.tensor(ids)).detach()
    ratio = torch.pdist(small) / torch.pdist(large)
    assert ratio.mean() == pytest.approx(1, abs=0.05)
    assert ratio.std() < 0.1


def test_a_long_prompt_keeps_both_ends() -> None:
    base = make_base(max_position_embeddings=1024)
    extractor = FeatureExtractor(base, "embeddings/first,last")
    middle = "word " * MAX_TOKENS
    short = extractor.features(
        ["Sum this up for me now, please. " + middle + "Thanks, yours Ann Lee."]
    )
    longer = extractor.features(
        ["Sum this up for me now, please. " + middle * 3 + "Thanks, yours Ann Lee."]
    )
    torch.testing.assert_close(short, longer)


def test_each_sentence_has_a_slot_and_surplus_ones_share_the_middle() -> None:
    extractor = FeatureExtractor(tiny_base(), "words/sentences")
    few = extractor.features(["One is here. Two is there."]).reshape(SLOTS, -1)
    assert few.sum(1).gt(0).tolist() == [True, True] + [False] * (SLOTS - 2)
    many = extractor.sentences(" ".join(f"Number {i}." for i in range(10)))
    assert many[0] == "Number 0."
    assert many[-1] == "Number 9."
    assert many[3] == "Number 3. Number 4. Number 5. Number 6. Number 7."


@given(st.text(alphabet="ab .!?:\n\"'", min_size=1, max_size=400))
def test_pieces_joined_are_the_text(text: str) -> None:
    pieces = pieces_of(text)
    assert "".join(pieces) == text
    assert all(piece.strip() for piece in pieces[1:])


def test_a_request_stands_alone_in_its_piece() -> None:
    assert pieces_of("It broke. TL;DR\nplease?") == ["It broke.", " TL;DR", "\nplease?"]
    assert pieces_of("Classify the tone: it is 3.5 m long!")[0] == "Classify the tone:"
    assert len(pieces_of("no end " * 60)) > 2
    assert terms_of("It's 40 km") == ["it's", "0", "km", "it's 0", "0 km"]


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("embedings", "'embeddings'"),
        ("early/meen", "'mean'"),
        ("words/max", "mean, sentences"),
        ("", "no such kind"),
        ("early+", "no such kind"),
    ],
)
def test_an_unknown_kind_or_pool_is_named(kind: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        FeatureExtractor(tiny_base(), kind)


def test_layers_that_are_the_same_are_not_read_twice() -> None:
    with pytest.raises(ConfigError, match="same layer"):
        FeatureExtractor(make_base(num_hidden_layers=2), "early+middle")
