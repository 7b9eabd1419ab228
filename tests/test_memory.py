"""Memory that another process can be shown is there for as long as somebody uses it, and no longer."""

import contextlib
import subprocess
import sys
import time
from array import array
from pathlib import Path

import pytest

from apidex.memory import Memory

DATA = bytes(range(256)) * 2**16


def test_what_is_written_in_turn_is_read_as_a_whole():
    memory = Memory()
    assert memory.write(b"abc") == 3
    place = memory.add(array("Q", [7, 8]))
    assert (place, len(memory)) == ((8, 24), 24)
    assert bytes(memory.getvalue()[:3]) == b"abc"
    assert list(memory.getvalue()[8:24].cast("Q")) == [7, 8]


def test_another_process_adds_to_it_and_what_it_added_is_seen_here():
    memory = Memory()
    memory.write(b"here, ")
    program = f"from apidex.memory import Memory; Memory({memory.descriptor}).write(b'and there')"
    subprocess.run([sys.executable, "-c", program], pass_fds=[memory.descriptor], check=True)
    assert bytes(memory.getvalue()) == b"here, and there"


needs_linux = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux tells of descriptors like this")


@needs_linux
def test_it_is_given_back_when_its_last_part_is_not_in_use_any_more():
    before = descriptors()
    memory = Memory()
    memory.write(DATA)
    whole = memory.getvalue_to_keep()
    memory.close()
    part = whole[2**20 : 2**20 + 256]
    del whole
    assert bytes(part) == bytes(range(256))
    assert descriptors() > before
    del part
    wait_until(lambda: descriptors() <= before)


@needs_linux
def test_one_that_nobody_kept_is_gone():
    before = descriptors()
    memory = Memory()
    memory.write(DATA)
    del memory
    assert descriptors() <= before


def descriptors() -> int:
    """How many such memories are open here."""
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one by which the folder was read
            found += "memfd:apidex" in str(link.readlink())
    return found


def wait_until(happened) -> None:
    """Raises AssertionError if it does not happen."""
    until = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.005)
