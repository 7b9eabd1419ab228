"""The commands, as a person runs them."""

import io
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace

import msgspec
import pytest

from apidex import logs
from apidex.cli import source
from apidex.cli.main import _SCOPES, _SORTS, COMMANDS, main
from apidex.errors import UpstreamError
from apidex.replication.last_good import LastGoodCopy, open_copy
from apidex.search.ranking import Scope, Sort
from apidex.terminal import counted
from conftest import ROOT
from fakes import file_of
from processes import HANG, apidex, replica, wait_until
from upstream_server import endless_head, http_server, raw_server, upstream_server


@pytest.fixture
def file(tmp_path) -> str:
    """The URL of a catalogue of four entries."""
    return file_of(tmp_path, "Cat Facts", "Cats", "Songlink / Odesli", "[red]Markup[/red]")


def test_serve_greets_answers_and_says_goodbye(file):
    with replica("--upstream", file) as process:
        started = process.events("serve.started")[0]
        assert started["greeting"] == "Bonjour"
        assert (started["catalogue"], started["state"], started["entries"]) == (file, "fresh", 4)
        found = apidex("search", "Cat", "--exact", "--json", "--url", process.url)
        assert [item["API"] for item in msgspec.json.decode(found.stdout)] == ["Cat Facts", "Cats"]
        assert process.ends() == 0
        assert process.events("serve.ended")[0]["farewell"] == "Arrive Derchi"
        assert not [line for line in process.lines if "redis." in line], "its Redis is embedded"
        assert process.events("request.ended") == [], "there is no log of requests without its setting"


def test_serve_prints_text_on_a_terminal(file):
    process = subprocess.Popen(
        [sys.executable, "-m", "apidex", "serve", "--port", "0", "--log-format", "text", "--upstream", file],
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        lines = []
        while "Bonjour\n" not in lines:
            lines.append(process.stdout.readline())
        assert "http://127.0.0.1:" in process.stdout.readline()
        assert process.stdout.readline().strip() == f"4 entries, fresh, from {file}"
        process.send_signal(signal.SIGINT)
        assert process.stdout.read().endswith("Arrive Derchi\n")
        assert process.wait(10) == 0


@pytest.mark.parametrize(
    ("arguments", "environ", "text"),
    [
        (["--port", "99999"], {}, "--port: '99999' is not allowed; allowed is a whole number from 0 to 65535"),
        ([], {"APIDEX_PORT": "x"}, "APIDEX_PORT: 'x' is not allowed"),
        ([], {"APIDEX_KEEP_SHARE": "1"}, "APIDEX_KEEP_SHARE was renamed to APIDEX_MIN_ENTRIES_RATIO in 0.2.0."),
        (["--upstream", "file:///nowhere"], {}, "No such file or directory"),
        (["--refresh-seconds", "0"], {}, "--refresh-seconds: '0' is not allowed"),
        (["--host", "no.such.host.invalid"], {}, "--host=no.such.host.invalid APIDEX_PORT=0"),
        ([], {"APIDEX_HOST": "no.such.host.invalid"}, "APIDEX_HOST=no.such.host.invalid"),
        (["--redis-url", "redis+sentinel://h:99999/m"], {}, "--redis-url is not allowed: "),
        ([], {"APIDEX_REDIS_URL": "redis+sentinel://h:99999/m"}, "APIDEX_REDIS_URL is not allowed: "),
        (["--host", "192.0.2.1"], {}, "cannot assign requested address"),
    ],
)
def test_a_setting_that_serve_cannot_use_is_status_2_and_one_sentence(file, monkeypatch, arguments, environ, text):
    for name, value in ({"APIDEX_PORT": "0"} | environ).items():
        monkeypatch.setenv(name, value)
    result = apidex("serve", "--upstream", file, *arguments)
    assert result.returncode == 2
    assert text in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr + result.stdout


def test_a_port_in_use_ends_serve_with_status_2(file):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = apidex("serve", "--port", port, "--upstream", file)
    assert result.returncode == 2
    assert result.stderr == (
        f"apidex: APIDEX_HOST=127.0.0.1 --port={port}: address already in use; "
        "allowed is an address of this machine with a port that is free\n"
    )


@pytest.mark.parametrize(
    ("words", "status", "names", "err"),
    [
        ("Cat", 0, ["Cats", "Cat Facts"], ""),
        ("Markup", 0, ["[red]Markup[/red]"], ""),
        ("cat --limit 1 --sort name", 0, ["Cat Facts"], "2 found; number 1 is shown (--limit, --offset), as of "),
        ("cat --limit 1 --offset 1", 0, ["Cat Facts"], "2 found; number 2 is shown (--limit, --offset), as of "),
        ("cat --offset 5", 0, [], "2 found; none is shown (--limit, --offset), as of "),
        ("cat --exact", 1, [], "No API has 'cat' in its name. Upper and lower case matter.\n"),
        ("zzzz --no-auth", 1, [], "No API fits 'zzzz' with these filters.\n"),
        ("cat fcats", 1, [], "No API fits 'cat fcats'. Did you mean 'cat facts'? That finds 1.\n"),
    ],
)
def test_search_prints_a_row_a_line_and_its_status_is_as_greps(file, run, words, status, names, err):
    done, out, said = run("search", *words.split(), "--upstream", file)
    assert done == status
    assert [line.split("\t")[0] for line in out.splitlines()] == names
    assert said.startswith(err) if err else said == ""
    assert run("search", *words.split(), "--upstream", file, "--format", "names")[1].splitlines() == names


def test_search_takes_every_scope_and_order_of_the_service():
    """The parser of arguments lists them itself, because importing their enums takes 17 ms."""
    assert set(_SCOPES) == set(Scope)
    assert set(_SORTS) == set(Sort)


def test_a_service_and_the_command_alone_find_the_same(data, run):
    url = (data / "README.md").as_uri()
    with replica("--upstream", url) as process:
        for words in (
            "cat --category animals --no-auth --cors yes --cors no",
            "open --category Weather weather",
            "spotify --auth oauth --auth apikey --https",
            "--no-https --category weather --sort name --limit 2",
            "jsonplacholder",
            "zzzz",
        ):
            status, alone, _ = run("search", *words.split(), "--json", "--upstream", url)
            served_status, served, _ = run("search", *words.split(), "--json", "--url", process.url)
            assert served_status == status
            found, expected = msgspec.json.decode(served), msgspec.json.decode(alone)
            assert found.pop("version").endswith(expected.pop("version"))
            assert found == expected
        many = ("search", "a", "--limit", "500", "--format", "names")
        assert len(run(*many, "--upstream", url)[1].splitlines()) == 500
        status, _, err = run(*many, "--url", process.url)
        assert (status, err) == (2, "apidex: limit: '500' is not allowed; allowed is a whole number from 1 to 100\n")


def test_search_without_a_network_uses_the_starter_catalogue_and_says_so(run, monkeypatch):
    def unreachable(*_):
        raise UpstreamError("connect", "the upstream cannot be reached")

    monkeypatch.setattr(source, "ask", unreachable)
    status, out, err = run("search", "cat")
    assert status == 0
    assert "Cat Facts" in out
    assert err.startswith("apidex: the upstream cannot be reached; using the ")
    assert run("search", "cat", "--upstream", "http://127.0.0.1:1/entries")[0] == 2, "whoever names one means it"


def copy_of(url: str, user_cache) -> LastGoodCopy:
    return open_copy(user_cache, url, "auto", 2**20)


def grows_old(copy: LastGoodCopy) -> None:
    labels, built = copy.read()
    copy.write(built.parsed, replace(labels, validated_at=1_700_000_000.0))


def test_a_copy_on_disk_is_used_while_it_is_fresh_and_revalidated_afterwards(run, user_cache):
    with upstream_server() as server:
        search = ("search", "Cat 199", "--upstream", server.url())
        for _ in range(2):
            status, out, err = run(*search)
            assert (status, out.split("\t")[0], err) == (0, "Cat 199", "")
        assert len(server.asked) == 1
        copy = copy_of(server.url(), user_cache)
        grows_old(copy)
        assert run(*search, "--offline")[2] == "1 found, as of 2023-11-14 22:13 UTC\n"
        assert len(server.asked) == 1
        assert run(*search)[2] == ""
        assert [status for *_, status in server.asked] == [200, 304]
        assert copy.read()[0].validated_at > 1_700_000_000
        run(*search, "--refresh")
        assert [status for *_, status in server.asked] == [200, 304, 200]


def test_an_old_copy_replaces_an_upstream_that_is_down_or_sends_garbage(run, user_cache):
    with upstream_server() as server:
        url = server.url()
        search = ("search", "Cat 199", "--upstream", url)
        run(*search)
        grows_old(copy_of(url, user_cache))
        server.serves(b"<html>")
        for reason in ("HTML page", "cannot be reached"):
            status, out, err = run(*search)
            assert (status, out.split("\t")[0]) == (0, "Cat 199")
            assert (reason in err, "using the 201 APIs as of 2023-11-14 22:13 UTC" in err, err.count("\n")) == (
                True,
                True,
                1,
            )
            assert run(*search, "--refresh")[0] != 0, "whoever wants a new one is told"
            if reason == "HTML page":
                server.close()
    copy_of(url, user_cache).path.write_bytes(b"garbage")
    status, _, err = run(*search, "--offline")
    assert status != 0
    assert "is not used" in err
    assert "there is no copy of the catalogue on disk" in err


def test_a_file_is_read_at_each_search_however_its_scheme_is_written(file, run, tmp_path):
    url = file.replace("file:", "FILE:")
    assert run("search", "cats", "--upstream", url)[0] == 0
    file_of(tmp_path, "Dogs")
    assert run("search", "cats", "--upstream", url)[0] == 1


def test_a_search_waits_its_timeout_for_an_upstream_that_hangs(run):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        for place in ("--upstream", "--url"):
            began = time.monotonic()
            status, _, err = run("search", "cat", place, url, "--timeout", "0.2")
            assert status != 0
            assert err.startswith("apidex: the ")
            assert time.monotonic() - began < 5 + HANG / 4


@pytest.mark.parametrize("command", ["search cat", "search cat --exact", "categories", "changes --since 1-a"])
def test_the_timeout_is_for_the_whole_answer_of_a_service(command):
    with raw_server(endless_head) as (url, _):
        result = apidex(*command.split(), "--url", url, "--timeout", "0.3")
    error = f"apidex: the service at {url} did not answer completely within 0.3 s\n"
    assert (result.returncode, result.stdout, result.stderr) == (2, "", error)


def test_an_answer_of_a_service_is_bounded(run, monkeypatch):
    monkeypatch.setenv("APIDEX_UPSTREAM_LIMIT_BYTES", "2000")
    with http_server(b"[" * 2001) as url:
        error = f"apidex: the service at {url} answered with more than 2,000 bytes\n"
        assert run("search", "cat", "--url", url) == (2, "", error)
    with http_server(b"[" * 2000) as url:
        assert "is not Apidex" in run("search", "cat", "--url", url)[2]


def test_the_timeout_is_for_the_whole_answer_that_doctor_waits_for():
    with raw_server(endless_head) as (url, _):
        environ = os.environ | {"APIDEX_UPSTREAM_TIMEOUT_SECONDS": "0.3"}
        result = apidex("doctor", "--port", "0", "--upstream", url, env=environ)
    assert result.returncode == 1
    assert "did not answer completely within 0.3 s" in result.stdout
    assert "the upstream sent no valid Date" in result.stdout


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("serch cat", "'serch' is not a command; did you mean 'search'?"),
        ("zzz", "'zzz' is not a command; allowed are serve, search, get, "),
        ("search cat --auth", "--auth: its value is missing; allowed is one"),
        ("search cat --nonsense", "'--nonsense' is not an option of apidex search; `apidex search --help` lists the "),
        (
            "completion bash --upstream a",
            "'--upstream' is not an option of apidex completion; `apidex completion --help`",
        ),
        ("search cat --catgory x", "'--catgory' is not an option of apidex search; did you mean '--category'?"),
        ("search cat --format cvs", "--format: 'cvs' is not allowed; did you mean 'csv'?"),
        (
            "categories --format links",
            "--format: 'links' is not allowed; allowed are table, tsv, csv, json, ndjson, names",
        ),
        ("search cat --cors maybe", "--cors: 'maybe' is not allowed; allowed are yes, no, unknown"),
        ("search cat --category thigns", "--category: 'thigns' is not allowed; did you mean 'Things'?"),
        ("search cat --limit 0", "--limit: '0' is not allowed; allowed is a whole number from 1 to 1000000000"),
        ("search cat --timeout x", "--timeout: 'x' is not allowed; allowed is a number of seconds from 0.1 to 600"),
        ("--json search cat", "'--json' stands before the command; allowed there are --help and --version"),
        ("--port 1 serve", "'--port' stands before the command; allowed there are --help and --version"),
        ("get", "NAME: missing; `apidex get --help` says what is allowed"),
        ("search a --no-auth --auth x", "--auth: not allowed together with --no-auth; allowed is one of them"),
        ("random --json=3", "--json: '3' is not allowed; it has no value"),
        ("changes --since 1-a", "--since: not allowed without --url; allowed without it is a FILE-OR-URL"),
        (
            "changes a --url http://127.0.0.1:1",
            "FILE-OR-URL: not allowed with --url; allowed with it is --since VERSION",
        ),
        ("catalogue a b", "'b' is one argument too many; `apidex catalogue --help` lists them"),
    ],
)
def test_the_nearest_word_is_suggested_for_a_misspelled_one(file, monkeypatch, capsys, command, hint):
    monkeypatch.setenv("APIDEX_UPSTREAM", file)
    try:
        status = main(command.split())
    except SystemExit as end:
        status = end.code
    err = capsys.readouterr().err
    assert (status, err.startswith(f"apidex: {hint}"), err.count("\n")) == (2, True, 1), err


def test_of_many_categories_a_near_one_is_suggested_and_the_others_are_counted(data, run):
    place = ("--upstream", (data / "README.md").as_uri())
    for word, hint in (("wether", "did you mean 'Weather'?"), ("zzzz", "`apidex categories` lists the 51 that are")):
        error = f"apidex: --category: {word!r} is not allowed; {hint}\n"
        assert run("search", "--category", word, *place)[2] == error


def test_an_unknown_filter_value_is_an_error_that_lists_the_values(file, run):
    with replica("--upstream", file) as process:
        for place in (["--upstream", file], ["--url", process.url]):
            error = "apidex: --category: 'Birds' is not allowed; allowed are Things\n"
            assert run("search", "cat", "--category", "Birds", *place) == (2, "", error)


UNRESOLVABLE = ["http://xn--/", "http://a..b/", f"http://{'a' * 70}/"]
BAD_URLS = ["", "nonsense", "ftp://a", "http://", "http:///a", "http://[::1", "http://a]b", "http://a:0/"]
BAD_URLS += ["http://a:b", "http://a\x7f", *UNRESOLVABLE]
A_SERVICE = "allowed is the URL of a service, such as http://127.0.0.1:8000\n"
ASK = [["search", "x"], ["categories"], ["changes", "--since", "1-a"], ["mcp"]]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["search", "", "--exact"], "allowed are 1 to 256"),
        (["get", ""], "NAME: empty; allowed are 1 to 256"),
        (["search"], "WORD: missing; allowed are words, or a filter"),
        (["search", "x", "--exact", "--no-auth"], "filters are not allowed"),
        *(
            (["search", "x", "--exact", *option.split()], "--exact: --in, --sort, --limit and --offset are not allowed")
            for option in ("--limit 1", "--offset 1", "--sort name", "--in name")
        ),
        (["search", "x" * 257], "at most 256"),
        (["search", "a\n"], "control characters"),
        (["search", "\udcff"], "not valid in this terminal's encoding"),
        (["search", "--category", "\udcff", "--url", "http://127.0.0.1:1"], "not valid in this terminal's encoding"),
        (["changes", "--since", "\udcff", "--url", "http://127.0.0.1:1"], "not valid in this terminal's encoding"),
        (["categories", "--url", "http://127.0.0.1:1/\udcff"], "not valid in this terminal's encoding"),
        (["serve", "--host", ".."], "not a host name or address"),
        (["catalogue", "--upstream", "file:///tmp/%00"], "allowed is a regular file that exists"),
        *(([*ask, "--url", url], f"--url: {url!r} is not allowed; {A_SERVICE}") for ask in ASK for url in BAD_URLS),
        (["search", "x", "--url", "http://127.0.0.1:1"], "gave no answer"),
        (["search", "x", "--upstream", "http://127.0.0.1:1/"], "cannot be reached"),
        (["catalogue", "--upstream", "file:///nowhere"], "No such file"),
        (["catalogue", "/nowhere/list.md"], "No such file"),
        (["catalogue", str(ROOT / "src/apidex/http/ui/page.html")], "it is an HTML page"),
        (["catalogue", ""], "FILE-OR-URL: '' is not allowed; allowed is the path of a file or a URL"),
        (["changes", ""], "FILE-OR-URL: '' is not allowed"),
        (["catalogue", "ftp://a/b"], "FILE-OR-URL: 'ftp://a/b' is not allowed; allowed is a URL"),
    ],
)
def test_an_error_is_one_sentence(run, arguments, text):
    done, out, err = run(*arguments)
    assert (done, out) == (2, "")
    assert text in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("variable", "value"),
    [("NO_PROXY", "fd00::/8"), ("ALL_PROXY", "socks5://127.0.0.1:1"), ("SSL_CERT_FILE", "/nowhere.pem")],
)
@pytest.mark.parametrize("command", ["search x --url", "search x --upstream", "catalogue --upstream", "mcp --url"])
def test_a_proxy_or_certificate_that_cannot_be_used_is_one_sentence(run, monkeypatch, command, variable, value):
    monkeypatch.setenv(variable, value)
    monkeypatch.setattr(logs, "configure", lambda *_, **__: None)
    status, _, err = run(*command.split(), "http://127.0.0.1:1/")
    assert status == 2
    assert err.startswith(f"apidex: {variable} ")
    assert err.count("\n") == 1


def test_a_defect_has_another_status_than_nothing_found(file, run, monkeypatch):
    monkeypatch.setattr(source, "load", lambda *_: 1 / 0)
    status, out, err = run("search", "cat", "--upstream", file)
    assert (status, out) == (2, "")
    assert "ZeroDivisionError" in err


def test_a_machine_that_can_start_no_thread_is_one_sentence(file, run, monkeypatch):
    def no_thread(_thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    status, out, err = run("search", "cat", "--upstream", file)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "can't start new thread" in err


def test_a_query_that_no_url_can_hold_is_an_error(run):
    words = [word for number in range(400) for word in ("--category", f"{'x' * 200}{number}")]
    error = "apidex: the arguments are too long; 65,536 bytes are allowed\n"
    assert run("search", "x", *words, "--url", "http://127.0.0.1:1") == (2, "", error)


@pytest.mark.parametrize("exact", [[], ["--exact"]])
def test_a_service_that_is_not_apidex_is_an_error(run, exact):
    with http_server(b"<html>") as url:
        status, _, err = run("search", "x", *exact, "--url", url)
    assert status == 2
    assert "is not Apidex" in err


def test_a_service_can_be_asked_for_a_dot(file, run):
    with replica("--upstream", file) as process:
        assert run("search", ".", "--exact", "--url", process.url)[0] == 1, "no name has a dot, and it is not a path"


@pytest.mark.parametrize(
    ("command", "unbuffered"),
    [("search Cat", ""), ("search Cat --json", ""), ("search --help", ""), ("search Cat --json", "1")],
)
def test_a_full_disk_is_one_sentence_and_status_2(file, command, unbuffered):
    environ = os.environ | {"PYTHONUNBUFFERED": unbuffered, "APIDEX_UPSTREAM": file}
    with open("/dev/full", "w") as full:  # noqa: PTH123
        result = apidex(*command.split(), stdout=full, env=environ)
    assert (result.returncode, result.stderr) == (2, "apidex: [Errno 28] No space left on device\n")


@pytest.mark.parametrize(("word", "status"), [("Cat", 0), ("zzzz", 1), ("", 2)])
def test_the_status_does_not_depend_on_a_disk_that_messages_do_not_fit_on(file, word, status):
    environ = os.environ | {"PYTHONUNBUFFERED": ""}
    with open("/dev/full", "w") as full:  # noqa: PTH123
        result = apidex("search", word, "--limit", "1", "--upstream", file, stderr=full, env=environ)
    assert result.returncode == status


def test_a_terminal_without_the_characters_gets_escapes(file):
    environ = os.environ | {"PYTHONIOENCODING": "ascii"}
    result = apidex("search", "Songlink", "--upstream", file, env=environ)
    assert result.returncode == 0, result.stderr


def test_catalogue_shows_the_report(data, run):
    url = (data / "README.md").as_uri()
    status, out, _ = run("catalogue", "--upstream", url)
    assert status == 0
    assert "1695 entries in 51 categories" in out
    assert "rows: 83 repaired, 0 rejected, 11 ignored; " in out
    assert [line for line in out.splitlines() if line != line.rstrip()] == []
    status, out, _ = run("catalogue", str(data / "README.md"), "--json")
    assert status == 0
    report = msgspec.json.decode(out)
    assert (report["entries"], report["repaired"]["total"], len(report["ignored"]["first"])) == (1695, 83, 11)


LIST = """\
| API | Description | Auth | HTTPS | CORS |
|---|---|---|---|---|
| [Cats](https://cats.example/) | Cats | apiKey | Yes | Yes |
| [Dogs](https://dogs.example/) | Dogs | apiKey | Yes | perhaps |
| [cats](https://bees.example/) | Bees | apiKey | Yes | Yes |
| | Nameless | No | Yes | Yes |
"""


def test_catalogue_is_a_tool_for_the_ci_of_a_list(tmp_path, run, monkeypatch):
    path = tmp_path / "README.md"
    path.write_text(LIST)
    monkeypatch.chdir(tmp_path)
    rows = [
        ("repaired", "4", "Dogs", "cors", "perhaps", "unknown", "CORS 'perhaps' became 'unknown'"),
        ("rejected", "6", "it has no name"),
        ("suspicious", "3,5", "duplicate name: Cats, cats"),
    ]
    for place in ("README.md", str(path), path.as_uri()):
        status, out, err = run("catalogue", place)
        assert (status, err) == (1, "")
        assert [tuple(re.split("  +", line)) for line in out.splitlines()[-3:]] == rows
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    status, out, _ = run("catalogue", "-", "--json")
    report = msgspec.json.decode(out)
    assert (status, report["source"], report["rejected"]["total"]) == (1, "-", 1)
    assert report["repaired"]["first"][0]["repairs"] == [
        {"column": "cors", "before": "perhaps", "after": "unknown", "reason": "CORS 'perhaps' became 'unknown'"}
    ]
    assert report["suspicious"] == [{"kind": "duplicate name", "rows": [3, 5], "text": "Cats, cats"}]


def test_a_list_on_standard_input_is_bounded(run, monkeypatch):
    monkeypatch.setenv("APIDEX_UPSTREAM_LIMIT_BYTES", "2000")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(LIST.encode().ljust(2000))))
    assert run("catalogue", "-")[0] == 1
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(LIST.encode().ljust(2001))))
    assert run("catalogue", "-") == (2, "", "apidex: standard input is larger than 2000 bytes\n")


def test_counts_are_singular_or_plural(tmp_path, run):
    path = tmp_path / "README.md"
    for rows, size in ((1, "1 entry in 1 category,"), (2, "2 entries in 1 category,")):
        path.write_text("### Pets\n" + "".join(LIST.splitlines(keepends=True)[: 2 + rows]))
        _, out, _ = run("catalogue", str(path))
        assert out.splitlines()[1].startswith(size)
    assert [counted(count, "reply") for count in (0, 1, 2)] == ["0 replies", "1 reply", "2 replies"]


def test_a_dead_anchor_of_a_list_of_links_is_suspicious(tmp_path, run):
    path = tmp_path / "README.md"
    links = "".join(f"* [API {number}](https://{number}.example/) - About it\n" for number in range(5))
    path.write_text(f"# List\n[Go](#gone)\n\n## Plants\n{links}")
    status, out, _ = run("catalogue", str(path))
    assert (status, "dead anchor: #gone" in out) == (0, True)


def test_catalogue_shows_the_rejected_rows_of_a_refused_list(tmp_path, run):
    path = tmp_path / "list.md"
    path.write_text(LIST + "| | Nameless | No | Yes | Yes |\n" * 3)
    status, out, err = run("catalogue", str(path))
    assert (status, out.count("it has no name")) == (2, 4)
    assert "4 of 7 rows cannot be read" in err


@pytest.mark.real
def test_catalogue_stores_an_operators_override_in_redis(run, redis_server, monkeypatch):
    environ = {"APIDEX_REDIS_URL": redis_server.url, "APIDEX_POLL_SECONDS": "0.2", "APIDEX_REFRESH_SECONDS": "1"}
    with upstream_server() as upstream, replica("--upstream", upstream.url(), **environ) as process:
        good = process.catalogue()["digest"]
        process.has_another_catalogue_after(lambda: upstream.has("vandalised"))
        assert run("catalogue", "rollback")[::2] == (2, NO_REDIS.replace("accept", "rollback"))
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        status, out, _ = run("catalogue", "rollback")
        assert (status, "201 entries" in out) == (0, True)
        process.until(lambda catalogue: catalogue["digest"] == good)
        process.until(lambda catalogue: catalogue["upstream"]["failures"].get("rolled_back"))
        assert run("catalogue", "rollback")[::2] == (2, "apidex: Redis holds no earlier catalogue to go back to\n")

        upstream.has(*(f"new {number}" for number in range(300)))
        process.until(lambda catalogue: catalogue["upstream"]["failures"].get("grown"))
        assert process.catalogue()["digest"] == good
        assert run("catalogue", "accept")[0] == 0
        process.until(lambda catalogue: catalogue["entries"] > 400)


def test_an_operators_override_needs_a_redis(run):
    assert run("catalogue", "accept") == (2, "", NO_REDIS)


NO_REDIS = "apidex: apidex catalogue accept needs APIDEX_REDIS_URL: the Redis by which the replicas are told\n"


def test_doctor_finds_everything_ok(file, run):
    status, out, _ = run("doctor", "--port", "0", "--upstream", file)
    assert status == 0
    checks = ("settings", "port", "upstream", "disk", "redis", "clock")
    assert [line.split()[:2] for line in out.splitlines()] == [["ok", check] for check in checks]


@pytest.mark.parametrize("url", UNRESOLVABLE)
def test_doctor_warns_of_an_upstream_whose_host_is_not_a_name(run, url):
    status, out, err = run("doctor", "--port", "0", "--upstream", url)
    assert (status, err) == (1, "")
    assert f"warning upstream  {url}: the upstream" in out
    assert "ok      clock     nothing to compare it with" in out


def test_doctor_says_what_is_wrong_and_what_to_do(run, monkeypatch):
    monkeypatch.setenv("APIDEX_PROT", "1")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        status, out, _ = run("doctor", "--port", port, "--upstream", "http://127.0.0.1:1/")
    assert status == 2
    for text in (
        "is APIDEX_PORT meant?",
        f"--port={port}: address already in use",
        "cannot be reached",
        "the starter catalogue",
    ):
        assert text in out


@pytest.mark.parametrize("upstream", [None, "http://127.0.0.1:1/"])
def test_doctor_distinguishes_warnings_from_errors(file, run, monkeypatch, upstream):
    if upstream is None:
        monkeypatch.setenv("APIDEX_PROT", "1")
    status, out, _ = run("doctor", "--port", "0", "--upstream", upstream or file)
    assert (status, out.count("warning ")) == (1, 1)


def test_doctor_reports_the_copy_on_disk(run, file, tmp_path, monkeypatch):
    def disk(place) -> tuple[int, str]:
        status, out, _ = run("doctor", "--port", "0", "--upstream", file, "--state-dir", str(place))
        return status, next(line for line in out.splitlines() if "disk     " in line)

    assert disk("none") == (
        0,
        "ok      disk      no directory; a replica that starts while its upstream is away has the starter catalogue",
    )
    assert disk(tmp_path / "new" / "state") == (0, f"ok      disk      no copy yet in '{tmp_path}/new/state'")
    (tmp_path / "file").touch()
    for place in ("/proc/state", tmp_path / "file"):
        status, line = disk(place)
        assert (status, f"no copy can be written to '{place}'" in line) == (1, True)
    with monkeypatch.context() as patch:
        patch.setattr("apidex.cli.doctor._WRITTEN", 2**20)  # more than the limit of a file of this process
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**19, before[1]))
        try:
            status, line = disk(tmp_path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (status, line.endswith("File too large")) == (1, True)
    with replica("--upstream", file, "--state-dir", str(tmp_path)):
        wait_until(lambda: disk(tmp_path)[1].endswith("holds 4 entries"), "a copy")
    copy_of(file, tmp_path).path.write_bytes(b"garbage")
    status, line = disk(tmp_path)
    assert (status, "is not used: its bytes differ from its checksum" in line) == (1, True)


BAD = {"APIDEX_PORT": "x", "APIDEX_POLL_SECONDS": "-1", "APIDEX_LAG_SECONDS": "1", "APIDEX_REDIS_URL": "nowhere"}


def test_serve_and_doctor_name_every_bad_setting_at_once(file, run, monkeypatch):
    for name, value in BAD.items():
        monkeypatch.setenv(name, value)
    status, _, err = run("serve", "--upstream", "nonsense", "--refresh-seconds", "0")
    named = [line.split()[1].rstrip(":") for line in err.splitlines()]
    assert (status, {*named}) == (2, {*BAD, "--upstream", "--refresh-seconds"})
    status, out, _ = run("doctor", "--upstream", file)
    assert (status, out.count("wrong   settings")) == (2, 4)
    assert "ok      upstream" in out, "what can be checked is checked"
    assert "port     " not in out


def test_doctor_checks_the_rest_with_the_values_given_if_two_settings_contradict_each_other(file, run, monkeypatch):
    monkeypatch.setenv("APIDEX_KEEP_ALIVE_SECONDS", "20")
    monkeypatch.setenv("APIDEX_REDIS_URL", "redis://127.0.0.1:1/0")
    status, out, _ = run("doctor", "--port", "0", "--upstream", file)
    assert (status, "APIDEX_KEEP_ALIVE_SECONDS: 20 is not allowed" in out) == (2, True)
    for text in (" is free", f"ok      upstream  {file}: ", "warning redis     redis://127.0.0.1:1/0: "):
        assert text in out


def test_doctor_says_that_two_ports_must_differ_instead_of_looking_for_what_listens_there(file, run, monkeypatch):
    monkeypatch.setenv("APIDEX_ADMIN_PORT", "1")
    status, out, _ = run("doctor", "--port", "1", "--upstream", file)
    assert (status, "APIDEX_ADMIN_PORT: 1 is not allowed; allowed is another port" in out) == (2, True)
    assert "port     " not in out


@pytest.mark.parametrize("command", ["search cat", "catalogue"])
def test_a_command_checks_only_settings_that_it_uses(file, run, monkeypatch, command):
    for name, value in BAD.items():
        monkeypatch.setenv(name, value)
    assert run(*command.split(), "--upstream", file)[0] == 0
    monkeypatch.setenv("APIDEX_UPSTREAM_LIMIT_BYTES", "x")
    assert run(*command.split(), "--upstream", file)[0] == 2


UNUSABLE = {
    "can only be read": ("REPLICAOF 127.0.0.1 1", "read-only replica", "use Sentinel"),
    "without its replicas": ("CONFIG SET min-replicas-to-write 1", "too few replicas", "Repair its disk or replicas"),
    "full": ("CONFIG SET maxmemory 1", "memory is full", "Raise maxmemory"),
    "no scripts": ("ACL SETUSER default -@scripting", "ACL does not allow", "the ACL"),
    "no right to a key": ("ACL SETUSER default resetkeys ~other:*", "ACL does not allow", "the ACL"),
    "no right to one command of a script": ("ACL SETUSER default -hset", "ACL does not allow", "the ACL"),
    "a password": ("CONFIG SET requirepass secret", "requires a password", "APIDEX_REDIS_PASSWORD"),
}


@pytest.mark.real
@pytest.mark.parametrize(("command", "text", "advice"), UNUSABLE.values(), ids=UNUSABLE)
def test_doctor_warns_of_a_redis_that_cannot_be_used(file, run, redis_server, command, text, advice):
    redis_server.tell(*command.split())
    status, out, _ = run("doctor", "--port", "0", "--upstream", file, "--redis-url", redis_server.url)
    assert status == 1
    for each in ("warning redis", text, advice):
        assert each in out


def test_doctor_advises_on_tls_when_redis_does_not_answer_a_handshake(file, run):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # as Redis without TLS, which waits for the end of a line
        url = f"rediss://127.0.0.1:{silent.getsockname()[1]}/0"
        status, out, _ = run("doctor", "--port", "0", "--upstream", file, "--redis-url", url)
    assert (status, "did not answer in time" in out, "whether it uses TLS" in out) == (1, True, True)


@pytest.mark.real
def test_doctor_checks_redis(file, run, redis_server):
    def doctor() -> tuple[int, str]:
        return run("doctor", "--port", "0", "--upstream", file, "--redis-url", redis_server.url)[:2]

    status, out = doctor()
    assert (status, "holds no catalogue yet" in out) == (0, True)
    with replica("--upstream", file, "--redis-url", redis_server.url):
        assert ": 4 entries, " in doctor()[1]
    redis_server.is_killed()
    status, out = doctor()
    assert (status, "warning redis" in out) == (1, True), "a replica runs without Redis"


@pytest.mark.parametrize(
    "arguments", [[], ["help"], ["--help"], *([name, "--help"] for name in COMMANDS)], ids=" ".join
)
def test_help_has_examples_and_describes_the_commands(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert "examples:\n  " in shown
    for name in arguments[:-1] or COMMANDS:
        assert re.search(rf"^    {name}\b|^usage: apidex {name}\b", shown, re.MULTILINE)
        assert COMMANDS[name].description in " ".join(shown.split())
