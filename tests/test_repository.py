"""What stands in more than one place of the repository is the same everywhere."""

import re
from pathlib import Path

import pytest

import fastdist as fd

ROOT = Path(__file__).parents[1]
# An sdist has none.
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def targets():
    """Those of the Makefile."""
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


@pytest.mark.parametrize("path", [*WORKFLOWS, ROOT / "RELEASING.md", ROOT / "CONTRIBUTING.md"], ids=lambda path: path.name)
def test_targets_exist(path):
    text = path.read_text("utf-8")
    wanted = set(re.findall(r"(?:run: make|`make|target:) ([a-z][a-z-]*)", text))
    assert wanted <= targets()


@pytest.mark.skipif(not WORKFLOWS, reason="no workflows")
def test_every_suite_runs_in_a_workflow():
    text = "".join(path.read_text("utf-8") for path in WORKFLOWS)
    suites = {name for name in targets() if name.startswith("test")} | {"lint", "docs", "wheels", "dist"}
    assert {name for name in suites if re.search(rf"(?:make|target:) {name}\b(?!-)", text)} == suites


def test_versions_agree():
    cited = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text("utf-8"), re.MULTILINE)
    assert cited[1] == fd.__version__
    assert f"\n## [{fd.__version__}] - " in (ROOT / "CHANGELOG.md").read_text("utf-8")
