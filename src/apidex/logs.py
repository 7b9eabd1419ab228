"""Which events are logged, and where: one line each on a stream, JSON for machines or text for a terminal."""

import logging
import sys
from typing import Literal, Protocol, TextIO

import structlog
from structlog.typing import Processor

_Process = Literal["serve.started", "serve.ending", "serve.ended", "settings.unknown", "library"]
_Catalogue = Literal[
    "catalogue.adopted", "upstream.confirmed", "upstream.fenced", "upstream.failed", "upstream.refused"
]
_Redis = Literal["redis.reached", "redis.failed", "redis.published", "redis.fenced", "redis.dropped", "redis.refused"]
_Defect = Literal["refresh.broken", "request.broken"]
Event = Literal[_Process, _Catalogue, _Redis, _Defect]
"""Every event. `docs/events.md` describes them; a test compares the two."""


class _Method(Protocol):
    def __call__(self, event: Event, /, **facts: object) -> None: ...


class Log(Protocol):
    """A structlog logger that takes declared events only; *exception* adds the exception that is being handled."""

    info: _Method
    warning: _Method
    error: _Method
    exception: _Method


def get_logger() -> Log:
    """A logger that follows the configuration of the process."""
    log: Log = structlog.get_logger()
    return log


def is_text(log_format: str, stream: TextIO | None = None) -> bool:
    """Whether *log_format* means text on *stream*: `text` always does, `auto` on a terminal, `json` never."""
    return log_format == "text" or (log_format == "auto" and (stream or sys.stdout).isatty())


def configure(log_format: str, level: str, served_by: str, stream: TextIO | None = None) -> None:
    """Set up logging for the process, on *stream* or else on standard output, as `is_text` says or as JSON."""
    text = is_text(log_format, stream)
    for_people: list[Processor] = [
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
        structlog.dev.ConsoleRenderer(colors=(stream or sys.stdout).isatty()),
    ]
    for_machines: list[Processor] = [
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(ensure_ascii=False),
    ]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            *(for_people if text else for_machines),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    if not text:
        structlog.contextvars.bind_contextvars(served_by=served_by)
    logging.basicConfig(level=logging.WARNING, handlers=[_ToStructlog()], force=True)


class _ToStructlog(logging.Handler):
    """Pass on what libraries log, as the event `library`."""

    def emit(self, record: logging.LogRecord) -> None:
        event: Event = "library"
        log = structlog.get_logger()
        log.log(record.levelno, event, logger=record.name, detail=record.getMessage(), exc_info=record.exc_info)
