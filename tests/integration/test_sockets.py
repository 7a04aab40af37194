# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sockets of containers: counted, refused at their limits, changed live, and never miscounted."""

import pytest
from harness import roots
from harness.counters import counters, set_counters, ubc
from harness.guest import wait_for

PERL = "use Socket; use Errno; $| = 1; my $n = 0; my @s; sub tcp { socket(my $s, PF_INET, SOCK_STREAM, 0) or return; $s }"
FILL = PERL + "while ($n < 40 and my $s = tcp()) { push @s, $s; $n++ } print \"$n $!\\n\";"
FILL_UDP = FILL.replace("tcp()", "udp()") + "sub udp { socket(my $s, PF_INET6, SOCK_DGRAM, 0) or return; $s }"
# Both ends are in here: each connection is two sockets.
CONNECT = PERL + """
my $l = tcp(); listen($l, 64); my $to = getsockname($l);
while ($n < 40 and my $s = tcp()) {
    setsockopt($s, 6, 18, pack('l', 700));
    connect($s, $to) or last; push @s, $s; $n++
}
print "$n $!\\n";
"""


@pytest.fixture
def perl(make_guest):
    """perl(script) runs it in a container, which has these limits to begin with: its words."""
    filesystem = f"<filesystem type='mount'><source dir='{roots.cached('debian')}'/><target dir='/debian'/><readonly/></filesystem>"

    def run(script):
        return run.guest.inside("/bin/chroot", "/debian", "/usr/bin/perl", "-", stdin=script).strip().split(" ", 1)

    def start(**limits):
        run.guest = make_guest(devices=filesystem, top=ubc(**limits))
        run.guest.define().start().ready()
        run.guest.inside("/bin/ip", "link", "set", "lo", "up")
        return run

    return start


def socket_programs(daemon, name="numtcpsock"):
    return counters(daemon)[name]["state"] == "gated"


def no_more_held(daemon):
    """A socket may outlive its process for a moment."""
    wait_for(lambda: counters(daemon)["numtcpsock"]["held"] == 0, what="the end of all sockets")


@pytest.mark.host
def test_numtcpsock_refuses_a_socket(daemon, perl):
    run = perl(numtcpsock=7)
    if not socket_programs(daemon):
        pytest.skip("this host takes no BPF programs")
    assert run(FILL) == ["7", "No buffer space available"]
    no_more_held(daemon)
    told = counters(daemon)["numtcpsock"]
    assert (told["maxheld"], told["failcnt"], told["limit"]) == (7, 1, 7)
    set_counters(daemon, "<numtcpsock limit='12'/>", "--live")
    assert run(FILL)[0] == "12"
    # Also in a daemon that has not made the programs.
    daemon.restart()
    set_counters(daemon, "<numtcpsock limit='3'/>", "--live")
    assert run(FILL)[0] == "3"
    told = counters(daemon)["numtcpsock"]
    assert (told["maxheld"], told["failcnt"], told["limit"]) == (12, 3, 3)
    set_counters(daemon, "<numtcpsock limit='unlimited'/>", "--live")
    assert run(FILL)[0] == "40"
    no_more_held(daemon)


@pytest.mark.host
def test_connections_that_come_in_count_and_are_held_off(daemon, perl):
    run = perl(numtcpsock=6)
    if not socket_programs(daemon):
        pytest.skip("this host takes no BPF programs")
    # The listener and two connections; the sixth is there, but its connection is not let in.
    assert run(CONNECT) == ["2", "Connection timed out"]
    no_more_held(daemon)
    told = counters(daemon)["numtcpsock"]
    assert told["maxheld"] == 6 and told["failcnt"] >= 1
    # Here it is the socket that is refused.
    set_counters(daemon, "<numtcpsock limit='7'/>", "--live")
    assert run(CONNECT) == ["3", "No buffer space available"]
    set_counters(daemon, "<numtcpsock limit='unlimited'/>", "--live")
    assert run(CONNECT)[0] == "40"
    no_more_held(daemon)
    assert counters(daemon)["numtcpsock"]["maxheld"] == 81


@pytest.mark.host
def test_numothersock_refuses_those_of_the_internet(daemon, perl):
    run = perl(numothersock=5)
    if not socket_programs(daemon):
        pytest.skip("this host takes no BPF programs")
    assert run(FILL_UDP) == ["5", "No buffer space available"]
    told = counters(daemon)["numothersock"]
    assert told["failcnt"] == 1 and told["state"] == "accounted"
    assert run(FILL)[0] == "40"
    set_counters(daemon, "<numothersock limit='9'/>", "--live")
    assert run(FILL_UDP)[0] == "9"


@pytest.mark.host
def test_limits_are_of_one_container(daemon, perl, make_guest):
    run = perl(numtcpsock=1)
    other = make_guest("other").define().start().ready()
    assert counters(daemon, "other")["numtcpsock"]["limit"] == 2**63 - 1
    if socket_programs(daemon):
        assert run(FILL)[0] == "1"
        assert counters(daemon, other.name)["numtcpsock"]["failcnt"] == 0


BUFFERS = PERL + """
my $s = tcp(); my @got;
for my $option (SO_SNDBUF, SO_RCVBUF) {
    push @got, unpack('i', getsockopt($s, SOL_SOCKET, $option));
    setsockopt($s, SOL_SOCKET, $option, pack('i', 1 << 20));
    push @got, unpack('i', getsockopt($s, SOL_SOCKET, $option));
}
print "@got\\n";
"""


def sysctl(guest, name):
    return guest.inside("/bin/cat", f"/proc/sys/net/ipv4/{name}").split()


@pytest.mark.host
def test_buffers_of_tcp_are_bounded(daemon, perl):
    run = perl(numtcpsock=10, tcpsndbuf=(100000, 200000), tcprcvbuf=300000)
    if not socket_programs(daemon):
        pytest.skip("this host takes no BPF programs")

    def sizes():
        return [int(size) for size in " ".join(run(BUFFERS)).split()]

    told = counters(daemon)["tcpsndbuf"]
    assert told["state"] == "bounded" and "20000 bytes" in told["mechanism"]
    assert sysctl(run.guest, "tcp_wmem")[2] == "20000" and sysctl(run.guest, "tcp_rmem")[2] == "30000"
    assert sizes() == [16384, 20000, 30000, 30000]
    # The container's root can neither raise them, nor is it kept from its other settings.
    run.guest.inside("/bin/sh", "-c", "echo 4096 99999 999999 >/proc/sys/net/ipv4/tcp_wmem; "
                     "echo 4096 99999 999999 >/proc/sys/net/ipv4/tcp_rmem; "
                     "echo 3 >/proc/sys/net/ipv4/tcp_syn_retries", check=False)
    assert sysctl(run.guest, "tcp_wmem")[2] == "20000" and sysctl(run.guest, "tcp_rmem")[2] == "30000"
    assert sysctl(run.guest, "tcp_syn_retries") == ["3"]
    set_counters(daemon, "<tcpsndbuf barrier='9000' limit='400000'/><tcprcvbuf limit='unlimited'/>", "--live")
    assert sysctl(run.guest, "tcp_wmem")[2] == "40000" and int(sysctl(run.guest, "tcp_rmem")[2]) > 1000000
    assert sizes()[1] == 40000 and sizes()[3] > 40000
    assert counters(daemon)["tcprcvbuf"]["state"] == "accounted"
    set_counters(daemon, "<tcpsndbuf limit='unlimited'/>", "--live")
    assert sizes()[1] > 40000


# Sockets of UDP, bound, with what it asked for, and that sends without an address; a local one that asked.
DATAGRAMS = PERL + """
sub sizes { my ($s) = @_; map { unpack('i', getsockopt($s, SOL_SOCKET, $_)) } (SO_SNDBUF, SO_RCVBUF) }
sub ask { my ($s) = @_; setsockopt($s, SOL_SOCKET, $_, pack('i', 1 << 20)) for (SO_SNDBUF, SO_RCVBUF) }
my $here = pack_sockaddr_in(0, INADDR_LOOPBACK);
socket(my $bound, PF_INET, SOCK_DGRAM, 0); bind($bound, $here); print join(' ', sizes($bound)), ' ';
ask($bound); print join(' ', sizes($bound)), ' ';
socket(my $sends, PF_INET, SOCK_DGRAM, 0); send($sends, 'x', 0, getsockname($bound)); print join(' ', sizes($sends)), ' ';
socket(my $six, PF_INET6, SOCK_DGRAM, 0); connect($six, pack_sockaddr_in6(9, Socket::IN6ADDR_LOOPBACK));
print join(' ', sizes($six)), ' ';
socketpair(my $one, my $two, PF_UNIX, SOCK_STREAM, 0); ask($one); print join(' ', sizes($one)), "\\n";
"""


@pytest.mark.host
def test_buffers_of_datagrams_are_bounded(daemon, perl):
    run = perl(numothersock=10, othersockbuf=(100000, 200000), dgramrcvbuf=300000)
    if not socket_programs(daemon):
        pytest.skip("this host takes no BPF programs")
    assert [int(size) for size in " ".join(run(DATAGRAMS)).split()] == [20000, 30000] * 5
    told = counters(daemon)
    assert told["dgramrcvbuf"]["state"] == "bounded" and "30000 bytes" in told["dgramrcvbuf"]["mechanism"]
    assert told["othersockbuf"]["state"] == "accounted" and "20000 bytes" in told["othersockbuf"]["mechanism"]
    set_counters(daemon, "<dgramrcvbuf limit='unlimited'/><othersockbuf barrier='9' limit='400000'/>", "--live")
    sizes = [int(size) for size in " ".join(run(DATAGRAMS)).split()]
    assert sizes[0] == sizes[8] == 40000 and sizes[1] > 40000
    assert counters(daemon)["dgramrcvbuf"]["state"] == "accounted"
    set_counters(daemon, "<othersockbuf limit='unlimited'/>", "--live")
    assert int(run(DATAGRAMS)[0]) > 40000
