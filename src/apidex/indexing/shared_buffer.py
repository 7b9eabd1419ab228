"""Memory that another process can map: an anonymous file, if the system supports it, or else an unnamed one on disk."""

import contextlib
import mmap
import os
import tempfile
import weakref
from threading import Thread

from apidex.catalogue.buffers import ByteBuffer, IntArray

_STEP = 2**22
"""Bytes that are freed at a time."""

Span = tuple[int, int]
"""Where a part begins and ends, in bytes."""


class SharedBuffer:
    """Append-only bytes that this process and others with the *descriptor* can map. Freed after the last use."""

    def __init__(self, descriptor: int | None = None) -> None:
        """Make a new buffer, or use one that another process passed on with its *descriptor*."""
        self.descriptor = _anonymous_file() if descriptor is None else descriptor
        self._close = weakref.finalize(self, os.close, self.descriptor)

    @classmethod
    def of(cls, data: ByteBuffer) -> "SharedBuffer":
        """Return a new buffer that holds *data*."""
        buffer = cls()
        buffer.write(data)
        return buffer

    def __len__(self) -> int:
        return os.fstat(self.descriptor).st_size

    def write(self, data: ByteBuffer, /) -> int:
        """Append *data*, and return its length."""
        left = memoryview(data)
        while left:
            left = left[os.write(self.descriptor, left) :]
        return len(data)

    def append(self, part: ByteBuffer | IntArray) -> Span:
        """Append *part* at a multiple of 8 bytes, where an integer may begin, and return where it lies."""
        start = len(self) + self.write(bytes(-len(self) % 8))
        return start, start + self.write(memoryview(part).cast("B"))

    def reserve(self, size: int) -> tuple[Span, memoryview]:
        """Append *size* zeros, and return their place and a writable view of them."""
        start = len(self) + -len(self) % mmap.ALLOCATIONGRANULARITY
        os.ftruncate(self.descriptor, start + size)
        os.lseek(self.descriptor, 0, os.SEEK_END)
        return (start, start + size), memoryview(mmap.mmap(self.descriptor, size, offset=start))

    def getvalue(self, *, free_in_thread: bool = False) -> memoryview:
        """Map all bytes written, by any process. The view outlives `close`.

        With *free_in_thread*, a thread frees the memory step by step when no part of the view is in use any more. Freeing a large
        buffer at once takes up to 50 ms, in which this process does nothing else.
        """
        mapped = mmap.mmap(self.descriptor, 0, access=mmap.ACCESS_READ)
        if free_in_thread:
            weakref.finalize(mapped, _free, os.dup(self.descriptor)).atexit = False
        return memoryview(mapped)

    def close(self) -> None:
        """Close the descriptor."""
        self._close()


def _anonymous_file() -> int:
    with contextlib.suppress(AttributeError, OSError):  # not Linux; or forbidden, as by seccomp or vm.memfd_noexec
        return os.memfd_create("apidex")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _free(descriptor: int) -> None:
    try:
        Thread(target=_shrink, args=(descriptor,), daemon=True).start()
    except RuntimeError:  # no thread can be started
        os.close(descriptor)


def _shrink(descriptor: int) -> None:
    """Truncate the file from its end, and close it."""
    for size in range(os.fstat(descriptor).st_size - _STEP, 0, -_STEP):
        os.ftruncate(descriptor, size)
    os.close(descriptor)
