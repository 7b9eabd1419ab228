"""A shared buffer lives as long as it is in use, and no longer."""

import contextlib
import errno
import os
import subprocess
import sys
import threading
from array import array
from pathlib import Path

from apidex.indexing.shared_buffer import SharedBuffer

DATA = bytes(range(256)) * 2**16


def test_what_is_appended_is_read_as_a_whole():
    buffer = SharedBuffer.of(b"abc")
    assert buffer.write(b"def") == 3
    assert (buffer.append(array("Q", [7, 8])), len(buffer)) == ((8, 24), 24)
    assert bytes(buffer.getvalue()[:6]) == b"abcdef"
    assert list(buffer.getvalue()[8:24].cast("Q")) == [7, 8]


def test_what_is_written_through_a_view_is_read_and_more_can_be_appended():
    buffer = SharedBuffer.of(b"abc")
    (start, end), view = buffer.reserve(5)
    view[1:3] = b"de"
    assert buffer.append(b"f")[0] >= end == start + 5
    assert bytes(buffer.getvalue()[start:end]) == b"\0de\0\0"


def test_what_another_process_appends_is_seen_here():
    buffer = SharedBuffer.of(b"here, ")
    program = (
        f"from apidex.indexing.shared_buffer import SharedBuffer; SharedBuffer({buffer.descriptor}).write(b'and there')"
    )
    subprocess.run([sys.executable, "-c", program], pass_fds=[buffer.descriptor], check=True)
    assert bytes(buffer.getvalue()) == b"here, and there"


def test_a_system_that_forbids_anonymous_memory_has_a_file_instead(monkeypatch):
    def forbidden(_name):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "memfd_create", forbidden)
    assert bytes(SharedBuffer.of(b"abc").getvalue()) == b"abc"


def test_a_thread_frees_it_when_its_last_part_is_out_of_use():
    buffer, before = SharedBuffer.of(DATA), set(threading.enumerate())
    inode, whole = os.fstat(buffer.descriptor).st_ino, buffer.getvalue(free_in_thread=True)
    buffer.close()
    part = whole[2**20 : 2**20 + 256]
    del whole
    assert bytes(part) == bytes(range(256))
    assert is_open(inode)
    del part
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
    assert not is_open(inode)


def test_it_is_freed_at_once_if_no_thread_can_be_started(monkeypatch):
    def no_thread(_thread):
        raise RuntimeError("can't start new thread")

    buffer = SharedBuffer.of(DATA)
    inode, whole = os.fstat(buffer.descriptor).st_ino, buffer.getvalue(free_in_thread=True)
    buffer.close()
    monkeypatch.setattr(threading.Thread, "start", no_thread)
    del whole
    assert not is_open(inode)


def test_an_unused_buffer_is_freed():
    buffer = SharedBuffer.of(DATA)
    inode = os.fstat(buffer.descriptor).st_ino
    assert is_open(inode)
    del buffer
    assert not is_open(inode)


def is_open(inode: int) -> bool:
    """Whether this process has a descriptor of the buffer with this inode."""
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the descriptor by which the folder is read
            if "memfd:apidex" in str(link.readlink()) and link.stat().st_ino == inode:
                return True
    return False
