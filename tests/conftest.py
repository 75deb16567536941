"""Fixtures every room's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("steady", deadline=None)  # a slow machine is no counterexample
settings.load_profile("steady")

ROOT = Path(__file__).resolve().parent.parent


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
