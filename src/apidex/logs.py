"""Which events are logged, and where: one line each on a stream, JSON for machines or text for a terminal.

Logging never raises and never waits: a log that cannot be written must not stop what it reports on.
"""

import atexit
import contextlib
import logging
import os
import select
import sys
import traceback
from queue import Full, Queue
from threading import Event as Signal
from threading import Lock, Thread
from typing import Any, Literal, Protocol, TextIO

import structlog
from structlog.typing import EventDict, ExcInfo, Processor

from apidex.terminal import printable, wants_color

_Process = Literal["serve.started", "serve.ending", "serve.ended", "settings.unknown", "library"]
_Catalogue = Literal[
    "catalogue.adopted", "upstream.confirmed", "upstream.fenced", "upstream.failed", "upstream.refused"
]
_Redis = Literal["redis.reached", "redis.failed", "redis.published", "redis.fenced", "redis.dropped", "redis.refused"]
_Disk = Literal["disk.failed"]
_Request = Literal["request.ended"]
_Defect = Literal["refresh.broken", "request.broken"]
Event = Literal[_Process, _Catalogue, _Redis, _Disk, _Request, _Defect]
"""Every event. `docs/events.md` describes them; a test compares the two."""


class _Method(Protocol):
    def __call__(self, event: Event, /, **facts: object) -> None: ...


class Log(Protocol):
    """A structlog logger that takes declared events only; *exception* adds the exception that is being handled."""

    debug: _Method
    info: _Method
    warning: _Method
    error: _Method
    exception: _Method


def get_logger() -> Log:
    """A logger that follows the configuration of the process."""
    log: Log = structlog.get_logger()
    return log


class LineSink:
    """Writes lines to a descriptor, in a thread, since a pipe whose reader stalls blocks a write. Counts lines that are *lost*.

    A QueueListener of `logging` would do, but for its `stop`, which waits without a limit for a reader that has stalled.
    """

    CAPACITY = 1024
    """Lines that wait for a slow reader. Further ones are lost."""

    PATIENCE = 1.0
    """Seconds that a descriptor in non-blocking mode may be full, and that `flush` waits."""

    def __init__(self) -> None:
        self.lost = 0
        self._lock = Lock()
        self._queue: Queue[tuple[int | None, bytes] | Signal] = Queue(self.CAPACITY)
        self._thread: Thread | None = None
        self._descriptor: int | None = None
        self._torn = False  # the last line was written in part

    def open(self, stream: TextIO | None) -> None:
        """Write to *stream* from now on. Where it is missing, closed or not a file, every line is lost."""
        self._descriptor = None
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self._descriptor = os.dup(stream.fileno())  # type: ignore[union-attr] # a copy stays open

    def write(self, text: str) -> None:
        """Queue *text* and a line break, or count it as lost."""
        try:
            if self._thread is None:
                self._start()
            self._queue.put_nowait((self._descriptor, text.encode(errors="backslashreplace") + b"\n"))
        except (Full, RuntimeError):  # RuntimeError: no thread can be started
            self.lose()

    msg = debug = info = warning = warn = error = critical = exception = fatal = log = write
    """The methods that structlog calls, each by its level."""

    def lose(self) -> None:
        """Count a line as lost."""
        with self._lock:
            self.lost += 1

    def flush(self) -> None:
        """Wait until what was queued is written, but not longer than PATIENCE."""
        written = Signal()
        with contextlib.suppress(Full):
            self._queue.put(written, timeout=self.PATIENCE)
            if self._thread is not None:
                written.wait(self.PATIENCE)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                thread = Thread(target=self._run, name="log", daemon=True)
                thread.start()
                self._thread = thread  # if it could not be started, the next line tries again

    def _run(self) -> None:
        while True:
            item = self._queue.get()
            if isinstance(item, Signal):
                item.set()
                continue
            try:
                self._write(*item)
            except Exception:  # no space, no reader, no descriptor: the next line may succeed
                self.lose()

    def _write(self, descriptor: int | None, line: bytes) -> None:
        """Write *line* whole. Raises OSError."""
        if descriptor is None:
            raise OSError
        left = memoryview(b"\n" + line if self._torn else line)
        while left:
            try:
                left = left[os.write(descriptor, left) :]
            except BlockingIOError:
                if not select.select([], [descriptor], [], self.PATIENCE)[1]:
                    raise
            finally:
                self._torn = bool(left) and (self._torn or len(left) < len(line))


sink = LineSink()
"""The sink of the process. Its lines are written before the process ends, as far as they can be."""

atexit.register(sink.flush)


def is_text(log_format: str, stream: TextIO | None = None) -> bool:
    """Whether *log_format* means text on *stream*: `text` always does, `auto` on a terminal, `json` never."""
    return log_format == "text" or (log_format == "auto" and _is_terminal(stream or sys.stdout))


def _is_terminal(stream: TextIO | None) -> bool:
    """Whether *stream* is a terminal; one that is missing or closed is not."""
    return stream is not None and not stream.closed and stream.isatty()


def configure(log_format: str, level: str, served_by: str, stream: TextIO | None = None) -> None:
    """Set up logging for the process, on *stream* or else on standard output, as `is_text` says or as JSON."""
    text = is_text(log_format, stream)
    sink.open(stream or sys.stdout)
    for_people: list[Processor] = [
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
        _printable_facts,
        structlog.dev.ConsoleRenderer(
            colors=wants_color(_is_terminal(stream or sys.stdout), os.environ),
            exception_formatter=_write_printable_traceback,
        ),
    ]
    for_machines: list[Processor] = [
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(ensure_ascii=False),
        _printable_line,
    ]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            *(for_people if text else for_machines),
        ],
        wrapper_class=_never_raising(structlog.make_filtering_bound_logger(level)),
        logger_factory=lambda *_: sink,
        cache_logger_on_first_use=True,
    )
    if not text:
        structlog.contextvars.bind_contextvars(served_by=served_by)
    logging.basicConfig(level=logging.WARNING, handlers=[_ToStructlog()], force=True)


def _printable_facts(_logger: object, _method: str, facts: EventDict) -> EventDict:
    """Escape untrusted text for a terminal."""
    return {name: printable(fact) if isinstance(fact, str) else fact for name, fact in facts.items()}


def _printable_line(_logger: object, _method: str, line: Any) -> str:  # noqa: ANN401 - the renderer's
    """Escape what `ensure_ascii=False` leaves, such as bidi controls. The JSON stays the same value."""
    return printable(line)


def _write_printable_traceback(stream: TextIO, exception: ExcInfo) -> None:
    stream.writelines(f"\n{printable(line)}" for line in "".join(traceback.format_exception(*exception)).splitlines())


def _never_raising(wrapper: type[Any]) -> type[Any]:
    """*wrapper*, for which an event that cannot be rendered is a lost line."""

    class Guarded(wrapper):  # type: ignore[misc]
        def _proxy_to_logger(self, *given: Any, **facts: Any) -> None:  # noqa: ANN401 - structlog's
            try:
                super()._proxy_to_logger(*given, **facts)
            except Exception:  # such as the repr of a fact that raises
                sink.lose()

    return Guarded


class _ToStructlog(logging.Handler):
    """Pass on what libraries log, as the event `library`."""

    def emit(self, record: logging.LogRecord) -> None:
        event: Event = "library"
        level = min(max(record.levelno // 10, 1), 5) * 10  # structlog knows no level between these
        try:
            detail = record.getMessage()
            structlog.get_logger().log(level, event, logger=record.name, detail=detail, exc_info=record.exc_info)
        except Exception:  # such as arguments that do not fit the message
            sink.lose()
