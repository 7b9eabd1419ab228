"""Values that are computed once for arguments that come back soon, as somebody types."""

from collections.abc import Callable
from typing import TypeVar

MAX_VALUES = 1024
"""The largest number of values. Keys are parts of names and queries, which are short (`entry.NAME_LIMIT`): 8 MB at most."""

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def memoized(
    values: dict[_Key, _Value], key: _Key, compute: Callable[[_Key], _Value], most: int = MAX_VALUES
) -> _Value:
    """The value of *key*, which is not None: from *values*, or computed and added. All are removed when there are *most*.

    A `functools.lru_cache` of a method would refer to its object, so that a replaced index kept its memory for some time.
    """
    value = values.get(key)
    if value is None:
        if len(values) >= most:
            values.clear()
        value = values[key] = compute(key)
    return value
