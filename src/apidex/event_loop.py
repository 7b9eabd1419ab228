"""The event loop that every command runs on, its tasks, and its threads."""

import asyncio
import errno
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

T = TypeVar("T")

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


@asynccontextmanager
async def running(work: Coroutine[Any, Any, T], name: str | None = None) -> AsyncIterator[asyncio.Task[T]]:
    """Run *work* in a task beside the block, and cancel it at the end."""
    task = asyncio.create_task(work, name=name)
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def in_thread(function: Callable[..., T], /, *arguments: object) -> T:
    """Return what *function* returns in a thread of its own.

    The process can end before the thread, which may wait for a disk that hangs; those of `asyncio.to_thread` are waited for.
    Raises OSError if no thread can be started.
    """
    outcome = Future[T]()
    outcome.set_running_or_notify_cancel()  # so that a caller who no longer waits does not make setting the outcome an error

    def run() -> None:
        try:
            outcome.set_result(function(*arguments))
        except BaseException as error:
            outcome.set_exception(error)

    try:
        threading.Thread(target=run, name=getattr(function, "__name__", None), daemon=True).start()
    except RuntimeError as error:  # a limit of threads or of memory is reached
        raise OSError(errno.EAGAIN, str(error)) from None
    return await asyncio.wrap_future(outcome)


def is_cancelled() -> bool:
    """Return whether the cancellation of this task was requested.

    The CancelledError itself can get lost: before Python 3.12 asyncio.wait_for, which both Redis clients use, returns a result
    in its place if it has one just then.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
