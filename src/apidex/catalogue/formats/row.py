"""The normaliser behind every format: from the values of a row, whatever their types and spellings, to an entry. Pure.

An entry is rejected only when its name is missing. The row's *repairs* list the changes.
"""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice

import msgspec

from apidex.catalogue.entry import NAME_LIMIT, TEXT_LIMIT, Cors, Entry, has_control, replace_controls
from apidex.catalogue.formats.fields import key_of
from apidex.errors import EntryError

_WORDS = {
    "yes": """
        yes y true on 1 si sí sim s ja oui vrai wahr 예 네 지원 있음 是 有 支持 はい 有り あり 対応
        ✓ ✔ ✅ ☑ 🟢 :white_check_mark: :heavy_check_mark: :ballot_box_with_check: :+1:""",
    "no": """
        no n false off 0 não nao nein non faux falsch 아니오 아니요 없음 미지원 否 无 無 不 没有 不支持 いいえ なし 無し 非対応
        ✗ ✘ ✕ ✖ ❌ ❎ × 🔴 :x: :heavy_multiplication_x: :no_entry: :-1:""",
    "none": """
        none null nil nothing - – — noauth noauthentication nokey noapikey notrequired notneeded nonerequired nokeyrequired
        noapikeyrequired noauthrequired noauthenticationrequired keyless unauthenticated 不需要 无需 無需 不要 불필요
        ninguno ninguna nenhum nenhuma keine kein keiner aucun aucune""",
    "unknown": "unknown ? ?? n/a na tbd 알수없음 모름 불명 未知 不明 不详 desconocido desconhecido unbekannt inconnu",
}
YES, NO = frozenset(_WORDS["yes"].split()), frozenset(_WORDS["no"].split())
NONE = NO.union(_WORDS["none"].split())
"""Words for "no authentication"."""

UNKNOWN = frozenset([*_WORDS["unknown"].split(), *_WORDS["none"].split()])
_ANSWERS: tuple[tuple[Cors, frozenset[str]], ...] = (("unknown", UNKNOWN), ("no", NO), ("yes", YES))
_CORS = {word: answer for answer, words in _ANSWERS for word in words}
_KINDS = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
_SCRIPTS = ("javascript:", "vbscript:", "data:")

_SHOWN_LIMIT = 80
"""The longest value, in characters, that a repair shows."""

WORD_LIMIT = 64
"""The longest text, in characters, that can be a word such as Yes or apiKey. Longer ones are neither compared nor cached."""

_MOST_SPELLINGS = 10_000
"""The largest number of spellings that are counted; the most frequent are kept."""

Spellings = Mapping[str, str]
"""The spelling in use for each other spelling of an authentication in the same list."""


def kind_of(value: object) -> str:
    """What JSON calls the type of *value*, with its article."""
    return _KINDS.get(type(value), "null")


def _word(text: str) -> str:
    """*text* as the words above are spelled: in lower case, without spaces, variation selectors and a final period."""
    return _cached_word(text[:WORD_LIMIT])


@lru_cache(1024)
def _cached_word(text: str) -> str:
    plain = unicodedata.normalize("NFC", text).casefold().replace("\ufe0f", "").strip("` .!\t")
    return plain.replace(" ", "")


def auth_of(value: object) -> str:
    """Return the authentication that *value* says, as it is spelled there; empty for none."""
    if isinstance(value, bool):
        return "yes" if value else ""
    return _auth_of_text(value if isinstance(value, str) else text_of(value))


def _auth_of_text(value: str) -> str:
    return _cached_auth(value) if len(value) <= WORD_LIMIT else _read_auth(value)


def _read_auth(value: str) -> str:
    text = replace_controls(value).strip().strip("` ")
    return "" if not text or _word(text) in NONE else text


_cached_auth = lru_cache(1024)(_read_auth)


def spellings(values: Iterable[object]) -> Spellings:
    """Return how to spell authentications so that each has one spelling: the one that most of *values* have."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for text, count in _counted(values).items():
        counts[key_of(text) or text][text] += count
    chosen = {}
    for found in counts.values():
        if len(found) > 1:
            most_frequent = max(found, key=found.__getitem__)
            chosen.update({text: most_frequent for text in found if text != most_frequent})
    return chosen


def _counted(values: Iterable[object]) -> Counter[str]:
    texts = (value if isinstance(value, str) else auth_of(value) for value in values)
    raw, words = Counter[str](), (text for text in texts if len(text) <= WORD_LIMIT)
    while batch := list(islice(words, _MOST_SPELLINGS)):
        raw.update(batch)
        if len(raw) > _MOST_SPELLINGS:
            raw = Counter(dict(raw.most_common(_MOST_SPELLINGS)))
    counts = Counter[str]()
    for value, count in raw.items():
        if text := auth_of(value):
            counts[text] += count
    return counts


def text_of(value: object) -> str:
    """Return a JSON value as text: a list as its texts with commas between; null, an object and a nested list as ""."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(filter(None, [text_of(each) for each in value if not isinstance(each, list)]))
    return "" if value is None or isinstance(value, dict) else str(value)


class Repair(msgspec.Struct, frozen=True):
    """A change in a row: its *column* (a field of an entry; empty for the row), the values before and after, and the reason."""

    column: str
    before: str
    after: str
    reason: str


def _shown(value: object) -> str:
    text = repr(value) if value is None or isinstance(value, bool | int) else text_of(value)
    return text if len(text) <= _SHOWN_LIMIT else f"{text[:_SHOWN_LIMIT]}…"


@dataclass(slots=True)
class Row:
    """A row before it becomes an entry: its place, its values, the repairs so far, and the error if it cannot be read.

    A value is a text without markup, or any value of JSON; None says nothing.
    """

    place: int
    name: object
    description: object = None
    auth: object = None
    https: object = None
    cors: object = None
    link: object = None
    category: object = None
    provider: object = None
    repairs: list[Repair] = field(default_factory=list)
    error: str = ""

    def repair(self, column: str, before: object, after: object, reason: str) -> None:
        """Record a repair, with values cut to the limit of a report."""
        self.repairs.append(Repair(column, _shown(before), _shown(after), reason))

    def to_entry(self, spellings: Spellings) -> Entry:
        """Return the row's entry, repaired. Raises EntryError with the reason if it has none."""
        if self.error:
            raise EntryError(self.error)
        name = self._text("name", self.name, NAME_LIMIT)
        if not name:
            raise EntryError("it has no name")
        description, category, link, provider = (
            self._text("description", self.description),
            self._text("category", self.category),
            self._link(),
            self._text("provider", self.provider),
        )
        auth, https, cors = self._auth(spellings), self._https(link), self._cors()
        return Entry(name, description, auth, https, cors, link, category, provider)

    def _text(self, field: str, value: object, limit: int = TEXT_LIMIT) -> str:
        if isinstance(value, str):
            text = value
        else:
            text = "" if isinstance(value, bool) and field == "name" else text_of(value)
            if value is not None:
                self.repair(field, value, text, f"its {field} is {kind_of(value)}, not a string; it became {text!r}")
        if not text.isprintable():
            printable = replace_controls(text)
            if field == "name" and has_control(text.strip()):
                self.repair(field, repr(text), printable, "control characters in the name became spaces")
            text = printable
        text = text.strip()
        if len(text) > limit:
            before, text = text, text[:limit].rstrip()
            self.repair(field, before, text, f"its {field} has {len(before)} characters; it was cut to {limit}")
        return text

    def _auth(self, spellings: Spellings) -> str:
        text = auth_of(self.auth)
        if not text and self.auth and isinstance(self.auth, list | dict):
            text = "unknown"  # and not none, for which people search
            self.repair("auth", "", text, f"its authentication is {kind_of(self.auth)}; it became {text!r}")
        if text in spellings:
            before, text = text, spellings[text]
            self.repair("auth", before, text, f"authentication {before!r} became {text!r}, as most rows spell it")
        return text if len(text) <= TEXT_LIMIT else self._text("authentication", text)

    def _https(self, link: str) -> bool:
        value = self.https
        if isinstance(value, bool):
            return value
        word = _word(text_of(value))
        if word in YES:
            return True
        if word in NO:
            return False
        is_https = link[:6].lower() == "https:"
        if word and word not in UNKNOWN:
            before, after = text_of(value), "Yes" if is_https else "No"
            self.repair("https", before, after, f"HTTPS {before!r} became {after!r}, as its link begins")
        return is_https

    def _cors(self) -> Cors:
        text = self.cors if isinstance(self.cors, str) else text_of(self.cors)
        if not text:
            return "unknown"
        cors = _CORS.get(_word(text))
        if cors is None:
            self.repair("cors", text.strip(), "unknown", f"CORS {text.strip()!r} became 'unknown'")
        return cors or "unknown"

    def _link(self) -> str:
        link = self._text("link", self.link, limit=len(text_of(self.link)))
        if len(link) > TEXT_LIMIT:
            allowed = f"at most {TEXT_LIMIT} are allowed"
            self.repair("link", link, "", f"its link has {len(link)} characters; {allowed}; it was left out")
            return ""
        if "".join(link[:64].split()).lower().startswith(_SCRIPTS):
            self.repair("link", link, "", f"its link {link[:40]!r} runs a script; it was left out")
            return ""
        if not link:
            self.repair("link", "", "", "it has no link")
        return link


def is_normal(entry: Entry) -> bool:
    """Whether a row with the values of *entry*, which are not long, would become the same entry. Fast, and may miss some."""
    texts = f"|{entry.name}|{entry.description}|{entry.link}|{entry.category}|{entry.provider}|"
    return (
        texts.isprintable()  # no spaces but those of ASCII
        and "| " not in texts
        and " |" not in texts
        and 0 < len(entry.name) <= NAME_LIMIT
        and entry.link.startswith("http")
        and _auth_of_text(entry.auth) == entry.auth
    )


def row_of(place: int, entry: Entry) -> Row:
    """The row with the values of *entry*."""
    return Row(place, *msgspec.structs.astuple(entry))
