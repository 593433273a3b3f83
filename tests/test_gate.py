"""The learned gate: routing, growth from memory, honesty, storage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from gate_prompts import MEMORY, SKILLS, examples_for, prompts_of, tiny_base, tiny_gate
from loramix.errors import ConfigError, DataError, LibraryError, UnknownSkillError
from loramix.evaluate.metrics import auroc
from loramix.gate import (
    FeatureExtractor,
    KeywordRouter,
    LearnedGate,
    RoutedExample,
    learn_gate,
    make_policy,
    make_router,
    plug_in,
    read_gate,
    route,
    targets_of,
)
from loramix.gate.calibrate import best_threshold, fit_policy, fit_temperature
from loramix.gate.network import GateNetwork, fit_network
from loramix.library import Library
from loramix.mix import Mix, Policy
from loramix.pocket.tasks import COMPOSITES
from tiny_library import make_adapter, make_card

COMPUTED = tuple(e.prompt for e in COMPOSITES["computed_answer"].examples("dev", 200))


def accuracy(gate: LearnedGate, skills: tuple[str, ...]) -> float:
    """Over unseen prompts of `skills`."""
    texts = [p for skill in skills for p in prompts_of(skill, "dev", 60)]
    truth = torch.tensor([gate.skills.index(skill) for skill in skills]).repeat_interleave(60)
    return float((gate.scores(texts).argmax(1) == truth).float().mean())


# ── routing ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_prompts_of_no_skill_go_to_the_base() -> None:
    gate = tiny_gate()
    skilled = [p for skill in SKILLS for p in prompts_of(skill, "dev", 40)]
    none = list(prompts_of("none", "dev", 60))
    scores = gate.scores(skilled + none)[:, -1].tolist()
    assert auroc(scores, [False] * len(skilled) + [True] * len(none)) >= 0.95
    empty = [routing.mix.is_base for routing in route(gate, none, gate.policy)]
    assert sum(empty) / len(empty) >= 0.8


def test_the_default_policy_blends_only_where_two_skills_are_needed() -> None:
    gate = tiny_gate()
    singles = [r.mix for r in route(gate, prompts_of("math", "dev", 40), gate.policy)]
    doubles = [r.mix for r in route(gate, COMPUTED, gate.policy)]
    assert sum(mix == Mix.of({"math": 1.0}) for mix in singles) / len(singles) >= 0.75
    assert sum(set(mix.weights) == {"qa", "math"} for mix in doubles) / len(doubles) >= 0.85


def test_the_other_policies_take_their_share_of_the_scores() -> None:
    gate = tiny_gate()
    [routing] = route(gate, COMPUTED[:1], Policy("topk", k=1))
    assert len(routing.mix.weights) == 1
    [routing] = route(gate, COMPUTED[:1], Policy("blend", min_share=0.0))
    assert set(routing.mix.weights) == set(SKILLS)
    [routing] = route(gate, ["anything"], Policy(none_threshold=0.0))
    assert routing.mix.is_base


def test_the_gate_says_which_sentences_it_looked_at() -> None:
    prompt = "Anna lives in Oslo. Anna works as a nurse.\nWhere does Anna live?"
    [details] = tiny_gate().explain([prompt])
    texts = [sentence["text"] for sentence in details["sentences"]]
    assert texts == ["Anna lives in Oslo.", "Anna works as a nurse.", "Where does Anna live?"]
    assert sum(s["attention"] for s in details["sentences"]) == pytest.approx(1, abs=1e-5)


def test_the_keywords_that_were_found_are_named() -> None:
    router = KeywordRouter(("code", "math")).fit(
        ["write python code", "python code please", "solve for x", "solve it", "good day", "good"],
        torch.eye(3).repeat_interleave(2, dim=0),
    )
    [details] = router.explain(["Can you solve this in Python?"])
    assert "python" in details["words"]["code"]
    assert "solve" in details["words"]["math"]
    assert router.scores(["nothing known here"]).argmax() == 2


# ── growth ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_adding_a_skill_needs_no_old_data_and_costs_the_old_ones_at_most_a_point() -> None:
    old = ("math", "qa")
    gate = tiny_gate(old)
    kept = {name: memory.clone() for name, memory in gate.memories.items()}
    state = {name: value.clone() for name, value in gate.state()[0].items()}
    # All that a library holds of the old skills is their memory: no prompt of theirs is given.
    grown = plug_in(gate, kept, "code", prompts_of("code", "train", 150))
    assert grown.skills == ("math", "qa", "code")
    assert accuracy(grown, old) >= accuracy(gate, old) - 0.01
    assert accuracy(grown, ("code",)) >= 0.9
    assert all(torch.equal(grown.memories[name], gate.memories[name]) for name in old)
    assert all(torch.equal(state[name], value) for name, value in gate.state()[0].items())
    assert grown.memories["code"].shape == (MEMORY, gate.extractor.width)
    assert {"def", "python", "function"} & set(grown.words.votes["code"])


@pytest.mark.slow
@pytest.mark.parametrize("how", ["refit", "kept"])
def test_removing_a_skill_leaves_the_others_as_good(how: str) -> None:
    gate = tiny_gate()
    left = getattr(gate, how)({name: gate.memories[name] for name in ("qa", "code")})
    assert left.skills == ("qa", "code")
    assert accuracy(left, ("qa", "code")) >= accuracy(gate, ("qa", "code")) - 0.01
    assert not len(left.several.features), "both kinds of composites need the skill that is gone"
    back = left.refit(gate.memories)
    assert accuracy(back, SKILLS) >= 0.9


def test_a_memory_keeps_single_skills_composites_and_none_apart() -> None:
    gate = tiny_gate()
    assert {name: len(memory) for name, memory in gate.memories.items()} == dict.fromkeys(
        SKILLS, 60
    )
    assert len(gate.none) == 60
    assert len(gate.several.features) == 60
    assert torch.equal((gate.several.targets > 0).sum(1), torch.full((60,), 2))


def test_a_memory_of_other_features_is_refused() -> None:
    gate = tiny_gate()
    with pytest.raises(DataError, match=r"memory of 'qa' does not fit(.|\n)*\[N, \d+\]"):
        gate.refit({**gate.memories, "qa": torch.zeros(4, 3)})
    with pytest.raises(DataError, match="no skill"):
        gate.refit({})


# ── honesty ──────────────────────────────────────────────────────────────────────────────────


def test_the_temperature_undoes_a_known_scaling() -> None:
    logits = torch.randn(4000, 5) * 2
    drawn = torch.multinomial(logits.softmax(1), 1).squeeze(1)
    targets = torch.nn.functional.one_hot(drawn, 5).float()
    assert fit_temperature(logits * 3, targets) == pytest.approx(3, rel=0.1)
    assert fit_temperature(logits[:0], targets[:0]) == 1.0


def test_a_threshold_parts_and_stays_near_the_preferred_one() -> None:
    assert best_threshold([0.0, 0.1], [0.6, 0.7], prefer=0.3) == 0.3
    assert 0.1 < best_threshold([0.0, 0.1], [0.2, 0.3], prefer=0.5) <= 0.2
    assert best_threshold([], [0.2], prefer=0.4) == 0.4
    many = [i / 100 for i in range(100)]
    assert best_threshold(many, [0.9] * 10, prefer=0.5, max_wrong=0.03) > 0.96


def test_the_thresholds_come_from_composites_and_from_prompts_of_no_skill() -> None:
    scores = torch.tensor([[0.55, 0.40, 0.05], [0.85, 0.10, 0.05], [0.10, 0.05, 0.85]])
    targets = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    policy = fit_policy(scores.repeat(10, 1), targets.repeat(10, 1))
    assert 0.1 < policy.blend_threshold <= 0.42
    assert 0.05 < policy.none_threshold <= 0.85


# ── storage ──────────────────────────────────────────────────────────────────────────────────


def test_a_stored_gate_scores_as_the_fitted_one() -> None:
    gate = tiny_gate()
    tensors, meta = gate.state()
    again = LearnedGate.from_state(
        gate.extractor, load(save(tensors)), json.loads(json.dumps(meta))
    )
    prompts = [*prompts_of("qa", "dev", 5), *COMPUTED[:5]]
    assert torch.equal(again.scores(prompts), gate.scores(prompts))
    assert torch.equal(again.words.scores(prompts), gate.words.scores(prompts))
    assert (again.policy, again.temperature) == (gate.policy, gate.temperature)
    assert again.state()[1] == meta


@pytest.mark.slow
def test_the_same_seed_gives_the_same_gate() -> None:
    examples = examples_for(("math", "code"), "train", 20)
    torch.manual_seed(1)
    first = learn_gate(tiny_base(), examples, ("math", "code"), seed=3).state()[0]
    torch.manual_seed(2)
    drawn = torch.rand(1)
    torch.manual_seed(2)
    again = learn_gate(tiny_base(), examples, ("math", "code"), seed=3).state()[0]
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert torch.equal(drawn, torch.rand(1)), "fitting leaves the caller's random state alone"


def test_a_gate_of_another_form_or_base_is_refused() -> None:
    gate = tiny_gate()
    tensors, meta = gate.state()
    with pytest.raises(LibraryError, match="cannot read"):
        LearnedGate.from_state(gate.extractor, tensors, {**meta, "format": 99})
    other = FeatureExtractor(tiny_base(), "embeddings/mean+request")
    with pytest.raises(LibraryError, match="does not fit"):
        LearnedGate.from_state(other, tensors, meta)


@pytest.fixture
def library(tmp_path: Path) -> Library:
    """A library whose adapters are beside the point, with the tiny gate."""
    gate = tiny_gate()
    made = Library.create(tmp_path / "library", "tiny-llama", tiny_base().fingerprint)
    with made.edit() as txn:
        for name in SKILLS:
            txn.add(name, make_adapter(), make_card(name), gate.memories[name])
        txn.set_gate(*gate.state(Policy("topk", blend_threshold=0.3)))
    return made


def test_a_library_gives_back_its_routers_and_its_policy(library: Library) -> None:
    base = tiny_base()
    prompts = ["Write a Python function that returns the sum of the numbers in a list."]
    assert torch.equal(read_gate(library, base).scores(prompts), tiny_gate().scores(prompts))
    for name in ("gate", "keywords", "centroid", "fixed:code=1"):
        router = make_router(name, base=base, library=library)
        assert router.name == name.partition(":")[0]
        assert (router.scores(prompts).argmax(1) == 1).all()
    assert make_policy(library) == Policy("topk", blend_threshold=0.3)
    assert make_policy(library, "top1") == Policy("top1", blend_threshold=0.3)


def test_a_router_or_policy_that_is_not_there_is_named(library: Library, tmp_path: Path) -> None:
    base = tiny_base()
    with pytest.raises(ConfigError, match=r"no such router(.|\n)*'keywords'"):
        make_router("keyword", base=base, library=library)
    with pytest.raises(ConfigError, match="no such router"):
        make_router("gate:x", base=base, library=library)
    with pytest.raises(UnknownSkillError, match="cod"):
        make_router("fixed:cod", base=base, library=library)
    with pytest.raises(ConfigError, match="no such policy"):
        make_policy(library, "top2")
    empty = Library.create(tmp_path / "empty", "tiny-llama", base.fingerprint)
    with pytest.raises(LibraryError, match="no gate"):
        make_router("gate", base=base, library=empty)
    assert make_policy(empty) == Policy()


# ── the network ──────────────────────────────────────────────────────────────────────────────


def test_the_network_finds_one_sentence_among_others_wherever_it_stands() -> None:
    extractor = FeatureExtractor(tiny_base(), "words/sentences")
    fill = ["The box is red.", "We drove to Rome.", "Mail came on Monday.", "My cat is old."]
    prompts, labels = [], []
    for i in range(80):
        sentences = [fill[(i + j) % 4] for j in range(3)]
        sentences.insert(i % 4, ("Sum it up.", "Judge the tone.")[i % 2])
        prompts.append(" ".join(sentences))
        labels.append(i % 2)
    features = extractor.features(prompts)
    targets = torch.nn.functional.one_hot(torch.tensor(labels), 2).float()
    network = GateNetwork(extractor.layout, 2)
    network.set_scaling(features)
    assert fit_network(network, features, targets, seed=0) < 0.2
    looked = network.attention(features).argmax(1)
    assert (looked == torch.arange(80) % 4).float().mean() >= 0.95


def test_targets_are_shares_that_sum_to_one() -> None:
    examples = [RoutedExample("a", {"x": 2.0, "y": 1.0}), RoutedExample("b"), RoutedExample("c")]
    targets = targets_of(examples, ("x", "y"))
    torch.testing.assert_close(targets[0], torch.tensor([2 / 3, 1 / 3, 0]))
    assert targets[1].tolist() == [0, 0, 1]
    with pytest.raises(UnknownSkillError):
        targets_of([RoutedExample("a", {"z": 1.0})], ("x", "y"))
