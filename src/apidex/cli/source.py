"""The catalogue that commands search: the upstream's, in this process, or that of a service.

In this process, the last good copy on disk is used while it is fresh, or if the upstream fails.
"""

import re
import time
from argparse import Namespace
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, urlencode

import msgspec

from apidex import event_loop
from apidex.catalogue import formats
from apidex.catalogue.entry import Entry
from apidex.catalogue.formats import Parsed, Report
from apidex.cli.output import progress, warn
from apidex.cli.service import Service
from apidex.errors import CatalogueError, SettingsError, StateError, UpstreamError
from apidex.indexing.builder import IndexedCatalogue, from_starter, from_upstream
from apidex.replication.last_good import CopyLabels, LastGoodCopy, open_copy
from apidex.replication.upstream import Fetched, NotModified, open_upstream
from apidex.replication.validators import NO_VALIDATORS, Validators
from apidex.search.ranking import Scope
from apidex.search.results import CategoryView, CorrectionView, HitView, SearchRequest, answer
from apidex.settings import DEFAULT_UPSTREAM, UPSTREAM, Settings
from apidex.terminal import counted


@dataclass(frozen=True, slots=True)
class Loaded:
    """A catalogue with its indexes, and when the upstream last validated it, in seconds since 1970."""

    built: IndexedCatalogue
    validated_at: float

    def __len__(self) -> int:
        return len(self.built.parsed.catalogue)

    @property
    def as_of(self) -> str:
        """The time for people, to the minute."""
        return datetime.fromtimestamp(self.validated_at, UTC).strftime("%Y-%m-%d %H:%M UTC")


class SearchPage(msgspec.Struct):
    """The members of a page of hits that are read."""

    total: int
    hits: list[HitView]
    did_you_mean: CorrectionView | None = None
    understood: dict[str, str] = msgspec.field(default_factory=dict)
    searched: str = ""
    offset: int = 0


class CategoryList(msgspec.Struct):
    """Every category, in alphabetical order."""

    categories: list[CategoryView]


def with_timeout(options: Namespace, settings: Settings) -> Settings:
    """*settings* with the `--timeout` of a command for the upstream."""
    return replace(settings, upstream_timeout=timedelta(seconds=options.timeout))


def upstream_of(place: str) -> str:
    """Return the URL of a FILE-OR-URL. Raises SettingsError for one that cannot be an upstream."""
    if not place:
        raise SettingsError("FILE-OR-URL: '' is not allowed; allowed is the path of a file or a URL")
    text = place if ":" in place.partition("/")[0] else Path(place).absolute().as_uri()
    url: str = UPSTREAM.parse(text, "FILE-OR-URL")
    return url


class _ServiceSource:
    """The catalogue of a service, of which it is not known when it was validated."""

    def __init__(self, service: Service) -> None:
        self._service, self.as_of = service, ""

    def search(self, request: SearchRequest) -> tuple[bytes, SearchPage]:
        query = {"q": request.query, **request.filters, "sort": request.sort, "limit": request.limit}
        query |= {"offset": request.offset} if request.offset else {}
        query |= {"in": request.scope} if request.scope is not Scope.ALL else {}  # services before 0.2.0 do not know it
        body = self._service.get(f"v1/search?{urlencode(query, doseq=True)}", request.filters)
        return body, self._service.decode(body, SearchPage, "a page of hits")

    def exact(self, text: str) -> tuple[bytes, list[Entry]]:
        # proxies decode, remove or refuse other characters in a path; services before 0.2.0 do not know the parameter
        is_plain = re.fullmatch(r"[\w -]+", text)
        body = self._service.get(quote(text) if is_plain else f"v1/entries?{urlencode({'name': text})}")
        return body, self._service.decode(body, list[Entry], "a list of entries")

    def categories(self) -> tuple[bytes, CategoryList]:
        body = self._service.get("v1/categories")
        return body, self._service.decode(body, CategoryList, "a list of categories")


class _LocalSource:
    """A catalogue in this process."""

    def __init__(self, loaded: Loaded) -> None:
        self._built, self.as_of = loaded.built, loaded.as_of
        self._catalogue = loaded.built.parsed.catalogue

    def search(self, request: SearchRequest) -> tuple[bytes, SearchPage]:
        body = msgspec.json.encode(answer(self._built.search, self._catalogue.digest[:12], request))
        return body, msgspec.json.decode(body, type=SearchPage)

    def exact(self, text: str) -> tuple[bytes, list[Entry]]:
        body = self._catalogue.select(self._built.index.find(text))
        return body, msgspec.json.decode(body, type=list[Entry])

    def categories(self) -> tuple[bytes, CategoryList]:
        found = CategoryList([CategoryView(*each) for each in self._built.search.facets.categories.items()])
        version = self._catalogue.digest[:12]
        summary = {"version": version, "count": len(found.categories), "categories": found.categories}
        return msgspec.json.encode(summary), found


Source = _ServiceSource | _LocalSource
"""A searchable catalogue. Each method returns the service's JSON and its value, or raises ApidexError. *as_of* is when it was
validated, for people; empty if unknown."""


def open_source(options: Namespace, settings: Settings) -> Source:
    """Return the service at `--url` of the *options*, or the upstream's catalogue. Raises ApidexError."""
    if options.url is not None:
        return _ServiceSource(Service(options.url, options.timeout, settings.upstream_limit))
    return _LocalSource(load(with_timeout(options, settings), options.offline, options.refresh))


def load(settings: Settings, offline: bool = False, refresh: bool = False) -> Loaded:
    """Return the upstream's catalogue: the copy on disk while it is fresh, otherwise the upstream's, otherwise an older copy.

    *offline* does not ask the upstream, and *refresh* does not use a copy. A message says when a copy, or the starter catalogue
    for the default upstream, replaces the upstream's. Raises ApidexError.
    """
    copy = _copy_of(settings)
    saved = _read(copy)
    if saved is not None and (offline or (not refresh and _is_fresh(saved[0], settings))):
        return Loaded(saved[1], saved[0].validated_at)
    try:
        if offline and not settings.upstream.startswith("file:"):
            raise UpstreamError("connect", "there is no copy of the catalogue on disk")
        return _refreshed(settings, copy, None if refresh else saved)
    except (UpstreamError, CatalogueError) as error:
        if refresh:
            raise
        if saved is not None:
            loaded = Loaded(saved[1], saved[0].validated_at)
            warn(f"{error}; using the {counted(len(loaded), 'API')} as of {loaded.as_of}")
            return loaded
        if settings.upstream != DEFAULT_UPSTREAM or isinstance(error, CatalogueError):
            raise
        loaded = starter_catalogue()
        warn(f"{error}; using the {counted(len(loaded), 'API')} of the starter catalogue")
        return loaded


def starter_catalogue() -> Loaded:
    """Return the starter catalogue."""
    return Loaded(*from_starter())


_Saved = tuple[CopyLabels, IndexedCatalogue]


def saved_catalogue(settings: Settings) -> Loaded | None:
    """Return the last good copy on disk, however old it is, if there is one."""
    saved = _read(_copy_of(settings))
    return Loaded(saved[1], saved[0].validated_at) if saved else None


def _copy_of(settings: Settings) -> LastGoodCopy | None:
    """The copy of the upstream, unless that is a file."""
    directory = None if settings.upstream.startswith("file:") else settings.state_dir
    return open_copy(directory, settings.upstream, settings.upstream_format, settings.upstream_limit)


def _read(copy: LastGoodCopy | None) -> _Saved | None:
    try:
        return copy.read() if copy else None
    except StateError as error:
        warn(error)
        return None


def _is_fresh(labels: CopyLabels, settings: Settings) -> bool:
    return 0 <= time.time() - labels.validated_at < settings.refresh.total_seconds()


def _refreshed(settings: Settings, copy: LastGoodCopy | None, saved: _Saved | None) -> Loaded:
    """Ask the upstream, with the validators of the *saved* copy, and write the copy again. Raises ApidexError."""
    now = time.time()  # taken before the request: no catalogue is younger than its age says
    answer = ask(settings, saved[0].validators if saved else NO_VALIDATORS)
    if isinstance(answer, NotModified) and saved:
        labels, built = replace(saved[0], validated_at=now), saved[1]
    else:
        assert isinstance(answer, Fetched)  # noqa: S101 - a 304 needs a validator
        labels = CopyLabels(int(now * 1000), now, False, answer.validators)
        with progress("Reading the catalogue"):
            built = from_upstream(answer.body, settings.format_name)
    try:
        if copy:
            copy.write(built.parsed, labels)
    except StateError as error:
        warn(error)
    return Loaded(built, now)


def ask(settings: Settings, validators: Validators) -> Fetched | NotModified:
    """Return the upstream's answer. Raises UpstreamError or SettingsError."""

    async def fetch() -> Fetched | NotModified:
        limits = settings.upstream_timeout, settings.upstream_limit, settings.upstream_redirect_hosts
        async with open_upstream(settings.upstream, *limits) as upstream:
            return await upstream.fetch(validators)

    with progress("Fetching the catalogue"):
        answer: Fetched | NotModified = event_loop.run(fetch)
    return answer


def fetch(settings: Settings) -> Fetched:
    """Return the upstream's whole answer. Raises UpstreamError or SettingsError."""
    answer = ask(settings, NO_VALIDATORS)
    assert isinstance(answer, Fetched)  # noqa: S101 - a 304 needs a validator
    return answer


def read(settings: Settings, body: bytes | bytearray, report: Report | None = None) -> Parsed:
    """Return the catalogue of an upstream's answer, and fill in the *report*. Raises CatalogueError."""
    with progress("Reading the catalogue"):
        return formats.parse(body, settings.format_name, report=report)
