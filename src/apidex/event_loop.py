"""The event loop that every command runs on, and its tasks."""

import asyncio
import sys
from collections.abc import Callable
from typing import Any

_SWITCH_SECONDS = 0.001
"""How long the event loop waits for a thread that runs Python. CPython's default of 5 ms would be too long."""


def run(main: Callable[[], Any]) -> Any:  # noqa: ANN401 - what main returns
    """Run the coroutine function *main* on uvloop, or on asyncio where there is none."""
    sys.setswitchinterval(_SWITCH_SECONDS)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def is_cancelled() -> bool:
    """Return whether the cancellation of this task was requested.

    The CancelledError itself can get lost: before Python 3.12 asyncio.wait_for, which both Redis clients use, returns a result
    in its place if it has one just then.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
