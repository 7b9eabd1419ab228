"""Apidex: which public APIs have this in their name?

upstream -> catalogue -> wire -> Redis -> wire -> catalogue -> index -> snapshot -> HTTP

catalogue, formats/, index, snapshot       pure: entries, upstream formats, finding names, what is answered from
folding, search, results, changes          pure: names as people type them; searching; what that answers; what has changed since
wire, validators                           pure: a catalogue as bytes for other replicas; what to ask an upstream again with
freshness, clock, starter                  ages and limits; the time that tests can move; the catalogue of the first seconds
bygone                                     what the dead api.publicapis.org understood by its parameters
errors, settings                           the exception tree; the environment, read once
prepare, memory                            bytes to catalogue and index; a large one in a process apart, in memory that both see
upstream, cache                            I/O: the network or a file, to bytes; the fleet's copy in Redis
refresh                                    the meeting place: holds the current Snapshot, and replaces it
answers, answer_cache, probes              what an answer says of itself; those given before; those that must not wait
api/, docs_page, edge, hotpath, asgi       Litestar's handlers; their page; what is around them; the short cut for GET /{name}
app, service, server, logs, metrics        the wiring, and what it makes; uvicorn; structlog; prometheus_client
page/                                      the page for browsers: HTML, style and script
cli, commands/, lean                       the command line; importing no more than a server needs
"""

__version__ = "0.1.0"
