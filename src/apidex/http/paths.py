"""Names in paths: every path of one segment is a search."""

from urllib.parse import unquote_to_bytes

from apidex.catalogue.entry import NAME_LIMIT, has_control
from apidex.http.problem_details import Problem


def is_single_segment(raw_path: bytes) -> bool:
    """Whether a path has exactly one segment, and that is not empty."""
    return len(raw_path) > 1 and raw_path.rfind(b"/") == 0


def name_from_path(raw_path: bytes) -> str:
    """The name that a path of one segment asks for. Raises Problem for one that no entry can have."""
    try:
        name = (unquote_to_bytes(raw_path[1:]) if b"%" in raw_path else raw_path[1:]).decode()
    except UnicodeDecodeError as error:
        raise Problem(400, f"The name is not valid UTF-8 at byte {error.start}.") from None
    if len(name) > NAME_LIMIT:
        raise Problem(400, f"The name has {len(name)} characters; at most {NAME_LIMIT} are allowed.", limit=NAME_LIMIT)
    if has_control(name):
        raise Problem(400, f"The name has control characters; 1 to {NAME_LIMIT} others are allowed.", limit=NAME_LIMIT)
    return name
