"""How the result of each command looks to a person.

Each function takes the dict that `--json` would print. rich is loaded only when one is called.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from loramix.tables import cell as _cell
from loramix.tables import say as _print
from loramix.tables import table as _table

_LINE = 90
"""Characters of a text of which a line is enough."""


def _bar(share: float, width: int = 24) -> str:
    return "█" * round(max(0.0, min(1.0, share)) * width)


def recipe(mix: Mapping[str, float]) -> str:
    """A mix as it would be typed: `code=0.5,math=0.4`, or `base` for none."""
    return ",".join(f"{name}={weight:.3g}" for name, weight in mix.items()) or "base"


def demo(result: dict[str, Any]) -> None:
    """Scores, sample prompts with their mixes, the bars, and where everything is."""
    systems = ("base", "skill", "routed")
    _table(
        ("skill", "base alone", "its adapter", "routed"),
        [
            (name, *(row.get(system) for system in systems))
            for name, row in result["skills"].items()
        ],
        "Held-out scores",
    )
    for sample in result.get("samples", ()):
        _print(f"{sample['title']}  [{recipe(sample['mix'])}]")
        _print(f"  {sample['prompt']}".replace("\n", "\n  "))
        _print(f"→ {sample['text']}\n".replace("\n", "\n  "))
    _table(
        ("bar", "wanted", "reached", ""),
        [
            (line["name"], line["bar"], line["figure"], "met" if line["met"] else "missed")
            for line in result.get("bars", ())
        ],
        "Bars",
    )
    _print(
        f"gate accuracy {_cell(result['gate']['accuracy'])}; {result['seconds']:.0f} s, "
        f"{result['peak_rss_mb']:.0f} MiB at most"
    )
    _print(f"library: {result['library']}\nreport:  {result['report']}")


def init(result: dict[str, Any]) -> None:
    """Where the YAML went and what to do with it."""
    _print(f"wrote {result['path']}; next: loramix train {result['path']}")


def train(result: dict[str, Any]) -> None:
    """What was trained, what it scores, and where it is."""
    columns = ("base", "skill", "routed", "dev_loss", "steps", "seconds")
    _table(
        ("skill", "base alone", "its adapter", "routed", "dev loss", "steps", "seconds"),
        [
            (name, *(_trained(row, column) for column in columns))
            for name, row in result["skills"].items()
        ],
    )
    if result["blends"]:
        _table(
            ("blend", "right together", "95 %", "of"),
            [
                (f"{name}: {recipe(row['skills'])}", row["score"],
                 " to ".join(map(_cell, row["interval"])), row["n"])
                for name, row in result["blends"].items()
            ],
        )  # fmt: skip
    for name, row in result["skills"].items():
        _alike(name, row["similar"])
    _print(f"library: {result['library']} ({result['seconds']:.0f} s)")


def _alike(name: str, similar: Iterable[Mapping[str, Any]]) -> None:
    """A line for each skill that another is much like."""
    for other in similar:
        _print(
            f"warning: {name} is much like {other['skill']} (prompts overlap by "
            f"{_cell(other['prompts'])}, where 1 cannot be told apart; cosine of the weights "
            f"{_cell(other['weights'])}). The gate will divide such prompts between the two: keep "
            "one of them, or give each example prompts that the other has not."
        )


def _trained(row: Mapping[str, Any], column: str) -> object:
    """A figure of a trained skill; a score without held-out rows is no promise, and says so."""
    known = column == "skill" and row.get("scored_on") == "train"
    return f"{_cell(row.get(column))} (on its training data)" if known else row.get(column)


def _names(skills: Iterable[str]) -> str:
    return ", ".join(skills) or "none"


def add(result: dict[str, Any]) -> None:
    """The skills after adding one."""
    gate = result.get("gate") or {}
    _print(f"skills: {_names(result['skills'])} (generation {result['generation']})")
    if gate.get("accuracy") is not None:
        _print(f"gate accuracy {_cell(gate['accuracy'])}")
    _alike(result["added"], result["similar"])


def feedback(result: dict[str, Any]) -> None:
    """Before and after, and what is still wrong."""
    corrections, old = result["corrections"], result["old"]
    held = corrections["held_out"]
    rows = [
        ("the corrections", corrections["accuracy"], corrections["given"]),
        ("a fifth of them, held out for this", held, held["n"]),
        ("old prompts, never fitted on", old, old["n"]),
    ]
    _table(
        ("routed right", "before", "after", "of"),
        [(name, row["before"], row["after"], count) for name, row, count in rows],
    )
    for row in result["wrong"]:
        wanted, mix = recipe(row["wanted"]), recipe(row["mix"])
        _print(
            f"still wrong, line {row['line']}: {mix} instead of {wanted}: {row['prompt'][:60]!r}"
        )
    if corrections["passed_over"]:
        _print(f"{corrections['passed_over']} lines without a usable `correct` were passed over")
    if corrections["forgotten"]:
        _print(f"the oldest {corrections['forgotten']} corrections were forgotten")
    if result["applied"]:
        _print(
            f"the gate has learned them (generation {result['generation']}); the library keeps "
            f"{corrections['kept']} corrections for later refits"
        )
    else:
        verdict = "would be refused without --force" if result["refused"] else "would be kept"
        _print(f"nothing was written; this {verdict}")


def remove(result: dict[str, Any]) -> None:
    """The skills that are left."""
    _print(f"skills: {_names(result['skills'])}")


def list_skills(result: dict[str, Any]) -> None:
    """One line a skill."""
    skills: Mapping[str, Any] = result["skills"]
    _table(
        ("skill", "rank", "description"),
        [(name, row.get("rank"), row.get("description")) for name, row in skills.items()],
    )
    if result.get("mixes"):
        _table(
            ("mix", "weights", "description"),
            [
                (name, recipe(row["weights"]), row["description"])
                for name, row in result["mixes"].items()
            ],
        )


def show(result: dict[str, Any]) -> None:
    """A skill's card, key by key."""
    ((name, card),) = (result.get("skills") or result["mixes"]).items()
    _print(name)
    for key, value in card.items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{inner}={_cell(item)}" for inner, item in value.items())
        elif isinstance(value, list):
            value = "".join(f"\n  - {item}" for item in value)
        _print(f"{key}: {_cell(value)}")


def route(result: dict[str, Any]) -> None:
    """Scores as bars, then the mix."""
    ranked = sorted(result["scores"].items(), key=lambda item: -item[1])
    _table(("skill", "score", ""), [(name, score, _bar(score)) for name, score in ranked])
    _print(f"mix: {recipe(result['mix'])}  (router {result['router']}, policy {result['policy']})")
    why = result["why"]
    for name, words in why.get("words", {}).items():
        _print(f"words for {name}: {', '.join(words)}")
    for sentence in why.get("sentences", ()):
        _print(f"read with attention {sentence['attention']:.2f}: {_short(sentence['text'])}")
    if "attribution" in why:
        _attribution(why["attribution"])


def _attribution(told: Mapping[str, Any]) -> None:
    """The prompt with its words shaded by their credit, the strongest of them, and examples."""
    from rich.console import Console
    from rich.text import Text

    most = max((abs(credit) for _, credit in told["parts"]), default=0.0) or 1.0
    shaded = Text("\n")
    for text, credit in told["parts"]:
        level = round(abs(credit) / most * 3)
        style = ("", "dim", "", "bold")[level] + (" green" if credit > 0 else " red")
        shaded.append(text, style if level else "dim")
    Console(highlight=False).print(shaded)
    strongest = sorted(told["parts"], key=lambda part: -abs(part[1]))[:6]
    words = ", ".join(f"{text.strip()} {credit:+.2f}" for text, credit in strongest)
    _print(
        f"\n{told['skill']} {told['score']:.2f} = {told['start']:.2f} without any word, and the "
        f"words' credits, such as {words}"
    )
    for name, prompt, cosine in told["nearest"]:
        _print(f"an example of {name} like it ({cosine:.2f}): {_short(prompt)}")


def _short(text: str) -> str:
    """A text on one line, its end left out where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= _LINE else line[: _LINE - 1] + "…"


def generate(result: dict[str, Any]) -> None:
    """The text was written as it came; what is left is the mix, on stderr."""
    from rich.console import Console

    note = recipe(result["mix"])
    if result["finish_reason"] == "length":
        read, written = (result["usage"][f"{kind}_tokens"] for kind in ("prompt", "completion"))
        full = read + written >= result["context"]
        note += f", cut: the context of {result['context']} tokens is full" if full else (
            f", cut after {written} tokens; --max-new-tokens allows more"
        )
    Console(stderr=True, highlight=False, markup=False).print(f"[{note}]", style="dim")


def merge(result: dict[str, Any]) -> None:
    """What was merged how, what each skill keeps, and what it takes."""
    if result["skills"]:
        _table(
            ("skill", "weight", "before", "after", "kept"),
            [
                (
                    name,
                    weight,
                    *(result["skills"].get(name, {}).get(key) for key in ("before", "after")),
                    result["retention"].get(name),
                )
                for name, weight in result["weights"].items()
            ],
            "Retention",
        )
    settings = [f"{key} {result[key]:g}" for key in ("density", "scale") if result[key] is not None]
    _print(
        f"{result['method']}, rank {result['rank']}, which holds {result['energy']:.2%} of the "
        f"merged update; {', '.join(settings)}; weights {result['convention']}"
    )
    if done := result["distilled"]:
        _print(f"then learned from the skills: {done['rows']:,} rows in {done['steps']:,} steps")
    for key in ("storage", "memory"):
        before, after = (result[key][when] / 2**20 for when in ("before", "after"))
        _print(f"{key}: {before:.1f} MiB before, {after:.1f} MiB after")
    if result["full"]:
        _print(f"standalone model: {result['full']}")
    _print(f"expert: {result['path']} ({result['seconds']:.0f} s)")
    if result["plot"]:
        _print(f"plot:   {result['plot']}")


def fit_mix(result: dict[str, Any]) -> None:
    """The mix beside every baseline, and whether its gain is more than noise."""
    found = {**result, "low": result["interval"][0], "high": result["interval"][1]}
    rows: list[tuple[str, Mapping[str, Any]]] = [("the mix", found), *result["baselines"].items()]
    _table(
        ("on held-out examples", result["metric"], "95 %", "nats a token"),
        [
            (name, row["score"], f"{row['low']:.3f} to {row['high']:.3f}", row["loss"])
            for name, row in rows
        ],
    )
    gain = result["gain"]
    _print(f"mix: {recipe(result['mix'])}  ({result['method']}, {result['evaluations']} mixes)")
    _print(
        f"{result['verdict']} over {gain['over']}: {gain['score']:+.3f} "
        f"({gain['low']:+.3f} to {gain['high']:+.3f}, {result['n']} examples); "
        f"recommended: {result['recommended']}"
    )
    if result["saved"]:
        _print(f'saved: loramix generate "…" --mix {result["saved"]}')


def bench(result: dict[str, Any]) -> None:
    """Rates with their spread, ratios, what else was found, and what is missing."""
    machine = result["machine"]
    _print(
        f"{result['bench']}: {result['base']}, {result['dtype']}, {result['rows']} rows, "
        f"{result['rounds']} rounds; {machine['processor']}, {machine['threads']} threads"
    )
    spread: Mapping[str, Any] = result["spread"]
    if result["tokens_per_second"]:
        _table(
            ("", "tokens a second", "lowest", "highest"),
            [
                (name, *(None if rate is None else f"{rate:.1f}" for rate in (middle, *ends)))
                for name, middle in result["tokens_per_second"].items()
                for ends in [spread.get(name, (None, None))]
            ],
        )
    if result["ratio"]:
        _table(("ours divided by", "ratio"), list(result["ratio"].items()))
    if skills := result.get("skills"):
        types = list(next(iter(skills.values())))
        _table(("skill", *types), [(name, *(s[t] for t in types)) for name, s in skills.items()])
    for key in (
        "perplexity",
        "bandwidth_gb_per_second",
        "share",
        "resident_mb",
        "peak_mb",
        "loads",
        "fall_points",
    ):
        if result.get(key) not in (None, {}):
            value = result[key]
            if isinstance(value, Mapping):
                value = ", ".join(f"{name} {_cell(item)}" for name, item in value.items())
            _print(f"{key.replace('_', ' ')}: {_cell(value)}")
    for name, reason in result["missing"].items():
        _print(f"missing: {name}, {reason}")
