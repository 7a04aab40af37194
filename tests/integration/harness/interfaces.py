# SPDX-License-Identifier: LGPL-2.1-or-later
"""What tests of interfaces ask and say."""

import json
import xml.etree.ElementTree as ElementTree


def links(daemon):
    return {link["ifname"]: link for link in json.loads(daemon.run("ip", "-j", "link").stdout)}


def ports(daemon, network="lan"):
    """The ports that the network driver knows."""
    listed = daemon.virsh("net-port-list", network).stdout.split()
    return [word for word in listed if word.count("-") == 4]


def interfaces_of(guest, *flags):
    return ElementTree.fromstring(guest.live_xml(*flags)).findall("devices/interface")


def interface_of(guest, *flags):
    return interfaces_of(guest, *flags)[0]


def ping(guest, address):
    guest.inside("/bin/ping", "-c", "1", "-W", "5", address)


def pings(guest, address, *options, wait=5):
    """Whether an answer comes."""
    done = guest.inside("/bin/ping", "-c", "1", "-W", wait, *options, address, check=False)
    return "1 packets received" in done


def silent(guest, address, *options):
    """Whether none does for a while."""
    return not pings(guest, address, *options, wait=1)


_ECHO = """
import socket, sys, time
end = time.monotonic() + 20
while True:
    try:
        link = socket.create_connection((sys.argv[1], 5000), 5)
        break
    except OSError:
        if time.monotonic() > end:
            raise
        time.sleep(0.02)
data = bytes(range(256)) * 1000
link.sendall(data)
back = b""
while len(back) < len(data):
    part = link.recv(65536)
    if not part:
        break
    back += part
sys.exit(back != data)
"""


def exchange(daemon, guest, address, enter=()):
    """TCP: what the host, or who `enter` leads to, sends to a container comes back as it was."""
    guest.inside("/bin/sh", "-c", "/bin/nc -l -p 5000 -e /bin/cat </dev/null >/dev/null 2>&1 &")
    daemon.run(*enter, "python3", "-c", _ECHO, address)


def nic(number, kind, inside):
    """An <interface> with the address 192.0.2.NUMBER; the host's end of everything is 192.0.2.254."""
    return f"""<interface type='{kind}'><mac address='52:54:00:00:00:{number:02x}'/>{inside}
        <ip address='192.0.2.{number}' family='ipv4' prefix='24'/></interface>"""
