"""What the image is made of: small, compiled where it is used, and labelled with where it comes from."""

import json
import re
import subprocess

import pytest
from loadtest.system import wait_for

import apidex
from conftest import ROOT
from deploy.rendering import output_of

pytestmark = pytest.mark.real

BASE = "python:3.13-slim"

OPTIONS = ("--read-only", "--tmpfs", "/tmp", "--network", "none")


def printed(image: str, *command: str) -> str:
    """What *command* prints in a container, on both streams."""
    done = subprocess.run(
        ["docker", "run", "--rm", *OPTIONS, image, *command], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def inspected(image: str) -> dict:
    return json.loads(output_of("docker", "image", "inspect", image))[0]


def test_it_adds_at_most_100_megabytes_to_its_base(image):
    added = inspected(image)["Size"] - inspected(BASE)["Size"]
    print(f"\nthe image adds {added / 1e6:.0f} MB to {BASE}")
    assert added < 100e6


def log_of_a_replica(image: str) -> str:
    """What a replica prints until it answers."""
    command = ("python3", "-v", "-m", "apidex", "serve")
    container = output_of("docker", "run", "--detach", *OPTIONS, image, *command).strip()
    logs = lambda: subprocess.run(["docker", "logs", container], capture_output=True, text=True)  # noqa: E731
    try:
        wait_for(60, "a start", lambda: '"serve.started"' in logs().stdout)
        return logs().stderr
    finally:
        output_of("docker", "rm", "--force", container)


USES = {
    "a replica": log_of_a_replica,
    "a command": lambda image: printed(image, "python3", "-v", "-m", "apidex", "search", "cat", "--offline"),
    "an index": lambda image: printed(image, "python3", "-v", "-c", "import apidex.search.suffix_array as index"),
}


@pytest.mark.parametrize("use", USES)
def test_what_runs_is_compiled(image, use):
    """`python -v` names the file that the code of each module comes from."""
    loaded = re.findall(r"^# code object from '?(.*?)'?$", USES[use](image), re.MULTILINE)
    assert len(loaded) > 50
    assert [path for path in loaded if path.endswith(".py")] == []


def test_the_list_of_its_parts_has_what_the_lock_file_has(image):
    parts = json.loads(printed(image, "cat", "/opt/apidex/sbom.cdx.json"))
    assert parts["bomFormat"] == "CycloneDX"
    versions = {re.sub(r"[-_.]+", "-", part["name"]).lower(): part["version"] for part in parts["components"]}
    assert versions["apidex"] == apidex.__version__
    locked = dict(re.findall(r"^([\w.-]+)==([^ ;]+) \\$", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    assert {name: version for name, version in locked.items() if versions.get(name) != version} == {}
    assert "faker" not in versions


def test_its_labels_say_what_it_is_and_where_it_comes_from(image):
    labels = inspected(image)["Config"]["Labels"]
    assert labels["org.opencontainers.image.version"] == apidex.__version__
    assert labels["org.opencontainers.image.base.name"] == BASE
    assert {
        f"org.opencontainers.image.{name}" for name in ("revision", "created", "source", "licenses")
    } <= labels.keys()
    assert f"ARG VERSION={apidex.__version__}" in (ROOT / "Dockerfile").read_text()
