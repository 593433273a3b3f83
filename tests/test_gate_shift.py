"""The gate reads what is asked, not what it is about; and says which words told it."""

from __future__ import annotations

import functools
import importlib
import random
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch

from gate_prompts import tiny_base, tiny_gate
from loramix.base import encode_prompt
from loramix.errors import LibraryError, PromptError, UnknownSkillError
from loramix.gate import (
    FeatureExtractor,
    LearnedGate,
    RoutedExample,
    kind_of,
    kinds_of,
    learn_gate,
    plug_in,
    prompts_for,
    why,
)
from loramix.gate.encoder import (
    MetWords,
    Vocabulary,
    letter_groups,
    read_encoder,
    shipped_encoder,
)
from loramix.gate.phrasings import bank, crossed, joins, placed, questions, request
from tiny import random_adapter

BENCHES = Path(__file__).resolve().parent.parent / "benches"
OLD = "embeddings/mean,max,sentences+words/sentences"
FIVE = ("sentiment", "summarization", "math", "code", "qa")
TEXTS = {
    "sentiment": ("a dull , lifeless film .", "one of the best nights i have had in a cinema ."),
    "summarization": (
        "We study how plants store water. Our method needs no light and scales to large fields.",
        "A: Where were you? B: At the dentist, it took two hours. A: You missed the meeting.",
    ),
    "math": (
        "Tom has 12 pens and buys 3 packs of 4 pens. How many pens does he have now?",
        "A train covers 60 miles in an hour. How far does it get in 150 minutes?",
    ),
    "code": ("Write a function to find the longest word of a list.", "return self . name ."),
    "qa": (
        "The hallway is south of the garden. Mary went to the garden.\nWhere is Mary?",
        "Oslo was founded in 1040 by King Harald.\nWho founded Oslo?",
    ),
}
STRANGE = "The boat was late again, and the fishermen sat on the wall and mended their nets."


@functools.cache
def reading_gate() -> LearnedGate:
    """A gate on the request encoder; it sees each request around the texts of all skills."""
    examples = [RoutedExample(t, {n: 1.0}) for n, own in TEXTS.items() for t in own * 60]
    kinds = kinds_of(dict.fromkeys(FIVE, ""))
    return learn_gate(tiny_base(), examples, FIVE, features="request", requests=kinds)


def best(gate: LearnedGate, prompt: str) -> str:
    return (*gate.skills, "base")[int(gate.scores([prompt])[0].argmax())]


@pytest.mark.parametrize(
    ("asked", "skill"),
    [
        ("Summarize this in one sentence.", "summarization"),
        ("Is the writer happy or unhappy?", "sentiment"),
        ("Write a Python function that does this.", "code"),
        ("Solve this math problem step by step.", "math"),
        ("According to the text, who sat on the wall?", "qa"),
        ("Translate this into Spanish.", "base"),
    ],
)
@pytest.mark.parametrize("about", [STRANGE, TEXTS["math"][0], TEXTS["sentiment"][0]])
def test_the_request_decides_whatever_the_text_is_about(asked: str, skill: str, about: str) -> None:
    gate = reading_gate()
    assert best(gate, f"{asked}\n\n{about}") == skill
    assert best(gate, f"{about}\n\n{asked}") == skill


def test_a_gate_without_crossed_prompts_and_old_features_follows_the_topic() -> None:
    """The slow oracle of the claim: what the encoder is for."""
    examples = [RoutedExample(t, {n: 1.0}) for n, own in TEXTS.items() for t in own * 20]
    old = learn_gate(tiny_base(), examples, FIVE, features=OLD)
    assert best(old, "Summarize this in one sentence.\n\n" + TEXTS["math"][0]) == "math"


def test_small_slips_do_not_hide_the_request() -> None:
    assert best(reading_gate(), f"plese sumarize tihs: {STRANGE}") == "summarization"


def test_the_features_survive_storing_and_another_encoder_is_refused() -> None:
    gate = reading_gate()
    tensors, meta = gate.state()
    again = LearnedGate.from_state(FeatureExtractor(tiny_base(), "request"), tensors, meta)
    assert torch.equal(again.scores([STRANGE]), gate.scores([STRANGE]))
    with pytest.raises(LibraryError, match="another request encoder"):
        LearnedGate.from_state(gate.extractor, tensors, {**meta, "encoder": "0"})


@pytest.mark.slow
def test_gates_from_before_the_encoder_open() -> None:
    examples = [RoutedExample(t, {n: 1.0}) for n, own in TEXTS.items() for t in own]
    gate = learn_gate(tiny_base(), examples, FIVE, features=OLD)
    tensors, meta = gate.state()
    old = {key: value for key, value in meta.items() if key != "encoder"}
    again = LearnedGate.from_state(gate.extractor, tensors, old)
    assert torch.equal(again.scores([STRANGE]), gate.scores([STRANGE]))


@functools.cache
def gate_with_translator() -> LearnedGate:
    gate = reading_gate()
    few = [f"Put this into {lang}: {STRANGE}" for lang in ("French", "Polish", "Greek", "Thai")]
    prompts = prompts_for("translator", "translates texts into other languages", few)
    return plug_in(gate, gate.memories, "translator", prompts, beside=True)


def test_a_described_skill_with_few_examples_is_learned_and_the_old_ones_stay() -> None:
    asked = "Please translate into German.\n\n" + TEXTS["qa"][0]
    assert best(gate_with_translator(), asked) == "translator"
    for name, own in TEXTS.items():
        assert best(gate_with_translator(), own[1]) == name


def test_a_description_names_its_kind_and_nothing_else_does() -> None:
    assert kind_of("sentiment") == "sentiment"
    assert kind_of("mood", "tells how the writer of a text feels") == "sentiment"
    assert kind_of("shortener", "summarizes long articles in a sentence") == "summarization"
    assert kind_of("mystery") is None
    assert kinds_of({"code": "", "coder": "writes python code"}) == {"code": "code"}


def test_every_kind_has_phrasings_and_none_keeps_a_mark_of_the_grammar() -> None:
    rng = random.Random(0)
    requests, described = bank()
    assert set(FIVE) <= set(requests)
    assert set(described) <= set(requests)
    for kind in requests:
        for _ in range(50):
            prompt = placed(request(kind, rng, ["who is it?"]), "TEXT", rng)
            assert not set("$|{}*") & set(prompt), prompt
    assert all("{a}" in line and "{b}" in line for how in joins().values() for line in how)
    assert all(question.endswith("?") for question in questions())


def test_crossing_puts_each_request_around_all_texts_and_repeats_with_its_seed() -> None:
    texts = {"a": ["ALPHA"], "b": ["BETA"]}
    kinds = {"a": "math", "b": "code"}
    made = crossed(texts, kinds, 40, seed=3)
    assert made == crossed(texts, kinds, 40, seed=3)
    for skill in texts:
        own = [e.prompt for e in made if e.weights == {skill: 1.0}]
        assert any("ALPHA" in prompt for prompt in own)
        assert any("BETA" in prompt for prompt in own)
    assert any(not e.weights for e in made)
    assert {round(w, 1) for e in made if len(e.weights) == 2 for w in e.weights.values()} == {
        0.3,
        0.5,
        0.7,
    }
    assert all(len(e.weights) < 2 for e in crossed(texts, kinds, 40, seed=3, paired=0))


def test_pairs_of_many_skills_are_no_more_than_those_of_few() -> None:
    texts = {kind: ["ALPHA"] for kind in bank()[0]}
    made = crossed(texts, {kind: kind for kind in texts}, 10)
    assert sum(len(e.weights) == 2 for e in made) == 4 * 10


@pytest.mark.parametrize("skill", [None, "summarization", "base"])
def test_the_credits_of_the_words_sum_to_the_score(skill: str | None) -> None:
    gate, prompt = reading_gate(), f"Could you sum this up? {STRANGE}\n"
    told = why(gate, prompt, skill, orders=2)
    column = (*gate.skills, "base").index(told.skill)
    assert told.score == pytest.approx(float(gate.scores([prompt])[0, column]), abs=1e-5)
    assert told.start + sum(c for _, c in told.parts) == pytest.approx(told.score, abs=1e-9)
    assert "".join(text for text, _ in told.parts) == prompt


def test_the_words_of_the_request_carry_the_decision() -> None:
    told = why(reading_gate(), f"{STRANGE} Please summarize this.", "summarization")
    assert max(told.parts, key=lambda part: part[1])[0].startswith("summarize")


@pytest.mark.slow
def test_why_works_for_every_router_and_names_the_nearest_examples() -> None:
    words = why(tiny_gate().words, "Write a Python function.")
    assert words.start + sum(c for _, c in words.parts) == pytest.approx(words.score, abs=1e-9)
    assert words.nearest == ()
    examples = {"math": ["Calculate the total."], "summarization": ["Give me a summary of this."]}
    told = why(reading_gate(), f"Summarize: {STRANGE}", examples=examples, count=1)
    assert told.nearest[0][:2] == ("summarization", "Give me a summary of this.")


def test_why_refuses_what_it_cannot_explain() -> None:
    with pytest.raises(PromptError):
        why(reading_gate(), "  ")
    with pytest.raises(UnknownSkillError):
        why(reading_gate(), "hello", "cooking")


def test_the_encoder_knows_a_misspelt_word_by_its_letters() -> None:
    shared = set(letter_groups("summarize")) & set(letter_groups("sumarize"))
    assert len(shared) >= 6
    assert letter_groups("!") == ()
    assert Vocabulary(["a"]).ids("a")[1][0] == 5


def test_a_prompt_encodes_the_same_alone_and_in_a_batch_and_fast() -> None:
    encoder = shipped_encoder()
    prompts = [STRANGE, "hi", STRANGE * 40]
    together = encoder.encode_both(prompts)
    alone = torch.cat([encoder.encode_both([prompt]) for prompt in prompts])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)
    prompt = " ".join(["word and another word here"] * 40)  # 200 words
    times = []
    for _ in range(20):
        start = time.process_time()
        encoder.encode([prompt])
        times.append(time.process_time() - start)
    assert min(times) < 0.02  # the bar is 3 ms on an idle core; see docs/log.md


def test_words_that_were_met_read_as_if_they_were_new(monkeypatch: pytest.MonkeyPatch) -> None:
    with resources.as_file(resources.files("loramix.gate") / "requests") as folder:
        encoder = read_encoder(folder)
    prompts = [STRANGE, "sum it up", "Write a functoin", STRANGE.upper(), "sum it up", "word " * 9]
    slow = [encoder([encoder.vocabulary.ids(prompt)])[0] for prompt in prompts]
    forgets = len(set(STRANGE.split())) + 20
    for most in (MetWords.MOST, forgets):
        monkeypatch.setattr(MetWords, "MOST", most)
        with ThreadPoolExecutor(4) as pool:
            fast = [*pool.map(lambda prompt: encoder.encode([prompt])[0], prompts * 5)]
        torch.testing.assert_close(torch.stack(fast), torch.stack(slow * 5), rtol=0, atol=1e-4)
    with torch.no_grad():
        encoder.train().project.weight.mul_(2)
    changed = encoder.eval().encode([STRANGE])[0]
    torch.testing.assert_close(changed, encoder([encoder.vocabulary.ids(STRANGE)])[0])
    assert not torch.allclose(changed, slow[0], atol=1e-2)


def test_old_features_do_not_load_the_encoder() -> None:
    assert FeatureExtractor(tiny_base(), OLD).encoder_print is None


def test_arrow_of_the_benchmark_is_what_dense_matrices_and_single_tokens_give(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(BENCHES))
    bench, base = importlib.import_module("gate_adapters"), tiny_base()
    adapters = {name: random_adapter(base.model, seed=k) for k, name in enumerate(FIVE)}
    paths = list(adapters["qa"].modules)
    top = {  # the slow oracle: an SVD of each whole ΔW
        path: [np.linalg.svd(a.modules[path].delta().numpy())[2][0] for a in adapters.values()]
        for path in paths
    }
    found = bench.prototypes(list(adapters.values()))
    for path in paths:
        for own, right in zip(found[path].numpy(), top[path], strict=True):
            assert abs(float(own @ right)) == pytest.approx(1, abs=1e-4)
    prompts = ["hi", STRANGE]
    seen: dict[str, torch.Tensor] = {}
    hooks = [
        base.model.get_submodule(path).register_forward_pre_hook(
            lambda _, inputs, path=path: seen.update({path: inputs[0][0]})
        )
        for path in paths
    ]
    expected = []
    for prompt in prompts:
        with torch.inference_mode():
            base.model(torch.tensor([encode_prompt(base, prompt)]))
        votes = []
        for path in paths:
            for x in seen[path].double().numpy():
                unit = x / np.linalg.norm(x) * np.sqrt(len(x))
                share = np.exp([abs(float(v @ unit)) for v in top[path]])
                votes.append(share / share.sum())
        expected.append([*np.mean(votes, axis=0), 0.0])
    for hook in hooks:
        hook.remove()
    scores = bench.Arrow(base, adapters).scores(prompts)
    np.testing.assert_allclose(scores.numpy(), expected, atol=1e-4)


@pytest.mark.slow
def test_unseen_phrasings_over_unseen_texts_are_routed(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table of docs/log.md, with room for the chance in its fit."""
    if not (shared / "data").is_dir() or not (shared / "corpus").is_dir():
        pytest.skip(f"{shared} holds no data or no corpus")
    monkeypatch.setenv("LORAMIX_SHARED", str(shared))
    monkeypatch.syspath_prepend(str(BENCHES))
    bench = importlib.import_module("gate_shift")
    bare, made = bench.training(400)
    gate = learn_gate(tiny_base(), bare + made, FIVE, features="request")
    nothing_by_hand = type("Arguments", (), {"svamp": None, "humaneval": None, "reviews": None})
    result = bench.measured(gate.scores, bench.columns(nothing_by_hand))
    assert result["same sets"] >= 0.95
    assert result["long reviews"] >= 0.95
    assert result["crossed"] >= 0.86
    assert min(result[f"unseen: {name}"] for name in FIVE) >= 0.80
    assert result["several: top two"] >= 0.90
    assert result["ECE"] <= 0.05
    assert result["none AUROC"] >= 0.93
