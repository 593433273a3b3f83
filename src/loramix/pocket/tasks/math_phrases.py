"""How people ask for a sum: in symbols, as an equation, as a story.

{x} is a formula; in stories {a} and {b} are its numbers, {p} and {q} people, {t} things, {d} a day
and {c} a city. Every sixth pattern belongs to the test set alone.
"""

from __future__ import annotations

from loramix.pocket.words import phrases

CALCULATE = phrases("""
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
SOLVE = phrases("""
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

GAIN = phrases("""
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
{p} [counted/sold/ate/carried/wrote] {a} {t} and {q} {b}. How many {t} did both [count/sell/eat/carry/write]?
On {d} {a} {t} arrived and later {b} more. How many {t} arrived in all?
{p} read {a} pages on {d} and {b} pages the day after. How many pages in total?
A [farmer/teacher/child/driver] picked {a} {t} in one [field/garden/town] and {b} in the other. How many were picked?
{p} [paid/spent/lost] {a} coins for {t} and {b} coins for bread. How much did {p} [pay/spend/lose]?
The first [bus/train/ship] carried {a} people, the second {b}. How many people did they carry?
If {p} has {a} {t} and {q} gives {p} {b}, how many {t} does {p} have?
{a} {t} are red and {b} {t} are blue. How many {t} are there altogether?
{p} [sold/used/gave away/broke/lost] {a} {t} on {d} and {b} on {d}. How many {t} [were sold/were used/were gone/broke] altogether?
{a} {t} were [lost/left/sold/made] in {c} and {b} more on the way home. How many {t} were [lost/left/sold/made]?
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
The [left/upper] drawer has {a} {t}, the [right/lower] one {b}. How many {t} do the drawers hold?
In one room there are {a} {t}, in another {b}. How many {t} do the rooms have together?
{a} [boys/workers] and {b} [girls/guests] are in the hall. How many people are there?
{a} {t} are [wet/heavy/round] and {b} {t} are [dry/light/long]. How many {t} is that altogether?
{p} has {a} {t} of wood and {b} {t} of glass. How many {t} has {p}?
The first day brought {a} {t}, the second {b}. How many {t} did the days bring?
Add {b} {t} to {a} {t}. How many {t} are there then?
Put {a} {t} and {b} {t} together. How many {t} is that?
""")
LOSS = phrases("""
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
GROUPS = phrases("""
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
PORTION = phrases("""
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
SHARE = phrases("""
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
