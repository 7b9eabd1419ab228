"""The scenarios on compose, and what is no load: a project of its own, on a free port, taken down at the end.

Each test leaves four replicas and the rest as it found them. `pytest -s` shows the figures.
"""

import json
import os
import socket
import time
from collections.abc import Iterator

import httpx
import pytest
from loadtest.scenarios import SCENARIOS
from loadtest.system import free_port
from loadtest.targets.compose import Compose, provisioned

from conftest import ROOT
from deploy.rendering import output_of
from deploy.testdata import assert_passed, check_that_all_answer_from_the_starter_catalogue, play

pytestmark = pytest.mark.real

PROJECT = "apidex-tests"
ADMIN_PATHS = ("livez", "readyz", "metrics")
"""They are answered on a port that nothing publishes."""


@pytest.fixture(scope="module")
def target(image) -> Iterator[Compose]:
    began = time.monotonic()
    with provisioned(PROJECT, free_port()) as target:
        seconds = time.monotonic() - began
        print(f"\nup from nothing: {seconds:.1f} s")
        assert seconds < 30
        yield target


def test_four_replicas_are_healthy_within_thirty_seconds(target):
    assert len(target.replicas()) == 4


@pytest.mark.parametrize("scenario", ["steady", "add-replica", "crash", "pause", "rollout", "crash-all", "redis-down"])
def test_a_scenario_passes(target, scenario, tmp_path):
    assert_passed(play(SCENARIOS[scenario], target, tmp_path))


def test_a_slow_head_is_closed(target):
    address = httpx.URL(target.host)
    with socket.create_connection((address.host, address.port), timeout=20) as silent:
        began = time.monotonic()
        silent.sendall(b"GET /Cat HTTP/1.1\r\n")
        response = silent.recv(4096)
        seconds = time.monotonic() - began
    print(f"\na head that never ends: closed after {seconds:.1f} s")
    assert response.startswith(b"HTTP/1.1 408 ")
    assert seconds < 10


def test_nothing_but_haproxy_is_published(target):
    command = ("docker", "compose", "--project-name", PROJECT, "ps", "--format", "json")
    published = {
        (container["Service"], port["PublishedPort"])
        for container in map(json.loads, output_of(*command).splitlines())
        for port in container["Publishers"] or []
        if port["PublishedPort"]
    }
    assert published == {("haproxy", httpx.URL(target.host).port)}
    assert [httpx.get(f"{target.host}/-/{path}").status_code for path in ADMIN_PATHS] == [404] * 3


def test_with_the_upstream_out_of_reach_from_the_start_it_answers_from_the_starter_catalogue(image, tmp_path):
    port, override = free_port(), tmp_path / "compose.yaml"
    override.write_text("services: {api: {environment: {APIDEX_UPSTREAM: 'http://upstream:9/'}}}")
    files = ("--file", str(ROOT / "compose.yaml"), "--file", str(override))
    compose = ("docker", "compose", "--project-name", f"{PROJECT}-bundled", *files)
    environ = os.environ | {"APIDEX_PUBLISHED_PORT": str(port)}
    try:
        output_of(*compose, "up", "--detach", "--no-build", "--wait", "--wait-timeout", "90", env=environ)
        check_that_all_answer_from_the_starter_catalogue(f"http://127.0.0.1:{port}")
    finally:
        output_of(*compose, "down", "--volumes", "--timeout", "1")
