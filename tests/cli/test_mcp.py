"""AI tools reach the catalogue: the SDK's own client, on a real `apidex mcp` process."""

import asyncio
import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import jsonschema
import msgspec
import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp.types import ResourceTemplateReference

from apidex.cli.mcp_tools import Tools
from apidex.cli.service import Service
from apidex.errors import ServiceError
from apidex.search.filters import FILTERS
from fakes import entry, file_of
from processes import HANG, replica, wait_until
from upstream_server import endless_head, http_server, raw_server

ENTRIES = [
    entry("Cat Facts", category="Animals", cors="no"),
    entry("Dogs", category="Animals", auth="apiKey"),
    entry("OpenWeatherMap", category="Weather", auth="apiKey", cors="unknown"),
    entry("<b>Bold</b>", category="Text", https=False),
    entry("Cat facts", category="Facts", description="<script>alert(1)</script>"),
]


@pytest.fixture
def file(tmp_path) -> str:
    return file_of(tmp_path, *ENTRIES)


@asynccontextmanager
async def session(*arguments: str) -> AsyncIterator[Client]:
    """A client of a process of its own, which finds no setting in its environment."""
    command = StdioServerParameters(command=sys.executable, args=["-m", "apidex", "mcp", *arguments])
    async with Client(command, read_timeout_seconds=60) as client:
        yield client


@asynccontextmanager
async def session_of(kind: str, file: str) -> AsyncIterator[Client]:
    """A client of tools for the catalogue in *file*: of their own copy of it, or of a service's."""
    if kind == "local":
        async with session("--upstream", file) as client:
            yield client
    else:
        with replica("--upstream", file) as process:
            async with session("--url", process.url) as client:
                yield client


def names(found: dict) -> list[str]:
    return [api["API"] for api in found["apis"]]


async def answer(client: Client, tool: str, **arguments) -> dict:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return result.structured_content


async def refusal(client: Client, tool: str, **arguments) -> str:
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    return result.content[0].text


@pytest.mark.parametrize("kind", ["local", "remote"])
async def test_the_tools_answer_the_same_of_a_copy_and_of_a_service(kind, file):
    async with session_of(kind, file) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["search", "get", "categories"]

        found = await answer(client, "search", query="open weather")
        assert found["apis"] == [msgspec.to_builtins(ENTRIES[2])]
        assert (found["total"], found["next_offset"], found["did_you_mean"]) == (1, None, None)
        assert "starter" not in found["catalogue"]

        assert names(await answer(client, "search", category=["animals"], auth=["none"])) == ["Cat Facts"]
        free = await answer(client, "search", query="free cat facts")
        assert (names(free), free["understood"]) == (["Cat Facts", "Cat facts"], {"auth": "none"})
        assert names(await answer(client, "search", https=False)) == ["<b>Bold</b>"]
        assert names(await answer(client, "search", cors=["no", "unknown"])) == ["Cat Facts", "OpenWeatherMap"]

        meant = (await answer(client, "search", query="opnweathermap"))["did_you_mean"]
        assert (meant["query"], names(meant)) == ("openweathermap", ["OpenWeatherMap"])

        assert names(await answer(client, "get", name="Cat facts")) == ["Cat facts"]
        assert names(await answer(client, "get", name="CATFACTS")) == ["Cat Facts", "Cat facts"]

        categories = (await answer(client, "categories"))["categories"]
        assert categories[0] == {"name": "Animals", "entries": 2}
        assert [each["name"] for each in categories] == ["Animals", "Facts", "Text", "Weather"]


async def test_pages_fit_together(file):
    async with session("--upstream", file) as client:
        seen, offset = [], 0
        while offset is not None:
            page = await answer(client, "search", limit=2, offset=offset)
            seen, offset = seen + names(page), page["next_offset"]
        assert seen == [item.name for item in ENTRIES]
        assert (await answer(client, "search", offset=10**9))["apis"] == []


@pytest.mark.parametrize("kind", ["local", "remote"])
async def test_what_cannot_be_asked_is_refused_with_what_is_allowed(kind, file):
    async with session_of(kind, file) as client:
        assert "allowed are Animals, Facts, Text, Weather" in await refusal(client, "search", category=["Wether"])
        assert "allowed are apiKey, none" in await refusal(client, "search", auth=["Kerberos"])
        assert await refusal(client, "search", cors="maybe") == (
            "cors: 'maybe' is not allowed; allowed are yes, no, unknown."
        )
        whole = "limit: '1000000000' is not allowed; allowed is a whole number from 1 to 100."
        assert await refusal(client, "search", limit=10**9) == whole
        assert "offset: '-1' is not allowed" in await refusal(client, "search", offset=-1)
        long = "query: a value of 300 characters is not allowed; allowed is up to 256 characters"
        assert (await refusal(client, "search", query="x" * 300)).startswith(long)
        assert "too long" in await refusal(client, "search", query="x" * 100_000)
        assert "control character" in await refusal(client, "search", query="a\x00")
        assert "query is given 2 times" in await refusal(client, "search", query=["a", "b"])
        assert "query: an object is not allowed here" in await refusal(client, "search", query={"a": "b"})
        unknown = f"There is no argument 'colour'; allowed are query, {', '.join(FILTERS)}, limit, offset."
        assert await refusal(client, "search", colour="red") == unknown
        assert (await refusal(client, "get")).startswith("The argument name is missing; allowed is")
        assert await refusal(client, "get", name="zzz") == (
            "No API is called 'zzz'. Use the tool `search` with a part of the name or a category."
        )
        assert await refusal(client, "categories", of="what") == "There is no argument 'of'; none is allowed."
        assert (await answer(client, "search", query="dogs"))["total"] == 1, "it goes on after all that"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("opnweathermap", "Near it are: OpenWeatherMap."),
        ("Open Wether Map", "Near it are: OpenWeatherMap."),  # its words alone would find Dogs, by its description
        ("cat fact", "Names with these words: Cat Facts, Cat facts."),
        ("dogs map facts", "Use the tool `search`"),  # not what is left when words are left out
    ],
)
async def test_a_name_that_no_api_has_is_answered_with_near_names(name, hint, file):
    async with session("--upstream", file) as client:
        assert (await refusal(client, "get", name=name)).startswith(f"No API is called {name!r}. {hint}")


async def test_arguments_may_have_the_types_that_models_send(file):
    async with session("--upstream", file) as client:
        one = await answer(client, "search", category="animals", auth="none", https="true", limit="5", offset=0.0)
        assert names(one) == ["Cat Facts"]
        assert (await answer(client, "search", query="", category="", auth=[], cors=None))["total"] == len(ENTRIES)
        assert names(await answer(client, "get", name=["Dogs"])) == ["Dogs"]


async def test_the_text_has_a_line_for_each_api(file):
    async with session("--upstream", file) as client:
        found = await client.call_tool("search", {"query": "cat facts", "limit": 1})
        head, line = found.content[0].text.splitlines()
        assert head.startswith("2 found in catalogue ")
        assert head.endswith("; the next page has offset 1")
        cat = ENTRIES[0]
        assert line == f"Cat Facts (Animals, auth none, HTTPS, CORS no): {cat.description} {cat.link}"
        other = (await client.call_tool("search", {"query": "opnweathermap"})).content[0].text
        assert "Did you mean 'openweathermap'? That finds 1:\nOpenWeatherMap (" in other
        categories = (await client.call_tool("categories", {})).content[0].text
        assert categories.splitlines() == ["Animals: 2", "Facts: 1", "Text: 1", "Weather: 1"]


def untyped(schema: dict) -> list[dict]:
    """The parts of *schema* that allow any value."""
    parts = [*schema.get("anyOf", ()), *schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]
    parts += [schema[key] for key in ("items", "additionalProperties") if isinstance(schema.get(key), dict)]
    if not parts and not {"$ref", "enum"} & schema.keys() and schema.get("type") in (None, "array", "object"):
        return [schema]
    return [each for part in parts for each in untyped(part)]


async def test_a_tool_says_what_it_takes_and_gives(file):
    async with session("--upstream", file) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        for tool in tools.values():
            assert tool.description
            assert "\n    " not in tool.description
            assert tool.annotations.read_only_hint
            assert tool.input_schema["additionalProperties"] is False
            assert all(item["description"] for item in tool.input_schema["properties"].values())
            assert untyped(tool.output_schema) == []
        schema = tools["search"].input_schema
        jsonschema.validate({"cors": "yes", "category": ["Animals"], "https": True, "limit": 100}, schema)
        for wrong in ({"cors": "maybe"}, {"cors": ["maybe"]}, {"limit": 101}, {"colour": "red"}):
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate(wrong, schema)
        for name, arguments in (("search", {"query": "opnweathermap"}), ("get", {"name": "Dogs"}), ("categories", {})):
            jsonschema.validate(await answer(client, name, **arguments), tools[name].output_schema)


async def test_categories_and_entries_are_resources(file):
    async with session("--upstream", file) as client:
        [categories] = (await client.list_resources()).resources
        [entry_template] = (await client.list_resource_templates()).resource_templates

        async def read(uri: str) -> dict:
            [contents] = (await client.read_resource(uri)).contents
            assert contents.mime_type == "application/json"
            return json.loads(contents.text)

        assert (await read(categories.uri))["categories"][0] == {"name": "Animals", "entries": 2}
        bold = entry_template.uri_template.replace("{name}", "%3Cb%3EBold%3C%2Fb%3E")
        assert names(await read(bold)) == ["<b>Bold</b>"]
        reference = ResourceTemplateReference(uri=entry_template.uri_template)
        completed = await client.complete(reference, {"name": "name", "value": "cat"})
        assert completed.completion.values == ["Cat Facts", "Cat facts"]

        for uri, text in (
            ("apidex://entries/opnweathermap", "No API is called 'opnweathermap'. Near it are: OpenWeatherMap."),
            ("apidex://nothing", "There is no resource 'apidex://nothing'; allowed are apidex://categories"),
        ):
            with pytest.raises(MCPError) as refused:
                await client.read_resource(uri)
            assert str(refused.value).startswith(text)


async def test_the_prompt_asks_for_an_api_of_a_purpose(file):
    async with session("--upstream", file) as client:
        [prompt] = (await client.list_prompts()).prompts
        [message] = (await client.get_prompt(prompt.name, {"purpose": "send {text} messages"})).messages
        assert message.content.text.startswith("Find a public web API for this purpose: send {text} messages\n")
        for name, arguments, text in (
            (prompt.name, {"purpose": " "}, "The argument purpose is missing; allowed is"),
            ("other", {}, "There is no prompt 'other'; allowed: find_api."),
        ):
            with pytest.raises(MCPError) as refused:
                await client.get_prompt(name, arguments)
            assert str(refused.value).startswith(text)


async def test_without_an_upstream_there_is_the_starter_catalogue_and_it_says_so():
    async with session("--upstream", "http://127.0.0.1:1/") as client:
        found = await answer(client, "search", query="github")
        assert "GitHub" in names(found)
        assert "only the starter catalogue" in found["catalogue"]


async def test_a_service_that_is_gone_is_an_error_of_the_tool_and_no_end_of_the_session(file):
    with replica("--upstream", file) as process:
        async with session("--url", process.url) as client:
            assert (await answer(client, "search"))["total"] == len(ENTRIES)
            process.is_killed()
            assert "gave no answer" in await refusal(client, "search")
            assert "gave no answer" in await refusal(client, "categories")
            with pytest.raises(MCPError, match="gave no answer"):
                await client.read_resource("apidex://categories")


async def test_another_service_is_told_apart():
    with http_server(b"<!doctype html>Welcome") as url:
        async with session("--url", url) as client:
            assert "is not Apidex" in await refusal(client, "search")


async def test_a_tool_waits_for_the_whole_answer_no_longer_than_its_timeout():
    with raw_server(endless_head) as (url, _):
        async with asyncio.timeout(HANG), httpx.AsyncClient(base_url=url) as client:
            with pytest.raises(ServiceError, match=r"^The service at .* did not answer completely within 0.3 s\.$"):
                await Tools(client, Service(url, 0.3, 2000)).categories({})


async def test_a_tool_refuses_an_answer_that_is_too_large():
    with http_server(b"[" * 2001) as url:
        async with httpx.AsyncClient(base_url=url) as client:
            with pytest.raises(ServiceError, match=r"^The service at .* answered with more than 2,000 bytes\.$"):
                await Tools(client, Service(url, HANG, 2000)).categories({})


def process_of(*arguments: str, **streams) -> subprocess.Popen:
    command = [sys.executable, "-m", "apidex", "mcp", *arguments]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    return subprocess.Popen(command, text=True, **streams)


def hello(identity: int) -> str:
    client = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "a", "version": "1"}}
    return json.dumps({"jsonrpc": "2.0", "id": identity, "method": "initialize", "params": client}) + "\n"


def test_nothing_but_the_protocol_is_on_standard_output_and_it_ends_with_its_input(file):
    with process_of("--upstream", file) as process:
        out, log = process.communicate("no JSON\n" + hello(7), timeout=60)
    assert process.returncode == 0
    assert [json.loads(line).get("id") for line in out.splitlines() if "result" in json.loads(line)] == [7]
    assert "catalogue.adopted" in log


def test_requests_before_the_end_of_input_are_answered():
    is_closed = threading.Event()

    def late() -> Iterator[bytes]:
        is_closed.wait(HANG)
        yield b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"

    call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "categories"}}
    with raw_server(late) as (url, asked), process_of("--url", url) as process:
        process.stdin.write(hello(1) + json.dumps(call) + "\n")
        process.stdin.flush()
        wait_until(lambda: asked, "the service is asked")
        process.stdin.close()
        is_closed.set()
        answers = [json.loads(line) for line in process.stdout]
        assert [(answer["id"], "result" in answer) for answer in answers] == [(1, True), (2, True)]
        assert process.wait(HANG) == 0


MALFORMED = ["no JSON", "", "[]", "{}", '{"jsonrpc":"2.0","id":1}', "\\"]


@pytest.mark.parametrize("line", MALFORMED)
def test_a_line_that_is_not_a_message_is_answered(file, line):
    with process_of("--upstream", file) as process:
        answers = []
        for sent in (line + "\n", hello(7)):
            process.stdin.write(sent)
            process.stdin.flush()
            answers.append(json.loads(process.stdout.readline()))
        process.stdin.close()
        assert process.wait(HANG) == 0
    malformed, greeting = answers
    assert (malformed["jsonrpc"], malformed["id"], malformed["error"]["code"]) == ("2.0", None, -32700)
    assert (greeting["id"], "result" in greeting) == (7, True)


def test_it_ends_when_its_client_no_longer_reads(file):
    with process_of("--upstream", file) as process:
        process.stdout.close()
        process.stdin.write(hello(1))
        process.stdin.flush()
        assert process.wait(HANG) == 0
        assert "Traceback" not in process.stderr.read()


def test_it_ends_with_one_sentence_when_its_output_is_a_full_disk(file):
    with open("/dev/full", "w") as full, process_of("--upstream", file, stdout=full) as process:  # noqa: PTH123
        process.stdin.write(hello(1))
        process.stdin.flush()
        assert process.wait(HANG) == 2
        said = [line for line in process.stderr if line.startswith("apidex: ") or "Traceback" in line]
    assert said == ["apidex: [Errno 28] No space left on device\n"]


def test_ctrl_c_ends_it_at_once_and_without_a_traceback(file):
    with process_of("--upstream", file) as process:
        process.stdin.write(hello(1))
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] == 1
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == -signal.SIGINT
        assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize(("key", "status"), [(b"\x04", 0), (b"\x03", -signal.SIGINT)], ids=["Ctrl-D", "Ctrl-C"])
def test_on_a_terminal_it_says_what_it_waits_for_and_how_it_ends(key, status, file):
    terminal, its_end = pty.openpty()
    take_terminal = lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # noqa: E731
    options = {"stdin": its_end, "start_new_session": True, "preexec_fn": take_terminal}
    with process_of("--upstream", file, **options) as process:
        os.close(its_end)
        assert process.stderr.readline().startswith("apidex mcp waits for requests of an AI application: one message")
        while "catalogue.adopted" not in process.stderr.readline():
            pass
        os.write(terminal, key)
        assert process.wait(60) == status
    os.close(terminal)


def test_without_the_sdk_one_sentence_says_what_to_install():
    program = "import sys; sys.modules['mcp'] = None; from apidex.cli.main import main; sys.exit(main(['mcp']))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env=os.environ)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        "apidex: apidex mcp needs the package mcp, which is not installed: "
        "pip install 'apidex[mcp]', or '.[mcp]' in a checkout\n"
    )
