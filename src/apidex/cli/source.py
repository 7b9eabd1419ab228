"""The upstream's catalogue for a command without a replica.

The last good copy on disk is used as long as it is fresh, or where the upstream gives nothing better.
"""

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from apidex import event_loop
from apidex.catalogue import formats, starter
from apidex.catalogue.formats import Parsed, Report
from apidex.cli.output import progress, warn
from apidex.errors import CatalogueError, StateError, UpstreamError
from apidex.indexing.builder import IndexedCatalogue, from_upstream
from apidex.replication.last_good import CopyLabels, LastGoodCopy, open_copy
from apidex.replication.upstream import Fetched, NotModified, open_upstream
from apidex.replication.validators import NO_VALIDATORS, Validators
from apidex.search.index import SearchIndex
from apidex.search.names import NameIndex
from apidex.settings import DEFAULT_UPSTREAM, Settings


@dataclass(frozen=True, slots=True)
class Loaded:
    """A catalogue with its indexes, and when the upstream last validated it, in seconds since 1970."""

    built: IndexedCatalogue
    validated_at: float

    def __len__(self) -> int:
        return len(self.built.parsed.catalogue)

    @property
    def as_of(self) -> str:
        """For people: to the minute."""
        return datetime.fromtimestamp(self.validated_at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def load(settings: Settings, *, offline: bool = False, refresh: bool = False) -> Loaded:
    """Return the upstream's catalogue: the copy on disk while it is fresh, otherwise the upstream's, otherwise an older copy.

    *offline* does not ask the upstream, and *refresh* does not use a copy. Where a copy, or the starter catalogue of the default
    upstream, stands in for the upstream, a message says so. Raises ApidexError.
    """
    directory = None if settings.upstream.startswith("file:") else settings.state_dir
    copy = open_copy(directory, settings.upstream, settings.upstream_format, settings.upstream_limit)
    saved = _read(copy)
    if saved is not None and (offline or (not refresh and _is_fresh(saved[0], settings))):
        return Loaded(saved[1], saved[0].validated_at)
    try:
        if offline:
            raise UpstreamError("connect", "there is no copy of the catalogue on disk")
        return _refreshed(settings, copy, None if refresh else saved)
    except (UpstreamError, CatalogueError) as error:
        if refresh:
            raise
        if saved is not None:
            loaded = Loaded(saved[1], saved[0].validated_at)
            warn(f"{error}; using the {len(loaded)} APIs as of {loaded.as_of}")
            return loaded
        if settings.upstream != DEFAULT_UPSTREAM or isinstance(error, CatalogueError):
            raise
        parsed, as_of = starter.load()
        warn(f"{error}; using the {len(parsed.catalogue)} APIs of the starter catalogue")
        indexes = NameIndex.build(parsed.catalogue.names()), SearchIndex.build(parsed.catalogue)
        return Loaded(IndexedCatalogue(parsed, *indexes), as_of)


_Saved = tuple[CopyLabels, IndexedCatalogue]


def _read(copy: LastGoodCopy | None) -> _Saved | None:
    try:
        return copy.read() if copy else None
    except StateError as error:
        warn(error)
        return None


def _is_fresh(labels: CopyLabels, settings: Settings) -> bool:
    return 0 <= time.time() - labels.validated_at < settings.refresh.total_seconds()


def _refreshed(settings: Settings, copy: LastGoodCopy | None, saved: _Saved | None) -> Loaded:
    """Ask the upstream, with the validators of what is *saved*, and write the copy anew. Raises ApidexError."""
    now = time.time()  # before the request: no catalogue is younger than it says
    answer = ask(settings, saved[0].validators if saved else NO_VALIDATORS)
    if isinstance(answer, NotModified) and saved:
        labels, built = replace(saved[0], validated_at=now), saved[1]
    else:
        assert isinstance(answer, Fetched)  # noqa: S101 - a 304 needs a validator
        labels = CopyLabels(int(now * 1000), now, False, answer.validators)
        with progress("Reading the catalogue"):
            built = from_upstream(answer.body, _format_name(settings))
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


def read(settings: Settings, body: bytes, report: Report | None = None) -> Parsed:
    """Return the catalogue of an upstream's answer, and fill in the *report*. Raises CatalogueError."""
    with progress("Reading the catalogue"):
        return formats.parse(body, _format_name(settings), report=report)


def _format_name(settings: Settings) -> str | None:
    return None if settings.upstream_format == "auto" else settings.upstream_format
