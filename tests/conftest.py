"""Fixtures every room's tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("steady", deadline=None)  # a slow machine is no counterexample
settings.load_profile("steady")

ROOT = Path(__file__).resolve().parent.parent


class OneFileOneWorker:
    """Hands out the tests file by file, so that what a file's tests share is made once."""

    @pytest.hookimpl
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        """Return the scheduler of `--dist loadfile`, unless another one was asked for."""
        from xdist.scheduler import LoadFileScheduling  # noqa: PLC0415 - of the extra dev

        if config.option.dist != "load":
            return None
        # In the order of the folders: the last files are light, so no worker ends long before.
        config.option.loadscopereorder = False
        return LoadFileScheduling(config, log)


def pytest_configure(config: pytest.Config) -> None:
    """Compile before workers start, or each would compile the same loops at the same time."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    config.pluginmanager.register(OneFileOneWorker())
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        from toolkit.runs import compile_loops  # noqa: PLC0415 - only where workers are started

        compile_loops()


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the folder of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of reference data beside the checkout, or skip the test."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip(
            f"needs the reference data in {folder.name}/ beside the checkout, which is absent"
        )
    return folder
