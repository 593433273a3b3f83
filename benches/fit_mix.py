"""Whether fit-mix finds a mix at least as good as the best single skill, on five unseen tasks.

    python benches/fit_mix.py [--library DIR] [--method gradient|search] [--examples 40] [--seed 0]

No skill was trained for these: other label wordings, other forms of an answer, and requests that
need two skills. For each, 40 examples are given to the fit, and what it found meets 80 others,
beside the base, each skill and the uniform blend. `best skill` is the best of them in hindsight,
on those very 80, which nobody who chooses beforehand can know; the bar is to reach it on all five.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from gate_data import say, table

from loramix.answers import score_answers
from loramix.base import load_base
from loramix.data import Example
from loramix.evaluate import Answers, difference_of, mixed_model, score_of
from loramix.fit import fit_mix
from loramix.library import Library
from loramix.mix import BASE, Mix
from loramix.pocket.tasks import COMPOSITES, TASKS
from loramix.pocket.tasks.messages import draw_message

TEST = 80


@dataclass(frozen=True)
class Unseen:
    """A task that no skill was trained for: its examples, how they are scored, and what it is."""

    name: str
    metric: str
    make: Callable[[int, int], list[Example]]


def tone_in_a_sentence(count: int, seed: int) -> list[Example]:
    """Sentiment, told in other words than the skill's."""
    words = {"positive": "happy and positive", "negative": "unhappy and negative"}
    rows = TASKS["sentiment"].examples("test", count, 11 + seed)
    return [
        replace(row, completion=f"The writer is {words.get(row.completion, row.completion)}.")
        for row in rows
    ]


def digest_and_tone(count: int, seed: int) -> list[Example]:
    """A summary and a tone in one answer."""
    return COMPOSITES["summary_and_tone"].examples("test", count, 12 + seed)


def counted(count: int, seed: int) -> list[Example]:
    """Two numbers of a passage, found and added or subtracted: the result alone."""
    rows = COMPOSITES["computed_answer"].examples("test", count, 13 + seed)
    return [replace(row, completion=str(row.meta["answer"][0])) for row in rows]


def praised(count: int, seed: int) -> list[Example]:
    """What a message praises, as a list."""
    rng, rows = random.Random(14 + seed), {}
    while len(rows) < count:
        message = draw_message(rng, "test", rng.choice(("mixed", "positive")), sentences=(2, 5))
        prompt = f"{message.text}\nWhich things does the writer like?"
        if message.praised:
            rows[prompt] = Example(prompt, " and ".join(message.praised))
    return list(rows.values())


def called(count: int, seed: int) -> list[Example]:
    """What a small function gives: code that is read, and a sum that is done."""
    rng, rows = random.Random(15 + seed), {}
    while len(rows) < count:
        a, b, x = rng.randint(2, 60), rng.choice("+-"), rng.randint(61, 99)
        prompt = f"def f(x):\n    return x {b} {a}\n\nWhat is f({x})?"
        rows[prompt] = Example(prompt, str(x + a if b == "+" else x - a))
    return list(rows.values())


UNSEEN = (
    Unseen("tone in a sentence", "f1", tone_in_a_sentence),
    Unseen("digest and tone", "rouge_l", digest_and_tone),
    Unseen("counted from a text", "number", counted),
    Unseen("what is praised", "f1", praised),
    Unseen("a function's value", "number", called),
)


def main() -> None:
    """Prints a table, or with --json one object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library")
    parser.add_argument("--method", default="gradient", choices=("gradient", "search"))
    parser.add_argument("--examples", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0, help="other examples of the same tasks")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    library = Library.open(args.library) if args.library else Library.shipped()
    base = load_base(library.base_id, "cpu")
    library.check_base(base)
    adapters = {name: skill.adapter(base) for name, skill in library.skills.items()}
    found = [
        measured(task, base, adapters, args.method, args.examples, args.seed) for task in UNSEEN
    ]
    result = {
        "tasks": {row["name"]: row for row in found},
        "reached": sum(row["reached"] for row in found),
        "of": len(found),
        "method": args.method,
    }
    if args.json:
        say(json.dumps(result))
        return
    shown = table(
        ("task", "metric", "fit-mix", "best skill", "difference", "uniform", "base", "mix"),
        [
            (
                row["name"],
                row["metric"],
                f"{row['mix_score']:.3f}",
                f"{row['best_score']:.3f} {row['best']}",
                "{:+.3f} ({:+.3f} to {:+.3f})".format(*row["difference"]),
                f"{row['scores']['uniform']:.3f}",
                f"{row['scores'][BASE]:.3f}",
                row["mix"] + (" *" if row["claimed"] else ""),
            )
            for row in found
        ],
    )
    say(shown)
    say("* a gain that fit-mix claims from its own examples")
    say(f"at least as good as the best skill: {result['reached']} of {result['of']} (bar: all)")


def measured(
    task: Unseen, base: Any, adapters: dict[str, Any], method: Any, count: int, seed: int
) -> dict[str, Any]:
    """Fit on `count` examples, then answer `TEST` others with what was found and each baseline."""
    sys.stderr.write(f"{task.name} …\n")
    rows = task.make(count + TEST, seed)
    given, held = rows[:count], rows[count:]

    def score(examples: Sequence[Example], texts: Sequence[str]) -> list[float]:
        return score_answers(task.metric, [example.completion for example in examples], texts)

    found = fit_mix(base, adapters, given, score, max_new_tokens=64, method=method)
    answers = Answers(base, mixed_model(base, adapters))
    mixes = {BASE: Mix.base(), **{name: Mix.of({name: 1.0}) for name in adapters}}
    mixes |= {"uniform": Mix.of(dict.fromkeys(adapters, 1 / len(adapters))), "mix": found.mix}
    prompts = [example.prompt for example in held]
    values = {
        name: score(held, [done.text for done in answers(prompts, [mix] * len(prompts), 64)])
        for name, mix in mixes.items()
    }
    means = {name: score_of(each).mean for name, each in values.items()}
    best = max((BASE, *adapters), key=means.__getitem__)
    gain = difference_of(values["mix"], values[best])
    return {
        "name": task.name,
        "metric": task.metric,
        "mix": str(found.mix),
        "claimed": found.gain.claimed,
        "mix_score": means["mix"],
        "best": best,
        "best_score": means[best],
        "difference": [gain.mean, gain.low, gain.high],
        "reached": means["mix"] >= means[best],
        "scores": means,
        "evaluations": found.evaluations,
    }


if __name__ == "__main__":
    main()
