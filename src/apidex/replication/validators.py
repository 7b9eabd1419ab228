"""What an upstream gives to be asked again with. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Validators:
    """An entity tag and a date, as the upstream spelt them (RFC 9110, section 8.8); empty where it gave none."""

    etag: str = ""
    last_modified: str = ""


NO_VALIDATORS = Validators()
"""To ask with for the first time."""
