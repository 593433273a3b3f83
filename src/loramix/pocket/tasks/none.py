"""Prompts that none of the skills is for: small talk, translation, letters, recipes, advice.

Half of them are about the same things as the skills' prompts (products, cities, numbers, texts),
so that the topic alone does not tell.
"""

from __future__ import annotations

import random

from loramix.data import Example
from loramix.pocket.tasks.messages import draw_message, fill
from loramix.pocket.tasks.task import Task
from loramix.pocket.words import Split, phrases, pool

ASK = phrases("""
Hi! | Hello, how are you today? | Good morning! | How was your weekend? | Thanks a lot! | Bye!
What is your name? | Who made you? | Tell me a joke. | Tell me a joke about a {product}.
Do you like {city}? | I am so tired today. | It is raining in {city} again. | You are funny.
Sing me a song about {month}. | Write a poem about a {color} {product}. | Nice to meet you.
Tell me a story about a {animal}. | Once upon a time there was a {animal}, go on.
Translate "{fact}" into [French]. | How do you say {thing} in Spanish?
What is {product} in Italian?
Translate the following into German: {fact} | Say good morning in Japanese.
Write a letter to my {relative} in {city}. | Write an invitation to a party on {day}.
Draft an e-mail that asks my boss for a free {day}. | Write a thank-you note to {first}.
Give me a recipe for soup with {thing}. | How do I cook {thing}? | What can I bake with {thing}?
Recommend a good book. | Which movie should I watch tonight?
Recommend a {product} for my {relative}.
What should I wear in {city} in {month}? | Plan a trip to {city} for {n} days.
How is the weather in {city}? | Will it rain on {day}? | What time is it in {city}?
Remind me to call {first} on {day}. | Set an alarm for {n} o'clock. | Play some music.
Book a table for {n} on {day}. | Call {first} {last}. | Open the door. | Turn on the lamp.
Buy {n} {thing} for me. | Order a {color} {product}. | Send this to {first}: {fact}
Give me advice on moving to {city}. | How do I stay calm? | How can I sleep better?
What is the meaning of life? | Who was the first king of France? | What is the capital of Peru?
Why is the sky blue? | How do birds fly? | How tall is the highest mountain? | When did Rome fall?
Describe a {color} {animal}. | Draw a {animal}. | Suggest a name for my {animal}. | Pick a card.
Reply to this message: {message} | Translate this into French: {message}
Make this text sound more polite: {message} | Correct the spelling: {message}
{message} Write back.
Rewrite this as a poem: {message} | Continue this text: {fact}. | Read this aloud: {message}
Write a slogan for a {product} shop. | Write an advert for a {color} {product}.
Give me five names for a shop in {city}. | Make a packing list for {city}. | Let us play a game.
Is {city} bigger than {city2}? | Which is nicer, {city} or {city2}? | Tell me about {city}.
What do {animal}s eat? | How do I train my {animal}? | Is a {animal} a good pet for my {relative}?
Can you keep a secret? | I feel lonely. | I got a new job! | My {relative} is ill. | I love you.
What are your hobbies? | Are you a robot? | Good night, sleep well. | See you on {day}.
How do I repair a {product}? | How do I clean a {product}? | Where can I buy a {product}?
Compose a toast for my {relative}. | Write a birthday card for {first}. | What is a good gift?
Write a speech for {day}. | Which language is spoken in {city}? | Tell me a fun fact.
""")


def draw(rng: random.Random, split: Split) -> Example:
    """One prompt of no skill; its completion is empty, since no skill answers it."""
    from loramix.pocket import words

    template = rng.choice(pool(ASK, split))
    message = draw_message(rng, split, sentences=(1, 3)).text if "{message}" in template else ""
    fact = fill(rng, rng.choice(("I live in {city}", "the {product} is {color}")), split)
    city2 = rng.choice(pool(words.CITIES, split))
    prompt = fill(
        rng,
        template.replace("[French]", rng.choice(("French", "Polish", "Dutch", "Greek"))),
        split,
        message=message,
        fact=fact,
        city2=city2,
        animal=rng.choice(pool(words.ANIMALS, split)),
        thing=rng.choice(pool(words.THINGS, split)),
    )
    if rng.random() < 0.2:
        prompt = rng.choice(("Please ", "Hey, ", "OK, ", "So, ")) + prompt[0].lower() + prompt[1:]
    if rng.random() < 0.2:
        prompt = prompt.rstrip(".!?")
    return Example(prompt=prompt, completion="", meta={"task": "none"})


NONE = Task("none", "prompts of no skill", draw, lambda _e, texts: [0.0] * len(texts))
