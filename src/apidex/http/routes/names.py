"""`GET /{name}` without the fast path: the source of the OpenAPI document. The fast path must give the same bytes."""

from http import HTTPStatus
from typing import Annotated

import msgspec
from litestar import Response, get
from litestar.exceptions import NotFoundException
from litestar.openapi import ResponseSpec
from litestar.params import Parameter

from apidex.catalogue.entry import NAME_LIMIT, Entry
from apidex.http.paths import is_single_segment, name_from_path
from apidex.http.routes.conditional import CONDITIONAL, Content, HttpRequest, ReplicaDependency, catalogue_response
from apidex.http.routes.described import described
from apidex.http.routes.parameters import NO_CONTROLS
from apidex.http.routes.problems import problem_spec
from apidex.search.text import composed

NAME = Parameter(
    description="What the name must contain",
    schema_extra={"minLength": 1, "maxLength": NAME_LIMIT, "pattern": NO_CONTROLS},
)


@get(
    "/{name:str}",
    summary="Find every API whose name contains a string",
    description=(
        "Case-sensitive, complete, in the order of the catalogue; an empty list where there is none. Names are compared in NFC: "
        "both spellings of é are equal. Any character can be searched, percent-encoded where a URL needs it: "
        "`/Songlink%20%2F%20Odesli`. Clients remove `.` and `..` from a path: `/v1/entries?name=..` gives the same answer."
    ),
    tags=["search"],
    operation_id="search_by_name",
    operation_class=described(),
    responses={
        200: ResponseSpec(list[Entry], description="The entries", generate_examples=False),
        **CONDITIONAL,
        **problem_spec(
            HTTPStatus.BAD_REQUEST, "A name that no API can have: too long, with control characters, or not UTF-8"
        ),
    },
)
async def search_by_name(
    request: HttpRequest,
    replica: ReplicaDependency,
    name: Annotated[str, NAME],  # noqa: ARG001 - for the document; the undecoded path is read instead
) -> Response[bytes]:
    """Answer with every entry that matches, encoded here."""
    raw_path = request.scope["raw_path"]
    if not is_single_segment(raw_path):  # Litestar takes /Cat/ for /Cat
        raise NotFoundException
    wanted, current = composed(name_from_path(raw_path)), replica.refresher.current

    async def content() -> Content:
        found = [entry for entry in current.catalogue if wanted in composed(entry.name)]
        return Content(msgspec.json.encode(found))

    return await catalogue_response(request, replica, current, content)
