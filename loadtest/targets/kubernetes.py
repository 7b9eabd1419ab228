"""Apidex as `kubectl apply -k deploy/k8s` runs it, on whichever cluster kubectl's context names."""

import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from loadtest.system import (
    UnsupportedError,
    between,
    is_ready,
    output_of,
    persist,
    running_until_end_of_input,
    uninterrupted,
    wait_for,
)
from loadtest.targets.target import (
    EMPTY_REDIS,
    EXHAUST_MEMORY,
    MANY_RESTARTS,
    MAX_MEMORY,
    TELL_REDIS,
    TESTBED_VERBS,
    Replica,
    Target,
    TargetOptions,
)

NAMESPACE, ASIDE = "apidex", "apidex-loadtest"
TESTBED = Path(__file__).parents[1] / "testbed"
NODE_AGENT = TESTBED / "node_agent.py"

_PODS = "app.kubernetes.io/name in (apidex, redis, edge)"
_PERMISSIONS = {
    NAMESPACE: ("get pods", "delete pods", "patch deployments", "patch deployments/scale", "create pods/exec"),
    ASIDE: ("create pods", "create pods/exec", "delete pods"),
}
_UPSTREAM_READY = ("wait", "--for=condition=Ready", "pod/upstream", "--timeout=60s")
_DRAIN_PERMISSIONS = {NAMESPACE: ("create pods/eviction", "patch nodes")}


class Kubernetes(Target):
    """The namespace `apidex`, in which Apidex answers. *node* may be lost by the commands *node_down* and *node_up*."""

    name = "kubernetes"

    def __init__(self, host: str = "", node: str = "", node_down: str = "", node_up: str = "") -> None:
        _require(_PERMISSIONS)
        self._node, self._down, self._up = node, shlex.split(node_down), shlex.split(node_up)
        self._is_node_lost = False
        deployments = listed("deployments", "apidex")
        if not deployments:
            start = "`kubectl apply -k deploy/k8s`, or `--up`"
            raise UnsupportedError(f"the namespace {NAMESPACE} has no deployment apidex: {start}")
        self._wanted = int(deployments[0]["spec"]["replicas"])
        self._image = str(deployments[0]["spec"]["template"]["spec"]["containers"][0]["image"])
        self.by_request = bool(listed("deployments", "edge"))
        self.host = host or _address()
        if not self.host:
            raise UnsupportedError("the Service apidex has no address; --host says where it can be reached")

    def can(self, verb: Callable[..., object]) -> bool:
        """As `Target.can`: by the options, by what is in front of the replicas, and by whether the testbed is there."""
        here = {
            Target.node_lost: bool(self._node and self._down and self._up),
            Target.kill_edge: self.by_request,
            **dict.fromkeys(TESTBED_VERBS, bool(listed("pods", "upstream", ASIDE))),
        }
        return super().can(verb) and here.get(verb, True)

    @classmethod
    @contextmanager
    def opened(cls, options: TargetOptions) -> Iterator["Kubernetes"]:
        how = {"host": options.host, "node": options.node, "node_down": options.node_down, "node_up": options.node_up}
        with provisioned(options.edge, **how) if options.up else nullcontext(cls(**how)) as target, closing(target):
            yield target

    @classmethod
    def control_host(cls) -> str:
        """The host of the server that kubectl's context names."""
        server = output_of(
            "kubectl", "config", "view", "--minify", "--output", "jsonpath={.clusters[0].cluster.server}"
        )
        return urlsplit(server).hostname or server

    def edge_log(self) -> str | None:
        if not self.by_request:
            return None
        with suppress(UnsupportedError):  # one of them cannot be reached
            return kubectl("logs", "--selector", "app.kubernetes.io/name=edge", "--tail", "-1")
        return None

    def replicas(self) -> list[Replica]:
        return [_replica(pod) for pod in listed("pods", "apidex") if _is_ready(pod) and not self._is_lost(pod)]

    def _is_lost(self, pod: dict[str, Any]) -> bool:
        """Whether its node has no network; the cluster notices that later."""
        return self._is_node_lost and pod["spec"]["nodeName"] == self._node

    def kill(self, replica: str) -> None:
        """As `Target.kill`, until the cluster has noticed: until then, the replica counts as ready.

        The signal comes from its node, since a container's first process takes no SIGKILL from within.
        """
        pod = _named("pod", replica)
        _act_on(pod, "signal", "9")
        wait_for(60, f"the end of {replica} to be noticed", lambda: _replica(pod) not in self.replicas())

    def delete(self, replica: str) -> None:
        kubectl("delete", "pod", replica, "--wait=false")
        self._wait_until_whole()

    def roll_out(self) -> None:
        kubectl("rollout", "restart", "deployment/apidex")
        kubectl("rollout", "status", "deployment/apidex", "--timeout=180s")
        self._wait_until_whole()

    def scale(self, replicas: int) -> None:
        self._wanted = replicas
        kubectl("scale", "deployment/apidex", f"--replicas={replicas}")
        self._wait_until_whole()

    def _wait_until_whole(self) -> None:
        def is_whole() -> bool:
            pods = listed("pods", "apidex")
            return len(pods) == self._wanted and all(map(_is_ready, pods))

        wait_for(120, f"{self._wanted} pods, all ready", is_whole)

    def renew(self) -> None:
        """As `Target.renew`, and where they are all on one node; the same for edges, of which two may be killed in a run."""
        for name, many in (("apidex", MANY_RESTARTS), *[("edge", 1)] * self.by_request):
            pods = [pod for pod in listed("pods", name) if _is_ready(pod)]
            nodes = {pod["spec"]["nodeName"] for pod in pods}
            if len(nodes) < min(len(pods), len(workers())) or max(map(_restarts, pods), default=0) >= many:
                kubectl("rollout", "restart", f"deployment/{name}")
                kubectl("rollout", "status", f"deployment/{name}", "--timeout=180s")
        self._wait_until_whole()

    def paused(self, replica: str) -> AbstractContextManager[None]:
        return _stopped(_named("pod", replica))

    def node_drained(self) -> AbstractContextManager[None]:
        _require(_DRAIN_PERMISSIONS)
        if len(workers()) < 2:
            raise UnsupportedError("this cluster has one node that takes pods: there is nowhere to move to")
        node = self._node or max(replica.node for replica in self.replicas())
        return between(lambda: self._drain(node), lambda: kubectl("uncordon", node))

    def _drain(self, node: str) -> None:
        kubectl("drain", node, "--ignore-daemonsets", "--timeout=180s", "--pod-selector", _PODS)
        wait_for(30, f"no replica on {node}", lambda: all(each.node != node for each in self.replicas()))

    def node_lost(self) -> AbstractContextManager[None]:
        if not (self._node and self._down and self._up):
            raise UnsupportedError("--node, --node-down and --node-up do not say which node may be lost, and how")
        return between(self._disconnect, self._reconnect)

    def _disconnect(self) -> None:
        self._is_node_lost = True
        output_of(*self._down)

    def _reconnect(self) -> None:
        output_of(*self._up)
        self._is_node_lost = False
        wait_for(90, "the node and its edge to be ready", self._is_node_back)

    def _is_node_back(self) -> bool:
        edges = [pod for pod in listed("pods", "edge") if pod["spec"].get("nodeName") == self._node]
        return self._node in workers() and all(map(_is_ready, edges))

    def redis_stopped(self) -> AbstractContextManager[None]:
        return between(lambda: kubectl("scale", "deployment/redis", "--replicas=0"), self._restart_redis)

    def _restart_redis(self) -> None:
        kubectl("scale", "deployment/redis", "--replicas=1")
        kubectl("rollout", "status", "deployment/redis", "--timeout=60s")

    def redis_paused(self) -> AbstractContextManager[None]:
        return _stopped(persist(self._redis))

    def redis_partitioned(self) -> AbstractContextManager[None]:
        return _partitioned(persist(self._redis))

    def _redis(self) -> dict[str, Any]:
        """One that can be reached: that on a lost node counts as ready for ten seconds. Raises UnsupportedError."""
        if pods := [pod for pod in listed("pods", "redis") if _is_ready(pod) and not self._is_lost(pod)]:
            return pods[0]
        raise UnsupportedError("no Redis is ready")

    def redis_partitioned_from(self, replica: str) -> AbstractContextManager[None]:
        pod, address = _named("pod", replica), _named("service", "redis")["spec"]["clusterIP"]
        return between(lambda: _act_on(pod, "block", address), lambda: _undo_on(pod, "unblock", address))

    def redis_misnamed(self) -> AbstractContextManager[None]:
        pods = [pod for pod in listed("pods", "apidex") if _is_ready(pod) and not self._is_lost(pod)]
        return between(lambda: self._misname(pods), lambda: self._rename(pods))

    def _misname(self, pods: list[dict[str, Any]]) -> None:
        for pod in pods:
            _act_on(pod, "misname", "redis")
        _tell_redis("client kill type normal")

    def _rename(self, pods: list[dict[str, Any]]) -> None:
        for pod in pods:
            _undo_on(pod, "rename")

    def redis_read_only(self) -> AbstractContextManager[None]:
        return between(lambda: _tell_redis("replicaof 127.0.0.1 1"), lambda: _tell_redis("replicaof no one"))

    def redis_full(self) -> AbstractContextManager[None]:
        limit = "config set maxmemory {}".format
        return between(lambda: _tell_redis(limit(1)), lambda: _tell_redis(limit(MAX_MEMORY)))

    def starved(self, replica: str) -> AbstractContextManager[None]:
        return running_until_end_of_input(*_agent(_named("pod", replica), "starve"))

    @contextmanager
    def out_of_memory(self, replica: str) -> Iterator[None]:
        with suppress(UnsupportedError):  # it ends with the container
            kubectl("exec", replica, "--", "python3", "-c", EXHAUST_MEMORY)
        yield

    def kill_edge(self) -> None:
        """As `Target.kill_edge`: of those that live, the one that was restarted least often."""

        def is_over() -> bool:
            now = _named("pod", edge["metadata"]["name"])
            return (_is_ready(now) and _restarts(now) > _restarts(edge)) or self._is_lost(now)

        edge = min((pod for pod in listed("pods", "edge") if _is_ready(pod) and not self._is_lost(pod)), key=_restarts)
        _act_on(edge, "signal", "9")
        wait_for(120, "the edge to run again", is_over)

    def upstream_partitioned(self) -> AbstractContextManager[None]:
        return _partitioned(_upstream())

    def flush_redis(self) -> None:
        persist(lambda: kubectl("exec", "deployment/redis", "--", *EMPTY_REDIS))

    def command_upstream(self, *words: str) -> str:
        pod = _upstream()["metadata"]["name"]
        return kubectl("exec", pod, "--", "python3", "/testbed/upstream.py", *words, namespace=ASIDE)

    def prepare(self) -> None:
        """As `Target.prepare`: a pod on each node, through which `node_agent.py` acts."""
        there = {pod["metadata"]["name"] for pod in listed("pods", namespace=ASIDE)}
        for node in workers():
            if f"node-agent-{node}" not in there:
                _start_node_agent(node, self._image)

    def close(self) -> None:
        """Delete the node agents."""
        with uninterrupted():
            for found in listed("pods", namespace=ASIDE):
                if found["metadata"]["name"].startswith("node-agent-"):
                    kubectl("delete", "pod", found["metadata"]["name"], "--now", namespace=ASIDE)


def kubectl(*arguments: str, namespace: str = NAMESPACE, stdin: str = "") -> str:
    """The output of kubectl. Raises UnsupportedError with the last line of its complaint."""
    return output_of("kubectl", "--namespace", namespace, *arguments, stdin=stdin)


def _named(kind: str, name: str) -> Any:  # noqa: ANN401 - an object of the cluster
    return json.loads(kubectl("get", kind, name, "--output", "json"))


def listed(kind: str, name: str = "", namespace: str = NAMESPACE) -> list[dict[str, Any]]:
    """The objects of a kind, those of one application if *name* is given."""
    selector = f"app.kubernetes.io/name={name}" if name else ""
    found = kubectl("get", kind, "--selector", selector, "--output", "json", namespace=namespace)
    items: list[dict[str, Any]] = json.loads(found)["items"]
    return items


def _tell_redis(command: str) -> None:
    persist(lambda: kubectl("exec", "deployment/redis", "--", *TELL_REDIS, *command.split()))


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = {item["type"]: item["status"] for item in pod["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def _replica(pod: dict[str, Any]) -> Replica:
    return Replica(pod["metadata"]["name"], _restarts(pod), pod["spec"].get("nodeName", ""))


def _restarts(pod: dict[str, Any]) -> int:
    return sum(status["restartCount"] for status in pod["status"].get("containerStatuses", ()))


def workers() -> list[str]:
    """The nodes that take any pod."""
    return [node["metadata"]["name"] for node in listed("nodes") if not node["spec"].get("taints")]


def _address() -> str:
    """That of the Service, or nothing."""
    service = _named("service", "apidex")
    given = service["status"].get("loadBalancer", {}).get("ingress") or [{}]
    address = given[0].get("ip") or given[0].get("hostname")
    return f"http://{address}:{service['spec']['ports'][0]['port']}" if address else ""


def _upstream() -> dict[str, Any]:
    if pods := listed("pods", "upstream", ASIDE):
        return pods[0]
    raise UnsupportedError("this cluster has an upstream of its own; `--up` starts one that can misbehave")


def _stopped(pod: dict[str, Any]) -> AbstractContextManager[None]:
    return between(lambda: _act_on(pod, "signal", "19"), lambda: _undo_on(pod, "signal", "18"))


def _partitioned(pod: dict[str, Any]) -> AbstractContextManager[None]:
    return between(lambda: _act_on(pod, "partition"), lambda: _undo_on(pod, "heal"))


def _act_on(pod: dict[str, Any], verb: str, *more: str) -> None:
    output_of(*_agent(pod, verb, *more))


def _undo_on(pod: dict[str, Any], verb: str, *more: str) -> None:
    """As `_act_on`, once the pod's node can be reached."""
    persist(lambda: _act_on(pod, verb, *more), seconds=180)


def _agent(pod: dict[str, Any], verb: str, *more: str) -> tuple[str, ...]:
    """The command that runs `node_agent.py` on the pod's container, through the agent on its node."""
    through = ("kubectl", "--namespace", ASIDE, "exec", "--stdin", f"node-agent-{pod['spec']['nodeName']}", "--")
    return (*through, "python3", "-c", NODE_AGENT.read_text(), verb, container_of(pod), *more)


def container_of(pod: dict[str, Any]) -> str:
    """The id of a pod's container."""
    return str(pod["status"]["containerStatuses"][0]["containerID"]).rpartition("/")[2]


def _start_node_agent(node: str, image: str) -> None:
    container = {"name": "node-agent", "image": image, "command": ["sleep", "infinity"]}
    spec = {
        "nodeName": node,
        "hostPID": True,
        "terminationGracePeriodSeconds": 0,
        "tolerations": [{"operator": "Exists"}],
        "containers": [container | {"securityContext": {"privileged": True, "runAsUser": 0}}],
    }
    metadata = {"name": f"node-agent-{node}", "namespace": ASIDE}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    # Left as it is where the testbed runs: applied again it would lose the labels that let replicas reach the upstream.
    if not output_of("kubectl", "get", "namespace", ASIDE, "--ignore-not-found", "--output", "name"):
        output_of("kubectl", "create", "namespace", ASIDE)
    output_of("kubectl", "apply", "--server-side", "--filename", "-", stdin=json.dumps(pod))
    kubectl("wait", "--for=condition=Ready", f"pod/node-agent-{node}", "--timeout=60s", namespace=ASIDE)


def _require(permissions: Mapping[str, Iterable[str]]) -> None:
    for namespace, actions in permissions.items():
        for action in actions:
            if _allowed(namespace, action) != "yes":
                raise UnsupportedError(f"this user of the cluster may not {action} in the namespace {namespace}")


def _allowed(namespace: str, action: str) -> str:
    try:
        return kubectl("auth", "can-i", *action.split(), namespace=namespace).strip()
    except UnsupportedError as error:
        if str(error).endswith("no"):
            return "no"
        raise UnsupportedError(f"no cluster answers behind kubectl's context: {error}") from None


@contextmanager
def provisioned(edge: bool = False, **how: str) -> Iterator[Kubernetes]:
    """Apidex in its namespace, with the testbed's upstream, deleted at the end. The nodes must have the images.

    Raises UnsupportedError where the namespace is in use already.
    """
    _refuse_others()
    try:
        start = ("kubectl", "apply", "--kustomize", str(TESTBED.parent / "edge" if edge else TESTBED))
        output_of(*start)
        kubectl(*_UPSTREAM_READY, namespace=ASIDE)
        for deployment in ("redis", "apidex", *["edge"] * edge):
            kubectl("rollout", "status", f"deployment/{deployment}", "--timeout=120s")
        wait_for(30, "an address of the Service apidex", lambda: bool(how.get("host") or _address()))
        target = Kubernetes(**how)
        wait_for(30, f"an answer from {target.host}", lambda: is_ready(target.host))
        if node := how.get("node"):  # nothing can be said to an upstream there while the node is lost
            with cordoned(node):
                kubectl("delete", "pod", "upstream", "--now", namespace=ASIDE)
                output_of(*start)
                kubectl(*_UPSTREAM_READY, namespace=ASIDE)
        yield target
    finally:
        with uninterrupted():
            output_of("kubectl", "delete", "namespace", NAMESPACE, ASIDE, "--ignore-not-found", "--timeout=120s")


@contextmanager
def cordoned(*nodes: str) -> Iterator[None]:
    """Let no pod be placed on *nodes* while the block runs."""
    with ExitStack() as stack:
        for node in nodes:
            cordon, uncordon = (partial(output_of, "kubectl", verb, node) for verb in ("cordon", "uncordon"))
            stack.enter_context(between(cordon, uncordon))
        yield


def _refuse_others() -> None:
    for space in listed("namespaces"):
        if space["metadata"]["name"] == NAMESPACE and space["metadata"]["labels"].get("apidex-loadtest") != "true":
            raise UnsupportedError(f"the namespace {NAMESPACE} is in use; without --up the run uses what is there")
