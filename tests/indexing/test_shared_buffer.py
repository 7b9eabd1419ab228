"""Memory that another process can be shown is there for as long as somebody uses it, and no longer."""

import contextlib
import os
import subprocess
import sys
import threading
from array import array
from pathlib import Path

from apidex.indexing.shared_buffer import SharedBuffer

DATA = bytes(range(256)) * 2**16


def test_what_is_written_in_turn_is_read_as_a_whole():
    memory = SharedBuffer()
    assert memory.write(b"abc") == 3
    place = memory.add(array("Q", [7, 8]))
    assert (place, len(memory)) == ((8, 24), 24)
    assert bytes(memory.getvalue()[:3]) == b"abc"
    assert list(memory.getvalue()[8:24].cast("Q")) == [7, 8]


def test_another_process_adds_to_it_and_what_it_added_is_seen_here():
    memory = SharedBuffer()
    memory.write(b"here, ")
    program = (
        f"from apidex.indexing.shared_buffer import SharedBuffer; SharedBuffer({memory.descriptor}).write(b'and there')"
    )
    subprocess.run([sys.executable, "-c", program], pass_fds=[memory.descriptor], check=True)
    assert bytes(memory.getvalue()) == b"here, and there"


def test_it_is_given_back_when_its_last_part_is_not_in_use_any_more():
    memory, before = SharedBuffer(), set(threading.enumerate())
    memory.write(DATA)
    inode, whole = os.fstat(memory.descriptor).st_ino, memory.getvalue_to_keep()
    memory.close()
    part = whole[2**20 : 2**20 + 256]
    del whole
    assert bytes(part) == bytes(range(256))
    assert is_open(inode)
    del part
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
    assert not is_open(inode)


def test_one_that_nobody_kept_is_gone():
    memory = SharedBuffer()
    inode = os.fstat(memory.descriptor).st_ino
    memory.write(DATA)
    assert is_open(inode)
    del memory
    assert not is_open(inode)


def is_open(inode: int) -> bool:
    """Whether this process holds a descriptor of such a memory, known by its number."""
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one by which the folder was read
            if "memfd:apidex" in str(link.readlink()) and link.stat().st_ino == inode:
                return True
    return False
