"""Two people's things in a passage, and what they make together or how far they are apart.

{p} and {q} are people, {t} what they have, {a} how many. Where the counts are to be taken apart,
{p} has more.
"""

from __future__ import annotations

import random

from loramix.data import Example
from loramix.pocket import words
from loramix.pocket.tasks import math_working, qa
from loramix.pocket.tasks.phrasing import request
from loramix.pocket.words import Split, phrases, pool

HAVE = phrases("""
{p} has {a} {t} | {p} owns {a} {t} | {p} keeps {a} {t} | {p} counts {a} {t}
In the cupboard {p} has {a} {t} | {p} holds {a} {t}
{p} has got {a} {t} | {p} bought {a} {t} | {p} found {a} {t} | On the table {p} has {a} {t}
{p} brought {a} {t} | {p} stores {a} {t} at home
{p} collected {a} {t} | At home {p} has {a} {t} | {p} was given {a} {t} | {p} packed {a} {t}
{p} picked {a} {t} | {p} carries {a} {t} | There are {a} {t} in the bag of {p} | {p} won {a} {t}
{p} takes care of {a} {t} | {p} made {a} {t} | {p} ordered {a} {t} | {p} is left with {a} {t}
""")
TOGETHER = phrases("""
How many {t} do {p} and {q} have together? | How many {t} is that in total?
What is the total number of {t} of {p} and {q}? | {p} and {q} have how many {t} in all?
Add the {t} of {p} and {q}: how many? | How many {t} do both have in all?
How many {t} do {p} and {q} own in total? | What do the {t} of {p} and {q} add up to?
How many {t} are there if {p} and {q} put theirs together? | Count the {t} of both: how many?
{p} and {q} together have how many {t}? | What is the sum of the {t} of {p} and {q}?
How many {t} are there altogether? | Combined, how many {t} do {p} and {q} have?
Altogether, {p} and {q} have how many {t}? | How many {t} do the two have in total?
How many {t} would {p} have with those of {q} added? | Sum up the {t} of {p} and {q}.
Give the total of the {t} of both. | How many {t} in all? | What is the sum of both numbers of {t}?
How big is the pile of {t} if {p} and {q} share it? | How many {t} do they have between them?
Taken together, how many {t} are these? | What number of {t} do {p} and {q} hold jointly?
{p} gives all {t} to {q}. How many does {q} have then? | Work out the total number of {t}.
If all {t} are counted, how many are there? | How many {t} have {p} and {q} in sum?
Tell me how many {t} both own altogether. | All {t} of {p} and {q}: how many?
What would you get by adding the {t} of {p} to those of {q}? | How many {t} does the pair have?
Find the sum of the {t} that {p} and {q} have. | In all, how many {t} do {p} and {q} have?
The {t} of {p} plus the {t} of {q} make how many? | Both of them together: how many {t}?
Add up the {t} of both. | What is the total of the {t}? | The sum of all {t}, please.
What do you get if you add the {t} of {q} to the {t} of {p}? | What is the joint number of {t}?
The {t} of both, added up: how many? | How many {t} does that make in total?
{p} has {t} and {q} has {t}. How many is that in sum? | How many {t} are with {p} and {q} in all?
What is the number of all {t}? | What total do the {t} of {p} and {q} give?
{p} plus {q}: how many {t}? | How many {t} will there be if both put them on one heap?
How many {t} do {p} and {q} have altogether? | Count up all the {t}. | How many {t} as a sum?
Both put their {t} into one box. How many {t} are in it? | What is the whole number of {t}?
Together, how many {t} is that? | How many {t} have the two between them, all in all?
Add those of {q} to those of {p}: how many {t}? | Give me the sum of the two numbers of {t}.
How many {t} do {p} and {q} count jointly? | Say how many {t} there are with both added.
If {q} gives every one to {p}, how many {t} has {p}? | Total the {t} of {p} and {q}.
[What/How much] is the [sum/total] of the {t} of {p} and of {q}? | [Sum/Total] of the {t} of {p} and {q}?
What [sum/total] do you get for the {t} of [{p} and {q}/both]? | ~Give the [sum/total] of the {t} that [{p} and {q}/both] have.
~[Work out/Compute/Find] the [sum/total/total number] of the {t} of {p} and {q}.
~[Tell me/Say] what the {t} of {p} and {q} [come to/amount to/make] [together/in sum/in all].
If you [add/put together/count together] the {t} of {p} and the {t} of {q}, what do you get?
How many {t} does it make [together/in sum/in all/altogether]? | [Together/In all/In sum/All told], how many {t} have {p} and {q}?
{p} and {q} [merge/pool/combine] their {t}. How many are there? | How many {t} would they have if they [pooled/merged/combined] them?
{t} of {p} and {q}, [added/summed/combined]? | How many {t} are owned by {p} and {q} [together/combined]?
~[Add/Sum/Count] [all/all the] {t} [in the text/that are mentioned]. | How many {t} are [named/counted/mentioned] in all?
With the {t} of {q} on top of those of {p}, how many are there? | How many {t} if {p} gets all the {t} of {q} on top?
{q} [hands/passes/gives] over all the {t} to {p}. How many {t} does {p} hold [then/now]?
{p} [gets/takes/receives] the {t} of {q} as well. How many {t} has {p} [then/now]?
What is [{p} plus {q}/{q} plus {p}], in {t}? | [{p} and {q}/{q} and {p}] added, how many {t}?
How [many/big/large] is the [total/sum] of {t}? | The [total/whole/sum] of {t}, please. | [Total/Sum] {t}?
How many {t} can {p} and {q} [use/share/offer/sell] [together/between them]?
~[Put/Bring/Lay] the {t} of both [on one table/in one bag/together] and [count/tell me how many].
What number do the {t} of {p} and {q} [give/make/reach] when they are [added/put together]?
How many {t} does a [bag/box/cart] hold that has those of {p} and those of {q}?
I want to know how many {t} {p} and {q} have [together/altogether/in total]. | How many {t} have they [all in all/in total/as a team]?
~[Count/Say] how many {t} [there are/they have], [{p} and {q} taken together/both counted].
The number of {t} of {p}, increased by that of {q}? | What do you get if {p}'s {t} are added to {q}'s?
How many {t} do [the two of them/they both/these two] have [together/as a whole]?
[{p}'s and {q}'s/{q}'s and {p}'s] {t} [together/in total]: how many? | {p}'s {t} and {q}'s {t}, what is the [sum/total]?
How many {t} stand [in both places/with one or the other], all counted?
To how many {t} do those of {p} and {q} add up? | To what [sum/total/number] do the {t} of both come?
If {p} and {q} throw their {t} together, how many {t} are [in the heap/there]?
~[Calculate/Determine] how many {t} [both/the two/{p} and {q}] have [in all/together].
How many {t} are [brought/held/owned] by the two in [total/sum]? | What's the [overall/full/entire/complete] number of {t}?
With everything [added/counted in], how many {t} are there? | [Both/The two] together: what number of {t}?
{p}'s {t} [plus/added to/together with/and] {q}'s {t} [make/are/give] how many? | [{p} + {q}/{q} + {p}], how many {t}?
How many are the {t} of {p} plus [those/the {t}] of {q}? | [Adding/Summing] the {t} of {p} and {q}, what [comes out/do you get]?
The {t} of {q} [are added/come] to the {t} of {p}. How many [is that/are they]? | {p} plus {q} in {t}, please.
What does [adding/summing up] [both counts/both numbers/the two counts] of {t} give? | ~[Add/Sum up] both [counts/numbers] of {t}.
~Do the [sum/addition]: {t} of {p}, {t} of {q}. | [Number/Count] of {t} of both, [added up/as one sum]?
The [sum/total] of what {p} and {q} have in {t} is [what/how much]? | What is the [sum/total] of [all/all these] {t}?
~[Join/Unite/Bring together] the {t} of {p} and {q}. How many [are they/is that/are there]?
What [joint/common/shared] [number/sum/stock] of {t} do [{p} and {q}/the two] have?
If the {t} of {p} are [added/joined] to those of {q}, how many {t} [are there/do you count]?
""")
APART = phrases("""
How many more {t} does {p} have than {q}? | By how many {t} is {p} ahead of {q}?
What is the difference between the {t} of {p} and {q}? | How many {t} more has {p} than {q}?
Compute how many more {t} {p} has than {q}. | {p} has how many {t} more than {q}?
How many fewer {t} does {q} have than {p}? | How many {t} does {q} lack to have as many as {p}?
By how many {t} does {p} beat {q}? | What is the gap between the {t} of {p} and {q}?
How many {t} more does {p} own than {q}? | {q} has how many {t} fewer than {p}?
How many {t} must {q} get to have as many as {p}? | {p} exceeds {q} by how many {t}?
How many extra {t} does {p} have compared with {q}? | How many {t} is {q} short of {p}?
Subtract the {t} of {q} from those of {p}. | By what number of {t} is {q} behind {p}?
How much larger is the number of {t} of {p} than that of {q}? | How many {t} apart are {p} and {q}?
How many {t} less than {p} does {q} have? | {p} has more {t} than {q}. How many more?
{q} has fewer {t} than {p}. How many fewer? | Find the difference in {t} between {p} and {q}.
What is left if the {t} of {q} are taken from those of {p}? | How many {t} more than {q} has {p}?
Compared with {q}, {p} has how many more {t}? | Compared with {p}, {q} has how many fewer {t}?
How many {t} does {p} have beyond what {q} has? | {q} needs how many more {t} to reach {p}?
How many {t} would {p} have to lose to have as many as {q}? | How many {t} fewer than {p} has {q}?
Tell me by how many {t} {p} leads {q}. | How many {t} more do you find with {p} than with {q}?
Work out how many {t} {q} lacks compared with {p}. | By how many {t} does {q} trail {p}?
By how many {t} is {p} in the lead? | What is the gap in {t} between {p} and {q}?
Take the {t} of {q} away from the {t} of {p}: how many are left? | How many fewer {t} has {q}?
The {t} of {p} minus the {t} of {q} make how many? | What is {p} minus {q} in {t}?
How many {t} is {p} ahead of {q}? | How many {t} is {q} behind {p}? | How many more {t} has {p}?
By what margin of {t} does {p} lead {q}? | How large is the difference in the number of {t}?
How many {t} does {q} miss to come up to {p}? | {q} has less {t} than {p}. How many less?
What is the difference of their {t}? | By how many {t} does {p} outdo {q}?
How many {t} would {q} still need to have what {p} has? | How many {t} more than {q} does {p} own?
How many of the {t} of {p} are more than {q} has? | How far is {q} behind {p}, in {t}?
Say how many more {t} {p} has than {q}. | Say how many fewer {t} {q} has than {p}.
Give me the difference between the {t} of {q} and of {p}. | How many {t} does {q} lag behind {p}?
What must {q} add to have as many {t} as {p}? | How many {t} does {p} have on top of what {q} has?
By how many {t} is the number of {q} below that of {p}? | How many {t} too few has {q} for {p}?
[What/How much] is the [difference/gap] of the {t} of {p} and of {q}? | [Difference/Gap] of the {t} of {p} and {q}?
What [difference/gap] do you get for the {t} of [{p} and {q}/both]? | ~Give the [difference/gap] of the {t} that [{p} and {q}/both] have.
~[Work out/Compute/Find] the [difference/gap/distance] of the {t} of {p} and {q}.
~[Tell me/Say] what the {t} of {p} and {q} [differ by/are apart].
If you [subtract/take off/take away] the {t} of {q} from the {t} of {p}, what do you get?
How many {t} does {p} have [in excess/too many/to spare] [if {q} is the measure/compared to {q}]?
[Against/Next to/Compared to] {q}, how many {t} more has {p}? | [Against/Next to/Compared to] {p}, how many {t} fewer has {q}?
{p} [loses/drops/sells] as many {t} as {q} has. How many are left to {p}? | How many {t} would {p} keep after giving away as many as {q} has?
{t} of {p} and {q}, [subtracted/compared], what is the difference? | How many {t} lie between [{p} and {q}/the two]?
~[Subtract/Take away/Deduct] [the smaller/the lower] number of {t} from the [larger/higher] one.
By how many {t} [is {p} richer than {q}/is {q} poorer than {p}/do {p} and {q} differ]?
{q} [wants/tries] to [catch up with/come level with/equal] {p}. How many {t} [are missing/does it take]?
{p} is [in front/on top/first] with the {t}. By how many? | {q} [comes second/lies behind/is second] with the {t}. By how many?
What is [{p} less {q}/{p} without as many as {q} has], in {t}? | [{q} taken from {p}/{p} reduced by {q}], how many {t}?
How [many/big/large] is the [difference/gap/lead] in {t}? | The [difference/gap/lead] in {t}, please. | [Difference/Gap] in {t}?
How many [more/additional/extra] {t} [does {q} want/are needed for {q}] to be [even/level/equal] with {p}?
~[Compare/Set side by side] the {t} of {p} and {q}: how many more has {p}?
What number is left when the {t} of {q} are [subtracted/taken off] from those of {p}?
How many {t} does {p} have that {q} cannot match? | How many {t} is {p} [over/above] {q}? | How many {t} is {q} [under/below] {p}?
I want to know how many {t} {p} has [more than {q}/beyond {q}]. | I want to know how many {t} {q} has [less than {p}/fewer than {p}].
~[Count/Say] how many {t} {p} has [too many/in addition] to be [even/level] with {q}.
The number of {t} of {p}, decreased by that of {q}? | What do you get if {q}'s {t} are subtracted from {p}'s?
How many {t} do [the two of them/they both/these two] differ by? | How unequal are they, in {t}?
{p}'s {t} minus {q}'s {t}: how many? | {p}'s {t} and {q}'s {t}, what is the [difference/gap]?
How many {t} of {p} have no partner among those of {q}? | If each of {q}'s {t} is paired with one of {p}'s, how many stay single?
By how many {t} do those of {p} [top/outnumber/surpass] those of {q}? | By what [number/amount] of {t} does {p} [surpass/outnumber/top] {q}?
If {q} borrows {t} until both have the same, how many {t} are borrowed?
~[Calculate/Determine] how many {t} [{p} has more/{q} has less].
How many {t} more are [brought/held/owned] by {p} than by {q}? | What's the [surplus/lead/advantage] of {p} in {t}?
With {q}'s number taken off, how many {t} has {p}? | [{q} is short/{q} falls short] by how many {t}, with {p} as the measure?
{p}'s {t} [minus/less/without] [as many as {q} has/{q}'s {t}] [make/are/give] how many? | {p} - {q}, how many {t}?
How many are the {t} of {p} minus [those/the {t}] of {q}? | [Subtracting/Deducting] the {t} of {q} from those of {p}, what [comes out/do you get]?
The {t} of {q} [are taken/go] off the {t} of {p}. How many [is that/are left]? | {p} minus {q} in {t}, please.
What does [subtracting/deducting] [the smaller count/the lower number] of {t} give? | ~[Subtract/Deduct] the [lower/smaller] [count/number] of {t}.
~Do the [difference/subtraction]: {t} of {p}, {t} of {q}. | [Number/Count] of {t} of both, [subtracted/as a difference]?
The [difference/gap] of what {p} and {q} have in {t} is [what/how much]? | By how many {t} does {q} [lag/fall] behind?
{q} [trails/follows/lags behind] {p} with how many {t} [less/fewer]? | How many {t} [more/extra] must {q} [find/buy/get] to [match/reach] {p}?
What [distance/difference/margin] in {t} [is there between/separates] [{p} and {q}/the two]?
If the {t} of {q} are [subtracted/taken away] from those of {p}, how many {t} [are there/do you count]?
""")


def draw(rng: random.Random, split: Split) -> Example:
    """A passage that holds two counts, and a question that takes both and a sum."""
    more = rng.random() < 0.5
    while True:
        a, b = rng.randint(2, 60), rng.randint(2, 60)
        if (not more or a > b) and words.bucket((more, a, b)) == split:
            break
    p, q = rng.sample(pool(words.FIRST, split), 2)
    thing = rng.choice(pool(words.THINGS, split))
    have = pool(HAVE, split)
    sentences = [
        rng.choice(have).format(p=p, a=a, t=thing) + ".",
        rng.choice(have).format(p=q, a=b, t=thing) + ".",
    ]
    for name in (p, q):
        kind = rng.choice(("city", "job", "hobby"))
        fact = rng.choice(pool(qa.PERSON[kind].facts, split))
        sentences.append(fact.format(s=name, v=qa.PERSON[kind].value(rng, split)) + ".")
    counts = {sentences[0]: (p, a), sentences[1]: (q, b)}
    rng.shuffle(sentences)
    ask = request(rng, split, APART if more else TOGETHER, p=p, q=q, t=thing)
    result = a - b if more else a + b
    # what is read comes in the order of the passage; which of the two is more is for the maths
    read = [counts[sentence] for sentence in sentences if sentence in counts]
    facts = ", ".join(f"{name} {count}" for name, count in read)
    # The larger one comes first either way: its first token would else have to be written before
    # it is known whether to add or to subtract.
    work = math_working.subtract if more else math_working.add
    working = work(max(a, b), min(a, b))
    return Example(
        prompt=qa.lay_out(rng, split, " ".join(sentences), ask),
        completion=f"{facts}. {working}\nAnswer: {result}",
        meta={
            "task": "computed_answer", "answer": [result], "needed": [a, b],
            "skills": {"qa": 0.5, "math": 0.5},
        },
    )  # fmt: skip
