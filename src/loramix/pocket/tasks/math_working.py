"""The short working of a sum: a line of steps, each small enough for a small model."""

from __future__ import annotations


def add(a: int, b: int) -> str:
    """`a + b` with the tens first where both have two digits."""
    tens, ones = b - b % 10, b % 10
    if a < 10 or not tens or not ones:
        return f"{a} + {b} = {a + b}"
    return f"{a} + {tens} = {a + tens}, {a + tens} + {ones} = {a + b}"


def subtract(a: int, b: int) -> str:
    """`a - b` with the tens first where b has two digits."""
    tens, ones = b - b % 10, b % 10
    if not tens or not ones:
        return f"{a} - {b} = {a - b}"
    return f"{a} - {tens} = {a - tens}, {a - tens} - {ones} = {a - b}"


def multiply(a: int, b: int) -> str:
    """`a * b` with the tens of `a` first where it has two digits."""
    tens, ones = a - a % 10, a % 10
    if not tens or not ones or b == 10:
        return f"{a} * {b} = {a * b}"
    return (
        f"{tens} * {b} = {tens * b}, {ones} * {b} = {ones * b}, {tens * b} + {ones * b} = {a * b}"
    )


def percent(p: int, a: int) -> str:
    """`p` percent of `a`, by way of a half, a quarter, tenths or half a tenth."""
    if p == 50:
        return f"50% is half, {a} / 2 = {a // 2}"
    if p == 25:
        return f"25% is a quarter, {a} / 4 = {a // 4}"
    if p == 10:
        return f"10% is a tenth, {a} / 10 = {a // 10}"
    if p == 75:
        return f"75% is three quarters, {a} / 4 = {a // 4}, {multiply(a // 4, 3)}"
    if p == 5:
        return f"10% of {a} is {a // 10}, {a // 10} / 2 = {a // 20}"
    if p == 15:
        return f"10% of {a} is {a // 10}, 5% is {a // 20}, {add(a // 10, a // 20)}"
    return f"10% of {a} is {a // 10}, {multiply(a // 10, p // 10)}"


def linear(a: int, b: int, x: int) -> tuple[str, str]:
    """The equation a·x + b = c and its working."""
    c = a * x + b
    left = f"{a}x" if a > 1 else "x"
    sign, other = ("+", "-") if b > 0 else ("-", "+")
    equation = f"{left} {sign} {abs(b)} = {c}" if b else f"{left} = {c}"
    steps = [f"{left} = {c} {other} {abs(b)} = {c - b}"] if b else []
    if a > 1:
        steps.append(f"x = {a * x} / {a} = {x}")
    return equation, ", ".join(steps)


def _term(value: int, unit: str) -> str:
    """A signed term such as ` - 5x`."""
    if value == 0:
        return ""
    size = "" if abs(value) == 1 and unit else str(abs(value))
    return f" {'+' if value > 0 else '-'} {size}{unit}"


def quadratic(r: int, s: int) -> tuple[str, str]:
    """The equation (x - r)(x - s) = 0, multiplied out, and its working; r ≤ s."""

    def factor(root: int) -> str:
        return f"(x{_term(-root, '')})" if root else "x"

    equation = f"x^2{_term(-r - s, 'x')}{_term(r * s, '')} = 0"
    factors = f"{factor(r)}^2" if r == s else factor(r) + factor(s)
    return equation, f"{factors} = 0"
