"""Asking an upstream on a real socket: whatever it does, there is an answer or an UpstreamError, in time and in bounds."""

import gzip
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import BinaryIO

import httpx
import pytest

import fakes
from apidex.errors import SettingsError, UpstreamError
from apidex.http_client import seconds_of_date
from apidex.replication import upstream as upstream_module
from apidex.replication.inflate import Inflater
from apidex.replication.upstream import Fetched, HttpUpstream, NotModified, open_upstream
from apidex.replication.validators import NO_VALIDATORS, Validators
from apidex.urls import without_password
from fakes import answers, bomb, wire_server
from processes import HANG

LIMIT = 2**20


async def fetch(url: str, validators: Validators = NO_VALIDATORS, timeout: float = 60):
    async with open_upstream(url, timedelta(seconds=timeout), LIMIT) as upstream:
        return await upstream.fetch(validators)


async def failure(behave, timeout: float = 60) -> UpstreamError:
    async with wire_server() as wire:
        wire.behaves = behave
        with pytest.raises(UpstreamError) as error:
            await fetch(wire.url, timeout=timeout)
        return error.value


GZIP = {"content_encoding": "gzip"}


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"hello", {}),
        (gzip.compress(b"hello", mtime=0), GZIP),
        (gzip.compress(b"he", mtime=0) + gzip.compress(b"llo", mtime=0), GZIP),
        (gzip.compress(b"hello", mtime=0) + b"garbage", GZIP),
    ],
)
async def test_an_answer_comes_whole_and_decompressed_with_its_validators(body, headers):
    async with wire_server() as wire:
        wire.behaves = answers(body, etag='"1"', last_modified="yesterday", **headers)
        assert await fetch(wire.url) == Fetched(b"hello", Validators('"1"', "yesterday"))
        assert b"accept-encoding: gzip\r\n" in wire.heads[0].lower()
        assert b"if-none-match" not in wire.heads[0].lower()


async def test_it_is_asked_again_with_the_validators_that_it_gave():
    async with wire_server() as wire:
        wire.behaves = answers(b"", "304 Not Modified")
        validators = Validators('"1"', "yesterday")
        assert await fetch(wire.url, validators) == NotModified(validators)
        head = wire.heads[0].lower()
        assert b'if-none-match: "1"' in head
        assert b"if-modified-since: yesterday" in head


async def test_a_redirect_is_followed():
    async with wire_server() as wire, wire_server() as target:
        wire.behaves = answers(b"", "302 Found", location=target.url)
        target.behaves = answers(b"there")
        assert (await fetch(wire.url)).body == b"there"


@pytest.mark.parametrize(
    ("behave", "kind", "text"),
    [
        (answers(b"x", "500 Internal Server Error"), "status", "500 Internal Server Error"),
        (answers(b"x", "404 Not Found"), "status", "404"),
        (answers(b"", "204 No Content"), "status", "204"),
        (answers(b"", "304 Not Modified"), "status", "304"),
        (fakes.resets, "broken", "broke off"),
        (answers(b"x" * (LIMIT + 1)), "too_large", f"larger than {LIMIT} bytes"),
        (fakes.never_ends, "too_large", "larger than"),
        (answers(bomb(), content_encoding="gzip"), "too_large", "larger than"),
        (answers(b"no gzip", content_encoding="gzip"), "encoding", "damaged"),
        (answers(gzip.compress(b"x" * 999, mtime=0)[:-9], content_encoding="gzip"), "broken", "broke off"),
        (answers(b"x", content_encoding="br"), "encoding", "'br'"),
        (answers(b"x", "302 Found", location="ftp://127.0.0.1/"), "redirect", "ftp"),
    ],
)
async def test_an_answer_that_is_of_no_use_says_why(behave, kind, text):
    error = await failure(behave)
    assert (error.reason, text in str(error)) == (kind, True), error


@pytest.mark.parametrize("behave", [fakes.hangs, fakes.trickles])
async def test_an_answer_that_takes_too_long_is_cut_off(behave):
    assert (await failure(behave, timeout=0.3)).reason == "timeout"


async def test_a_port_where_nothing_listens_is_said_to_be_so():
    async with wire_server() as wire:
        url = wire.url
    with pytest.raises(UpstreamError) as error:
        await fetch(url)
    assert error.value.reason == "connect"


async def test_a_redirect_without_end_is_not_followed_for_ever():
    async with wire_server() as wire:
        wire.behaves = answers(b"", "302 Found", location=wire.url)
        with pytest.raises(UpstreamError, match="more than 5 times") as error:
            await fetch(wire.url)
        assert error.value.reason == "redirect"
        assert len(wire.heads) == 6


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120),
        ("in an hour", 3600),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 0),
        ("soon", None),
        ("Mon, 01 Jan 2024 00:00:00 +99999999999999999999", None),
        ("", None),
    ],
)
async def test_when_to_come_again_is_understood(header, seconds):
    if header == "in an hour":
        header = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    error = await failure(answers(b"", "429 Too Many Requests", retry_after=header))
    assert error.retry_after == (pytest.approx(seconds, abs=60) if seconds is not None else None)


def test_a_date_without_a_zone_is_in_utc(monkeypatch):
    """RFC 9110, section 5.6.7: recipients accept the format of asctime."""
    try:
        with monkeypatch.context() as patch:
            patch.setenv("TZ", "IST-5:30")
            time.tzset()
            assert seconds_of_date("Sun Nov  6 08:49:37 1994") == 784_111_777
            assert seconds_of_date("Sun, 06 Nov 1994 08:49:37 GMT") == 784_111_777
    finally:
        time.tzset()


async def test_a_file_is_read_when_it_has_changed(tmp_path):
    file = tmp_path / "with space.md"
    file.write_bytes(b"one")
    async with open_upstream(file.as_uri(), timedelta(seconds=1), LIMIT) as upstream:
        first = await upstream.fetch(Validators())
        assert first.body == b"one"
        assert await upstream.fetch(first.validators) == NotModified(first.validators)
        file.write_bytes(b"three")
        assert (await upstream.fetch(first.validators)).body == b"three"
        file.write_bytes(b"x" * (LIMIT + 1))
        with pytest.raises(UpstreamError, match="larger than"):
            await upstream.fetch(first.validators)
        file.unlink()
        with pytest.raises(UpstreamError, match="No such file"):
            await upstream.fetch(first.validators)


async def test_a_file_may_have_a_name_that_is_not_utf_8(tmp_path):
    file = tmp_path / "\udcff ü.md"
    file.write_bytes(b"one")
    assert (await fetch(file.as_uri())).body == b"one"


async def test_a_file_that_becomes_a_pipe_is_not_waited_for(tmp_path):
    file = tmp_path / "list.md"
    file.write_bytes(b"one")
    async with open_upstream(file.as_uri(), timedelta(minutes=1), LIMIT) as upstream:
        file.unlink()
        os.mkfifo(file)
        with pytest.raises(UpstreamError, match="not a regular file"):
            await upstream.fetch(NO_VALIDATORS)
    with pytest.raises(SettingsError, match="not a regular file; allowed is a regular file that exists"):
        await fetch(file.as_uri())


async def test_a_disk_that_hangs_is_not_waited_for(tmp_path, monkeypatch):
    file, goes_on = tmp_path / "list.md", threading.Event()
    file.write_bytes(b"one")

    def hang(path: Path) -> BinaryIO:
        goes_on.wait(HANG)
        return path.open("rb")

    async with open_upstream(file.as_uri(), timedelta(minutes=1), LIMIT) as upstream:
        monkeypatch.setattr(upstream_module, "open_regular", hang)
        upstream._timeout, threads = timedelta(seconds=0.05), threading.active_count()
        for _ in range(3):
            with pytest.raises(UpstreamError, match="not read in time") as error:
                await upstream.fetch(NO_VALIDATORS)
            assert error.value.reason == "timeout"
        assert threading.active_count() <= threads + 1
        with pytest.raises(SettingsError, match="cannot be read: the upstream's file was not read in time; allowed"):
            await fetch(file.as_uri(), timeout=0.05)
    goes_on.set()


MEMBERS = gzip.compress(b"one ", mtime=0) + gzip.compress(b"two", mtime=0)


def inflated(*chunks: bytes) -> bytes:
    inflater = Inflater("gzip")
    body = b"".join(piece for chunk in chunks for piece in inflater.inflate(chunk))
    inflater.finish()
    return body


def test_members_of_a_gzip_stream_are_whole_wherever_the_answer_is_cut():
    for cut in range(len(MEMBERS)):
        assert inflated(MEMBERS[:cut], MEMBERS[cut:]) == b"one two"
    assert inflated(*(MEMBERS[at : at + 1] for at in range(len(MEMBERS)))) == b"one two"
    assert inflated(MEMBERS + b"padding", b"more") == b"one two"


@pytest.mark.parametrize("missing", range(1, 23))
def test_a_gzip_stream_that_breaks_off_in_its_second_member_is_an_error(missing):
    with pytest.raises(UpstreamError, match="broke off"):
        inflated(MEMBERS[:-missing])


@pytest.mark.parametrize("url", ["file:///nowhere/README.md", "file:///", "file:///dev/null"])
async def test_a_file_that_is_not_there_is_a_wrong_setting(url):
    with pytest.raises(SettingsError, match="allowed is a regular file that exists"):
        await fetch(url)


def test_a_password_and_a_key_in_the_query_are_not_shown():
    assert without_password("https://user:secret@example.org:1/a?b") == "https://example.org:1/a?…"
    assert without_password("https://example.org/entries?token=SECRET") == "https://example.org/entries?…"
    assert without_password("file:///a") == "file:///a"


INVALID_ETAGS = ['"café"', '"a\nb"', '"a\tb"', '"a b"', '"a"b"', "a", "", '"', 'w/"a"', f'"{"a" * 4096}"']


@pytest.mark.parametrize("etag", INVALID_ETAGS)
async def test_validators_that_a_server_may_refuse_are_not_sent_again(etag):
    """Whoever they come from: the upstream, or whatever stands in Redis."""
    async with wire_server() as wire:
        wire.behaves = answers(b"x")
        await fetch(wire.url, Validators(etag, "yesterday"))
        await fetch(wire.url, Validators('"1"', "yesterday\r\nX: 1"))
        await fetch(wire.url, Validators('W/"1"', "y" * 65))
        heads = [head.lower() for head in wire.heads]
    assert [b"if-none-match" in head for head in heads] == [False, True, True]
    assert [b"if-modified-since: yesterday\r\n" in head for head in heads] == [True, False, False]
    assert not any(b"if-modified-since" in head for head in heads[1:])


@pytest.mark.parametrize("etag", ['"a b"', f'"{"a" * 4096}"'])
async def test_an_etag_that_may_be_refused_is_not_kept(etag):
    async with wire_server() as wire:
        wire.behaves = answers(b"x", etag=etag, last_modified="yesterday")
        assert (await fetch(wire.url)).validators == Validators("", "yesterday")


async def test_a_304_to_validators_that_were_not_sent_is_an_error():
    async with wire_server() as wire:
        wire.behaves = answers(b"", "304 Not Modified")
        with pytest.raises(UpstreamError, match="304"):
            await fetch(wire.url, Validators("a"))


async def fetch_from(behave: Callable, url: str = "https://upstream.example/a", hosts: tuple[str, ...] = ()):
    """Fetch from an upstream that answers what *behave* returns, without a socket."""
    async with httpx.AsyncClient(transport=httpx.MockTransport(behave), follow_redirects=True) as client:
        return await HttpUpstream(lambda: client, url, timedelta(seconds=5), LIMIT, hosts).fetch(NO_VALIDATORS)


@pytest.mark.parametrize("target", ["http://upstream.example/b", "ftp://upstream.example/b", "file:///etc/passwd"])
async def test_a_redirect_that_is_not_allowed_is_refused_before_anything_is_sent(target):
    asked = []

    def hop(request):
        asked.append(str(request.url))
        path, targets = request.url.path, {"/a": "https://upstream.example/hop", "/hop": target}
        return httpx.Response(302, headers={"location": targets[path]})

    with pytest.raises(UpstreamError, match=r"redirected (from https to http|to ftp:|to file:)") as error:
        await fetch_from(hop)
    assert error.value.reason == "redirect"
    assert asked == ["https://upstream.example/a", "https://upstream.example/hop"]


@pytest.mark.parametrize(
    ("target", "hosts", "allowed"),
    [
        ("https://UPSTREAM.example:8443/b", (), True),
        ("https://internal.example/b", (), False),
        ("https://upstream.example.evil.example/b", (), False),
        ("https://upstream.example@internal.example/b", (), False),
        ("https://[::1]/b", (), False),
        ("https://[::1]/b", ("::1",), True),
        ("https://cdn.example/b", ("cdn.example",), True),
        ("https://sub.cdn.example/b", ("cdn.example",), False),
        ("https://anywhere.example/b", ("*",), True),
    ],
)
async def test_a_redirect_leads_only_to_hosts_that_are_allowed(target, hosts, allowed):
    def hop(request):
        if request.url.path == "/a":
            return httpx.Response(302, headers={"location": target})
        return httpx.Response(200, stream=httpx.ByteStream(b"x"))

    if allowed:
        assert (await fetch_from(hop, hosts=hosts)).body == b"x"
        return
    with pytest.raises(UpstreamError, match="APIDEX_UPSTREAM_REDIRECT_HOSTS") as error:
        await fetch_from(hop, hosts=hosts)
    assert error.value.public == "the upstream redirected to a host that is not allowed"


async def test_a_redirect_from_http_to_https_is_followed():
    def hop(request):
        if request.url.scheme == "https":
            return httpx.Response(200, stream=httpx.ByteStream(b"x"))
        return httpx.Response(301, headers={"location": "https://a/"})

    assert (await fetch_from(hop, "http://a/")).body == b"x"


UNUSABLE = {
    "NO_PROXY": "10.0.0.0/8,fd00::/8",
    "ALL_PROXY": "socks5://user:secret@127.0.0.1:1",
    "HTTP_PROXY": "http://user:secret@p:abc",
    "HTTPS_PROXY": "ftp://user:secret@127.0.0.1:1",
    "SSL_CERT_FILE": "/nowhere.pem",
}


@pytest.mark.parametrize("variable", UNUSABLE)
async def test_a_variable_that_cannot_be_used_is_a_failed_fetch_that_names_it(monkeypatch, variable):
    async with wire_server() as wire, open_upstream(wire.url, timedelta(seconds=60), LIMIT) as upstream:
        wire.behaves = answers(b"x")
        monkeypatch.setenv(variable, UNUSABLE[variable])
        with pytest.raises(UpstreamError, match=f"^{variable} ") as error:
            await upstream.fetch(NO_VALIDATORS)
        assert error.value.reason == "environment"
        assert "secret" not in str(error.value)
        assert wire.heads == []
        monkeypatch.delenv(variable)
        assert (await upstream.fetch(NO_VALIDATORS)).body == b"x", "it is tried again"


async def test_whatever_a_library_raises_is_a_failed_fetch():
    def breaks(request):
        raise KeyError("unforeseen")

    with pytest.raises(UpstreamError, match="unforeseen"):
        await fetch_from(breaks)


async def test_a_file_url_may_name_this_machine(tmp_path):
    (tmp_path / "list.md").write_bytes(b"here")
    assert (await fetch((tmp_path / "list.md").as_uri().replace("file://", "file://localhost"))).body == b"here"
