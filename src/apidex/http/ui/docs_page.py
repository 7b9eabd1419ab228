"""The OpenAPI document as a page for people: plain HTML, made here, with nothing to load from anywhere."""

import re
from html import escape
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

_STYLE = """
:root{color-scheme:light dark;--soft:#8885}
body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem}
h1,h2,h3{line-height:1.2} h2{margin-top:2.5rem}
h3{margin:2rem 0 .3rem;font-family:ui-monospace,monospace;font-size:1.05rem}
code,pre{font-family:ui-monospace,monospace;font-size:.9em}
pre{border:1px solid var(--soft);border-radius:.4rem;padding:.6rem;overflow:auto}
table{border-collapse:collapse;width:100%;margin:.5rem 0}
td,th{text-align:left;vertical-align:top;border-bottom:1px solid var(--soft);padding:.3rem .5rem}
"""


def docs_page(document: dict[str, Any], base: str) -> str:
    """The page for an OpenAPI *document*; its examples call the service at *base*."""
    info = document["info"]
    sections = "".join(_section(document, tag, base) for tag in document.get("tags", []))
    shapes = "".join(_shape(name, shape) for name, shape in document.get("components", {}).get("schemas", {}).items())
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{escape(info['title'])}: the API</title><style>{_STYLE}</style><main>"
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info.get('description', ''))}</p>"
        f"<p>The same for programs: <a href='openapi.json'>openapi.json</a></p>{sections}<h2>Shapes</h2>{shapes}</main></html>"
    )


def _section(document: dict[str, Any], tag: dict[str, Any], base: str) -> str:
    operations = "".join(
        _operation(path, method, operation, base)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if isinstance(operation, dict) and tag["name"] in operation.get("tags", ())
    )
    return f"<h2>{escape(tag.get('description') or tag['name'])}</h2>{operations}"


def _operation(path: str, method: str, operation: dict[str, Any], base: str) -> str:
    parameters = "".join(
        f"<tr><td><code>{escape(item['name'])}</code><td>{escape(item['in'])}<td>{_value(item.get('schema', {}))}"
        f"<td>{_prose(item.get('description', ''))}"
        for item in operation.get("parameters", ())
    )
    answers = "".join(
        f"<tr><td>{escape(status)}<td>{_when(status, answer)}<td>{_shapes_of(answer)}"
        for status, answer in operation.get("responses", {}).items()
    )
    examples = {
        item["name"]: next(iter(item["examples"].values()))["value"]
        for item in operation.get("parameters", ())
        if "examples" in item
    }
    query = f"?{urlencode(examples)}" if examples else ""
    example = escape(f"curl '{base}{path.replace('{name}', 'Cat')}{query}'")
    return (
        f"<h3>{method.upper()} {escape(path)}</h3><p>{_prose(operation.get('summary', ''))}</p>"
        f"<p>{_prose(operation.get('description', ''))}</p><pre>{example}</pre>"
        + (f"<table><tr><th>Parameter<th>In<th>Value<th>What it is{parameters}</table>" if parameters else "")
        + f"<table><tr><th>Status<th>When<th>Shape{answers}</table>"
    )


def _value(schema: dict[str, Any]) -> str:
    """What a parameter may be, and what it is where it is left out."""
    if schema.get("type") == "array":
        return f"{_value(schema.get('items', {}))}; may be repeated"
    allowed = ", ".join(map(str, schema["enum"])) if "enum" in schema else str(schema.get("type", "any"))
    if "minimum" in schema:
        allowed += f", {schema['minimum']:.0f} to {schema['maximum']:.0f}"
    if "maxLength" in schema:
        allowed += f", up to {schema['maxLength']} characters"
    return escape(f"{allowed}; {schema['default']} if left out" if schema.get("default") is not None else allowed)


def _prose(text: str) -> str:
    """Text with its code between backticks, as HTML."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _when(status: str, answer: dict[str, Any]) -> str:
    """What an answer is for; where nobody said, the name of its status."""
    said: str = answer.get("description", "")
    return _prose(HTTPStatus(int(status)).phrase if said in {each.description for each in HTTPStatus} else said)


def _shapes_of(answer: dict[str, Any]) -> str:
    return ", ".join(_type(content.get("schema", {})) for content in answer.get("content", {}).values())


def _shape(name: str, shape: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(key)}</code><td>{_type(value)}<td>{escape(value.get('description', ''))}"
        for key, value in shape.get("properties", {}).items()
    )
    values = escape(", ".join(map(str, shape.get("enum", ()))))
    table = f"<table><tr><th>Member<th>Type<th>What it is{rows}</table>" if rows else f"<p>{values}</p>"
    return f"<h3 id='{escape(name)}'>{escape(name)}</h3><p>{_prose(shape.get('description', ''))}</p>{table}"


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f"<a href='#{name}'>{name}</a>"
    if options := schema.get("oneOf") or schema.get("anyOf"):
        return " or ".join(_type(option) for option in options)
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return escape(", ".join(kind) if isinstance(kind, list) else str(kind))
