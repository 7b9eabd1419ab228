"""Apidex: which public APIs have this in their name?

upstream -> catalogue -> index -> snapshot -> HTTP

catalogue, formats/, index, snapshot       pure: entries, upstream formats, searching, what is answered from
freshness, clock, starter                  ages and limits; the time that tests can move; the catalogue of the first seconds
errors, settings                           the exception tree; the environment, read once
upstream                                   I/O: the network or a file, to bytes
refresh                                    the meeting place: holds the current Snapshot, and replaces it
answers, answer_cache                      what an answer says of itself; those given before
api, docs_page, edge, hotpath, asgi        Litestar's handlers; their page; what is around them; the short cut for GET /{name}
app, server, logs                          the wiring; uvicorn; structlog
cli, commands/                             the command line
"""

__version__ = "0.1.0"
