"""URLs: what they are, and in a form without secrets, for display. Pure."""

from urllib.parse import SplitResult, urlsplit, urlunsplit


def split(url: str) -> SplitResult:
    """*url* in its parts, also one of sentinels: it has several hosts, whose brackets urlsplit refuses from Python 3.13 on."""
    scheme, _, rest = url.partition("://")
    if not scheme.endswith("+sentinel"):
        return urlsplit(url)
    netloc, slash, path = rest.partition("/")
    return SplitResult(scheme, netloc, slash + path, "", "")


def without_password(url: str) -> str:
    """*url* without its user and password, and without a query, which may hold a key: fit to be shown."""
    parts = split(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="…" if parts.query else ""))


def is_web_link(link: str) -> bool:
    """Whether a browser opens *link* from any page: it has the scheme https or http."""
    return link.lower().startswith(("https://", "http://"))
