"""The command `apidex`: serve, search, catalogue, mcp, doctor. Imports what a command needs when it runs, to start fast."""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any

from apidex import __version__
from apidex.errors import ApidexError, QueryError, SettingsError
from apidex.settings import Settings, parse, variable

_SETTING_OPTIONS = {
    "serve": ("host", "port", "upstream", "upstream_format", "redis_url", "refresh", "poll", "log_format"),
    "search": ("upstream", "upstream_format"),
    "catalogue": ("upstream", "upstream_format"),
    "mcp": ("upstream", "upstream_format"),
    "doctor": ("host", "port", "upstream", "upstream_format", "redis_url"),
}

_EXAMPLES = {
    "": "apidex serve\napidex search open weather\napidex catalogue --upstream file:///tmp/README.md\napidex doctor",
    "serve": "apidex serve\napidex serve --port 8080\napidex serve --upstream https://api.example.org/entries",
    "search": "apidex search open weather\napidex search cat --category Animals --no-auth --cors yes\n"
    "apidex search Cat --exact --json\napidex search cat --url http://127.0.0.1:8000",
    "catalogue": "apidex catalogue\napidex catalogue --upstream file:///tmp/README.md\napidex catalogue --json | jq .rejected",
    "mcp": "apidex mcp\napidex mcp --url http://127.0.0.1:8000",
    "doctor": "apidex doctor\nAPIDEX_UPSTREAM=https://api.example.org/entries apidex doctor",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and give its exit status: 0 done, 1 not done, 2 asked for wrongly."""
    options = _parsed(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names hold characters that not every terminal has
    try:
        settings = _settings(options)
        return _run(options, settings)
    except (SettingsError, QueryError) as error:
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


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line, where words to search for may stand before, behind and between the options."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and (options.command != "search" or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.words += rest
    return options


def _run(options: argparse.Namespace, settings: Settings) -> int:
    if options.command == "serve":
        from apidex.cli.lazy_imports import without_unused_imports

        with without_unused_imports():
            from apidex.cli.serve import serve

            return serve(settings)
    if options.command == "search":
        from apidex.cli import search

        how = search.search_exactly if options.exact else search.search
        return how(search.Wish(**_wish(options)), settings)
    if options.command == "catalogue":
        from apidex.cli.catalogue import show

        return show(settings, as_json=options.json)
    if options.command == "mcp":
        return _serve_tools(options, settings)
    from apidex.cli.doctor import doctor

    return doctor(settings, os.environ)


def _serve_tools(options: argparse.Namespace, settings: Settings) -> int:
    try:
        from apidex.cli.mcp import serve_tools
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "mcp":
            raise
        text = "apidex mcp needs the package mcp, which is not installed: pip install 'apidex[mcp]', or '.[mcp]' in a checkout"
        raise SettingsError(text) from None
    return serve_tools(settings, options.url)


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
        command: argparse.ArgumentParser = _command(partial(commands.add_parser, help=about), name, name, about)
        for setting in _SETTING_OPTIONS[name]:
            _add_setting(command, setting)
        return command

    add("serve", "Answer searches over HTTP.")
    _add_search(
        add("search", "Find APIs by name as the page does: in the upstream's catalogue, or by a running service.")
    )
    catalogue = add(
        "catalogue", "Fetch and read the upstream's catalogue, and show what was repaired, rejected or ignored."
    )
    catalogue.add_argument("--json", action="store_true", help="print the whole report as JSON")
    mcp = add("mcp", "Offer search, get and categories to an AI application, by the Model Context Protocol over stdio.")
    mcp.add_argument("--url", help="ask the service at this URL; without it, the upstream's catalogue is searched here")
    add("doctor", "Check settings, port, upstream and clock, and say what to do about what is wrong.")
    return parser


def _add_search(search: argparse.ArgumentParser) -> None:
    search.add_argument(
        "words",
        metavar="WORD",
        nargs="*",
        help="what the name is to contain; case, accents, spaces and punctuation do not matter",
    )
    search.add_argument("--category", action="append", help="only this category; may be repeated")
    auth = search.add_mutually_exclusive_group()
    auth.add_argument("--auth", action="append", help="only with this authentication, such as apiKey; may be repeated")
    auth.add_argument(
        "--no-auth", dest="auth", action="store_const", const=["none"], help="only without authentication"
    )
    search.add_argument("--https", action=argparse.BooleanOptionalAction, help="only with HTTPS, or only without")
    search.add_argument("--cors", action="append", choices=["yes", "no", "unknown"], help="only so; may be repeated")
    search.add_argument(
        "--sort",
        choices=["relevance", "name", "catalogue"],
        default="relevance",
        help="best first, alphabetical, or as the upstream lists them [relevance]",
    )
    search.add_argument("--limit", type=int, default=20, metavar="N", help="how many to show, up to 100 [20]")
    search.add_argument(
        "--exact", action="store_true", help="every name that contains the words just as typed, as GET /{name} answers"
    )
    search.add_argument("--url", help="ask the service at this URL")
    search.add_argument("--json", action="store_true", help="print JSON, as the service answers it")


def _wish(options: argparse.Namespace) -> dict[str, Any]:
    https = [] if options.https is None else [str(options.https).lower()]
    asked = {"category": options.category or [], "auth": options.auth or [], "https": https, "cors": options.cors or []}
    shown = {"sort": options.sort, "limit": options.limit, "url": options.url, "as_json": options.json}
    return {"text": " ".join(options.words), "asked": asked, **shown}


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
