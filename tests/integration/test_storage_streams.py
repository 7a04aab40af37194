# SPDX-License-Identifier: LGPL-2.1-or-later
"""Uploads to and downloads from volumes of ploop pools: the bytes of the guest's disk."""

import os
import signal
import subprocess

import libvirt
import pytest
from harness.guest import wait_for
from harness.pools import MIB, code_of

pytest_plugins = ["harness.pool_fixtures"]


def processes(daemon):
    return [pid for pid in daemon.processes() if os.path.basename(os.readlink(f"/proc/{pid}/exe")) == "vz-ploopd"]


@pytest.mark.host
@pytest.mark.parametrize("kind", ["ploop", "raw"])
def test_parts_of_the_disk(pool, tmp_path, kind):
    content = os.urandom(3 * MIB + 77)
    (tmp_path / "in").write_bytes(content)
    pool.volume("vol", "16M", "--format", kind)
    pool.virsh("vol-wipe", "vol", pool.name)
    pool.virsh("vol-upload", "vol", tmp_path / "in", pool.name, "--offset", 1000)
    pool.virsh("vol-download", "vol", tmp_path / "all", pool.name)
    assert (tmp_path / "all").read_bytes() == bytes(1000) + content + bytes(13 * MIB - 1077)
    pool.virsh("vol-download", "vol", tmp_path / "part", pool.name, "--offset", 1100, "--length", 5000)
    assert (tmp_path / "part").read_bytes() == content[100:5100]
    (tmp_path / "in").write_bytes(content[:4096])
    pool.virsh("vol-upload", "vol", tmp_path / "in", pool.name, "--length", 4096)
    pool.virsh("vol-download", "vol", tmp_path / "part", pool.name, "--length", 8192)
    assert (tmp_path / "part").read_bytes() == content[:4096] + content[3096:7192]


def test_sparse_streams(pool, tmp_path):
    with open(tmp_path / "in", "wb") as file:
        file.write(b"x" * 65536)
        file.seek(8 * MIB)
        file.write(b"y" * 65536)
        file.truncate(16 * MIB)
    pool.volume("vol", "16M")
    pool.virsh("vol-upload", "vol", tmp_path / "in", pool.name, "--sparse")
    pool.virsh("vol-download", "vol", tmp_path / "out", pool.name, "--sparse")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "in").read_bytes()


def test_beyond_the_end(pool, conn, tmp_path):
    pool.volume("vol", "16M")
    volume = conn.storageVolLookupByPath(pool.path("vol"))
    for offset, length in ((17 * MIB, 0), (0, 17 * MIB), (1, (1 << 62) - 1), ((1 << 62) - 1, 0)):
        for call in (volume.upload, volume.download):
            assert code_of(call, conn.newStream(), offset, length) == libvirt.VIR_ERR_INVALID_ARG
    (tmp_path / "in").write_bytes(bytes(17 * MIB))
    done = pool.virsh("vol-upload", "vol", tmp_path / "in", pool.name, check=False)
    assert done.returncode != 0
    pool.virsh("vol-delete", "vol", pool.name)


def test_client_that_goes_away(pool, daemon, conn):
    """In the middle of a stream: the volume is free again, and nothing of it is left."""
    pool.volume("vol", "64M")
    for write in (True, False):
        argv = ["virsh", "-c", daemon.url(), "vol-upload" if write else "vol-download", "vol", "/dev/stdin" if write
                else "/dev/stdout", pool.name]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as client:
            if write:
                client.stdin.write(b"z" * (4 * MIB))
                client.stdin.flush()
            wait_for(lambda: processes(daemon), what="the beginning of the stream")
            pool.fails("vol-delete", "vol", pool.name, containing="loaded")
            pool.fails("pool-destroy", pool.name, containing="asynchronous jobs")
            client.send_signal(signal.SIGKILL)
        wait_for(lambda: not processes(daemon), what="the end of vz-ploopd")
        assert pool.info("vol")[1] == 64 * MIB
        wait_for(lambda: pool.virsh("pool-refresh", pool.name, check=False).returncode == 0, what="the end of the work")
    pool.virsh("vol-delete", "vol", pool.name)


def test_daemon_killed_within_a_stream(pool, daemon):
    pool.volume("vol", "64M")
    argv = ["virsh", "-c", daemon.url(), "vol-upload", "vol", "/dev/stdin", pool.name]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as client:
        client.stdin.write(b"z" * (4 * MIB))
        client.stdin.flush()
        wait_for(lambda: processes(daemon), what="the beginning of the stream")
        daemon.kill9()
        client.kill()
    wait_for(lambda: not processes(daemon), what="the end of vz-ploopd")
    daemon.start()
    pool.virsh("vol-delete", "vol", pool.name)
    assert pool.entries() == []


def test_next_call_waits_for_the_end_of_a_stream(pool, tmp_path):
    """An upload that has ended is closed a moment later; who comes meanwhile is not told that it is busy."""
    (tmp_path / "in").write_bytes(os.urandom(4 * MIB))
    for number in range(5):
        pool.volume("vol", "16M")
        pool.virsh("vol-upload", "vol", tmp_path / "in", pool.name)
        pool.virsh("vol-delete" if number % 2 else "vol-wipe", "vol", pool.name)
        pool.virsh("pool-refresh", pool.name)
        if number % 2 == 0:
            pool.virsh("vol-delete", "vol", pool.name)


def test_readers_do_not_exclude_each_other(pool, conn):
    pool.volume("vol", "16M")
    volume = conn.storageVolLookupByPath(pool.path("vol"))
    streams = [conn.newStream() for _ in range(2)]
    for stream in streams:
        volume.download(stream, 0, 0)
    assert all(len(stream.recv(4096)) == 4096 for stream in streams)
    assert code_of(volume.delete) == libvirt.VIR_ERR_OPERATION_INVALID
    for stream in streams:
        stream.abort()
    volume.delete()
