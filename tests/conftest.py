"""What all tests share: the real list of public APIs, a replica in this process, and the rule about skipping."""

import itertools
import logging
import os
import signal
import tarfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from random import Random

import httpx
import msgspec
import pytest
import structlog
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from apidex.app import App, create_app
from apidex.cli.main import main
from apidex.settings import Settings
from fakes import FakeClock, FakeRedis, FakeStore, FakeUpstream
from redis_server import RedisServer

ROOT = Path(__file__).parents[1]
PUBLIC_APIS = ROOT / "tests/testdata/public-apis/list.tar.xz"
"""The README of public-apis/public-apis, and its entries in the shape of api.publicapis.org. Its licence lies beside it."""

for variable in [name for name in os.environ if name.startswith("APIDEX_")]:
    del os.environ[variable]  # a test sets what it needs, for itself and for what it starts

hypothesis_settings.register_profile(
    "default",
    deadline=None,
    derandomize="CI" in os.environ,  # there, a verdict is about the commit; other runs look for new examples
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
hypothesis_settings.load_profile("default")
hypothesis_settings.register_profile("fast", hypothesis_settings(), max_examples=25)


def pytest_addoption(parser) -> None:
    parser.addoption("--seed", type=int, help="play this seed of the simulation again")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Where TEST_APIDEX_NO_SKIP is set (CI does), a test that is skipped has failed: skipping is not passing."""
    report = yield
    if report.skipped and os.environ.get("TEST_APIDEX_NO_SKIP") and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = "failed", f"skipped where nothing may be: {reason}"
    return report


@pytest.fixture(autouse=True)
def logging_of_its_own(monkeypatch) -> Iterator[None]:
    """Undo what a command configures in this process, so that no test logs where an earlier one said."""
    configure, before, handlers = structlog.configure, structlog.get_config(), logging.root.handlers[:]
    # a logger that is cached would keep the configuration of its first use
    monkeypatch.setattr(
        structlog, "configure", lambda **options: configure(**options | {"cache_logger_on_first_use": False})
    )
    yield
    configure(**before)
    structlog.contextvars.clear_contextvars()
    logging.root.handlers[:] = handlers


_caches = itertools.count()


@pytest.fixture(autouse=True)
def user_cache(monkeypatch, tmp_path_factory) -> Path:
    """The directory that commands of this test use for caches; it does not exist yet."""
    folder = tmp_path_factory.getbasetemp() / f"cache-{next(_caches)}"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "apidex"


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """A folder with `README.md` and `entries.json` of the real list."""
    folder = tmp_path_factory.mktemp("public-apis")
    with tarfile.open(PUBLIC_APIS) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="session")
def real_entries(data: Path) -> list[dict]:
    """The entries of the real list, without the spaces that surround five of their texts."""
    entries = msgspec.json.decode((data / "entries.json").read_bytes())["entries"]
    return [{key: text.strip() if isinstance(text, str) else text for key, text in each.items()} for each in entries]


@pytest.fixture
def run(capsys):
    """Run a command in this process. Gives its status, its output and its errors."""
    return lambda *arguments: (main(arguments), *capsys.readouterr())


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def upstream() -> FakeUpstream:
    return FakeUpstream()


@asynccontextmanager
async def running_app(upstream, clock, redis=None, **settings) -> AsyncIterator[App]:
    """A replica on a fake upstream, a fake clock and a fake Redis, whose refresh task does nothing after its first turn."""
    defaults = {
        "served_by": "replica-1",
        "startup_timeout": timedelta(minutes=1),
        "poll": timedelta(hours=1),
        "state_dir": None,
    }
    store = FakeStore(redis or FakeRedis(clock), is_embedded=redis is None)
    parts = {"upstream": upstream, "store": store, "clock": clock, "random": Random(1)}
    async with create_app(Settings(**(defaults | settings)), **parts) as app:
        yield app


async def refreshed(app: App) -> None:
    """An interval later, the upstream is asked again."""
    app.replica.refresher.clock.passes(app.replica.refresher.policy.refresh.total_seconds())
    await app.replica.refresher.turn()


def client_of(asgi) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=asgi), base_url="http://apidex")


@pytest.fixture
async def app(upstream, clock) -> AsyncIterator[App]:
    async with running_app(upstream, clock) as app:
        yield app


@pytest.fixture
async def client(app) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app.asgi) as client:
        yield client


@pytest.fixture
def redis_server(tmp_path) -> Iterator[RedisServer]:
    """A real Redis."""
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture
def interruptible():
    """SIGINT raises KeyboardInterrupt, whatever handlers a command has left."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
