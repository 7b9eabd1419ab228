"""Compose and the cluster run the same thing: what stands in both is equal, and what differs is named."""

import json
import re
from decimal import Decimal

import pytest

from apidex.indexing import worker
from conftest import ROOT
from deploy.rendering import K8S, compose, kustomize, overlay

# What a compose service is called in the cluster.
SAME = {"api": "apidex", "redis": "redis", "haproxy": "edge"}

DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", "")


@pytest.fixture(scope="module")
def services() -> dict:
    return compose()["services"]


@pytest.fixture(scope="module")
def objects(tmp_path_factory) -> dict:
    return kustomize(overlay(tmp_path_factory.mktemp("edge"), K8S / "base", ["edge"]))


def facts_of_compose(name: str, service: dict) -> dict[str, object]:
    limits = service["deploy"]["resources"]["limits"]
    health = service["healthcheck"]["test"][1:] if "healthcheck" in service else health_check_of_the_image()
    return {
        "image": service["image"],
        "user": service.get("user") or re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE)[-1],
        "cpu": Decimal(str(limits["cpus"])),
        "memory": int(limits["memory"]),
        "grace period": seconds(service["stop_grace_period"]),
        "read-only root": service["read_only"],
        "capabilities dropped": service["cap_drop"],
        "may gain privileges": "no-new-privileges:true" not in service["security_opt"],
        "asked whether it is well": asked(health),
    }


def facts_of_the_cluster(name: str, deployment: dict) -> dict[str, object]:
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    limits, security = container["resources"]["limits"], container["securityContext"]
    sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    # The end of a start is the question that compose asks: depends_on waits for it.
    probe = container["startupProbe"]
    return {
        "image": container["image"],
        "user": "{runAsUser}:{runAsGroup}".format(**pod["securityContext"]),
        "cpu": quantity(limits["cpu"]),
        "memory": quantity(limits["memory"]),
        "grace period": pod["terminationGracePeriodSeconds"] - sleep,
        "read-only root": security["readOnlyRootFilesystem"],
        "capabilities dropped": security["capabilities"]["drop"],
        "may gain privileges": security["allowPrivilegeEscalation"],
        "asked whether it is well": probe["exec"]["command"] if "exec" in probe else probe["httpGet"]["path"],
    }


def health_check_of_the_image() -> list[str]:
    return json.loads(re.findall(r"^HEALTHCHECK .* CMD (\[.*)$", DOCKERFILE, re.MULTILINE)[0])


def asked(command: list[str]) -> object:
    """The path that a command asks for by HTTP; the command itself when it asks otherwise."""
    path = re.search(r"GET'?,? '?(/[^') ]+)", " ".join(command))
    return path[1] if path else command


def seconds(text: str) -> int:
    minutes, rest = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", text).groups(default=0)
    return int(minutes) * 60 + int(rest)


def quantity(text: str) -> Decimal:
    number, unit = re.fullmatch(r"(\d+)(\D*)", text).groups()
    return Decimal(number) * {"": 1, "m": Decimal("0.001"), "Mi": 2**20, "Gi": 2**30}[unit]


def differences(left: dict, right: dict) -> dict:
    return {key: (left.get(key), right.get(key)) for key in left | right if left.get(key) != right.get(key)}


@pytest.mark.parametrize("name", SAME)
def test_a_service_is_the_same_in_both(name, services, objects):
    in_compose = facts_of_compose(name, services[name])
    in_the_cluster = facts_of_the_cluster(name, objects["Deployment", SAME[name]])
    assert differences(in_compose, in_the_cluster) == {}, "fact: (compose, cluster)"


def test_a_replica_is_ready_in_both_by_the_same_question(objects):
    (container,) = containers(objects["Deployment", "apidex"])
    assert container["readinessProbe"]["httpGet"]["path"] == asked(health_check_of_the_image())


def test_the_settings_are_the_same(services, objects):
    assert differences(services["api"]["environment"], objects["ConfigMap", "apidex"]["data"]) == {}


def test_the_configuration_files_are_the_same(services, objects):
    for name, config in (("redis", "redis"), ("haproxy", "edge")):
        (volume,) = services[name]["volumes"]
        file = volume["source"].rpartition("/")[2]
        pod = objects["Deployment", config]["spec"]["template"]["spec"]
        assert (ROOT / volume["source"]).read_text() == objects["ConfigMap", config]["data"][file]
        assert volume["target"] == f"{pod['containers'][0]['volumeMounts'][0]['mountPath']}/{file}"


def test_there_are_as_many_replicas(services, objects):
    assert services["api"]["deploy"]["replicas"] == objects["Deployment", "apidex"]["spec"]["replicas"] == 4


def test_one_port_everywhere(services, objects):
    port = int(objects["ConfigMap", "apidex"]["data"]["APIDEX_PORT"])
    (published,) = services["haproxy"]["ports"]
    ports = {
        "the image exposes": int(re.findall(r"^EXPOSE (\d+)", DOCKERFILE, re.MULTILINE)[0]),
        "compose publishes": int(published["published"]),
        "HAProxy listens on": published["target"],
        "HAProxy finds replicas on": int(services["haproxy"]["environment"]["APIDEX_REPLICAS"].partition(":")[2]),
        **{
            f"the cluster's {kind} {name}": (item["spec"].get("ports") or containers(item)[0]["ports"])[0][key]
            for kind, name, key in (("Deployment", "apidex", "containerPort"), ("Service", "apidex", "port"))
            for item in [objects[kind, name]]
        },
    }
    assert {who: which for who, which in ports.items() if which != port} == {}
    assert published["host_ip"] == "127.0.0.1"


def test_probes_and_metrics_have_one_port_and_nothing_publishes_it(services, tmp_path):
    objects = kustomize(overlay(tmp_path, K8S / "base", ["edge", "ingress", "monitoring"]))
    port = int(objects["ConfigMap", "apidex"]["data"]["APIDEX_ADMIN_PORT"])
    (container,) = containers(objects["Deployment", "apidex"])
    assert {"name": "admin", "containerPort": port} in container["ports"]
    probes = [container[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness")]
    assert [probe["httpGet"]["port"] for probe in probes] == ["admin"] * 3
    assert "environ.get('APIDEX_ADMIN_PORT')" in health_check_of_the_image()[-1]
    assert f" check port {port} " in (K8S / "components/edge/haproxy.cfg").read_text()
    assert port in [rule["port"] for rule in objects["NetworkPolicy", "edge"]["spec"]["egress"][0]["ports"]]
    assert objects["ServiceMonitor", "apidex"]["spec"]["endpoints"][0]["port"] == "admin"

    def leads_there(service: dict) -> bool:
        return any({rule["port"], rule["targetPort"]} & {"admin", port} for rule in service["spec"]["ports"])

    led = {name for (kind, name), item in objects.items() if kind == "Service" and leads_there(item)}
    assert led == {"metrics"}
    assert not {port} & {int(each["target"]) for name in services for each in services[name].get("ports", [])}


def containers(deployment: dict) -> list[dict]:
    return deployment["spec"]["template"]["spec"]["containers"]


def test_redis_is_published_nowhere(services, objects):
    assert "ports" not in services["redis"]
    assert compose()["networks"]["cache"]["internal"] is True
    assert services["redis"]["networks"].keys() == {"cache"}
    assert objects["Service", "redis"]["spec"].get("type", "ClusterIP") == "ClusterIP"


def test_clients_leave_haproxy_connections_for_probes_and_memory_for_them_all(objects):
    text = (K8S / "components/edge/haproxy.cfg").read_text()
    most, of_clients = map(int, re.findall(r"^ +maxconn (\d+)$", text, re.MULTILINE))
    assert 2 * of_clients < most, "each request may count once more, in `unready`"
    (container,) = containers(objects["Deployment", "edge"])
    of_one = 110_000  # bytes of a client that does not read, with those in the kernel
    assert of_clients * of_one + 16 * 2**20 <= quantity(container["resources"]["limits"]["memory"])


def test_a_list_of_the_largest_size_is_refused_before_the_container_has_no_memory(objects):
    """The kernel ends all processes of a container together (cgroup v2, memory.oom.group)."""
    limit = worker.memory_limit(int(objects["ConfigMap", "apidex"]["data"]["APIDEX_UPSTREAM_LIMIT_BYTES"]))
    (container,) = containers(objects["Deployment", "apidex"])
    assert limit + 100 * 2**20 <= quantity(container["resources"]["limits"]["memory"])


def test_the_grace_period_is_longer_than_the_drain_and_the_drain_than_keeping_alive(objects):
    settings = objects["ConfigMap", "apidex"]["data"]
    drain, keep_alive = float(settings["APIDEX_DRAIN_SECONDS"]), float(settings["APIDEX_KEEP_ALIVE_SECONDS"])
    pod = objects["Deployment", "apidex"]["spec"]["template"]["spec"]
    assert keep_alive < drain < pod["terminationGracePeriodSeconds"]
