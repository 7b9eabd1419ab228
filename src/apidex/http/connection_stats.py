"""What the server counts of its connections, for the metrics."""

from collections import Counter
from dataclasses import dataclass, field

TIMERS = ("new", "head", "body", "idle", "send", "linger", "age")
SHED_REASONS = ("overload", "connections", "unsent", "replaced")


@dataclass(slots=True)
class ConnectionStats:
    """*open* connections, all that were *accepted*, and those *closed* by each timer; requests and connections *shed*.

    *in_flight* counts responses in ASGI. *loop_lag* is how long the event loop's last measured iteration took, in seconds.
    """

    open: int = 0
    accepted: int = 0
    in_flight: int = 0
    loop_lag: float = 0.0
    closed: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(TIMERS, 0)))
    shed: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(SHED_REASONS, 0)))
