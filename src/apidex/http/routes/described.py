"""Describes handlers in the OpenAPI document besides their bodies: headers of requests and responses, and the 503."""

from dataclasses import dataclass
from typing import cast

from litestar.openapi.spec import (
    OpenAPIFormat,
    OpenAPIHeader,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Parameter,
    Reference,
    Schema,
)
from litestar.params import ParameterKwarg

from apidex.http.problem_details import PROBLEM_JSON

_TEXT = Schema(type=OpenAPIType.STRING)


def _header(description: str, schema: Schema = _TEXT) -> OpenAPIHeader:
    return OpenAPIHeader(description=description, schema=schema, name="", param_in="header")


_EVERY = {"X-Served-By": _header("The replica that answered")}
_CONDITIONAL = {
    "ETag": _header("Identifies the body, for `If-None-Match`"),
    "Cache-Control": _header("How long it may be reused (RFC 9111, RFC 5861)"),
    "Vary": _header("The request headers that it depends on"),
    "Catalogue-Version": _header("Order and identity of the catalogue, such as `1800000000000-64bd81190d7b`"),
    "Age": _header(
        "Seconds since the upstream last validated the catalogue", Schema(type=OpenAPIType.INTEGER, minimum=0)
    ),
    "Cache-Status": _header("Whether the catalogue is fresh, and where it is from (RFC 9211)"),
}
_LINK = {"Link": _header("The other pages, if there are any (RFC 8288)")}
_RETRY_AFTER = {"Retry-After": _header("Seconds to wait", Schema(type=OpenAPIType.INTEGER, minimum=0))}

_REQUEST_HEADERS = [
    Parameter(name, "header", Schema(type=OpenAPIType.STRING, description=description), description)
    for name, description in (
        ("If-None-Match", "The `ETag` of an answer that the client holds: it gets a 304 if the answer is the same"),
        ("If-Match", "The `ETag` that the answer must have: otherwise the client gets a 412"),
    )
]


def described(*media_types: str, conditional: bool = True, links: bool = False, sheds: bool = True) -> type[Operation]:
    """How Litestar documents a handler.

    It answers with *media_types* besides JSON, is *conditional* on what the client holds, *links* to other pages, and *sheds* if
    the replica has too much to do.
    """

    @dataclass
    class Described(Operation):
        def __post_init__(self) -> None:
            responses = cast(dict[str, OpenAPIResponse], self.responses)
            content = responses["200"].content or {}
            responses["200"].content = {**content, **{each: OpenAPIMediaType(schema=_TEXT) for each in media_types}}
            if sheds:
                responses["503"] = _overloaded()
            for status, response in responses.items():
                response.headers = {
                    **_EVERY,
                    **(_CONDITIONAL if conditional and status in ("200", "304") else {}),
                    **(_LINK if links and status == "200" else {}),
                    **(_RETRY_AFTER if sheds and status == "503" else {}),
                    **(response.headers or {}),
                }
            if conditional:
                self.parameters = [*(self.parameters or []), *_REQUEST_HEADERS]

    return Described


def _overloaded() -> OpenAPIResponse:
    problem = OpenAPIMediaType(schema=Reference("#/components/schemas/ProblemDocument"))
    return OpenAPIResponse(
        description="The replica is overloaded; another one may answer",
        content={PROBLEM_JSON.decode(): problem},
    )


def formatted(format: OpenAPIFormat, description: str | None = None) -> ParameterKwarg:  # noqa: A002 - OpenAPI's word
    """An annotation for a text in a *format* such as a time (RFC 3339) or a URI."""
    return ParameterKwarg(description=description, schema_extra={"format": format})
