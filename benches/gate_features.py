"""Which features of a prompt let a gate find the request? The table of docs/log.md.

    python benches/gate_features.py [--base pocket] [--count 300] [--real 400] [--kinds KIND …]

For each kind of features one gate on the pocket tasks (train templates and content, measured on
the held-out ones), and one on real raw texts (train → dev) where the shared data is there.
Linear is multinomial logistic regression on the same features: what the network adds.
"""

from __future__ import annotations

import argparse
import time

import torch
from gate_data import SHARED, pocket_examples, real_texts, say, table
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from loramix.base import load_base
from loramix.gate import FeatureExtractor, targets_of
from loramix.gate.features import AUTO
from loramix.gate.network import GateNetwork, fit_network, logits_of
from loramix.pocket.tasks import TASKS

SKILLS = tuple(TASKS)
KINDS = (
    "embeddings/mean",
    "early/mean",
    "middle/mean",
    "embeddings/max",
    "early/max",
    "embeddings/first,last",
    "embeddings/mean,max,first,last",
    "words",
    "embeddings/mean,max+words",
    "embeddings/sentences",
    "words/sentences",
    "early/mean,max,sentences",
    "embeddings/mean,max,sentences",
    AUTO,
    "early/mean,max,sentences+words/sentences",
)


def main() -> None:
    """Prints one Markdown row for each kind as it is done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", default="pocket")
    parser.add_argument("--count", type=int, default=300, help="pocket prompts of each skill")
    parser.add_argument("--real", type=int, default=400, help="real texts of each data set")
    parser.add_argument("--kinds", nargs="*", default=KINDS)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    base = load_base(args.base, device="cpu")
    train = pocket_examples("train", args.count, args.seed)
    test = pocket_examples("test", max(100, args.count // 3), args.seed)
    real = {}
    if (SHARED / "data").is_dir():
        real = {split: real_texts(split, args.real) for split in ("train", "dev")}
    head = ["features", "F", "pocket, linear", "pocket", "tone", "summary", "composites", "real"]
    say(table([*head, "ms a prompt"], []))
    for kind in args.kinds:
        extractor = FeatureExtractor(base, kind)
        fitted = extractor.features([e.prompt for e in train])
        start = time.perf_counter()
        held = extractor.features([e.prompt for e in test])
        milliseconds = 1000 * (time.perf_counter() - start) / len(test)
        wanted, truth = targets_of(train, SKILLS), targets_of(test, SKILLS)
        scores = _fit(extractor, fitted, wanted, args.seed)(held)
        row = [f"`{kind}`", extractor.width, _linear(fitted, wanted, held, truth)]
        row += [_accuracy(scores, truth, range(len(SKILLS)))]
        row += [_accuracy(scores, truth, [SKILLS.index(name)]) for name in SKILLS[:2]]
        row += [_top_two(scores, truth)]
        row += [_real(extractor, real, args.seed) if real else "–"]
        say(table([*row, f"{milliseconds:.2f}"], []).splitlines()[0])


def _fit(extractor: FeatureExtractor, features: Tensor, targets: Tensor, seed: int):
    torch.manual_seed(seed)
    network = GateNetwork(extractor.layout, targets.shape[1])
    network.set_scaling(features)
    fit_network(network, features, targets, seed=seed)
    return lambda held: logits_of(network, held).softmax(1)


def _linear(features: Tensor, targets: Tensor, held: Tensor, truth: Tensor) -> float:
    """Accuracy of logistic regression on the prompts that need one skill."""
    single = targets.amax(1) > 0.95
    mean, deviation = features.mean(0), features.std(0).clamp_min(1e-4)
    model = LogisticRegression(C=0.02, max_iter=50)
    model.fit((features[single] - mean) / deviation, targets[single].argmax(1))
    skilled = truth[:, :-1].amax(1) > 0.95
    found = model.predict((held[skilled] - mean) / deviation)
    return float((torch.from_numpy(found) == truth[skilled].argmax(1)).float().mean())


def _accuracy(scores: Tensor, truth: Tensor, columns: range | list[int]) -> float:
    """Share of the prompts of these skills alone whose skill scores best."""
    rows = truth[:, list(columns)].amax(1) > 0.95
    return float((scores[rows].argmax(1) == truth[rows].argmax(1)).float().mean())


def _top_two(scores: Tensor, truth: Tensor) -> float:
    rows = (truth[:, :-1] > 0).sum(1) == 2
    found, wanted = (x[rows, :-1].topk(2, 1).indices.sort(1).values for x in (scores, truth))
    return float((found == wanted).all(1).float().mean())


def _real(extractor: FeatureExtractor, real: dict[str, dict[str, list[str]]], seed: int) -> float:
    """Accuracy on raw texts of real data sets."""
    data = {}
    for split, texts in real.items():
        labels = [i for i, own in enumerate(texts.values()) for _ in own]
        features = extractor.features([text for own in texts.values() for text in own])
        data[split] = features, torch.eye(len(texts))[labels]
    scores = _fit(extractor, *data["train"], seed)(data["dev"][0])
    return float((scores.argmax(1) == data["dev"][1].argmax(1)).float().mean())


if __name__ == "__main__":
    main()
