"""A fresh bench for each test of the worker."""

import pytest

from worker_bench import Bench


@pytest.fixture
async def bench() -> Bench:
    """Made in the test's own loop, whose time it runs by."""
    return Bench()
