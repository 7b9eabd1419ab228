"""AI tools reach the catalogue: the SDK's own client, on a real `apidex mcp` process."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import jsonschema
import msgspec
import pytest
from mcp import Client, StdioServerParameters

from apidex.search.filters import FILTERS
from fakes import entry
from processes import replica
from upstream_server import http_server

ENTRIES = [
    entry("Cat Facts", category="Animals", cors="no"),
    entry("Dogs", category="Animals", auth="apiKey"),
    entry("OpenWeatherMap", category="Weather", auth="apiKey", cors="unknown"),
    entry("<b>Bold</b>", category="Text", https=False),
    entry("Cat facts", category="Facts", description="<script>alert(1)</script>"),
]


@pytest.fixture
def file(tmp_path) -> str:
    path = tmp_path / "entries.json"
    path.write_bytes(msgspec.json.encode({"count": len(ENTRIES), "entries": ENTRIES}))
    return path.as_uri()


@asynccontextmanager
async def session(*arguments: str) -> AsyncIterator[Client]:
    """A client of a process of its own, which finds no setting in its environment but these."""
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
    assert json.loads(result.content[0].text) == result.structured_content, "for those that read no structured content"
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
        assert "'yes', 'no' or 'unknown'" in await refusal(client, "search", cors=["maybe"])
        assert "less than or equal to 100" in await refusal(client, "search", limit=10**9)
        assert "greater than or equal to 0" in await refusal(client, "search", offset=-1)
        assert "at most 256 characters" in await refusal(client, "search", query="x" * 10_000)
        assert "control character" in await refusal(client, "search", query="a\x00")
        named = f"are: query, {', '.join(FILTERS)}, limit, offset."
        assert named in await refusal(client, "search", colour="red")
        assert "name: Field required" in await refusal(client, "get")
        assert "Near it are: Cat Facts, Cat facts." in await refusal(client, "get", name="cat fact")
        assert "Near it are: OpenWeatherMap." in await refusal(client, "get", name="opnweathermap")
        assert "Use the tool `search`" in await refusal(client, "get", name="zzzqqq")
        assert "arguments of categories are: none" in await refusal(client, "categories", of="what")
        assert (await answer(client, "search", query="dogs"))["total"] == 1, "it goes on after all that"


async def test_a_tool_says_what_it_takes_and_gives(file):
    async with session("--upstream", file) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        for tool in tools.values():
            assert tool.description
            assert "\n    " not in tool.description
            assert tool.annotations.read_only_hint
            assert tool.input_schema["additionalProperties"] is False
            assert all(item["description"] for item in tool.input_schema["properties"].values())
        properties = tools["search"].input_schema["properties"]
        assert properties["cors"]["items"]["enum"] == ["yes", "no", "unknown"]
        assert (properties["limit"]["minimum"], properties["limit"]["maximum"]) == (1, 100)
        for name, arguments in (("search", {"query": "opnweathermap"}), ("get", {"name": "Dogs"}), ("categories", {})):
            jsonschema.validate(await answer(client, name, **arguments), tools[name].output_schema)


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


async def test_another_service_is_told_apart():
    with http_server(b"<!doctype html>Welcome") as url:
        async with session("--url", url) as client:
            assert "is not Apidex" in await refusal(client, "search")


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


def test_ctrl_c_ends_it_at_once_and_without_a_traceback(file):
    with process_of("--upstream", file) as process:
        process.stdin.write(hello(1))
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] == 1
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == -signal.SIGINT
        assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize("url", ["nonsense", "ftp://a", "http://", "http://[", "http://a:b", "http://a\x7f", ""])
def test_a_url_of_no_service_ends_it_with_status_2(url):
    with process_of("--url", url) as process:
        out, complaint = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert complaint == (
        f"apidex: --url: {url!r} is not allowed; allowed is the URL of a service, such as http://127.0.0.1:8000\n"
    )


def test_without_the_sdk_one_sentence_says_what_to_install():
    program = "import sys; sys.modules['mcp'] = None; from apidex.cli.main import main; sys.exit(main(['mcp']))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env=os.environ)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        "apidex: apidex mcp needs the package mcp, which is not installed: "
        "pip install 'apidex[mcp]', or '.[mcp]' in a checkout\n"
    )
