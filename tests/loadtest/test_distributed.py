"""One history from workers on several machines: whose clocks differ, and who send what they saw."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loadtest.__main__ import main
from loadtest.distributed import PINGS, RowCollector, RowSender, RunClock, WorkerClock, WorkerReport, reports
from loadtest.load_generator import GeneratorUsage, Load
from loadtest.record import RequestFailure, RequestRecord, read

from histories import request_at, spread_out, verdict_on

delays = st.lists(st.tuples(st.floats(0.0001, 0.2), st.floats(0.0001, 0.2)), min_size=PINGS, max_size=40)


class TwoMachines:
    """A worker whose clock is *ahead* of the master's by so many seconds, and gains *drift* seconds in each."""

    def __init__(self, ahead: float, drift: float = 0.0) -> None:
        self.run, self._ahead, self._drift = 0.0, ahead, drift
        self.clock = WorkerClock(self.of_worker)

    def of_worker(self) -> float:
        return self.run * (1 + self._drift) + self._ahead

    def ping(self, there: float, back: float) -> None:
        sent = self.of_worker()
        self.run += there
        at = self.run
        self.run += back
        self.clock.answered(sent, at)


@given(st.floats(-1e6, 1e6), delays)
def test_a_workers_clock_is_wrong_by_no_more_than_it_says(ahead, delays):
    machines = TwoMachines(ahead)
    for there, back in delays:
        machines.ping(there, back)
    assert machines.clock.is_known
    assert abs(machines.clock.time() - machines.run) <= machines.clock.skew + 1e-6
    assert machines.clock.skew <= max(there + back for there, back in delays) + 1e-6


def test_a_clock_is_not_known_before_enough_messages():
    machines = TwoMachines(5.0)
    for _ in range(PINGS - 1):
        machines.ping(0.001, 0.001)
    assert not machines.clock.is_known
    assert RunClock(0.0).is_known


def test_a_clock_that_drifts_says_so():
    machines = TwoMachines(100.0, drift=0.001)
    for _ in range(200):
        machines.ping(0.001, 0.001)
        machines.run += 0.5
    wrong = abs(machines.clock.time() - machines.run)
    assert wrong > 0.09
    assert machines.clock.skew == pytest.approx(wrong, rel=0.1)


def test_workers_that_do_not_come_are_named(capsys):
    assert Load(workers=3).first == "the first request, which waits for 3 workers"
    assert Load().first == "the first request"
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    assert "wait 30 s for so many workers" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(("skew", "later", "went_back"), [(0.0, 0.01, True), (0.015, 0.01, False), (0.015, 0.04, True)])
def test_an_order_that_the_clocks_of_workers_do_not_tell_is_no_failure(skew, later, went_back):
    newer, older = request_at(4.98, 0.005, version="2-b"), request_at(4.985 + later, 0.005, version="1-a")
    others = [each for each in spread_out if not 4.97 < each.sent < 5.1]
    others = [msgspec.structs.replace(each, version="2-b") if each.sent > 5 else each for each in others]
    verdict = verdict_on([*others, newer, older], generator=GeneratorUsage(1.0, 0.0, 10.0, 2, skew))
    assert (RequestFailure.WENT_BACK in verdict.failures) is went_back


def test_rows_arrive_as_they_were_with_what_the_workers_tell_of_themselves(tmp_path):
    record = str(tmp_path / "rows")
    collector = RowCollector(record)
    rows = [
        RequestRecord("search", True, 1.0, 1.0, 1.25, 0.0, 200, replica="a", version="1-a", age=3),
        RequestRecord(
            "search", False, 1.5, 1.5, 2.25, 0.0, 0, failure=RequestFailure.RESET, detail='"x", y', checked=False
        ),
    ]
    for worker in "ab":
        sender = RowSender(
            lambda message, worker=worker: collector.received(
                worker, msgspec.json.decode(msgspec.json.encode(message))
            ),
            WorkerClock(),
            lambda: (2.0, 0.5),
        )
        for row in rows:
            sender.write(row)
        sender.close()
    collector.close()
    assert [read(path) for path in sorted(tmp_path.glob("rows*.csv"))] == [rows, rows]
    told = msgspec.json.decode(reports(record).read_bytes(), type=list[WorkerReport])
    assert told == [WorkerReport(2.0, 0.5, 0.0)] * 2
