"""One request for everything that the OpenAPI document of a service offers: each route, parameter, format and encoding.

A new route, parameter or format is in the document, and therefore here.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, product
from typing import Any, NamedTuple
from urllib.parse import urlencode

from apidex.search.filters import FILTERS

ENCODINGS = ("identity", "gzip", "zstd")

_LETTER, _SLIP, _WORD = "a", "wether zq", "true"
"""The values of parameters that allow any text: a letter that most names have, and a misspelled word; otherwise this word."""

Pair = tuple[str, str]
"""Name and value of a parameter of the query."""


class RouteRequest(NamedTuple):
    """A GET. *route* is the path of the document, with the media type where there are several."""

    route: str
    path: str
    headers: dict[str, str]


def every_request(document: Mapping[str, Any], known: Mapping[str, str]) -> Iterator[RouteRequest]:
    """The requests for a service with this *document*. *known* are values of its catalogue, by parameter; a
    parameter whose value is empty is left out.

    Every route is requested plainly in each media type and encoding, and then with each value of each parameter, alone and
    together with a letter, in one encoding after the other.
    """
    encodings = cycle(ENCODINGS)
    for path, item in document["paths"].items():
        operation = item["get"]
        address, required, optional = _parameters(document, path, operation, known)
        media_types = list(operation["responses"]["200"]["content"])
        for media_type, encoding in product(media_types, ENCODINGS):
            route = path if len(media_types) == 1 else f"{path}, {media_type}"
            yield RouteRequest(route, address + _query(required), _headers(media_type, encoding))
        for query in _queries(optional):
            yield RouteRequest(path, address + _query(required + query), _headers(media_types[0], next(encodings)))


def known_values(version: str, facets: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, str]:
    """What a document cannot know: the version, and the most frequent value of each filter whose values it does not list."""
    first = {name: values[0]["value"] if values else "" for name, values in facets.items() if not FILTERS[name].values}
    return {"version": version, "since": version, **first}


def _queries(optional: list[Pair]) -> Iterator[list[Pair]]:
    letter = next((pair for pair in optional if pair[1] == _LETTER), None)
    for pair in optional:
        yield [pair]
        if letter is not None and pair[0] != letter[0]:
            yield [letter, pair]


def _parameters(
    document: Mapping[str, Any], path: str, operation: Mapping[str, Any], known: Mapping[str, str]
) -> tuple[str, list[Pair], list[Pair]]:
    """The path with its parameters, the required parameters of the query, and every value of the optional ones."""
    required, optional = list[Pair](), list[Pair]()
    for parameter in operation.get("parameters", ()):
        name = parameter["name"]
        values = [known[name]] if name in known else _values(document, parameter["schema"])
        if parameter["in"] == "path":
            path = path.replace(f"{{{name}}}", values[0])
        elif parameter["in"] == "query" and parameter.get("required"):
            required.append((name, values[0]))
        elif parameter["in"] == "query":
            optional += [(name, value) for value in values if value]
    return path, required, optional


def _values(document: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    for part in (schema, schema.get("items", {}), *schema.get("allOf", ())):
        if "$ref" in part:
            part = document["components"]["schemas"][part["$ref"].rpartition("/")[2]]  # noqa: PLW2901 - resolved
        if "enum" in part:
            return list(dict.fromkeys(value.lower() for value in part["enum"] if value))[:3]
        if "maximum" in part:
            return [str(int(part["maximum"]))]
    pattern = schema.get("pattern", "")
    return [text for text in (_LETTER, _SLIP) if re.search(pattern, text)] or [_WORD]


def _query(pairs: list[Pair]) -> str:
    return f"?{urlencode(pairs)}" if pairs else ""


def _headers(media_type: str, encoding: str) -> dict[str, str]:
    return {"accept": media_type, "accept-encoding": encoding}
