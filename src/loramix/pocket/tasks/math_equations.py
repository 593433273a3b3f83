"""How people put an equation into words, and how they ask for its x.

As in `math_phrases`: of every list each sixth entry belongs to the test set alone.
"""

from __future__ import annotations

from loramix.pocket.words import phrases

# {n} is the factor of x, {b} what is added or taken, {y} the result.
MORE = phrases("""
{n} times x plus {b} is {y}. | If I add {b} to {n} times x I get {y}. | {n} times x and {b} more makes {y}.
I think of a number, multiply it by {n}, add {b} and get {y}. | {b} more than {n} times x is {y}.
{n} times a number plus {b} equals {y}. | x times {n}, plus {b}, comes to {y}. | Take x, multiply by {n} and add {b}: that's {y}.
Adding {b} to {n} times a number gives {y}. | {n} x plus {b} equals {y}. | When {n} times x is increased by {b} it is {y}.
I multiplied a number by {n} and added {b}. The result was {y}. | The sum of {n} times x and {b} is {y}.
{n} times a number plus {b} is {y}.
{n} times a number and {b} on top equals {y}.
A number was multiplied by {n} and {b} was added, which gave {y}.
I multiplied a number by {n}, added {b} and had {y}.
""")
FEWER = phrases("""
{n} times x minus {b} is {y}. | If I subtract {b} from {n} times x I get {y}. | {n} times x take away {b} makes {y}.
I think of a number, multiply it by {n}, subtract {b} and get {y}. | {b} less than {n} times x is {y}.
{n} times a number minus {b} equals {y}. | x times {n}, minus {b}, comes to {y}. | Take x, multiply by {n} and subtract {b}: that's {y}.
Taking {b} from {n} times a number gives {y}. | {n} x minus {b} equals {y}. | When {n} times x is reduced by {b} it is {y}.
I multiplied a number by {n} and took away {b}. The result was {y}. | When you take {b} from {n} times x you have {y}.
{n} times a number minus {b} is {y}.
{n} times a number less {b} equals {y}.
A number was multiplied by {n} and {b} was taken away, which gave {y}.
I multiplied a number by {n}, took away {b} and had {y}.
""")
PLAIN = phrases("""
{n} times x is {y}. | If I multiply x by {n} I get {y}. | {n} times a number makes {y}. | x times {n} comes to {y}.
I think of a number and multiply it by {n}. I get {y}. | {n} x equals {y}. | A number multiplied by {n} is {y}.
""")
ONE_MORE = phrases("""
x plus {b} is {y}. | If I add {b} to x I get {y}. | I think of a number, add {b} and get {y}. | {b} more than x is {y}.
A number plus {b} equals {y}. | x and {b} make {y}. | I added {b} to a number and got {y}.
""")
ONE_FEWER = phrases("""
x minus {b} is {y}. | If I take {b} from x I get {y}. | I think of a number, subtract {b} and get {y}. | {b} less than x is {y}.
A number minus {b} equals {y}. | x take away {b} makes {y}. | I took {b} away from a number and got {y}.
""")
WHAT_X = phrases("""
What is x? | Find x. | What's the value of x? | So what is x? | How much is x? | Please find x.
What must x be? | Solve for x. | Which number is x? | I need x. | Can you find x? | Tell me x.
""")
WHAT_NUMBER = phrases("""
What number is it? | Which number is it? | What is the number? | Can you find the number?
Which number is meant? | What's the number? | I need the number. | Tell me the number.
So what is the number? | What was the number? | Please find the number. | What number do we start with?
What number did I have?
With what number did I start?
What number was that at the start?
""")

# Quadratic equations, where both answers are wanted.
BOTH = phrases("""
What are both answers to {x}? | ~Give me both values of x: {x} | Which two numbers make {x} true? | ~Get both zeros of {x}.
{x}. What can x be? | I need both solutions. {x} | ~Factor {x} and give the solutions. | This quadratic: {x}
What are the zeros of {x}? | ~Solve the quadratic {x}. | Where is {x}? Give all x. | For what values of x is {x}?
{x}, find all values of x | My quadratic is {x}. What are the roots? | ~Solve by factoring: {x} | All x with {x}?
The quadratic equation {x} has which solutions? | ~Help me factor and solve {x}. | roots of {x} | What values can x take in {x}?
We have to solve {x} in class. What are the answers? | ~Work out both x: {x} | {x}. Both values of x please. | {x} has which roots?
""")
