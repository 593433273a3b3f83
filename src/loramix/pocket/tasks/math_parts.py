"""How people tell a sum in their own words: what happened, then what they want to know.

Any facts of a story go with any of its questions, so neither says who acts or asks. Slots as in
`math_phrases`, and {k} kin or friends, {K} the same at a sentence's start, {h}, {g} and {o} he, his
and him or her, {u} a currency. Of every list each sixth entry belongs to the test set alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from loramix.pocket.words import phrases


@dataclass(frozen=True)
class Story:
    """Facts and the questions that fit all of them."""

    facts: list[str]
    asks: list[str]


KIN = phrases("""
my daughter | my brother | my mother | a friend | my neighbor | my cousin | my son | my sister
my wife | my husband | the boy next door | my uncle | my grandma | our teacher | my boss
my roommate | a colleague | my aunt
""")
CURRENCIES = phrases("dollars | euros | pounds | coins | francs | cents | bucks | crowns")

# What may stand before a story without changing it.
OPENINGS = phrases("""
I'm sorting my {t}. | We have a party on {d}. | I work in a shop in {c}. | This is about {t}. | {K} collects {t}.
I moved to {c} last month. | We are cleaning the house. | There's a market in {c} today. | It is {d} and I'm at work.
My school has a fair. | I love {t}. | We are planning a trip to {c}. | {p} and {q} are friends. | It's about our garden.
I run a small stall. | {K} asked me something. | Let's talk about {t}. | I'm writing a list. | We went to {c} on {d}.
I was at the store with {k}. | Our club is busy. | Picture this. | I do this every {d}. | {p} lives in {c}.
""")

_TOTAL_ASKS = phrases("""
How many {t} is that? | How many {t} is that [in total/altogether/in all]? | What's the total?
How many does that make? | So how many {t} in all? | What does that add up to? | How many altogether?
What is the total number of {t}? | How many {t} in total? | Can you tell me the total?
I'd like to know how many {t} that is. | How many {t} would that be? | So what's the total?
That makes how many {t}? | What is the sum? | And altogether? | How many {t} does that make?
Please tell me the total. | How many is that [in all/in total/altogether]? | I need the total.
What would the total be? | What number is that in total? | Total number of {t}? | How many {t}, all told?
What is that in total? | That's how many {t}? | How many {t} are we talking about?
""")
_AMOUNT_ASKS = phrases("""
How much is that [in total/altogether/in all]? | What's the total? | What does that come to?
How much is it all together? | What is that in total? | What do I get if I add that up?
So how much is it? | How much does that make? | Can you tell me the total? | Total?
What's that altogether? | How much would that be? | And in total? | What does it add up to?
Please tell me how much that is in total. | I need to know the total. | So the total is?
How much is that, all told? | That's how much altogether? | That makes how much?
""")

SUM = (
    Story(
        phrases("""
I have {a} {t} and {k} has {b}. | I had {a} {t} and [bought/got/found/picked up/made] {b} more.
We had {a} {t}, then {k} brought {b} more. | {K} gave me {b} {t} and I already had {a}.
My [bag/basket/drawer] has {a} {t} in it, {k}'s has {b}. | We sold {a} {t} on {d} and {b} the day after.
Our [shop/stall/bakery] sold {a} {t} this week and {b} last week. | You have {a} {t} and get {b} more.
I counted {a} {t} upstairs and {b} downstairs. | There are {a} {t} in the kitchen plus {b} in the garage.
I packed {a} {t} yesterday and another {b} today. | {K} and I have {a} and {b} {t}.
They ordered {a} {t} and later {b} more. | {p} brings {a} {t} to the party and I bring {b}.
Say I have {a} {t} and you give me {b} of yours. | {a} {t} from {k}, {b} {t} from {q}.
We lost {a} {t} on {d} and {b} on the way back. | {K} made {a} {t}, and I made {b}.
First we got {a} {t}. After that came {b} more. | I need {a} {t} for {d} and {b} for the weekend.
We threw out {a} {t} this morning and {b} tonight. | My class made {a} {t}, the other class {b}.
{a} {t} are on the table and {b} are under it. | {p} wants {a} {t} and {q} wants {b}.
There were {a} {t} in one bag and {b} in the other. | Our first order was {a} {t}, our second {b}.
I've got {a} {t} already and {b} are on their way. | In {c} I bought {a} {t}, at home another {b}.
{K} broke {a} {t} and I broke {b}. | To my {a} {t} {k} added {b}. | {a} {t}, then {b} more {t}.
I used {a} {t} for one project and {b} for the other. | {q} took {a} {t}, I took {b}.
One box has {a} {t} and the next one has {b}. | {a} of our {t} got wet on {d}, then {b} more. | {p} had {a} {t} and {h} found {b} more.
My {t} are in two bags, {a} in the first and {b} in the second. | {a} {t} were ready and {k} finished another {b}.
"""),
        _TOTAL_ASKS,
    ),
    Story(
        phrases("""
I paid {a} {u} for [lunch/shoes/the bus] and {b} {u} for [dinner/a hat/the train].
The [shirt/lamp/book] was ${a} and the [bag/cup/card] was ${b}. | We spent {a} {u} on food and {b} {u} on gas.
I ran {a} km on {d} and {b} km the next day. | I worked {a} minutes before lunch and {b} minutes after it.
{K} saved {a} {u} and I saved {b}. | We drove {a} miles, had a break, and drove another {b} miles.
One bag weighs {a} kg and the other {b} kg. | It takes {a} minutes by bus, then {b} minutes on foot.
The recipe needs {a} grams of sugar and {b} grams of butter. | My ticket costs ${a} and the hotel ${b}.
I earned {a} {u} this week and {b} {u} last week. | {p} gave {a} {u} for the gift, I gave {b}.
Our rope is {a} meters long and the new one is {b} meters. | Rent for the boat is {a} {u} plus {b} {u} for fuel.
I've studied {a} hours for math and {b} hours for French. | We used {a} liters of water in the morning and {b} at night.
The jacket costs {a} {u}, the trousers cost {b} {u}. | {a} {u} for me and {b} {u} for {k}.
"""),
        _AMOUNT_ASKS,
    ),
)
_LEFT_ASKS = phrases("""
How many {t} are left? | How many are left now? | How many {t} remain? | What remains? | So how many are left?
How many {t} are still there? | How many does that leave? | How many {t} does that leave? | And now?
What is left then? | How many {t} would be left? | How many {t} are left over? | What's left over?
How many are still left? | Can you tell me how many remain? | How many {t} should be left?
I'd like to know how many {t} are left. | The rest is how many {t}? | Number of {t} left?
How many {t} will be left then? | That leaves how many {t}? | How many {t} should still be there?
Please tell me how many {t} are left. | How many {t} is that now? | What is the rest?
""")
_LEFT_AMOUNT_ASKS = phrases("""
How much is left? | How much is left now? | How much remains? | What is left over? | So how much is left?
How much does that leave? | What's the rest? | How much will be left? | How much is still left?
Can you tell me how much is left? | How much would be left then? | That leaves how much?
Please tell me what remains. | I need to know how much is left. | And how much is there still?
""")
DIFFERENCE = (
    Story(
        phrases("""
I had {a} {t} and [lost/sold/ate/used/gave away] {b}. | I have {a} {t} and [give/lend/sell] {b} to {k}.
We had {a} {t} but {b} got [lost/broken/wet/stolen]. | {K} took {b} of my {a} {t}.
We made {a} {t} and {b} are gone already. | Our shop had {a} {t} this morning and sold {b} of them.
There were {a} {t} in the [fridge/attic/garage] and {k} took {b}. | You have {a} {t} and give {b} away.
I bought {a} {t}, but {b} of them were bad, so I threw those out. | My bag had {a} {t} in it and {b} fell out.
They brought {a} {t} and used up {b}. | {b} out of our {a} {t} went missing. | I dropped {b} of {a} {t} on the floor.
Yesterday we had {a} {t}. Today {k} sold {b}. | {p} gave me {a} {t} and I passed {b} on to {q}.
I started with {a} {t}. I've used {b} so far. | {K} ordered {a} {t} and sent {b} back.
Out of {a} {t} we packed {b}. | {K} had {a} {t}, then gave me {b}. | We picked {a} {t} and ate {b} on the way home.
My {a} {t} were on the shelf until {k} borrowed {b}. | Say you have {a} {t} and I take {b}.
We started the day with {a} {t} and {b} were sold by noon. | {a} {t} came in, {b} went out again.
{a} {t}, {b} of them used up. | {K} had {a} {t} ready for the party and the guests took {b}.
From our {a} {t} we need {b} for school. | Before the trip I had {a} {t}, and I left {b} in {c}.
{p} had {a} {t}, then {h} gave {b} to {k}. | {a} {t} were in our van and {b} fell off. | {p} lost {b} of {g} {a} {t}.
The kids had {a} {t} and they lost {b}. | I took {a} {t} to the market and sold {b} there.
{a} {t} came to our house and {b} went away again.
{b} of our {a} {t} fell down and broke.
{b} of my {a} {t} are missing.
We packed {b} out of {a} {t}.
I have sold {b} of the {a} {t} in my shop.
Our van had {a} {t} and we took out {b}.
"""),
        _LEFT_ASKS,
    ),
    Story(
        phrases("""
My wallet held {a} {u} until I paid {b} for [a book/stamps/a haircut]. | I have ${a} and pay ${b} for a ticket.
My [phone/car/bike] cost {a} {u} and I've paid back {b} {u}. | We have {a} minutes and {b} are over.
{K} had {a} {u} and gave me {b}. | The tank held {a} liters and we used {b}. | The road is {a} km and I walked {b} km of it.
We had a budget of {a} {u} and used {b} {u}. | There were {a} kg of flour and the baker used {b} kg.
I got {a} {u} for my birthday and spent {b} {u}. | The film is {a} minutes long and we've seen {b} minutes.
From a rope of {a} meters I cut off {b} meters. | Our account had ${a} and we took out ${b}.
I owe {k} {a} {u} and have paid {b}. | The trip is {a} miles and {b} miles are done.
"""),
        _LEFT_AMOUNT_ASKS,
    ),
)
PRODUCT = (
    Story(
        phrases("""
I have {b} boxes with {a} {t} in each. | We bought {b} packs of {t}, {a} in a pack. | I sell {a} {t} a day for {b} days.
We packed {b} bags, each with {a} {t}. | Our stall sells {a} {t} every hour and is open for {b} hours.
My shelf has {b} rows of {a} {t}. | {K} makes {a} {t} a day and works {b} days. | {b} of us have {a} {t} each.
There are {b} of us and each brings {a} {t}. | You get {a} {t} per box and buy {b} boxes.
We need {a} {t} for each table and have {b} tables. | {K} eats {a} {t} a week for {b} weeks.
I gave {a} {t} to each of my {b} cousins. | One crate is {a} {t}, and we ordered {b} crates.
Each kid gets {a} {t} and there are {b} kids. | {b} teams, {a} {t} per team. | Our order was {b} boxes of {a} {t}.
Every day {k} collects {a} {t}, and that goes on for {b} days. | {p} fills {a} {t} into a jar, and there are {b} jars.
For one gift bag I need {a} {t}, and I fill {b} gift bags. | They delivered {b} crates holding {a} {t} each.
In our class {b} pupils brought {a} {t} apiece. | We get {a} {t} a month, and {b} months have passed.
I put {a} {t} on every plate and there are {b} plates. | {K} sold {a} {t} at each of {b} markets.
A pack has {a} {t} and my order is {b} packs. | Per person we need {a} {t}, and {b} people are coming.
{p} finds {a} {t} a day and {h} keeps it up for {b} days. | {b} boxes, {a} {t} in each. | I ordered {b} sets, and a set is {a} {t}.
Each of my {b} friends owns {a} {t}. | They load {a} {t} on a truck, and there are {b} trucks.
I put {a} {t} in each bowl and there are {b} bowls.
Every table has {a} {t} on it, and we have {b} tables.
A set is {a} {t}, and we bought {b} sets.
Our {b} shelves hold {a} {t} each.
{K} picks {a} {t} a week for {b} weeks.
"""),
        _TOTAL_ASKS,
    ),
    Story(
        phrases("""
I bought {b} [shirts/books/mugs] at {a} {u} each. | One ticket is ${a} and we need {b}. | I get {a} {u} an hour and work {b} hours.
We drive {a} km an hour for {b} hours. | My pills cost {a} {u} a week and I take them for {b} weeks.
{K} saves {a} {u} every month for {b} months. | A bag weighs {a} kg and I have {b} bags like it.
I run {a} minutes a day, {b} days a week. | Each lesson takes {a} minutes and there are {b} lessons.
The hotel costs {a} {u} a night and we stay {b} nights. | One cup holds {a} grams and the recipe wants {b} cups.
Lunch is ${a} per person and there are {b} of us. | {b} meals, {a} {u} each. | We pay {a} {u} a day for {b} days.
Every lap is {a} meters and {k} runs {b} laps. | My plant grows {a} mm a day, and I watch it for {b} days.
Dinner is ${a} a person and we are {b} people.
Per month it is {a} {u}, for {b} months.
{K} pays {a} {u} every week for {b} weeks.
Per person it is {a} {u}, and there are {b} of us.
{b} tickets cost ${a} each.
"""),
        _AMOUNT_ASKS,
    ),
)
_EACH_ASKS = phrases("""
How many {t} for each? | How many {t} does each get? | How many for each one? | How many {t} each?
So how many {t} per person? | What does everyone get? | How many does each person get?
How many {t} will each of them get? | Can you tell me how many each one gets? | How many for one person?
What is each one's share? | How many {t} can each have? | Each gets how many? | How many {t} is that each?
How many {t} would one person get? | How many {t} go to each? | How many does one of them get?
Please tell me how many each gets. | How big is one share? | And for each? | That's how many {t} per head?
""")
_PER_ASKS = phrases("""
How many {t} are in each? | How many {t} in each one? | How many go in each? | How many {t} does one hold?
So how many in each? | How many {t} will be in one? | How many {t} belong in each? | What does each one hold?
How many {t} should each one have? | And in each one? | How many {t} do I put in each?
I need to know how many {t} go in one. | Each one has how many {t}?
""")
QUOTIENT = (
    Story(
        phrases("""
I want {b} [kids/nieces/friends] to share my {a} {t}. | We are {b} people and share {a} {t}. | {K} splits {a} {t} between {b} cousins.
There are {b} of us and {a} {t} to share. | {a} {t} for {b} people, all the same. | I want to give {a} {t} to {b} neighbors fairly.
My {b} nephews share {a} {t}, no one gets more than another. | You have {a} {t} and {b} friends, and all get the same.
{b} kids divide up {a} {t} fairly. | We won {a} {t} and there are {b} people on our team. | {a} {t} have to go around {b} pupils.
Our {b} workers get {a} {t} between them, in equal parts. | {K} hands out {a} {t} to a class of {b}.
{p} brought {a} {t} for the {b} of us. | {a} {t} split {b} ways. | Between {b} players we deal out {a} {t}.
We bought {a} {t} and want to share them among {b} families. | {a} {t} to be shared by {b} sisters.
I baked for {b} guests and made {a} {t}, the same for everybody. | With {b} children here, {k} shares out {a} {t}.
{p} has {a} {t} and wants {g} {b} friends to have the same number. | {a} {t}, {b} kids, same for all. | {b} people get {a} {t} in total, each as many.
I'm giving my {a} {t} to {b} people and nobody should get more than the others. | The {a} {t} of {k} are shared fairly by {b} people.
{b} people get {a} {t} and nobody gets more than the others.
The {b} of us get {a} {t} between us, in equal parts.
I give {a} {t} to {b} kids, the same to each.
"""),
        _EACH_ASKS,
    ),
    Story(
        phrases("""
I put {a} {t} into {b} [boxes/jars/drawers], the same in each. | We fill {b} bags with {a} {t}, all equally full.
My {a} {t} fit into {b} boxes evenly. | {K} packs {a} {t} in {b} equal boxes. | {a} {t} go into {b} baskets evenly.
I want to spread {a} {t} over {b} shelves evenly. | Our {a} {t} are in {b} equal piles. | We have {b} crates for {a} {t}, each with as many as the next.
{a} {t}, {b} boxes, the same number in all of them. | There are {b} rows and {a} {t}, every row has the same length.
You divide {a} {t} over {b} plates, the same on all. | {K} sorted {a} {t} into {b} groups of the same size.
"""),
        _PER_ASKS,
    ),
)
_PART_ASKS = phrases("""
How many is that? | How many {t} is that? | So how many {t} is that? | How many would that be?
How many {t} are we talking about? | What number is that? | How many {t} does that make? | That's how many?
Can you work out how many that is? | How many {t} would that be? | What does that come to?
I'd like to know how many {t} that is. | And as a number? | So how many? | Please tell me how many {t} that is.
How many exactly? | In numbers? | How many of them is that?
""")
PERCENT = (
    Story(
        phrases("""
I have {a} {t} and {x}% of them are [broken/red/new/mine]. | We sold {x}% of our {a} {t}. | {K} gets {x} percent of my {a} {t}.
Out of {a} {t}, {x}% got [lost/wet/stolen]. | Our shop ordered {a} {t} and {x} percent came late.
Of our {a} {t} we gave away {x}%. | {x}% of my {a} {t} are from {k}. | You own {a} {t} and {x} percent are old.
We packed {x} percent of {a} {t} so far. | {p} counted {a} {t}, and {x}% had a crack. | My {a} {t}: {x}% are at home.
{x} percent of the {a} {t} in our garage belong to {q}. | I used {x}% out of {a} {t}. | {K} had {a} {t} and lost {x} percent of them.
"""),
        _PART_ASKS,
    ),
    Story(
        phrases("""
The [bike/sofa/coat] costs {a} {u} and I get {x}% off. | I earn {a} {u} and pay {x}% tax. | We save {x} percent of our {a} {u}.
A ticket for {a} {u} is reduced by {x}%. | {K} gives {x}% of {a} {u} to charity. | I want to leave a tip of {x}% on a bill of {a} {u}.
My rent is {a} {u} and it goes up by {x}%. | The shop takes {x} percent off a price of {a} {u}.
I have to pay {x}% of {a} {u} right now. | {p} spends {x}% of {a} {u} on food. | Our fee is {x}% of {a} {u}.
"""),
        phrases("""
How much is that part? | What are the {x}% in {u}? | How many {u} is that part? | So what is {x} percent of {a}?
How many {u} are the {x}%? | What does {x}% of it come to? | Can you work out {x}% of {a}?
I need to know how many {u} the {x}% are. | How much would {x} percent be? | {x}% is how much here?
Please tell me what {x}% of {a} is. | The {x} percent are how many {u}?
"""),
    ),
    Story(
        phrases("""
{x}% of the {a} people on our [street/team/bus] are from {c}. | {a} guests were invited and {x}% of them came late.
In my class of {a} pupils {x} percent were sick on {d}. | {a} people came to our [concert/market] and {x}% of them paid.
{x} percent of {a} voters said yes. | Out of {a} visitors, {x}% came by train. | I asked {a} people and {x} percent liked it.
My [company/school] has {a} people and {x}% work in {c}. | {x} percent of our {a} customers live in {c}.
The hall has {a} seats, and {x}% are taken. | A zoo in {c} has {a} animals and {x}% are birds.
{x}% of the {a} rooms in the hotel are empty. | We wrote to {a} people and {x} percent wrote back.
"""),
        phrases("""
How many is that? | So how many is that? | How many would that be? | What number is that? | That's how many?
Can you work out how many that is? | What does that come to? | I'd like to know how many that is.
And as a number? | So how many? | Please tell me how many that is. | How many exactly? | In numbers?
"""),
    ),
)
PARTS: dict[str, tuple[Story, ...]] = {
    "sum": SUM, "difference": DIFFERENCE, "product": PRODUCT, "quotient": QUOTIENT,
    "percent": PERCENT,
}  # fmt: skip

# Sums asked for in words, with nothing told around them.
WORDED: dict[str, list[str]] = {
    "sum": phrases("""
~Add {a} and {b}. | What do {a} and {b} make? | ~Add {b} to {a}. | What is {b} more than {a}?
What's the sum of {a} and {b}? | ~Add up {a} and {b}. | {a} and {b} together is what? | {a} and {b} make how much?
If I add {b} to {a}, what do I get? | I have {a} and add {b}. What do I have? | How much are {a} and {b} together?
~Put {a} and {b} together. | {b} added to {a} gives? | ~Find the sum of {a} and {b}. | sum: {a} and {b}
What do you get when you add {a} and {b}? | {a} and then {b} more. What is that? | What is {a} increased by {b}?
The two numbers are {a} and {b}. What is their sum? | Which number is {b} bigger than {a}? | total of {a} and {b}
I add two numbers, {a} and {b}. What comes out? | ~Tell me the total of {a} and {b}. | {a} [euros/dollars] and {b} [more/on top], how much is it?
{a} increased by {b} is what?
~Increase {a} by {b}.
How much is {a} plus {b} more?
{a} [euros/dollars] and {b} more makes?
I have {a} and get {b} on top. How much is it?
Which sum do {a} and {b} have?
~Put {b} on top of {a}.
"""),
    "difference": phrases("""
~Subtract {b} from {a}. | ~Take {b} away from {a}. | What is {b} less than {a}? | What is {a} take away {b}?
What's the difference between {a} and {b}? | How much more is {a} than {b}? | ~Take {b} off {a}. | {a} take away {b}
If I take {b} from {a}, what do I get? | What do I have to add to {b} to get {a}? | How far is it from {b} to {a}?
{b} from {a} leaves how much? | By how much is {a} bigger than {b}? | I have {a} and take away {b}. What do I get?
How much smaller is {b} than {a}? | ~Find the difference of {a} and {b}. | What must be added to {b} to make {a}?
{a} reduced by {b} is what? | What is left of {a} after taking {b}? | ~Tell me the difference between {a} and {b}.
What is {a} less {b}? | How much is missing from {b} to {a}? | difference between {a} and {b} | From {b} up to {a}, how much is it?
What is {a} reduced by {b}?
~Reduce {a} by {b}.
{a} with {b} taken off is what?
How much is it from {b} up to {a}?
If {b} comes off {a}, what remains?
What do I get for {a} if {b} is taken off?
{b} away from {a} leaves what?
"""),
    "product": phrases("""
~Multiply {a} by {b}. | What do I get if I multiply {a} and {b}? | What is {b} times {a}? | What would {b} times {a} be?
What's the product of {a} and {b}? | {b} times {a} is how much? | ~Find the product of {b} and {a}. | {a} multiplied by {b}
How much is {b} times {a}? | What is {a} multiplied by {b}? | I multiply {a} by {b}. What comes out? | {b} lots of {a}
~Work out {b} times {a}. | product of {a} and {b} | What are {b} groups of {a}? | If I take {a} [{b} times/times {b}], what is it?
~Multiply {b} with {a}. | {b} times {a}, how much? | What do {b} times {a} make? | ~Tell me what {b} times {a} is.
The two numbers are {a} and {b}. What is their product? | What does {a} times {b} come to? | ~Calculate {b} times {a}.
I need {b} times {a}.
How much are {b} lots of {a}?
{b} times {a} makes what?
{a} taken {b} times is what?
"""),
    "quotient": phrases("""
~Divide {a} by {b}. | How often does {b} go into {a}? | How often does {b} fit into {a}? | What do I get if I divide {a} by {b}?
{b} goes into {a} how many times? | ~Split {a} into {b} equal parts. How big is each? | How much is {a} over {b}?
How many times is {b} in {a}? | What is {a} over {b}? | {a} split {b} ways is what? | I divide {a} by {b}. What comes out?
How many {b}s are in {a}? | What's the quotient of {a} and {b}? | {b} into {a} goes how often? | Which number times {b} is {a}?
What times {b} makes {a}? | ~Share {a} by {b}. | How often can I take {b} from {a}? | ~Find the quotient of {a} and {b}.
If {b} equal parts make {a}, how big is one? | What number do I multiply by {b} to get {a}? | What is {a} shared by {b}?
How many times can I take {b} away from {a}?
~Cut {a} into {b} equal parts. How big is one?
How many {b}s fit into {a}?
How often is {b} taken from {a} until nothing is left?
~Split {a} by {b}.
"""),
    "percent": phrases("""
How much is {x}% of {a}? | What are {x} percent of {a}? | ~Take {x}% of {a}. | {a}, and {x}% of it? | Out of {a}, how much is {x}%?
How much would {x}% out of {a} be? | If {a} is all of it, how much is {x}%? | I need {x} percent from {a}. | {x} % of {a} is what?
What does {x}% of ${a} come to? | If I take {x}% of {a}, what do I get? | {x} percent of {a} gives how much? | {x} percent of {a}
~Find {x} percent out of {a}. | My bill is {a} and I want {x}% of it. How much? | From {a} I want {x}%. How much is it?
Which number is {x}% of {a}? | {a} is everything. What is {x} percent of it? | ~Work out how much {x}% of {a} is. | {a} times {x}% is what?
Let's say I have {a}. What is {x}% of that? | ~Tell me how much {x} percent of {a} is. | {x}% from {a}, how much?
"""),
}
