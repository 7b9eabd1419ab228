"""`apidex search WORD…`: the search of the page, in the upstream's catalogue or by a running service."""

from argparse import Namespace
from collections.abc import Mapping, Sequence

import msgspec

from apidex.catalogue.entry import Entry, to_dict
from apidex.cli.output import Listing, Range, is_for_people, say, show
from apidex.cli.source import SearchPage, Source, open_source
from apidex.errors import SettingsError
from apidex.http.paths import name_from_path
from apidex.http.problem_details import Problem
from apidex.search.filters import FILTERS
from apidex.search.ranking import Scope, Sort
from apidex.search.results import HitView, SearchRequest
from apidex.settings import Settings

COLUMNS = {
    "API": "NAME",
    "Category": "CATEGORY",
    "Auth": "AUTH",
    "HTTPS": "HTTPS",
    "Cors": "CORS",
    "Provider": "PROVIDER",
    "Link": "LINK",
    "Description": "DESCRIPTION",
}
"""The columns of an entry."""


def run(options: Namespace, settings: Settings) -> int:
    """Print what was found. Return 1 if nothing was, even if there is a correction. Raises ApidexError."""
    text, scope, sort = " ".join(options.words), Scope(options.scope), Sort(options.sort)
    request = SearchRequest(text, filters_of(options), scope, sort, options.limit, options.offset)
    _check(request, options.exact)
    source = open_source(options, settings)
    if options.exact:
        body, entries = source.exact(text)
        page = SearchPage(len(entries), [HitView(entry, None, []) for entry in entries])
    else:
        body, page = source.search(request)
    if page.understood:
        filters = " ".join(f"--{name} {value}" for name, value in page.understood.items())
        say(f"Understood as {page.searched!r} {filters}")
    show(listing_of(page.hits, body), format_of(options))
    if page.total:
        _summarise(page, options, source)
    else:
        _tell_nothing_found(text, request.filters, page, options)
    return 0 if page.total else 1


def format_of(options: Namespace) -> str | None:
    """The format that the *options* name; None for the default."""
    return "json" if options.json else options.format


def filters_of(options: Namespace) -> Mapping[str, Sequence[str]]:
    """The values of each filter in the *options*."""
    given = {name: getattr(options, name) for name in FILTERS}
    return {name: [str(value).lower()] if isinstance(value, bool) else value or [] for name, value in given.items()}


def check_word(text: str, argument: str) -> None:
    """Raise SettingsError for a *text* that cannot be searched, which names the *argument*."""
    if not text:
        raise SettingsError(f"{argument}: empty; allowed are 1 to 256 characters")
    try:
        name_from_path(b"/" + "".join(f"%{byte:02x}" for byte in text.encode()).encode())
    except Problem as problem:
        raise SettingsError(f"{argument}: {problem}") from None


def _check(request: SearchRequest, exact: bool) -> None:
    text, is_filtered = request.query, any(request.filters.values())
    if exact and is_filtered:
        raise SettingsError("--exact: filters are not allowed; allowed are words, --url and --format")
    if exact and request != SearchRequest(text, request.filters):
        raise SettingsError(
            "--exact: --in, --sort, --limit and --offset are not allowed; allowed are words, --url and --format"
        )
    if not (text or exact or is_filtered):
        raise SettingsError("WORD: missing; allowed are words, or a filter such as --category Weather")
    if text or exact:
        check_word(text, "WORD")


def listing_of(hits: Sequence[HitView], body: bytes) -> Listing:
    """*hits*, of which *body* is the JSON, to be printed."""
    highlights: list[list[Range]] = [hit.highlights for hit in hits]
    entries = [to_dict(hit.entry) for hit in hits]
    return Listing(entries, COLUMNS, body, "API", ("Description", "Link"), highlights)


def listing_of_entries(entries: Sequence[Entry]) -> Listing:
    """*entries* to be printed; as JSON they are a list."""
    return listing_of([HitView(entry, None, []) for entry in entries], msgspec.json.encode(entries))


def _summarise(page: SearchPage, options: Namespace, source: Source) -> None:
    """Print for people how many hits there are, and how old the catalogue is."""
    shown, first = len(page.hits), options.offset + 1
    is_part = shown < page.total
    if not is_part and not options.offline and not is_for_people(format_of(options)):
        return
    text = f"{page.total} found"
    if is_part:
        which = {0: "none is", 1: f"number {first} is"}.get(shown, f"{first} to {first + shown - 1} are")
        text += f"; {which} shown (--limit, --offset)"
    say(f"{text}, as of {source.as_of}" if source.as_of else text)


OFFERS = {"spelling": "Did you mean {!r}?", "fewer_words": "With fewer words: {!r}."}
"""How to offer another query, by its kind."""


def _tell_nothing_found(text: str, filters: Mapping[str, Sequence[str]], page: SearchPage, options: Namespace) -> None:
    fits = f"has {text!r} in its name" if options.exact else f"fits {text!r}"
    message = f"No API {fits}" if text else "There is no API"
    message += " with these filters." if any(filters.values()) else "."
    correction = page.did_you_mean
    if options.exact:
        message += " Upper and lower case matter."
    elif correction:
        message += f" {OFFERS[correction.kind].format(correction.query)} That finds {correction.total}."
    say(message)
    if correction and is_for_people(format_of(options)):
        show(listing_of(correction.hits, b""), "table")
