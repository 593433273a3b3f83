"""How the result of each command looks to a person.

Each function takes the dict that `--json` would print. rich is loaded only when one is called.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_NARROW = 12  # columns of text fold, but not further than this


def _print(*things: object) -> None:
    from rich.console import Console

    # highlight would colour numbers inside a user's text; markup would eat its [brackets].
    Console(highlight=False, markup=False, soft_wrap=True).print(*things)


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [[Text(_cell(value)) for value in row] for row in rows]
    longest = [
        max(len(column), *(row[at].cell_len for row in cells), 0)
        for at, column in enumerate(columns)
    ]
    # A name is what the next command is given, so it stays whole; the rest folds, to a point.
    least = [longest[0], *(min(length, _NARROW) for length in longest[1:])]
    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD)
    for at, (column, width) in enumerate(zip(columns, least, strict=True)):
        justify: Any = "left" if at == 0 else "default"
        table.add_column(column, justify=justify, min_width=width, overflow="fold", no_wrap=at == 0)
    for row in cells:
        table.add_row(*row)
    console = Console(highlight=False)
    # a window that is narrower still wraps the lines by itself, and loses nothing
    console.width = max(console.width, sum(least) + 3 * len(least))
    console.print(table)


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


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
    _print(f"library: {result['library']} ({result['seconds']:.0f} s)")


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


def show(result: dict[str, Any]) -> None:
    """A skill's card, key by key."""
    ((name, card),) = result["skills"].items()
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
        _print(f"read with attention {sentence['attention']:.2f}: {sentence['text']}")


def generate(result: dict[str, Any]) -> None:
    """The text was written as it came; what is left is the mix, on stderr."""
    from rich.console import Console

    Console(stderr=True, highlight=False, markup=False).print(
        f"[{recipe(result['mix'])}]", style="dim"
    )


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
    ):
        if result.get(key) not in (None, {}):
            value = result[key]
            if isinstance(value, Mapping):
                value = ", ".join(f"{name} {_cell(item)}" for name, item in value.items())
            _print(f"{key.replace('_', ' ')}: {_cell(value)}")
    for name, reason in result["missing"].items():
        _print(f"missing: {name}, {reason}")
