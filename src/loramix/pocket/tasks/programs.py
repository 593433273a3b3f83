"""The programs of the code task: small Python functions with names for what they do.

A list program is a filter, a map and a reduction, so that a program that nobody has seen is
made of parts that everybody has. Text and number programs are written out one by one.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

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
                    )


def _name_of(which: str, k: int) -> str:
    return "" if which == "all" else f"{which}_{k}" if k else which


_WORDS = (("hello world",), ("Level",), ("a quick test of text",))
_NUMBERS = ((3, 4), (10, 7), (6, 6))
_SINGLE = ((4,), (9,), (15,))

TEXT: tuple[tuple[str, str, str], ...] = (  # what it returns | name | body
    ("a text reversed|the text backwards", "reverse_text", "text[::-1]"),
    ("a text in upper case|a text in capital letters", "to_upper", "text.upper()"),
    ("a text in lower case|a text in small letters", "to_lower", "text.lower()"),
    ("the number of words in a text|how many words a text has", "count_words",
     "len(text.split())"),
    ("the number of vowels in a text|how many vowels a text has", "count_vowels",
     "sum(c in 'aeiou' for c in text.lower())"),
    ("whether a text is a palindrome|if a text reads the same backwards", "is_palindrome",
     "text.lower() == text.lower()[::-1]"),
    ("the first letter of a text|the first character of a text", "first_letter", "text[0]"),
    ("the last letter of a text|the last character of a text", "last_letter", "text[-1]"),
    ("the length of a text|how many characters a text has", "text_length", "len(text)"),
    ("the words of a text as a list|a list of the words in a text", "split_words",
     "text.split()"),
    ("a text without spaces|a text with all spaces removed", "remove_spaces",
     "text.replace(' ', '')"),
    ("the longest word in a text|the longest word of a text", "longest_word",
     "max(text.split(), key=len)"),
    ("the words of a text in alphabetical order|the sorted words of a text", "sort_words",
     "sorted(text.split())"),
    ("the number of different letters in a text|how many different characters a text has",
     "count_different", "len(set(text))"),
    ("a text with the first letter in upper case|a capitalized text", "capitalize_text",
     "text.capitalize()"),
    ("a text repeated twice|a text two times", "repeat_twice", "text * 2"),
)  # fmt: skip
PAIR: tuple[tuple[str, str, str], ...] = (
    ("the sum of two numbers|two numbers added", "add", "a + b"),
    ("the product of two numbers|two numbers multiplied", "multiply", "a * b"),
    ("the difference of two numbers|one number minus another", "subtract", "a - b"),
    ("the larger of two numbers|the maximum of two numbers", "larger", "max(a, b)"),
    ("the smaller of two numbers|the minimum of two numbers", "smaller", "min(a, b)"),
    ("the average of two numbers|the mean of two numbers", "average", "(a + b) / 2"),
    ("the area of a rectangle|the area of a rectangle from its sides", "rectangle_area", "a * b"),
    ("the perimeter of a rectangle|the perimeter of a rectangle from its sides",
     "rectangle_perimeter", "2 * (a + b)"),
    ("the area of a triangle|the area of a triangle from base and height", "triangle_area",
     "a * b / 2"),
    ("a percent of b|a percentage of a number", "percent_of", "a * b / 100"),
    ("the remainder of a divided by b|the remainder of a division", "remainder", "a % b"),
    ("the absolute difference of two numbers|the distance between two numbers", "distance",
     "abs(a - b)"),
    ("a to the power of b|a raised to b", "power", "a ** b"),
    ("whether a is divisible by b|if a can be divided by b", "is_divisible", "a % b == 0"),
)  # fmt: skip
SINGLE: tuple[tuple[str, str, str], ...] = (
    ("the square of a number|a number squared", "square", "n * n"),
    ("the cube of a number|a number cubed", "cube", "n ** 3"),
    ("the double of a number|a number doubled", "double", "n * 2"),
    ("half of a number|a number divided by two", "half", "n / 2"),
    ("whether a number is even|if a number is even", "is_even", "n % 2 == 0"),
    ("whether a number is odd|if a number is odd", "is_odd", "n % 2 == 1"),
    ("the absolute value of a number|a number without its sign", "absolute", "abs(n)"),
    ("the square root of a number|the root of a number", "square_root", "n ** 0.5"),
    ("a list of the numbers from 1 to n|the numbers up to n as a list", "count_to",
     "list(range(1, n + 1))"),
    ("the sum of the numbers from 1 to n|the sum of all numbers up to n", "sum_to",
     "sum(range(1, n + 1))"),
    ("whether a number is prime|if a number is a prime", "is_prime",
     "n > 1 and all(n % d for d in range(2, n))"),
    ("the divisors of a number|a list of the divisors of a number", "divisors",
     "[d for d in range(1, n + 1) if n % d == 0]"),
    ("the number of digits of a number|how many digits a number has", "count_digits",
     "len(str(n))"),
    ("the sum of the digits of a number|the digit sum of a number", "digit_sum",
     "sum(int(d) for d in str(n))"),
    ("a temperature in Celsius as Fahrenheit|Celsius converted to Fahrenheit", "to_fahrenheit",
     "n * 9 / 5 + 32"),
    ("the squares from 1 to n|a list of the squares up to n", "squares_to",
     "[d * d for d in range(1, n + 1)]"),
)  # fmt: skip


def written_programs() -> Iterator[Program]:
    """The text and number programs."""
    for table, args, inputs in (
        (TEXT, "text", _WORDS), (PAIR, "a, b", _NUMBERS), (SINGLE, "n", _SINGLE),
    ):  # fmt: skip
        for says, name, body in table:
            yield Program(name, says.split("|"), name, args, body, inputs)


LIST_PROGRAMS = tuple(list_programs())
WRITTEN_PROGRAMS = tuple(written_programs())


def _kind(program: Program) -> str:
    """The program's filter, without its number."""
    return program.key.split("/")[0].rstrip("0123456789")


@cache
def split_programs(split: Split) -> dict[str, list[Program]]:
    """The list programs of a split, by filter; a test program stands in no other split."""
    kinds: dict[str, list[Program]] = {}
    for program in LIST_PROGRAMS:
        if bucket(program.key) == split:
            kinds.setdefault(_kind(program), []).append(program)
    return kinds


def draw_program(rng: random.Random, split: Split) -> Program:
    """Mostly a list program; written ones, which have no parts to recombine, only in training.

    The filter is drawn first, so that each is as likely as every other.
    """
    if split != "test" and rng.random() < 0.3:
        return rng.choice(WRITTEN_PROGRAMS)
    kinds = split_programs(split)
    return rng.choice(kinds[rng.choice(sorted(kinds))])
