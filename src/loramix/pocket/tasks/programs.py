"""The programs of the code task: small Python functions with names for what they do.

A list program is a filter, a map and a reduction, so that a program that nobody has seen is
made of parts that everybody has. Others are written out one by one (program_texts.py,
program_numbers.py, program_lists.py).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from loramix.pocket.tasks import program_lists, program_numbers, program_texts
from loramix.pocket.words import Split, bucket


@dataclass(frozen=True)
class Program:
    """A function: what it takes and returns in words, its code, and inputs to try it on."""

    key: str
    says: Sequence[str]  # ways to say what it returns, after "a function that returns"
    name: str
    args: str
    body: str  # what stands after `return`
    inputs: Sequence[tuple[object, ...]]
    does: Sequence[str] = ()  # ways to say what it does, each a verb and what follows it
    parts: tuple[str, int, str, str] | None = None  # of a list program: filter, k, map, reduction

    @property
    def code(self) -> str:
        """The function's source."""
        return f"def {self.name}({self.args}):\n    return {self.body}"

    def tests(self) -> list[str]:
        """Assertions on `f`, the function under test, made by running this program itself."""
        scope: dict[str, object] = {}
        exec(self.code, scope)  # our own source, from this file
        function = scope[self.name]
        return [
            f"assert f({', '.join(map(repr, given))}) == {function(*given)!r}"  # type: ignore[operator]
            for given in self.inputs
        ]


FILTERS: dict[str, tuple[str, str]] = {  # name → adjective or clause, condition
    "all": ("", ""),
    "even": ("even", "n % 2 == 0"),
    "odd": ("odd", "n % 2 == 1"),
    "positive": ("positive", "n > 0"),
    "negative": ("negative", "n < 0"),
    "nonzero": ("nonzero", "n != 0"),
    "above": ("greater than {k}", "n > {k}"),
    "below": ("less than {k}", "n < {k}"),
    "divisible": ("divisible by {k}", "n % {k} == 0"),
}
MAPS: dict[str, tuple[str, str, str]] = {  # name → "the squares of", name part, expression
    "same": ("", "", "n"),
    "squares": ("the squares of", "squares", "n * n"),
    "cubes": ("the cubes of", "cubes", "n ** 3"),
    "doubles": ("the doubles of", "doubles", "n * 2"),
    "halves": ("the halves of", "halves", "n / 2"),
    "absolute": ("the absolute values of", "absolute", "abs(n)"),
    "negated": ("the negatives of", "negated", "-n"),
}
REDUCTIONS: dict[str, tuple[str, str, str]] = {  # name → "the sum of", name part, shape
    "sum": ("the sum of", "sum", "sum({it})"),
    "list": ("a list of", "list", "[{it}]"),
    "count": ("the number of", "count", "len([{it}])"),
    "max": ("the largest of", "max", "max({it})"),
    "min": ("the smallest of", "min", "min({it})"),
    "sorted": ("a sorted list of", "sorted", "sorted({it})"),
    "set": ("the set of", "set", "set({it})"),
    "any": ("whether there are any of", "any", "any(True for {bare})"),
}
_LISTS: tuple[tuple[object, ...], ...] = (
    ([3, -4, 7, 10, 0, -9, 12, 5, -30, 24],),
    ([8, 15, -6, 1, 20, -15, 2, 30, -7, 18, 8],),
)


def list_programs() -> Iterator[Program]:
    """All filters × maps × reductions, with small numbers for {k}."""
    for which, (adjective, condition) in FILTERS.items():
        for k in range(2, 10) if "{k}" in condition else (0,):
            for change, (mapped, map_name, expression) in MAPS.items():
                for end, (reduced, end_name, shape) in REDUCTIONS.items():
                    if (end in ("count", "any") and change != "same") or (
                        end == "any" and which == "all"
                    ):
                        continue
                    clause = condition.format(k=k)
                    bare = "n in numbers" + (f" if {clause}" if clause else "")
                    it = f"{expression} for {bare}"
                    body = shape.format(it=it, bare=bare)
                    words = adjective.format(k=k)
                    after = which in ("above", "below", "divisible")
                    noun = f"numbers {words}" if after else f"{words} numbers".strip()
                    inner = f"{mapped} the {noun}" if mapped else f"the {noun}"
                    label = "_".join(p for p in (end_name, map_name, _name_of(which, k)) if p)
                    yield Program(
                        f"{which}{k}/{change}/{end}",
                        [f"{reduced} {inner} in a list"],
                        label if "_" in label else f"{label}_numbers",
                        "numbers",
                        body,
                        _LISTS,
                        parts=(which, k, change, end),
                    )


def _name_of(which: str, k: int) -> str:
    return "" if which == "all" else f"{which}_{k}" if k else which


_TEXTS = (("hello world",), ("Level",), ("a quick test of Text 27.",))
_NUMBERS = ((3, 4), (10, 7), (6, 6))
_SINGLE = ((4,), (9,), (15,))
_ITEMS = (([3, 8, -2, 8, 5, 11, 4],), ([6, 1, 9, 12, 2],))
_TABLES: tuple[tuple[Sequence[program_texts.Row], str, Sequence[tuple[object, ...]]], ...] = (
    (program_texts.TEXT, "text", _TEXTS),
    (program_texts.TEXT_AND_LETTER, "text, letter", (("hello world", "l"), ("Anna", "x"))),
    (program_texts.TWO_TEXTS, "first, second", (("listen", "silent"), ("Ada", "Lovelace"))),
    (program_numbers.PAIR, "a, b", _NUMBERS),
    (program_numbers.SINGLE, "n", _SINGLE),
    (program_lists.LIST, "items", _ITEMS),
    (program_lists.LIST_AND_ITEM, "items, item", (([3, 8, -2, 8, 5], 8), ([6, 1, 9, 12], 1))),
    (program_lists.TWO_LISTS, "first, second", (([3, 8, 5, 8], [5, 6, 8, 1]), ([1, 2], [4, 3]))),
    (program_texts.WORDS, "words", ((["apple", "kiwi", "Fig", "banana"],), (["one", "to"],))),
)


def written_programs() -> Iterator[Program]:
    """The text, number and list functions that are written one by one."""
    for rows, args, inputs in _TABLES:
        for said, name, body in rows:
            says = [way for way in said.split("|") if way[0] != "~"]
            does = [way[1:] for way in said.split("|") if way[0] == "~"]
            yield Program(name, says, name, args, body, inputs, does=does)


LIST_PROGRAMS = tuple(list_programs())
WRITTEN_PROGRAMS = tuple(written_programs())


def _kind(program: Program) -> str:
    """The program's filter, without its number."""
    return program.key.split("/")[0].rstrip("0123456789")


@cache
def split_programs(split: Split) -> dict[str, list[Program]]:
    """The list programs of a split, by filter.

    A test program stands in no other split, nor does another of the same body: numbers that are
    divisible by 2 are even ones by another name.
    """
    known = {program.body for program in WRITTEN_PROGRAMS}
    known |= {program.body for program in LIST_PROGRAMS if bucket(program.key) != "test"}
    kinds: dict[str, list[Program]] = {}
    for program in LIST_PROGRAMS:
        if bucket(program.key) == split and not (split == "test" and program.body in known):
            kinds.setdefault(_kind(program), []).append(program)
    return kinds


def draw_program(rng: random.Random, split: Split) -> Program:
    """Mostly a list program; written ones, which have no parts to recombine, only in training.

    The filter is drawn first, so that each is as likely as every other. Those that change no
    number, which are what people ask for most, come more often in training.
    """
    if split != "test" and rng.random() < 0.3:
        return rng.choice(WRITTEN_PROGRAMS)
    kinds = split_programs(split)
    if split != "test" and rng.random() < 0.15:
        plain = [[p for p in some if "/same/" in p.key] for some in kinds.values()]
        return rng.choice(rng.choice([some for some in plain if some]))
    return rng.choice(kinds[rng.choice(sorted(kinds))])
