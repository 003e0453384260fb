"""Expressions laid out as `ruff format` lays them out, so that a written file needs no formatter.

Only what eject writes is known: calls, lists and words, a line of at most `WIDTH` characters.
"""

from __future__ import annotations

from dataclasses import dataclass

WIDTH = 120
STEP = 4  # spaces of indentation


@dataclass(frozen=True)
class Call:
    """A call `name(argument, ...)`, or a list if `is_list`; `before` is a keyword with its `=`."""

    name: str
    arguments: tuple[Expression, ...]
    before: str = ""
    is_list: bool = False

    def __str__(self) -> str:
        return f"{self.opening}{', '.join(map(str, self.arguments))}{self.closing}"

    @property
    def opening(self) -> str:
        """What stands before the arguments."""
        return self.before + ("[" if self.is_list else f"{self.name}(")

    @property
    def closing(self) -> str:
        """The closing bracket."""
        return "]" if self.is_list else ")"


Expression = str | Call


def lines(expression: Expression, indent: int = 0, before: str = "", after: str = "") -> list[str]:
    """The lines of `before`, an expression and `after`: on one line if they fit, else split at the outer bracket."""
    margin = " " * indent
    whole = f"{margin}{before}{expression}{after}"
    if len(whole) <= WIDTH or isinstance(expression, str) or not expression.arguments:
        return [whole]
    opening, closing = f"{margin}{before}{expression.opening}", f"{margin}{expression.closing}{after}"
    inner = " " * (indent + STEP) + ", ".join(map(str, expression.arguments))
    if len(inner) <= WIDTH and not (expression.is_list and len(expression.arguments) > 1):
        return [opening, inner, closing]
    alone = len(expression.arguments) == 1 and not expression.is_list
    body = [
        line for one in expression.arguments for line in lines(one, indent + STEP, after="" if alone else ",")
    ]  # a single argument has no comma after it
    return [opening, *body, closing]


def statement(target: str, expression: Expression, indent: int = STEP) -> str:
    """`target = expression`, or `return expression` for the target `return`."""
    return "\n".join(lines(expression, indent, "return " if target == "return" else f"{target} = "))


def call_of(name: str, *arguments: object, **keywords: object) -> Call:
    """A call of plain values, by their `repr`, and expressions."""
    named = [_named(key, value) for key, value in keywords.items()]
    return Call(name, (*map(as_expression, arguments), *named))


def as_expression(value: object) -> Expression:
    """A value as Python writes it; words and calls stay as they are. A string is written by `repr(text)`."""
    if isinstance(value, str | Call):
        return value
    if isinstance(value, list):
        return Call("", tuple(as_expression(one) for one in value), is_list=True)
    return repr(value)


def _named(key: str, value: object) -> Expression:
    expression = as_expression(value)
    if isinstance(expression, Call):
        return Call(expression.name, expression.arguments, f"{key}=", expression.is_list)
    return f"{key}={expression}"


def quoted(text: str) -> str:
    """A string literal in double quotes, as the formatter wants it."""
    single = repr(text)
    if single.startswith("'") and '"' not in text:
        return f'"{single[1:-1]}"'
    return single
