"""The scenarios on a cluster, and what is no load: in the namespace `apidex` of whichever cluster kubectl's context names.

Each test leaves four replicas and the rest as it found them. `pytest -s` shows the figures. The environment says what a cluster
cannot tell of itself:

TEST_APIDEX_LOAD_IMAGE   a command that hands the images behind it to the nodes, such as `kind load docker-image`
TEST_APIDEX_INGRESS      address and port of the Ingress controller on this machine; …_TLS those where it speaks TLS
TEST_APIDEX_NODE         a node that the tests may cut off, with the commands that do and undo it in …_NODE_DOWN, …_NODE_UP
"""

import json
import os
import shlex
import ssl
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx
import pytest
import yaml
from loadtest.checks.failures import none_failed
from loadtest.faults.replicas import LoseNode, Rollout
from loadtest.nemesis import ScenarioRun
from loadtest.record import RequestFailure
from loadtest.scenarios import SCENARIOS
from loadtest.scenarios.pairs import MEMBERS, PAIRS, chosen, pair
from loadtest.scenarios.scenario import Scenario
from loadtest.system import get, is_ready, is_this_machine, wait_for
from loadtest.targets.kubernetes import ASIDE, NAMESPACE, TESTBED, Kubernetes, cordoned, kubectl, listed, workers
from loadtest.targets.target import TargetOptions
from loadtest.testbed.upstream import catalogue

from apidex.replication.store import Keys
from deploy.rendering import K8S, kustomize, needs, output_of, overlay
from deploy.testdata import (
    LOAD,
    SECONDS,
    assert_passed,
    check_that_all_answer_from_the_starter_catalogue,
    play,
    states_of_all,
)
from real.certificates import self_signed

pytestmark = pytest.mark.real

NODE = os.environ.get("TEST_APIDEX_NODE", "")
NODE_DOWN, NODE_UP = (os.environ.get(f"TEST_APIDEX_NODE_{verb}", "") for verb in ("DOWN", "UP"))
needs_node = pytest.mark.skipif(
    not (NODE and NODE_DOWN and NODE_UP),
    reason="TEST_APIDEX_NODE, …_DOWN and …_UP do not say which node may be cut off, and how",
)

RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def apply(folder: Path) -> None:
    output_of("kubectl", "apply", "--kustomize", str(folder))


def applied(*objects: dict, namespace: str) -> None:
    kubectl("apply", "--server-side", "--filename", "-", namespace=namespace, stdin=yaml.safe_dump_all(objects))


def settle(target: Kubernetes, replicas: int = 4) -> None:
    """Wait until every deployment is rolled out, no pod of an earlier one is left, and all replicas are ready."""
    for deployment in listed("deployments"):
        kubectl("rollout", "status", f"deployment/{deployment['metadata']['name']}", "--timeout=180s")
    wait_for(180, f"{replicas} pods, and no others", lambda: len(listed("pods", "apidex")) == replicas)
    target.settle(replicas)
    wait_for(30, "an answer", lambda: is_ready(target.host))


@pytest.fixture(scope="module")
def target(tmp_path_factory, request) -> Iterator[Kubernetes]:
    """The testbed, applied from nothing within a minute."""
    needs("kubectl")
    if subprocess.run(
        ["kubectl", "get", "--raw", "/readyz", "--request-timeout", "5s"], capture_output=True
    ).returncode:
        pytest.skip("no cluster answers behind kubectl's context")
    for space in listed("namespaces"):
        if space["metadata"]["name"] == NAMESPACE and space["metadata"]["labels"].get("apidex-loadtest") != "true":
            pytest.skip(f"the namespace {NAMESPACE} is in use; the tests would take it over")
    image = request.getfixturevalue("image")
    if loading := shlex.split(os.environ.get("TEST_APIDEX_LOAD_IMAGE", "")):
        output_of(*loading, image, "redis:8", "haproxy:3.0")
    output_of("kubectl", "delete", "namespace", NAMESPACE, ASIDE, "--ignore-not-found", "--timeout", "120s")
    options = TargetOptions(tmp_path_factory.mktemp("target"), up=True, node=NODE, node_down=NODE_DOWN, node_up=NODE_UP)
    began = time.monotonic()
    with Kubernetes.opened(options) as target:
        target.settle(4)
        seconds = time.monotonic() - began
        print(f"\nup from nothing: {seconds:.1f} s")
        host = httpx.URL(target.host).host
        if not is_this_machine(host):
            pytest.skip(f"the Service's address is {host}: load is sent to this machine only")
        assert seconds < 60
        wait_for(60, "a fetch from the upstream", lambda: bool(target.upstream_log().given))  # it has just been moved
        yield target


def test_all_replicas_are_ready_within_a_minute_and_spread_over_the_nodes(target):
    nodes = [replica.node for replica in target.replicas()]
    print(f"\nreplicas by node: { {node: nodes.count(node) for node in set(nodes)} }")
    assert len(nodes) == 4
    assert max(map(nodes.count, nodes)) <= -(-4 // min(4, len(workers())))


@pytest.mark.parametrize("scenario", ["steady", "add-replica", "rollout", "scale", "drain-node", "crash", "redis-down"])
def test_a_scenario_passes(target, scenario, tmp_path):
    if scenario == "drain-node" and len(workers()) < 2:
        pytest.skip("the cluster has one node only: there is nowhere to move to")
    # Of more clients: a share of few connections would be a matter of chance.
    load = replace(LOAD, users=88, rate=2.0) if scenario == "add-replica" else LOAD
    seconds = 60.0 if scenario == "redis-down" else SECONDS
    assert_passed(play(SCENARIOS[scenario], target, tmp_path, seconds=seconds, load=load))


@pytest.mark.parametrize("line", ["runAsNonRoot", "seccompProfile", "capabilities", "allowPrivilegeEscalation"])
def test_a_pod_without_a_hardening_line_is_refused(target, line):
    template = deepcopy(kustomize(K8S)["Deployment", "apidex"]["spec"]["template"])
    # What does not exist yet would be refused for another reason.
    template["spec"]["containers"][0].pop("envFrom")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "weakened"}, "spec": template["spec"]}
    assert offer(pod).returncode == 0
    for security in (template["spec"]["securityContext"], template["spec"]["containers"][0]["securityContext"]):
        security.pop(line, None)
    refused = offer(pod)
    print(f"\nwithout {line}: {refused.stderr.strip()[:160]}")
    assert refused.returncode != 0
    assert 'violates PodSecurity "restricted:v1.34"' in refused.stderr
    assert line in refused.stderr


def offer(pod: dict) -> subprocess.CompletedProcess:
    command = ["kubectl", "--namespace", NAMESPACE, "create", "--dry-run=server", "--filename", "-"]
    return subprocess.run(command, input=yaml.safe_dump(pod), capture_output=True, text=True)


REACH = """
import socket, sys
for where in sys.argv[1:]:
    host, _, port = where.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 3).close()
        print(where, "reached")
    except OSError as error:
        print(where, "not reached")
"""


def test_only_what_is_allowed_can_be_reached(target, image):
    redis, apidex = f"{address_of('redis')}:6379", f"{address_of('apidex')}:8000"
    admin = f"{listed('pods', 'apidex')[0]['status']['podIP']}:8001"
    upstream, api_server = f"{address_of('upstream', ASIDE)}:8080", f"{address_of('kubernetes', 'default')}:443"

    _, foreign = run_aside("stranger", image, ["python3", "-c", REACH, redis, apidex, admin])
    _, near = run_aside("stranger", image, ["python3", "-c", REACH, redis, apidex, upstream], namespace=NAMESPACE)
    replica = target.replicas()[0].name
    names = ["redis:6379", f"upstream.{ASIDE}:8080"]  # by name: DNS is reached too
    own = kubectl("exec", replica, "--", "python3", "-c", REACH, *names, redis, upstream, apidex, api_server)
    reach = "timeout 3 bash -c '</dev/tcp/{}/{}' 2>&1 && echo reached || echo not reached".format(*upstream.split(":"))
    of_redis = kubectl("exec", "deployment/redis", "--", "bash", "-c", reach)
    print(f"\na pod elsewhere:\n{foreign}a pod beside:\n{near}a replica:\n{own}Redis to the upstream: {of_redis}")
    assert foreign.splitlines() == [f"{redis} not reached", f"{apidex} reached", f"{admin} not reached"]
    assert [get(f"{target.host}/-/{path}").status_code for path in ("livez", "readyz", "metrics")] == [404] * 3
    assert near.splitlines() == [f"{redis} not reached", f"{apidex} not reached", f"{upstream} not reached"]
    assert own.splitlines() == [
        *(f"{name} reached" for name in [*names, redis, upstream]),
        f"{apidex} not reached",
        f"{api_server} not reached",
    ]
    assert of_redis.splitlines()[-1] == "not reached"
    settle(target)


def address_of(service: str, namespace: str = NAMESPACE) -> str:
    return json.loads(kubectl("get", "service", service, "--output", "json", namespace=namespace))["spec"]["clusterIP"]


def run_aside(name: str, image: str, command: list[str], *, namespace: str = ASIDE, **spec) -> tuple[int, str]:
    """Run a pod to its end; its exit status, and what it printed."""
    container = {"name": name, "image": image, "command": command, "securityContext": RESTRICTED}
    pod = {"containers": [container], "restartPolicy": "Never", "automountServiceAccountToken": False, **spec}
    kubectl("delete", "pod", name, "--ignore-not-found", "--now", namespace=namespace)
    applied({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod}, namespace=namespace)
    status = {}

    def ended() -> bool:
        status.update(json.loads(kubectl("get", "pod", name, "--output", "json", namespace=namespace))["status"])
        return status["phase"] in ("Succeeded", "Failed")

    wait_for(60, f"the end of the pod {name}", ended)
    printed = kubectl("logs", name, namespace=namespace)
    kubectl("delete", "pod", name, "--now", namespace=namespace)
    return status["containerStatuses"][0]["state"]["terminated"]["exitCode"], printed


def certificate_for(host: str, folder: Path) -> ssl.SSLContext:
    """Put a new certificate where cert-manager would, in the Secret `apidex-tls`, and trust no other one."""
    certificate, key = self_signed(folder, host)
    kubectl("create", "secret", "tls", "apidex-tls", "--key", key, "--cert", certificate)
    return ssl.create_default_context(cafile=certificate)


@pytest.mark.parametrize(
    ("scheme", "variable", "components"),
    [("http", "TEST_APIDEX_INGRESS", ["ingress"]), ("https", "TEST_APIDEX_INGRESS_TLS", ["ingress", "ingress-tls"])],
)
def test_a_search_comes_through_the_ingress(target, scheme, variable, components, tmp_path):
    controller = os.environ.get(variable)
    if not controller:
        pytest.skip(f"{variable} names no Ingress controller")
    apply(overlay(tmp_path, TESTBED, components))
    try:
        host = listed("ingress")[0]["spec"]["rules"][0]["host"]
        trusted = certificate_for(host, tmp_path) if scheme == "https" else True
        began = time.monotonic()
        with httpx.Client(base_url=f"{scheme}://{controller}", verify=trusted, timeout=5) as client:
            search = partial(client.get, "/Cat", headers={"host": host}, extensions={"sni_hostname": host})

            def answers() -> bool:
                with suppress(httpx.TransportError):  # until it knows the Secret, it has a certificate of its own
                    return search().status_code == 200
                return False

            wait_for(30, "an answer through the Ingress", answers)
            seconds, entries = time.monotonic() - began, search().json()
    finally:
        kubectl("delete", "ingress/apidex", "secret/apidex-tls", "--ignore-not-found")
        apply(TESTBED)
        settle(target)
    print(f"\nIngress, {scheme}: answered by host name after {seconds:.1f} s")
    assert without_descriptions(entries) == without_descriptions(
        entry for entry in catalogue(0) if "Cat" in entry["API"]
    )


def without_descriptions(entries: Iterable[dict]) -> list[dict]:
    """The testbed's upstream changes one of them every few seconds."""
    return [entry | {"Description": ""} for entry in entries]


def test_load_raises_the_number_of_replicas(target, tmp_path):
    if subprocess.run(["kubectl", "top", "nodes"], capture_output=True).returncode:
        pytest.skip("the cluster has no metrics")

    def wait_for_a_fifth(run: ScenarioRun) -> None:
        wait_for(180, "a fifth replica", lambda: len(listed("pods", "apidex")) > 4, pause=1)
        print(f"\nautoscaling: {len(listed('pods', 'apidex'))} replicas after {run.now():.0f} s")
        reached.append(True)

    reached: list[bool] = []
    leave_the_number_alone()
    apply(overlay(tmp_path, TESTBED, ["autoscaling"]))
    try:
        load = replace(LOAD, users=48, rate=30.0, processes=2)  # enough for a fifth replica
        scenario = Scenario("autoscaling", "More load than four replicas should take.", wait_for_a_fifth)
        verdict = play(scenario, target, tmp_path, load=load)
    finally:
        kubectl("delete", "horizontalpodautoscaler", "apidex")
        kubectl("scale", "deployment/apidex", "--replicas=4")
        apply(TESTBED)
        settle(target)
    assert reached
    # Replicas that start take the CPU of two slow cores: others may change their catalogue late then.
    assert verdict.failures.keys() <= {RequestFailure.BEHIND}


def leave_the_number_alone() -> None:
    """Have `kubectl apply` forget that it set the number of replicas: it would take what it no longer sets for one."""
    last = yaml.safe_load(kubectl("apply", "view-last-applied", "deployment/apidex"))
    last["spec"].pop("replicas", None)
    kubectl("apply", "set-last-applied", "--filename", "-", stdin=yaml.safe_dump(last))


@pytest.fixture(scope="class")
def edge(target) -> Iterator[Kubernetes]:
    """With HAProxy in front; on the node that stays, where one may be cut off."""
    with cordoned(*[NODE] if NODE else []):
        apply(TESTBED.parent / "edge")
        settle(target)
    yield Kubernetes(node=NODE, node_down=NODE_DOWN, node_up=NODE_UP)
    apply(TESTBED)  # the Service leads to the replicas again, before what is in between goes
    time.sleep(5)
    kubectl("delete", "deployment,service,poddisruptionbudget,networkpolicy", "edge", "replicas", "--ignore-not-found")
    settle(target)


class TestBehindTheEdge:
    """In this order: a rollout moves HAProxy to the node that may be cut off."""

    def test_no_request_fails_when_a_replica_is_killed(self, edge, tmp_path):
        assert_passed(play(SCENARIOS["crash"], edge, tmp_path))

    def test_a_replica_is_reached_through_it_only(self, edge, image):
        address = listed("pods", "apidex")[0]["status"]["podIP"]
        replica, admin, service = f"{address}:8000", f"{address}:8001", f"{address_of('apidex')}:8000"
        _, printed = run_aside("stranger", image, ["python3", "-c", REACH, replica, admin, service])
        print(f"\na pod elsewhere, behind the edge:\n{printed}")
        assert printed.splitlines() == [f"{replica} not reached", f"{admin} not reached", f"{service} reached"]

    @needs_node
    def test_behind_an_edge_that_lives_no_request_fails_when_a_node_is_cut_off(self, edge, tmp_path):
        verdict = play(replace(SCENARIOS["lose-node"], failures=none_failed), edge, tmp_path)
        edge.roll_out()  # what had to move does not come back by itself
        assert_passed(verdict)

    @needs_node
    def test_pairs_of_faults_that_the_commit_chooses_cost_no_request(self, edge, tmp_path):
        """Six of the table in loadtest/results.md, at their full length."""
        able = {name for name, member in MEMBERS.items() if edge.can(member.fault.verb)}
        names = [name for name in PAIRS if able.issuperset(name.split("+"))]
        verdicts = []
        for name in chosen(output_of("git", "rev-parse", "HEAD").strip(), names):
            edge.renew()
            folder, scenario = tmp_path / name, pair(name)
            folder.mkdir()
            verdicts.append(play(scenario, edge, folder, seconds=scenario.seconds))
        edge.roll_out()
        for verdict in verdicts:
            assert_passed(verdict)

    def test_a_rollout_of_either_loses_no_request(self, edge, tmp_path):
        def roll_out_both(run: ScenarioRun) -> None:
            run.wait(2)
            kubectl("rollout", "restart", "deployment/edge")
            run.inject(Rollout())
            settle(edge)
            run.wait(2)

        assert_passed(play(Scenario("rollout-both", "Replicas and edge are replaced.", roll_out_both), edge, tmp_path))


def test_with_a_password_replicas_share_redis_and_strangers_do_not(target, tmp_path):
    password = 'any "character" $will do'
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "redis-password"}}
    applied(secret | {"stringData": {"password": password}}, namespace=NAMESPACE)
    apply(overlay(tmp_path, TESTBED, ["redis-password"]))
    client, exists = ("exec", "deployment/redis", "--"), ("redis-cli", "exists", Keys.of("apidex").payload)
    try:
        settle(target)
        without = kubectl(*client, *exists)
        keys = lambda: int(kubectl(*client, "env", f"REDISCLI_AUTH={password}", *exists))  # noqa: E731
        wait_for(15, "a catalogue in Redis", lambda: keys() > 0)
        versions = lambda: {state["version"] for state in states_of_all(target.host, 4).values()}  # noqa: E731
        wait_for(15, "one version", lambda: len(versions()) == 1)
    finally:
        apply(TESTBED)
        settle(target)
    print(f"\npassword: without it {without.strip()!r}, with it one version everywhere")
    assert without.startswith("NOAUTH")


@needs_node
def test_a_node_that_is_cut_off_is_left_within_fifteen_seconds_and_redis_within_sixty(target, tmp_path):
    def redis_node_is_lost(run: ScenarioRun) -> None:
        run.wait(2)
        with run.injected(LoseNode()):
            began = run.now()
            wait_for(60, "a Redis on another node", redis_is_elsewhere)
            run.wait(max(0.0, began + 35 - run.now()))
        run.target.settle(run.replicas)

    def redis_is_elsewhere() -> bool:
        pods = listed("pods", "redis")
        elsewhere = [pod for pod in pods if pod["spec"].get("nodeName") != NODE]
        return any(status["ready"] for pod in elsewhere for status in pod["status"].get("containerStatuses", []))

    with cordoned(*(node for node in workers() if node != NODE)):
        kubectl("delete", "pod", "--selector", "app.kubernetes.io/name=redis")
        settle(target)
    verdict = play(replace(SCENARIOS["lose-node"], script=redis_node_is_lost), target, tmp_path)
    target.roll_out()  # what had to move does not come back by itself
    assert_passed(verdict)


def test_with_the_upstream_out_of_reach_from_the_start_it_answers_from_the_starter_catalogue(target, tmp_path):
    """Neither the replicas nor Redis have a catalogue any more."""
    kubectl("scale", "deployment/apidex", "deployment/redis", "--replicas=0")
    wait_for(90, "no pod", lambda: not listed("pods"))
    literals = [f"APIDEX_UPSTREAM=http://upstream.{ASIDE}:9/"]
    generator = {"name": "apidex", "namespace": NAMESPACE, "behavior": "merge", "literals": literals}
    began = time.monotonic()
    apply(overlay(tmp_path, TESTBED, configMapGenerator=[generator]))
    settle(target)
    print(f"\nupstream out of reach: ready after {time.monotonic() - began:.1f} s")
    check_that_all_answer_from_the_starter_catalogue(target.host)
