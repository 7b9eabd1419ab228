"""What a question may ask by, written once: it is read from the query string by this, and the OpenAPI document tells of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from litestar import Request
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIResponse, Operation, Parameter, Schema

from apidex.http.problem_details import Problem

MOST_PARAMETERS = 100

NO_CONTROLS = r"^[^\x00-\x1f\x7f-\x9f]*$"
"""What `catalogue.has_control` refuses, in the words of JSON Schema."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A parameter: *parse* raises ValueError for what is not *allowed*. One that may come *many* times is a list of them all."""

    name: str
    about: str
    schema: Schema
    allowed: str
    parse: Callable[[str], Any] = str
    default: Any = None
    required: bool = False
    many: bool = False

    def read(self, values: Sequence[str]) -> Any:  # noqa: ANN401 - whatever the parameter stands for
        """What *values* mean. Raises Problem if they are not allowed."""
        if self.required and not values:
            raise Problem(400, f"The parameter {self.name} is missing; allowed is {self.allowed}.", parameter=self.name)
        if len(values) > 1 and not self.many:
            detail = f"The parameter {self.name} is given {len(values)} times; once is allowed."
            raise Problem(400, detail, parameter=self.name)
        parsed = [self._parsed(value) for value in values]
        if self.many:
            return parsed
        return parsed[0] if parsed else self.default

    def _parsed(self, value: str) -> Any:  # noqa: ANN401 - see read
        try:
            return self.parse(value)
        except ValueError:
            shown = repr(value) if len(value) <= 80 else f"a value of {len(value)} characters"
            detail = f"{self.name}: {shown} is not allowed; allowed is {self.allowed}."
            raise Problem(400, detail, parameter=self.name) from None

    def documented(self) -> Parameter:
        """The same for the OpenAPI document."""
        schema = Schema(type="array", items=self.schema) if self.many else self.schema  # type: ignore[arg-type]
        return Parameter(
            self.name,
            "query",
            schema=schema,
            description=self.about,
            required=self.required,
            example=self.schema.example,
        )


def read(
    request: Request[Any, Any, Any], parameters: Sequence[Asked], normalize: Callable[[bytes], bytes] = bytes
) -> dict[str, Any]:
    """The value of each of *parameters*. Raises Problem for one that is not among them, or says what is not allowed.

    *normalize* is what the query string is taken for.
    """
    given = _pairs(normalize(request.scope["query_string"]))
    names = [parameter.name for parameter in parameters]
    for name, _ in given:
        if name not in names:
            shown = repr(name[:80])
            allowed = f"allowed are {', '.join(names)}" if names else "none is allowed"
            raise Problem(400, f"There is no parameter {shown} here; {allowed}.", allowed=names)
    return {each.name: each.read([value for name, value in given if name == each.name]) for each in parameters}


def _pairs(query_string: bytes) -> list[tuple[str, str]]:
    try:
        text = query_string.decode()
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MOST_PARAMETERS)
    except UnicodeDecodeError:
        raise Problem(400, "The query is no valid UTF-8.") from None
    except ValueError:
        raise Problem(400, f"The query has too many parameters; at most {MOST_PARAMETERS} are allowed.") from None


def asking(*parameters: Asked, also: Sequence[str] = ()) -> type[Operation]:
    """What Litestar makes the OpenAPI document of, for a handler that reads *parameters* by itself.

    *also* are the media types, besides JSON, that it answers with.
    """

    @dataclass
    class Asking(Operation):
        def __post_init__(self) -> None:
            self.parameters = [*(self.parameters or []), *(each.documented() for each in parameters)]
            answer = (self.responses or {}).get("200")
            if isinstance(answer, OpenAPIResponse) and answer.content:
                answer.content.update({media_type: OpenAPIMediaType() for media_type in also})

    return Asking


def whole(name: str, about: str, low: int, high: int, default: int) -> Asked:
    """A parameter that is a whole number."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= len(str(high)) and low <= int(text) <= high):
            raise ValueError(text)
        return int(text)

    schema = Schema(type="integer", minimum=low, maximum=high, default=default)  # type: ignore[arg-type]
    allowed = f"a whole number from {low} to {high}"
    return Asked(name=name, about=about, schema=schema, allowed=allowed, parse=parse, default=default)


def one_of(name: str, about: str, words: Sequence[str], *, default: str | None = None, many: bool = False) -> Asked:
    """A parameter that is one of a few *words*, in upper or lower case."""

    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(text)
        return text.lower()

    schema = Schema(type="string", enum=list(words), default=default)  # type: ignore[arg-type]
    allowed = "one of " + ", ".join(words)
    return Asked(name=name, about=about, schema=schema, allowed=allowed, parse=parse, default=default, many=many)
