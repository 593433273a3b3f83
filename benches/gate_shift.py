"""Does the gate read what is asked, or what it is about? The tables of docs/log.md.

    python benches/gate_shift.py [--base pocket] [--count 400] [--svamp FILE] [--humaneval FILE]
                                 [--reviews DIR] [--routers NAME …] [--sentence-encoder DIR]
                                 [--library DIR] [--stories N] [--every N] [--bare]

Five skills, fitted on the train rows of the shared data: bare, and (crossed) with the phrasings of
`loramix.gate.phrasings` around them. Measured on rows, sources and phrasings that nothing was
fitted on: `gate_shift_data` was written before the gate, and its styles `keyword` (a suffix),
`chat` (an opening) and `middle` (the request inside the text) stand in no training phrasing.
The request encoder, though, has learned from requests that are left with one or two words
(`gate_encoder.py`), which is not far from `keyword`.

Three sets are not in the shared data and are given by hand: SVAMP.json (Patel et al., 2021),
HumanEval.jsonl (Chen et al., 2021), and a folder of whole film reviews as text files below `pos`
and `neg` (Pang & Lee, 2004, or Maas et al., 2011). Without them these columns are left out. Long
reviews are made of 8 to 20 review sentences of the dev rows, which are single sentences.

Routers of `gate_adapters.py` (arrow…, likelihood…) ask five adapters, of the library that is given.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import time
from pathlib import Path

import torch
from gate_adapters import Arrow, Likelihoods, PromptLikelihood
from gate_data import say, table
from gate_shift_texts import corpus_texts, questions_of, reviews_among_stories, rows_of

from loramix.base import load_base
from loramix.gate import (
    CentroidRouter,
    FeatureExtractor,
    KeywordRouter,
    LearnedGate,
    RoutedExample,
    targets_of,
)
from loramix.gate.phrasings import crossed
from loramix.library import Library

SKILLS = ("sentiment", "summarization", "math", "code", "qa")
FOLDER = Path(__file__).parent / "gate_shift_data"
HELD_STYLES = ("keyword", "chat", "middle")
UNSEEN = ("stories_children", "python_peps", "tldr_pages")
WHOLE = 200
"""Whole reviews of each polarity."""


def phrasings(name: str) -> list[tuple[str, str]]:
    """(style, phrasing) of a skill, of `none`, or (shares, phrasing) of `several`."""
    lines = (FOLDER / f"{name}.txt").read_text("utf-8").split("\n")
    pairs = [line.split("|", 1) for line in lines if "|" in line]
    return [(style, text.replace("\\n", "\n")) for style, text in pairs]


def filled(phrasing: str, text: str, question: str) -> str:
    """A phrasing around a text; {a} and {b} are its halves."""
    words = text.split(" ")
    half = len(words) // 2
    parts = {"{a}": " ".join(words[:half]), "{b}": " ".join(words[half:]), "{q}": question}
    for mark, part in parts.items():
        phrasing = phrasing.replace(mark, part)
    return phrasing.replace("{text}", text)


def training(
    count: int, seed: int = 0, stories: int = 0
) -> tuple[list[RoutedExample], list[RoutedExample]]:
    """Bare rows of each skill with prompts of none; and the same rows crossed with phrasings.

    Of the bare ones `stories` are reviews whose opinions stand among what happens.
    """
    texts = {name: rows_of(name, "train", seed)[:count] for name in SKILLS}
    bare = [RoutedExample(text, {name: 1.0}) for name, own in texts.items() for text in own]
    rng = random.Random(seed)
    bare += [  # reviews of many lengths: rows are single sentences
        RoutedExample(
            " ".join(rng.sample(texts["sentiment"], rng.randint(2, 10))), {"sentiment": 1.0}
        )
        for _ in range(count // 4)
    ]
    told = reviews_among_stories(texts["sentiment"], stories, seed)
    bare += [RoutedExample(text, {"sentiment": 1.0}) for text in told]
    short = {
        n: [" ".join(t.split(" ")[: rng.randint(5, 120)]) for t in own] for n, own in texts.items()
    }
    made = crossed(
        short, {n: n for n in SKILLS}, count, seed=seed, asked=questions_of("train")[:2000]
    )
    return bare, made


def columns(args: argparse.Namespace) -> dict[str, list[RoutedExample]]:
    """The prompts of each column of the table."""
    rng = random.Random(5)
    out: dict[str, list[RoutedExample]] = {}
    dev = {name: rows_of(name, "dev") for name in SKILLS}
    out["same sets"] = [RoutedExample(t, {n: 1.0}) for n in SKILLS for t in dev[n][:250]]
    if args.svamp:
        rows = json.loads(args.svamp.read_text("utf-8"))[:400]
        out["other math"] = [
            RoutedExample(r["Body"].strip().rstrip(".") + ". " + r["Question"], {"math": 1.0})
            for r in rows
        ]
    if args.humaneval:
        opened = gzip.open if args.humaneval.suffix == ".gz" else open
        with opened(args.humaneval, "rt") as lines:
            out["other code"] = [
                RoutedExample(json.loads(x)["prompt"], {"code": 1.0}) for x in lines if x.strip()
            ]
    out["long reviews"] = [
        RoutedExample(
            " ".join(rng.sample(dev["sentiment"], rng.randint(8, 20))), {"sentiment": 1.0}
        )
        for _ in range(200)
    ]
    if args.reviews:  # a generator of its own, so that the other columns are the same without them
        chance = random.Random(6)
        files = [sorted(args.reviews.rglob(f"{side}/*.txt")) for side in ("pos", "neg")]
        picked = [file for own in files for file in chance.sample(own, WHOLE)]
        out["whole reviews"] = [
            RoutedExample(file.read_text("utf-8", "replace").strip(), {"sentiment": 1.0})
            for file in picked
        ]
    unseen = [t for name in UNSEEN for t in corpus_texts(name, 300, seed=3)]
    generic = (FOLDER / "questions.txt").read_text("utf-8").strip().split("\n")
    questions = questions_of("dev")
    for name in SKILLS:
        made = []
        for style, phrasing in phrasings(name):
            for _ in range(5):
                question = rng.choice(generic if rng.random() < 0.5 else questions)
                made.append(
                    (
                        style,
                        RoutedExample(filled(phrasing, rng.choice(unseen), question), {name: 1.0}),
                    )
                )
        out[f"unseen: {name}"] = [e for _, e in made]
        out.setdefault("held styles", []).extend(e for s, e in made if s in HELD_STYLES)
        # Texts of the other skills' own data, which have never been seen with any request.
        foreign = [t for other in SKILLS if other != name for t in dev[other][:200]]
        out.setdefault("crossed", []).extend(
            RoutedExample(filled(p, rng.choice(foreign), rng.choice(questions)), {name: 1.0})
            for _, p in phrasings(name)
            for _ in range(2)
        )
    out["none"] = [
        RoutedExample(filled(p, rng.choice(unseen), ""))
        for _, p in phrasings("none")
        for _ in range(5)
    ]
    out["several"] = []
    for shares, phrasing in phrasings("several"):
        weights = {n: float(s) for n, s in (pair.split("=") for pair in shares.split(","))}
        for _ in range(5):
            text = filled(phrasing, rng.choice(unseen), rng.choice(generic))
            out["several"].append(RoutedExample(text, weights))
    return out


def measured(scores_of, cols: dict[str, list[RoutedExample]]) -> dict[str, float]:
    """Accuracy of each column, ECE and refusals under shift, AUROC of none, and the blends."""
    result: dict[str, float] = {}
    sure, right, skilled = [], [], []
    for name, examples in cols.items():
        scores = scores_of([e.prompt for e in examples])
        truth = targets_of(examples, SKILLS)
        if name == "none":
            none = scores[:, -1]
        elif name == "several":
            shares = scores[:, :-1] / scores[:, :-1].sum(1, keepdim=True).clamp_min(1e-9)
            top = [set(r.topk(2).indices.tolist()) for r in shares]
            want = [set(r[:-1].topk(2).indices.tolist()) for r in truth]
            both = [a == b for a, b in zip(top, want, strict=True)]
            result["several: top two"] = sum(both) / len(both)
            picked = truth[:, :-1] > 0
            result["several: MAE"] = float((shares - truth[:, :-1]).abs()[picked].mean())
        else:
            hit = scores.argmax(1) == truth.argmax(1)
            result[name] = float(hit.float().mean())
            if name.startswith("unseen") or name == "crossed":
                sure.append(scores.amax(1)), right.append(hit.float())
                skilled.append(scores[:, -1])
    result["ECE"] = ece(torch.cat(sure), torch.cat(right))
    in_skill = torch.cat(skilled)
    above = (none[:, None] > in_skill[None]).float() + 0.5 * (none[:, None] == in_skill[None])
    result["none AUROC"] = float(above.mean())
    result["_skilled"], result["_none"] = in_skill, none
    return result


def ece(sure: torch.Tensor, right: torch.Tensor, bins: int = 15) -> float:
    """Expected calibration error: |accuracy - confidence|, over bins, by their sizes."""
    total, where = 0.0, (sure * bins).long().clamp(max=bins - 1)
    for b in range(bins):
        own = where == b
        if own.any():
            total += float((right[own].mean() - sure[own].mean()).abs()) * int(own.sum())
    return total / len(sure)


class Logistic:
    """Multinomial logistic regression on mean token embeddings."""

    def __init__(self, base) -> None:
        self.extractor = FeatureExtractor(base, "embeddings/mean")

    def fit(self, prompts, targets):
        from sklearn.linear_model import LogisticRegression

        x = self.extractor.features(prompts)
        self.mean, self.std = x.mean(0), x.std(0).clamp_min(1e-4)
        keep = targets.amax(1) > 0.95
        self.model = LogisticRegression(C=0.1, max_iter=200)
        self.model.fit(((x - self.mean) / self.std)[keep], targets[keep].argmax(1))
        return self

    def scores(self, prompts):
        x = (self.extractor.features(prompts) - self.mean) / self.std
        scores = torch.zeros(len(prompts), len(SKILLS) + 1)
        scores[:, self.model.classes_] = torch.from_numpy(self.model.predict_proba(x)).float()
        return scores


class SentenceMLP:
    """A sentence encoder and a small MLP over it, as DLP-LoRA (Zhang & Li, 2024) routes."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModel, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.model = AutoModel.from_pretrained(folder, local_files_only=True).eval()

    @torch.inference_mode()
    def features(self, prompts):
        out = []
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        for start in range(0, len(order), 32):
            texts = [prompts[i] for i in order[start : start + 32]]
            batch = self.tokenizer(
                texts, padding=True, truncation=True, max_length=256, return_tensors="pt"
            )
            mask = batch["attention_mask"].unsqueeze(2)
            out.append((self.model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1))
        back = torch.tensor(order).argsort()
        return torch.nn.functional.normalize(torch.cat(out), dim=1)[back]

    def fit(self, prompts, targets):
        x = self.features(prompts)
        self.mlp = torch.nn.Sequential(
            torch.nn.Linear(x.shape[1], 256),
            torch.nn.ReLU(),
            torch.nn.Dropout(0.2),
            torch.nn.Linear(256, targets.shape[1]),
        )
        optimizer = torch.optim.AdamW(self.mlp.parameters(), lr=2e-3)
        for _ in range(30):
            for rows in torch.randperm(len(x)).split(128):
                loss = -(targets[rows] * self.mlp(x[rows]).log_softmax(1)).sum(1).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        self.mlp.eval()
        return self

    @torch.no_grad()
    def scores(self, prompts):
        return self.mlp(self.features(prompts)).softmax(1)


def main() -> None:
    """Prints one row for each router as it is done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", default="pocket")
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--svamp", type=Path)
    parser.add_argument("--humaneval", type=Path)
    parser.add_argument("--reviews", type=Path, help="a folder with pos/*.txt and neg/*.txt")
    parser.add_argument("--library", type=Path, help="adapters of the five, for arrow, likelihood")
    parser.add_argument(
        "--routers", nargs="*", default=["request", "keywords", "centroid", "logistic", "sentences"]
    )
    parser.add_argument("--sentence-encoder", type=Path, help="a folder, for sentence-mlp")
    parser.add_argument("--features", default="request")
    parser.add_argument(
        "--stories", type=int, default=0, help="reviews that tell stories, to fit on"
    )
    parser.add_argument("--every", type=int, default=1, help="measure every N-th prompt alone")
    parser.add_argument("--bare", action="store_true", help="fit on bare rows, nothing crossed")
    parser.add_argument("--wrong", action="store_true", help="show prompts that went wrong")
    args = parser.parse_args()
    base = load_base(args.base, device="cpu")
    bare, made = training(args.count, stories=args.stories)
    examples = bare if args.bare else bare + made
    prompts, targets = [e.prompt for e in examples], targets_of(examples, SKILLS)
    cols = {name: own[:: args.every] for name, own in columns(args).items()}
    head = None
    adapters, rated = {}, None
    if args.library:
        library = Library.open(args.library)
        adapters = {name: library.skills[name].adapter(base.model) for name in SKILLS}
        rated = Likelihoods(base, library, SKILLS)
    for name in args.routers:
        router = {
            "request": lambda: LearnedGate(FeatureExtractor(base, args.features), SKILLS),
            "sentences": lambda: LearnedGate(FeatureExtractor(base), SKILLS),
            "keywords": lambda: KeywordRouter(SKILLS),
            "centroid": lambda: CentroidRouter(FeatureExtractor(base, "embeddings/mean"), SKILLS),
            "logistic": lambda: Logistic(base),
            "sentence-mlp": lambda: SentenceMLP(args.sentence_encoder),
            "arrow": lambda: Arrow(base, adapters),
            "arrow-votes": lambda: Arrow(base, adapters, "votes"),
            "arrow-mean": lambda: Arrow(base, adapters, "mean"),
            "likelihood": lambda: PromptLikelihood(rated),
            "likelihood-base": lambda: PromptLikelihood(rated, "base"),
            "likelihood-usual": lambda: PromptLikelihood(rated, "usual"),
        }[name]()
        start = time.process_time()
        router.fit(prompts, targets)
        seconds = time.process_time() - start
        start = time.process_time()
        result = measured(router.scores, cols)
        each = 1000 * (time.process_time() - start) / sum(map(len, cols.values()))
        refused, none = result.pop("_skilled"), result.pop("_none")
        if isinstance(router, LearnedGate):
            limit = router.policy.none_threshold
            result["refused"] = float((refused >= limit).float().mean())
            result["none found"] = float((none >= limit).float().mean())
        if head is None:
            head = ["router", *result, "fit s", "ms a prompt"]
            say("\n".join(table(head, []).splitlines()))
        row = [name, *(result.get(c, "–") for c in head[1:-2]), f"{seconds:.0f}", f"{each:.1f}"]
        say(table(row, []).splitlines()[0])
        if args.wrong:
            show_wrong(router, cols)


def show_wrong(router, cols) -> None:
    """Prompts of each column that went wrong, shortened: only for columns that may be looked at."""
    for name in ("same sets", "long reviews"):
        scores = router.scores([e.prompt for e in cols[name]])
        for e, s in zip(cols[name], scores, strict=True):
            best = (*SKILLS, "none")[int(s.argmax())]
            if best not in e.weights:
                say(f"  {name} {[*e.weights]} → {best}: {e.prompt[:70]!r} … {e.prompt[-60:]!r}")


if __name__ == "__main__":
    main()
