"""How people say what a list program does: as a thing to return, or as steps to take.

A list program is a filter, a map and a reduction (programs.py). Each of the three has its own
words, and a phrasing is put together from them: "the sum of the squares of the even numbers in a
list", "keep only the even ones, square them and add them up", "the largest cube among the numbers
below 4". So an unseen program is asked for in words that have all been heard apart.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from loramix.pocket.words import phrases

Words = Mapping[str, Sequence[str]]


def _table(**rows: str) -> Words:
    return {name: phrases(row) for name, row in rows.items()}


ADJECTIVES = _table(
    even="even", odd="odd", positive="positive", negative="negative", nonzero="nonzero | non-zero"
)
CLAUSES = _table(
    even="that are even",
    odd="that are odd",
    positive="""greater than zero | above zero | larger than 0 | that are positive
        bigger than zero | greater than 0""",
    negative="""less than zero | below zero | smaller than 0 | that are negative | under zero
        less than 0""",
    nonzero="that are not zero | other than zero | that are not 0 | that aren't zero",
    above="""greater than {k} | above {k} | larger than {k} | bigger than {k} | over {k}
        higher than {k} | more than {k} | that are greater than {k} | that are above {k}""",
    below="""less than {k} | below {k} | smaller than {k} | under {k} | lower than {k}
        that are less than {k} | that are below {k} | that are under {k}""",
    divisible="""divisible by {k} | divisible by {k} | that are multiples of {k}
        that are divisible by {k} | that can be divided by {k}""",
)
DROPPED = _table(
    even="the odd ones | the odd numbers | all odd numbers",
    odd="the even ones | the even numbers | all even numbers",
    positive="everything that is not positive | zeros and negative numbers",
    negative="everything that is not negative | zeros and positive numbers",
    nonzero="the zeros | all zeros | every zero",
    above="all numbers up to {k} | everything that is {k} or less",
    below="all numbers from {k} on | everything that is {k} or more",
    divisible="everything not divisible by {k} | all that are not divisible by {k}",
)
PLURALS = _table(  # what a map makes, as a thing
    squares="squares",
    cubes="cubes | cubes | third powers",
    doubles="doubles",
    halves="halves",
    absolute="absolute values",
    negated="negatives | opposites",
)
SINGULARS = _table(
    squares="square",
    cubes="cube | cube | third power",
    doubles="double",
    halves="half",
    absolute="absolute value",
    negated="negative | opposite",
)
AFTERWARDS = _table(  # behind the numbers that it changes
    squares="squared",
    cubes="cubed | to the third power",
    doubles="doubled | times two | times 2 | multiplied by 2",
    halves="halved | divided by two | divided by 2",
    absolute="without their sign | as absolute values",
    negated="negated | with the sign flipped | with the opposite sign",
)
CHANGE = _table(  # {o} is what is changed: them, each, the even numbers
    squares="""square {o} | square {o} | take the square of {o} | multiply {o} by itself
        raise {o} to the second power""",
    cubes="cube {o} | cube {o} | take the cube of {o} | raise {o} to the third power",
    doubles="""double {o} | double {o} | multiply {o} by two | multiply {o} by 2
        take {o} times two""",
    halves="""halve {o} | halve {o} | divide {o} by two | divide {o} by 2 | take half of {o}""",
    absolute="take the absolute value of {o} | drop the sign of {o} | remove the sign of {o}",
    negated="""negate {o} | negate {o} | flip the sign of {o} | change the sign of {o}
        put a minus in front of {o}""",
)
FINISH = _table(  # the last step, when the numbers are "them"
    sum="""add them up | add them up | sum them | sum them up | add them together | return their sum
        return the total | return the sum | give back the total | add up the results""",
    list="""return them as a list | return a list of them | put them in a list
        collect them in a list | return the results as a list | give back a list
        return the new list | return the list | give back the results as a list""",
    count="""count them | return how many there are | return their number | return the count
        say how many there are | return how many remain""",
    max="""return the largest | return the biggest | return the maximum | return the highest one
        find the largest one | pick the biggest | give back the maximum | return the highest
        return the largest result""",
    min="""return the smallest | return the lowest | return the minimum | return the lowest one
        find the smallest one | pick the smallest | give back the minimum | return the least
        return the smallest result""",
    sorted="""sort them | return them sorted | return them in order | return a sorted list
        put them in order | return them from small to large | return them in ascending order
        sort the results""",
    set="""return them as a set | return a set of them | put them in a set | make a set of them
        return the results as a set | collect them in a set | return the set""",
    any="""return whether there are any | check if any are left | tell if there is at least one
        return True if there is one | say whether there are any""",
)
OF_THINGS = _table(  # a reduction as a thing: {o} is what is reduced
    sum="the sum of {o} | the sum of {o} | the total of {o} | the sum of all {o}",
    list="""a list of {o} | a list of {o} | a list with {o} | a new list of {o} | the list of {o}
        {o} as a list | {o} in a list of their own""",
    count="the number of {o} | the number of {o} | the count of {o} | how many of {o} there are",
    max="the largest of {o} | the biggest of {o} | the maximum of {o} | the highest of {o}",
    min="the smallest of {o} | the lowest of {o} | the minimum of {o} | the least of {o}",
    sorted="""a sorted list of {o} | a sorted list with {o} | {o} sorted | {o} in order
        {o} in sorted order | {o} in ascending order | {o} from small to large""",
    set="the set of {o} | a set of {o} | a set with {o} | {o} as a set",
    any="""whether there are any {o} | if there are any {o} | whether any {o} are there
        whether there are {o} | True if there are any {o}""",
)
REDUCE = _table(  # a reduction as a step on a thing
    sum="add up {o} | sum {o} | sum up {o} | total {o} | compute the sum of {o}",
    list="""list {o} | collect {o} | collect {o} in a list | make a list of {o}
        gather {o} in a list""",
    count="count {o} | count all {o} | compute the number of {o}",
    max="find the largest of {o} | find the maximum of {o} | get the biggest of {o}",
    min="find the smallest of {o} | find the minimum of {o} | get the lowest of {o}",
    sorted="sort {o} | order {o} | put {o} in order | make a sorted list of {o}",
    set="make a set of {o} | collect {o} in a set | put {o} in a set | gather {o} in a set",
    any="""check for {o} | find out whether there are any {o} | look for {o}
        check if there are {o}""",
)
EXTREME = {
    "max": ("largest", "biggest", "highest", "maximum"),
    "min": ("smallest", "lowest", "minimum", "least"),
}
KEEP = phrases("""
keep only {o} | take only {o} | keep {o} | pick out {o} | pick {o} | take {o} | select {o}
use only {o} | look only at {o} | filter for {o} | choose {o}
""")
DROP = phrases("""
drop {o} | ignore {o} | skip {o} | leave out {o} | throw away {o} | remove {o} | discard {o}
""")
NOUNS = ("numbers",) * 6 + ("elements", "values", "items", "entries", "integers")
IN_LIST = phrases("""
in a list | in a list | in a list | of a list | from a list | in a list of numbers | in the list
in a given list | of a given list | in my list | of some list | in the input list
""")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

Choice = Callable[[Sequence[str]], str]


class Speaker:
    """Says one list program in words drawn by `rng`.

    Args:
        rng: draws the words.
        which, k: the filter and its number, 0 for none.
        change: the map.
        end: the reduction.
    """

    def __init__(self, rng: random.Random, which: str, k: int, change: str, end: str) -> None:
        self._rng, self._which, self._change, self._end = rng, which, change, end
        self._k = DIGITS[k] if k and rng.random() < 0.05 else str(k)

    def thing(self) -> str:
        """What is returned: "the sum of the squares of the even numbers in a list"."""
        place = " " + self._rng.choice(IN_LIST)
        if self._end in EXTREME and self._change == "same" and self._rng.random() < 0.5:
            return self._most() + place
        if self._end in EXTREME and self._change != "same" and self._rng.random() < 0.4:
            one = self._rng.choice(SINGULARS[self._change])
            among = self._rng.choice(("among", "of", "of all"))
            most = self._rng.choice(EXTREME[self._end])
            return f"the {most} {one} {among} {self._numbers()}{place}"
        said = self._say(OF_THINGS[self._end]).format(o=self._reduced(place))
        return said.replace("all all", "all")

    def steps(self, place: bool) -> list[str]:
        """What to do, one step after the other, each a verb and what follows it.

        `place` says where the numbers are ("in a list"); without it they were named before.
        """
        where = " " + self._rng.choice(IN_LIST) if place else ""
        habit = self._rng.random()
        if habit < 0.15 and self._end in EXTREME and self._change == "same":
            return [f"{self._rng.choice(('find', 'find', 'get', 'pick'))} {self._most()}{where}"]
        if habit < 0.25:  # one step on a thing
            return [self._say(REDUCE[self._end]).format(o=self._reduced(where))]
        first, rest = self._first(where, habit < 0.7)
        finish = self._say(FINISH[self._end])
        return [*first, *rest, finish]

    def _most(self) -> str:
        """The one number that is left: "the largest even number"."""
        _, _, number = self._numbers(singular=True).partition(" ")
        return f"the {self._rng.choice(EXTREME[self._end])} {number}"

    def _first(self, where: str, together: bool) -> tuple[list[str], list[str]]:
        """The steps before the last: the filter and the map, apart or in one."""
        if self._change == "same":
            return [self._kept(where)], []
        if together or self._which == "all":
            noun = self._numbers(singular=self._rng.random() < 0.4) + where
            return [self._say(CHANGE[self._change]).format(o=noun)], []
        each = self._rng.choice(("them", "them", "each", "each of them", "each one", "those"))
        return [self._kept(where)], [self._say(CHANGE[self._change]).format(o=each)]

    def _kept(self, where: str) -> str:
        if self._which == "all":
            return self._rng.choice(("take all the numbers", "go through the numbers")) + where
        if self._rng.random() < 0.3:
            return self._say(DROP).format(o=self._fill(self._say(DROPPED[self._which])) + where)
        noun = self._numbers(ones=not where and self._rng.random() < 0.5)
        return self._say(KEEP).format(o=noun + where)

    def _reduced(self, where: str) -> str:
        """What is reduced; after "whether there are any" no article fits."""
        made = self._made(where)
        return made.removeprefix("all ").removeprefix("the ") if self._end == "any" else made

    def _made(self, where: str) -> str:
        """The numbers after the filter and the map: "the squares of the even numbers"."""
        if self._change == "same":
            return self._numbers() + where
        # "the sum of the numbers, squared" squares the sum
        if self._end in ("list", "sorted", "set") and self._rng.random() < 0.3:
            return f"{self._numbers()}{where}, {self._say(AFTERWARDS[self._change])}"
        return f"the {self._say(PLURALS[self._change])} of {self._numbers()}{where}"

    def _numbers(self, singular: bool = False, ones: bool = False) -> str:
        """The numbers that the filter leaves: "the even numbers", "every number above 3"."""
        noun = "ones" if ones else self._rng.choice(NOUNS)
        if singular:
            noun = {"entries": "entry"}.get(noun, noun[:-1])
            article = self._rng.choice(("every", "each"))
        else:
            article = "the" if ones else self._rng.choice(("the", "the", "all", "all the"))
        if self._which == "all":
            return f"{article} {noun}"
        adjectives = ADJECTIVES.get(self._which)
        if adjectives and (ones or self._rng.random() < 0.65):
            return f"{article} {self._say(adjectives)} {noun}"
        clause = self._fill(self._say(CLAUSES[self._which]))
        if singular:
            clause = clause.replace("that are ", "that is ").replace("aren't", "isn't")
            clause = clause.replace("multiples", "a multiple")
        return f"{article} {noun} {clause}"

    def _fill(self, words: str) -> str:
        return words.replace("{k}", self._k)

    def _say(self, words: Sequence[str]) -> str:
        return self._rng.choice(words)


def third_person(step: str) -> str:
    """The step as a function does it: "square them" → "squares them"."""
    verb, space, rest = step.partition(" ")
    if verb.endswith(("s", "x", "ch", "sh")) or verb == "go":
        verb += "es"
    elif verb.endswith("y") and verb[-2] not in "aeiou":
        verb = verb[:-1] + "ies"
    else:
        verb += "s"
    return verb + space + rest


def joined(rng: random.Random, steps: Sequence[str]) -> str:
    """The steps as one sentence without its end: "keep ..., square them and add them up"."""
    *before, last = steps
    if not before:
        return last
    word = rng.choice((" and ", " and ", ", then ", ", and then ", " and then ", ", and "))
    return rng.choice((", ", ", ", ", then ")).join(before) + word + last
