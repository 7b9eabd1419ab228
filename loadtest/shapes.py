"""How many users there are, and when: `--shape steady|step|spike|soak`, stretched over `--run-time` or `--shape-time`.

Each shape is a pure function: it gives a part of `--users`, as a number from 0 to 1, for a part of the run from 0 to 1.
"""

from collections.abc import Callable

Shape = Callable[[float], float]


def steady(_: float) -> float:
    """All of them, from the beginning to the end."""
    return 1.0


def step(part: float) -> float:
    """A quarter of them, a half, three quarters, all."""
    return min(4, int(part * 4) + 1) / 4


def spike(part: float) -> float:
    """A fifth of them, and all in the middle fifth of the run."""
    return 1.0 if 0.4 <= part < 0.6 else 0.2


def soak(part: float) -> float:
    """Up to half of them in the first tenth of the run, then half of them."""
    return 0.5 * min(1.0, part * 10 + 0.05)


SHAPES: dict[str, Shape] = {shape.__name__: shape for shape in (steady, step, spike, soak)}
