"""Every overlay is whole and valid, by itself, with each component, and with all of them."""

import re
import subprocess
from itertools import product

import kubernetes_validate
import pytest
import yaml

from conftest import ROOT
from deploy.rendering import COMPONENTS, K8S, OVERLAYS, compose, kustomize, needs, overlay

VERSION = "1.34"

# Kinds that no Kubernetes brings along; the schemas come with the Prometheus Operator.
FOREIGN = {"ServiceMonitor", "PrometheusRule"}

# Components that change what another one brings along.
BUILDS_ON = {"ingress-tls": ["ingress"]}

COMBINATIONS = [[], *([*BUILDS_ON.get(name, []), name] for name in COMPONENTS), COMPONENTS]


def used_by(name: str) -> list[str]:
    """The components that an overlay already has: kustomize takes none twice."""
    text = (K8S / "overlays" / name / "kustomization.yaml").read_text()
    return [component for component in COMPONENTS if f"components/{component}\n" in text]


@pytest.fixture(
    scope="module",
    params=product(OVERLAYS, COMBINATIONS),
    ids=lambda value: f"{value[0]}+{'+'.join(value[1]) if value[1] != COMPONENTS else 'all'}",
)
def objects(request, tmp_path_factory) -> dict:
    name, components = request.param
    added = [component for component in components if component not in used_by(name)]
    return kustomize(overlay(tmp_path_factory.mktemp(name), K8S / "overlays" / name, added))


def test_every_object_is_valid(objects):
    for (kind, name), item in objects.items():
        if kind not in FOREIGN:
            kubernetes_validate.validate(item, VERSION, strict=True)
        assert item["metadata"].get("namespace", "apidex") == "apidex", f"{kind} {name}"


def test_what_is_referred_to_is_there(objects):
    """Config maps, and the pods that Services, budgets and policies select."""
    labels = [
        item["spec"]["template"]["metadata"]["labels"]
        for (kind, _), item in objects.items()
        if kind in ("Deployment", "Job")
    ]
    config_maps = {item["metadata"]["name"] for (kind, _), item in objects.items() if kind == "ConfigMap"}
    for (kind, name), item in objects.items():
        spec = item.get("spec", {})
        if kind == "Deployment":
            pod = spec["template"]["spec"]
            mounted = [volume["configMap"]["name"] for volume in pod.get("volumes", []) if "configMap" in volume]
            read = [source["configMapRef"]["name"] for source in pod["containers"][0].get("envFrom", [])]
            assert {*mounted, *read} <= config_maps, name
        selector = {
            "Service": lambda spec: spec["selector"],
            "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
            "NetworkPolicy": lambda spec: spec["podSelector"].get("matchLabels", {}),
        }.get(kind)
        if selector:
            wanted = selector(spec).items()
            assert any(wanted <= have.items() for have in labels), f"{kind} {name} selects no pod"


def test_every_pod_is_as_hard_as_it_can_be(objects):
    for (kind, name), item in objects.items():
        if kind not in ("Deployment", "Job"):
            continue
        pod = item["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["enableServiceLinks"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            if not name.startswith("load-"):  # nothing is sent to these, and each ends by itself
                assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys(), name
            assert container["resources"].keys() == {"requests", "limits"}, name


@pytest.mark.parametrize("name", ["apidex", "edge"])
def test_in_production_pods_are_spread_over_zones(name):
    spec = kustomize(K8S / "overlays/production")["Deployment", name]["spec"]["template"]["spec"]
    zones, nodes = spec["topologySpreadConstraints"]
    assert [zones["topologyKey"], nodes["topologyKey"]] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    assert zones | {"topologyKey": nodes["topologyKey"]} == nodes


def test_in_production_a_rollout_is_slower_than_a_dns_that_caches():
    """NodeLocal DNSCache, which the policies allow, answers for 30 seconds with addresses of before."""
    assert kustomize(K8S / "overlays/production")["Deployment", "apidex"]["spec"]["minReadySeconds"] >= 30


def test_the_default_is_the_local_overlay():
    assert kustomize(K8S) == kustomize(K8S / "overlays/local")


DOCUMENTED = re.findall(r"<<'YAML'\n(.*?)^YAML$", (ROOT / "docs/deploy.md").read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("text", DOCUMENTED, ids=range(len(DOCUMENTED)))
def test_the_overlays_in_the_documentation_are_whole(text, tmp_path):
    """As written there, but in a folder that does not stay."""
    written = yaml.safe_load(text)
    assert written.pop("resources") == ["../production"]
    components = [path.removeprefix("../../components/") for path in written.pop("components", [])]
    objects = kustomize(overlay(tmp_path, K8S / "overlays/production", components, **written))
    image = objects["Deployment", "apidex"]["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image.startswith("registry.example.org/")


def test_with_the_documented_label_prometheus_of_the_chart_selects_the_objects(tmp_path):
    (text,) = re.findall(
        r"```yaml\n([^`]*/metadata/labels/release.*?)```", (ROOT / "docs/deploy.md").read_text(), re.DOTALL
    )
    objects = kustomize(overlay(tmp_path, K8S / "overlays/production", ["monitoring"], **yaml.safe_load(text)))
    for kind in ("ServiceMonitor", "PrometheusRule"):
        assert objects[kind, "apidex"]["metadata"]["labels"]["release"] == "kube-prometheus-stack"


def test_with_the_documented_ingress_the_certificate_is_for_the_host_of_the_rule(tmp_path):
    (text,) = re.findall(
        r"```yaml\n(components:\n.*?ingress-tls\n.*?)```", (ROOT / "docs/deploy.md").read_text(), re.DOTALL
    )
    written = yaml.safe_load(text)
    components = [path.removeprefix("../../components/") for path in written.pop("components")]
    objects = kustomize(overlay(tmp_path, K8S / "overlays/production", components, **written))
    ingress = objects["Ingress", "apidex"]
    assert ingress["metadata"]["annotations"].keys() == {"cert-manager.io/cluster-issuer"}
    assert [rule["host"] for rule in ingress["spec"]["rules"]] == ingress["spec"]["tls"][0]["hosts"]
    assert ingress["spec"]["rules"][0]["host"] != "apidex.example.org"


def test_tls_without_an_ingress_is_refused(tmp_path):
    needs("kubectl")
    command = ["kubectl", "kustomize", str(overlay(tmp_path, K8S / "overlays/local", ["ingress-tls"]))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert "no matches for Id Ingress" in done.stderr


@pytest.mark.parametrize("components", [[], ["edge"], ["external-redis"]], ids=str)
def test_pods_can_query_only_the_clusters_dns(components, tmp_path):
    """A rule without an address for port 53 would let anything out that looks like DNS."""
    objects = kustomize(overlay(tmp_path, K8S / "overlays/local", components))
    policies = [item for (kind, _), item in objects.items() if kind == "NetworkPolicy"]
    rules = [(policy["metadata"]["name"], rule) for policy in policies for rule in policy["spec"].get("egress", [])]
    asks = [(name, rule) for name, rule in rules if any(port.get("port") == 53 for port in rule["ports"])]
    assert [(name, "to" in rule) for name, rule in asks] == [("dns", True)]
    assert all("ipBlock" in peer or {"namespaceSelector", "podSelector"} <= peer.keys() for peer in asks[0][1]["to"])


def test_an_external_redis_takes_the_place_of_the_one_in_the_cluster(tmp_path):
    objects = kustomize(overlay(tmp_path, K8S / "overlays/local", ["external-redis", "redis-password"]))
    assert [key for key in objects if key[1] == "redis"] == []
    assert objects["ConfigMap", "apidex"]["data"]["APIDEX_REDIS_URL"].startswith("rediss://")
    container = objects["Deployment", "apidex"]["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "APIDEX_REDIS_PASSWORD_FILE", "value": "/run/secrets/redis/password"} in container["env"]


def test_autoscaling_alone_says_how_many_replicas_there_are(tmp_path):
    objects = kustomize(overlay(tmp_path, K8S / "overlays/local", ["autoscaling"]))
    assert "replicas" not in objects["Deployment", "apidex"]["spec"]
    fewest = objects["HorizontalPodAutoscaler", "apidex"]["spec"]["minReplicas"]
    assert fewest == kustomize(K8S)["Deployment", "apidex"]["spec"]["replicas"]


def test_haproxy_has_a_place_for_every_replica_that_may_be(tmp_path):
    objects = kustomize(overlay(tmp_path, K8S / "overlays/local", ["autoscaling", "edge"]))
    config = objects["ConfigMap", "edge"]["data"]["haproxy.cfg"]
    places = {int(line.split()[2]) for line in config.splitlines() if line.split()[:1] == ["server-template"]}
    most = objects["HorizontalPodAutoscaler", "apidex"]["spec"]["maxReplicas"]
    surge = objects["Deployment", "apidex"]["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
    # Twice: in a rollout those that drain are still counted for a while.
    assert min(places) >= 2 * most + surge


def test_behind_the_edge_replicas_accept_the_edge_and_the_monitoring_only(tmp_path):
    objects = kustomize(overlay(tmp_path, K8S / "overlays/local", ["edge", "monitoring"]))
    policies = [item["spec"] for (kind, _), item in objects.items() if kind == "NetworkPolicy"]
    allowed = [
        rule
        for spec in policies
        if spec["podSelector"].get("matchLabels") == {"app.kubernetes.io/name": "apidex"}
        for rule in spec.get("ingress", [])
    ]
    http, admin = {"protocol": "TCP", "port": "http"}, {"protocol": "TCP", "port": "admin"}
    edge = {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "edge"}}}
    monitoring = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    expected = [{"from": [edge], "ports": [http, admin]}, {"from": [monitoring], "ports": [admin]}]
    assert sorted(allowed, key=str) == sorted(expected, key=str)


def test_without_the_edge_replicas_accept_whatever_the_service_lets_in():
    (rule,) = kustomize(K8S)["NetworkPolicy", "apidex"]["spec"]["ingress"]
    assert rule == {"ports": [{"protocol": "TCP", "port": "http"}]}


def test_the_master_of_the_load_waits_for_as_many_workers_as_there_are(tmp_path):
    objects = kustomize(overlay(tmp_path, K8S / "overlays/local", ["load"]))
    (master,) = objects["Job", "load-master"]["spec"]["template"]["spec"]["containers"]
    workers = objects["Deployment", "load-worker"]["spec"]
    assert master["args"][:2] == ["--workers", str(workers["replicas"])]
    assert master["image"] == workers["template"]["spec"]["containers"][0]["image"]


def test_the_load_reaches_the_replicas_with_an_edge_and_without(tmp_path):
    """The master's `--host` is the Service's, and what the Service selects lets them in and is not forbidden to them."""
    for components in (["load"], ["load", "edge"]):
        folder = tmp_path / "-".join(components)
        folder.mkdir()
        objects = kustomize(overlay(folder, K8S / "overlays/local", components))
        (master,) = objects["Job", "load-master"]["spec"]["template"]["spec"]["containers"]
        service = objects["Service", "apidex"]["spec"]
        assert f"http://apidex:{service['ports'][0]['port']}" in master["command"]
        answering = service["selector"]["app.kubernetes.io/name"]
        assert all("from" not in rule for rule in objects["NetworkPolicy", answering]["spec"]["ingress"])
        for name in ("load-master", "load-worker"):
            allowed = objects["NetworkPolicy", name]["spec"]["egress"][0]
            assert answering in allowed["to"][0]["podSelector"]["matchExpressions"][0]["values"]
            assert name in objects["NetworkPolicy", "dns"]["spec"]["podSelector"]["matchExpressions"][0]["values"]


def test_compose_and_the_cluster_send_the_same_load(tmp_path):
    services, objects = compose()["services"], kustomize(overlay(tmp_path, K8S / "overlays/local", ["load"]))
    for kind, name in (("Job", "load-master"), ("Deployment", "load-worker")):
        (container,) = objects[kind, name]["spec"]["template"]["spec"]["containers"]
        command = [*container["command"], *container.get("args", [])]
        assert services[name]["command"] == [word.replace("//apidex:", "//haproxy:") for word in command]
        assert services[name]["image"] == container["image"]
    assert services["load-worker"]["deploy"]["replicas"] == objects["Deployment", "load-worker"]["spec"]["replicas"]


def test_the_testbed_with_the_load_is_whole():
    objects = kustomize(ROOT / "loadtest/load")
    assert {("Job", "load-master"), ("Deployment", "load-worker"), ("Pod", "upstream")} <= objects.keys()


def test_an_image_that_is_built_here_is_pulled_from_nowhere():
    objects = kustomize(ROOT / "loadtest/load")
    pods = [item["spec"]["template"]["spec"] for key, item in objects.items() if key[0] in ("Deployment", "Job")]
    pods += [item["spec"] for (kind, _), item in objects.items() if kind == "Pod"]
    built = [each for pod in pods for each in pod["containers"] if each["image"].startswith("apidex")]
    assert len(built) >= 4
    assert {each["imagePullPolicy"] for each in built} == {"Never"}
    built = [service for service in compose()["services"].values() if "build" in service]
    assert {service.get("pull_policy") for service in built} == {"never"}
