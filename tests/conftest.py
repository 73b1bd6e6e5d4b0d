"""Fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED_MEDIA = Path(__file__).resolve().parents[2] / "shared" / "media"


@pytest.fixture(scope="session")
def shared_media() -> Path:
    """The folder of real media beside the checkout; tests that need it skip where it is missing."""
    if not SHARED_MEDIA.is_dir():
        pytest.skip("no folder of real media beside this checkout")
    return SHARED_MEDIA
