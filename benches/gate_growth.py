"""New skills from a description and five examples, and gates of 5, 20 and 100 skills: fitted with
all of them at once, and grown from five, each of the others by a description and five examples.

python benches/gate_growth.py [--base pocket] [--features request]
"""

from __future__ import annotations

import argparse
import random
import time

from gate_data import say, table
from gate_shift import FOLDER, SKILLS, UNSEEN, columns, training
from gate_shift_texts import corpus_texts

from loramix.base import load_base
from loramix.gate import (
    FeatureExtractor,
    LearnedGate,
    RoutedExample,
    plug_in,
    prompts_for,
    targets_of,
)

MADE = {
    "translate {text} into {x}": "french german spanish italian dutch portuguese polish russian "
    "chinese japanese arabic turkish swedish greek latin hindi korean danish finnish czech "
    "hungarian hebrew norwegian welsh thai",
    "write a {x} from {text}": "poem letter song speech joke story menu toast diary prayer sketch "
    "riddle slogan contract invitation obituary quiz ballad sermon tweet memo essay comic fable "
    "sonnet",
    "list all {x} in {text}": "dates names places prices emails animals colours verbs adjectives "
    "numbers brands foods plants tools vehicles countries rivers diseases clothes sports jobs "
    "instruments planets metals buildings",
    "explain {text} to a {x}": "child lawyer doctor farmer soldier priest teacher sailor banker "
    "plumber nurse tourist pilot judge chef gardener dentist carpenter painter baker tailor "
    "butcher librarian astronaut fisherman",
}
FRAMES = (
    "{r}",
    "please {r}",
    "can you {r}?",
    "{r} now",
    "I want you to {r}",
    "your task: {r}",
    "you must {r}",
    "{r}, please",
)
TEST_FRAMES = (
    "Hi, would you {r}?",
    "Kindly {r}.",
    "I would like to have somebody {r}",
    "{r} :)",
    "Could I ask you to {r}? Thanks",
)


def new_skills() -> dict[str, tuple[str, list[str], list[str]]]:
    """name → description, five examples, phrasings to measure on."""
    found: dict[str, tuple[str, list[str], list[str]]] = {}
    for line in (FOLDER / "new.txt").read_text("utf-8").split("\n"):
        if line.startswith("["):
            name = line.strip("[]")
            found[name] = ("", [], [])
        elif line.startswith("~"):
            found[name] = (line[2:], found[name][1], found[name][2])
        elif line.startswith("="):
            found[name][1].append(line[2:].replace("{", "").replace("}", ""))
        elif line:
            found[name][2].append(line.replace("\\n", "\n"))
    return found


def made_skills(count: int) -> dict[str, str]:
    """`count` synthetic skills, name → request with {text}."""
    pairs = [(p, x) for p, xs in MADE.items() for x in xs.split()]
    random.Random(1).shuffle(pairs)
    return {f"{p.split()[0]}-{x}": p.replace("{x}", x) for p, x in pairs[:count]}


def made_prompts(request: str, frames, texts, count: int, rng) -> list[str]:
    """Prompts of a synthetic skill: the text stands before or after the request."""
    out = []
    for _ in range(count):
        said = rng.choice(frames).replace("{r}", request.replace("{text}", "this"))
        text = rng.choice(texts)
        out.append(f"{said}\n\n{text}" if rng.random() < 0.5 else f"{text}\n\n{said}")
    return out


DESCRIPTIONS = {
    "sentiment": "tells how the writer of a review feels",
    "summarization": "sums up articles in a sentence or two",
    "math": "works out word problems with numbers",
    "code": "writes Python code from a description",
    "qa": "answers questions about a given text",
}


def left_out(base, features: str, examples, old: dict[str, list[str]]) -> list[list[object]]:
    """Each of the five in turn: a gate of the other four, and it comes by words and 5 rows."""
    rows = []
    for name in SKILLS:
        four = tuple(n for n in SKILLS if n != name)
        kept = [e for e in examples if name not in e.weights]
        own = [e.prompt for e in examples if e.weights == {name: 1.0}]
        gate = LearnedGate(FeatureExtractor(base, features), four, memory=1000)
        gate.fit([e.prompt for e in kept], targets_of(kept, four))
        five = random.Random(3).sample(own, 5)
        described = prompts_for(name + "-2", DESCRIPTIONS[name], five)
        grown = plug_in(gate, gate.memories, name, described, beside=True)
        worst = min(accuracy(grown, old[n], n) - accuracy(gate, old[n], n) for n in four)
        rows.append([name, accuracy(grown, old[name], name), worst])
    return rows


def accuracy(gate: LearnedGate, prompts: list[str], name: str) -> float:
    """Share of the prompts whose best column is `name`."""
    best = gate.scores(prompts).argmax(1)
    return float((best == gate.skills.index(name)).float().mean())


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", default="pocket")
    parser.add_argument("--features", default="request")
    args = parser.parse_args()
    base = load_base(args.base, device="cpu")
    rng = random.Random(2)
    unseen = [t for name in UNSEEN for t in corpus_texts(name, 300, seed=3)]
    bare, made = training(300)
    examples = bare + made
    gate = LearnedGate(FeatureExtractor(base, args.features), SKILLS, memory=1000)
    gate.fit([e.prompt for e in examples], targets_of(examples, SKILLS))
    cols = columns(argparse.Namespace(svamp=None, humaneval=None, reviews=None))
    old = {n: [e.prompt for e in cols[f"unseen: {n}"]] for n in SKILLS}
    before = {n: accuracy(gate, own, n) for n, own in old.items()}
    rows = []
    for name, (description, five, phrasings) in new_skills().items():
        start = time.process_time()
        described = prompts_for(name, description, five)
        grown = plug_in(gate, gate.memories, name, described, beside=True)
        seconds = time.process_time() - start
        prompts = [p.replace("{text}", rng.choice(unseen)) for p in phrasings for _ in range(10)]
        worst = min(accuracy(grown, own, n) - before[n] for n, own in old.items())
        rows.append([name, accuracy(grown, prompts, name), worst, seconds])
    say(table(["new skill", "accuracy", "worst change of an old one", "seconds"], rows) + "\n")
    rows = left_out(base, args.features, examples, old)
    say(table(["left out, then new", "unseen phrasings", "worst change"], rows) + "\n")
    carriers = [e.prompt for e in bare]
    rows = []
    for count in (15, 95):
        skills = made_skills(count)
        more = [
            RoutedExample(p, {n: 1.0})
            for n, r in skills.items()
            for p in made_prompts(r, FRAMES, carriers, 60, rng)
        ]
        names = (*SKILLS, *skills)
        start = time.process_time()
        large = LearnedGate(FeatureExtractor(base, args.features), names)
        every = examples + more
        large.fit([e.prompt for e in every], targets_of(every, names))
        seconds = time.process_time() - start
        right = [
            accuracy(large, made_prompts(r, TEST_FRAMES, unseen, 10, rng), n)
            for n, r in skills.items()
        ]
        five_right = [accuracy(large, own, n) for n, own in old.items()]
        change = min(a - before[n] for a, n in zip(five_right, old, strict=True))
        total = (sum(right) + sum(five_right)) / (count + 5)
        rows.append([count + 5, total, sum(right) / count, change, seconds])
    head = ["skills", "top-1", "the synthetic ones", "worst change of the five", "fit s"]
    say(table(head, rows) + "\n")
    rows, grown, start = [], gate, time.process_time()
    skills = made_skills(95)
    for count, (name, request) in enumerate(skills.items(), 1):
        five = made_prompts(request, FRAMES, carriers, 5, rng)
        described = prompts_for(name, request.replace("{text}", "a text"), five)
        grown = plug_in(grown, grown.memories, name, described, beside=True)
        if count in (15, 95):
            seconds = time.process_time() - start
            right = [
                accuracy(grown, made_prompts(r, TEST_FRAMES, unseen, 10, rng), n)
                for n, r in list(skills.items())[:count]
            ]
            five_right = [accuracy(grown, own, n) for n, own in old.items()]
            change = min(a - before[n] for a, n in zip(five_right, old, strict=True))
            total = (sum(right) + sum(five_right)) / (count + 5)
            rows.append([count + 5, total, sum(right) / count, change, seconds])
    say(table(["grown to", *head[1:4], "s for all additions"], rows))


if __name__ == "__main__":
    main()
