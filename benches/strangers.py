"""How the shipped library does with prompts of other hands, who had seen none of its code.

    python benches/strangers.py [--set NAME] [--library DIR] [--show] [--json]

- `phrasings`: 125 requests for held-out contents of the pocket tasks (texts, problems, programs,
  passages), each worded by somebody who saw the content and what is wanted: own words, the
  tasks' world. `phrasings_second`: the same by another writer, of other contents.
- `phrasings_third`: 90 by a third writer: for the tone, the summary, and for two skills at once,
  where both parts have to be right and `first` says that the mix is of these two.
- `first`: 150 prompts, 25 of each skill and of none, with words and contents of their writer.
- `second`, `third`: 150 more each, by two other writers.

The held-out tests of the pocket tasks come from the same generators as what trains on them; these
do not, so they say what a newcomer's own prompt may expect. Each is answered twice: by the skill
that its writer had in mind, and by what the gate chose.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from gate_data import say, table

from loramix.commands.session import Session
from loramix.data import Example
from loramix.evaluate.composites import both_right
from loramix.evaluate.metrics import score_of
from loramix.generate import generate
from loramix.mix import Mix
from loramix.pocket.sandbox import run_tests
from loramix.pocket.tasks import COMPOSITES
from loramix.pocket.tasks.summarization import read_line
from loramix.sampling import Sampling

FOLDER = Path(__file__).parent / "strangers"
SETS = ("phrasings", "phrasings_second", "phrasings_third", "first", "second", "third")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def main() -> None:
    """Prints a table, or with --json one object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", choices=SETS, help="only this one")
    parser.add_argument("--library")
    parser.add_argument("--show", action="store_true", help="every prompt with its answer")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    session = Session(args.library)
    figures = {}
    for name in [args.set] if args.set else SETS:
        lines = (FOLDER / f"{name}.jsonl").read_text("utf-8").splitlines()
        found = measure(session, [json.loads(line) for line in lines], args.show)
        figures[name] = {
            skill: {key: sum(values) / len(values) for key, values in parts.items() if values}
            for skill, parts in found.items()
        }
        if not args.json:
            cells = [
                [skill, *(_cell(parts[key]) for key in ("first", "by_hand", "routed"))]
                for skill, parts in found.items()
            ]
            say(f"\n{name}")
            say(table(["skill", "its skill is first", "right, by hand", "right, routed"], cells))
    if args.json:
        say(json.dumps(figures))


def measure(
    session: Session, rows: list[dict[str, Any]], show: bool
) -> dict[str, dict[str, list[float]]]:
    """skill → `first` (the gate puts it first), `routed` and `by_hand` (the answer is right)."""
    prompts = [row["prompt"] for row in rows]
    chosen = [session.choose(prompt).mix for prompt in prompts]
    needs = [needed(row["skill"]) for row in rows]
    given = [Mix(dict.fromkeys(need, 1 / len(need) if need else 0.0)) for need in needs]
    routed, by_hand = (
        generate(session.mixed, session.base, prompts, mixes, Sampling(80))
        for mixes in (chosen, given)
    )
    found: dict[str, dict[str, list[float]]] = {}
    for row, need, mix, ours, theirs in zip(rows, needs, chosen, routed, by_hand, strict=True):
        skill = found.setdefault(row["skill"], {"first": [], "routed": [], "by_hand": []})
        ranked = sorted(mix.weights, key=mix.weights.__getitem__, reverse=True)
        skill["first"].append(set(ranked[: max(1, len(need))]) == set(need))
        if row["skill"] != "none":
            skill["routed"].append(right(row, ours.text))
            skill["by_hand"].append(right(row, theirs.text))
        if show:
            say(
                f"{row['skill']}: {row['prompt']}\n  [{mix}] {ours.text}\n"
                f"  [{row['skill']}] {theirs.text}\n  wanted {row['answer']}"
            )
    return found


def needed(skill: str) -> tuple[str, ...]:
    """The skills that a prompt needs: none, one, or the two of a composite."""
    if skill in COMPOSITES:
        return COMPOSITES[skill].skills
    return () if skill == "none" else (skill,)


def right(row: dict[str, Any], text: str) -> float:
    """1.0 where the answer is what the writer of the prompt wanted."""
    wanted, text = row["answer"], text.strip()
    if row["skill"] in COMPOSITES:
        parts = COMPOSITES[row["skill"]].score_parts([Example("", "", wanted)], [text])
        if wanted.get("answer") == []:  # of a kind of problem in general there is code alone to run
            return parts["code"][0]
        return both_right(parts)[0]
    if row["skill"] == "sentiment":
        return float(text.lower().rstrip(".") == wanted)
    if row["skill"] == "math":
        last = text.split("Answer:")[-1]
        return float(set(NUMBER.findall(last)) == set(NUMBER.findall(wanted)))
    if row["skill"] == "qa":
        return float(_bare(text) == _bare(wanted))
    if row["skill"] == "summarization":
        named = zip(read_line(text), (wanted["praised"], wanted["blamed"]), strict=True)
        return float(
            all(
                len(aspects) == len(words) and all(word in " ".join(aspects) for word in words)
                for aspects, words in named
            )
        )
    name = re.search(r"def (\w+)", text)
    if name is None:
        return 0.0
    return float(run_tests(f"{text}\nf = {name[1]}\n", wanted["asserts"]).passed)


def _bare(text: str) -> str:
    return re.sub(r"^(a|an|the) ", "", text.lower().strip(" ."))


def _cell(values: list[float]) -> str:
    if not values:
        return "–"
    score = score_of(values)
    return f"{score.mean:.2f} ({score.low:.2f}–{score.high:.2f})"


if __name__ == "__main__":
    main()
