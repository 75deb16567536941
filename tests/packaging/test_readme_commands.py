"""The README, the justfile, continuous integration and the package say the same things."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tomli

import toolkit
from toolkit import cli


@pytest.fixture(scope="module")
def readme(root: Path) -> str:
    return (root / "README.md").read_text(encoding="utf-8")


def just(root: Path, *arguments: str) -> str:
    program = shutil.which(
        "just", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    if program is None:
        pytest.skip("needs just, of the extra dev")
    return subprocess.run(
        [program, *arguments], cwd=root, capture_output=True, text=True, check=True
    ).stdout


def test_exactly_two_commands_set_everything_up(readme: str) -> None:
    commands = re.findall(r"^python3 -m venv .*$", readme, re.MULTILINE)
    assert len(commands) == 2
    assert commands[0].endswith("just run scenarios/opt66.toml")
    assert commands[1].endswith("just test")


def test_continuous_integration_calls_the_readme_s_test_command(root: Path, readme: str) -> None:
    """`.ci/run` takes the command out of the README with a pattern: it has to hit that one line."""
    script = (root / ".ci" / "run").read_text(encoding="utf-8")
    found = re.search(r"grep -E '(.*)' README\.md", script)
    assert found
    hits = [line for line in readme.splitlines() if re.search(found[1], line)]
    assert len(hits) == 1
    assert os.access(root / ".ci" / "run", os.X_OK)


def test_the_readme_s_table_names_every_command(readme: str) -> None:
    assert set(re.findall(r"^\| `toolkit ([\w-]+)", readme, re.MULTILINE)) == set(cli.COMMANDS)


def test_bare_just_lists_the_recipes_each_with_a_comment(root: Path) -> None:
    listed = [line for line in just(root).splitlines()[1:] if line.strip()]
    assert len(listed) > 10
    for line in listed:
        assert "#" in line


def test_recipes_pass_arguments_on_as_they_are(root: Path) -> None:
    """A query with spaces arrives as one argument."""
    answer = just(root, "catalog", "OPT-66B", "--json")
    assert answer.startswith("[")


def test_one_version_everywhere(root: Path) -> None:
    cited = (root / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {toolkit.__version__}\n" in cited
    project = tomli.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["hatch"]["version"]["path"] == "toolkit/__init__.py"


def test_the_citation_names_the_paper(root: Path) -> None:
    cited = (root / "CITATION.cff").read_text(encoding="utf-8")
    assert "KV-cache Streaming for Fast, Fault-tolerant Generative LLM Serving" in cited
    assert "2403.01876" in cited


def test_links_to_our_own_files_resolve(root: Path) -> None:
    for page in [root / "README.md", *(root / "docs").rglob("*.md"), *root.glob("*/README.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_s_command_prints_what_the_readme_shows(
    root: Path, readme: str, tmp_path: Path
) -> None:
    """Line by line; `...` in the README stands for lines left out.  `just docs` writes it."""
    block = re.search(r"```console\n\$ toolkit ([^\n]*)\n(.*?)```", readme, re.DOTALL)
    assert block
    words = [
        str(root / word) if word.startswith("scenarios/") else word for word in block[1].split()
    ]
    done = subprocess.run(
        [sys.executable, "-m", "toolkit", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "COLUMNS": "80", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    printed = "\n".join(line.rstrip() for line in done.stdout.splitlines())
    for part in block[2].split("...\n"):
        assert part.strip("\n") in printed


def test_the_readme_shows_the_scenario_as_it_is(root: Path, readme: str) -> None:
    assert (root / "scenarios" / "first.toml").read_text(encoding="utf-8").rstrip() in readme


def test_the_readme_s_python_runs(root: Path, readme: str, tmp_path: Path) -> None:
    """As printed, but for a shorter workload."""
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    shorter = code.replace(
        'variant="disaggregated"', 'variant="disaggregated", sets=["workload.entries=8"]'
    )
    assert shorter != code
    os.symlink(root / "scenarios", tmp_path / "scenarios")
    subprocess.run([sys.executable, "-c", shorter], cwd=tmp_path, check=True, capture_output=True)


def test_pictures_are_small(root: Path) -> None:
    for picture in (root / "docs" / "images").iterdir():
        assert picture.stat().st_size < 300_000
