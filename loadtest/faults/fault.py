"""What every fault has."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import ClassVar, Literal

import msgspec

from loadtest.targets.target import Target

_INNER_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


class Fault(msgspec.Struct, frozen=True, tag=lambda name: _INNER_CAPITAL.sub("-", name).lower()):
    """Something to break: *verb* is the method of `Target` that does it, and says what that is; the fields are its arguments.

    *sentence* says what is broken, with the fields in it.
    """

    verb: ClassVar[Callable[..., object]]
    sentence: ClassVar[str]
    interrupts_redis: ClassVar[bool] = False
    """Redis is away, or restarts elsewhere: each replica follows the upstream by itself."""
    interrupts_upstream: ClassVar[bool] = False
    kills: ClassVar[bool] = False
    """The process of a replica ends, and is restarted."""
    replaces: ClassVar[bool] = False
    """Replicas end for good, and others take their place."""
    pauses: ClassVar[bool] = False
    """The process of a replica does not run for some time."""
    at_once: ClassVar[bool] = False
    """It is over by itself."""
    loses: ClassVar[Literal["", "replica", "edge", "node"]] = ""
    """What takes the requests with it that are on the way to it. None are lost with a replica where a balancer retries."""

    def inject(self, target: Target) -> AbstractContextManager[object] | None:
        """Break it: at once, or while the block of the context manager runs."""
        verb: Callable[..., AbstractContextManager[None] | None] = getattr(target, self.verb.__name__)
        return verb(*msgspec.structs.astuple(self))

    @property
    def kind(self) -> str:
        """Its name: that of its class, in lower case."""
        return str(self.__struct_config__.tag)

    def __str__(self) -> str:
        return self.sentence.format_map(msgspec.structs.asdict(self))
