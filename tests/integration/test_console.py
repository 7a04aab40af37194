# SPDX-License-Identifier: LGPL-2.1-or-later
"""Consoles: streams to them, several of them, who may have one, and their logs."""

import os
import re
import select
import subprocess
import time

import libvirt
import pytest
from harness.events import start_loop
from harness.guest import wait_for

FORCE, SAFE = libvirt.VIR_DOMAIN_CONSOLE_FORCE, libvirt.VIR_DOMAIN_CONSOLE_SAFE


@pytest.fixture(scope="module", autouse=True)
def event_loop():
    """What arrives on a stream that does not block is read by the event loop only."""
    start_loop()


class Console:
    """A stream to a console; reads until a text comes."""

    def __init__(self, conn, name="ct", device=None, flags=0):
        self.stream = conn.newStream(libvirt.VIR_STREAM_NONBLOCK)
        conn.lookupByName(name).openConsole(device, self.stream, flags)
        self.seen = b""

    def send(self, text):
        self.stream.send(text.encode())

    def expect(self, text, seconds=10):
        """Reads until `text` (a regular expression) has come; what came up to it is used up."""
        end = time.monotonic() + seconds
        while True:
            found = re.search(text.encode(), self.seen)
            if found:
                self.seen = self.seen[found.end():]
                return found
            data = self.stream.recv(4096)
            if data == -2:
                if time.monotonic() > end:
                    raise AssertionError(f"no {text!r} on the console, but {self.seen!r}")
                time.sleep(0.01)
            elif not data:
                raise AssertionError(f"the console ended after {self.seen!r}")
            else:
                self.seen += data

    def ended(self):
        try:
            data = self.stream.recv(4096)
            while data not in (-2, b""):
                data = self.stream.recv(4096)
            return data == b""
        except libvirt.libvirtError:
            return True

    def close(self):
        try:
            self.stream.abort()
        except libvirt.libvirtError:
            pass
        self.stream = None  # It would keep its connection open for as long as this object is known.


@pytest.fixture
def console(conn, running):
    stream = Console(conn)
    yield stream
    stream.close()


def say(console, word):
    # The word is computed inside, so that its echo is not what is found.
    console.send(f"echo {word[:1]}''{word[1:]}\n")
    console.expect(word + "\r")


def test_shell_on_the_console(console):
    say(console, "hello")
    console.send("tty; stty -a | head -1\n")
    console.expect("/dev/(console|pts/0)")


def test_reconnect(conn, running):
    for word in ("first", "second", "third"):
        console = Console(conn)
        say(console, word)
        console.close()
        time.sleep(0.1)


def test_second_reader_is_refused_unless_it_forces(conn, console):
    say(console, "mine")
    with pytest.raises(libvirt.libvirtError) as error:
        Console(conn, flags=SAFE)
    assert error.value.get_error_code() in (libvirt.VIR_ERR_OPERATION_FAILED, libvirt.VIR_ERR_RESOURCE_BUSY)
    other = Console(conn, flags=FORCE)
    say(other, "taken")
    wait_for(console.ended, what="the end of the first reader")
    other.close()


def test_client_that_dies_frees_the_console(daemon, conn, running):
    client = subprocess.Popen(["script", "-qefc", f"virsh -q -c '{daemon.url()}' console ct", "/dev/null"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    seen = b""
    end = time.monotonic() + 20
    while b"virsh\r\n" not in seen.replace(b"vi''rsh", b""):
        assert time.monotonic() < end, f"no answer on the console, but {seen!r}"
        # virsh drops what was typed before it had its terminal ready.
        client.stdin.write(b"echo vi''rsh\n")
        client.stdin.flush()
        if select.select([client.stdout], [], [], 0.5)[0]:
            data = os.read(client.stdout.fileno(), 4096)
            assert data, f"virsh ended after {seen!r}"
            seen += data
    client.kill()
    client.wait()
    client.stdin.close()
    client.stdout.close()

    def again():
        try:
            return Console(conn)
        except libvirt.libvirtError:
            return None

    other = wait_for(again, what="the console to be free")
    say(other, "free")
    other.close()


def test_several_consoles(conn, make_guest):
    make_guest(console="<console type='pty'/><console type='pty'/><console type='pty'/>").define().start().ready()
    domain = conn.lookupByName("ct")
    paths = re.findall(r"<source path='(/dev/pts/\d+)'/>", domain.XMLDesc())
    assert len(paths) == 3 and len(set(paths)) == 3
    first = Console(conn, device="console0")
    say(first, "zero")
    # The others are there inside, as terminals on which a program can be started.
    second = Console(conn, device="console1")
    first.send("ls /dev/tty1 /dev/tty2 && echo second >/dev/tty2 || echo second >/dev/tty1\n")
    first.expect("/dev/tty")
    third = Console(conn, device="console2")
    for stream in (first, second, third):
        stream.close()
    with pytest.raises(libvirt.libvirtError):
        Console(conn, device="console9")


def test_much_output(conn, console):
    console.send("i=0; while [ $i -lt 3000 ]; do echo line-$i-0123456789012345678901234567890123456789; i=$((i+1)); done; "
                 "echo d''one\n")
    console.expect("line-2999-", seconds=30)
    console.expect("done\r")


def test_output_that_nobody_reads_does_not_block(running, conn):
    console = Console(conn)
    console.send("i=0; while [ $i -lt 20000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done; "
                 "echo yes >/finished\n")
    console.expect("0123")
    console.close()
    running.wait_file("/finished", seconds=30)


def test_console_goes_on_over_a_daemon_restart(daemon, running):
    connection = daemon.connect()
    console = Console(connection)
    say(console, "before")
    daemon.restart()
    connection.close()
    connection = daemon.connect()
    console = Console(connection)
    say(console, "after")
    console.close()
    connection.close()


def test_console_goes_on_over_a_reboot(conn, running):
    console = Console(conn)
    say(console, "before")
    console.send("reboot -f\n")
    wait_for(lambda: running.boots() == 2, what="the second boot")
    if console.ended():
        console = Console(conn)
    console.send("\n")
    say(console, "after")
    console.close()


def test_console_of_a_stopped_one(conn, guest):
    with pytest.raises(libvirt.libvirtError) as error:
        Console(conn)
    assert error.value.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID


def test_pty_of_the_live_xml_can_be_read(conn, running):
    """Some clients open the pty themselves instead of asking for a stream."""
    descriptor = os.open(running.console_path(), os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        os.write(descriptor, b"echo d''irect\n")
        seen = b""

        def read():
            nonlocal seen
            try:
                seen += os.read(descriptor, 4096)
            except BlockingIOError:
                pass
            return b"direct" in seen

        wait_for(read, what="output on the pty")
    finally:
        os.close(descriptor)


def test_log_file(daemon, conn, make_guest):
    log = os.path.join(daemon.folder, "log/ct-console.log")
    guest = make_guest(console="<console type='pty'><log file='/var/log/libvirt/ct-console.log'/></console>")
    guest.define().start().ready()

    def text():
        with open(log, encoding="utf-8", errors="replace") as file:
            return file.read()

    wait_for(lambda: os.path.exists(log) and "tiny-root-ready" in text(), what="the boot message in the log")
    console = Console(conn)
    say(console, "logged")
    console.close()
    wait_for(lambda: "logged" in text(), what="the console in the log")
    assert os.stat(log).st_mode & 0o077 == 0, "what stands on a console is not for everybody"
    # Without append it begins anew.
    daemon.virsh("destroy", "ct")
    guest.start().ready()
    wait_for(lambda: "tiny-root-ready" in text(), what="the boot message in the new log")
    assert "logged" not in text()


def test_log_file_is_bounded(daemon, conn, make_guest):
    guest = make_guest(console="<console type='pty'><log file='/var/log/libvirt/big.log' append='on'/></console>")
    guest.define().start().ready()
    console = Console(conn)
    console.send("yes 0123456789012345678901234567890123456789 | head -c 6000000; echo yes >/finished\n")
    console.expect("0123")
    console.close()
    guest.wait_file("/finished", seconds=60)
    total = sum(os.path.getsize(os.path.join(daemon.folder, "log", name))
                for name in os.listdir(os.path.join(daemon.folder, "log")) if name.startswith("big.log"))
    assert 0 < total < 5 * 1024 * 1024
