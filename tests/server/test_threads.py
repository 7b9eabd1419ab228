"""Threads that the process does not wait for at its end."""

import subprocess
import sys
import threading

import pytest

from apidex import event_loop
from processes import HANG


async def test_what_a_thread_returns_or_raises_is_the_callers():
    assert await event_loop.in_thread(divmod, 7, 2) == (3, 1)
    assert await event_loop.in_thread(threading.current_thread) is not threading.current_thread()
    with pytest.raises(ZeroDivisionError):
        await event_loop.in_thread(divmod, 7, 0)


def test_a_process_does_not_wait_for_a_thread_that_hangs():
    program = """
import asyncio, time
from apidex import event_loop

async def main():
    waiting = asyncio.create_task(event_loop.in_thread(time.sleep, 600))
    await asyncio.sleep(0.01)
    waiting.cancel()

event_loop.run(main)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=HANG)
