"""Asking the upstream: a URL in, bytes out. Knows no format, and does not decide what a failure means."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import unquote_to_bytes, urlsplit

import httpx

from apidex.errors import SettingsError, UpstreamError
from apidex.event_loop import in_thread
from apidex.http_client import new_client, seconds_of_date
from apidex.regular_file import open_regular
from apidex.replication.inflate import Inflater
from apidex.replication.meter import Meter
from apidex.replication.validators import NO_VALIDATORS, Validators
from apidex.urls import without_password

T = TypeVar("T")

_REDIRECTS = 5

_SLICE = 0.002
"""Seconds of reading a body after which other tasks run. An answer may consist of a million chunks."""


class _NoCookies(CookieJar):
    """Ignores the cookies of an upstream."""

    def extract_cookies(self, *_: object) -> None:
        """As `CookieJar.extract_cookies`."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A complete answer, decompressed."""

    body: bytes | bytearray
    validators: Validators


@dataclass(frozen=True, slots=True)
class NotModified:
    """The upstream still has what these validators stand for (status 304)."""

    validators: Validators


class Upstream(Protocol):
    """Where catalogues come from."""

    source: str
    """Its URL, without user and password."""

    async def fetch(self, validators: Validators) -> Fetched | NotModified:
        """Ask for the catalogue, unless it is the one of *validators*. Raises UpstreamError; ends within its time-out."""


@asynccontextmanager
async def open_upstream(url: str, timeout: timedelta, limit: int, redirect_hosts: str = "") -> AsyncIterator[Upstream]:
    """Open the upstream at *url*: `https:`, `http:` or `file:`. Raises SettingsError for a file that cannot be read.

    *limit* is the largest answer, in bytes, that is accepted. A redirect may lead to the host of *url* and to
    *redirect_hosts*, with commas between them; `*` stands for any.
    """
    if urlsplit(url).scheme == "file":
        file = FileUpstream(url, timeout, limit)
        await file.check()
        yield file
        return
    options = {
        "timeout": timeout.total_seconds(),
        "cookies": _NoCookies(),
        "headers": {"user-agent": "apidex", "accept-encoding": "gzip"},
    }
    hosts = [host.strip().lower() for host in redirect_hosts.split(",")]
    upstream = HttpUpstream(lambda: new_client(httpx.AsyncClient, **options), url, timeout, limit, hosts)
    try:
        yield upstream
    finally:
        await upstream.aclose()


class HttpUpstream(Upstream):
    """An upstream behind HTTP, asked with the validators that it gave.

    *connect* makes a client at the first fetch, since the environment can be unusable, and usable later. It raises SettingsError.
    """

    def __init__(
        self,
        connect: Callable[[], httpx.AsyncClient],
        url: str,
        timeout: timedelta,
        limit: int,
        redirect_hosts: Sequence[str] = (),
    ) -> None:
        self.source = without_password(url)
        self._connect, self._url, self._timeout, self._limit = connect, url, timeout, limit
        self._redirect_hosts = redirect_hosts
        self._client: httpx.AsyncClient | None = None
        self._meter = Meter(limit)

    async def aclose(self) -> None:
        """Close its connections."""
        if self._client is not None:
            await self._client.aclose()

    async def fetch(self, validators: Validators) -> Fetched | NotModified:
        hops: list[httpx.Request] = []
        self._meter.reset()
        try:
            async with asyncio.timeout(self._timeout.total_seconds()):
                return await self._fetch(validators, hops)
        except Exception as error:  # whatever a library raises, there is no answer
            failure = self._failure(error)
            raise (_after_redirect(failure, hops[-1]) if len(hops) > 1 else failure) from None

    def _failure(self, error: Exception) -> UpstreamError:
        """What *error* means to an operator."""
        match error:
            case UpstreamError():
                return error
            case SettingsError():
                return UpstreamError("environment", str(error))
            case TimeoutError() | httpx.TimeoutException():
                seconds = f"{self._timeout.total_seconds():g}"
                return UpstreamError("timeout", f"the upstream did not answer completely within {seconds} s")
            case httpx.ConnectError():
                return UpstreamError("connect", f"the upstream cannot be reached: {_reason(error)}")
        return UpstreamError("broken", f"the upstream's answer broke off: {_reason(error)}")

    async def _fetch(self, validators: Validators, hops: list[httpx.Request]) -> Fetched | NotModified:
        """Ask, and follow redirects; *hops* gets every request before it is sent."""
        self._client = self._client or self._connect()
        validators = validators.sendable()
        extensions = {"trace": self._meter.trace}
        following = self._client.build_request("GET", self._url, headers=_conditions(validators), extensions=extensions)
        while True:
            hops.append(following)
            async with aclosing(await self._client.send(following, stream=True, follow_redirects=False)) as response:
                if response.next_request is None:
                    return await self._read(response, validators)
                following = response.next_request
            _check_redirect(hops, following.url, self._redirect_hosts)

    async def _read(self, response: httpx.Response, validators: Validators) -> Fetched | NotModified:
        if response.status_code == httpx.codes.NOT_MODIFIED and validators != NO_VALIDATORS:
            return NotModified(validators)
        if response.status_code != httpx.codes.OK:
            text = f"the upstream answered {response.status_code} {response.reason_phrase}".rstrip()
            raise UpstreamError("status", text, _retry_after(response))
        given = Validators(response.headers.get("etag", ""), response.headers.get("last-modified", ""))
        return Fetched(await self._body(response), given.sendable())

    async def _body(self, response: httpx.Response) -> bytearray:
        inflater = Inflater(response.headers.get("content-encoding", "").strip().lower())
        body, pause_at = bytearray(), time.perf_counter() + _SLICE
        async for chunk in response.aiter_raw():
            self._meter.progress()
            for piece in inflater.inflate(chunk):
                body += piece
                if len(body) > self._limit:
                    raise _too_large(self._limit)
                if time.perf_counter() > pause_at:
                    await asyncio.sleep(0)
                    pause_at = time.perf_counter() + _SLICE
        inflater.finish()
        return body


class FileUpstream(Upstream):
    """An upstream that is a file; its size and time of change are its validator."""

    def __init__(self, url: str, timeout: timedelta, limit: int) -> None:
        parts = urlsplit(url)
        self.source, self._timeout, self._limit = url, timeout, limit
        host = "" if parts.netloc == "localhost" else parts.netloc  # RFC 8089, section 2
        self._path = Path(os.fsdecode(unquote_to_bytes(host + parts.path)))
        self._reading: asyncio.Future[Any] | None = None

    async def check(self) -> None:
        """Raise SettingsError for a file that cannot be opened."""
        try:
            await self._in_time(lambda: open_regular(self._path).close())
        except (OSError, ValueError, UpstreamError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise SettingsError(
                f"the upstream {self.source!r} cannot be read: {reason}; allowed is a regular file that exists"
            ) from None

    async def fetch(self, validators: Validators) -> Fetched | NotModified:
        return await self._in_time(lambda: self._read(validators))

    async def _in_time(self, function: Callable[[], T]) -> T:
        """The result of *function*, which may wait for a disk. Raises UpstreamError if it takes longer than the time-out.

        While an earlier one waits for the disk, no further thread is started.
        """
        try:
            async with asyncio.timeout(self._timeout.total_seconds()):
                if self._reading is not None:
                    await asyncio.wait([self._reading])
                self._reading = asyncio.ensure_future(in_thread(function))
                await asyncio.wait([self._reading])
        except TimeoutError:
            raise UpstreamError("timeout", "the upstream's file was not read in time") from None
        result: T = self._reading.result()
        return result

    def _read(self, validators: Validators) -> Fetched | NotModified:
        try:
            with open_regular(self._path) as file:
                state = os.fstat(file.fileno())
                given = Validators(etag=f'"{state.st_mtime_ns}-{state.st_size}-{state.st_ino}"')
                if given == validators:
                    return NotModified(validators)
                body = file.read(self._limit + 1)
        except OSError as error:
            raise UpstreamError("file", f"the upstream's file cannot be read: {error.strerror}") from None
        if len(body) > self._limit:
            raise _too_large(self._limit)
        return Fetched(body, given)


def _check_redirect(hops: Sequence[httpx.Request], target: httpx.URL, hosts: Sequence[str]) -> None:
    """Raise UpstreamError if a redirect to *target* after *hops* is not allowed."""
    scheme, host = target.scheme, target.raw_host.decode("ascii", "replace").lower()
    if scheme not in ("https", "http"):
        raise UpstreamError("redirect", f"the upstream redirected to {scheme}:; allowed are https: and http:")
    if (hops[-1].url.scheme, scheme) == ("https", "http"):
        raise UpstreamError("redirect", "the upstream redirected from https to http")
    if host not in (hops[0].url.raw_host.decode("ascii", "replace").lower(), *hosts) and "*" not in hosts:
        text = (
            f"the upstream redirected to {host}; allowed are its own host and those of APIDEX_UPSTREAM_REDIRECT_HOSTS"
        )
        raise UpstreamError("redirect", text, public="the upstream redirected to a host that is not allowed")
    if len(hops) > _REDIRECTS:
        raise UpstreamError("redirect", f"the upstream redirected more than {_REDIRECTS} times")


def _after_redirect(failure: UpstreamError, asked: httpx.Request) -> UpstreamError:
    """*failure* of a target that the upstream chose: it may be in our own network, so only operators are told more."""
    text = f"the upstream redirected to {without_password(str(asked.url))}, and then: {failure}"
    public = "the upstream redirected, and the target gave no usable answer"
    return UpstreamError("redirect", text, failure.retry_after, public)


def _conditions(validators: Validators) -> dict[str, str]:
    given = {"if-none-match": validators.etag, "if-modified-since": validators.last_modified}
    return {name: value for name, value in given.items() if value}


def _too_large(limit: int) -> UpstreamError:
    return UpstreamError("too_large", f"the upstream's answer is larger than {limit} bytes")


def _reason(error: Exception) -> str:
    return str(error).strip() or type(error).__name__


def _retry_after(response: httpx.Response) -> float | None:
    """The `Retry-After` in seconds (RFC 9110, section 10.2.3), if there is a valid one."""
    text = response.headers.get("retry-after", "").strip()[:64]
    if text.isdecimal():
        return float(text)
    date = seconds_of_date(text)
    return None if date is None else max(0.0, date - time.time())
