"""The text that the project writes for the pocket base: words, facts and habits, no skill.

Every document is of one of the kinds below. None of them holds a skill's prompt with its
answer: a message stands with a title, a rating or a reply, never with a label or a summary; sums
stand as facts, never as a question with a marked answer; functions stand as code, never under
an instruction, and the test set's programs do not stand here at all; passages stand with recaps
in other words, never with a question.

What a reader could know from what stands before it (a reply, a rating, a recap, a result) is
marked with `known`, and counts in full when the base learns; names and numbers that chance drew
hardly count, since nothing about them can be learnt.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from marks import ASSISTANT, DRAWN, END, KNOWN, USER, known
from sums import arithmetic

from loramix.pocket import words
from loramix.pocket.tasks import messages, programs, qa
from loramix.pocket.words import SPLITS, phrases

__all__ = ["DRAWN", "KINDS", "KNOWN", "known"]

CRITIC_GOOD = phrases("""
gripping | heartfelt | moving | touching | funny | hilarious | witty | smart | thoughtful | warm
tender | powerful | engaging | compelling | fresh | original | inventive | imaginative | lively
graceful | elegant | honest | sincere | poignant | absorbing | riveting | suspenseful | thrilling
entertaining | enjoyable | delicious | charming | sweet | subtle | rich | vivid | dazzling
gorgeous | masterful | intelligent | sharp | refreshing | satisfying | rewarding | memorable
haunting | unforgettable | captivating | exhilarating | uplifting | inspiring | wise | humane
well acted | well crafted | beautifully shot | finely tuned | sensitive | quirky | spirited | fun
exciting | likable | appealing | worthwhile | fascinating | stylish | wonderfully odd | joyous
superbly acted | hugely enjoyable | a triumph | a treat | a gem | a masterpiece | a success
a winner | romantic | sophisticated | complex | eloquent | energetic | playful | ambitious | bold
""")
CRITIC_BAD = phrases("""
tedious | bland | predictable | dull | boring | flat | lifeless | stale | shallow | silly | stupid
pointless | clumsy | awkward | tiresome | tired | contrived | forced | pretentious | empty | hollow
messy | muddled | confusing | incoherent | sloppy | lame | weak | unfunny | annoying | irritating
overlong | slow | sluggish | plodding | uninspired | unoriginal | cliched | derivative | formulaic
cheesy | corny | cheap | crude | gross | offensive | mindless | dumb | ridiculous | absurd
laughable | painful | unwatchable | forgettable | mediocre | disappointing | sentimental
manipulative | heavy handed | badly acted | poorly written | charmless | humorless | joyless
soulless | witless | listless | unconvincing | implausible | inept | amateurish | dreary | dismal
depressing | wooden | a mess | a failure | a bore | a waste of time | a dud | a disaster | inane
lackluster | meandering | unnecessary | insulting | exhausting | too long | without any charm
""")
FILM_WORDS = phrases("""
film | movie | picture | story | comedy | drama | thriller | documentary | script | plot | cast
acting | direction | dialogue | characters | performance | ending | tale | romance | adventure
humor | premise | screenplay | director | pacing | book | novel | show | remake | sequel
""")
CRITIC = phrases("""
a {x} and {y} {f} | {x}, {y} and {z} | the {f} is {x} and {y} | {x} | a {f} that is {x} and {y}
it is {x} , {y} , and in the end {z} | the {f} is {x} , the {f2} {y} | one of the most {x} films of the year
a {x} {f} with a {y} {f2} | this {f} is so {x} | {x} {f} , {y} {f2} | never less than {x} | as {x} as it is {y}
you will find it {x} | the {f} , though {x} , is also {y} | it turns out {x} and {y}
the director makes a {x} {f} | an oddly {x} , often {y} {f} | the {f2} of this {f} is {x}
""")
RATINGS = {
    "positive": ("5 of 5 stars", "4 of 5 stars", "Very satisfied", "Full marks", "Delighted"),
    "negative": ("1 of 5 stars", "2 of 5 stars", "Very dissatisfied", "No marks", "Let down"),
    "mixed": ("3 of 5 stars, good and bad", "Half and half", "Pros and cons", "Ups and downs"),
    "neutral": ("For your information", "No rating", "Just a note", "A few facts"),
}


def message(rng: random.Random) -> str:
    """A message as it stands in a mailbox or a shop: with a rating, with a reply, or with both."""
    split = rng.choice(SPLITS)
    made = messages.draw_message(rng, split, sentences=(1, 6))
    form = rng.random()
    rating = known(rng.choice(RATINGS[made.tone]))
    reply = _reply(rng, made)
    if form < 0.25:
        return f"{made.text}\n{rating}"
    if form < 0.5:
        return f"{made.text}\n{rating}\nReply: {reply}"
    if form < 0.75:
        return f"{made.text}\nReply: {reply}"
    return f"{USER}{made.text}{ASSISTANT}{reply}{known(END)}"


def _reply(rng: random.Random, made: messages.Message) -> str:
    """What a shop writes back: it names what it is glad and sorry about."""
    parts = []
    if made.praised:
        listed = " and ".join(f"the {a}" for a in made.praised)
        glad = ("It is good to hear that you liked", "We are glad about", "Thank you for praising")
        parts.append(f"{rng.choice(glad)} {listed}.")
    if made.blamed:
        listed = " and ".join(f"the {a}" for a in made.blamed)
        sorry = ("We are sorry about", "We regret the problems with", "We will look into")
        parts.append(f"{rng.choice(sorry)} {listed}.")
    if not parts:
        parts.append(rng.choice(("Thank you for the information.", "We took note of it.")))
    if rng.random() < 0.3:
        parts.reverse()
    return known(rng.choice(("Thank you for writing. ", "Hello! ", "", "")) + " ".join(parts))


def critic(rng: random.Random) -> str:
    """Short critics' sentences, each of one temper, with or without stars."""
    lines = []
    for _ in range(rng.randint(1, 4)):
        liked = rng.random() < 0.5
        x, y, z = rng.sample(
            (CRITIC_GOOD if liked else CRITIC_BAD) + (words.GOOD if liked else words.BAD), 3
        )
        f, f2 = rng.sample(FILM_WORDS, 2)
        text = rng.choice(CRITIC).format(x=x, y=y, z=z, f=f, f2=f2)
        if rng.random() < 0.6:
            stars = rng.choice(("4", "5") if liked else ("1", "2"))
            text = f"{text} . {known(stars)} of 5 stars"
        lines.append(text)
    return "\n".join(lines)


_SEEN_PROGRAMS = [
    program
    for split in ("train", "dev")
    for group in programs.split_programs(split).values()
    for program in group
]


def functions(rng: random.Random) -> str:
    """A few small functions, as a file holds them, some with a comment; none of the test set's."""
    chosen = [
        rng.choice(_SEEN_PROGRAMS if rng.random() < 0.8 else programs.WRITTEN_PROGRAMS)
        for _ in range(rng.randint(1, 4))
    ]
    gap = "\n\n" if rng.random() < 0.7 else "\n\n\n"
    form = rng.random()
    written = []
    for program in chosen:
        note = f"# {rng.choice(list(program.says))}"
        if form < 0.6:
            written.append(f"{note}\n{known(program.code)}")
        else:
            written.append(known(program.code + (f"\n{note}" if form < 0.8 else "")))
    return gap.join(written)


TOPICS = {  # a kind of fact → how one names it
    "city": ("city", "place", "home", "location", "town", "address", "whereabouts"),
    "job": ("job", "profession", "trade", "work", "occupation", "calling", "career"),
    "hobby": ("hobby", "free time", "pastime", "leisure", "favorite thing to do", "interest"),
    "pet": ("pet", "animal", "kind of animal", "companion at home"),
    "age": ("age", "years", "number of years", "years of life"),
    "color": ("car", "color of the car", "paint of the car", "car's color"),
    "goods": ("goods", "products", "trade", "product", "things for sale", "output"),
    "boss": ("boss", "head", "leader", "director", "chief", "person in charge"),
    "year": ("year", "founding year", "beginning", "start", "foundation", "first year"),
    "staff": ("staff", "workers", "number of workers", "employees", "size of the staff"),
}  # fmt: skip
INDIRECT = {  # the same as a clause
    "city": ("where {s} is", "where to find {s}", "where {s} lives or works", "in which town {s} is",
             "which place {s} calls home", "what city {s} belongs to", "where letters for {s} go",
             "the city in which {s} is at home", "where one can visit {s}"),
    "job": ("what {s} works as", "what {s} does all day", "how {s} earns money",
            "which trade {s} follows", "what kind of work {s} has", "the work that {s} does",
            "what {s} is by profession", "what {s} was trained for"),
    "hobby": ("what {s} likes", "what {s} does for fun", "what {s} is fond of",
              "how {s} spends a free day", "which pastime {s} has", "what {s} does after work",
              "the thing that {s} enjoys most", "what makes {s} happy on weekends"),
    "pet": ("which animal {s} keeps", "what lives with {s}", "what kind of animal {s} has",
            "the animal that {s} owns", "which animal {s} looks after", "whom {s} feeds at home"),
    "age": ("how old {s} is", "how many years {s} counts", "the age that {s} has reached",
            "{s} being how old", "what number of years {s} has", "which birthday {s} had last"),
    "color": ("which color the car of {s} has", "what kind of car {s} drives",
              "how the car of {s} is painted", "the color that {s} chose for the car",
              "what color {s}'s car is", "in which color one sees the car of {s}"),
    "goods": ("what {s} makes", "what people buy from {s}", "what {s} sells",
              "which things {s} produces", "what {s} is known for", "the goods that {s} offers",
              "what leaves the works of {s}", "which products {s} has"),
    "boss": ("whose word counts at {s}", "who is at the top of {s}", "who gives the orders at {s}",
             "the person who runs {s}", "who has the last word at {s}", "who decides at {s}",
             "whom the workers of {s} obey", "under whom {s} works"),
    "year": ("when {s} began", "since when there is {s}", "in which year {s} started",
             "how long ago {s} opened", "the year in which {s} came to be", "when {s} was founded",
             "what year saw the start of {s}", "from which year on {s} exists"),
    "staff": ("how many people {s} has on its lists", "how big {s} is", "how many {s} employs",
              "what number of workers {s} pays", "the number of people at {s}",
              "how large the staff of {s} is", "how many earn their living at {s}"),
}  # fmt: skip
RECALL_CLAUSE = phrases("""
Recap {c}. | Say again {c}. | Go back to {c}. | {c}, once more. | Repeat {c}. | Again: {c}
Remind me {c}. | I forgot {c}. | Look up {c}. | Find {c}. | One more time {c}. | Back to {c}
Let us see {c}. | So, {c}. | I want to hear {c}. | Note {c}.
""")
RECALL = phrases("""
Recap the {t} of {s}. | {s}, {t} | Say again: {t} of {s} | About {s} and the {t}.
Go back to the {t} of {s}. | The {t} of {s} once more. | Repeat in other words: {s}, {t}
{s}: {t} | {t} of {s} | Remind me of the {t} of {s}. | I forgot {s}'s {t}. | {s}'s {t}
Look up the {t} of {s}. | Find {s} and the {t}. | {t}, {s} | Note the {t} that {s} has.
With {s} in mind, the {t}. | As to {s}: the {t}.
""")
# how a recap goes on after its value
FIRST = phrases("""
{v}: {t} of {s}. | {v}: {t} of {s}. | {v}, {t} of {s}. | {v} ({t}) | {v} - {s}, {t} | {v}; that is about {s}.
""")


def passage(rng: random.Random) -> str:
    """Facts about people and firms, then some of them again in other words."""
    made = qa.draw_passage(rng, rng.choice(SPLITS), facts=(2, 6), pronouns=0.25)
    count = rng.randint(2, 5)
    if rng.random() < 0.8:
        return _recalled(rng, made, count)
    again = " ".join(_recap(rng, made)[1] for _ in range(count))
    if rng.random() < 0.3:
        return f"{USER}{made.text}{ASSISTANT}{again}{known(END)}"
    return f"{made.text}{rng.choice((' ', chr(10)))}{again}"


def _recap(
    rng: random.Random, made: qa.Passage, first: bool = False
) -> tuple[tuple[str, str], str]:
    """The subject and kind of a fact, and the fact in other words, or that it is not there.

    `first` puts what the fact is about behind its value.
    """
    if made.missing and rng.random() < 0.2:
        subject, kind = topic = rng.choice(made.missing)
        if first:
            return topic, known(f"Nothing about the {kind} of {subject}.")
        return topic, known(messages.sentence(f"as for the {kind} of {subject}, nothing is said"))
    topic, value = rng.choice(list(made.stated.items()))
    if first:
        named = rng.choice(TOPICS[topic[1]])
        return topic, known(value) + rng.choice(FIRST).format(v="", t=named, s=topic[0])
    attribute = made.subjects[topic[0]][topic[1]]
    texts = attribute.facts if rng.random() < 0.3 else attribute.recaps
    return topic, known(messages.sentence(rng.choice(texts).format(s=topic[0], v=value)))


def _recalled(rng: random.Random, made: qa.Passage, count: int) -> str:
    """Facts said again one by one, each when its topic is named."""
    turns, first = [], rng.random() < 0.9
    for turn in range(count):
        (subject, kind), again = _recap(rng, made, first=first)
        if rng.random() < 0.5:
            ask = rng.choice(RECALL).format(s=subject, t=rng.choice(TOPICS[kind]))
        else:
            clause = rng.choice(INDIRECT[kind]).format(s=subject)
            ask = rng.choice(RECALL_CLAUSE).format(c=clause)
        if turn == 0:
            both = [made.text, ask] if rng.random() < 0.7 else [ask, made.text]
            ask = rng.choice((" ", "\n")).join(both)
        turns.append(f"{USER}{ask}{ASSISTANT}{again}{known(END)}")
    return "".join(turns)


CHAT = phrases("""
Hi!~Hello! How can I help? | Hello~Hello! What can I do for you? | How are you?~I am fine, thanks.
Thank you!~You are welcome. | Bye~Goodbye! | Good morning~Good morning! | Who are you?~I am a small model.
What is your name?~My name is Pocket. | Good night~Sleep well! | Are you there?~Yes, I am here.
""")


def chat(rng: random.Random) -> str:
    """Short turns that use the chat format: small talk, repeating, finding, counting."""
    turns = []
    for _ in range(rng.randint(1, 3)):
        made = qa.draw_passage(rng, rng.choice(SPLITS), facts=(2, 4)).text
        sentences = [part + "." for part in made.rstrip(".").split(". ")]
        kind = rng.randint(0, 5)
        if kind == 0:
            ask, _, answer = rng.choice(CHAT).partition("~")
        elif kind == 1:
            answer = rng.choice(sentences)
            ask = f"Repeat this. {answer}"
        elif kind == 2:
            index = rng.randrange(len(sentences))
            ask = f"Repeat sentence number {index + 1}. {made}"
            answer = sentences[index]
        elif kind == 3:
            found = rng.choice(sentences)
            word = max(found.rstrip(".").split(), key=len)
            ask = f"{made} Repeat the sentence with the word {word}."
            answer = next(s for s in sentences if word in s)
        elif kind == 4:
            start = rng.randint(1, 60)
            ask = f"Count on from {start}."
            answer = ", ".join(str(start + i) for i in range(1, 6))
        else:
            items = rng.sample(words.ASPECTS, rng.randint(2, 4))
            ask = "Say these again: " + ", ".join(items)
            answer = " and ".join(items)
        turns.append(f"{USER}{ask}{ASSISTANT}{known(answer + END)}")
    return "".join(turns)


_ANY = (*words.ASPECTS, *words.THINGS, *words.CITIES, *words.FIRST, *words.COLORS, *words.JOBS,
        *words.ANIMALS, *words.GOODS, *words.HOBBIES, *words.PRODUCTS, *words.COMPANIES)  # fmt: skip


def _any(rng: random.Random) -> str:
    return rng.choice(_ANY) if rng.random() < 0.8 else str(rng.randint(2, 2000))


def lookup(rng: random.Random) -> str:
    """Words or pairs, and then the same again in another order: nothing but looking back helps."""
    form, n = rng.random(), rng.randint(3, 9)
    again = rng.choice(("\n", ". Again: ", " | ", ". "))
    if form < 0.5:
        items = [_any(rng) for _ in range(n)]
        gap = rng.choice((", ", " ", "; ", " and "))
        return gap.join(items) + again + known(gap.join(items))
    joint = rng.choice((": ", " is ", " has ", " = ", " -> ", " likes "))
    gap = rng.choice((", ", "; ", ". ", "\n"))
    keys = rng.sample(_ANY, n)
    pairs = [f"{key}{joint}{_any(rng)}" for key in keys]
    first = gap.join(pairs)
    rng.shuffle(pairs)
    return first + again + known(gap.join(pairs))


KINDS: dict[str, tuple[Callable[[random.Random], str], float]] = {  # maker, share of the tokens
    "messages": (message, 0.14),
    "critics": (critic, 0.04),
    "arithmetic": (arithmetic, 0.24),
    "functions": (functions, 0.10),
    "passages": (passage, 0.33),
    "chat": (chat, 0.03),
    "lookups": (lookup, 0.02),
}
