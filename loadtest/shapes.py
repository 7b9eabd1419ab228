"""How many users there are, and when: `--shape steady|step|spike|soak`, drawn out over `--run-time`, or over `--shape-time`.

Each shape is a pure function: it gives a part of `--users`, as a number from 0 to 1, for a part of the run from 0 to 1.
"""

from collections.abc import Callable

from locust import LoadTestShape

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
    """Up to half of them in the first tenth of the run, and so on for long."""
    return 0.5 * min(1.0, part * 10 + 0.05)


SHAPES: dict[str, Shape] = {shape.__name__: shape for shape in (steady, step, spike, soak)}


class Shaped(LoadTestShape):
    """Locust's users, as many as `--shape` says at each moment.

    After `--run-time` there are none, and the run is over; after `--shape-time` there are as many as at its end. Without either a
    run is steady, and has no end.
    """

    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        """As Locust's: users, and users a second; None at the end."""
        options = self.runner.environment.parsed_options
        users, rate = options.num_users or 1, options.spawn_rate or 1
        shape, run, drawn_out = SHAPES[options.shape], float(options.run_time or 0), options.shape_time
        now = self.get_run_time()
        if run and now >= run:
            return None
        length = drawn_out or run
        return max(1, round(users * shape(min(now / length, 1.0)))) if length else users, rate
