"""Memory that another process can be shown: a file that is nowhere else, where the system has such."""

import mmap
import os
import tempfile
import weakref
from threading import Thread

from apidex.catalogue.buffers import ByteBuffer, IntArray

_STEP = 2**22
"""Bytes that are given back at a time."""


class SharedBuffer:
    """Bytes, written in turn, that this process and whoever is shown *descriptor* can map. Gone once nobody uses them.

    With a *descriptor*, those that another process shows.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self.descriptor = _anonymous_file() if descriptor is None else descriptor
        self._close = weakref.finalize(self, os.close, self.descriptor)

    def __len__(self) -> int:
        return os.fstat(self.descriptor).st_size

    def write(self, data: ByteBuffer, /) -> int:
        """Add *data*; how many bytes that are."""
        left = memoryview(data)
        while left:
            left = left[os.write(self.descriptor, left) :]
        return len(data)

    def add(self, part: ByteBuffer | IntArray) -> tuple[int, int]:
        """Add *part* where a number may begin; where it lies."""
        start = len(self) + self.write(bytes(-len(self) % 8))
        return start, start + self.write(memoryview(part).cast("B"))

    def getvalue(self) -> memoryview:
        """All that was written, here or there; it outlives `close`."""
        return memoryview(self._mapped())

    def getvalue_to_keep(self) -> memoryview:
        """As `getvalue`. When nothing of it is in use any more, a thread gives the memory back little by little.

        At once, that takes up to 50 ms for a large one, in which nothing else is done in this process.
        """
        memory = self._mapped()
        weakref.finalize(memory, _give_back, os.dup(self.descriptor)).atexit = False
        return memoryview(memory)

    def close(self) -> None:
        """Let go of it here."""
        self._close()

    def _mapped(self) -> mmap.mmap:
        return mmap.mmap(self.descriptor, 0, access=mmap.ACCESS_READ)


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("apidex")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _give_back(file: int) -> None:
    Thread(target=_shrink, args=(file,), daemon=True).start()


def _shrink(file: int) -> None:
    """Empty *file* from its end, and close it."""
    for size in range(os.fstat(file).st_size - _STEP, 0, -_STEP):
        os.ftruncate(file, size)
    os.close(file)
