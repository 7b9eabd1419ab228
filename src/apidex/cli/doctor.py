"""`apidex doctor`: whether a replica would run here, and what to do if not."""

import asyncio
import os
import re
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import httpx
from rich.text import Text

from apidex import event_loop
from apidex.app import store_of
from apidex.cli.output import console, print_line, progress
from apidex.cli.source import fetch, read
from apidex.errors import ApidexError, SettingsError, StateError, StoreError
from apidex.http_client import new_client, seconds_of_date
from apidex.replication.last_good import open_copy
from apidex.replication.metadata import StoredState
from apidex.server import lifecycle
from apidex.settings import Settings, as_given, unknown_variables
from apidex.terminal import counted, printable
from apidex.urls import without_password

_CLOCK_TOLERANCE = 30.0
_NTP_ADVICE = "Set it by NTP. Ages stay right without it, but stamps and logs do not."
_REDIS_ADVICE = {
    "connect": "A replica starts all the same, and runs by itself until Redis answers. Check the URL, the network and TLS.",
    "timeout": "A replica starts all the same. Check Redis, whether it uses TLS, or raise APIDEX_REDIS_TIMEOUT_SECONDS.",
    "auth": "A replica starts, and runs standalone. Check the user, APIDEX_REDIS_PASSWORD and the ACL.",
    "oom": "A replica starts, and runs standalone. Raise maxmemory; a catalogue needs three times its payload.",
    "readonly": "A replica starts, and runs standalone. Repair its disk or replicas, name the master, or use Sentinel.",
    "cluster": "A replica starts, and runs standalone. Name a Redis without cluster mode in the URL.",
}
_STATUS = {"ok": 0, "warning": 1, "wrong": 2}
_COLORS = {"ok": "green", "warning": "yellow", "wrong": "red"}

_WRITTEN = 2**16
"""Bytes that are written to see whether the disk has room."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: `ok`, `warning` (a replica runs all the same) or `wrong`, and what to do about it."""

    verdict: Literal["ok", "warning", "wrong"]
    text: str
    advice: str = ""


def run(options: Namespace, settings: Settings) -> int:
    """Print the finding of every check. Return 1 if there is a warning, and 2 if something is wrong."""
    status = 0
    for name, finding in _findings(settings, options.setting_errors):
        verdict = (f"{finding.verdict:8}", _COLORS[finding.verdict])
        text = finding.text if name == "settings" else as_given(finding.text, vars(options))
        console().print(Text.assemble(verdict, f"{name:9} {printable(text)}"), soft_wrap=True)
        if finding.advice:
            print_line(f"{'':18}{finding.advice}")
        status = max(status, _STATUS[finding.verdict])
    return status


def _findings(settings: Settings, errors: Mapping[str, SettingsError]) -> Iterator[tuple[str, Finding]]:
    """The finding of each check, by its name. A check whose settings have *errors* has none."""
    for error in errors.values():
        yield "settings", Finding("wrong", str(error), "A replica does not start with it.")
    unknown = unknown_variables(os.environ)
    for variable, similar in unknown.items():
        meant = f" (is {similar} meant?)" if similar else ""
        yield "settings", Finding("warning", f"unknown: {variable}{meant}", "docs/settings.md lists all settings.")
    if not errors and not unknown:
        yield "settings", Finding("ok", "all are allowed")
    for name, check, prefixes in (
        ("port", _port, ("host", "port", "admin_port")),
        ("upstream", _upstream, ("upstream",)),
        ("disk", _disk, ("upstream", "state_dir")),
        ("redis", _redis, ("redis",)),
        ("clock", _clock, ("upstream",)),
    ):
        if not any(setting.startswith(prefixes) for setting in errors):
            yield name, check(settings)


def _port(settings: Settings) -> Finding:
    try:
        with lifecycle.listening(settings.host, settings.ports) as listeners:
            return Finding("ok", ", ".join(f"{lifecycle.address_of(each)} is free" for each in listeners))
    except ApidexError as error:
        return Finding("wrong", str(error), "End what listens there, or choose another port.")


def _upstream(settings: Settings) -> Finding:
    shown = without_password(settings.upstream)
    try:
        parsed = read(settings, fetch(settings).body)
    except SettingsError as error:
        return Finding("wrong", str(error), "A replica does not start with it. Check the path.")
    except ApidexError as error:
        advice = "A replica starts all the same, with the starter catalogue. Check the URL, the network and any proxy."
        return Finding("warning", f"{shown}: {error}", advice)
    report = parsed.report
    text = f"{shown}: {counted(len(parsed.catalogue), 'entry')} ({report.format})"
    text += f", {counted(report.repaired.total, 'row')} repaired"
    if report.rejected.total:
        text += f", {report.rejected.total} rejected"
        return Finding("warning", text, "`apidex catalogue` shows which and why.")
    return Finding("ok", text)


def _disk(settings: Settings) -> Finding:
    copy = open_copy(settings.state_dir, settings.upstream, settings.upstream_format, settings.upstream_limit)
    if copy is None:
        return Finding("ok", "no directory; a replica that starts while its upstream is away has the starter catalogue")
    try:
        with tempfile.TemporaryFile(dir=next(each for each in copy.path.parents if each.exists())) as file:
            file.write(bytes(_WRITTEN))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        text = f"no copy can be written to {str(copy.path.parent)!r}: {error.strerror}"
        return Finding("warning", text, "Choose another directory with --state-dir, or none.")
    try:
        found = copy.read()
    except StateError as error:
        return Finding("warning", str(error), "A replica starts without it, and replaces it. Remove it if it stays.")
    if found is None:
        return Finding("ok", f"no copy yet in {str(copy.path.parent)!r}")
    return Finding("ok", f"{str(copy.path)!r} holds {counted(len(found[1].parsed.catalogue), 'entry')}")


def _redis(settings: Settings) -> Finding:
    if not settings.redis_url:
        return Finding("ok", "not set; a replica runs alone, on an embedded one")

    async def ask() -> StoredState:
        async with store_of(settings) as store:
            await store.rehearse()
            return await store.read()

    shown = without_password(settings.redis_url)
    try:
        with progress("Asking Redis"):
            stored: StoredState = event_loop.run(ask)
    except StoreError as error:
        return Finding("warning", f"{shown}: {error}", _REDIS_ADVICE.get(error.reason, _REDIS_ADVICE["connect"]))
    clock_error = time.time() - stored.now
    if abs(clock_error) > _CLOCK_TOLERANCE:
        return Finding("warning", f"{shown}: its clock is {_amount(clock_error)} this machine's", _NTP_ADVICE)
    if stored.catalogue is None:
        return Finding("ok", f"{shown} can be used, and holds no catalogue yet")
    catalogue, age = stored.catalogue, max(0.0, stored.now - stored.catalogue.validated_at)
    return Finding("ok", f"{shown} holds {catalogue.version}: {counted(catalogue.entries, 'entry')}, {age:.0f} s old")


def _clock(settings: Settings) -> Finding:
    """Compare this machine's clock with the upstream's Date header, if there is one."""
    if not settings.upstream.startswith("http"):
        return Finding("ok", "nothing to compare it with: the upstream is a file")
    try:
        with progress("Comparing clocks"):
            response: httpx.Response = event_loop.run(lambda: _head(settings))
        upstream = _clock_of(response)
    except (SettingsError, TimeoutError, httpx.HTTPError, httpx.InvalidURL, UnicodeError):  # the last is about the host
        upstream = None
    if upstream is None:
        return Finding("ok", "nothing to compare it with: the upstream sent no valid Date")
    clock_error = upstream - time.time()
    if abs(clock_error) > _CLOCK_TOLERANCE:
        return Finding("warning", f"this machine's is {_amount(clock_error)} the upstream's", _NTP_ADVICE)
    return Finding("ok", f"within {_CLOCK_TOLERANCE:.0f} s of the upstream's")


async def _head(settings: Settings) -> httpx.Response:
    """The head of the upstream's answer, within its whole time-out: those of httpx are for each read."""
    timeout = settings.upstream_timeout.total_seconds()
    async with asyncio.timeout(timeout), new_client(httpx.AsyncClient, timeout=timeout) as client:
        return await client.head(settings.upstream)


def _clock_of(response: httpx.Response) -> float | None:
    """The seconds since 1970 by the server's clock: `Date`, and the `Age` of what a cache has kept (RFC 9111, section 4.2.3)."""
    date, age = seconds_of_date(response.headers.get("date", "")), response.headers.get("age", "")
    return date if date is None or not re.fullmatch("[0-9]{1,9}", age) else date + int(age)


def _amount(seconds: float) -> str:
    return f"{abs(seconds):.0f} s {'behind' if seconds > 0 else 'ahead of'}"
