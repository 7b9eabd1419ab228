"""`apidex mcp`: the catalogue for an AI application, by the Model Context Protocol over standard input and output.

Tools, resources and completions are answered by the service at a URL, or by a replica inside this process that follows the
upstream and listens on no port.
"""

import os
import signal
import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import timedelta
from inspect import cleandoc
from typing import Any, Self, TypeVar, cast
from urllib.parse import unquote

import anyio
import httpx
import msgspec
from mcp import MCPError, types
from mcp.server import Server
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage

from apidex import __version__, event_loop, logs
from apidex.app import create_app
from apidex.cli.mcp_tools import TOOLS, ToolError, Tools
from apidex.cli.output import say, warn
from apidex.cli.service import Service
from apidex.errors import ServiceError
from apidex.http_client import new_client
from apidex.settings import Settings

T = TypeVar("T")

_INSTRUCTIONS = (
    "A catalogue of public web APIs: what each offers, where its documentation is, which authentication it wants, whether it is "
    "served over HTTPS, and whether web pages of other sites may call it (CORS). Use it to find an API for a task, rather than "
    "one from memory that may be gone. Names and descriptions are searched: describe the purpose of the API in a few words."
)
_WAITING = (
    "apidex mcp waits for requests of an AI application: one message of the Model Context Protocol a line on standard input. "
    "README.md has the configuration with which an application starts it. Ctrl-D or Ctrl-C ends it."
)
_MALFORMED = "Malformed message; allowed is one JSON-RPC 2.0 request, response or notification a line, in UTF-8."
_FIRST_CATALOGUE = timedelta(seconds=10)
"""How long to wait for the upstream before the starter catalogue is used; people wait longer than probes."""

_TIMEOUT = 10.0
"""Seconds within which a service must have answered."""


def run(options: Namespace, settings: Settings) -> int:
    """Answer on standard output until standard input ends. Raises SettingsError for a `--url` that is not an HTTP URL."""
    url: str | None = options.url
    logs.configure(settings.log_format, settings.log_level, settings.served_by, stream=sys.stderr)
    service = Service("http://apidex", 600, sys.maxsize)  # in this process, where no bound is reached
    if url is not None:
        service = Service(url, _TIMEOUT, settings.upstream_limit)
    if sys.stdin.isatty():
        say(_WAITING)
    # A thread waits for input, and nothing but input wakes it. Ctrl-C ends the process itself: there is nothing to clean up.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    async def main() -> None:
        async with _client(settings, url) as client, stdio_server(stdout=_Output()) as (received, sent):
            server = mcp_server(Tools(client, service))
            answers: Any = _Sent(sent)  # the SDK's types of streams have more than it uses
            messages: Any = _Messages(received, answers)
            await server.run(messages, answers, server.create_initialization_options())

    event_loop.run(main)
    return 0


class _Output(anyio.AsyncFile[str]):
    """Standard output for messages alone: what else is printed there goes to standard error. A failure ends the process."""

    def __init__(self) -> None:
        super().__init__(open(os.dup(1), "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - open as long as the process
        os.dup2(2, 1)

    async def write(self, text: str) -> int:
        with _ending_the_process():
            return await super().write(text)

    async def flush(self) -> None:
        with _ending_the_process():
            await super().flush()


@contextmanager
def _ending_the_process() -> Iterator[None]:
    """End the process if the block cannot write: with status 0 if the client has closed the pipe."""
    try:
        yield
    except OSError as error:
        is_closed = isinstance(error, BrokenPipeError)
        if not is_closed:
            warn(error)
        os._exit(0 if is_closed else 2)  # an exception would wait for the thread that waits for input


class _Messages:
    """The messages that are *received*. A line that is not one is answered, because the client may wait for its answer.

    They end when the answers to all of them are *sent*: a client may close its end of the pipe after its last request.
    """

    def __init__(self, received: Any, sent: "_Sent") -> None:  # noqa: ANN401 - the SDK's stream
        self._received, self._sent, self.aclose = received, sent, received.aclose

    def __aiter__(self) -> "_Messages":
        return self

    async def __anext__(self) -> SessionMessage:
        async for received in self._received:
            if isinstance(received, Exception):
                error = types.ErrorData(code=types.PARSE_ERROR, message=_MALFORMED)
                await self._sent.send(SessionMessage(types.JSONRPCError(jsonrpc="2.0", id=None, error=error)))
                continue
            match received.message:
                case types.JSONRPCRequest(id=number):
                    self._sent.unanswered.add(number)
                case types.JSONRPCNotification(
                    method="notifications/cancelled", params={"requestId": int() | str() as number}
                ):
                    self._sent.unanswered.discard(number)  # the SDK does not answer it
            return cast(SessionMessage, received)
        with anyio.move_on_after(_TIMEOUT):
            while self._sent.unanswered:
                await self._sent.next_answer()
        raise StopAsyncIteration

    @property
    def last_context(self) -> Any:  # noqa: ANN401 - the SDK's
        """The context of the last message."""
        return self._received.last_context


class _Sent:
    """The SDK's stream of messages to the client, which knows the requests that are *unanswered*."""

    def __init__(self, sent: Any) -> None:  # noqa: ANN401 - the SDK's
        self._sent, self.aclose, self._answered = sent, sent.aclose, anyio.Event()
        self.unanswered: set[types.RequestId] = set()

    async def send(self, message: SessionMessage) -> None:
        """Send *message*."""
        await self._sent.send(message)
        if isinstance(message.message, types.JSONRPCResponse | types.JSONRPCError) and message.message.id is not None:
            self.unanswered.discard(message.message.id)
            self._answered.set()

    async def next_answer(self) -> None:
        """Wait until another answer is sent."""
        self._answered = anyio.Event()
        await self._answered.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


@asynccontextmanager
async def _client(settings: Settings, url: str | None) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service at *url*, or of a replica in this process that does not listen on a port."""
    if url is not None:
        async with new_client(httpx.AsyncClient, base_url=url, timeout=_TIMEOUT) as client:
            yield client
        return
    alone = replace(settings, redis_url="", startup_timeout=_FIRST_CATALOGUE)
    async with create_app(alone) as app:
        transport = httpx.ASGITransport(app=app.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://apidex") as client:
            yield client


# --- resources and the prompt

_MIME_TYPE = "application/json"
_CATEGORIES = types.Resource(
    uri="apidex://categories",
    name="categories",
    title="Categories",
    description="Every category of the catalogue, and how many APIs it has",
    mime_type=_MIME_TYPE,
)
_ENTRIES = "apidex://entries/"
_ENTRY = types.ResourceTemplate(
    uri_template=_ENTRIES + "{name}",
    name="entry",
    title="An API by its name",
    description="The APIs with this whole name; case and spaces do not matter",
    mime_type=_MIME_TYPE,
)
_PURPOSE = "What the API is for, such as: send text messages from a web page, without a key"
_PROMPT = types.Prompt(
    name="find_api",
    title="Find an API for …",
    description="Find public APIs for a purpose, and compare them",
    arguments=[types.PromptArgument(name="purpose", description=_PURPOSE, required=True)],
)
_PROMPT_TEXT = """\
Find a public web API for this purpose: {purpose}

Use the tool `search` of Apidex, with a few words that describe the purpose. If the purpose names requirements (no key, HTTPS, \
calls from web pages), use the filters. If nothing fits, try other words, or a category of the tool `categories`. Then compare \
at most three: what each offers, its authentication, HTTPS, CORS, and its link. Name only APIs that the tools returned; if none \
fits, say so.
"""


async def _resource(tools: Tools, uri: str) -> Any:  # noqa: ANN401 - the value of a JSON document
    """What the resource *uri* holds. Raises ToolError and ServiceError."""
    if uri == _CATEGORIES.uri:
        return await tools.categories({})
    if uri.startswith(_ENTRIES):
        return await tools.get(TOOLS["get"].read({"name": unquote(uri.removeprefix(_ENTRIES))}))
    raise ToolError(f"There is no resource {uri!r}; allowed are {_CATEGORIES.uri} and {_ENTRY.uri_template}.")


def _prompt_text(arguments: Mapping[str, str]) -> str:
    purpose = arguments.get("purpose", "").strip()
    if not purpose:
        raise ToolError(f"The argument purpose is missing; allowed is: {_PURPOSE}.")
    return _PROMPT_TEXT.format(purpose=purpose)


# --- the server


_READS_ONLY = types.ToolAnnotations(
    read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)


def mcp_server(tools: Tools) -> Server:
    """A server that offers *tools*, resources, completions of names, and a prompt."""

    async def list_tools(*_: object) -> types.ListToolsResult:
        described = [
            types.Tool(
                name=name,
                description=cleandoc(tool.call.__doc__ or ""),
                input_schema=tool.input_schema,
                output_schema=tool.output_schema,
                annotations=_READS_ONLY,
            )
            for name, tool in TOOLS.items()
        ]
        return types.ListToolsResult(tools=described)

    async def call_tool(_: object, request: types.CallToolRequestParams) -> types.CallToolResult:
        with _protocol_errors():
            tool = _named(request.name, TOOLS, "tool")
        try:
            answer = await tool.call(tools, tool.read(request.arguments or {}))
        except (ToolError, ServiceError) as error:
            return types.CallToolResult(content=[types.TextContent(text=str(error))], is_error=True)
        return types.CallToolResult(
            content=[types.TextContent(text=answer.text())], structured_content=msgspec.to_builtins(answer)
        )

    async def list_resources(*_: object) -> types.ListResourcesResult:
        return types.ListResourcesResult(resources=[_CATEGORIES])

    async def list_templates(*_: object) -> types.ListResourceTemplatesResult:
        return types.ListResourceTemplatesResult(resource_templates=[_ENTRY])

    async def read_resource(_: object, request: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        with _protocol_errors():
            text = msgspec.json.encode(await _resource(tools, request.uri)).decode()
        contents = types.TextResourceContents(uri=request.uri, mime_type=_MIME_TYPE, text=text)
        return types.ReadResourceResult(contents=[contents])

    async def list_prompts(*_: object) -> types.ListPromptsResult:
        return types.ListPromptsResult(prompts=[_PROMPT])

    async def get_prompt(_: object, request: types.GetPromptRequestParams) -> types.GetPromptResult:
        with _protocol_errors():
            text = _named(request.name, {_PROMPT.name: _prompt_text}, "prompt")(request.arguments or {})
        message = types.PromptMessage(role="user", content=types.TextContent(text=text))
        return types.GetPromptResult(description=_PROMPT.description, messages=[message])

    async def complete(_: object, request: types.CompleteRequestParams) -> types.CompleteResult:
        is_entry = isinstance(request.ref, types.ResourceTemplateReference) and request.ref.uri == _ENTRY.uri_template
        with _protocol_errors():
            values = await tools.names(request.argument.value) if is_entry else []
        return types.CompleteResult(completion=types.Completion(values=values))

    return Server(
        "apidex",
        title="Apidex",
        version=__version__,
        instructions=_INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
        on_completion=complete,
    )


def _named(name: str, offered: Mapping[str, T], what: str) -> T:
    if name not in offered:
        raise ToolError(f"There is no {what} {name!r}; allowed: {', '.join(offered)}.")
    return offered[name]


@contextmanager
def _protocol_errors() -> Iterator[None]:
    """Turn an error of the block into an error of the protocol, with the same sentence."""
    try:
        yield
    except ToolError as error:
        raise MCPError(types.INVALID_PARAMS, str(error)) from None
    except ServiceError as error:
        raise MCPError(types.INTERNAL_ERROR, str(error)) from None
