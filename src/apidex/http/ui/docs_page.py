"""The OpenAPI document as a page for people: plain HTML that loads nothing."""

import re
from collections.abc import Iterable
from html import escape
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

_STYLE = """
:root{color-scheme:light dark;--soft:#8885}
body{font:1rem/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem}
h1,h2,h3{line-height:1.2} h1,h2,h3,p{overflow-wrap:anywhere} h2{margin-top:2.5rem}
h3{margin:2rem 0 .3rem;font-family:ui-monospace,monospace;font-size:1.05rem}
code{font-family:ui-monospace,monospace;font-size:.9em}
table{border-collapse:collapse;width:100%;margin:.5rem 0}
td,th{text-align:left;vertical-align:top;border-bottom:1px solid var(--soft);padding:.3rem .5rem}
code{overflow-wrap:anywhere}
@media(max-width:46rem){table{display:block;overflow-x:auto}}
"""


def docs_page(document: dict[str, Any]) -> str:
    """The page for an OpenAPI *document*. Its examples are links, relative to the document."""
    info = document["info"]
    title, version, about = (escape(info[key]) for key in ("title", "version", "description"))
    sections = "".join(_section(document["paths"], tag) for tag in document["tags"])
    shapes = "".join(_shape(name, shape) for name, shape in document["components"]["schemas"].items())
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{title}: the API</title><style>{_STYLE}</style><main><h1>{title} {version}</h1><p>{about}</p>"
        f"<p>The same for programs: <a href='openapi.json'>openapi.json</a></p>{sections}<h2>Shapes</h2>{shapes}</main></html>"
    )


def _section(paths: dict[str, Any], tag: dict[str, Any]) -> str:
    tagged = {path: item["get"] for path, item in paths.items() if tag["name"] in item["get"]["tags"]}
    operations = "".join(_operation(path, operation) for path, operation in tagged.items())
    return f"<h2>{escape(tag['description'])}</h2>{operations}"


def _operation(path: str, operation: dict[str, Any]) -> str:
    given = operation.get("parameters", ())
    parameters = [
        (_code(each["name"]), each["in"], _value(each["schema"], each["required"]), _prose(each["description"]))
        for each in given
    ]
    responses = [(status, _when(status, each), _shapes_of(each)) for status, each in operation["responses"].items()]
    examples = {each["name"]: each["schema"]["examples"][0] for each in given if "examples" in each}
    query = f"?{urlencode(examples)}" if examples else ""
    example = escape(path.replace("{name}", "Cat") + query)
    is_complete = all(each["name"] in examples for each in given if each["in"] == "query" and each.get("required"))
    link = f"<p><a href='..{example}'>{example}</a></p>" if is_complete else ""
    return (
        f"<h3>GET {escape(path)}</h3><p>{_prose(operation['summary'])}</p>"
        f"<p>{_prose(operation.get('description', ''))}</p>{link}"
        f"{_table(('Parameter', 'In', 'Value', 'What it is'), parameters)}{_table(('Status', 'When', 'Shape'), responses)}"
    )


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = "".join(f"<tr><td>{'<td>'.join(row)}" for row in rows)
    return f"<table><tr><th>{'<th>'.join(head)}{lines}</table>" if lines else ""


def _value(schema: dict[str, Any], is_required: bool = False) -> str:
    """What a parameter may be, and what it is by default."""
    if schema.get("type") == "array":
        return f"{_value(schema['items'])}; may be repeated"
    allowed = _type(schema)
    if "minimum" in schema:
        allowed += f", {schema['minimum']:.0f} to {schema['maximum']:.0f}"
    if "maxLength" in schema:
        allowed += f", up to {schema['maxLength']} characters"
    if is_required:
        allowed += "; required"
    return f"{allowed}; {schema['default']} if left out" if schema.get("default") else allowed


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def _prose(text: str) -> str:
    """Text with its code between backticks, as HTML."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _when(status: str, response: dict[str, Any]) -> str:
    """What a response is for; where nothing describes it, the phrase of its status."""
    text: str = response["description"]
    return _prose(HTTPStatus(int(status)).phrase if text in {each.description for each in HTTPStatus} else text)


def _shapes_of(response: dict[str, Any]) -> str:
    return ", ".join(_type(content.get("schema", {})) for content in response.get("content", {}).values())


def _shape(name: str, shape: dict[str, Any]) -> str:
    members = shape.get("properties", {}).items()
    rows = [(_code(key), _type(value), escape(value.get("description", ""))) for key, value in members]
    table = _table(("Member", "Type", "What it is"), rows) or f"<p>{escape(', '.join(shape.get('enum', ())))}</p>"
    return f"<h3 id='{escape(name)}'>{escape(name)}</h3><p>{_prose(shape.get('description', ''))}</p>{table}"


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f"<a href='#{name}'>{name}</a>"
    if options := schema.get("oneOf") or schema.get("anyOf") or schema.get("allOf"):
        return " or ".join(map(_type, options))
    if values := schema.get("enum"):
        return escape(", ".join(filter(None, values)))
    if places := schema.get("prefixItems"):
        return f"[{', '.join(map(_type, places))}]"
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return escape(", ".join(kind) if isinstance(kind, list) else kind)
