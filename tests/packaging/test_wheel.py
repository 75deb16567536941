"""A built wheel is the whole toolkit: schemas, catalog and SQL travel with it."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="needs hatchling, of the extra dev, to build")


@pytest.fixture(scope="module")
def built(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the wheel and the sdist, built without a network."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d"]
    subprocess.run([*command, str(folder)], cwd=root, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that holds what an installer would unpack."""
    folder = tmp_path_factory.mktemp("site")
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def toolkit(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line of the unpacked wheel, away from the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", "toolkit", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def test_every_data_file_of_the_checkout_is_in_the_wheel(root: Path, installed: Path) -> None:
    for file in (root / "toolkit").rglob("*"):
        if (
            file.is_file()
            and "__pycache__" not in file.parts
            and file.suffix not in (".nbi", ".nbc")
        ):
            assert (installed / file.relative_to(root)).is_file()
    for file in (root / "schemas").rglob("*.json"):
        assert (installed / "toolkit" / file.relative_to(root)).is_file()


def test_the_code_that_runs_is_the_wheel_s(installed: Path, tmp_path: Path) -> None:
    where = "import toolkit; print(toolkit.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", where],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.strip()).is_relative_to(installed)


def test_the_catalog_is_there(installed: Path, tmp_path: Path) -> None:
    done = toolkit(installed, tmp_path, "catalog", "OPT-66B")
    assert done.returncode == 0, done.stderr
    assert "OPT-66B (model)" in done.stdout


def test_a_scenario_is_checked_and_run(root: Path, installed: Path, tmp_path: Path) -> None:
    scenario = tmp_path / "opt66.toml"
    scenario.write_bytes((root / "scenarios" / "opt66.toml").read_bytes())
    checked = toolkit(installed, tmp_path, "check", "opt66.toml")
    assert checked.returncode == 0, checked.stderr

    few = ("--set", "workload.entries=8", "--variant", "baseline", "--no-report", "--json")
    done = toolkit(installed, tmp_path, "run", "opt66.toml", *few)
    assert done.returncode == 0, done.stderr
    listed = toolkit(installed, tmp_path, "sql", "--list")
    assert listed.returncode == 0, listed.stderr


def test_the_sdist_builds_and_tests_itself(built: Path) -> None:
    """It has what a packager needs, and nothing of a run's output."""
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    for wanted in ("pyproject.toml", "LICENSE", "README.md", "justfile", "tests/conftest.py"):
        assert wanted in names
    assert {name for name in names if name.startswith(("traces/", "reports/"))} <= {
        "traces/README.md",
        "reports/README.md",
    }
