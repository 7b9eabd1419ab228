"""The command `apidex`: parses the command line, and runs the command's module, `apidex.cli.NAME`.

A module is imported when its command runs, so that each command starts as fast as it can.
"""

import argparse
import importlib
import io
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from textwrap import indent
from typing import Any

from apidex import __version__
from apidex.cli.lazy_imports import without_unused_imports
from apidex.cli.output import warn
from apidex.errors import ApidexError, SettingsError
from apidex.search.filters import FILTERS, Filter
from apidex.settings import SETTINGS, Settings

_EXAMPLES = "apidex serve\napidex search open weather\napidex catalogue README.md\napidex doctor"


@dataclass(frozen=True, slots=True)
class Command:
    """A command as its help describes it, and what it adds to the options that are settings."""

    description: str
    examples: str
    add_arguments: Callable[[ArgumentParser], object] | None = None


def _add_search_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "words",
        metavar="WORD",
        nargs="*",
        help="what the name is to contain; case, accents, spaces and punctuation do not matter",
    )
    for each in FILTERS.values():
        _add_filter(parser, each)
    parser.add_argument(
        "--sort",
        choices=["relevance", "name", "catalogue"],
        default="relevance",
        help="best first, alphabetical, or as the upstream lists them [relevance]",
    )
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="how many to show, up to 100 [20]")
    parser.add_argument(
        "--exact", action="store_true", help="every name that contains the words just as typed, as GET /{name} answers"
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--url", help="ask the service at this URL")
    source.add_argument(
        "--offline", action="store_true", help="use the copy of the catalogue on disk, however old it is"
    )
    source.add_argument("--refresh", action="store_true", help="fetch the catalogue, whatever is on disk")
    parser.add_argument("--timeout", type=_timeout, default=5.0, metavar="SECONDS", help="how long to wait [5]")
    parser.add_argument("--json", action="store_true", help="print JSON, as the service answers it")


def _add_catalogue_arguments(parser: ArgumentParser) -> None:
    about = "the list to read, - for standard input; without it, the upstream's"
    parser.add_argument("place", metavar="FILE-OR-URL", nargs="?", help=about)
    parser.add_argument("--json", action="store_true", help="print the whole report as JSON")


def _timeout(text: str) -> float:
    seconds = float(text)
    if not 0.1 <= seconds <= 600:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; allowed is a number of seconds from 0.1 to 600")
    return seconds


def _add_filter(parser: ArgumentParser, declared: Filter) -> None:
    option, description = f"--{declared.name}", declared.description
    if declared.is_flag:
        parser.add_argument(option, action=argparse.BooleanOptionalAction, help=description)
        return
    group = parser.add_mutually_exclusive_group()
    choices = declared.values or None
    group.add_argument(option, action="append", choices=choices, help=f"{description} May be repeated.")
    if declared.absent:
        const = [declared.absent]
        without = f"The same as {option} {declared.absent}."
        group.add_argument(f"--no-{declared.name}", dest=declared.name, action="store_const", const=const, help=without)


COMMANDS = {
    "serve": Command(
        "Answer searches over HTTP.",
        "apidex serve\napidex serve --port 8080\napidex serve --upstream https://api.example.org/entries",
    ),
    "search": Command(
        "Find APIs by name as the page does: in the upstream's catalogue, or by a running service.",
        "apidex search open weather\napidex search cat --category Animals --no-auth --cors yes\n"
        "apidex search Cat --exact --json\napidex search cat --url http://127.0.0.1:8000",
        _add_search_arguments,
    ),
    "catalogue": Command(
        "Read a list, and show what was repaired, rejected or ignored, and what is suspicious; status 1 if rows were rejected.",
        "apidex catalogue\napidex catalogue README.md\napidex catalogue https://example.org/apis.json --json | jq .rejected",
        _add_catalogue_arguments,
    ),
    "mcp": Command(
        "Offer search, get and categories to an AI application, by the Model Context Protocol over stdio.",
        "apidex mcp\napidex mcp --url http://127.0.0.1:8000",
        lambda parser: parser.add_argument(
            "--url", help="ask the service at this URL; without it, the upstream's catalogue is searched here"
        ),
    ),
    "doctor": Command(
        "Check settings, port, upstream and clock, and say what to do about what is wrong.",
        "apidex doctor\nAPIDEX_UPSTREAM=https://api.example.org/entries apidex doctor",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status, as grep's: 0 for found, 1 for nothing found, 2 where it could not do its work."""
    _open_missing_streams()
    options = _parse(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names have characters that not every terminal has
    try:
        return _run(options)
    except BrokenPipeError:  # the reader of our output has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ApidexError, OSError) as error:
        warn(error)
        return 2
    except KeyboardInterrupt:
        return 130


def _open_missing_streams() -> None:
    """Replace closed standard streams by the null device, or a socket would take their number, and what is written there."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            setattr(sys, name, open(descriptor, "w" if descriptor else "r", closefd=False))  # noqa: SIM115


def _run(options: Namespace) -> int:
    given = {item.name: text for item in SETTINGS if (text := getattr(options, item.variable, None)) is not None}
    settings, errors = Settings.read(os.environ, given, options.command)
    options.setting_errors = errors
    if errors and options.command != "doctor":  # which reports them with all else
        for wrong in errors.values():
            warn(wrong)
        return 2
    try:
        with without_unused_imports() if options.command == "serve" else nullcontext():
            status: int = importlib.import_module(f"apidex.cli.{options.command}").run(options, settings)
            return status
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "mcp":
            raise
        text = "apidex mcp needs the package mcp, which is not installed: pip install 'apidex[mcp]', or '.[mcp]' in a checkout"
        raise SettingsError(text) from None


def _parse(arguments: Sequence[str] | None) -> Namespace:
    """Parse the command line, where words to search for may stand before, behind and between the options."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and (options.command != "search" or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.words += rest
    return options


def _parser() -> ArgumentParser:
    description = "Which public APIs have this in their name?"
    parser = ArgumentParser("apidex", description=description, **_epilog(_EXAMPLES))
    parser.add_argument("--version", action="version", version=f"apidex {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        about = command.description
        subparser = commands.add_parser(name, help=about, description=about, **_epilog(command.examples))
        for setting in SETTINGS:
            if setting.is_option and name in setting.commands:
                subparser.add_argument(
                    setting.option,
                    dest=setting.variable,
                    metavar=setting.unit or setting.name.upper().replace("_", "-"),
                    help=f"{setting.description} [{setting.variable}]",
                )
        if command.add_arguments:
            command.add_arguments(subparser)
    return parser


def _epilog(examples: str) -> dict[str, Any]:
    epilog = f"examples:\n{indent(examples, '  ')}"
    return {"epilog": epilog, "formatter_class": argparse.RawDescriptionHelpFormatter}
