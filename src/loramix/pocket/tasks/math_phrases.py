"""How people ask for a sum: in symbols, as an equation, as a story.

{x} is a formula; in stories {a} and {b} are its numbers, {p} and {q} people, {t} things, {d} a day,
{c} a city, and the others as in `math_parts`. Every sixth pattern belongs to the test set alone.
The BRIEF ones come first in each list: they are few enough to be learned in minutes.
"""

from __future__ import annotations

from loramix.pocket.words import phrases

CALCULATE_BRIEF = phrases("""
What is {x}? | ~Calculate {x}. | ~Work out {x}. | ~Compute {x}. | How much is {x}? | {x} = ? | {x}
~Find {x}. | ~Evaluate {x}. | What do you get for {x}? | What does {x} equal? | ~Solve {x}.
~Tell me what {x} is. | Result of {x} | ~Figure out {x}. | What's {x}? | What is the value of {x}?
~Give me the result of {x}.
How much do I get for {x}? | ~Do the sum: {x} | I need the value of {x}. | {x} equals what?
{x} is what?
~Help me with {x}. | Quick: {x} | ~Take {x}. What comes out? | {x} makes | Answer this: {x}
Can you do {x}? | {x}, please.
And {x}? | So what is {x}? | ~Give the value of {x}. | {x}: what is it? | Do you know {x}?
I want to know {x}.
""")
CALCULATE = CALCULATE_BRIEF + phrases("""
What would {x} be? | Is it possible to tell me {x}? | I keep getting {x} wrong. What is it? | What does {x} give? | ~Let me know what {x} is.
My calculator is broken. {x}? | What number do I get from {x}? | {x}, how much is that? | ~Check {x} for me. | I can't do {x} in my head.
I need to know {x}. | How much would {x} be? | ~Do {x} for me. | So {x} is how much? | The answer to {x}? | {x} comes to what?
Any idea what {x} is? | We have to work out {x}. | {x}: how much? | Need the answer to {x} | I want the answer to {x}. | ~Give me {x}.
Could someone tell me what {x} is? | {x} will be? | What is the answer to {x}? | My son asks what {x} is. | ~Say what {x} is.
What result does {x} have? | Stuck at {x} here. | I typed {x}. What should come out? | {x} is equal to? | ~Answer {x}.
The sum on the board is {x}. What is it? | Our task is {x}. | Help, what is {x}? | On my sheet it says {x}. How much is it?
""")
SOLVE_BRIEF = phrases("""
~Solve {x}. | ~Solve the equation {x}. | ~Find x if {x}. | What is x in {x}? | ~Solve for x: {x}
{x}, what is x? | If {x}, what is x? | ~Find the [solution/solutions] of {x}. | For which x is {x}?
~Work out x from {x}. | ~Determine x: {x} | ~Find all x with {x}. | What are the solutions of {x}?
~Solve this equation: {x} | x = ? when {x} | ~Compute x such that {x}. | ~Find the roots of {x}.
~Work out the [solution/roots] of {x}.
Which x solves {x}? | x from {x} | I need x: {x} | Which number is x in {x}?
The equation is {x}. Find x.
Given {x}, what is x? | Help me solve {x}. | ~Calculate x: {x} | {x}. Solve it.
Which x makes {x} true? | Equation: {x}
What value must x have in {x}? | ~Get x out of {x}.
{x}. What number is x? | {x}; x = ? | When {x}, which number is x? | {x}, so x is what?
Which numbers solve {x}?
With {x}, x is? | {x} - find x. | ~Solve for x if {x}. | How do I get x from {x}?
""")
SOLVE = SOLVE_BRIEF + phrases("""
{x}. What is the value of x? | {x}, so x = ? | I have {x} and want x. | I'm trying to solve {x}. What do I get? | What is the value of x if {x}?
What's x if {x}? | Can x be found from {x}? | {x} is given. What's x? | I don't get {x}. What is x? | ~Tell me x if {x}.
The equation on the board is {x}. How much is x? | What do I have to put for x in {x}? | {x}. x? | {x} what's x
In our book: {x}. What is x there? | My son has to solve {x}. | How much is x if {x}? | We know that {x}. What is x? | ~Give me x for {x}.
Suppose {x}. What's x? | {x}. Find x for me. | I got {x} in a test. What should x be? | Could you find x when {x}? | x please: {x}
How big is x when {x}? | Let {x}. What is x equal to? | ~Show me how to get x: {x} | If {x} then x is what? | value of x in {x}
{x} and I have to find x. | Solution of {x}? | {x}. I can't find x. | Which value of x fits {x}? | Stuck on {x}, what is x?
What number do I need for x so that {x}? | ~Find out what x is: {x} | Here is the equation: {x}. What is x? | {x}; I want to know x.
For {x}, x equals? | There's an equation, {x}, and I need x.
""")

GAIN_BRIEF = phrases("""
{p} has {a} {t} and [gets/buys/finds/makes/receives/picks/wins/earns] {b} more. How many {t} does {p} have now?
{p} had {a} {t}. Then {q} [gave/sent/brought/handed/sold] {p} {b} more. How many {t} are there now?
There are {a} {t} in a [box/drawer/basket/car] and {b} {t} in a [bag/shop/room/jar]. How many {t} are there in all?
{p} [has/owns/keeps/holds] {a} {t} and {q} [has/owns/brings/makes] {b}. How many {t} do they have together?
{p} [collected/counted/lost/broke/ate/used] {a} {t} on {d} and {b} the next day. How many {t} is that in total?
A shop sold {a} {t} in the morning and {b} in the afternoon. How many {t} did it sell?
{p} [bakes/makes/sells/packs/paints] {a} {t} before lunch and {b} after lunch. How many {t} is that altogether?
One [box/shelf/bag/car/table] holds {a} {t} and another holds {b}. What is the total?
{p} [found/lost/took/bought/dropped] {a} {t} and then {b} more. How many [is that/are they] in all?
There were {a} {t} on the [shelf/table/floor/farm]. {p} put {b} more there. How many {t} are on it now?
{p} [counted/sold/ate/carried/wrote] {a} {t} and {q} {b}. How many {t} is that for both?
On {d} {a} {t} arrived and later {b} more. How many {t} arrived in all?
{p} read {a} pages on {d} and {b} pages the day after. How many pages in total?
A [farmer/teacher/child/driver] picked {a} {t} in one [field/garden/town] and {b} in the other. How many were picked?
{p} [paid/spent/lost] {a} coins for {t} and {b} coins for bread. How many coins is that?
The first [bus/train/ship] carried {a} people, the second {b}. How many people did they carry?
If {p} has {a} {t} and {q} gives {p} {b}, how many {t} does {p} have?
{a} {t} are red and {b} {t} are blue. How many {t} are there altogether?
{p} [sold/used/gave away/broke/lost] {a} {t} on {d} and {b} on {d}. How many {t} is that altogether?
{a} {t} were [lost/left/sold/made] in {c} and {b} more on the way home. How many {t} is that in all?
{p} used {a} {t} at home and {b} at work. How many {t} did {p} use in all?
In the [morning/evening] {a} people came to the [museum/farm/school], at noon {b}. How many people came?
{p} ate {a} nuts, {q} ate {b}. How many nuts did they eat?
{a} {t} broke on {d} and {b} broke later. How many {t} broke in total?
A [baker/shop/farm/school] [sells/makes/buys/loses] {a} {t} early and {b} late. What is the number of {t}?
{p} [gave/sold/sent] {a} {t} to {q} and {b} to a neighbor. How many {t} did {p} [give/sell/send] away?
{a} {t} [lie/are/stand] in the [kitchen/hall], {b} in the [garden/street]. How many {t} are there?
{a} {t} are [old/big/ripe/clean] and {b} are [new/small/green/dirty]. How many {t} are there in all?
Besides {a} {t}, {p} [owns/has/finds] {b} {t} of another kind. How many {t} does {p} own?
The first shelf has {a} {t}, the second {b}. How many {t} do the shelves have?
{a} {t} are [here/at home/in the car] and {b} {t} are [there/at work/in the shop]. How many {t} are there?
{a} {t} belong to {p} and {b} {t} to {q}. How many {t} do they have in all?
{a} {t} came from {c} and {b} {t} from elsewhere. How many {t} came?
The [red/big/old] box has {a} {t}, the [blue/small/new] one {b}. How many {t} are in the boxes?
The upper drawer has {a} {t}, the lower one {b}. How many {t} do the drawers hold?
In one room there are {a} {t}, in another {b}. How many {t} do the rooms have together?
{a} [boys/workers] and {b} [girls/guests] are in the hall. How many people are there?
{a} {t} are [wet/heavy/round] and {b} {t} are [dry/light/long]. How many {t} is that altogether?
{p} has {a} {t} of wood and {b} {t} of glass. How many {t} has {p}?
The first day brought {a} {t}, the second {b}. How many {t} did the days bring?
Add {b} {t} to {a} {t}. How many {t} are there then?
Put {a} {t} and {b} {t} together. How many {t} is that?
""")
GAIN = GAIN_BRIEF + phrases("""
If I have {a} {t} and buy {b} more, how many do I have? | How many {t} do I have if I had {a} and {k} gave me {b}?
I had {a} {t}. Now I've [bought/found/got] {b} more, so how many do I have? | How many {t} do we need if {k} wants {a} and I want {b}?
You buy {a} {t} and then {b} more. How many do you have? | How many {t} are in my bag if I put in {a} and then {b}?
{K} is {a} years old. How old will {k} be in {b} years? | I am {a}. How old will I be {b} years from now?
My train takes {a} minutes and I wait {b} minutes before it. How many minutes is that? | I paid ${a} for {t} and ${b} for the taxi. How much did I pay?
What do I pay for a book at {a} {u} and a pen at {b} {u}? | How many {t} did our shop sell if it was {a} on {d} and {b} the next day?
We are {a} grown-ups and {b} kids. How many people are we? | My plant is {a} cm tall and grows {b} cm. How tall is it then?
In our school there are {a} teachers in one building and {b} in the other. How many teachers do we have?
It was {a} degrees and got {b} degrees warmer. How warm is it now? | {K} has {a} {t} and I have {b} more than that. How many do I have?
I packed {a} {t} and {k} packed {b}; how many did we pack? | With {a} {t} in the house and {b} in the yard, how many do we own?
A bus with {a} people on it picks up {b} more. How many are on it now? | I wrote {a} pages, and {b} are still to write. How long will the text be?
Yesterday I read {a} pages, today {b}. How many have I read? | How many {t} will I have when {b} are added to my {a}?
My {a} {t} plus the {b} of {k}: how many? | I owe {p} {a} {u} and {q} {b} {u}. How much do I owe?
{p} had {a} {t} before {k} came with {b}. How many {t} now? | Our team made {a} points, then {b} more. How many points do we have?
{p} picked {a} {t} and then {h} picked {b} more. How many has {h} picked? | {a} of my {t} broke last week, then {b} more. How many broke in all?
{p} had {a} {t} when {g} friend gave {o} {b} more. How many does {h} have? | At first {a} {t} were missing, now another {b}. How many are missing?
I'm packing {t}. The first box takes {a} of them, the second {b}. How many do both take? | We got {a} {t} on {d} and {b} more came today. How many did we get?
{a} {t}, and {b} more on top. How many now? | {a} {t} in one hand, {b} in the other, how many have I got? | {t}: {a} here, {b} there. How many?
The kids found {a} {t}, then they found {b} more. How many did they find? | At our school {a} kids take the bus and {b} walk. How many kids is that?
""")
LOSS_BRIEF = phrases("""
{p} has {a} {t} and [gives away/loses/sells/eats/breaks/uses/sends off] {b}. How many {t} are left?
{p} had {a} {t} and {q} [took/ate/bought/borrowed/got] {b} of them. How many {t} does {p} still have?
There were {a} {t} on a [table/shelf/wall/tree] and {b} fell off. How many {t} are still on the [table/shelf/wall/tree]?
A [shop/farm/baker/school] had {a} {t} and [sold/lost/used/gave away] {b} on {d}. How many {t} remain?
{p} needs {a} {t} and has {b}. How many more {t} does {p} need?
{q} brought {a} {t} and {b} were used. How many {t} are left over?
Of {a} {t}, {b} [broke/were eaten/got wet/were lost]. How many are [whole/left/dry/there]?
{p} had {a} coins and [spent/lost/paid] {b}. How many coins are left?
There are {a} {t}. {p} [eats/takes/sells/hides] {b} of them. How many {t} remain?
{p} [baked/made/picked/found] {a} {t}; {b} were [eaten/sold/given away]. How many are left?
If {p} has {a} {t} and [gives/sells/sends] {b} to {q}, how many does {p} keep?
A book has {a} pages and {p} has read {b}. How many pages are left to read?
{a} people were on the [train/bus/ship] and {b} got off. How many people are still on it?
{p} has {a} {t} and {q} has {b}. How many more {t} does {p} have than {q}?
A [box/bag/jar] held {a} {t} until {b} were taken out. What is left in it?
{p} wants to [sell/make/write/pack] {a} {t} and has done {b}. How many {t} are still to be done?
From {a} {t} {p} [throws/gives/takes] away {b}. How many {t} stay?
After losing {b} of {a} {t}, how many {t} does {p} have?
{p} [lost/sold/ate/gave away/used] {b} of the {a} {t}. How many are there still?
{b} of {a} {t} are [gone/broken/sold/red/old]. How many {t} are not?
Without {b} of the {a} {t}, how many {t} are there?
{p} [gave/sold/brought] {q} {b} of the {a} {t}. How many {t} has {p} now?
After [selling/eating/using/giving away/breaking] {b} {t}, how many of the {a} {t} does {p} still own?
Once {b} of {a} {t} are used, how many are left?
When {p} [eats/sells/loses] {b} of {a} {t}, how many stay?
{b} {t} fell out of a [box/bag/car] of {a}. How many {t} are in it now?
Before noon {p} had {a} {t}, by night {b} fewer. How many {t} were there at night?
{p} is {a} years old and {q} is {b}. How many years older is {p}?
{c} has {a} [parks/shops/schools] and {b} of them are closed. How many are open?
Take {b} {t} away from {a} {t}. How many {t} are there then?
Remove {b} {t} from {a} {t}. How many {t} stay?
Sell {b} of {a} {t}. How many {t} are left?
{p} takes {b} {t} [out of/from] a box with {a}. How many {t} stay in it?
Put {b} {t} aside from {a} {t}. How many {t} are left then?
{b} {t} are taken from {a} {t}. How many {t} are left?
Give {b} of your {a} {t} to {q}. How many {t} do you have then?
With {b} of {a} {t} sold, how many {t} are still there?
{q} takes {b} {t} away from the {a} {t} of {p}. How many {t} has {p} now?
{b} people leave a room of {a} people. How many people stay?
{p} cuts {b} {t} off a tree with {a} {t}. How many {t} stay on the tree?
Less {b}, how many of {a} {t} are there?
As {b} of the {a} {t} are old, how many are new?
""")
LOSS = LOSS_BRIEF + phrases("""
If I have {a} {t} and give {k} {b}, how many do I keep? | How many {t} do I have left if I had {a} and used {b}?
I need {a} {t} and only have {b}. How many more do I need? | I've got {b} {t}, but need {a}. How many are missing?
{K} has {a} {t} and I have {b}. How many more does {k} have? | How many {t} are left when {b} of our {a} are gone?
I have {a} {u} and the [book/ticket/cake] costs {b}. How much do I get back? | I pay with ${a} and it costs ${b}. What is my change?
You had {a} {t} and lost {b}. How many do you have now? | My [shirt/bag] was {a} {u} and is now {b} {u} cheaper. What does it cost?
{K} is {a} and I am {b}. How many years older is {k}? | I am {a} years old. How old was I {b} years ago?
There are {a} people in our class and {b} are sick. How many are here? | Of the {a} {t} we ordered only {b} came. How many are missing?
It was {a} degrees and got {b} degrees colder. How many degrees now? | We want to make {a} {t}. {b} are done, how many to go?
I weigh {a} kg and {k} weighs {b} kg. How much heavier am I? | The bus had {a} people, {b} got off at our stop. How many stayed on?
My book has {a} pages and I'm on page {b}. How many pages to go? | {K} ate {b} of the {a} {t} I made. How many did {k} leave?
Our table is {a} cm wide, the door {b} cm. How much wider is the table? | I saved {b} {u} and the bike costs {a} {u}. How much do I still need?
How many of my {a} {t} are left once I sell {b}? | We had {a} {t}, now there are {b} fewer. How many is that?
The drive takes {a} minutes and we've been driving for {b}. How many minutes more? | {K} and I had {a} {t}, but {b} broke. How many are fine?
I'm {a} steps from home and walk {b}. How many steps to go? | {p} scored {a} points and I scored {b}. By how many did {p} win?
{p} had {a} {t} but lost {b}. How many does {h} have now? | {p} made {a} {t} and {h} sold {b} of them. How many does {h} still have?
{a} {t}, minus {b} that got lost. How many? | {a} {t}, {b} eaten. How many left? | The kids had {a} {t}, then they ate {b}. How many do they have now?
I'm short of {t}: I need {a} and there are only {b}. How many are missing? | {b} of our {a} {t} were stolen, so how many do we have?
{p} bought {a} {t}. On the way home {h} dropped {b}. How many got home? | Our plan is {a} {t}, and we're at {b}. How many are missing?
If {b} out of {a} {t} are broken, how many are fine? | We invited {a} people and {b} can't come. How many come?
""")
GROUPS_BRIEF = phrases("""
There are {b} [boxes/rooms/tables/houses/boys] with {a} {t} each. How many {t} are there in all?
{p} [buys/finds/sells/carries] {b} bags of {t}. Each bag holds {a} {t}. How many {t} does {p} have?
{p} [packs/puts/finds] {a} {t} into each of {b} [boxes/bags/cars]. How many {t} are packed?
A [shop/school/farm/hall] has {b} [shelves/rows/tables] with {a} {t} on each. How many {t} is that?
{p} [makes/sells/eats/picks/reads] {a} {t} a day. How many {t} is that in {b} days?
Each of {b} children brings {a} {t}. How many {t} do they bring together?
One [bag/box/pack/car] holds {a} {t}. How many {t} are in {b}?
{p} has {b} [packs/jars/sets] of {a} {t}. How many {t} is that altogether?
A [ticket/book/lamp] costs {a} coins. What do {b} cost?
{p} [earns/gets/pays] {a} coins an hour. How much is it for {b} hours?
There are {b} rows of {a} {t}. How many {t} are there?
Every day {p} sells {a} {t}. How many are sold in {b} days?
{b} [friends/boys/farmers/shops] have {a} {t} each. How many {t} do they have in total?
A [car/ship/truck] carries {a} {t}. How many {t} do {b} of them carry?
{p} writes {a} pages a week. How many pages is that after {b} weeks?
If one [box/pack/room] [contains/has] {a} {t}, how many {t} do {b} contain?
{p} plants {b} rows with {a} flowers in each row. How many flowers are planted?
On each of {b} tables there are {a} {t}. How many {t} are there together?
Each of the {b} [boxes/boys/cars/girls] [holds/has/gets] {a} {t}. How many {t} is that for all of them?
All {b} [girls/workers/guests] [carry/bring/make/sell] {a} {t} each. How many {t} is that together?
Every one of {b} [teachers/pupils/guests/farmers] [has/brings/makes/sells] {a} {t}. How many {t} is that in all?
Each of {b} [shops/bakers/villages] [sells/buys/makes] {a} {t}. How many {t} is that together?
{b} buses with {a} people each go to {c}. How many people go there?
Each friend of {p} has {a} {t}, and there are {b} friends. How many {t} do the friends have?
Each [pack/bag/basket] has {a} {t}. {p} [takes/buys/fills] {b} of them. How many {t} does {p} take?
In each of {b} [rooms/boxes/towns] there are {a} {t}. What is the number of {t} in all?
For {b} [weeks/hours] {p} [gets/makes/paints/eats] {a} {t} every time. How many {t} is that?
{p} and the others are {b} people, and each [brings/has/makes] {a} {t}. How many {t} is that?
{b} times {p} [carries/sends/buys] {a} {t}. How many {t} is that in all?
For {b} days {p} picks {a} {t} each day. How many {t} are picked together?
On {b} days {p} [sells/eats/reads/finds] {a} {t} a day. How many {t} is that together?
In {b} weeks with {a} {t} a week, how many {t} are there?
For {b} hours {p} makes {a} {t} each hour. How many {t} are made together?
Over {b} days {q} counts {a} {t} every day. How many {t} are counted?
{b} [boys/girls/cats] eat {a} {t} each. How many {t} do they eat together?
During {b} days the shop sells {a} {t} daily. How many {t} are sold?
Each [child/worker/guest] brings {a} {t}. There are {b} of them. How many {t} do they bring?
Each [teacher/farmer] of {b} [teachers/farmers] has {a} {t}. How many {t} do they have together?
Each of {b} [girls/guests/cars] [carries/finds/sells] {a} {t}. How many {t} do they [carry/find/sell] together?
Each [box/room/shop] has {a} {t}, and there are {b} of them. How many {t} do they have?
On {b} shelves stand {a} {t} each. How many {t} stand there?
{b} boxes hold {a} {t} each. How many {t} do the boxes hold together?
""")
GROUPS = GROUPS_BRIEF + phrases("""
How many {t} are in {b} boxes if there are {a} in one? | If I buy {b} bags with {a} {t} each, how many {t} do I have?
How many {t} do I sell in {b} days if I sell {a} a day? | I need {a} {t} per guest. How many do I need for {b} guests?
What do {b} tickets cost if one is {a} {u}? | {b} tickets at ${a} each, what do I pay? | How far do I get in {b} hours at {a} km an hour?
My job pays {a} {u} an hour. What do I get for {b} hours? | If you eat {a} {t} a day, how many do you eat in {b} days?
We have {b} cars and {a} people fit in each. How many people fit in? | How many minutes are {b} lessons of {a} minutes?
I have {a} {t} and {k} has {b} times as many. How many does {k} have? | {K} is {a}, and grandpa is {b} times as old. How old is grandpa?
My brother reads {a} pages a night. How many pages does he read in {b} nights? | A cup is {a} grams. How many grams are {b} cups?
{b} friends each owe me {a} {u}. How much do they owe me? | How many {t} do {b} of us carry if each takes {a}?
One box of {t} has {a} in it. I take {b} boxes, so how many {t}? | We walk {a} km every day. How far is it in {b} days?
For each of {b} kids I bought {a} {t}. How many did I buy? | How many chairs do we need for {b} rows with {a} chairs in a row?
The baker makes {a} {t} an hour. How many are there after {b} hours? | If a week has {a} orders, how many do we get in {b} weeks?
{p} pays {a} {u} rent a day. What does {p} pay in {b} days? | {b} kids, and everyone got {a} {t}. How many did I hand out?
Our hall has {b} rows, {a} seats in each. How many seats do we have? | I fold {a} {t} a minute. How many do I fold in {b} minutes?
A bottle costs {a} cents. How many cents for {b} bottles? | Say each of us eats {a} {t}. How many do {b} of us eat?
{p} sells {a} {t} a day. How many has {h} sold after {b} days? | {p} makes {a} {t} an hour. How many will {h} have made in {b} hours?
{b} boxes, {a} {t} in each, how many? | {b} boxes of {t}, {a} to a box. How many {t}? | {b} friends, {a} {t} per friend. How many is that?
Our bakery uses {a} eggs a day. How many eggs does it use in {b} days? | The kids have {a} {t} each and there are {b} of them. How many do they have?
I do {a} push-ups a day. How many are they in {b} days? | {p} bought {b} packs with {a} {t}. How many did {h} buy?
If {k} gives me {a} {t} every week, how many do I have after {b} weeks? | {b} shelves, and every shelf has {a} {t}. How many {t} do we have?
""")
PORTION_BRIEF = phrases("""
{x}% of the {a} {t} come from {c}. How many {t} is that?
There are {a} {t} and {x}% of them are new. How many {t} are new?
{p} has {a} {t} and sells {x}% of them. How many {t} does {p} sell?
A box of {t} costs {a} coins and the price falls by {x}%. By how many coins does it fall?
Of {a} people in {c}, {x}% have {t}. How many people is that?
{x} percent of {a} {t} are broken. How many are broken?
{p} gives {q} {x}% of {a} {t}. How many {t} does {q} get?
{p} has to pay {x}% of {a} coins as tax. How much tax is that?
A shop in {c} has {a} {t}; {x}% are sold on {d}. How many are sold?
What is a discount of {x}% on a price of {a} coins?
{p} saves {x}% of {a} coins. How many coins does {p} save?
In {c} {x}% of {a} visitors came on {d}. How many visitors were that?
{x}% out of {a} {t} were sold. How many {t} were sold?
{x} percent of the {a} people in a train get off in {c}. How many people get off?
In a box of {a} {t}, {x} percent are red. How many {t} are red?
{x} percent of {a} {t} go to {q}. How many {t} does {q} get?
Of the {a} {t} of {p}, {x}% are old. How many are old?
{p} finds that {x} percent of {a} {t} are bad. How many {t} are bad?
""")
PORTION = PORTION_BRIEF + phrases("""
I have {a} {t}. How many is {x}% of them? | How many {t} do I get if I get {x}% of {a}? | If {x}% of our {a} {t} are sold, how many is that?
We had {a} guests and {x}% left early. How many left early? | A coat costs {a} {u} and is {x}% off. How much do I save?
My bill is ${a} and I tip {x}%. How much is the tip? | {K} has {a} {t}, {x} percent are blue. How many blue ones?
How many of my {a} {t} can I keep if I keep {x} percent? | {x}% of {a} people said yes. How many said yes?
I earn {a} {u} and save {x}%. How much do I save? | Of {a} pupils in our school {x}% walk. How many walk?
A test has {a} questions and I got {x}% right. How many did I get right? | The price was {a} {u} and went up by {x}%. By how much did it go up?
Our club has {a} members and {x} percent are women. How many women are there? | {x}% of the {a} seats are empty. How many seats are empty?
We drove {x} percent of {a} km. How many km did we drive? | I drank {x}% of a bottle of {a} ml. How many ml did I drink?
How much tax do I pay if it is {x}% of {a} {u}? | If {x} percent of {a} voters stay home, how many stay home?
In our street with {a} houses, {x}% have a garden. How many have one? | {p} read {x}% of a book with {a} pages. How many pages did {p} read?
You borrow {a} {u} at {x}%. How much is the interest? | A bag of {a} grams is {x}% sugar. How many grams of sugar is that?
{p} had {a} {t} and gave away {x}%. How many did {h} give away? | {a} {t}, {x}% of them sold. How many were sold? | {x}% of our {a} guests are kids. How many kids is that?
{a} people live in our village and {x} percent are over sixty. How many are over sixty? | {p} got {x}% of the {a} votes. How many votes did {h} get?
I've done {x} percent of my {a} pages. How many pages have I done? | {a} {u}, {x}% off, what do I save? | If I pay {x}% of {a} {u} now, how much do I pay now?
""")
SHARE_BRIEF = phrases("""
{p} shares {a} {t} equally among {b} friends. How many {t} does each one get?
{a} {t} are put into {b} equal boxes. How many {t} are in each box?
{p} splits {a} {t} into {b} equal groups. How many {t} are in one group?
A teacher divides {a} {t} among {b} children. How many {t} does each child get?
There are {a} {t} for {b} tables. How many {t} does each table get?
{b} people share {a} {t} fairly. How many {t} does each get?
{p} has {a} {t} for {b} children, the same for each. How many does one child get?
{a} {t} are packed into {b} bags evenly. How many {t} does a bag hold?
{p} cuts {a} {t} into {b} equal parts. How big is one part?
{b} workers made {a} {t}, all the same number. How many {t} did each make?
A ticket costs {b} coins. How many tickets can {p} buy for {a} coins?
If {a} {t} are divided equally among {b} people, how many {t} does each person get?
{p} puts {a} {t} in {b} rows of equal length. How many {t} stand in a row?
{p} reads {a} pages in {b} days, the same every day. How many pages a day?
There are {a} {t} in {b} boxes, all equally full. How many {t} are in one box?
{a} {t} last {p} for {b} days. How many {t} does {p} use a day?
{a} people sit at {b} tables, the same number at each. How many people sit at one table?
{b} cars bring {a} {t}, each the same. How many {t} does one car bring?
{a} {t} are given to {b} people in equal shares. How many does one person have?
Equal shares of {a} {t} go to {b} families. How many {t} does a family get?
{b} friends divide {a} {t} among themselves. How many {t} has each of them?
{p} fills {b} bags with {a} {t}, the same number in each. How many {t} are in a bag?
Each of {b} tables gets the same part of {a} {t}. How many {t} are on a table?
All in all {b} boys have {a} {t}, each as many as the others. How many has one boy?
{b} [girls/boys/cats] have {a} {t}, each as many as the other. How many {t} has each?
{a} {t} belong to {b} friends in equal parts. How many {t} has one friend?
In {b} rooms there are {a} {t}, in each the same number. How many {t} are in one room?
{b} [boxes/bags/cars] hold {a} {t}, all the same. How many {t} does one hold?
Altogether {b} workers made {a} {t}, one as many as the other. How many {t} did one make?
{p} divides {a} {t} by {b} people. How many {t} does a person get?
""")
SHARE = SHARE_BRIEF + phrases("""
If I share {a} {t} with {b} people fairly, how many does each get? | How many {t} does each of us get if {b} of us share {a}?
How many bags of {b} {t} can I fill with {a} {t}? | I have {a} {u} and a ticket costs {b}. How many can I buy?
How many boxes do I need for {a} {t} if {b} go in one box? | {b} {t} fit in a box. How many boxes do {a} {t} need?
We pay {a} {u} for {b} tickets. What does one cost? | {b} mugs cost ${a}. How much is one mug? | I drove {a} km in {b} hours. How many km per hour is that?
My book has {a} pages and I read {b} a day. How many days do I need? | {K} earned {a} {u} in {b} hours. How much is that per hour?
You cut a rope of {a} meters into {b} equal parts. How long is one? | {a} kids make teams of {b}. How many teams are there?
How long do {a} {t} last if I use {b} a day? | We are {b} and the bill is {a} {u}. What does each of us pay?
I read {a} pages in {b} days, every day the same. How many pages was that per day? | How many cars do {a} people need with {b} in each car?
A pack of {b} {t} costs {a} {u}. How much is it for one? | {b} of us carried {a} {t}, all as many. How many did I carry?
I have {b} [shelves/jars] for my {a} {t}. How many should go on each, if all are alike? | {a} minutes for {b} tasks. How many minutes per task?
In {b} weeks {k} saved {a} {u}, the same each week. How much was it a week? | We used {a} liters in {b} days. How many liters per day?
{K} keeps {a} {t} in {b} equal boxes. How many are in a box? | {K} and the others, {b} people, get {a} {t} fairly. How many does each get?
{p} has {a} {t} and {b} kids. Each gets the same. How many does {h} give to each? | {a} {t}, {b} kids, same for all, how many each?
{b} of us share {a} {t}. How many do I get if we all get the same? | The {b} kids split {a} {t} evenly. How many did each end up with?
{p} made {a} {t} in {b} hours. How many did {h} make per hour? | {a} {t} in {b} boxes, how many per box? | {a} {t} in all, {b} in each box. How many boxes?
I hand out {a} {t} to {b} people and they all get the same. How many does each get? | Together we are {b} people, and we share {a} {t} evenly. How many do I get?
""")

TOLD_BRIEF = {
    "sum": GAIN_BRIEF, "difference": LOSS_BRIEF, "product": GROUPS_BRIEF,
    "quotient": SHARE_BRIEF, "percent": PORTION_BRIEF,
}  # fmt: skip
TOLD = {
    "sum": GAIN, "difference": LOSS, "product": GROUPS, "quotient": SHARE, "percent": PORTION,
}  # fmt: skip
