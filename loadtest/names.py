"""What is searched. Pure, but for random choices."""

import random
from collections.abc import Sequence
from itertools import accumulate

_MISSES = ("no API has this", "Zzyzx 9", "%", "Cat Facts  ", "é/ü")
_MISS_SHARE, _WHOLE_SHARE = 0.05, 0.5


class Names:
    """Names of a catalogue and words of them, by Zipf's law; every twentieth search is a miss."""

    def __init__(self, names: Sequence[str]) -> None:
        distinct = sorted(set(names)) or ["Cat"]
        self._names = random.Random(7).sample(distinct, k=len(distinct))  # the same favourites in every process
        self._weights = list(accumulate(1 / rank for rank in range(1, len(self._names) + 1)))

    def one(self) -> str:
        """A name, a word of one, or a miss."""
        if random.random() < _MISS_SHARE:
            return random.choice(_MISSES)
        (name,) = random.choices(self._names, cum_weights=self._weights)
        return name if random.random() < _WHOLE_SHARE else random.choice(name.split() or [name])
