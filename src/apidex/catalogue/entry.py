"""An entry of a catalogue, and what makes it valid. Pure."""

import unicodedata
from typing import Annotated, Any, Literal

import msgspec

from apidex.errors import EntryError

NAME_LIMIT = 256
"""The longest name, in characters, that an entry can have or a search can ask for."""

TEXT_LIMIT = 4096
"""The longest description, link or other text of an entry, in characters."""

Cors = Literal["yes", "no", "unknown"]

_CONTROLS_TO_SPACES = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], " ")


class Entry(
    msgspec.Struct,
    frozen=True,
    gc=False,
    omit_defaults=True,  # lists without providers keep the bytes and the digest that they had before this field existed
    rename={
        "name": "API",
        "description": "Description",
        "auth": "Auth",
        "https": "HTTPS",
        "cors": "Cors",
        "link": "Link",
        "category": "Category",
        "provider": "Provider",
    },
):
    """One public API, with the keys that api.publicapis.org gave it."""

    name: Annotated[str, msgspec.Meta(description="Its name, as the upstream spells it", examples=["Cat Facts"])]
    description: Annotated[str, msgspec.Meta(description="What it offers, in one line", examples=["Daily cat facts"])]
    auth: Annotated[
        str, msgspec.Meta(description="apiKey, OAuth, … as the upstream says; empty for none", examples=["apiKey", ""])
    ]
    https: Annotated[bool, msgspec.Meta(description="Whether it is served over HTTPS", examples=[True])]
    cors: Annotated[
        Cors, msgspec.Meta(description="Whether web pages of other sites may call it", examples=["unknown"])
    ]
    link: Annotated[
        str,
        msgspec.Meta(
            description="Where its documentation is, as the upstream says; empty if it does not say",
            examples=["https://catfact.ninja/"],
            extra_json_schema={"extra": {"format": "uri-reference"}},  # "extra" is where Litestar looks for the format
        ),
    ]
    category: Annotated[
        str, msgspec.Meta(description="The category that the upstream lists it under", examples=["Animals"])
    ]
    provider: Annotated[
        str,
        msgspec.Meta(
            description="Who offers it, if the upstream says so; otherwise absent", examples=["amazonaws.com"]
        ),
    ] = ""


def has_control(text: str) -> bool:
    """Whether *text* has a control character (Unicode category Cc)."""
    return not text.isprintable() and any(unicodedata.category(character) == "Cc" for character in text)


def replace_controls(text: str) -> str:
    """Return *text* with a space for each control character."""
    return text.translate(_CONTROLS_TO_SPACES) if has_control(text) else text


def check(entry: Entry) -> Entry:
    """Return *entry* if it is valid. Raises EntryError with the reason if not."""
    if not entry.name.strip():
        raise EntryError("it has no name")
    if len(entry.name) > NAME_LIMIT:
        raise EntryError(f"its name has {len(entry.name)} characters; at most {NAME_LIMIT} are allowed")
    if has_control(entry.name):
        raise EntryError("its name has control characters")
    for text in (entry.description, entry.auth, entry.cors, entry.link, entry.category, entry.provider):
        if len(text) > TEXT_LIMIT:
            raise EntryError(f"one of its cells has {len(text)} characters; at most {TEXT_LIMIT} are allowed")
    return entry


def check_all(entries: list[Entry], longest: int) -> None:
    """`check` each of *entries*, in bulk unless one is suspicious. The longest takes *longest* bytes as JSON."""
    names = [entry.name for entry in entries]
    suspicious = longest > TEXT_LIMIT or max(map(len, names), default=0) > NAME_LIMIT
    if suspicious or not all(map(str.strip, names)) or has_control("".join(names)):
        for entry in entries:
            check(entry)


def to_dict(entry: Entry) -> dict[str, Any]:
    """*entry* as a dict with the upstream's keys."""
    result: dict[str, Any] = msgspec.to_builtins(entry)
    return result
