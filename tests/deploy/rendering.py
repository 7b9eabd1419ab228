"""What compose and kustomize make of the files in deploy/, as plain values."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest
import yaml

from conftest import ROOT

K8S = ROOT / "deploy/k8s"
OVERLAYS = sorted(path.name for path in (K8S / "overlays").iterdir())
COMPONENTS = sorted(path.name for path in (K8S / "components").iterdir())


def needs(command: str) -> None:
    """Skip the test, and say so, where *command* is not installed."""
    if not shutil.which(command):
        pytest.skip(f"{command} is not installed")


def output_of(*command: str, **options) -> str:
    """What *command* prints; what it complained of is the failure when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, **{"cwd": ROOT} | options)
    if done.returncode:
        pytest.fail(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}", pytrace=False)
    return done.stdout


@cache
def compose() -> dict:
    """The whole of compose's model, with the services of every profile."""
    needs("docker")
    return json.loads(output_of("docker", "compose", "--profile", "*", "config", "--format", "json"))


@cache
def kustomize(folder: Path) -> dict[tuple[str, str], dict]:
    """Every object of the kustomization in *folder*, by kind and name; a generated name goes without its hash."""
    needs("kubectl")
    objects = list(yaml.safe_load_all(output_of("kubectl", "kustomize", str(folder))))
    named = {(item["kind"], _plain_name(item)): item for item in objects}
    assert len(named) == len(objects), "two objects have the same kind and name"
    return named


def _plain_name(item: dict) -> str:
    name = item["metadata"]["name"]
    return re.sub(r"-[bcdfghkmt2-9]{10}$", "", name) if item["kind"] == "ConfigMap" else name


def overlay(folder: Path, base: Path, components: Iterable[str] = (), **more) -> Path:
    """Write a kustomization into *folder* that puts *components*, and whatever else, on *base*. Gives *folder*."""
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(base, folder)],
        "components": [os.path.relpath(K8S / "components" / name, folder) for name in components],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization | more))
    return folder
