"""Does the last message of a conversation get the skill that it needs?

    python benches/conversation.py [--library DIR] [--request] [--fit] [--show]

`conversations.jsonl` holds conversations of two and three questions: what the last one needs, and
whether it can be understood without the others. Even rows are for development, odd rows measure.
`--rows` takes `conversations_second.jsonl`, developed on as well, and `conversations_third.jsonl`,
which was only measured.
Three ways in the same run: the last message alone, all messages of the user in one, and the rule
of `loramix.gate.conversation`. `--request` fits a gate that reads requests on the builtin tasks,
instead of the library's own; `--fit` prints the weights of the rule, fitted on the even rows with
this gate and scikit-learn.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from loramix.base import Base, load_base
from loramix.gate import LearnedGate, RoutedExample, learn_gate, read_gate, route_turns
from loramix.library import Library
from loramix.mix import BASE
from loramix.pocket.tasks import COMPOSITES, NONE, TASKS

ROWS = Path(__file__).resolve().with_name("conversations.jsonl")
REQUEST = "request+embeddings/mean,max,sentences+words/sentences"


def request_gate(base: Base, count: int = 600) -> LearnedGate:
    """A gate that reads requests, on `count` prompts of each builtin task."""
    examples = [
        RoutedExample(row.prompt, {name: 1.0})
        for name, task in TASKS.items()
        for row in task.examples("train", count, 0)
    ]
    examples += [RoutedExample(row.prompt) for row in NONE.examples("train", count, 0)]
    for composite in COMPOSITES.values():
        for row in composite.examples("train", count // 4, 0):
            examples.append(RoutedExample(row.prompt, row.meta["skills"]))
    kinds = {name: name for name in TASKS}
    return learn_gate(base, examples, tuple(TASKS), features=REQUEST, requests=kinds)


def turns_of(row: dict) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(row["turns"])]


def best_of(gate: LearnedGate, prompt: str) -> str:
    return (*gate.skills, BASE)[int(gate.scores([prompt])[0].argmax())]


def measure(gate: LearnedGate, rows: list[dict], show: bool) -> dict[str, float]:
    right = dict.fromkeys(("alone", "all in one", "rule", "reading", "standing", "leaning"), 0)
    for row in rows:
        asked = row["turns"][::2]
        found = route_turns(gate, turns_of(row))
        chosen = max(found.routing.scores, key=found.routing.scores.__getitem__)
        good = chosen == row["needs"]
        right["alone"] += best_of(gate, asked[-1]) == row["needs"]
        right["all in one"] += best_of(gate, "\n".join(asked)) == row["needs"]
        right["rule"] += good
        right["reading"] += (found.reading != "alone") == row["depends"]
        right["leaning" if row["depends"] else "standing"] += good
        if show and not (good and (found.reading != "alone") == row["depends"]):
            print(f"  {row['needs']} → {chosen} ({found.reading}, {found.lean:.2f}): {asked[-1]!r}")
    leaning = sum(row["depends"] for row in rows)
    of = dict.fromkeys(right, len(rows)) | {"leaning": leaning, "standing": len(rows) - leaning}
    return {name: count / of[name] for name, count in right.items()}


def fit(gate: LearnedGate, rows: list[dict]) -> dict[str, float]:
    """The weights of the rule; those in use are of both gates together, by hand."""
    from sklearn.linear_model import LogisticRegression

    from loramix.gate.conversation import LEAN

    found = [route_turns(gate, turns_of(row)).signs for row in rows]
    signs = [name for name in LEAN if name != "bias"]
    values = [[parts[name] / LEAN[name] for name in signs] for parts in found]
    model = LogisticRegression(C=3.0).fit(values, [row["depends"] for row in rows])
    return {"bias": float(model.intercept_[0]), **dict(zip(signs, model.coef_[0], strict=True))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--library", type=Path)
    parser.add_argument("--request", action="store_true")
    parser.add_argument("--fit", action="store_true")
    parser.add_argument(
        "--show", action="store_true", help="rows that go wrong, none of the held-out"
    )
    parser.add_argument("--rows", type=Path, default=ROWS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    library = Library.open(given.library) if given.library else Library.shipped()
    base = load_base(library.base_id, device="cpu")
    gate = request_gate(base) if given.request else read_gate(library, base)
    rows = [json.loads(line) for line in given.rows.read_text("utf-8").splitlines()]
    if given.fit:
        print({name: round(float(w), 2) for name, w in fit(gate, rows[::2]).items()})
    halves = {"development": rows[::2], "held out": rows[1::2]}
    for name, half in (halves if given.rows.resolve() == ROWS else {given.rows.stem: rows}).items():
        figures = measure(gate, half, given.show and name != "held out")
        told = ", ".join(f"{key} {value:.3f}" for key, value in figures.items())
        print(f"{name} ({len(half)}): {told}")


if __name__ == "__main__":
    main()
