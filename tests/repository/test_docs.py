"""Events, reasons, metrics, commands, links and the map of the code are documented as they are."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import apidex
from apidex import errors, logs
from apidex.cli.main import main
from conftest import ROOT

DOCS, README = ROOT / "docs", ROOT / "README.md"


def documented(heading: str) -> set[str]:
    """The words in the first column of the first table after *heading* in docs/events.md."""
    _, _, text = (DOCS / "events.md").read_text().partition(heading)
    table = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)[0]
    return set(re.findall(r"^\| `([a-z_.]+)`", table, re.MULTILINE))


@pytest.mark.parametrize(
    ("heading", "declared"),
    [
        ("# Events", logs.Event),
        ("| of `upstream.failed` |", errors.UpstreamReason),
        ("| of `upstream.refused` |", errors.CatalogueReason),
        ("| of `redis.failed` (its `kind`) |", errors.StoreReason),
        ("| of `disk.failed` (its `kind`) |", errors.StateReason),
    ],
)
def test_every_event_and_reason_is_documented_and_no_other(heading, declared):
    assert documented(heading) == set(get_args(declared))


async def test_every_metric_is_documented_and_no_other(client):
    exported = set(re.findall(r"^# TYPE (apidex_\S+)", (await client.get("/-/metrics")).text, re.MULTILINE))
    # a histogram and a counter have a second family with the time of their creation
    assert {name for name in exported if not name.endswith("_created")} == documented("## Metrics")


def test_one_command_checks_and_sets_the_version_everywhere(tmp_path):
    for folder in ("deploy", "docs", "loadtest", "src"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (ROOT / "Dockerfile", *ROOT.glob("*.md")):
        shutil.copy(path, tmp_path)

    def version(*wanted: str) -> list[str]:
        command = [sys.executable, "deploy/version.py", *wanted]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.splitlines()

    def content() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    places, before = version(), content()
    set_anew = version("99.0.0")
    assert [place.replace(apidex.__version__, "99.0.0") for place in places] == set_anew
    assert before.keys() == content().keys()
    assert {place.split(":")[0] for place in places} == {
        path.relative_to(tmp_path).as_posix() for path, text in content().items() if text != before[path]
    }
    version(apidex.__version__)
    assert content() == before


def commands_of(text: str) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]


@pytest.mark.parametrize("command", [line for line in commands_of(README.read_text()) if line.startswith("apidex")])
def test_the_commands_of_the_readme_exist(command):
    with pytest.raises(SystemExit) as end:
        main([*command.split()[1:], "--help"])
    assert end.value.code == 0


def test_the_readme_begins_with_the_commands_to_run_and_to_test():
    first_screen = "\n".join(README.read_text().splitlines()[:20])
    assert [line.split(" && ")[-1] for line in commands_of(first_screen)] == [".venv/bin/apidex serve", ".venv/bin/tox"]


@pytest.mark.parametrize("path", [*ROOT.glob("*.md"), *DOCS.rglob("*.md")], ids=lambda path: path.name)
def test_the_links_of_a_document_lead_to_files(path):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_the_map_of_the_code_names_every_room_and_module():
    package = ROOT / "src/apidex"
    rooms = {path.parent.name for path in package.glob("*/__init__.py")}
    modules = {path.stem for path in package.glob("*.py")} - {"__init__", "__main__"}
    assert {name for name in rooms | modules if not re.search(rf"\b{name}\b", apidex.__doc__)} == set()
