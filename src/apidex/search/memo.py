"""Values that are computed once for arguments that come back soon, as somebody types."""

from collections.abc import Callable
from typing import TypeVar

MOST = 1024
"""So many values are remembered. Folded texts are short (`text.FOLDED_LIMIT`), so that they take a few megabytes at most."""

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def remembered(values: dict[_Key, _Value], key: _Key, compute: Callable[[_Key], _Value]) -> _Value:
    """The value of *key*, computed unless it is among *values*, which all are forgotten when there are too many.

    A `functools.lru_cache` of a method would refer to its object, so that a replaced index kept its memory for some time.
    """
    value = values.get(key)
    if value is None:
        if len(values) >= MOST:
            values.clear()
        value = values[key] = compute(key)
    return value
