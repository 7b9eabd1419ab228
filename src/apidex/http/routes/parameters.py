"""Query parameters, where the API promises more than Litestar: an unknown parameter is an error, and so is a repeated one.

Litestar reads, converts and documents parameters by the signature of a handler. The *title* of a parameter says what is allowed.
"""

import functools
import inspect
from collections import Counter
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode

from litestar import Request
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler
from litestar.openapi.spec import OpenAPIType, Schema
from litestar.params import ParameterKwarg, QueryParameter, SkipValidation

from apidex.http.problem_details import Problem
from apidex.search.filters import FILTERS, MAX_FILTER_VALUES

MAX_PARAMETERS = 100

NO_CONTROLS = r"^[^\x00-\x1f\x7f-\x9f]*$(?!\n)"
"""What `entry.has_control` refuses, in the words of JSON Schema. In Python, `$` matches before a final newline, too."""


def whole_number(low: int, high: int, description: str) -> ParameterKwarg:
    """A parameter that is a whole number."""
    return QueryParameter(ge=low, le=high, title=f"a whole number from {low} to {high}", description=description)


async def strict_query(request: Request[Any, Any, Any]) -> None:
    """Raise Problem for a query that has a parameter unknown to the handler, too often, or not at all.

    Then rewrite the query for Litestar: percent-encoded UTF-8, and words in lower case where case does not matter. It is async
    although it awaits nothing, because Litestar would run it in a thread.
    """
    parameters = query_parameters(request.route_handler)
    pairs = _pairs(request.scope["query_string"])
    counts = Counter(name for name, _ in pairs)
    for name in counts:
        if name not in parameters:
            allowed = f"allowed are {', '.join(parameters)}" if parameters else "none is allowed"
            raise Problem(400, f"There is no parameter {name[:80]!r} here; {allowed}.", allowed=list(parameters))
    for name, parameter in parameters.items():
        most = parameter.max_items or 1
        if parameter.required and name not in counts:
            raise Problem(400, f"The parameter {name} is missing; allowed is {parameter.title}.", parameter=name)
        if counts[name] > most:
            times = "once is allowed" if most == 1 else f"at most {most} times are allowed"
            raise Problem(400, f"The parameter {name} is given {counts[name]} times; {times}.", parameter=name)
    pairs = [(name, value.lower() if parameters[name].lower_case else value) for name, value in pairs]
    request.scope["query_string"] = urlencode(pairs).encode()


def _pairs(query_string: bytes) -> list[tuple[str, str]]:
    try:
        text = query_string.decode()
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
    except UnicodeDecodeError:
        raise Problem(400, "The query is not valid UTF-8.") from None
    except ValueError:
        raise Problem(400, f"The query has too many parameters; at most {MAX_PARAMETERS} are allowed.") from None


@functools.cache
def query_parameters(handler: BaseRouteHandler) -> dict[str, QueryParameter]:
    """The query parameters of *handler*, those of its dependencies among them, in the order of its signature."""
    providers, found = handler.resolve_dependencies(), dict[str, Any]()
    for name, field in handler.parsed_fn_signature.parameters.items():
        found |= providers[name].parsed_fn_signature.parameters if name in providers else {name: field}
    kinds = {name: field.kwarg_definition for name, field in found.items()}
    return {kind.name or name: kind for name, kind in kinds.items() if isinstance(kind, QueryParameter)}


def not_allowed(name: str, value: str, parameter: ParameterKwarg) -> Problem:
    """The problem of a *value* that the *parameter* cannot have."""
    shown = repr(value) if len(value) <= 80 else f"a value of {len(value)} characters"
    return Problem(400, f"{name}: {shown} is not allowed; allowed is {parameter.title}.", parameter=name)


# --- filters


def requested_filters(replica: Any, **values: tuple[str, ...]) -> dict[str, tuple[str, ...]]:  # noqa: ANN401, ARG001
    """The values that a request gives for each filter; a dependency of handlers. It gets its parameters below.

    It does not use *replica*. Litestar resolves two dependencies in two tasks, which take a tenth of a millisecond, unless one of
    them depends on the other.
    """
    return values


RequestedFilters = SkipValidation[NamedDependency[dict[str, tuple[str, ...]]]]
_Replica = SkipValidation[NamedDependency[Any]]

requested_filters.__annotations__ = {"replica": _Replica} | {
    name: Annotated[
        tuple[str, ...],
        QueryParameter(
            description=each.description
            + ("" if each.is_flag else " Several are alternatives, in upper or lower case."),
            max_items=MAX_FILTER_VALUES,
            schema_extra={"items": Schema(type=OpenAPIType.STRING, enum=list(each.values) or None)},
        ),
    ]
    for name, each in FILTERS.items()
}
requested_filters.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=(), annotation=annotation)
        for name, annotation in requested_filters.__annotations__.items()
    ]
)
