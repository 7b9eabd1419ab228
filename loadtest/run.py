"""One run: Locust's users in processes of their own, a scenario that breaks things, an observer, and the verdict.

At the end Locust is stopped and every fault undone, even on an interrupt, which leaves a report of the run so far.
"""

import csv
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import httpx
import msgspec

from apidex.replication.redis_client import EMBEDDED
from loadtest.analysis import Analysis
from loadtest.haproxy import retries
from loadtest.history import RunFacts, RunHistory
from loadtest.load_generator import FIRST_WITHIN, Load, Locust, running_locust
from loadtest.nemesis import ScenarioRun
from loadtest.observer import Observer, Progress
from loadtest.record import RequestRecord, read, write
from loadtest.scenarios import scenario_of
from loadtest.scenarios.scenario import Scenario
from loadtest.system import UnsupportedError, WaitTimeoutError, every, get, is_this_machine, output_of, wait_for
from loadtest.targets.target import Target
from loadtest.verdict import Verdict, judge

_MISSING = "none, since a replica did not answer"

_FILES = ("history.json", "requests.csv", "verdict.json", "report.html")

INTERRUPTED = "it was interrupted"
"""Why a run stopped early."""


def run(
    scenario: Scenario,
    target: Target,
    folder: Path,
    *,
    load: Load | None = None,
    seconds: float | None = None,
    seed: int = 0,
    requests: int = 0,
    allow_remote: bool = False,
    tell: Callable[[str], None] = print,
) -> Verdict:
    """Run *scenario* against *target*; its history, rows, verdict and report go into *folder*.

    It lasts *seconds*, or as long as the scenario says, and until *requests* were sent, unless it is interrupted. Raises
    UnsupportedError if that is impossible, or if the target is not this machine and *allow_remote* is not set.
    """
    _check(target, allow_remote)
    poll = _poll(target.host)
    target.prepare()
    replicas = len(target.replicas())
    wait_for(60, "one version in Redis and on all replicas", lambda: _is_settled(target.host, replicas))
    facts = RunFacts(
        scenario=scenario.name,
        target=target.name,
        by_request=target.by_request,
        has_testbed=_upstream_log(target, 0.0)[0] is not None,
        host=target.host,
        replicas=replicas,
        poll=poll,
        began=datetime.now(UTC).isoformat(timespec="seconds"),
        command=" ".join(["python -m loadtest", *sys.argv[1:]]),
        seed=seed,
        min_requests=requests,
        seconds=seconds or scenario.seconds,
        planned_seconds=seconds or scenario.seconds,
        commit=_commit(),
    )
    for name in _FILES:  # those of an earlier run, for which this one must not be taken
        (folder / name).unlink(missing_ok=True)
    history = _record(scenario, target, folder, facts, load or Load(), tell)
    _write_rows(folder, history.requests)  # first: what has a history can be judged
    _put(folder / "history.json", msgspec.json.encode(msgspec.structs.replace(history, requests=[])))
    verdict = _conclude(history, scenario, folder)
    _delete_rows(folder)
    return verdict


def report(folder: Path) -> Verdict:
    """Judge again what a run has left in *folder*. Raises UnsupportedError where that is nothing, or cannot be written to."""
    try:
        history = msgspec.json.decode((folder / "history.json").read_bytes(), type=RunHistory)
        history = msgspec.structs.replace(history, requests=read(folder / "requests.csv"))
    except (OSError, ValueError, csv.Error, msgspec.MsgspecError) as error:
        raise UnsupportedError(f"{folder} holds no run: {error}") from None
    try:
        scenario = scenario_of(history.facts.scenario)
    except KeyError as error:
        raise UnsupportedError(f"{folder} holds a run of an unknown scenario: {error}") from None
    try:
        return _conclude(history, scenario, folder)
    except OSError as error:
        raise UnsupportedError(f"the reports cannot be written to {folder}: {error.strerror}") from None


def _commit() -> str:
    """The commit of this checkout, and whether files differ from it; nothing if it is no checkout."""
    try:
        described = output_of("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude=*")
    except UnsupportedError:
        return ""
    return described.strip()


def _conclude(history: RunHistory, scenario: Scenario, folder: Path) -> Verdict:
    from loadtest.report import page  # imports matplotlib, which takes a second

    analysis = Analysis.of(history)
    verdict = judge(analysis, scenario)
    _write_rows(folder, analysis.requests)
    _put(folder / "verdict.json", msgspec.json.format(msgspec.json.encode(verdict), indent=2))
    _put(folder / "report.html", page(verdict, analysis).encode())
    return verdict


def _write_rows(folder: Path, requests: Sequence[RequestRecord]) -> None:
    new = folder / "requests.new"
    write(new, requests)
    new.replace(folder / "requests.csv")


def _put(file: Path, content: bytes) -> None:
    """Write *content* as a whole: an interrupt leaves what there was before."""
    new = file.with_suffix(".new")
    new.write_bytes(content)
    new.replace(file)


def _record(
    scenario: Scenario, target: Target, folder: Path, facts: RunFacts, load: Load, tell: Callable[[str], None]
) -> RunHistory:
    _delete_rows(folder)  # of an earlier run
    epoch = time.monotonic()
    progress, observer = Progress(folder, epoch, tell, facts.overtime), Observer(target.host, epoch)
    with running_locust(target.host, folder, epoch, load, facts.seconds) as locust:
        wait_for(FIRST_WITHIN, load.first, lambda: bool(progress.look()) or not locust.lives())
        scenario_run = ScenarioRun(
            target,
            facts.seconds,
            epoch,
            Random(facts.seed),
            enough=lambda: len(progress.requests) >= facts.min_requests,
            tell=progress.event,
        )
        restarts, usage = target.restarts(), locust.usage()
        repeated, retried = _repeats(target)
        with observer.running(), progress.running(), _watched(locust, scenario_run):
            stopped_early, versions = _play(scenario, scenario_run, facts.poll)
            ended = _ended(restarts, target.restarts())
        last, usage = scenario_run.now(), locust.usage().since(usage)
    # not before Locust has ended: its last requests may get a catalogue that the upstream gave just now
    upstream_log, sooner = _upstream_log(target, epoch)
    repeated_by_now, retried_by_now = _repeats(target)
    progress.look()
    return RunHistory(
        facts=msgspec.structs.replace(facts, seconds=round(last, 1)),
        requests=sorted(progress.requests, key=lambda request: request.done),
        faults=scenario_run.faults,
        stopped_early=stopped_early,
        observations=observer.observations,
        upstream_log=upstream_log,
        sooner=round(sooner, 3),
        generator=usage,
        ended=ended,
        final_versions=sorted(versions),
        repeated=_more(repeated, repeated_by_now),
        retries=_more(retried, retried_by_now),
        stalls=[(round(began - epoch, 3), round(over - epoch, 3)) for began, over in target.stalls()],
    )


def _repeats(target: Target) -> tuple[int | None, int | None]:
    """How many requests came a second time so far, and how many an edge sent again."""
    log = target.edge_log()
    return target.repeated(), None if log is None else retries(log)


def _more(before: int | None, now: int | None) -> int | None:
    """A log may have been lost with its edge."""
    return None if before is None or now is None else max(0, now - before)


def _delete_rows(folder: Path) -> None:
    """Delete the file of each Locust process: `requests.csv` has all of their rows."""
    for rows in folder.glob("rows*.csv"):
        rows.unlink()


def _play(scenario: Scenario, scenario_run: ScenarioRun, poll: float) -> tuple[str, set[str]]:
    """Run the script; return why it stopped early, if it did, and the versions at its end, unless it was interrupted."""
    stopped_early = ""
    try:
        try:
            scenario.script(scenario_run)
        except WaitTimeoutError as error:
            stopped_early = str(error)
        return stopped_early, _final_versions(scenario_run, poll)
    except KeyboardInterrupt:
        return INTERRUPTED, set()


def _ended(before: dict[str, int], after: dict[str, int]) -> int:
    """How many times a replica ended: those that are gone, and those that were restarted."""
    return sum(max(0, after[name] - count) if name in after else 1 for name, count in before.items())


def _check(target: Target, allow_remote: bool) -> None:
    host = urlsplit(target.host).hostname or target.host
    if not allow_remote and not is_this_machine(host):
        raise UnsupportedError(f"{host} is not this machine; --i-mean-it allows load and faults there")


def _poll(host: str) -> float:
    """Seconds between the polls of a replica, as it says."""
    try:
        return float(get(f"{host}/v1/catalogue").raise_for_status().json()["poll"])
    except (httpx.HTTPError, httpx.InvalidURL, KeyError, TypeError, ValueError) as error:
        raise UnsupportedError(f"no replica of Apidex reports its poll interval at {host}: {error!r}") from None


def _watched(locust: Locust, scenario_run: ScenarioRun) -> AbstractContextManager[None]:
    """Have the scenario fail if Locust ends before it does."""

    def watch() -> None:
        if not locust.lives():
            scenario_run.fail(UnsupportedError(f"Locust ended before the run did: {locust.complaint()}"))

    return every(0.5, watch)


def _final_versions(scenario_run: ScenarioRun, poll: float) -> set[str]:
    """The versions that the replicas answer with, once they agree, and at the latest two polls and ten seconds later."""
    until = scenario_run.now() + 2 * poll + 10
    while True:
        versions = _versions(scenario_run.target.host, scenario_run.replicas)
        if len(versions) == 1 or scenario_run.now() > until:
            return versions
        scenario_run.wait(0.25)


def _is_settled(host: str, replicas: int) -> bool:
    """Whether the replicas that can be reached answer from one version, which is the one in Redis, if they share one."""
    found: dict[str, str] = {}
    for _ in range(40 * replicas):
        with suppress(httpx.HTTPError, KeyError, ValueError):
            said = get(f"{host}/v1/catalogue").json()
            is_settled = said["redis"]["shared"] or said["redis"]["url"] == EMBEDDED
            found[said["served_by"]] = said["version"] if is_settled else ""
        if len(found) >= replicas:
            break
    versions = set(found.values())
    return len(versions) == 1 and "" not in versions


def _versions(host: str, replicas: int) -> set[str]:
    """The versions that the replicas answer with, and `_MISSING` where fewer than *replicas* answered."""
    found: dict[str, str] = {}
    for _ in range(40 * replicas):
        with suppress(httpx.HTTPError):
            answer = get(f"{host}/Cat").raise_for_status()
            found[answer.headers.get("x-served-by", "")] = answer.headers.get("catalogue-version", "")
        if len(found) >= replicas:
            return set(found.values())
    return {*found.values(), _MISSING}


def _upstream_log(target: Target, epoch: float) -> tuple[list[tuple[float, str]] | None, float]:
    """When the upstream gave which digest, None where that is not known, and by how much sooner that may have been.

    It tells how long ago; when it said so is known to the time that asking took.
    """
    began = time.monotonic()
    try:
        log = target.upstream_log()
    except UnsupportedError:
        return None, 0.0
    ended = time.monotonic()
    return [(ended - epoch - ago, digest) for ago, digest in log.given], ended - began
