"""Answers given before, kept in memory for as long as their catalogue is current.

Bounded in bytes, and built so that a flood of names that nobody asks for twice does not push the popular ones out: S3-FIFO
(Yang, Zhang, Qiu, Yue, Vinayak: "FIFO queues are all you need for cache eviction", SOSP 2023). A newcomer waits in a small
queue; only if it is asked for again there, or soon after it was dropped, does it come into the main one.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

OVERHEAD = 1000
"""Bytes that an answer costs besides its key and body: headers, and the places that remember it."""

GHOST = 200
"""Bytes that the memory of a dropped answer costs besides its key."""

_MOST_USES = 3


@dataclass(slots=True)
class _Kept(Generic[K, V]):
    key: K
    value: V
    size: int
    key_size: int
    uses: int = 0


class ResponseCache(Generic[K, V]):
    """A map of at most *limit* bytes, where a value counts for the size that it is put with. Gets = hits + misses."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.hits = self.misses = 0
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._kept: dict[K, _Kept[K, V]] = {}
        self._small: deque[_Kept[K, V]] = deque()
        self._main: deque[_Kept[K, V]] = deque()
        self._small_size = self._main_size = 0
        self._ghosts: OrderedDict[K, int] = OrderedDict()
        self._ghosts_size = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size(self) -> int:
        """Bytes held."""
        return self._small_size + self._main_size + self._ghosts_size

    def get(self, key: K) -> V | None:
        """What was put under *key*, if it is still here."""
        kept = self._kept.get(key)
        if kept is None:
            self.misses += 1
            return None
        self.hits += 1
        kept.uses += 1
        return kept.value

    def put(self, key: K, value: V, size: int, key_size: int = 0) -> None:
        """Keep *value*, of *size* bytes under a key of *key_size*, unless it would fill more than an eighth of the cache."""
        size += OVERHEAD + key_size
        if size * 8 > self.limit or key in self._kept:
            return
        kept = self._kept[key] = _Kept(key, value, size, key_size)
        if key in self._ghosts:
            self._ghosts_size -= self._ghosts.pop(key)
            self._into_main(kept)
        else:
            self._small.append(kept)
            self._small_size += size
        while self.size > self.limit and self._kept:
            self._evict()

    def _evict(self) -> None:
        if self._small_size * 10 > self.limit or not self._main:
            self._leave_small()
        else:
            self._leave_main()

    def _leave_small(self) -> None:
        kept = self._small.popleft()
        self._small_size -= kept.size
        if kept.uses:
            kept.uses = 0
            self._into_main(kept)
        else:
            del self._kept[kept.key]
            self._remember(kept)

    def _leave_main(self) -> None:
        kept = self._main.popleft()
        if kept.uses:
            kept.uses = min(kept.uses, _MOST_USES) - 1
            self._main.append(kept)
        else:
            self._main_size -= kept.size
            del self._kept[kept.key]

    def _into_main(self, kept: _Kept[K, V]) -> None:
        self._main.append(kept)
        self._main_size += kept.size

    def _remember(self, kept: _Kept[K, V]) -> None:
        """Keep the key alone for a while, so that its return shows that it is wanted."""
        self._ghosts[kept.key] = GHOST + kept.key_size
        self._ghosts_size += GHOST + kept.key_size
        while self._ghosts_size * 10 > self.limit:
            self._ghosts_size -= self._ghosts.popitem(last=False)[1]
