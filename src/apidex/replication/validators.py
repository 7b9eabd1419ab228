"""The validators of an upstream's answer, for conditional requests. Pure."""

import re
from dataclasses import dataclass

_ETAG = re.compile(r'(W/)?"[\x21\x23-\x7e]{0,510}"')
"""An entity tag (RFC 9110, section 8.8.3) in ASCII; servers refuse a head of many kB."""

_DATE = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,63}")


@dataclass(frozen=True, slots=True)
class Validators:
    """An entity tag and a date, as the upstream spelt them (RFC 9110, section 8.8); empty where it gave none."""

    etag: str = ""
    last_modified: str = ""

    def sendable(self) -> "Validators":
        """Return those that may be sent back: short, and with the characters that their headers may have."""
        etag, date = _ETAG.fullmatch(self.etag), _DATE.fullmatch(self.last_modified)
        return Validators(self.etag if etag else "", self.last_modified if date else "")


NO_VALIDATORS = Validators()
"""For the first request."""
