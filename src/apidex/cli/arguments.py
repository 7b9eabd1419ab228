"""Arguments of a command line: the types of their values, and errors that say what is wrong, then what is allowed."""

import re
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Sequence
from math import nan
from typing import NoReturn

from apidex.cli.output import say

_ERRORS = {
    r"^argument ": "",
    r": expected (?:one|at least one) argument$": ": its value is missing; allowed is one",
    r": not allowed with argument (.*)": r": not allowed together with \1; allowed is one of them",
    r": ignored explicit argument (.*)": r": \1 is not allowed; it has no value",
    r"^the following arguments are required: (.*)": r"\1: missing; `PROG --help` says what is allowed",
    r"^unrecognized arguments: (.*)": r"\1: not an argument; `PROG --help` lists them",
}
"""Messages of argparse, and what is said instead."""


class Parser(ArgumentParser):
    """Reports an error in one sentence, without the usage text."""

    command = "apidex"
    """What is named in front of the sentence."""

    def error(self, message: str) -> NoReturn:
        for pattern, said in _ERRORS.items():
            message = re.sub(pattern, said, message)
        say(f"{self.command}: {message.replace('`PROG ', f'`{self.prog} ')}")
        self.exit(2)


def hint(text: str, words: Sequence[str], listed_by: str = "") -> str:
    """What is allowed instead of *text*: the nearest of *words*, if one is near; otherwise all, or the command to list them."""
    import difflib  # on an error only, to start fast

    folded = {word.casefold(): word for word in words}
    near = difflib.get_close_matches(text.casefold(), folded, 1)
    if near:
        return f"did you mean {folded[near[0]]!r}?"
    return f"{listed_by} lists the {len(words)} that are" if listed_by else f"allowed are {', '.join(words)}"


def one_of(*words: str) -> Callable[[str], str]:
    """The type of an option whose value is one of *words*."""

    def convert(text: str) -> str:
        if text not in words:
            raise ArgumentTypeError(f"{text!r} is not allowed; {hint(text, words)}")
        return text

    return convert


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """The type of an option whose value is a whole number."""

    def convert(text: str) -> int:
        if text.removeprefix("-").isdecimal() and low <= int(text) <= high:
            return int(text)
        raise ArgumentTypeError(f"{text!r} is not allowed; allowed is a whole number from {low} to {high}")

    return convert


def real_number(low: float, high: float, what: str = "a number") -> Callable[[str], float]:
    """The type of an option whose value is a number, such as `a number of seconds`."""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = nan
        if low <= value <= high:
            return value
        raise ArgumentTypeError(f"{text!r} is not allowed; allowed is {what} from {low:.10g} to {high:.10g}")

    return convert
