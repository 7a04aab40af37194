# SPDX-License-Identifier: LGPL-2.1-or-later
"""Traffic between network namespaces: how fast it is, and whether it arrives. Also a program, which is the two
ends: `traffic.py serve SECONDS` and `traffic.py send ADDRESS PORT`."""

import os
import socket
import subprocess
import sys
import time


def in_guest(guest):
    """What to put before a command to run it in the network namespace of a running guest."""
    return ["nsenter", "-t", str(guest.id()), "-n"]


def bytes_per_second(to, address, sender, seconds=0.8):
    """TCP from the namespace that `sender` enters to `address` in that of `to`, both prefixes of commands."""
    program = [sys.executable, os.path.abspath(__file__)]
    with subprocess.Popen([*to, *program, "serve", str(seconds)], stdout=subprocess.PIPE, text=True) as server:
        port = server.stdout.readline().strip()
        with subprocess.Popen([*sender, *program, "send", address, port], stderr=subprocess.PIPE) as client:
            try:
                answer = server.communicate(timeout=seconds + 20)[0]
            finally:
                server.kill()
                client.kill()
            assert server.returncode == 0, client.stderr.read()
    return float(answer)


def _serve(seconds):
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        print(server.getsockname()[1], flush=True)
        server.settimeout(10)
        stream = server.accept()[0]
    # What was saved up as a burst is gone after the first packets.
    _drain(stream, 0.3)
    begin = time.monotonic()
    count = _drain(stream, seconds)
    print(count / (time.monotonic() - begin))


def _drain(stream, seconds):
    """
    Bytes that arrive in that time. All that is there is taken before it begins to count and when it ends, so that it
    does not matter how late this process runs.
    """
    count, end = 0, time.monotonic() + seconds
    while True:
        try:
            got = len(stream.recv(1 << 20, socket.MSG_DONTWAIT))
            assert got
            count += got
        except BlockingIOError:
            if time.monotonic() > end:
                return count
            time.sleep(0.005)


def _send(address, port):
    block = bytes(1 << 16)
    with socket.create_connection((address, int(port)), timeout=10) as stream:
        try:
            while True:
                stream.sendall(block)
        except OSError:
            pass


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        _serve(float(sys.argv[2]))
    else:
        _send(*sys.argv[2:])
