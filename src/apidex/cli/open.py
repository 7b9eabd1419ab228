"""`apidex open NAME`: an API's link, in a browser."""

import webbrowser
from argparse import Namespace

from apidex.cli.get import entries_of_name
from apidex.cli.output import print_line
from apidex.errors import SettingsError
from apidex.settings import Settings
from apidex.urls import is_web_link


def run(options: Namespace, settings: Settings) -> int:
    """Print the link and open it. Return 1 if there is no such API. Raises ApidexError."""
    entries = entries_of_name(options, settings)
    if not entries:
        return 1
    links = dict.fromkeys(entry.link for entry in entries)
    if len(links) > 1:
        categories = ", ".join(dict.fromkeys(entry.category for entry in entries))
        text = f"{len(entries)} APIs are called {entries[0].name!r}; choose one with --category: {categories}"
        raise SettingsError(text)
    [link] = links
    if not is_web_link(link):
        raise SettingsError(f"the link {link!r} cannot be opened; allowed are https: and http:")
    print_line(link)
    if not _is_opened(link):
        raise SettingsError("no browser can be started; set BROWSER to the command of one")
    return 0


def _is_opened(link: str) -> bool:
    try:
        return webbrowser.open(link)
    except (webbrowser.Error, OSError):
        return False
    except (ValueError, IndexError):  # BROWSER cannot be split into words, or has none
        return False
