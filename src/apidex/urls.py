"""URLs that are fit to be shown. Pure."""

from urllib.parse import urlsplit, urlunsplit


def without_password(url: str) -> str:
    """*url* without its user and password, and without a query, which may hold a key: fit to be shown."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="…" if parts.query else ""))
