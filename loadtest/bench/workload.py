"""The workloads of every contender, made from the names of a catalogue. Pure, and the same at every run."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from urllib.parse import quote

_LONGEST = 12
_POOL = 400
"""Names that a workload searches for in turn."""

_DRAWN = 20_000


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of request.

    *new*: none of its names may be cached. *conditional*: the client holds the response, and sends its tag.
    """

    title: str
    names: Sequence[str]
    headers: tuple[tuple[str, str], ...] = ()
    new: bool = False
    conditional: bool = False

    @property
    def paths(self) -> list[str]:
        """The paths to request in turn."""
        return ["/" + quote(name, safe="") for name in self.names]


def workloads(names: Sequence[str]) -> list[Workload]:
    """All workloads for a catalogue with these *names*. Their names are distinct, except for the last workload, which uses all.

    No part of a name is in all of them, so the widest response is that to the letter that most have.
    """
    random, counts = Random(1), _counts(names)
    once, twelve, two_hundred = (_between(random, counts, *bounds) for bounds in ((1, 1), (11, 13), (150, 250)))
    held, zipped, seen, new = twelve[:1], twelve[1:30], twelve[30:60], twelve[60:]
    widest = max(counts, key=lambda part: (counts[part], part))
    return [
        Workload("a miss, never seen", [f"{name} {number}Q" for number, name in enumerate(once)], new=True),
        Workload("1 hit, never seen", once, new=True),
        Workload("12 hits, never seen", new, new=True),
        Workload("12 hits, seen", seen),
        Workload("12 hits, 304", held, conditional=True),
        Workload("12 hits, gzip, seen", zipped, headers=(("accept-encoding", "gzip"),)),
        Workload("200 hits, seen", two_hundred),
        Workload(f"{counts[widest]} hits, seen", [widest]),
        Workload("Zipf mix of all names", _zipf(random, list(dict.fromkeys(names)))),
    ]


def _counts(names: Sequence[str]) -> Counter[str]:
    """The number of names that contain each part of a name."""
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
    """Names drawn by Zipf's law: the second half as often as the first, the third a third as often, and so on."""
    random.shuffle(names)
    weights = list(accumulate(1 / rank for rank in range(1, len(names) + 1)))
    return random.choices(names, cum_weights=weights, k=_DRAWN)
