"""The command `apidex`: serve, search, catalogue, doctor. Imports what a command needs when it runs, to start fast."""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from apidex import __version__
from apidex.errors import ApidexError, SettingsError
from apidex.settings import Settings, parse, variable

_SETTING_OPTIONS = {
    "serve": ("host", "port", "upstream", "upstream_format", "redis_url", "refresh", "poll", "log_format"),
    "search": ("upstream", "upstream_format"),
    "catalogue": ("upstream", "upstream_format"),
    "doctor": ("host", "port", "upstream", "upstream_format", "redis_url"),
}

_EXAMPLES = {
    "": "apidex serve\napidex search Cat\napidex catalogue --upstream file:///tmp/README.md\napidex doctor",
    "serve": "apidex serve\napidex serve --port 8080\napidex serve --upstream https://api.example.org/entries",
    "search": "apidex search Cat\napidex search 'Songlink / Odesli' --json\napidex search Cat --url http://127.0.0.1:8000",
    "catalogue": "apidex catalogue\napidex catalogue --upstream file:///tmp/README.md\napidex catalogue --json | jq .rejected",
    "doctor": "apidex doctor\nAPIDEX_UPSTREAM=https://api.example.org/entries apidex doctor",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and give its exit status: 0 done, 1 not done, 2 asked for wrongly."""
    options = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names hold characters that not every terminal has
    try:
        settings = _settings(options)
        return _run(options, settings)
    except SettingsError as error:
        return _complain(error, 2)
    except ApidexError as error:
        return _complain(error, 1)
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _complain(error, 1)
    except KeyboardInterrupt:
        return 130


def _run(options: argparse.Namespace, settings: Settings) -> int:
    if options.command == "serve":
        from apidex.lean import without_terminals

        with without_terminals():
            from apidex.commands.serve import serve

        return serve(settings)
    if options.command == "search":
        from apidex.commands.search import search

        return search(options.name, settings, url=options.url, as_json=options.json)
    if options.command == "catalogue":
        from apidex.commands.catalogue import show

        return show(settings, as_json=options.json)
    from apidex.commands.doctor import doctor

    return doctor(settings, os.environ)


def _complain(error: Exception, status: int) -> int:
    print(f"apidex: {error}", file=sys.stderr)
    return status


def _settings(options: argparse.Namespace) -> Settings:
    """The environment's settings, with those that were given as options put over them."""
    given: dict[str, Any] = {}
    for name in _SETTING_OPTIONS[options.command]:
        text = getattr(options, name)
        if text is not None:
            given[name] = parse(name, text, _option(name))
    overridden = {variable(item) for item in fields(Settings) if item.name in given}
    environ = {name: value for name, value in os.environ.items() if name.removesuffix("_FILE") not in overridden}
    return replace(Settings.from_env(environ), **given)


def _option(name: str) -> str:
    item = next(item for item in fields(Settings) if item.name == name)
    return "--" + variable(item).removeprefix("APIDEX_").lower().replace("_", "-")


def _parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = _command(
        argparse.ArgumentParser, "apidex", "", "Which public APIs have this in their name?"
    )
    parser.add_argument("--version", action="version", version=f"apidex {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, about: str) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = _command(commands.add_parser, name, name, about)
        for setting in _SETTING_OPTIONS[name]:
            _add_setting(command, setting)
        return command

    add("serve", "Answer searches over HTTP.")
    search = add(
        "search", "Find every API whose name contains a string: in the upstream's catalogue, or by a running service."
    )
    search.add_argument("name", metavar="NAME", help="what the name is to contain, case-sensitive")
    search.add_argument("--url", help="ask the service at this URL")
    search.add_argument("--json", action="store_true", help="print JSON, as the service answers it")
    catalogue = add(
        "catalogue", "Fetch and read the upstream's catalogue, and show what was repaired, rejected or ignored."
    )
    catalogue.add_argument("--json", action="store_true", help="print the whole report as JSON")
    add("doctor", "Check settings, port, upstream and clock, and say what to do about what is wrong.")
    return parser


def _command(make: Any, name: str, examples: str, about: str) -> Any:  # noqa: ANN401 - whatever makes parsers
    lines = "\n".join(f"  {line}" for line in _EXAMPLES[examples].splitlines())
    return make(
        name, description=about, epilog=f"examples:\n{lines}", formatter_class=argparse.RawDescriptionHelpFormatter
    )


def _add_setting(parser: argparse.ArgumentParser, name: str) -> None:
    item = next(item for item in fields(Settings) if item.name == name)
    unit = item.metadata["kind"].unit
    parser.add_argument(
        _option(name),
        dest=name,
        metavar=unit or name.upper().replace("_", "-"),
        help=f"{item.metadata['about']} [{variable(item)}]",
    )
