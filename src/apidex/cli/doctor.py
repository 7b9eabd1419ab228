"""`apidex doctor`: would a replica run here, and if not, what is to be done?"""

import email.utils
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx
from rich.console import Console
from rich.text import Text

from apidex import event_loop
from apidex.app import store_of
from apidex.cli.source import fetch, progress, read
from apidex.errors import ApidexError, SettingsError, StoreError
from apidex.replication.store import StoredState
from apidex.server import lifecycle
from apidex.settings import Settings, unknown
from apidex.urls import without_password

_CLOCK_TOLERANCE = 30.0
_BY_NTP = "Set it by NTP. Ages stay right without it, but stamps and logs do not."
_REDIS_ADVICE = {
    "connect": "A replica starts all the same, and runs by itself until Redis is there. Check the URL, the network and TLS.",
    "timeout": "A replica starts all the same. Check that Redis is not stuck, or raise APIDEX_REDIS_TIMEOUT_SECONDS.",
    "auth": "A replica starts all the same, and runs by itself. Check the user, APIDEX_REDIS_PASSWORD and the ACL.",
}
_MARKS = {"ok": "green", "warning": "yellow", "wrong": "red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found: `ok`, `warning` (it runs all the same) or `wrong`, and what to do about it."""

    verdict: str
    text: str
    advice: str = ""


def doctor(settings: Settings, environ: Mapping[str, str]) -> int:
    """Check everything, print what was found, and give exit status 1 if something is wrong."""
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("settings", lambda: _settings(environ)),
        ("port", lambda: _port(settings)),
        ("upstream", lambda: _upstream(settings)),
        ("redis", lambda: _redis(settings)),
        ("clock", lambda: _clock(settings)),
    ]
    console = Console(highlight=False, soft_wrap=True)
    findings = []
    for name, check in checks:
        finding = check()
        findings.append(finding)
        console.print(Text.assemble((f"{finding.verdict:8}", _MARKS[finding.verdict]), f"{name:9} {finding.text}"))
        if finding.advice:
            console.print(Text(f"{'':18}{finding.advice}"))
    return int(any(finding.verdict == "wrong" for finding in findings))


def _settings(environ: Mapping[str, str]) -> Finding:
    strangers = unknown(environ)
    if strangers:
        names = ", ".join(f"{name} (is {meant} meant?)" if meant else name for name, meant in strangers.items())
        return Finding("warning", f"no such setting: {names}", "docs/settings.md lists them all.")
    return Finding("ok", "every one is allowed")


def _port(settings: Settings) -> Finding:
    try:
        with lifecycle.listen(settings.host, settings.port) as listener:
            return Finding("ok", f"{lifecycle.address_of(listener)} is free")
    except ApidexError as error:
        return Finding("wrong", str(error), "End what listens there, or choose another with --port.")


def _upstream(settings: Settings) -> Finding:
    shown = without_password(settings.upstream)
    try:
        parsed = read(settings, fetch(settings).body)
    except SettingsError as error:
        return Finding("wrong", str(error), "A replica does not start so. Check the path.")
    except ApidexError as error:
        advice = "A replica starts all the same, with the starter catalogue. Check the URL, the network and any proxy."
        return Finding("wrong", f"{shown}: {error}", advice)
    report = parsed.report
    text = f"{shown}: {len(parsed.catalogue)} entries ({report.format}), {report.repaired.total} rows repaired"
    if report.rejected.total:
        return Finding(
            "warning", f"{text}, {report.rejected.total} rejected", "`apidex catalogue` shows which and why."
        )
    return Finding("ok", text)


def _redis(settings: Settings) -> Finding:
    if not settings.redis_url:
        return Finding("ok", "none is set; a replica runs alone, on an embedded one")

    async def ask() -> StoredState:
        async with store_of(settings) as store:
            return await store.read()

    shown = without_password(settings.redis_url)
    try:
        with progress("Asking Redis"):
            stored: StoredState = event_loop.run(ask)
    except StoreError as error:
        return Finding("warning", f"{shown}: {error}", _REDIS_ADVICE.get(error.kind, _REDIS_ADVICE["connect"]))
    off = time.time() - stored.now
    if abs(off) > _CLOCK_TOLERANCE:
        text = f"{shown}: its clock is {abs(off):.0f} s {'behind' if off > 0 else 'ahead of'} this machine's"
        return Finding("warning", text, _BY_NTP)
    if stored.catalogue is None:
        return Finding("ok", f"{shown} answers, and holds no catalogue yet")
    age = max(0.0, stored.now - stored.catalogue.validated_at)
    return Finding(
        "ok", f"{shown} holds {stored.catalogue.version}: {stored.catalogue.entries} entries, {age:.0f} s old"
    )


def _clock(settings: Settings) -> Finding:
    """Compare this machine's clock with the upstream's Date header, if there is one."""
    if not settings.upstream.startswith("http"):
        return Finding("ok", "nothing to compare it with: the upstream is a file")
    try:
        with progress("Comparing clocks"):
            response = httpx.head(settings.upstream, timeout=settings.upstream_timeout.total_seconds())
        off = time.time() - email.utils.parsedate_to_datetime(response.headers.get("date", "")).timestamp()
    except (httpx.HTTPError, ValueError):
        return Finding("ok", "nothing to compare it with: the upstream told no time")
    if abs(off) > _CLOCK_TOLERANCE:
        return Finding(
            "warning",
            f"this machine's is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} the upstream's",
            _BY_NTP,
        )
    return Finding("ok", f"within {_CLOCK_TOLERANCE:.0f} s of the upstream's")
