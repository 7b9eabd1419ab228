"""The commands, as a person runs them."""

import os
import signal
import socket
import subprocess
import sys

import msgspec
import pytest

from apidex.cli import source
from apidex.cli.main import main
from apidex.errors import UpstreamError
from fakes import publicapis
from processes import http_server, replica


@pytest.fixture
def file(tmp_path, monkeypatch) -> str:
    for name in list(os.environ):
        if name.startswith("APIDEX_"):
            monkeypatch.delenv(name)
    path = tmp_path / "entries.json"
    path.write_bytes(publicapis("Cat Facts", "Cats", "Songlink / Odesli", "[red]Markup[/red]"))
    return path.as_uri()


def apidex(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "apidex", *arguments], capture_output=True, text=True, timeout=60)


def test_serve_greets_answers_and_says_goodbye(file):
    with replica("--upstream", file) as process:
        started = process.events("serve.started")[0]
        assert started["greeting"] == "Bonjour"
        assert (started["catalogue"], started["state"], started["entries"]) == (file, "fresh", 4)
        found = apidex("search", "Cat", "--exact", "--json", "--url", process.url)
        assert [item["API"] for item in msgspec.json.decode(found.stdout)] == ["Cat Facts", "Cats"]
        assert process.ends() == 0
        assert process.events("serve.ended")[0]["farewell"] == "Arrive Derchi"


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
        (["--upstream", "file:///nowhere"], {}, "No such file or directory"),
        (["--refresh-seconds", "0"], {}, "--refresh-seconds: '0' is not allowed"),
        (["--host", "no.such.host.invalid"], {}, "APIDEX_HOST=no.such.host.invalid"),
        (["--host", "192.0.2.1"], {}, "cannot assign requested address"),
    ],
)
def test_a_setting_that_serve_cannot_use_is_status_2_and_one_sentence(file, arguments, environ, text):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("APIDEX_")}
    command = [sys.executable, "-m", "apidex", "serve", "--upstream", file, *arguments]
    environ = clean | {"APIDEX_PORT": "0"} | environ
    result = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
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
        f"apidex: APIDEX_HOST=127.0.0.1 APIDEX_PORT={port}: address already in use; "
        "allowed is an address of this machine with a port that is free\n"
    )


def test_search_prints_a_table_of_what_it_found(file, capsys):
    assert main(["search", "Cat", "--upstream", file]) == 0
    out = capsys.readouterr().out
    assert "Cat Facts" in out
    assert "https://example.org/" in out
    assert "2 found" in out


def test_search_prints_names_as_they_are(file, capsys):
    assert main(["search", "Markup", "--upstream", file]) == 0
    assert "[red]Markup[/red]" in capsys.readouterr().out


def test_search_prints_json_for_programs(file, capsys):
    assert main(["search", "songlink", "odesli", "--json", "--upstream", file]) == 0
    found = msgspec.json.decode(capsys.readouterr().out)
    assert [(hit["entry"]["API"], hit["rank"]) for hit in found["hits"]] == [("Songlink / Odesli", "exact")]


def test_exact_search_is_that_of_the_service_by_path(file, capsys):
    assert main(["search", "Songlink", "/", "Odesli", "--exact", "--json", "--upstream", file]) == 0
    assert [item["API"] for item in msgspec.json.decode(capsys.readouterr().out)] == ["Songlink / Odesli"]
    assert main(["search", "cat", "--exact", "--upstream", file]) == 1
    assert "No API has 'cat' in its name. Upper and lower case matter." in capsys.readouterr().err


def test_a_correction_is_offered(file, capsys):
    assert main(["search", "cat", "fcats", "--upstream", file]) == 1
    shown = capsys.readouterr()
    assert shown.err == "No API has 'cat fcats' in its name. Did you mean 'cat facts'?\n"
    assert "Cat Facts" in shown.out
    assert "1 found for 'cat facts'" in shown.out
    assert main(["search", "zzzz", "--no-auth", "--upstream", file]) == 1
    assert capsys.readouterr().err == "No API has 'zzzz' in its name with these filters.\n"


def test_search_shows_up_to_the_limit_and_says_the_total(file, capsys):
    assert main(["search", "cat", "--limit", "1", "--sort", "name", "--upstream", file]) == 0
    out = capsys.readouterr().out
    assert "Cat Facts" in out
    assert "Cats" not in out
    assert "2 found; the first 1 are shown (--limit)" in out


def test_a_service_and_the_command_alone_find_the_same(data, file, capsys):
    url = (data / "README.md").as_uri()
    with replica("--upstream", url) as process:
        for asked in (
            "cat --category animals --no-auth --cors yes --cors no",
            "open --category Weather weather",
            "spotify --auth oauth --auth apikey --https",
            "--no-https --category weather --sort name --limit 2",
            "jsonplacholder",
            "zzzz",
        ):
            status = main(["search", *asked.split(), "--json", "--upstream", url])
            alone = msgspec.json.decode(capsys.readouterr().out)
            assert main(["search", *asked.split(), "--json", "--url", process.url]) == status
            served = msgspec.json.decode(capsys.readouterr().out)
            assert served.pop("version").endswith(alone.pop("version"))
            assert served == alone


@pytest.mark.parametrize(
    "command", ["search cat --nonsense", "search cat --auth", "catalogue cat", "search x --cors maybe"]
)
def test_an_unknown_option_or_argument_is_status_2(file, capsys, command):
    with pytest.raises(SystemExit) as end:
        main(command.split())
    assert end.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_an_unknown_filter_value_is_an_error_that_lists_the_values(file, capsys):
    assert main(["search", "cat", "--category", "Birds", "--upstream", file]) == 2
    assert capsys.readouterr().err == "apidex: category: 'Birds' is not allowed; allowed are Things\n"
    with replica("--upstream", file) as process:
        assert main(["search", "cat", "--category", "Birds", "--url", process.url]) == 2
    assert capsys.readouterr().err == "apidex: category: 'Birds' is not allowed; allowed are Things\n"


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["search", "", "--exact"], 2, "allowed are 1 to 256"),
        (["search"], 2, "WORD: missing; allowed are words, or a filter"),
        (["search", "x", "--limit", "0"], 2, "--limit: 0 is not allowed; allowed is a whole number from 1 to 100"),
        (["search", "x", "--exact", "--no-auth"], 2, "filters are not allowed"),
        (["search", "x" * 257], 2, "at most 256"),
        (["search", "a\n"], 2, "control characters"),
        (["search", "\udcff"], 2, "not valid in this terminal's encoding"),
        (["serve", "--host", ".."], 2, "not a host name or address"),
        (["catalogue", "--upstream", "file:///tmp/%00"], 2, "allowed is a file that exists"),
        (["search", "x", "--url", "nonsense"], 2, "allowed is the URL of a service"),
        (["search", "x", "--url", "http://127.0.0.1:1"], 1, "gave no answer"),
        (["search", "x", "--upstream", "http://127.0.0.1:1/"], 1, "cannot be reached"),
        (["catalogue", "--upstream", "file:///nowhere"], 2, "No such file"),
    ],
)
def test_an_error_is_one_sentence(file, capsys, arguments, status, text):
    assert main(arguments) == status
    err = capsys.readouterr().err
    assert text in err
    assert err.count("\n") == 1


def test_a_service_that_is_not_apidex_is_an_error(file, capsys):
    with http_server(b"<html>") as url:
        assert main(["search", "x", "--url", url]) == 1
        assert main(["search", "x", "--exact", "--url", url]) == 1
    assert "is not Apidex" in capsys.readouterr().err


def test_catalogue_shows_the_report(data, capsys):
    url = (data / "README.md").as_uri()
    assert main(["catalogue", "--upstream", url]) == 0
    out = capsys.readouterr().out
    assert "1695 entries in 51 categories" in out
    assert "83 rows repaired" in out
    assert "… and 73 more" in out
    assert main(["catalogue", "--upstream", url, "--json"]) == 0
    report = msgspec.json.decode(capsys.readouterr().out)
    assert (report["entries"], report["repaired"]["total"], len(report["ignored"]["first"])) == (1695, 83, 11)


def test_catalogue_refuses_what_a_replica_refuses(tmp_path, capsys):
    page = tmp_path / "page.html"
    page.write_text("<!doctype html>")
    assert main(["catalogue", "--upstream", page.as_uri()]) == 1
    assert "it is an HTML page" in capsys.readouterr().err


def test_doctor_finds_everything_ok(file, capsys):
    assert main(["doctor", "--port", "0", "--upstream", file]) == 0
    out = capsys.readouterr().out
    assert [line.split()[:2] for line in out.splitlines()] == [
        ["ok", check] for check in ("settings", "port", "upstream", "redis", "clock")
    ]


def test_doctor_says_what_is_wrong_and_what_to_do(file, capsys, monkeypatch):
    monkeypatch.setenv("APIDEX_PROT", "1")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["doctor", "--port", port, "--upstream", "http://127.0.0.1:1/"]) == 1
    out = capsys.readouterr().out
    for text in ("is APIDEX_PORT meant?", "address already in use", "cannot be reached", "the starter catalogue"):
        assert text in out


@pytest.mark.parametrize("command", ["", "serve", "search", "catalogue", "mcp", "doctor"])
def test_help_has_examples(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([*command.split(), "--help"])
    assert end.value.code == 0
    assert "examples:\n  " in capsys.readouterr().out


def test_search_without_a_network_uses_the_starter_catalogue_and_says_so(file, capsys, monkeypatch):
    def out_of_reach(settings):
        raise UpstreamError("connect", "the upstream cannot be reached")

    monkeypatch.setattr(source, "fetch", out_of_reach)
    assert main(["search", "cat"]) == 0
    said = capsys.readouterr()
    assert "Cat Facts" in said.out
    assert said.err.startswith("apidex: the upstream cannot be reached; searching the ")
    assert main(["search", "cat", "--upstream", "http://127.0.0.1:1/entries"]) == 1, (
        "whoever names an upstream means it"
    )


def test_help_describes_each_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    for command in ("serve Answer searches", "search Find APIs", "catalogue Fetch", "mcp Offer search", "doctor Check"):
        assert command in said


@pytest.mark.real
def test_doctor_checks_redis(file, capsys, redis_server):
    arguments = ["doctor", "--port", "0", "--upstream", file, "--redis-url", redis_server.url]
    assert main(arguments) == 0
    assert "holds no catalogue yet" in capsys.readouterr().out
    with replica("--upstream", file, "--redis-url", redis_server.url):
        assert main(arguments) == 0
    assert ": 4 entries, " in capsys.readouterr().out
    redis_server.is_killed()
    assert main(arguments) == 0, "a replica runs without Redis"
    assert "warning redis" in capsys.readouterr().out


def test_a_service_can_be_asked_for_a_dot(file):
    with replica("--upstream", file) as process:
        assert apidex("search", ".", "--exact", "--url", process.url).returncode == 1, (
            "nothing has a dot, and it is no other path"
        )


def test_a_full_disk_is_reported_without_a_traceback(file):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        command = [sys.executable, "-m", "apidex", "search", "Cat", "--json", "--upstream", file]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert "Traceback" not in result.stderr
    assert "No space left" in result.stderr


def test_a_terminal_without_the_characters_gets_escapes(file):
    environ = os.environ | {"PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "apidex", "search", "Songlink", "--upstream", file]
    result = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
