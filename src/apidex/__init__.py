"""Apidex: which public APIs have this in their name?

upstream -> catalogue -> codec -> Redis -> codec -> catalogue -> index -> snapshot -> HTTP

Each room imports only from the rooms below it:

cli/            the command line: one module for each command
app             the wiring: settings in, a running replica out; settings are read by app and cli alone
server/         uvicorn as Apidex runs it: connections, overload, draining
http/           what is answered, and how it describes itself: the fast path, responses, routes/, ui/
replication/    one catalogue, fresh and the same on every replica: refresher, Redis, the upstream
indexing/       from bytes to a catalogue that can be searched, in a subprocess when it is large
search/         finding entries. Pure
catalogue/      what a catalogue is, its formats and its bytes. Pure

errors, logs, terminal, urls, regular_file, http_client and event_loop are known to all rooms and know none of them; settings
knows the names of the formats.
"""

__version__ = "0.2.0"
