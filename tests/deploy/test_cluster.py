"""The stories on a cluster: whichever kubectl's context names, in the namespace `apidex`, which is taken and given back.

Each story leaves four replicas and the rest as it found them. `pytest -s` shows the figures. What a cluster cannot tell of
itself is said by the environment:

TEST_APIDEX_LOAD_IMAGE   a command that hands the images behind it to the nodes, such as `kind load docker-image`
TEST_APIDEX_INGRESS      address and port of the Ingress controller on this machine
TEST_APIDEX_NODE         a node that the stories may cut off, with the commands that do and undo it in …_NODE_DOWN, …_NODE_UP
"""

import json
import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml

from deploy import testdata
from deploy.rendering import K8S, kustomize, output_of, overlay
from deploy.traffic import load

pytestmark = pytest.mark.real

NAMESPACE, ASIDE = "apidex", "apidex-stories"
UPSTREAM = f"http://upstream.{ASIDE}:8080/entries.json"
MINE = {"apidex-stories": "true"}
PODS = "app.kubernetes.io/name in (apidex, redis, edge)"

RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def kubectl(*arguments: str, namespace: str = NAMESPACE, **options) -> str:
    return output_of("kubectl", "--namespace", namespace, *arguments, **options)


def applied(*objects: dict, namespace: str = ASIDE) -> None:
    kubectl("apply", "--server-side", "--filename", "-", namespace=namespace, input=yaml.safe_dump_all(objects))


def listed(kind: str, selector: str = "", namespace: str = NAMESPACE) -> list[dict]:
    return json.loads(kubectl("get", kind, "--selector", selector, "--output", "json", namespace=namespace))["items"]


def within(seconds: float, what: str, holds, pause: float = 0.25) -> float:
    """Wait until *holds()*, for so long at most; how long it took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() < began + seconds, f"not within {seconds} s: {what}"
        time.sleep(pause)
    return time.monotonic() - began


def is_ready(pod: dict) -> bool:
    conditions = {item["type"]: item["status"] for item in pod["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def shown(shares: dict[str, float]) -> str:
    return ", ".join(f"{share:.1%}" for share in shares.values())


@dataclass
class Cluster:
    """What the stories have applied, and where it answers."""

    folder: Path
    address: tuple[str, int] = ("", 0)

    @property
    def url(self) -> str:
        return f"http://{self.address[0]}:{self.address[1]}"

    def apply(self, *components: str, upstream: str = UPSTREAM) -> None:
        """The default, with *components*, and with leave to reach the stories' upstream."""
        reach = {"to": [{"namespaceSelector": {"matchLabels": MINE}}], "ports": [{"protocol": "TCP", "port": 8080}]}
        overlay(
            self.folder,
            K8S,
            components,
            configMapGenerator=[
                {
                    "name": "apidex",
                    "namespace": NAMESPACE,
                    "behavior": "merge",
                    "literals": [f"APIDEX_UPSTREAM={upstream}"],
                }
            ],
            patches=[
                {
                    "target": {"kind": "NetworkPolicy", "name": "apidex-upstream"},
                    "patch": json.dumps([{"op": "replace", "path": "/spec/egress", "value": [reach]}]),
                },
                {
                    "target": {"kind": "Namespace"},
                    "patch": json.dumps({"kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": MINE}}),
                },
            ],
        )
        kubectl("apply", "--kustomize", str(self.folder))

    def settle(self, replicas: int = 4, *, seconds: float = 120, **others: int) -> float:
        """Wait until there are these pods, all of them ready and none that ends; how long it took."""
        wanted = {"apidex": replicas, "redis": 1} | others
        return within(seconds, f"{wanted} pods, all ready: {self.pods()}", lambda: self._as_wanted(wanted))

    def _as_wanted(self, wanted: dict[str, int]) -> bool:
        pods = listed("pods", PODS)
        names = [pod["metadata"]["labels"]["app.kubernetes.io/name"] for pod in pods]
        return {name: names.count(name) for name in wanted} == wanted and all(map(is_ready, pods))

    def pods(self, name: str = "apidex") -> dict[str, str]:
        """The node of every pod."""
        found = listed("pods", f"app.kubernetes.io/name={name}")
        return {pod["metadata"]["name"]: pod["spec"].get("nodeName", "") for pod in found}

    def restarts(self) -> int:
        pods = listed("pods", "app.kubernetes.io/name=apidex")
        return sum(status["restartCount"] for pod in pods for status in pod["status"].get("containerStatuses", []))

    def versions(self) -> set[str]:
        replicas = len(self.pods())
        return {state["version"] for state in testdata.state_of_all(self.url, replicas).values()}

    def find(self) -> None:
        """Wait for the Service's address. Only this machine's own is asked."""

        def ingress() -> list[dict]:
            service = json.loads(kubectl("get", "service", "apidex", "--output", "json"))
            return service["status"].get("loadBalancer", {}).get("ingress", [])

        within(30, "an address for the Service apidex", ingress)
        host = socket.gethostbyname(ingress()[0].get("ip") or ingress()[0]["hostname"])
        if not host.startswith("127."):
            pytest.skip(f"the Service's address is {host}: the stories send load to this machine only")
        self.address = host, 8000
        within(30, "an answer", self.answers)

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/readyz", timeout=2).status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, request) -> Iterator[Cluster]:
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed")
    if subprocess.run(
        ["kubectl", "get", "--raw", "/readyz", "--request-timeout", "5s"], capture_output=True
    ).returncode:
        pytest.skip("no cluster answers behind kubectl's context")
    for space in json.loads(output_of("kubectl", "get", "namespaces", "--output", "json"))["items"]:
        if space["metadata"]["name"] == NAMESPACE and not space["metadata"]["labels"].items() >= MINE.items():
            pytest.skip(f"the namespace {NAMESPACE} is in use, and not by the stories; they would take it over")
    image = request.getfixturevalue("image")
    if loading := shlex.split(os.environ.get("TEST_APIDEX_LOAD_IMAGE", "")):
        output_of(*loading, image, "redis:8", "haproxy:3.0")
    give_back()
    try:
        stage_upstream(image, request.getfixturevalue("catalogue"))
        yield Cluster(tmp_path_factory.mktemp("cluster"))
    finally:
        give_back()


def give_back() -> None:
    output_of("kubectl", "delete", "namespace", NAMESPACE, ASIDE, "--ignore-not-found", "--timeout", "120s")


def stage_upstream(image: str, catalogue: Path) -> None:
    """A pod aside that gives the catalogue."""
    labels, files = {"app": "upstream"}, {catalogue.name: catalogue.read_text()}
    command = ["python3", "-m", "http.server", "8080", "--directory", "/srv"]
    applied({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ASIDE, "labels": MINE}})
    applied(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "upstream"}, "data": files},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "upstream"},
            "spec": {"selector": labels, "ports": [{"port": 8080}]},
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "upstream", "labels": labels},
            "spec": {
                "containers": [
                    {
                        "name": "upstream",
                        "image": image,
                        "command": command,
                        "readinessProbe": {"httpGet": {"path": "/entries.json", "port": 8080}, "periodSeconds": 1},
                        "volumeMounts": [{"name": "catalogue", "mountPath": "/srv"}],
                    }
                ],
                "volumes": [{"name": "catalogue", "configMap": {"name": "upstream"}}],
            },
        },
    )
    kubectl("wait", "--for=condition=Ready", "pod/upstream", "--timeout=60s", namespace=ASIDE)


@pytest.fixture(scope="module")
def running(cluster) -> Cluster:
    """Applied from nothing, and told how long it took."""
    began = time.monotonic()
    cluster.apply()
    cluster.settle()
    seconds = time.monotonic() - began
    cluster.find()
    print(f"\nup from nothing: {seconds:.1f} s")
    assert seconds < 60
    return cluster


def test_all_five_pods_are_ready_within_a_minute_and_spread_over_the_nodes(running):
    nodes = list(running.pods().values())
    print(f"\nreplicas by node: { {node: nodes.count(node) for node in set(nodes)} }")
    assert len(nodes) == 4
    assert max(map(nodes.count, nodes)) <= -(-4 // min(4, len(workers())))


def workers() -> list[str]:
    """The nodes that take any pod."""
    nodes = json.loads(output_of("kubectl", "get", "nodes", "--output", "json"))["items"]
    return [node["metadata"]["name"] for node in nodes if not node["spec"].get("taints")]


def test_all_replicas_answer_a_search_with_the_same_bytes(running):
    for name in testdata.names(50):
        assert set(testdata.answers_of_all(running.url, name, 4).values()) == {testdata.answer_to(name)}, name
    print("\nsearch: 50 names, four replicas, the same bytes, as in the catalogue given")


def test_new_connections_are_spread(running):
    shares = testdata.spread(running.url, 400)
    print(f"\nspreading: 400 new connections: {shown(shares)}")
    assert len(shares) == 4
    assert all(0.15 <= share <= 0.35 for share in shares.values())


def test_kept_alive_connections_are_spread(running):
    with load(running.address, kept_alive=16, new=0) as traffic:
        time.sleep(60)
    shares = traffic.shares()
    print(f"\nspreading, 16 kept alive: {shown(shares)}; {traffic.figures()}")
    assert len(shares) == 4
    assert min(shares.values()) >= 0.1
    assert traffic.failures == []


def test_a_replica_that_is_added_gets_its_share_of_kept_alive_clients(running):
    """Of more of them than above: a share of few connections would be a matter of luck."""
    with load(running.address, kept_alive=64, new=0, interval=0.5) as traffic:
        time.sleep(5)
        kubectl("scale", "deployment/apidex", "--replicas=5")
        running.settle(5)
        added = time.monotonic()
        time.sleep(30)
    shares = traffic.shares(since=added + 10)
    kubectl("scale", "deployment/apidex", "--replicas=4")
    running.settle()
    print(f"\nspreading, 64 kept alive, 10 to 30 s after a fifth: {shown(shares)}; {traffic.figures()}")
    assert len(shares) == 5
    assert min(shares.values()) >= 0.1
    assert traffic.failures == []


def test_a_rollout_loses_no_request(running):
    with load(running.address) as traffic:
        time.sleep(2)
        kubectl("rollout", "restart", "deployment/apidex")
        rolled_out()
        running.settle()
        time.sleep(2)
    print(f"\nrollout restart: {traffic.figures()}")
    assert traffic.failures == []


def test_scaling_loses_no_request(running):
    with load(running.address) as traffic:
        for replicas in (2, 6, 4):
            time.sleep(2)
            kubectl("scale", "deployment/apidex", f"--replicas={replicas}")
            running.settle(replicas)
        time.sleep(2)
    print(f"\nscale 4, 2, 6, 4: {traffic.figures()}")
    assert traffic.failures == []


def test_draining_a_node_loses_no_request(running):
    if len(workers()) < 2:
        pytest.skip("the cluster has one node only: there is nowhere to move to")
    node = max(running.pods().values())
    try:
        with load(running.address) as traffic:
            time.sleep(2)
            # Only what the stories brought: others' pods on this node are none of their business.
            kubectl("drain", node, "--ignore-daemonsets", "--timeout=180s", "--pod-selector", PODS)
            running.settle()
            time.sleep(2)
            left = [where for where in running.pods().values() if where == node]
    finally:
        kubectl("uncordon", node)
    print(f"\ndrain of a node: {traffic.figures()}")
    spread_again(running)
    assert left == []
    assert traffic.failures == []


def test_a_replica_whose_process_is_killed_comes_back(running, image):
    """Without HAProxy, requests that it had in hand fail, and those sent there until the cluster knows."""
    victim = min(running.pods())
    before = running.restarts()
    with load(running.address) as traffic:
        time.sleep(2)
        kill(victim, image)
        within(30, "a restart", lambda: running.restarts() > before)
        running.settle()
        time.sleep(2)
    failed = [failure.at for failure in traffic.failures] or [0.0]
    seconds = max(failed) - min(failed)
    print(f"\nkilled: silent for {traffic.pause_of(victim):.1f} s, failures over {seconds:.1f} s; {traffic.figures()}")
    assert seconds < 5
    assert len(traffic.failures) < len(traffic.answers) / 20


def rolled_out() -> None:
    """Wait until every replica is of the newest kind. Those before may still drain."""
    kubectl("rollout", "status", "deployment/apidex", "--timeout=180s")


def kill(pod: str, image: str) -> None:
    """SIGKILL to the pod's processes, from its node: a container's first process takes none that comes from within."""
    found = json.loads(kubectl("get", "pod", pod, "--output", "json"))
    identity = found["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]
    code = f"""
import os, pathlib
for folder in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        if {identity!r} in (folder / "cgroup").read_text():
            os.kill(int(folder.name), 9)
    except OSError:
        pass
"""
    run_aside(
        "killer", image, ["python3", "-c", code], nodeName=found["spec"]["nodeName"], hostPID=True, privileged=True
    )


def run_aside(
    name: str, image: str, command: list[str], *, namespace: str = ASIDE, privileged=False, **spec
) -> tuple[int, str]:
    """Run a pod to its end; its exit status, and what it printed."""
    security = {"privileged": True, "runAsUser": 0} if privileged else RESTRICTED
    container = {"name": name, "image": image, "command": command, "securityContext": security}
    pod = {"containers": [container], "restartPolicy": "Never", "automountServiceAccountToken": False, **spec}
    kubectl("delete", "pod", name, "--ignore-not-found", "--now", namespace=namespace)
    applied({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod}, namespace=namespace)
    status = {}

    def ended() -> bool:
        status.update(json.loads(kubectl("get", "pod", name, "--output", "json", namespace=namespace))["status"])
        return status["phase"] in ("Succeeded", "Failed")

    within(60, f"the end of the pod {name}", ended)
    printed = kubectl("logs", name, namespace=namespace)
    kubectl("delete", "pod", name, "--now", namespace=namespace)
    return status["containerStatuses"][0]["state"]["terminated"]["exitCode"], printed


def test_no_request_fails_while_redis_is_replaced_or_away(running):
    before = running.restarts()
    with load(running.address) as traffic:
        kubectl("delete", "pod", "--selector", "app.kubernetes.io/name=redis")
        running.settle()
        kubectl("scale", "deployment/redis", "--replicas=0")
        time.sleep(60)
        kubectl("scale", "deployment/redis", "--replicas=1")
        running.settle()
        time.sleep(10)  # two polls
        versions = running.versions()
    print(f"\nRedis deleted, and away for a minute: {traffic.figures()}; versions afterwards: {versions}")
    assert traffic.failures == []
    assert running.restarts() == before
    assert len(versions) == 1


@pytest.mark.parametrize("line", ["runAsNonRoot", "seccompProfile", "capabilities", "allowPrivilegeEscalation"])
def test_a_pod_without_a_hardening_line_is_refused(running, line):
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


def test_only_what_is_allowed_can_be_reached(running, image):
    redis, apidex = f"{address_of('redis')}:6379", f"{address_of('apidex')}:8000"
    upstream, api_server = f"{address_of('upstream', ASIDE)}:8080", f"{address_of('kubernetes', 'default')}:443"

    _, foreign = run_aside("stranger", image, ["python3", "-c", REACH, redis, apidex])
    _, near = run_aside("stranger", image, ["python3", "-c", REACH, redis, apidex, upstream], namespace=NAMESPACE)
    replica = min(running.pods())
    names = ["redis:6379", f"upstream.{ASIDE}:8080"]  # by name: DNS is reached too
    own = kubectl("exec", replica, "--", "python3", "-c", REACH, *names, redis, upstream, apidex, api_server)
    reach = "timeout 3 bash -c '</dev/tcp/{}/{}' 2>&1 && echo reached || echo not reached".format(*upstream.split(":"))
    of_redis = kubectl("exec", "deployment/redis", "--", "bash", "-c", reach)
    print(f"\na pod elsewhere:\n{foreign}a pod beside:\n{near}a replica:\n{own}Redis to the upstream: {of_redis}")
    assert foreign.splitlines() == [f"{redis} not reached", f"{apidex} reached"]
    assert near.splitlines() == [f"{redis} not reached", f"{apidex} not reached", f"{upstream} not reached"]
    assert own.splitlines() == [
        *(f"{name} reached" for name in [*names, redis, upstream]),
        f"{apidex} not reached",
        f"{api_server} not reached",
    ]
    assert of_redis.splitlines()[-1] == "not reached"
    running.settle()
    assert running.answers()


def address_of(service: str, namespace: str = NAMESPACE) -> str:
    return json.loads(kubectl("get", "service", service, "--output", "json", namespace=namespace))["spec"]["clusterIP"]


def test_a_search_comes_through_the_ingress(running):
    controller = os.environ.get("TEST_APIDEX_INGRESS")
    if not controller:
        pytest.skip("TEST_APIDEX_INGRESS names no Ingress controller")
    running.apply("ingress")
    host = listed("ingress")[0]["spec"]["rules"][0]["host"]
    ask = lambda: httpx.get(f"http://{controller}/Cat", headers={"host": host}, timeout=5)  # noqa: E731
    try:
        seconds = within(30, "an answer through the Ingress", lambda: ask().status_code == 200)
        answer = ask()
    finally:
        kubectl("delete", "ingress", "apidex")
        running.apply()
        running.find()
    print(f"\nIngress: answered by host name after {seconds:.1f} s")
    assert answer.content == testdata.answer_to("Cat")


def test_load_raises_the_number_of_replicas(running):
    if subprocess.run(["kubectl", "top", "nodes"], capture_output=True).returncode:
        pytest.skip("the cluster has no metrics")
    leave_the_number_alone()
    running.apply("autoscaling")
    try:
        with load(running.address, kept_alive=24, new=0, interval=0) as traffic:
            seconds = within(180, "a fifth replica", lambda: len(running.pods()) > 4, pause=1)
            most = len(running.pods())
    finally:
        kubectl("delete", "horizontalpodautoscaler", "apidex")
        kubectl("scale", "deployment/apidex", "--replicas=4")
        running.apply()
        running.settle()
    print(f"\nautoscaling: {most} replicas after {seconds:.0f} s; {traffic.figures()}")
    assert traffic.failures == []


def leave_the_number_alone() -> None:
    """Have `kubectl apply` forget that it set the number of replicas: it would take what it no longer sets for one."""
    last = yaml.safe_load(kubectl("apply", "view-last-applied", "deployment/apidex"))
    last["spec"].pop("replicas", None)
    kubectl("apply", "set-last-applied", "--filename", "-", input=yaml.safe_dump(last))


@pytest.fixture
def doomed() -> str:
    """The node that may be cut off."""
    if not all(os.environ.get(f"TEST_APIDEX_NODE{part}") for part in ("", "_DOWN", "_UP")):
        pytest.skip("TEST_APIDEX_NODE, …_DOWN and …_UP do not say which node may be cut off, and how")
    return os.environ["TEST_APIDEX_NODE"]


@contextmanager
def cut_off(node: str) -> Iterator[None]:
    """Cut off *node* while the block runs."""
    output_of(*shlex.split(os.environ["TEST_APIDEX_NODE_DOWN"]))
    try:
        yield
    finally:
        output_of(*shlex.split(os.environ["TEST_APIDEX_NODE_UP"]))
        within(60, "the node is back", lambda: node in workers())


@contextmanager
def cordoned(nodes: list[str]) -> Iterator[None]:
    """Let no pod be placed on *nodes* while the block runs."""
    for node in nodes:
        kubectl("cordon", node)
    try:
        yield
    finally:
        for node in nodes:
            kubectl("uncordon", node)


def spread_again(cluster: Cluster, **others: int) -> None:
    """Place all replicas anew: what had to move does not come back by itself."""
    cluster.settle(seconds=180, **others)
    kubectl("rollout", "restart", "deployment/apidex")
    rolled_out()
    cluster.settle(**others)


@pytest.fixture
def edge(running) -> Iterator[Cluster]:
    """With HAProxy in front; on the node that stays, where the stories may cut one off."""
    with cordoned([node for node in workers() if node == os.environ.get("TEST_APIDEX_NODE")]):
        running.apply("edge")
        running.settle(edge=2)
    within(30, "an answer through the edge", running.answers)
    time.sleep(2)
    yield running
    running.apply()  # the Service leads to the replicas again, before what is in between goes
    time.sleep(5)
    kubectl("delete", "deployment,service,poddisruptionbudget,networkpolicy", "edge", "replicas", "--ignore-not-found")
    running.settle()


def test_behind_the_edge_no_request_fails_when_a_replica_is_killed(edge, image):
    before = edge.restarts()
    with load(edge.address) as traffic:
        time.sleep(2)
        kill(min(edge.pods()), image)
        within(30, "a restart", lambda: edge.restarts() > before)
        edge.settle(edge=2)
        time.sleep(2)
    print(f"\nedge, a replica killed: {traffic.figures()}; {shown(traffic.shares())}")
    assert traffic.failures == []
    assert len(traffic.shares()) == 4


def test_behind_the_edge_a_rollout_of_either_loses_no_request(edge):
    with load(edge.address) as traffic:
        time.sleep(2)
        kubectl("rollout", "restart", "deployment/apidex", "deployment/edge")
        rolled_out()
        kubectl("rollout", "status", "deployment/edge", "--timeout=180s")
        edge.settle(edge=2)
        time.sleep(2)
    print(f"\nedge, both rolled out: {traffic.figures()}")
    assert traffic.failures == []


def test_behind_an_edge_that_lives_no_request_fails_when_a_node_is_cut_off(doomed, edge):
    with load(edge.address) as traffic:
        time.sleep(2)
        with cut_off(doomed):
            time.sleep(30)
        edge.settle(edge=2)
    print(f"\nedge, a node cut off: {traffic.figures()}")
    spread_again(edge, edge=2)
    assert traffic.failures == []


def test_with_a_password_replicas_share_redis_and_strangers_do_not(running):
    password = 'any "character" $will do'
    applied(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "redis-password"},
            "stringData": {"password": password},
        },
        namespace=NAMESPACE,
    )
    running.apply("redis-password")
    try:
        rolled_out()
        running.settle()
        client = ("exec", "deployment/redis", "--")
        without = kubectl(*client, "redis-cli", "dbsize")
        within(
            15,
            "keys in Redis",
            lambda: int(kubectl(*client, "env", f"REDISCLI_AUTH={password}", "redis-cli", "dbsize")),
        )
        within(15, "one version", lambda: len(running.versions()) == 1)
    finally:
        running.apply()
        rolled_out()
        running.settle()
    print(f"\npassword: without it {without.strip()!r}, with it one version everywhere")
    assert without.startswith("NOAUTH")


def test_a_node_that_is_cut_off_is_left_within_fifteen_seconds(doomed, running):
    with cordoned([node for node in workers() if node != doomed]):
        kubectl("delete", "pod", "--selector", "app.kubernetes.io/name=redis")
        running.settle()
    with load(running.address) as traffic:
        time.sleep(2)
        with cut_off(doomed):
            cut = time.monotonic()
            redis = within(60, "a Redis elsewhere", lambda: redis_is_away_from(doomed))
            time.sleep(max(0.0, cut + 35 - time.monotonic()))
    spread_again(running)
    last = max((failure.at for failure in traffic.failures), default=cut) - cut
    print(
        f"\na node cut off: none sent there after {last:.1f} s, Redis elsewhere in {redis:.0f} s; {traffic.figures()}"
    )
    assert last < 15


def redis_is_away_from(node: str) -> bool:
    pods = listed("pods", "app.kubernetes.io/name=redis")
    return any(is_ready(pod) and pod["spec"].get("nodeName") != node for pod in pods)


def test_with_the_upstream_out_of_reach_from_the_start_it_answers_from_the_starter_catalogue(running):
    """Nothing is left of what the replicas knew: neither they nor Redis."""
    kubectl("scale", "deployment/apidex", "deployment/redis", "--replicas=0")
    within(90, "no pod", lambda: not listed("pods", PODS))
    began = time.monotonic()
    running.apply(upstream=f"http://upstream.{ASIDE}:9/")
    kubectl("scale", "deployment/apidex", "--replicas=4")
    running.settle()
    seconds = time.monotonic() - began
    within(30, "an answer", running.answers)
    states = testdata.state_of_all(running.url, 4)
    found = httpx.get(f"{running.url}/Cat", timeout=5).raise_for_status().json()
    print(f"\nupstream out of reach: ready after {seconds:.1f} s, { {state['state'] for state in states.values()} }")
    assert {state["state"] for state in states.values()} == {"bundled"}
    assert found == [entry for entry in testdata.STARTER if "Cat" in entry["API"]]
