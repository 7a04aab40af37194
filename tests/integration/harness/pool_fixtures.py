# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fixtures of tests with storage pools: pytest_plugins = ["harness.pool_fixtures"]."""

import os
import shutil

import pytest

from .pools import Pool, PoolEvents


@pytest.fixture
def make_pool(daemon):
    """make_pool(name="pool", kind="ploop") -> a Pool that is not defined yet; all are removed after the test."""
    pools = []

    def make(name="pool", kind="ploop"):
        pools.append(Pool(daemon, name, kind))
        return pools[-1]

    yield make
    if not daemon.running():
        daemon.start()
    for pool in pools:
        pool.close()
    shutil.rmtree(os.path.join(daemon.folder, "pools"), ignore_errors=True)


@pytest.fixture
def pool(make_pool):
    """An active, persistent ploop pool."""
    return make_pool().make()


@pytest.fixture
def pool_events(daemon):
    recorder = PoolEvents(daemon)
    yield recorder
    recorder.close()
