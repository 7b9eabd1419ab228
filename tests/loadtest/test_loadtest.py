"""What the load tests conclude: rows, order, ages, shares, costs, and which runs are refused. No load here."""

import dataclasses
import os
import subprocess
import sys
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loadtest.__main__ import _alone, _folder, main
from loadtest.demo import LiveFailure, LiveView, Tally
from loadtest.faults import FaultRecord
from loadtest.faults.redis import RedisDown
from loadtest.faults.replicas import DrainNode, Kill, KillAll, LoseNode, Rollout, Scale
from loadtest.faults.upstream import BadUpstream
from loadtest.haproxy import retries
from loadtest.load_generator import GeneratorUsage
from loadtest.observer import Observation
from loadtest.oracle import Oracle
from loadtest.ordering import UpstreamHistory, VersionOrder
from loadtest.record import RequestFailure, Tail, Writer, read, write
from loadtest.run import INTERRUPTED, _play, report, run
from loadtest.scenarios import SCENARIOS, SUITE
from loadtest.shapes import SHAPES
from loadtest.stalls import StallLog, delay
from loadtest.system import UnsupportedError
from loadtest.targets import compose, kubernetes
from msgspec.structs import replace

from apidex.catalogue.catalogue import Catalogue
from conftest import ROOT
from fakes import entry
from histories import FACTS, HISTORY, request_at, spread_out, spread_over, verdict_of, verdict_on
from upstream_server import raw_server


def failed_checks(verdict) -> set[str]:
    return {check.name for check in verdict.failed_checks}


OTHERWISE = "requests that failed, and were not lost with what broke"


def test_the_right_answer_is_cut_from_the_catalogue_that_its_digest_names():
    catalogue = Catalogue.of([entry("Cat Facts"), entry("Dogs"), entry("Cats", description="“x”")])
    oracle = Oracle(catalogue.canonical)
    assert catalogue.digest.startswith(oracle.digest)
    assert msgspec.json.decode(oracle.answer("Cat")) == [msgspec.to_builtins(catalogue[i]) for i in (0, 2)]
    assert oracle.answer("no such") == b"[]"


answers = st.lists(
    st.tuples(st.floats(0, 10), st.floats(0, 3), st.sampled_from("ab"), st.integers(0, 5)), min_size=1, max_size=30
)


@given(answers)
def test_an_answer_went_back_if_its_replica_had_shown_a_newer_one_before_it_was_asked(found):
    requests = [request_at(sent, took, replica=who, version=f"{stamp}-x") for sent, took, who, stamp in found]
    order = VersionOrder()
    for request in requests:
        order.note(request)
    for request in requests:
        before = [each for each in requests if each.done < request.sent]
        own = [each.stamp for each in before if each.replica == request.replica]
        assert order.went_back(request) == (request.stamp < max(own, default=-1))
        long_before = [each.stamp for each in requests if each.done < request.sent - 1.5]
        assert order.is_behind(request, 1.5) == (request.stamp < max(long_before, default=-1))


@pytest.mark.parametrize(("age", "lie"), [(8, False), (9, False), (6, True), (0, True)])
def test_an_age_is_false_if_it_is_less_than_the_time_since_the_upstream_validated(age, lie):
    upstream_history = UpstreamHistory([(0.0, "a" * 64), (1.0, "a" * 64), (9.0, "b" * 64)])
    assert upstream_history.is_too_young("1-aaaaaaaaaaaa", age, 10.0, 10.1) is lie


def test_an_age_is_not_called_false_where_the_upstream_may_have_validated_earlier():
    given = [(0.0, "a" * 64), (10.0, "a" * 64)]
    assert UpstreamHistory(given).is_too_young("1-aaaaaaaaaaaa", 0, 9.9, 9.91)
    assert not UpstreamHistory(given, sooner=0.5).is_too_young("1-aaaaaaaaaaaa", 0, 9.9, 9.91)


def test_a_row_is_read_once_it_is_whole(tmp_path):
    path = tmp_path / "rows.csv"
    rows = Writer(path)
    row = request_at(1.0, failure=RequestFailure.LATE, detail='a "quoted", text', checked=False)
    rows.write(row)
    rows.close()
    text = path.read_text()
    path.write_text(text[:-5])
    tail = Tail(path)
    assert list(tail.rows()) == []
    path.write_text(text)
    assert list(tail.rows()) == read(path) == [row]


def test_a_run_without_a_fault_passes():
    verdict = verdict_on(spread_out)
    assert failed_checks(verdict) == set()
    assert verdict.passed
    assert verdict.summary.startswith("Passed. Broken: nothing. Failed: 0 of 500 requests.")


@pytest.mark.parametrize(
    ("bad", "facts", "failure"),
    [
        ({"version": "2-a", "replica": "b"}, {}, "behind"),
        ({"version": "0-z"}, {"upstream_log": [(-1.0, "a" * 64)]}, "bad catalogue"),
        ({"version": "1-a", "age": 1}, {"upstream_log": [(-1.0, "a" * 64)]}, "false age"),
    ],
)
def test_what_only_the_whole_run_shows_is_a_failure(bad, facts, failure):
    facts = {"upstream_log": None} | facts
    digest = "1-aaaaaaaaaaaa" if facts["upstream_log"] else "1-a"
    good = [replace(request, version=digest, age=-1) for request in spread_out]
    odd = request_at(5.0, **({"version": digest} | bad | ({"version": digest} if failure == "false age" else {})))
    assert failure in verdict_on([*good, odd], **facts).failures


@pytest.mark.parametrize(("fault", "scenario"), [(RedisDown(), "redis-down"), (DrainNode(), "drain-node")], ids=str)
def test_being_behind_is_not_a_failure_while_redis_is_away(fault, scenario):
    newer = request_at(1.0, replica="b", version="2-a")
    away = {"faults": [FaultRecord(fault, 0.5, 9.0, 2)], "scenario": scenario}
    assert "behind" in verdict_on([*spread_out, newer]).failures
    assert "behind" not in verdict_on([*spread_out, newer], **away).failures


def without_b(since: float, until: float) -> list:
    """`spread_out`, in which the replica b answers nothing meanwhile."""
    return [each for each in spread_out if each.replica == "a" or not since < each.done < until]


KILLED = [FaultRecord(Kill("a"), 5.0, 5.1, 2)]
IN_FLIGHT = request_at(5.2, status=0, failure=RequestFailure.RESET, replica="")


@pytest.mark.parametrize(
    ("failed", "by_request", "named"),
    [
        ([IN_FLIGHT], False, set()),
        ([IN_FLIGHT], True, {"failed requests"}),
        ([replace(IN_FLIGHT, sent=8.0, done=8.01)], False, {OTHERWISE}),
        ([request_at(5.2, failure=RequestFailure.WRONG_BODY)], False, {OTHERWISE}),
        (
            [replace(IN_FLIGHT, sent=5.2 + number / 100) for number in range(60)],
            False,
            {"requests lost with what broke"},
        ),
    ],
    ids=["in flight", "where a balancer retries", "later", "answered wrongly", "too many"],
)
def test_requests_in_flight_to_a_dying_replica_may_be_lost_and_no_others(failed, by_request, named):
    kill = {"faults": KILLED, "scenario": "crash", "ended": 1}
    assert failed_checks(verdict_on([*spread_out, *failed], by_request=by_request, **kill)) == named


@pytest.mark.parametrize(
    ("facts", "failed"),
    [
        ({"faults": []}, "faults"),
        ({"faults": KILLED, "ended": 0}, "faults"),
        ({"faults": KILLED, "ended": 1, "stopped_early": "timed out waiting for 4 replicas"}, "scenario"),
    ],
    ids=["nothing was broken", "no replica ended", "it stopped early"],
)
def test_a_scenario_that_did_not_take_place_proves_nothing(facts, failed):
    assert failed_checks(verdict_on(spread_out, scenario="crash", **facts)) == {failed}


def test_a_killed_replica_must_answer_again_and_no_other_may_end():
    kill = {"faults": [FaultRecord(Kill("b"), 4.0, 4.1, 2)], "scenario": "crash", "ended": 1}
    assert verdict_on(spread_out, **kill).passed
    gone = [request for request in spread_out if request.replica == "a" or request.done < 4.0]
    assert "seconds until a killed replica answers again" in failed_checks(verdict_on(gone, **kill))
    assert failed_checks(verdict_on(spread_out, **kill | {"ended": 2})) == {"replicas that ended"}


@pytest.mark.parametrize(
    ("facts", "failed"),
    [
        ({"repeated": 0, "retries": 0}, set()),
        ({"repeated": None, "retries": None}, set()),
        ({"repeated": 1}, {"requests that were sent twice"}),
        ({"retries": 1}, {"retries of the edge"}),
        ({"retries": 100, "scenario": "crash", "faults": KILLED, "ended": 1}, set()),
        ({"retries": 101, "scenario": "crash", "faults": KILLED, "ended": 1}, {"retries of the edge"}),
    ],
    ids=["none", "not counted", "the client's", "without a fault", "a fifth", "more than a fifth"],
)
def test_requests_are_sent_once_by_the_client_and_retried_little_by_an_edge(facts, failed):
    assert failed_checks(verdict_on(spread_out, **facts)) == failed


@pytest.mark.parametrize(("retries", "is_too_many"), [(182, False), (183, True)])
def test_a_request_may_be_retried_four_times_a_second_while_all_replicas_are_killed(retries, is_too_many):
    """A fifth of 510 requests, and four for each of 20 seconds."""
    held = [request_at(9.99, took=2.0) for _ in range(10)]
    killed = [FaultRecord(KillAll(), 9.99, 10.0, 2)]
    verdict = verdict_on([*spread_out, *held], "crash-all", retries=retries, faults=killed, ended=2)
    assert ("retries of the edge" in failed_checks(verdict)) is is_too_many


def test_retries_are_counted_from_the_log_of_haproxy():
    again = (
        "127.100.0.147:52263 [26/Nov/2026:10:44:21.564] clients replicas/replica45283 0/29/0/0/29 200 74545 - - ---- "
        '19/19/0/0/+2 0/0 "GET /%2F HTTP/1.1"'
    )
    once = again.replace("/+2 0/0", "/0 0/0")
    down = "Server replicas/replica1 is DOWN, check duration: 0ms. 15 active and 1 backup servers left. 0/0 in queue."
    assert retries("\n".join([again, down, once, again.replace("/+2 ", "/3 ")])) == 5


def test_a_version_must_be_there_to_its_last_page():
    gone = request_at(5.0, status=410, kind="a page", version="")
    assert failed_checks(verdict_on([*spread_out, gone])) == {"versions that were gone before their last page"}


def test_a_page_is_compared_with_the_part_of_the_catalogue_that_it_stands_for():
    catalogue = Catalogue.of([entry(name) for name in ("Ape", "Bat", "Cat")])
    oracle = Oracle(catalogue.canonical)
    hits = [{"entry": msgspec.to_builtins(each), "rank": None} for each in catalogue]
    page = {"total": 3, "offset": 1, "hits": hits[1:3]}
    assert oracle.is_page(msgspec.json.encode(page), 1, 2)
    for wrong in ({"hits": hits[1:2]}, {"hits": hits[:2]}, {"hits": hits[2:0:-1]}, {"total": 2}, {"hits": "none"}):
        assert not oracle.is_page(msgspec.json.encode(page | wrong), 1, 2)


def test_an_added_replica_must_get_a_share_of_the_kept_alive_connections():
    added = {"faults": [FaultRecord(Scale(2), 2.0, 3.0, 2)], "scenario": "add-replica", "by_request": True}
    assert verdict_on(spread_out, **added).passed
    few = [request for request in spread_out if request.replica == "a" or request.sent < 5.0]
    late = [*few, request_at(6.0, replica="b")]
    assert failed_checks(verdict_on(few, **added)) == {"replicas that answer, with the one that was added"}
    assert failed_checks(verdict_on(late, **added)) == {"least share of a replica, with the one that was added"}


@pytest.mark.parametrize(("replicas", "least"), [(4, "10 %"), (12, "3.3 %")])
def test_the_least_share_of_a_replica_follows_how_many_there_are(replicas, least):
    facts, evenly = replace(FACTS, replicas=replicas), spread_over("abcdefghijkl"[:replicas])
    verdict = verdict_of(evenly, facts=facts)
    assert failed_checks(verdict) == set()
    (bound,) = [check.bound for check in verdict.checks if check.name == "spread of kept-alive connections"]
    assert bound.startswith(f"each at least {least}, ")
    starved = [each for each in evenly if each.replica != "a" or each.sent < 9 / replicas]
    assert "spread of kept-alive connections" in failed_checks(verdict_of(starved, facts=facts))


@pytest.mark.parametrize(("replicas", "least"), [(4, "at least 0.1"), (10, "at least 0.04")])
def test_an_added_replica_gets_the_least_share_of_those_before(replicas, least):
    added = [FaultRecord(Scale(replicas + 1), 0.0, 0.0, replicas + 1)]
    facts = replace(FACTS, replicas=replicas, scenario="add-replica", by_request=True)
    verdict = verdict_of(spread_over("abcdefghijk"[: replicas + 1]), facts=facts, faults=added)
    assert failed_checks(verdict) == set()
    assert least in [check.bound for check in verdict.checks]


def test_a_run_in_which_no_bytes_were_compared_fails():
    refused = [replace(each, status=0, failure=RequestFailure.REFUSED) for each in spread_out]
    assert "answers whose bytes were not compared" in failed_checks(verdict_on(refused))


@pytest.mark.parametrize("by_request", [False, True])
def test_a_lost_node_excuses_what_was_lost_on_the_way_and_nothing_else(by_request):
    lost = {"faults": [FaultRecord(LoseNode(), 2.0, 9.0, 2)], "scenario": "lose-node", "by_request": by_request}
    for failure in (RequestFailure.LATE, RequestFailure.WRONG_BODY, RequestFailure.BAD_STATUS):
        verdict = verdict_on([*spread_out, request_at(5.0, failure=failure)], **lost)
        assert verdict.passed is (failure is RequestFailure.LATE)


@pytest.mark.parametrize(("until", "named"), [(5.0, set()), (9.9, {"requests lost with the node"})])
def test_a_lost_node_takes_no_more_than_reaches_it(until, named):
    refused = {"status": 0, "replica": "", "version": "", "failure": RequestFailure.REFUSED}
    requests = [replace(each, **refused) if 1.0 <= each.sent < until else each for each in spread_out]
    lost = {"faults": [FaultRecord(LoseNode(), 1.0, 9.0, 2)], "scenario": "lose-node"}
    assert failed_checks(verdict_on(requests, **lost)) == named


@pytest.mark.parametrize(
    ("replaced", "ended", "named"),
    [
        ([FaultRecord(Rollout(), 6.0, 8.0, 2)], 2, set()),
        ([FaultRecord(Rollout(), 6.0, 8.0, 2)], 1, {"faults"}),
        ([], 2, {"faults"}),
    ],
    ids=["both were replaced", "one has not ended", "none was replaced"],
)
def test_a_replica_that_was_replaced_has_ended_once_however_often_it_was_killed(replaced, ended, named):
    kills = [FaultRecord(Kill("ab"[number % 2]), 2.0 + number, 2.1 + number, 2) for number in range(3)]
    verdict = verdict_on(spread_out, "everything", by_request=True, faults=[*kills, *replaced], ended=ended)
    assert failed_checks(verdict) == named


@pytest.mark.parametrize(
    ("scenario", "faults", "after"),
    [
        ("crash", [FaultRecord(Kill("b"), 4.0, 4.1, 2)], [3.0]),
        # as many as there are to be from then on
        ("scale", [FaultRecord(Scale(1), 4.0, 4.1, 1), FaultRecord(Scale(2), 6.0, 6.1, 2)], [0.0, 1.0]),
        # until the next fault
        ("crash", [FaultRecord(Kill("a"), 1.0, 1.1, 2), FaultRecord(Kill("b"), 5.7, 5.8, 2)], [None, 1.3]),
        ("crash", [FaultRecord(Kill("b"), 6.3, 6.4, 2)], [0.0]),
    ],
)
def test_the_time_until_all_replicas_answer_again(scenario, faults, after):
    verdict = verdict_on(without_b(4.0, 7.0), scenario=scenario, faults=faults)
    assert [cost.full_strength_after for cost in verdict.faults] == after


def test_half_a_second_without_an_answer_of_a_replica_is_chance():
    kill = {"scenario": "crash", "faults": [FaultRecord(Kill("b"), 2.0, 2.0, 2)], "ended": 1}
    quiet = [each for each in spread_out if each.replica == "a" or not (2.0 < each.done < 3.8 or 6.0 < each.done < 6.9)]
    verdict = verdict_on(quiet, **kill)
    assert verdict.summary.endswith("All replicas answered again after 1.8 s.")
    assert "the slowest of them took 1.8 s to answer" in " ".join(check.sentence for check in verdict.checks)


def test_a_fault_costs_latency_until_all_replicas_answer_again():
    faults = [FaultRecord(Kill("b"), 4.0, 4.1, 2), FaultRecord(Kill("b"), 8.0, 8.1, 2)]
    slow = [request_at(5.0, 0.5, version="1-a"), request_at(9.9, 0.2, version="1-a")]
    costs = verdict_on([*without_b(4.0, 7.0), *slow], scenario="crash", faults=faults).faults
    assert [(cost.p99_before, cost.p99_in, cost.p99_after) for cost in costs] == [
        (10.0, 500.0, 10.0),
        (10.0, 10.0, 200.0),
    ]


def written(folder, requests, scenario, **other):
    """A run's folder, as `loadtest run` leaves it."""
    folder.mkdir()
    history = replace(HISTORY, **{"facts": replace(FACTS, scenario=scenario)} | other)
    (folder / "history.json").write_bytes(msgspec.json.encode(history))
    write(folder / "requests.csv", sorted(requests, key=lambda request: request.done))
    report(folder)
    return folder


def test_a_report_begins_with_failed_checks_and_folds_passed_ones(tmp_path):
    failed = request_at(5.0, failure=RequestFailure.RESET, detail="<reset>")
    faults = [FaultRecord(Kill("b"), 4.0 + number, 4.1 + number, 2) for number in range(6)]
    page = (written(tmp_path / "run", [*spread_out, failed], "steady", faults=faults) / "report.html").read_text()
    shown = [
        page.index(part) for part in ("What did not hold", "failed requests", "the worst of each figure", "<figure>")
    ]
    assert shown == sorted(shown)
    assert "<details><summary>Each fault</summary>" in page
    assert page.index("that held</summary>") < page.index("answers whose bytes were not compared")
    assert "&lt;reset&gt;" in page


def test_the_time_until_all_replicas_answer_again_is_one_figure_in_the_sentence_the_check_and_the_report(tmp_path):
    kill = {"scenario": "crash", "faults": [FaultRecord(Kill("b"), 4.0, 4.01, 2)], "ended": 1}
    requests = without_b(4.0, 7.3)
    folder, verdict = written(tmp_path / "run", requests, **kill), verdict_on(requests, **kill)
    (check,) = (each for each in verdict.checks if each.name.startswith("seconds until"))
    assert verdict.summary.endswith("All replicas answered again after 3.3 s.")
    assert (check.figure, verdict.faults[0].full_strength_after) == (3.3, 3.3)
    text = (folder / "report.html").read_text()
    assert "<th class=n>All replicas answered again<" in text
    assert text.count(">after 3.3 s<") == text.count(">a moment<") == 1


@pytest.mark.parametrize(("planned", "requests", "longer"), [(10.0, 0, False), (5.0, 0, True), (5.0, 900, True)])
def test_a_run_says_on_the_terminal_and_in_the_report_that_it_lasted_longer(
    tmp_path, capsys, planned, requests, longer
):
    facts = replace(FACTS, planned_seconds=planned, min_requests=requests)
    folder = written(tmp_path / "run", spread_out, "steady", facts=facts)
    main(["report", str(folder)])
    for said in (capsys.readouterr().out, (folder / "report.html").read_text()):
        assert ("asted 10 s, longer than the 5 s planned: a run goes on until" in said) is longer
        assert (", and enough requests are sent." in said) is bool(requests)


def test_two_runs_are_compared(tmp_path, capsys):
    failed = request_at(5.0, failure=RequestFailure.RESET)
    folders = [
        written(tmp_path / name, rows, "steady") for name, rows in (("a", spread_out), ("b", [*spread_out, failed]))
    ]
    assert main(["compare", *map(str, folders)]) == 0
    rows = {
        row[1].strip(): [cell.strip() for cell in row[2:5]]
        for row in (line.split("|") for line in capsys.readouterr().out.splitlines())
    }
    assert rows["failed requests"] == ["0 holds", "1 FAILS", "differs"]
    assert rows["reset"] == ["0", "1", "+1"]
    (folders[1] / "verdict.json").write_text("{}")
    assert main(["compare", *map(str, folders)]) == 2
    assert "is not a verdict of version" in capsys.readouterr().err


def interrupt(*_):
    raise KeyboardInterrupt


def test_an_interrupt_while_rows_are_written_leaves_a_run_that_can_be_judged(tmp_path, monkeypatch):
    folder = written(tmp_path / "run", spread_out, "steady")
    monkeypatch.setattr("loadtest.run.write", lambda path, _: interrupt(path.write_text("half of a")))
    with pytest.raises(KeyboardInterrupt):
        report(folder)
    monkeypatch.undo()
    assert report(folder).requests == len(spread_out)


def test_a_run_with_damaged_rows_or_a_folder_that_cannot_be_written_to_is_refused(tmp_path, capsys):
    folder = written(tmp_path / "run", spread_out, "steady")
    whole = (folder / "requests.csv").read_bytes()
    for rows in (b"half of a\n", b"\xff\n", b"1" * 2**18 + b"\n"):
        (folder / "requests.csv").write_bytes(whole + rows)
        assert main(["report", str(folder)]) == 2
        assert capsys.readouterr().err.startswith(f"loadtest: {folder} holds no run: ")
    (folder / "requests.csv").write_bytes(whole)
    (folder / "report.new").mkdir()
    assert main(["report", str(folder)]) == 2
    assert capsys.readouterr().err == f"loadtest: the reports cannot be written to {folder}: Is a directory\n"


def test_an_interrupt_of_judging_leaves_nothing_of_an_earlier_run(tmp_path, monkeypatch):
    folder = written(tmp_path / "run", spread_out, "steady")
    known = {"prepare": lambda: None, "replicas": list, "upstream_log": lambda: SimpleNamespace(given=[])}
    target = SimpleNamespace(name="processes", host="http://127.0.0.1:1", by_request=False, **known)
    recorded = {
        "_poll": lambda _: 1.0,
        "_is_settled": lambda *_: True,
        "_record": lambda *_: replace(HISTORY, requests=spread_out[:100]),
        "judge": interrupt,
    }
    for name, act in recorded.items():
        monkeypatch.setattr(f"loadtest.run.{name}", act)
    with pytest.raises(KeyboardInterrupt):
        run(SCENARIOS["steady"], target, folder)
    monkeypatch.undo()
    assert {each.name for each in folder.iterdir()} == {"history.json", "requests.csv"}
    assert report(folder).requests == 100


def test_an_interrupt_while_versions_are_compared_is_one_of_the_run(monkeypatch):
    monkeypatch.setattr("loadtest.run._versions", interrupt)
    scenario = dataclasses.replace(SCENARIOS["steady"], script=lambda _: None)
    run_so_far = SimpleNamespace(target=SimpleNamespace(host=""), replicas=2, now=lambda: 0.0)
    assert _play(scenario, run_so_far, 1.0) == (INTERRUPTED, set())


def test_an_interrupt_before_a_replica_is_added_has_a_verdict():
    assert failed_checks(verdict_on(spread_out, "add-replica", stopped_early=INTERRUPTED)) == {"faults", "scenario"}


def test_a_spread_that_chance_does_not_explain_fails():
    uneven = [replace(each, replica="ab"[number % 5 == 0]) for number, each in enumerate(spread_out)]
    assert "spread of new connections" in failed_checks(verdict_on(uneven))


def test_replicas_that_call_themselves_fresh_when_they_are_stale_fail():
    said = [Observation(9.0, 9.1, "a", "1-a", "fresh", 8.0, 7.5, "timeout")]
    facts = {
        "scenario": "upstream-down",
        "faults": [FaultRecord(BadUpstream("disconnect"), 1.0, 9.5, 2)],
        "upstream_log": [(1.0, "a" * 64)],
    }
    assert "replicas that reported a wrong state" in failed_checks(verdict_on([], observations=said, **facts))


def test_a_run_whose_generator_was_busy_is_void():
    verdict = verdict_on(spread_out, generator=GeneratorUsage(9.5, 0.0, 10.0))
    assert verdict.void
    assert not verdict.passed


def one_reset(**other) -> list:
    """`spread_out`, of which one request failed, after 2 to 2.5 seconds."""
    facts = {"failure": RequestFailure.RESET, "done": 2.5} | other
    return [replace(each, **facts) if each.sent == 2.0 else each for each in spread_out]


@pytest.mark.parametrize(
    ("requests", "stalls", "outcome"),
    [
        pytest.param(spread_out, [], "passed", id="no stall"),
        pytest.param(spread_out, [(3.0, 3.4)], "passed", id="4 % delayed"),
        pytest.param(spread_out, [(3.0, 4.2)], "void", id="12 % delayed"),
        pytest.param([replace(each, lag=0.2) for each in spread_out], [], "void", id="sent late"),
        pytest.param(one_reset(), [], "failed", id="reset"),
        pytest.param(one_reset(), [(6.0, 6.3)], "failed", id="reset elsewhere"),
        pytest.param(one_reset(), [(2.1, 2.4)], "void", id="in a stall"),
        pytest.param(one_reset(lag=0.3), [], "void", id="sent late, reset"),
        pytest.param(one_reset(lag=0.3, failure=RequestFailure.WRONG_BODY), [], "failed", id="a wrong body"),
        pytest.param([each for each in one_reset(lag=0.3) if each.replica == "a"], [], "failed", id="no spread"),
    ],
)
def test_a_run_is_void_where_the_generator_or_its_balancer_delayed_many_requests_or_those_that_failed(
    requests, stalls, outcome
):
    verdict = verdict_on(requests, stalls=stalls)
    assert ("void" if verdict.void else "passed" if verdict.passed else "failed") == outcome
    assert ("The load generator (Locust, its balancer, or their machine) delayed" in verdict.summary) is verdict.void


def test_a_delay_counts_until_its_user_has_caught_up_unless_the_service_is_slow():
    behind = [7.0, 6.8, 3.4, 0.2, 0.0, 0.2]
    delays = [7.0]
    for seconds in behind[1:]:
        delays.append(delay(0.0, delays[-1], seconds))
    assert delays == [7.0, 6.8, 3.4, 0.2, 0.0, 0.0]
    assert delay(0.3, 0.0, 10.0) == 0.3
    assert delay(0.0, 0.3, 10.0) == 0.0


def test_a_loop_stalls_where_a_beat_is_late():
    log = StallLog(0.0)
    for moment in (0.05, 0.1, 1.1, 1.15, 1.4):
        log.beat(moment)
    assert log.stalls == [(0.1, 1.1)]
    assert log.longest(1.0, 1.5) == pytest.approx(1.0)
    assert log.longest(1.2, 1.5) == 0
    assert log.longest(1.2, 2.0) == pytest.approx(0.6)  # no beat has told of this one


def test_a_request_is_sent_once():
    """geventhttpclient alone would ask again, eleven times, where a connection is closed unanswered."""
    with raw_server(list) as (address, asked):  # which closes connections unanswered
        code = (
            "import gevent.monkey; gevent.monkey.patch_all()\n"
            "from geventhttpclient.url import URL\n"
            "from loadtest.client import NoRetryPool, failure_of\n"
            f"url = URL('{address}')\n"
            "try: NoRetryPool().get_client(url).request('GET', '/x')\n"
            "except BaseException as error: print(failure_of(error)[0])\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stdout.strip() in ("closed unanswered", "reset"), done.stderr
    assert len(asked) == 1


def loadtest(*arguments: str, **environ: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "loadtest", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environ, timeout=60)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("run earthquake", "SCENARIO: 'earthquake' is not allowed; allowed are steady, "),
        ("run", "SCENARIO: missing; `python -m loadtest run --help` says what is allowed"),
        ("run crash --prot 1", "--prot 1: not an argument; `python -m loadtest run --help` lists them"),
        ("run crash --commit f00", "--commit: only for pairs; allowed is pairs as SCENARIO"),
        ("run pairs --commit=", "--commit: '' is not allowed; allowed is a hash"),
        ("demo --port 80", "--port: '80' is not allowed; allowed is a whole number from 1024 to 65535"),
        ("run crash --target the-moon", "--target: 'the-moon' is not allowed; allowed are processes, "),
        ("run crash --target compose", "docker is not installed"),
        ("run crash --target kubernetes", "kubectl is not installed"),
        ("run redis-cut", "redis-cut cannot be run on processes, only on compose or kubernetes"),
        ("run steady --host http://127.0.0.1:1", "--host is for kubernetes and service"),
        ("run steady --target service", "--host says where it answers"),
        ("run crash --target service", "crash cannot be run on service, only on processes or compose or kubernetes"),
        ("run steady --workers 2 --processes 2", "--workers and --processes exclude each other"),
        ("run pairs --only kill+lose-node", "kill+lose-node cannot be run on processes, only on kubernetes"),
        (
            "run pairs --target service --host http://127.0.0.1:1",
            "no pair of faults can be played on service as it was opened",
        ),
        ("run pairs --only kill", "--only: 'kill' is not allowed; allowed are two of upstream-down, "),
        ("run pairs --results /bin/sh", "is not a file of text; --results takes a page of Markdown"),
        ("run steady --target service --host http://[::1", "--host: 'http://[::1' is not a URL; allowed"),
        ("run drain-node", "drain-node cannot be run on processes, only on kubernetes"),
        ("run crash --rate 0", "--rate: '0' is not allowed; allowed is a number from 0.001 to 1000000000"),
        ("capacity --pods", "--pods is for --check"),
        ("report nowhere", "nowhere holds no run"),
        ("compare nowhere elsewhere", "nowhere holds no verdict"),
        ("run steady --shape ragged", f"--shape: 'ragged' is not allowed; allowed are {', '.join(SHAPES)}\n"),
    ],
)
def test_a_run_that_is_impossible_is_refused_in_a_sentence(tmp_path, arguments, said):
    output = ["--output", str(tmp_path)] if arguments.startswith("run") else []
    done = loadtest(*arguments.split(), *output, PATH=str(tmp_path))
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert done.stderr.startswith("loadtest: ")
    assert done.stderr.count("\n") == 1


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "steady-processes").write_text("")
    with pytest.raises(UnsupportedError, match="cannot be written to"):
        _folder(tmp_path / "steady-processes")


def test_a_second_run_into_one_folder_is_refused(tmp_path):
    (tmp_path / "logs").mkdir()
    with _alone(tmp_path / "logs"):
        done = loadtest("run", "steady", "--output", str(tmp_path), PATH=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr == f"loadtest: another run writes to {tmp_path}; --output names another folder\n"
    with _alone(tmp_path / "logs"):
        pass


def test_every_scenario_is_listed():
    listed = loadtest("list").stdout.splitlines()
    assert [line.split()[0] for line in listed] == [*SCENARIOS, SUITE]


def test_a_recorded_fault_is_read_as_it_was_written():
    records = [FaultRecord(fault, 1.0, 2.0, 4) for fault in (Kill("a"), Scale(2), RedisDown(), BadUpstream("slow"))]
    assert msgspec.json.decode(msgspec.json.encode(records), type=list[FaultRecord]) == records


def test_nothing_depends_on_whether_its_output_can_be_written():
    reader, closed = os.pipe()
    os.close(reader)
    with os.fdopen(closed, "wb") as pipe, open("/dev/full", "wb") as full:  # noqa: PTH123
        for output, said in ((pipe, ""), (full, "loadtest: what is printed is lost: No space left on device\n")):
            command = [sys.executable, "-m", "loadtest", "list"]
            done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, cwd=ROOT, timeout=60)
            assert (done.returncode, done.stderr) == (0, said)


@pytest.mark.parametrize(
    ("target", "says", "asked"),
    [
        (compose, "tcp://198.51.100.7:2375", "docker context inspect"),
        (kubernetes, "https://198.51.100.7:6443", "kubectl config view"),
    ],
    ids=["compose", "kubernetes"],
)
def test_nothing_is_started_or_broken_on_another_machine_unless_it_is_meant(
    tmp_path, monkeypatch, capsys, target, says, asked
):
    commands = []

    def output_of(*command, **_):
        commands.append(" ".join(command))
        return says

    monkeypatch.setattr(target, "output_of", output_of)
    monkeypatch.setattr("signal.signal", lambda *_: None)  # pytest's own stay
    name = target.__name__.rpartition(".")[2]
    assert main(["run", "crash", "--target", name, "--up", "--output", str(tmp_path)]) == 2
    assert "198.51.100.7 is not this machine; --i-mean-it" in capsys.readouterr().err
    assert [command.startswith(asked) for command in commands] == [True]


@pytest.mark.parametrize("command", ["run steady", "demo", "capacity", "report ."])
def test_without_its_dependencies_a_command_names_the_one_that_installs_them(command, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("loadtest.__main__.find_spec", lambda name: None if name == "scipy" else name)
    monkeypatch.setattr("signal.signal", lambda *_: None)  # pytest's own stay
    monkeypatch.setattr(sys, "executable", "/my venv/python")
    monkeypatch.chdir(tmp_path)
    assert main(command.split()) == 2
    install = "'/my venv/python' -m pip install 'apidex[loadtest]'"
    assert capsys.readouterr().err == f"loadtest: scipy cannot be imported; this installs what is missing: {install}\n"


def test_no_load_is_sent_to_another_machine_unless_it_is_meant(tmp_path):
    foreign = SimpleNamespace(host="http://198.51.100.7:8000")
    with pytest.raises(UnsupportedError, match=r"198\.51\.100\.7 is not this machine; --i-mean-it"):
        run(SCENARIOS["steady"], foreign, tmp_path, seconds=1)


@pytest.mark.parametrize(("slow", "passes"), [(0, True), (4, True), (60, False)])
def test_p99_may_be_twice_what_it_was_as_surely_as_so_many_requests_can_tell(slow, passes):
    """Of 250 requests during the fault, *slow* take ten times as long as the slowest before it."""
    requests = [replace(each, done=each.sent + 0.01) for each in spread_out]
    for place in range(300, 300 + slow):
        requests[place] = replace(requests[place], done=requests[place].sent + 0.1)
    away = {"faults": [FaultRecord(RedisDown(), 5.0, 10.0, 2)], "scenario": "redis-down"}
    assert verdict_on(requests, **away).passed is passes


def test_a_page_counts_shares_of_the_last_seconds_and_failures_of_all():
    tally = Tally()
    tally.add(request_at(second, replica="a") for second in (0.1, 0.2, 1.1))
    tally.add(request_at(5 + part / 10, replica="abbb"[part]) for part in range(4))
    tally.add([request_at(5.5, replica="b", failure=RequestFailure.RESET, detail="<b>")])
    view = tally.view(6.2, LiveView(seconds=60.0))
    assert [(each.name, each.counts, each.share) for each in view.replicas] == [
        ("a", [2, 1, 0, 0, 0, 1], 0.25),
        ("b", [0, 0, 0, 0, 0, 3], 0.75),
    ]
    assert (view.requests, view.failed, view.failed_in) == (8, 1, [0, 0, 0, 0, 0, 1])
    assert view.failures == [LiveFailure("reset", 1, "<b>")]
    assert (view.rate, view.p99) == (1.7, 10.0)


@pytest.mark.parametrize(("skew", "void"), [(0.001, False), (0.03, True)])
def test_a_run_is_void_where_the_clocks_of_workers_differ_too_much(skew, void):
    verdict = verdict_on(spread_out, generator=GeneratorUsage(1.0, 0.0, 10.0, 2, skew))
    assert verdict.void is void
    assert ("clocks may differ by 30.0 ms" in verdict.summary) is void
    (clocks,) = [check for check in verdict.checks if check.name == "clocks of the workers"]
    assert clocks.passed is not void
    assert "1,000 requests a second; 100,000 would take 200 workers" in clocks.sentence


BESIDE_A_HANGING_REPLICA = """
from gevent import monkey; monkey.patch_all()
import itertools, gevent
from gevent.pywsgi import WSGIServer
from histories import request_at
from loadtest import verifier
from loadtest.oracle import Oracle

verifier._TIMEOUT = 600.0  # a try that hangs outlasts the patience of the whole
CATALOGUE, asked = b"[]", itertools.count()

def serve(environ, start):
    if next(asked) % 2 == 0:
        gevent.sleep(600)
    start("200 OK", [])
    return [CATALOGUE]

server = WSGIServer(("127.0.0.1", 0), serve, log=None)
server.start()
done = []
of_bodies = verifier.BodyVerifier(f"http://127.0.0.1:{server.server_port}", done.append)
of_bodies.check(request_at(0), f"1-{Oracle(CATALOGUE).digest}", lambda oracle, request: request)
while not done:
    gevent.sleep(0.1)
print(done[0].checked)
"""


def test_a_version_is_fetched_from_another_replica_while_one_hangs():
    command = [sys.executable, "-c", BESIDE_A_HANGING_REPLICA]
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    assert subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout == "True\n"
