"""A running service, as `--url` names it: a path in, the answer's bytes out."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from apidex import event_loop
from apidex.cli.output import progress
from apidex.errors import QueryError, ServiceError, SettingsError
from apidex.http_client import new_client
from apidex.urls import without_password


class _Problem(msgspec.Struct):
    """The members of a problem document that are read."""

    detail: str = "the service answered that the request is invalid"
    parameter: str = ""
    allowed: list[str] = []


@dataclass(frozen=True, slots=True)
class Service:
    """The service at *url*, which must answer completely within *timeout* seconds, and with at most *limit* bytes."""

    url: str
    timeout: float
    limit: int

    def __post_init__(self) -> None:
        """Raise SettingsError for a URL that cannot be that of a service."""
        _check_url(self.url)

    def get(self, path: str, filters: Mapping[str, Sequence[str]] | None = None) -> bytes:
        """Return the answer to *path*. Raises ServiceError, and QueryError or SettingsError for what the service refuses."""
        try:
            with progress(f"Asking {self.shown}"):
                response, body = event_loop.run(lambda: self._get(f"{self.url.rstrip('/')}/{path}"))
        except httpx.InvalidURL:
            raise SettingsError("the arguments are too long; 65,536 bytes are allowed") from None
        if response.status_code in (httpx.codes.BAD_REQUEST, httpx.codes.GONE):
            raise _refusal(body, filters or {})
        if not response.is_success:
            text = f"the service at {self.shown} answered {response.status_code} {response.reason_phrase}"
            raise ServiceError(text.rstrip())
        return bytes(body)

    async def _get(self, url: str) -> tuple[httpx.Response, bytearray]:
        async with new_client(httpx.AsyncClient, timeout=self.timeout) as client:
            return await self.ask(client, url)

    async def ask(
        self, client: httpx.AsyncClient, url: str, parameters: Mapping[str, Sequence[str]] | None = None
    ) -> tuple[httpx.Response, bytearray]:
        """Return the head and the body of the answer to a GET by *client*. Raises ServiceError, or httpx.InvalidURL.

        The time-outs of httpx are for each read: an answer of which a byte a second arrives would never reach them.
        """
        body = bytearray()
        request = client.stream("GET", url, params=None if parameters is None else dict(parameters))
        try:
            async with asyncio.timeout(self.timeout), request as response:
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > self.limit:
                        raise ServiceError(f"the service at {self.shown} answered with more than {self.limit:,} bytes")
                return response, body
        except (TimeoutError, httpx.TimeoutException):
            text = f"the service at {self.shown} did not answer completely within {self.timeout:g} s"
            raise ServiceError(text) from None
        except httpx.HTTPError as error:
            text = f"the service at {self.shown} gave no answer: {str(error) or type(error).__name__}"
            raise ServiceError(text) from None

    def decode(self, body: bytes, shape: Any, what: str) -> Any:  # noqa: ANN401 - a type, and a value of it
        """Return the *body* of an answer as *shape*. Raises ServiceError, which says *what* was expected."""
        try:
            return msgspec.json.decode(body, type=shape)
        except (msgspec.DecodeError, UnicodeDecodeError):
            text = f"the service at {self.shown} is not Apidex: its answer is not {what}"
            raise ServiceError(text) from None

    @property
    def shown(self) -> str:
        """Its URL, for people."""
        return without_password(self.url)


def _check_url(url: str) -> None:
    """Raise SettingsError for a *url* that cannot be that of a service."""
    try:
        parts, address = urlsplit(url), httpx.URL(url)  # each finds errors that the other overlooks
        is_host = bool(address.host and address.raw_host.decode().encode("idna"))  # as the resolver encodes it
        usable = is_host and parts.scheme in ("http", "https") and parts.port != 0
    except (ValueError, httpx.InvalidURL):  # UnicodeError, which a host raises, is a ValueError
        usable = False
    if not usable:
        text = f"--url: {url!r} is not allowed; allowed is the URL of a service, such as http://127.0.0.1:8000"
        raise SettingsError(text)


def _refusal(body: bytearray, filters: Mapping[str, Sequence[str]]) -> QueryError | SettingsError:
    """The error for a bad request; for a filter, the same one as of a search in this process."""
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        problem = _Problem()
    known = {value.casefold() for value in problem.allowed}
    for value in filters.get(problem.parameter, ()):
        if problem.allowed and value.casefold() not in known:
            return QueryError(problem.parameter, value, problem.allowed)
    return SettingsError(problem.detail.rstrip("."))
