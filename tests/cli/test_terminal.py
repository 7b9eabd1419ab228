"""What people see on a terminal, and what programs get in a pipe, of each command."""

import csv
import fcntl
import io
import itertools
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

import pytest

from apidex import logs
from apidex.catalogue.formats import parse
from apidex.cli.main import COMMANDS
from apidex.cli.output import FORMATS
from apidex.replication.last_good import CopyLabels, open_copy
from apidex.replication.validators import NO_VALIDATORS
from apidex.terminal import wants_color
from conftest import ROOT
from fakes import entry, file_of, publicapis
from processes import HANG, apidex, replica

LONG = f"https://long.example/{'a' * 200}"
ENTRIES = [
    entry(
        "Cat Facts", category="Animals", description="Daily cat facts, and many more words than fit into one line of it"
    ),
    entry("Cats", category="Animals", auth="apiKey", cors="no", link=LONG),
    entry("Same", category="Animals", link="https://one.example/"),
    entry("Same", category="Things", link="https://two.example/"),
    entry("Script", link="ftp://script.example/"),
    entry("木 API", category="Things", https=False),
    entry("Nowhere", category="Things", auth="OAuth", link=""),
]


@pytest.fixture
def upstream_file(tmp_path, monkeypatch) -> Path:
    """A list that commands read."""
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("APIDEX_UPSTREAM", file_of(tmp_path, *ENTRIES))
    return tmp_path / "entries.json"


@pytest.fixture
def run(upstream_file, run):
    """Run a command for that list."""
    return run


def on_a_terminal(*arguments: str, columns: int = 60, **environ: str) -> str:
    """What a terminal is sent by a command, both streams together."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, bytes((24, 0, columns, 0, 0, 0, 0, 0)))
    clean = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    command = [sys.executable, "-m", "apidex", *arguments]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=clean | {"TERM": "xterm"} | environ
    ) as process:
        os.close(theirs)
        output = b""
        with suppress(OSError):  # the other end is closed
            while piece := os.read(ours, 65536):
                output += piece
        process.wait(HANG)
    os.close(ours)
    return output.decode()


def test_on_a_terminal_a_link_has_a_line_of_its_own_and_is_not_folded(upstream_file):
    lines = on_a_terminal("search", "cat", TERM="dumb").splitlines()
    assert f"  {LONG}" in lines
    assert lines[0].split() == ["NAME", "CATEGORY", "AUTH", "HTTPS", "CORS"]
    assert [line for line in lines if line.startswith("Cat Facts ")] == ["Cat Facts  Animals   none    yes    yes"]
    assert "  Daily cat facts, and many more words than fit into one" in lines
    assert lines[-1].startswith("2 found, as of ")


def test_a_terminal_of_unknown_width_gets_the_table(upstream_file):
    assert "Cat Facts" in on_a_terminal("search", "cat", COLUMNS="0", TERM="dumb")


@pytest.mark.parametrize(
    ("environ", "colored"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_the_environment_decides_about_colours(upstream_file, environ, colored):
    for command in ("search cat --offline", "doctor --port 0"):
        # progress is not part of what stays on the screen
        shown = on_a_terminal(*command.split(), **environ).rpartition("\x1b[2K")[2]
        assert ("\x1b[1m" in shown or "\x1b[32m" in shown) is colored


@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({"TERM": "xterm"}, None),
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": "", "FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "0"}, None),
        ({"TERM": "dumb"}, False),
        ({"TERM": "dumb", "FORCE_COLOR": "3"}, True),
    ],
)
def test_which_environment_allows_colours(is_terminal, environ, wanted):
    assert wants_color(is_terminal, environ) is (is_terminal if wanted is None else wanted)


@pytest.mark.parametrize(("variable", "colored"), [("FORCE_COLOR", True), ("NO_COLOR", False)])
def test_the_environment_decides_about_colours_of_the_log(upstream_file, tmp_path, monkeypatch, variable, colored):
    monkeypatch.setenv(variable, "1")
    with (tmp_path / "log").open("w") as stream:
        logs.configure("text", "info", "replica-1", stream)
        logs.get_logger().info("serve.ending")
        logs.sink.flush()
    assert ("\x1b[" in (tmp_path / "log").read_text()) is colored


COMMANDS_THAT_LIST = ["search cat", "get cat facts", "random --category Animals", "categories", "changes OLD"]


@pytest.fixture
def old(tmp_path) -> str:
    path = tmp_path / "old.json"
    changed = [entry("Cats", category="Before"), entry("Gone", link="https://gone.example/"), *ENTRIES[2:]]
    path.write_bytes(publicapis(*changed))
    return str(path)


@pytest.mark.parametrize(
    ("command", "format_name"),
    [each for each in itertools.product(COMMANDS_THAT_LIST, FORMATS) if each != ("categories", "links")],
)
def test_every_command_that_lists_has_every_format(run, old, command, format_name):
    arguments = [old if word == "OLD" else word for word in command.split()]
    status, out, err = run(*arguments, "--format", format_name)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    if format_name == "json":
        assert json.loads(out)
    elif format_name == "ndjson":
        assert all(isinstance(json.loads(line), dict) for line in lines)
    elif format_name == "csv":
        heads, *rows = csv.reader(io.StringIO(out))
        assert {len(row) for row in rows} == {len(heads)}
    elif format_name == "table":
        assert [line for line in lines if line != line.rstrip()] == []
        assert lines[0].isupper()
    else:
        assert {line.count("\t") for line in lines} == {lines[0].count("\t")}


@pytest.mark.parametrize("format_name", FORMATS)
def test_when_nothing_is_found_no_format_has_a_row(run, format_name):
    for arguments in (("search", "zzzz"), ("get", "zzzz"), ("search", "cat", "--offset", "9")):
        _, out, _ = run(*arguments, "--format", format_name)
        assert (out != "") is (format_name == "json")


def test_a_pipe_gets_one_line_for_each_row_with_whole_links(run):
    _, out, _ = run("search", "cat")
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[6] for row in rows] == [LONG, "https://example.org/"]
    _, out, _ = run("search", "cat", "--format", "table")
    assert len(out.splitlines()) == 3
    assert LONG in out


def test_links_are_one_a_line_without_anything_else(run):
    assert run("search", "cat", "--format", "links") == (0, f"{LONG}\nhttps://example.org/\n", "")
    assert run("get", "nowhere", "--format", "links") == (0, "", ""), "it has no link"


def test_json_is_what_a_service_answers(run, upstream_file):
    with replica("--upstream", upstream_file.as_uri()) as process:
        for command in ("search Cat --exact", "get cats", "categories", "search cat --offset 1"):
            _, alone, _ = run(*command.split(), "--json")
            _, served, _ = run(*command.split(), "--json", "--url", process.url)
            found, expected = json.loads(served), json.loads(alone)
            for answer in (found, expected) if isinstance(found, dict) else ():
                answer.pop("version", None)
            assert found == expected
        version = process.catalogue()["version"]
        status, _, err = run("changes", "--url", process.url, "--since", version)
        assert (status, err) == (1, "There is no change.\n")
        filters = ("--category", "Things", "--https", "--no-auth")
        assert run("random", "--url", process.url, *filters, "--format", "names")[1] in ("Same\n", "Script\n")
        status, _, err = run("changes", "--url", process.url, "--since", "1-000000000000")
        assert (status, "is not available (current: " in err) == (2, True)
        status, _, err = run("changes", "--url", process.url)
        assert (status, "--since: missing" in err) == (2, True)


@pytest.mark.parametrize(
    ("name", "status", "found", "err"),
    [
        ("cat facts", 0, ["Cat Facts"], ""),
        ("CATFACTS", 0, ["Cat Facts"], ""),
        ("same", 0, ["Same", "Same"], ""),
        ("cat fact", 1, [], "apidex: no API is called 'cat fact'; near it are: Cat Facts\n"),
        ("zzzz", 1, [], "apidex: no API is called 'zzzz'\n"),
        ("daily", 1, [], "apidex: no API is called 'daily'\n"),  # a word of a description
    ],
)
def test_get_finds_a_whole_name(run, name, status, found, err):
    assert run("get", *name.split(), "--format", "names") == (status, "".join(f"{each}\n" for each in found), err)


def test_open_starts_a_browser_with_the_link_of_the_api_of_that_name(upstream_file, tmp_path):
    log = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {log}\n')

    def opened(*words: str) -> tuple[int, str, str]:
        done = apidex("open", *words, env=os.environ | {"BROWSER": f"sh {browser} %s"})
        return done.returncode, done.stdout, done.stderr

    assert opened("cats") == (0, f"{LONG}\n", "")
    assert log.read_text() == f"{LONG}\n"
    assert opened("same", "--category", "things")[:2] == (0, "https://two.example/\n")
    assert log.read_text() == "https://two.example/\n"
    status, _, err = opened("same")
    assert (status, "choose one with --category: Animals, Things" in err) == (2, True)
    status, _, err = opened("script")
    assert (status, "allowed are https: and http:" in err) == (2, True)
    assert opened("nothing")[0] == 1
    assert log.read_text() == "https://two.example/\n"


@pytest.mark.parametrize("browser", ["my'browser %s", " "])
def test_a_browser_that_is_no_command_is_one_sentence(upstream_file, browser):
    done = apidex("open", "cats", env=os.environ | {"BROWSER": browser})
    assert (done.returncode, done.stdout) == (2, f"{LONG}\n")
    assert done.stderr == "apidex: no browser can be started; set BROWSER to the command of one\n"


def test_random_is_one_of_those_that_the_filters_accept(run):
    found = {run("random", "--no-https", "--format", "names")[1] for _ in range(3)}
    assert found == {"木 API\n"}
    status, _, err = run("random", "--no-https", "--category", "Animals")
    assert (status, err) == (1, "There is no API with these filters.\n")


def test_changes_compares_with_a_list_or_with_the_copy_on_disk(run, old, upstream_file):
    _, out, _ = run("changes", old)
    assert [line.split("\t")[:2] for line in out.splitlines()] == [
        ["added", "Cat Facts"],
        ["removed", "Gone"],
        ["changed", "Cats"],
    ]
    compared, before, after = (
        json.loads(run(*command, "--json")[1])
        for command in (("changes", old), ("catalogue", old), ("catalogue", str(upstream_file)))
    )
    assert (compared["since"], compared["version"]) == (before["digest"], after["digest"])
    status, _, err = run("changes")
    assert (status, "there is no copy of the catalogue on disk" in err) == (2, True), (
        "an upstream that is a file has none"
    )


@pytest.mark.parametrize("arguments", ["search a --limit 100", "categories", "search --help", "doctor --port 0"])
def test_a_closed_pipe_is_quiet(upstream_file, arguments):
    command = f'"{sys.executable}" -m apidex {arguments} | true; exit "${{PIPESTATUS[0]}}"'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def completed(line: str, tmp_path: Path) -> list[str]:
    """What a shell is told for *line*."""
    told = tmp_path / "told"
    environ = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_SHELL": "fish",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line.encode())),
    }
    environ |= {"_ARGCOMPLETE_STDOUT_FILENAME": str(told), "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_SUPPRESS_SPACE": "1"}
    apidex(env=os.environ | environ, check=True)
    return told.read_text().split("\n")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("apidex ca", ["categories", "catalogue"]),
        ("apidex search --cat", ["--category"]),
        ("apidex search --cors ", ["yes", "no", "unknown"]),
        ("apidex search cat --category we", ["Weather"]),
        ("apidex search --format nd", ["ndjson"]),
        ("apidex search --sort n", ["name"]),
        ("apidex get CAT", ["cat facts"]),
        ('apidex open "cat f', ["cat facts"]),
        ("apidex get cat f", ["facts"]),
        ("apidex open --category Weather CAT ", ["facts"]),
        ("apidex get cat d", [""]),
        ("apidex search ca", ["cat facts"]),
        ("apidex serve --log-format t", ["text"]),
        ("apidex changes --upstream-format markd", ["markdown"]),
        ("apidex completion ", ["bash", "zsh", "fish"]),
    ],
)
def test_commands_options_and_values_are_completed(upstream_file, monkeypatch, tmp_path, user_cache, line, words):
    monkeypatch.setenv("APIDEX_UPSTREAM", "https://upstream.example/")
    copy = open_copy(user_cache, "https://upstream.example/", "auto", 2**20)
    body = publicapis(entry("cat facts", category="Weather"), entry("dog", category="sport"))
    copy.write(parse(body), CopyLabels(1, 1.0, False, NO_VALIDATORS))
    assert [word.strip().partition("\t")[0] for word in completed(line, tmp_path)] == words


@pytest.mark.parametrize("line", ["apidex search --upstream {} --category su", "apidex search --category SU"])
def test_values_of_an_upstream_that_is_a_file_are_completed(tmp_path, monkeypatch, line):
    upstream = file_of(tmp_path, entry("cat facts", category="Surfing"))
    monkeypatch.setenv("APIDEX_UPSTREAM", upstream)
    assert completed(line.format(upstream), tmp_path) == ["Surfing"]
    (tmp_path / "entries.json").write_text("garbage")
    assert "Surfing" not in completed(line.format(upstream), tmp_path)


def test_bash_completes(upstream_file, tmp_path):
    (tmp_path / "apidex").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m apidex "$@"\n')
    (tmp_path / "apidex").chmod(0o755)
    script = (
        'eval "$(apidex completion bash)"; COMP_LINE="apidex ser"; COMP_POINT=10; COMP_TYPE=9; COMP_WORDS=(apidex ser);'
        'COMP_CWORD=1; _python_argcomplete apidex; echo "${COMPREPLY[@]}"'
    )
    environ = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], env=environ, capture_output=True, text=True, timeout=HANG)
    assert done.stdout.split() == ["serve"], done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_accepts_the_script(run, shell):
    status, out, _ = run("completion", shell)
    assert (status, "apidex" in out) == (0, True)
    if shutil.which(shell):
        assert subprocess.run([shell, "-n"], input=out, text=True).returncode == 0


def test_the_exit_statuses_are_documented():
    rows = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("| `apidex ")]
    assert {name.split()[-1] for row in rows for name in re.findall("`(.+?)`", row.split("|")[1])} == {*COMMANDS}
