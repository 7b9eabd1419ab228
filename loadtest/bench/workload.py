"""What is asked of every contender: kinds of requests, made from the names of a catalogue. Pure, and the same at every run."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from urllib.parse import quote

_LONGEST = 12
_POOL = 400
"""Names that a kind asks for in turn."""

_DRAWN = 20_000


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of request.

    *new*: no name of it may be known already. *conditional*: the client holds the answer, and sends its tag.
    """

    title: str
    names: Sequence[str]
    headers: tuple[tuple[str, str], ...] = ()
    new: bool = False
    conditional: bool = False

    @property
    def paths(self) -> list[str]:
        """What is asked, in turn."""
        return ["/" + quote(name, safe="") for name in self.names]


def kinds(names: Sequence[str]) -> list[Kind]:
    """Every kind, for a catalogue with these *names*. No two of them ask for the same, but for the last, which asks for all.

    No part of a name is in all of them, so the widest answer is that to the letter that most have.
    """
    random, counts = Random(1), _counts(names)
    once, twelve, two_hundred = (_between(random, counts, *bounds) for bounds in ((1, 1), (11, 13), (150, 250)))
    held, zipped, seen, new = twelve[:1], twelve[1:30], twelve[30:60], twelve[60:]
    widest = max(counts, key=lambda part: (counts[part], part))
    return [
        Kind("a miss, never seen", [f"{name} {number}Q" for number, name in enumerate(once)], new=True),
        Kind("1 hit, never seen", once, new=True),
        Kind("12 hits, never seen", new, new=True),
        Kind("12 hits, seen", seen),
        Kind("12 hits, 304", held, conditional=True),
        Kind("12 hits, gzip, seen", zipped, headers=(("accept-encoding", "gzip"),)),
        Kind("200 hits, seen", two_hundred),
        Kind(f"{counts[widest]} hits, seen", [widest]),
        Kind("Zipf mix of all names", _zipf(random, list(dict.fromkeys(names)))),
    ]


def _counts(names: Sequence[str]) -> Counter[str]:
    """In how many names each part of one stands."""
    counts: Counter[str] = Counter()
    for name in names:
        ends = range(1, len(name) + 1)
        counts.update({name[start:end] for end in ends for start in range(max(0, end - _LONGEST), end)})
    fit = {
        part for part in counts.keys() - set(names) if part.isascii() and "/" not in part and part == part.strip(" .")
    }
    return Counter({part: counts[part] for part in fit})


def _between(random: Random, counts: Counter[str], low: int, high: int) -> list[str]:
    candidates = sorted(part for part, count in counts.items() if low <= count <= high)
    return random.sample(candidates, min(_POOL, len(candidates)))


def _zipf(random: Random, names: list[str]) -> list[str]:
    """Names drawn as people ask for them: the second half as often as the first, the third a third as often, and so on."""
    random.shuffle(names)
    weights = list(accumulate(1 / rank for rank in range(1, len(names) + 1)))
    return random.choices(names, cum_weights=weights, k=_DRAWN)
