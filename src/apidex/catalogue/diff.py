"""What has changed from one catalogue to another. Pure."""

from collections import Counter, defaultdict, deque
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from apidex.catalogue.catalogue import Catalogue
from apidex.catalogue.entry import Entry


class Change(msgspec.Struct, frozen=True):
    """An entry before and after."""

    before: Entry
    after: Entry


class Changes(NamedTuple):
    """Entries that were added, removed and changed. An entry that only moved is none of these."""

    added: list[Entry]
    removed: list[Entry]
    changed: list[Change]


def changes(before: Catalogue, after: Catalogue) -> Changes:
    """Compare two catalogues. Entries with the same name, or else with the same link, are the same entry."""
    removed, added = _without(before, after), _without(after, before)
    same_name, removed, added = _paired(removed, added, lambda entry: entry.name)
    same_link, removed, added = _paired(removed, added, lambda entry: entry.link)
    return Changes(added, removed, same_name + same_link)


def _without(these: Catalogue, those: Catalogue) -> list[Entry]:
    """The entries of one catalogue that the other does not have, byte for byte, or has fewer times."""
    others = Counter(map(those.encoded, range(len(those))))
    missing = []
    for position in range(len(these)):
        encoded = these.encoded(position)
        others[encoded] -= 1
        if others[encoded] < 0:
            missing.append(these[position])
    return missing


def _paired(
    removed: list[Entry], added: list[Entry], key: Callable[[Entry], str]
) -> tuple[list[Change], list[Entry], list[Entry]]:
    """Pairs with the same *key*, first with first, and the rest of each list. An empty key makes no pair."""
    waiting = defaultdict[str, deque[Entry]](deque)
    for entry in removed:
        waiting[key(entry)].append(entry)
    pairs, rest = [], []
    for entry in added:
        if key(entry) and waiting[key(entry)]:
            pairs.append(Change(waiting[key(entry)].popleft(), entry))
        else:
            rest.append(entry)
    paired = {id(pair.before) for pair in pairs}  # by identity: entries can be equal
    return pairs, [entry for entry in removed if id(entry) not in paired], rest
