"""`apidex changes [FILE-OR-URL]`: the differences between an earlier catalogue and the upstream's."""

from argparse import Namespace
from dataclasses import replace
from urllib.parse import urlencode

import msgspec

from apidex.catalogue.catalogue import Catalogue
from apidex.catalogue.diff import Changes, changes
from apidex.catalogue.entry import to_dict
from apidex.cli.output import Listing, say, show
from apidex.cli.search import COLUMNS, format_of
from apidex.cli.service import Service
from apidex.cli.source import fetch, read, saved_catalogue, upstream_of, with_timeout
from apidex.errors import SettingsError
from apidex.settings import Settings


def run(options: Namespace, settings: Settings) -> int:
    """Print them. Return 1 if there are none. Raises ApidexError."""
    if options.url is not None:
        service = Service(options.url, options.timeout, settings.upstream_limit)
        if options.place is not None:
            raise SettingsError("FILE-OR-URL: not allowed with --url; allowed with it is --since VERSION")
        if options.since is None:
            raise SettingsError("--since: missing; allowed is a version, as the header Catalogue-Version names it")
        body = service.get(f"v1/changes?{urlencode({'since': options.since})}")
        differences = service.decode(body, Changes, "a list of changes")
    elif options.since is not None:
        raise SettingsError("--since: not allowed without --url; allowed without it is a FILE-OR-URL")
    else:
        settings = with_timeout(options, settings)
        before, after = _before(options.place, settings), read(settings, fetch(settings).body).catalogue
        differences = changes(before, after)
        found = msgspec.structs.asdict(differences)
        body = msgspec.json.encode({"since": before.digest, "version": after.digest, **found})
    listing = _listing(differences, body)
    show(listing, format_of(options))
    if not listing.items:
        say("There is no change.")
    return 0 if listing.items else 1


def _before(place: str | None, settings: Settings) -> Catalogue:
    """The catalogue to compare with: the one at *place*, or the last good copy on disk."""
    if place is not None:
        earlier = replace(settings, upstream=upstream_of(place))
        return read(earlier, fetch(earlier).body).catalogue
    saved = saved_catalogue(settings)
    if saved is None:
        raise SettingsError("there is no copy of the catalogue on disk to compare with; allowed is a FILE-OR-URL")
    say(f"since {saved.as_of}")
    return saved.built.parsed.catalogue


def _listing(found: Changes, body: bytes) -> Listing:
    sorts = {"added": found.added, "removed": found.removed, "changed": [change.after for change in found.changed]}
    items = [{"Change": sort, **to_dict(entry)} for sort, entries in sorts.items() for entry in entries]
    return Listing(items, {"Change": "CHANGE", **COLUMNS}, body, "API", ("Description", "Link"))
