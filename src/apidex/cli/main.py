# PYTHON_ARGCOMPLETE_OK
"""The command `apidex`: parses the command line, and runs the command's module, `apidex.cli.NAME`.

A module is imported when its command runs, so that each command starts as fast as it can.
"""

import argparse
import importlib
import io
import os
import sys
import traceback
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import chain
from textwrap import indent
from typing import Any

from apidex import __version__
from apidex.cli import completion
from apidex.cli.arguments import Parser, hint, one_of, real_number, whole_number
from apidex.cli.lazy_imports import without_unused_imports
from apidex.cli.output import FORMATS, discard, warn
from apidex.errors import ApidexError, QueryError, SettingsError
from apidex.search.filters import FILTERS, Filter
from apidex.settings import SETTINGS, Settings, as_given, given_options

_EXAMPLES = """\
apidex serve
apidex search open weather
apidex get 'Cat Facts'
apidex search cat --no-auth --format names
apidex catalogue README.md"""

_SORTS = ("relevance", "name", "catalogue")
_SCOPES = ("name", "about", "all")
_BEFORE_THE_COMMAND = ("-h", "--help", "--version")
_MANY = 12
"""So many allowed values are listed in an error."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command as its help describes it, and what it adds to the options that are settings."""

    description: str
    examples: str
    add_arguments: Sequence[Callable[[ArgumentParser], object]] = ()


def _add_words(parser: ArgumentParser) -> None:
    about = "a name, or what the API is for; case, accents, spaces and punctuation do not matter"
    completion.offer_names(parser.add_argument("words", metavar="WORD", nargs="*", help=about))


def _add_search(parser: ArgumentParser) -> None:
    about = "search names (name), descriptions (about), or names first and then descriptions (all) [default: all]"
    scope = parser.add_argument("--in", dest="scope", type=one_of(*_SCOPES), metavar="WHERE", default="all", help=about)
    completion.offer(scope, _SCOPES)
    about = "best first (relevance), alphabetical (name), or in the upstream's order (catalogue) [default: relevance]"
    sort = parser.add_argument("--sort", type=one_of(*_SORTS), metavar="ORDER", default="relevance", help=about)
    completion.offer(sort, _SORTS)
    limit, offset = whole_number(1, 10**9), whole_number(0, 10**9)
    about = "how many to show; with --url, up to 100 [default: 20]"
    parser.add_argument("--limit", type=limit, default=20, metavar="N", help=about)
    about = "how many to skip before the first that is shown [default: 0]"
    parser.add_argument("--offset", type=offset, default=0, metavar="N", help=about)
    about = "find every name that contains exactly these words, as GET /{name} does"
    parser.add_argument("--exact", action="store_true", help=about)


def _add_name(parser: ArgumentParser) -> None:
    about = "the whole name; case and spaces do not matter"
    completion.offer_names(parser.add_argument("words", metavar="NAME", nargs="+", help=about))


def _add_earlier(parser: ArgumentParser) -> None:
    about = "an earlier list; without it, the copy on disk"
    parser.add_argument("place", metavar="FILE-OR-URL", nargs="?", help=about)
    parser.add_argument("--since", metavar="VERSION", help="with --url: the Catalogue-Version to compare with")


def _add_list(parser: ArgumentParser) -> None:
    about = (
        "the list to read, - for standard input; without it, the upstream's. Or an override for all replicas that share a Redis: "
        "accept (the next catalogue, without checks) or rollback (to the previous catalogue)"
    )
    parser.add_argument("place", metavar="FILE-OR-URL", nargs="?", help=about)
    parser.add_argument("--json", action="store_true", help="print the whole report as JSON")


def _add_shell(parser: ArgumentParser) -> None:
    shell = parser.add_argument("shell", type=one_of(*completion.SHELLS), metavar="SHELL", help="bash, zsh or fish")
    completion.offer(shell, completion.SHELLS)


_SERVICE = "ask the service at this URL, such as http://127.0.0.1:8000"
_SERVICE_OR_HERE = "ask the service at this URL; without it, the upstream's catalogue is searched here"


def _add_service(parser: Any, about: str = _SERVICE) -> None:  # noqa: ANN401 - a parser, or a group of one
    parser.add_argument("--url", help=about)


def _add_timeout(parser: ArgumentParser) -> None:
    seconds = real_number(0.1, 600, "a number of seconds")
    about = "how long to wait for the upstream or the service [default: 5]"
    parser.add_argument("--timeout", type=seconds, default=5.0, metavar="SECONDS", help=about)


def _add_source(parser: ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group()
    _add_service(source)
    about = "use the copy of the catalogue on disk, however old it is"
    source.add_argument("--offline", action="store_true", help=about)
    source.add_argument("--refresh", action="store_true", help="fetch the catalogue, however fresh the copy on disk is")
    _add_timeout(parser)


def _add_format(parser: ArgumentParser, names: Sequence[str] = tuple(FORMATS)) -> None:
    about = f"{', '.join(names)} [default: table on a terminal, tsv elsewhere]"
    formats = parser.add_mutually_exclusive_group()
    format_name = formats.add_argument("--format", type=one_of(*names), metavar="FORMAT", help=about)
    completion.offer(format_name, names)
    formats.add_argument("--json", action="store_true", help="the same as --format json: what a service answers")


def _add_filters(parser: ArgumentParser) -> None:
    for each in FILTERS.values():
        _add_filter(parser, each)


def _add_filter(parser: ArgumentParser, declared: Filter) -> None:
    option, description = f"--{declared.name}", declared.description
    if declared.is_flag:
        parser.add_argument(option, action=argparse.BooleanOptionalAction, help=description)
        return
    group = parser.add_mutually_exclusive_group()
    metavar = declared.name.upper()
    about = f"{description} May be repeated."
    completion.offer_values(group.add_argument(option, action="append", metavar=metavar, help=about), declared)
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
        "Find APIs by name or by what they do: in the upstream's catalogue, or with --url in that of a service.",
        "apidex search open weather\napidex search cat --category Animals --no-auth --cors yes\n"
        "apidex search Cat --exact --json\napidex search cat --url http://127.0.0.1:8000",
        (_add_words, _add_filters, _add_search, _add_source, _add_format),
    ),
    "get": Command(
        "Show an API by its whole name.",
        "apidex get Cat Facts\napidex get pokeapi --json",
        (_add_name, _add_filters, _add_source, _add_format),
    ),
    "open": Command(
        "Open an API's link in a browser, and print it.",
        "apidex open 'Cat Facts'",
        (_add_name, _add_filters, _add_source),
    ),
    "categories": Command(
        "List every category, and how many APIs it has.",
        "apidex categories\napidex categories --format names",
        (_add_source, partial(_add_format, names=[name for name in FORMATS if name != "links"])),
    ),
    "random": Command(
        "Show a random API.",
        "apidex random --no-auth\napidex random --json",
        (_add_filters, _add_source, _add_format),
    ),
    "changes": Command(
        "Show what the upstream's catalogue added, removed and changed since an earlier one.",
        "apidex changes\napidex changes old/README.md\napidex changes --url http://127.0.0.1:8000 --since VERSION",
        (_add_earlier, _add_service, _add_timeout, _add_format),
    ),
    "catalogue": Command(
        "Check a list: show what was repaired, rejected or ignored, and what is suspicious; status 1 if rows were rejected.",
        "apidex catalogue\napidex catalogue README.md\napidex catalogue https://example.org/apis.json --json | jq .rejected",
        (_add_list,),
    ),
    "mcp": Command(
        "Offer search, get and categories to an AI application, by the Model Context Protocol over stdio.",
        "apidex mcp\napidex mcp --url http://127.0.0.1:8000",
        (partial(_add_service, about=_SERVICE_OR_HERE),),
    ),
    "doctor": Command(
        "Check settings, port, upstream, disk, Redis and clock; status 1 for a warning (a replica can run), 2 for an error.",
        "apidex doctor\nAPIDEX_UPSTREAM=https://api.example.org/entries apidex doctor",
    ),
    "completion": Command(
        "Print the script that completes commands, options, categories and names in a shell.",
        'eval "$(apidex completion bash)"\napidex completion fish > ~/.config/fish/completions/apidex.fish',
        (_add_shell,),
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status, as grep's: 0 for found, 1 for nothing found, 2 if it could not do its work."""
    _open_missing_streams()
    parser = _parser()
    completion.complete(parser)
    given = sys.argv[1:] if arguments is None else arguments
    if not given or given[0] == "help":
        given = [*given[1:2], "--help"]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names have characters that not every terminal has
    try:
        return _parse_and_run(parser, given)
    except BrokenPipeError:  # the reader of our output has closed it
        discard(sys.stdout)
        return 0
    except QueryError as error:
        listed_by = "`apidex categories`" if error.name == "category" and len(error.allowed) > _MANY else ""
        warn(f"--{error.name}: {error.value!r} is not allowed; {hint(error.value, error.allowed, listed_by)}")
        return 2
    except ApidexError as error:
        warn(error)
        return 2
    except OSError as error:  # of standard output, such as that of a full disk; others became an ApidexError
        warn(error)
        discard(sys.stdout)
        return 2
    except Exception:  # a defect: Python's status for it is 1, which stands for "nothing found"
        traceback.print_exc()
        return 2
    except KeyboardInterrupt:
        return 130


def _parse_and_run(parser: ArgumentParser, given: Sequence[str]) -> int:
    try:
        return _run(_parse(parser, given))
    finally:  # also after --help, which raises SystemExit
        sys.stdout.flush()  # while a closed pipe, or a full disk, can be reported


def _open_missing_streams() -> None:
    """Replace closed standard streams by the null device, or a socket would take their number, and what is written there."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            setattr(sys, name, open(descriptor, "w" if descriptor else "r", closefd=False))  # noqa: SIM115


def _run(options: Namespace) -> int:
    settings, errors = Settings.read(os.environ, given_options(vars(options)), options.command)
    options.setting_errors = errors
    if errors and options.command != "doctor":  # which reports them with the other findings
        for wrong in errors.values():
            warn(wrong)
        return 2
    try:
        with without_unused_imports() if options.command == "serve" else nullcontext():
            status: int = importlib.import_module(f"apidex.cli.{options.command}").run(options, settings)
            return status
    except SettingsError as error:
        raise SettingsError(as_given(str(error), vars(options))) from None
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "mcp":
            raise
        text = "apidex mcp needs the package mcp, which is not installed: pip install 'apidex[mcp]', or '.[mcp]' in a checkout"
        raise SettingsError(text) from None


def _parse(parser: ArgumentParser, arguments: Sequence[str]) -> Namespace:
    """Parse the command line, where words to search for may stand before, behind and between the options."""
    if arguments[0].startswith("-") and arguments[0] not in _BEFORE_THE_COMMAND:
        allowed = "allowed there are --help and --version, other options behind it"
        parser.error(f"{arguments[0]!r} stands before the command; {allowed}")
    if not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        parser.error(f"{arguments[0]!r} is not a command; {hint(arguments[0], list(COMMANDS))}")
    options, rest = parser.parse_known_args(arguments)
    unknown = [word for word in rest if word.startswith("-") and word != "-"]
    if unknown:
        known = [word for word in _options_of(parser, options.command) if word.startswith("--")]
        allowed = hint(unknown[0].partition("=")[0], known, f"`apidex {options.command} --help`")
        parser.error(f"{unknown[0]!r} is not an option of apidex {options.command}; {allowed}")
    if rest and not hasattr(options, "words"):
        parser.error(f"{rest[0]!r} is one argument too many; `apidex {options.command} --help` lists them")
    if rest:
        options.words += rest
    _require_text(options)
    return options


def _require_text(options: Namespace) -> None:
    """Raise SettingsError for an argument that is not text, unless it may be the path of a file, whose name can be any bytes."""
    paths = {"place", *(setting.variable for setting in SETTINGS)}
    given = ((name, value if isinstance(value, list) else [value]) for name, value in vars(options).items())
    for text in chain.from_iterable(values for name, values in given if name not in paths):
        try:
            str(text).encode()
        except UnicodeEncodeError:
            raise SettingsError(f"{text!r} is not valid in this terminal's encoding; allowed is text") from None


def _options_of(parser: ArgumentParser, command: str) -> list[str]:
    [commands] = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]  # noqa: SLF001
    return list(commands.choices[command]._option_string_actions)  # noqa: SLF001


def _parser() -> ArgumentParser:
    description = "Search a list of public APIs by name or by what they do, or answer such searches over HTTP."
    parser = Parser("apidex", description=description, **_epilog(_EXAMPLES))
    parser.add_argument("--version", action="version", version=f"apidex {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        about = command.description
        subparser = commands.add_parser(name, help=about, description=about, **_epilog(command.examples))
        for add in command.add_arguments:
            add(subparser)
        for setting in SETTINGS:
            if setting.is_option and name in setting.commands:
                option = subparser.add_argument(
                    setting.option,
                    dest=setting.variable,
                    metavar=setting.unit or setting.name.upper().replace("_", "-"),
                    help=f"{setting.description} [env: {setting.variable}]",
                )
                if setting.words:
                    completion.offer(option, setting.words)
    return parser


def _epilog(examples: str) -> dict[str, Any]:
    epilog = f"examples:\n{indent(examples, '  ')}"
    return {"epilog": epilog, "formatter_class": argparse.RawDescriptionHelpFormatter}
