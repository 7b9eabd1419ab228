"""A cache of responses, bounded in bytes, that a flood of names asked for only once does not empty of the popular ones.

It is S3-FIFO (Yang, Zhang, Qiu, Yue, Vinayak: "FIFO queues are all you need for cache eviction", SOSP 2023). A new entry waits
in a small queue. It moves to the main one only if it is asked for again there, or soon after it was evicted: the keys of
evicted entries are remembered for a while, as ghosts. Decision 9 compares it with libraries.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

ENTRY_OVERHEAD = 1000
"""Bytes of an entry besides its key and body: headers, and its places in the queues."""

GHOST_OVERHEAD = 200
"""Bytes of a ghost besides its key."""

_MAX_USES = 3


@dataclass(slots=True)
class _Entry(Generic[K, V]):
    key: K
    value: V
    size: int
    key_size: int
    uses: int = 0


class ResponseCache(Generic[K, V]):
    """A map of at most *max_bytes*, where a value counts for the size that it is put with. Lookups = hits + misses."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.hits = self.misses = 0
        self.clear()

    def clear(self) -> None:
        """Remove all entries and ghosts."""
        self._entries: dict[K, _Entry[K, V]] = {}
        self._small: deque[_Entry[K, V]] = deque()
        self._main: deque[_Entry[K, V]] = deque()
        self._ghosts: OrderedDict[K, int] = OrderedDict()
        self._small_size = self._main_size = self._ghosts_size = 0

    @property
    def size(self) -> int:
        """Bytes in use."""
        return self._small_size + self._main_size + self._ghosts_size

    def get(self, key: K) -> V | None:
        """The value of *key*, or None."""
        entry = self._entries.get(key)
        if entry is None:
            self.misses += 1
            return None
        self.hits += 1
        entry.uses += 1
        return entry.value

    def put(self, key: K, value: V, size: int, key_size: int = 0) -> None:
        """Add a new *key* with a value of *size* bytes, unless it would fill more than an eighth of the cache."""
        size += ENTRY_OVERHEAD + key_size
        if size * 8 > self.max_bytes or key in self._entries:
            return
        entry = self._entries[key] = _Entry(key, value, size, key_size)
        if key in self._ghosts:
            self._ghosts_size -= self._ghosts.pop(key)
            self._main.append(entry)
            self._main_size += size
        else:
            self._small.append(entry)
            self._small_size += size
        while self.size > self.max_bytes:
            if self._small_size * 10 > self.max_bytes or not self._main:
                self._evict_from_small()
            else:
                self._evict_from_main()

    def _evict_from_small(self) -> None:
        entry = self._small.popleft()
        self._small_size -= entry.size
        if entry.uses:
            entry.uses = 0
            self._main.append(entry)
            self._main_size += entry.size
            return
        del self._entries[entry.key]
        ghost_size = self._ghosts[entry.key] = GHOST_OVERHEAD + entry.key_size
        self._ghosts_size += ghost_size
        while self._ghosts_size * 10 > self.max_bytes:
            self._ghosts_size -= self._ghosts.popitem(last=False)[1]

    def _evict_from_main(self) -> None:
        entry = self._main.popleft()
        if entry.uses:
            entry.uses = min(entry.uses, _MAX_USES) - 1
            self._main.append(entry)
        else:
            self._main_size -= entry.size
            del self._entries[entry.key]
