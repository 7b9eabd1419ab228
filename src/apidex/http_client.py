"""HTTP clients as the environment wants them: httpx reads its variables for proxies and certificates. Errors name them."""

import email.utils
import os
from collections.abc import Callable
from datetime import UTC
from typing import Any, TypeVar

import httpx

from apidex.errors import SettingsError

T = TypeVar("T")

_PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_ALLOWED_PROXY = "allowed is http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT"


def new_client(kind: Callable[..., T], **options: Any) -> T:  # noqa: ANN401 - httpx's
    """Return `httpx.Client` or `httpx.AsyncClient` with *options*. Raises SettingsError for a variable that cannot be used."""
    try:
        return kind(**options)
    except OSError as error:
        raise SettingsError(f"SSL_CERT_FILE cannot be used: {error.strerror or error}") from None
    except ImportError:
        name = _first(lambda proxy: proxy.startswith("socks"))
        raise SettingsError(f"{name} is a SOCKS proxy, which needs httpx[socks]: pip install 'httpx[socks]'") from None
    except (ValueError, TypeError, httpx.InvalidURL):  # the value may hold a password
        name = _first(lambda proxy: not _is_proxy(proxy))
        allowed = (
            _ALLOWED_PROXY if name else "allowed are host names, IPv4 networks and IP addresses, without IPv6 networks"
        )
        raise SettingsError(f"{name or 'NO_PROXY'} cannot be used; {allowed}") from None


def seconds_of_date(text: str) -> float | None:
    """The seconds since 1970 of a date in a header (RFC 9110, section 5.6.7); None for another text."""
    try:
        date = email.utils.parsedate_to_datetime(text)
        # asctime-date has no zone, and is in UTC
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _first(applies: Callable[[str], bool]) -> str:
    """Return the first variable of a proxy to whose value *applies*; empty for none."""
    given = ((name, value) for name, value in os.environ.items() if value and name.upper() in _PROXY_VARIABLES)
    return next((name for name, value in given if applies(value)), "")


def _is_proxy(text: str) -> bool:
    try:
        httpx.Proxy(text if "://" in text else f"http://{text}")
    except (ValueError, httpx.InvalidURL):
        return False
    return True
