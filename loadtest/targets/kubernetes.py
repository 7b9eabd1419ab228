"""Apidex as `kubectl apply -k deploy/k8s` runs it, on whichever cluster kubectl's context names."""

import json
import shlex
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from loadtest.system import UnsupportedError, between, is_ready, output_of, wait_for
from loadtest.targets.target import Replica, Target, TargetOptions

NAMESPACE, ASIDE = "apidex", "apidex-loadtest"
TESTBED = Path(__file__).parents[1] / "testbed"
NODE_AGENT = TESTBED / "node_agent.py"
_STOPPED, _PARTITIONED = (("signal", "19"), ("signal", "18")), (("partition",), ("heal",))
"""What `node_agent.py` is told, first to break something and then to repair it."""

_PODS = "app.kubernetes.io/name in (apidex, redis, edge)"
_PERMISSIONS = {
    NAMESPACE: ("get pods", "delete pods", "patch deployments", "patch deployments/scale", "create pods/exec"),
    ASIDE: ("create pods", "create pods/exec", "delete pods"),
}
_DRAIN_PERMISSIONS = {NAMESPACE: ("create pods/eviction", "patch nodes")}


class Kubernetes(Target):
    """The namespace `apidex`, in which Apidex answers. *node* may be lost by the commands *node_down* and *node_up*."""

    name = "kubernetes"

    def __init__(self, host: str = "", node: str = "", node_down: str = "", node_up: str = "") -> None:
        self._require(_PERMISSIONS)
        self._node, self._down, self._up = node, shlex.split(node_down), shlex.split(node_up)
        self.by_request = bool(self._listed("deployments", "app.kubernetes.io/name=edge"))
        self.host = host or self._address()
        self._wanted = self._number("apidex")

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

    def replicas(self) -> list[Replica]:
        return [
            Replica(
                pod["metadata"]["name"],
                sum(status["restartCount"] for status in pod["status"].get("containerStatuses", ())),
                pod["spec"].get("nodeName", ""),
            )
            for pod in self._listed("pods", "app.kubernetes.io/name=apidex")
            if _is_ready(pod)
        ]

    def kill(self, replica: str) -> None:
        """As `Target.kill`: from its node, since a container's first process takes no SIGKILL from within."""
        self._act_on(self._pod(replica), "signal", "9")

    def delete(self, replica: str) -> None:
        self._kubectl("delete", "pod", replica, "--wait=false")
        wait_for(60, "as many pods as before, all ready", self._is_whole)

    def roll_out(self) -> None:
        self._kubectl("rollout", "restart", "deployment/apidex")
        self._kubectl("rollout", "status", "deployment/apidex", "--timeout=180s")
        wait_for(120, "only new replicas", self._is_whole)

    def scale(self, replicas: int) -> None:
        self._wanted = replicas
        self._kubectl("scale", "deployment/apidex", f"--replicas={replicas}")
        wait_for(120, f"{replicas} replicas", self._is_whole)

    def paused(self, replica: str) -> AbstractContextManager[None]:
        return self._acted_on(self._pod(replica), _STOPPED)

    def node_drained(self) -> AbstractContextManager[None]:
        self._require(_DRAIN_PERMISSIONS)
        if len(self._workers()) < 2:
            raise UnsupportedError("this cluster has one node that takes pods: there is nowhere to move to")
        node = self._node or max(replica.node for replica in self.replicas())
        return between(lambda: self._drain(node), lambda: self._kubectl("uncordon", node))

    def _drain(self, node: str) -> None:
        self._kubectl("drain", node, "--ignore-daemonsets", "--timeout=180s", "--pod-selector", _PODS)
        wait_for(30, f"no replica on {node}", lambda: all(each.node != node for each in self.replicas()))

    def node_lost(self) -> AbstractContextManager[None]:
        if not (self._node and self._down and self._up):
            raise UnsupportedError("--node, --node-down and --node-up do not say which node may be lost, and how")
        return between(lambda: output_of(*self._down), self._reconnect)

    def _reconnect(self) -> None:
        output_of(*self._up)
        wait_for(90, "the node to be ready", lambda: self._node in self._workers())

    def redis_stopped(self) -> AbstractContextManager[None]:
        return between(lambda: self._kubectl("scale", "deployment/redis", "--replicas=0"), self._restart_redis)

    def _restart_redis(self) -> None:
        self._kubectl("scale", "deployment/redis", "--replicas=1")
        self._kubectl("rollout", "status", "deployment/redis", "--timeout=60s")

    def redis_paused(self) -> AbstractContextManager[None]:
        (pod,) = self._listed("pods", "app.kubernetes.io/name=redis")
        return self._acted_on(pod, _STOPPED)

    def redis_partitioned(self) -> AbstractContextManager[None]:
        (pod,) = self._listed("pods", "app.kubernetes.io/name=redis")
        return self._acted_on(pod, _PARTITIONED)

    def upstream_partitioned(self) -> AbstractContextManager[None]:
        self._require_testbed()
        return self._acted_on(self._pod("upstream", ASIDE), _PARTITIONED)

    def flush_redis(self) -> None:
        self._kubectl("exec", "deployment/redis", "--", "redis-cli", "flushall")

    def command_upstream(self, *words: str) -> str:
        self._require_testbed()
        return self._kubectl("exec", "upstream", "--", "python3", "/testbed/upstream.py", *words, namespace=ASIDE)

    def _is_whole(self) -> bool:
        pods = self._listed("pods", "app.kubernetes.io/name=apidex")
        return len(pods) == self._wanted and all(map(_is_ready, pods))

    def _require_testbed(self) -> None:
        if not self._listed("pods", "app.kubernetes.io/name=upstream", ASIDE):
            raise UnsupportedError("this cluster has an upstream of its own; `--up` starts one that can misbehave")

    def _acted_on(
        self, pod: dict[str, Any], verbs: tuple[tuple[str, ...], tuple[str, ...]]
    ) -> AbstractContextManager[None]:
        begin, end = verbs
        return between(lambda: self._act_on(pod, *begin), lambda: self._act_on(pod, *end))

    def prepare(self) -> None:
        """As `Target.prepare`: a pod on each node, through which `node_agent.py` acts."""
        there = {pod["metadata"]["name"] for pod in self._listed("pods", "", ASIDE)}
        for node in self._workers():
            if f"node-agent-{node}" not in there:
                self._start_node_agent(node)

    def _act_on(self, pod: dict[str, Any], verb: str, *more: str) -> None:
        """Run `node_agent.py` on the pod's container, through the agent on its node."""
        container = pod["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]
        script = ("python3", "-c", NODE_AGENT.read_text(), verb, container, *more)
        self._kubectl("exec", f"node-agent-{pod['spec']['nodeName']}", "--", *script, namespace=ASIDE)

    def _pod(self, name: str, namespace: str = NAMESPACE) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._kubectl("get", "pod", name, "--output", "json", namespace=namespace))
        return found

    def _start_node_agent(self, node: str) -> None:
        security = {"privileged": True, "runAsUser": 0}
        container = {"name": "node-agent", "image": self._image(), "command": ["sleep", "infinity"]}
        spec = {
            "nodeName": node,
            "hostPID": True,
            "terminationGracePeriodSeconds": 0,
            "tolerations": [{"operator": "Exists"}],
            "containers": [container | {"securityContext": security}],
        }
        metadata = {"name": f"node-agent-{node}", "namespace": ASIDE}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        # Left as it is where the testbed runs: applied again it would lose the labels that let replicas reach the upstream.
        if not output_of("kubectl", "get", "namespace", ASIDE, "--ignore-not-found", "--output", "name"):
            output_of("kubectl", "create", "namespace", ASIDE)
        output_of("kubectl", "apply", "--server-side", "--filename", "-", stdin=json.dumps(pod))
        self._kubectl("wait", "--for=condition=Ready", f"pod/node-agent-{node}", "--timeout=60s", namespace=ASIDE)

    def _image(self) -> str:
        (deployment,) = self._listed("deployments", "app.kubernetes.io/name=apidex")
        return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])

    def close(self) -> None:
        """Delete the node agents."""
        for found in self._listed("pods", "", ASIDE):
            if found["metadata"]["name"].startswith("node-agent-"):
                self._kubectl("delete", "pod", found["metadata"]["name"], "--now", namespace=ASIDE)

    def _workers(self) -> list[str]:
        nodes = json.loads(output_of("kubectl", "get", "nodes", "--output", "json"))["items"]
        return [node["metadata"]["name"] for node in nodes if not node["spec"].get("taints")]

    def _number(self, deployment: str) -> int:
        found = self._listed("deployments", f"app.kubernetes.io/name={deployment}")
        if not found:
            raise UnsupportedError(
                f"no Apidex runs in the namespace {NAMESPACE}: `kubectl apply -k deploy/k8s`, or `--up`"
            )
        return int(found[0]["spec"]["replicas"])

    def _address(self) -> str:
        self._number("apidex")
        service = json.loads(self._kubectl("get", "service", "apidex", "--output", "json"))
        given = service["status"].get("loadBalancer", {}).get("ingress") or [{}]
        address = given[0].get("ip") or given[0].get("hostname")
        if not address:
            raise UnsupportedError("the Service apidex has no address; --host says where it can be reached")
        return f"http://{address}:{service['spec']['ports'][0]['port']}"

    def _require(self, permissions: Mapping[str, Iterable[str]]) -> None:
        for namespace, actions in permissions.items():
            for action in actions:
                if self._allowed(namespace, action) != "yes":
                    raise UnsupportedError(f"this user of the cluster may not {action} in the namespace {namespace}")

    def _allowed(self, namespace: str, action: str) -> str:
        try:
            return self._kubectl("auth", "can-i", *action.split(), namespace=namespace).strip()
        except UnsupportedError as error:
            if str(error).endswith("no"):
                return "no"
            raise UnsupportedError(f"no cluster answers behind kubectl's context: {error}") from None

    def _listed(self, kind: str, selector: str, namespace: str = NAMESPACE) -> list[dict[str, Any]]:
        found = self._kubectl("get", kind, "--selector", selector, "--output", "json", namespace=namespace)
        items: list[dict[str, Any]] = json.loads(found)["items"]
        return items

    @staticmethod
    def _kubectl(*arguments: str, namespace: str = NAMESPACE) -> str:
        return output_of("kubectl", "--namespace", namespace, *arguments)


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = {item["type"]: item["status"] for item in pod["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


@contextmanager
def provisioned(edge: bool = False, **how: str) -> Iterator[Kubernetes]:
    """Apidex in its namespace, with the testbed's upstream, deleted at the end. The nodes must have the images.

    Raises UnsupportedError where the namespace is in use already.
    """
    _refuse_others()
    folder = TESTBED.parent / "edge" if edge else TESTBED
    try:
        output_of("kubectl", "apply", "--kustomize", str(folder))
        ready = ("wait", "--for=condition=Ready", "pod/upstream", "--timeout=60s")
        output_of("kubectl", "--namespace", ASIDE, *ready)
        for deployment in ("redis", "apidex", *(["edge"] if edge else [])):
            rollout = ("rollout", "status", f"deployment/{deployment}", "--timeout=120s")
            output_of("kubectl", "--namespace", NAMESPACE, *rollout)
        target = _with_an_address(how)
        wait_for(30, f"an answer from {target.host}", lambda: is_ready(target.host))
        yield target
    finally:
        output_of("kubectl", "delete", "namespace", NAMESPACE, ASIDE, "--ignore-not-found", "--timeout=120s")


def _with_an_address(how: dict[str, str]) -> Kubernetes:
    until = time.monotonic() + 30
    while True:
        try:
            return Kubernetes(**how)
        except UnsupportedError:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)


def _refuse_others() -> None:
    spaces = json.loads(output_of("kubectl", "get", "namespaces", "--output", "json"))["items"]
    for space in spaces:
        if space["metadata"]["name"] == NAMESPACE and space["metadata"]["labels"].get("apidex-loadtest") != "true":
            raise UnsupportedError(f"the namespace {NAMESPACE} is in use; without --up the run uses what is there")
