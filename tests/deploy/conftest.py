"""The image as the checkout makes it."""

import os
import shlex
import subprocess

import pytest

from apidex import __version__
from conftest import ROOT
from deploy.rendering import needs, output_of


@pytest.fixture(scope="session")
def image() -> str:
    """The image of this checkout. TEST_APIDEX_DOCKER_BUILD holds what this machine's `docker build` needs beside that."""
    needs("docker")
    if subprocess.run(["docker", "info"], capture_output=True).returncode:
        pytest.skip("docker is installed, and its engine does not answer")
    name = f"apidex:{__version__}"
    output_of("docker", "build", *shlex.split(os.environ.get("TEST_APIDEX_DOCKER_BUILD", "")), "--tag", name, str(ROOT))
    return name
