"""Answers a question from a passage, or says that the passage does not state it."""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loramix.data import Example
from loramix.pocket import words
from loramix.pocket.tasks.phrasing import lower_start
from loramix.pocket.tasks.task import Task
from loramix.pocket.words import Split, phrases, pool

NOT_STATED = "not stated"


@dataclass(frozen=True)
class Attribute:
    """Something that a passage can say of its subject.

    Attributes:
        value: draws a value from the pools of a split.
        facts: sentences that state it; {s} is the subject, {v} the value.
        asks: questions for it; {s} is the subject.
        recaps: other words for the same fact, for the pocket base's own text.
    """

    value: Callable[[random.Random, Split], str]
    facts: Sequence[str]
    asks: Sequence[str]
    recaps: Sequence[str]


def _from(items: Sequence[str]) -> Callable[[random.Random, Split], str]:
    return lambda rng, split: rng.choice(pool(items, split))


def _number(low: int, high: int) -> Callable[[random.Random, Split], str]:
    return lambda rng, split: str(rng.randint(low, high))


PERSON = {
    "city": Attribute(
        _from(words.CITIES),
        phrases("""{s} lives in {v} | {s} has a home in {v} | {s} moved to {v} years ago
        The home of {s} is in {v} | {v} is where {s} lives | {s} settled in {v}"""),
        phrases("""Where does {s} live? | In which city does {s} live? | Where is {s}'s home?
        What city does {s} live in? | {s} lives where? | Which city is home to {s}?
        Which city does {s} call home? | Where can one find {s}? | What is the home town of {s}?
        In what city is {s} at home? | Where did {s} settle? | What place does {s} live in?
        Do you know where {s} lives? | In what town is {s} at home? | What is the city of {s}?
        Where is {s} living? | Name the city of {s}. | To which city did {s} move?"""),
        phrases("as for the city of {s}, it is {v} | people look for {s} in {v}"),
    ),
    "job": Attribute(
        _from(words.JOBS),
        phrases("""{s} works as a {v} | {s} is a {v} | {s} earns a living as a {v}
        {s} became a {v} | {s} has a job as a {v} | By trade {s} is a {v}"""),
        phrases("""What is {s}'s job? | What does {s} do for a living? | What does {s} work as?
        What is the profession of {s}? | Which job does {s} have? | What is {s}'s trade?
        How does {s} earn money? | What work does {s} do? | What is {s} by profession?
        What kind of work does {s} do? | What is the occupation of {s}?
        What does {s} do all day?
        What is the job of {s}? | What does {s} do at work? | As what does {s} work?
        What did {s} become? | Name the job of {s}. | What is {s}'s work?"""),
        phrases("as for the job of {s}, it is {v} | people call {s} the {v}"),
    ),
    "hobby": Attribute(
        _from(words.HOBBIES),
        phrases("""{s} enjoys {v} | {s} spends the weekends on {v} | {s} is fond of {v}
        In the evening {s} loves {v} | The hobby of {s} is {v} | In free time {s} likes {v}"""),
        phrases("""What is {s}'s hobby? | What does {s} enjoy? | What does {s} do in free time?
        What is the hobby of {s}? | What does {s} like to do? | Which hobby does {s} have?
        What is {s} fond of? | How does {s} spend the weekends? | What does {s} do for fun?
        What does {s} love to do in the evening? | What is the favorite pastime of {s}?
        What does {s} do in spare time?
        What does {s} like in free time? | What does {s} do after work? | What is {s}'s pastime?
        What does {s} do on a free day? | Name the hobby of {s}.
        With what does {s} spend free time?"""),
        phrases("as for the hobby of {s}, it is {v} | on a free day {s} turns to {v}"),
    ),
    "pet": Attribute(
        _from(words.ANIMALS),
        phrases("""{s} has a {v} | {s} keeps a {v} at home | {s} owns a {v}
        {s} takes care of a {v} | The pet of {s} is a {v} | {s} lives with a {v}"""),
        phrases("""What pet does {s} have? | Which animal does {s} keep? | What is {s}'s pet?
        What animal does {s} own? | Which pet does {s} have? | What kind of pet has {s}?
        What kind of animal does {s} have? | Which animal lives with {s}?
        What does {s} keep at home?
        Does {s} have a pet, and which? | What animal does {s} take care of?
        Which animal belongs to {s}?
        What animal does {s} live with? | What is the pet of {s}? | What animal is kept by {s}?
        Which kind of pet does {s} own? | Name the pet of {s}.
        What sort of animal does {s} have?"""),
        phrases("as for the pet of {s}, it is a {v} | at home {s} feeds the {v}"),
    ),
    "age": Attribute(
        _number(18, 89),
        phrases("""{s} is {v} years old | {s} turned {v} this year | {s} is now {v}
        At {v}, {s} is in good health | The age of {s} is {v} | {s} has reached the age of {v}"""),
        phrases("""How old is {s}? | What is {s}'s age? | What is the age of {s}?
        How many years old is {s}? | What age is {s}? | {s} is how old?
        How old is {s} now? | What age has {s} reached? | Tell me how old {s} is.
        At what age is {s}? | How many years has {s} lived? | How old did {s} turn?
        How many years does {s} count? | What is the age that {s} has? | {s} is of what age?
        Do you know how old {s} is? | Give the age of {s}.
        Can you tell me {s}'s age?"""),
        phrases("as for the age of {s}, it is {v} | {s} counts {v} years"),
    ),
    "color": Attribute(
        _from(words.COLORS),
        phrases("""{s} drives a {v} car | {s} has a {v} car | The car of {s} is {v}
        {s} painted the car {v} | {s} bought a {v} car | The color of {s}'s car is {v}"""),
        phrases("""What color is {s}'s car? | Which color does the car of {s} have?
        What is the color of {s}'s car? | What color car does {s} drive?
        What is the color of the car of {s}? | Which color is the car that {s} drives?
        Which color is {s}'s car? | How is {s}'s car painted?
        What is the color of the car that {s} has?
        In which color did {s} paint the car? | {s}'s car has which color?
        What color of car did {s} buy?
        What is the car color of {s}? | What color does {s}'s car have?
        Which color has the car of {s}?
        Of what color is the car of {s}? | Name the color of {s}'s car.
        What color is the car that {s} owns?"""),
        phrases("as for the car of {s}, it is {v} | one knows {s} by the {v} car"),
    ),
}
COMPANY = {
    "city": Attribute(
        _from(words.CITIES),
        phrases("""{s} is based in {v} | {s} has its head office in {v} | {s} was set up in {v}
        The offices of {s} are in {v} | {v} is the home of {s} | {s} has its seat in {v}"""),
        phrases("""Where is {s} based? | In which city is {s}? | Where is the head office of {s}?
        What city is {s} based in? | {s} is based where? | Which city is home to {s}?
        Where can one find {s}? | Where does {s} have its seat? | Which city is {s} in?
        In what city are the offices of {s}? | What is the seat of {s}?
        From which city does {s} work?
        Where is {s} located? | What is the home city of {s}? | In which town is {s} based?
        Do you know where {s} is? | Name the city of {s}. | Where was {s} set up?"""),
        phrases("as for the city of {s}, it is {v} | letters to {s} go to {v}"),
    ),
    "goods": Attribute(
        _from(words.GOODS),
        phrases("""{s} makes {v} | {s} sells {v} | The firm {s} produces {v}
        {s} is known for its {v} | The main product of {s} is {v}
        {s} earns its money with {v}"""),
        phrases("""What does {s} make? | What does {s} sell? | What does {s} produce?
        What are the products of {s}? | What goods does {s} make? | What is {s} known for?
        Which products does {s} offer? | What can one buy from {s}?
        What is the main product of {s}?
        With what does {s} earn its money? | What kind of goods does {s} sell?
        What goods come from {s}?
        What is made by {s}? | What things does {s} sell? | Which goods come from {s}?
        What do people get from {s}? | Name the product of {s}. | What does the firm {s} make?"""),
        phrases("as for the goods of {s}, they are {v} | people buy {v} from {s}"),
    ),
    "boss": Attribute(
        lambda rng, split: _name(rng, split),
        phrases("""{s} is led by {v} | The head of {s} is {v} | {v} runs {s}
        {v} is in charge of {s} | The boss of {s} is {v} | {v} leads {s}"""),
        phrases("""Who leads {s}? | Who is the head of {s}? | Who runs {s}?
        Who is the boss of {s}? | Who is in charge of {s}? | Who directs {s}?
        Who heads {s}? | Who is the leader of {s}? | What is the name of the boss of {s}?
        Under whom does {s} work? | Who is at the head of {s}? | Which person leads {s}?
        Who is in charge at {s}? | By whom is {s} led? | Who is the chief of {s}?
        Who has the top job at {s}? | Name the boss of {s}. | Which person is the head of {s}?"""),
        phrases("as for the boss of {s}, it is {v} | at {s} all listen to {v}"),
    ),
    "year": Attribute(
        _number(1850, 2019),
        phrases("""{s} was founded in {v} | {s} has existed since {v} | {s} opened in {v}
        {s} began its work in {v} | The firm {s} started in {v}
        The founding year of {s} is {v}"""),
        phrases("""When was {s} founded? | In which year did {s} start? | When did {s} open?
        Since when has {s} existed? | What year was {s} founded? | In what year did {s} begin?
        When did {s} begin? | What is the founding year of {s}? | In which year was {s} founded?
        Since which year is there {s}? | When did {s} start its work?
        Since when does {s} exist?
        What year did {s} open? | When did {s} come to be? | In what year was {s} set up?
        From which year is {s}? | Name the founding year of {s}.
        When was the beginning of {s}?"""),
        phrases("as for the year of {s}, it is {v} | the story of {s} began in {v}"),
    ),
    "staff": Attribute(
        _number(12, 980),
        phrases("""{s} has {v} workers | {s} employs {v} people | About {v} people work at {s}
        The staff of {s} counts {v} people | {v} people work for {s} | {s} pays {v} workers"""),
        phrases("""How many people work at {s}? | How many workers does {s} have?
        How many people does {s} employ? | How big is the staff of {s}?
        What is the number of workers at {s}? | How many employees does {s} have?
        How many people are on the staff of {s}? | How large is {s}?
        What is the size of the staff of {s}?
        How many workers does {s} pay? | {s} has how many workers?
        How many people earn their living at {s}?
        What is the staff number of {s}? | How many people have a job at {s}?
        How many work for {s}?
        How big is {s}? | Give the number of workers at {s}. | How many people are paid by {s}?"""),
        phrases("as for the staff of {s}, it is {v} | each day {v} people go to {s}"),
    ),
}

LAYOUTS = phrases("""
{passage}~{ask} | {passage}~Question: {ask} | {ask}~{passage} | Passage: {passage}~Question: {ask}
Read this: {passage}~{ask} | {ask} Here is the text: {passage}
Answer from the text. {passage}~{ask} | Text: {passage}~{ask} | {passage} {ask}
Use the passage to answer. {passage}~Q: {ask} | Context: {passage}~{ask}
According to this text, {low_ask}~{passage} | Question: {ask}~Passage: {passage}
{passage}~Tell me, {low_ask} | Given the passage, {low_ask}~{passage}
{ask} Look it up in here: {passage} | Q: {ask}~{passage}~A:
From what follows, {low_ask}~{passage}
{passage} So {low_ask} | Text:~{passage}~~{ask} | I have a question. {ask}~{passage}
{passage}~{ask} Answer briefly.
Please answer: {ask}~{passage} | {passage}~My question: {ask} | Here is a passage. {passage}~{ask}
{passage}~Can you tell me {low_ask} | {ask}~~Passage: {passage}
In the text below, {low_ask}~{passage}
{passage}~Short answer please: {ask} | Look at this text and answer. {ask}~{passage}
""")


@dataclass(frozen=True)
class Passage:
    """Sentences about one or two subjects, with what they state."""

    text: str
    stated: dict[tuple[str, str], str]
    missing: tuple[tuple[str, str], ...]
    subjects: dict[str, dict[str, Attribute]]


def _name(rng: random.Random, split: Split) -> str:
    first = rng.choice(pool(words.FIRST, split))
    return first if rng.random() < 0.5 else f"{first} {rng.choice(pool(words.LAST, split))}"


def draw_passage(
    rng: random.Random, split: Split, facts: tuple[int, int] = (3, 5), pronouns: float = 0.0
) -> Passage:
    """A passage of some facts about one or two people or firms, in any order.

    Args:
        rng: the source of chance.
        split: whose words and templates to use.
        facts: the fewest and the most facts.
        pronouns: how often a subject that stood in the sentence before is only called she, he,
            or it.
    """
    subjects: dict[str, dict[str, Attribute]] = {}
    while len(subjects) < rng.choice((1, 2, 2)):
        if rng.random() < 0.65:
            name = _name(rng, split)
            taken = {known.split()[0] for known in subjects}
            if name.split()[0] not in taken:
                subjects[name] = PERSON
        else:
            subjects[rng.choice(pool(words.COMPANIES, split))] = COMPANY
    slots = [(name, kind) for name, kinds in subjects.items() for kind in kinds]
    chosen = rng.sample(slots, min(len(slots) - 1, rng.randint(*facts)))
    chosen += [slot for slot in slots if slot[0] not in {name for name, _ in chosen}][:1]
    if rng.random() < 0.5:
        chosen.sort(key=lambda slot: list(subjects).index(slot[0]))
    stated, sentences, before = {}, [], ""
    called = {
        name: "It" if kinds is COMPANY else rng.choice(("She", "He"))
        for name, kinds in subjects.items()
    }
    for name, kind in chosen:
        attribute = subjects[name][kind]
        value = attribute.value(rng, split)
        stated[name, kind] = value
        text = rng.choice(pool(attribute.facts, split)).format(s=name, v=value)
        if name == before and text.startswith(name + " ") and rng.random() < pronouns:
            text = called[name] + text.removeprefix(name)
        before = name
        sentences.append(text[0].upper() + text[1:] + ".")
    missing = tuple(slot for slot in slots if slot not in stated)
    return Passage(" ".join(sentences), stated, missing, subjects)


def lay_out(rng: random.Random, split: Split, passage: str, ask: str) -> str:
    """The passage and the question in one of the usual orders."""
    layout = rng.choice(pool(LAYOUTS, split))
    filled = layout.format(passage=passage, ask=ask, low_ask=lower_start(ask))
    return filled.replace("~", "\n")


def draw(rng: random.Random, split: Split) -> Example:
    """One passage, one question, and the answer from the passage."""
    passage = draw_passage(rng, split)
    if passage.missing and rng.random() < 0.2:
        subject, kind = rng.choice(passage.missing)
        answer = NOT_STATED
    else:
        subject, kind = rng.choice(list(passage.stated))
        answer = passage.stated[subject, kind]
    ask = rng.choice(pool(passage.subjects[subject][kind].asks, split)).format(s=subject)
    return Example(
        prompt=lay_out(rng, split, passage.text, ask),
        completion=answer,
        meta={"task": "qa", "answer": answer, "text": passage.text, "kind": kind},
    )


def normal(text: str) -> str:
    """Lower case, without articles and punctuation, as SQuAD's exact match compares."""
    bare = text.lower().translate(str.maketrans("", "", string.punctuation))
    return " ".join(word for word in bare.split() if word not in ("a", "an", "the"))


def score(examples: Sequence[Example], texts: Sequence[str]) -> list[float]:
    """1 where the answer matches exactly, after SQuAD's normalisation."""
    return [
        float(normal(text) == normal(str(example.meta["answer"])))
        for example, text in zip(examples, texts, strict=True)
    ]


TASK = Task(
    "qa",
    "answers a question from a passage, or says that it is not stated",
    draw,
    score,
    max_new_tokens=12,
)
