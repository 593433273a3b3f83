"""Prompts that a person might type, beside the generated ones: shown, and measured for routing.

No request of what is measured, or of what the README shows, can be made from a template of the
training prompts; a test holds that.
"""

from __future__ import annotations

SHOWN: tuple[tuple[str, str], ...] = (
    (
        "A support message, to be summed up with its tone",
        "Give me this support message in one line, and say what its tone is: Hello, I ordered the "
        "desk lamp two weeks ago. The delivery was fast, but the switch is broken. I use it next "
        "to my computer.",
    ),
    (
        "An app review, to be put in one line",
        "Put this app review in one line: I have used it since March. The design is lovely and "
        "the search is great. Sadly the login is terrible. My sister has the same phone.",
    ),
    (
        "An e-mail, to be classified",
        "Label this e-mail as positive, negative, mixed or neutral: Dear team, the support was "
        "wonderful and the price is great. Best, Maria",
    ),
    (
        "Balanced product feedback",
        "How would you judge this feedback overall? The sound is great, but the cable is awful.",
    ),
    ("Arithmetic", "What is 20% of 240?"),
    ("An equation", "Solve x^2 - 5x + 6 = 0."),
    ("A program", "Write a Python function that returns the sum of all even numbers in a list."),
    (
        "A question about a text",
        "Anna lives in Oslo. She works as a nurse. Her brother Tom is a baker. "
        "Where does Anna live?",
    ),
    (
        "A program and the maths behind it",
        "Show me how to solve a quadratic equation in Python and explain the mathematics step by "
        "step.",
    ),
    ("None of these", "Tell me a joke about a lamp."),
)

MESSAGES = (
    "The delivery was fast, but the screen is broken and the support is slow.",
    "Hello, the room was lovely and the breakfast was great. Sadly the bathroom was dirty. Tom",
    "I love the camera. The battery is terrible, however. I bought it in May.",
)

TONE_ONLY = (
    "Label the following message as positive, negative, mixed or neutral: {message}",
    "Would you say the author of this sounds happy or not? {message}",
    "{message}\n\nWhat is the sentiment of this text?",
    "How does the writer feel? {message}",
)
LINE_ONLY = (
    "Please sum up the following message in a single line: {message}",
    "Give me one line of summary.\n\n{message}",
    "{message}\n\nSum this up in one sentence.",
    "What was good and what went wrong, in one line? {message}",
)
TONE_AND_LINE = (
    "Summarize this message in one line and classify its tone: {message}",
    "Give me a one-line summary and the sentiment.\n\n{message}",
    "{message}\n\nWhat is the tone, and what does it say in one line?",
    "Tell me the mood of this message and sum it up in one sentence: {message}",
)
QUADRATIC = (
    "Show me how to solve a quadratic equation in Python and explain the mathematics step by step.",
    "Write Python code to solve a quadratic equation and explain the math behind it.",
    "Explain the maths of quadratic equations and write a Python function that solves them.",
    "Give me a Python function that finds the roots of a quadratic, and show the working.",
    "I need Python code for solving quadratics together with an explanation of the mathematics.",
)


def about_messages(requests: tuple[str, ...]) -> list[str]:
    """Every request with every message."""
    return [request.format(message=message) for request in requests for message in MESSAGES]
