"""The benchmarks ask what they say, and say what they lack."""

import os
import subprocess
import sys
import time
from shutil import which

import pytest
from loadtest.bench.honest_clients import PAGE_PATIENCE, ask
from loadtest.bench.instructions import Count, excess
from loadtest.bench.synthetic_catalogue import entries, write
from loadtest.bench.table import table
from loadtest.bench.workload import workloads
from msgspec.structs import replace

from apidex.catalogue import formats
from apidex.catalogue.catalogue import Catalogue
from conftest import ROOT
from played_replica import played, respond
from processes import need


@pytest.fixture(scope="module")
def workload_names(real_entries):
    names = [entry["API"] for entry in real_entries]
    return names, {each.title: each for each in workloads(names)}


@pytest.mark.parametrize(
    ("title", "low", "high"),
    [
        ("a miss, never seen", 0, 0),
        ("1 hit, never seen", 1, 1),
        ("12 hits, never seen", 11, 13),
        ("12 hits, seen", 11, 13),
        ("12 hits, 304", 11, 13),
        ("12 hits, gzip, seen", 11, 13),
        ("200 hits, seen", 150, 250),
        ("Zipf mix of all names", 1, 200),
    ],
)
def test_a_workload_searches_names_with_as_many_hits_as_it_says(workload_names, title, low, high):
    names, by_title = workload_names
    for wanted in set(by_title[title].names):
        assert low <= sum(wanted in name for name in names) <= high, wanted


def test_every_run_searches_the_same_and_each_new_name_is_in_one_workload_only(workload_names):
    names, by_title = workload_names
    again = workloads(names)
    assert [each.names for each in again] == [each.names for each in by_title.values()]
    pools = [set(each.names) for each in again[:-1]]
    assert len(set.union(*pools)) == sum(map(len, pools))


def test_the_zipf_mix_searches_some_names_often_and_most_of_them_now_and_then(workload_names):
    names, by_title = workload_names
    drawn = by_title["Zipf mix of all names"].names
    counts = sorted((drawn.count(name) for name in set(drawn)), reverse=True)
    assert counts[0] > 10 * counts[20]
    assert len(counts) > 0.9 * len(set(names))


def test_a_table_is_markdown_and_lines_up():
    assert table(["µs", "Apidex"], [["a miss", "1"]]) == (
        "| µs     | Apidex |\n| ------ | -----: |\n| a miss |      1 |\n"
    )


COUNT = Count(
    "Python",
    1000,
    {"memcpy": 500, "bisect": 100},
    {"apidex.http.fast_path.respond_sync": 40, "apidex.search.names.find": 30},
)


def test_an_excess_of_instructions_is_told_with_the_functions_that_it_comes_from():
    native, opcodes = COUNT.native | {"bisect": 160}, COUNT.opcodes | {"apidex.search.names.find": 39}
    assert excess(replace(COUNT, total=1060, native=native, opcodes=opcodes), COUNT) == (
        "1,000 requests take 1,060 instructions, 6.0% more than the budget of 1,000.\n"
        "  bytecode instructions in apidex.search.names.find: +9 to 39\n"
        "  machine instructions in bisect: +60 to 160"
    )


@pytest.mark.parametrize("total", [900, 1000, 1030])
def test_what_is_within_the_margin_is_no_excess(total):
    assert excess(replace(COUNT, total=total), COUNT) == ""


def test_a_catalogue_of_any_size_is_the_same_at_every_run_and_has_no_name_twice():
    items = list(entries(5000))
    assert items == list(entries(5000))
    assert len({item.name for item in items}) == 5000
    assert sum("a" in item.name for item in items) > 3000


def test_a_large_catalogue_is_what_an_upstream_could_send(tmp_path):
    write(3000, tmp_path / "many.json")
    parsed = formats.parse((tmp_path / "many.json").read_bytes())
    assert len(parsed.catalogue) == 3000
    assert parsed.report.repaired.total == 0
    assert parsed.catalogue.digest == Catalogue.of(entries(3000)).digest


def bench(*arguments: str, **environ: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "loadtest.bench", *arguments]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environ, capture_output=True, text=True, timeout=300)


def test_a_tool_that_is_missing_is_named_with_the_package_that_has_it(tmp_path):
    (tmp_path / "taskset").symlink_to(which("taskset"))
    done = bench("--short", "contenders", PATH=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr == "redis-server is not installed (Debian: apt-get install redis-server)\n"


@pytest.mark.real
def test_all_contenders_give_the_same_answers_and_are_put_side_by_side(data):
    need("nginx", "wrk", "redis-server")
    done = bench("--short", "--upstream", str(data / "README.md"), "contenders")
    assert done.returncode == 0, done.stderr
    for name in (
        "Apidex",
        "nginx, files",
        "bare uvicorn",
        "naive server: Redis",
        "naive server: upstream",
        "12 hits, 304",
    ):
        assert name in done.stdout


@pytest.mark.real
@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("start", "imports of"),
        ("search", "tantivy, 1- to 3-grams"),
        ("scaling", "others beside it, p99 ms"),
        ("overload", "shed, a second"),
        ("goodput", "at replicas, × requests"),
        ("fleet", "payload read by each, times"),
        ("wide", "others waited, ms"),
        ("hostile", "closed again after, s"),
    ],
)
def test_each_part_measures(part, said):
    need("wrk", "redis-server", "nginx", *(["haproxy"] if part == "goodput" else []))
    done = bench("--short", part)
    assert (done.returncode, done.stderr) == (0, "")
    assert said in done.stdout


@pytest.mark.parametrize(
    ("seconds", "status", "failed", "least"),
    [(0.0, 200, set(), 0.0), (0.3, 200, set(), 0.3), (0.0, 503, {"503"}, 0.5), (4.0, 200, {"TimeoutError"}, 0.5)],
)
def test_who_types_waits_for_answers_and_a_key_without_one_counts(seconds, status, failed, least):
    """Latencies of seconds are at least as long as they must be; how much longer depends on the machine."""

    def respond_late(handler) -> None:
        time.sleep(seconds)
        respond(status)(handler)

    with played(respond_late) as (server,):
        typed = ask(server.port, 0.6, [["/a", "/b"]], interval=0.02, kind="typist")
    assert set(typed.failed) == failed
    assert typed.sent <= 32 if seconds == 0 else typed.sent <= 4
    assert typed.longest >= 1000 * least


def test_who_types_in_the_benchmark_is_as_patient_as_the_page():
    page = (ROOT / "src/apidex/http/ui/page.js").read_text()
    assert f"const PATIENCE = {1000 * PAGE_PATIENCE:_.0f};" in page
