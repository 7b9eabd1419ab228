"""`apidex completion SHELL`, and the completion itself, by argcomplete: the shell's script runs this command.

Values of filters and names are those of the upstream if it is a file, otherwise of the last good copy on disk, or else of the
starter catalogue. Nothing is fetched from a network.
"""

import os
from argparse import Action, ArgumentParser, Namespace
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from apidex.errors import ApidexError
from apidex.search.filters import Filter
from apidex.settings import Settings, given_options

if TYPE_CHECKING:
    from apidex.indexing.builder import IndexedCatalogue

SHELLS = ("bash", "zsh", "fish")

_MOST = 50
"""So many names are offered."""


def run(options: Namespace, _settings: Settings) -> int:
    """Print the script for a shell."""
    from argcomplete.shell_integration import shellcode

    print(shellcode(["apidex"], shell=options.shell))
    return 0


def complete(parser: ArgumentParser) -> None:
    """If the shell asks for completions, answer and end the process."""
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(parser, always_complete_options=False, validator=_is_begun_by)


def _is_begun_by(word: str, typed: str) -> bool:
    """Whether *word* begins with what was typed, in any case: `wea` is completed to `Weather`."""
    return word.casefold().startswith(typed.casefold())


def offer(argument: Action, words: Iterable[str]) -> None:
    """Complete *argument* with *words*."""
    _set(argument, lambda **_: words)


def offer_values(argument: Action, declared: Filter) -> None:
    """Complete *argument* with the values of a filter."""
    _set(argument, lambda parsed_args, **_: declared.values or _built(parsed_args).search.facets.values(declared.name))


def offer_names(argument: Action) -> None:
    """Complete *argument*, the words of a name, with what follows these words in the names that begin with them."""

    def names(prefix: str, parsed_args: Namespace, **_: object) -> list[str]:
        built, typed = _built(parsed_args), "".join(f"{word} " for word in parsed_args.words or ())
        hits = built.search.suggest(typed + prefix, _MOST)
        found = [built.parsed.catalogue[hit.position].name for hit in hits]
        return [name[len(typed) :] for name in found if _is_begun_by(name, typed)]

    _set(argument, names)


def _set(argument: Action, completer: Callable[..., Iterable[str]]) -> None:
    argument.completer = completer  # type: ignore[attr-defined] # argcomplete reads this attribute


def _built(options: Namespace) -> "IndexedCatalogue":
    # the other completions start faster without these
    from apidex.cli.source import load, saved_catalogue, starter_catalogue

    settings, _ = Settings.read(os.environ, given_options(vars(options)), options.command)
    if settings.upstream.startswith("file:"):
        with suppress(ApidexError):
            return load(settings).built
    return (saved_catalogue(settings) or starter_catalogue()).built
