"""Errors, as problem documents (RFC 9457): their shape, and how an exception of a handler becomes one."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi import ResponseSpec

from apidex import logs
from apidex.errors import QueryError
from apidex.http.headers import ALLOW
from apidex.http.probes import ADMIN_PATHS
from apidex.http.problem_details import FAULT, PROBLEM_JSON, Problem
from apidex.http.routes.parameters import not_allowed, query_parameters

log = logs.get_logger()

_NOT_FOUND = (
    "There is nothing at this path. A name is searched by a path of one segment, where a / is written %2F. All paths are listed "
    "at /-/docs."
)
_NOT_FOUND_ADMIN = "There is nothing at this path. This port answers {}, {} and {}.".format(*ADMIN_PATHS)
_ON_ADMIN_PORT = "This port does not answer this path. The admin port does."


class ProblemDocument(msgspec.Struct, frozen=True):
    """An error (RFC 9457). Some problems have further members, such as the limit that was passed."""

    title: str
    status: int
    detail: str


def problem_spec(status: HTTPStatus, text: str) -> dict[int, ResponseSpec]:
    return {
        status: ResponseSpec(
            ProblemDocument, description=text, media_type=PROBLEM_JSON.decode(), generate_examples=False
        )
    }


def problem(_: Request[Any, Any, Any], problem: Problem) -> Response[bytes]:
    headers = {"cache-control": "no-store", "content-type": PROBLEM_JSON.decode()}
    return Response(problem.body(), status_code=problem.status, media_type=PROBLEM_JSON.decode(), headers=headers)


def http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    is_public = request.app.openapi_config is not None
    on_public = _ON_ADMIN_PORT if request.url.path.rstrip("/") in ADMIN_PATHS else _NOT_FOUND
    details = {
        404: on_public if is_public else _NOT_FOUND_ADMIN,
        405: f"{request.method} is not allowed here; allowed are {ALLOW}.",
    }
    response = problem(request, Problem(error.status_code, details.get(error.status_code, error.detail)))
    if error.headers and "allow" in error.headers:
        response.headers["allow"] = ALLOW
    return response


def query_error(request: Request[Any, Any, Any], error: QueryError) -> Response[bytes]:
    return problem(request, Problem(400, f"{error}.", parameter=error.name, allowed=error.allowed))


def invalid_parameter(request: Request[Any, Any, Any], error: ValidationException) -> Response[bytes]:
    """The problem of the first parameter that Litestar could not convert."""
    argument = cast(list[dict[str, str]], error.extra)[0]["key"]
    declared = request.route_handler.parsed_fn_signature.parameters.get(argument)
    name = (declared and getattr(declared.kwarg_definition, "name", None)) or argument
    parameter = query_parameters(request.route_handler)[name]
    return problem(request, not_allowed(name, request.query_params[name], parameter))


def fault(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    log.error("request.broken", path=request.scope["path"], exc_info=error)
    return problem(request, Problem(500, FAULT))


EXCEPTION_HANDLERS: dict[int | type[Exception], Callable[[Request[Any, Any, Any], Any], Response[bytes]]] = {
    Problem: problem,
    QueryError: query_error,
    ValidationException: invalid_parameter,
    HTTPException: http_exception,
    Exception: fault,
}
