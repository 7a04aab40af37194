# SPDX-License-Identifier: LGPL-2.1-or-later
"""Malformed and hostile domain XML: each is refused with the right code, and the daemon goes on."""

import libvirt
import pytest

XML, UNSUPPORTED, ARGUMENT = libvirt.VIR_ERR_XML_ERROR, libvirt.VIR_ERR_CONFIG_UNSUPPORTED, libvirt.VIR_ERR_INVALID_ARG
DETAIL, SCHEMA = libvirt.VIR_ERR_XML_DETAIL, libvirt.VIR_ERR_XML_INVALID_SCHEMA
SYNTAX = {XML, DETAIL, libvirt.VIR_ERR_INTERNAL_ERROR}
VZ = "xmlns:vz='urn:libvirt-vz:domain:1.0'"

HEAD = "<name>bad</name><memory unit='MiB'>64</memory><vcpu>1</vcpu><os><type>exe</type><init>/sbin/init</init></os>"
ROOT = "<filesystem type='mount'><source dir='/var/lib/libvirt/x'/><target dir='/'/></filesystem>"


def domain(devices=ROOT, head=HEAD, top="", kind="vz", attributes=""):
    return f"<domain type='{kind}' {attributes}>{head}{top}<devices>{devices}</devices></domain>"


LAUGHS = "<!DOCTYPE d [<!ENTITY a 'ha'>" + "".join(
    f"<!ENTITY {chr(98 + i)} '{('&' + chr(97 + i) + ';') * 10}'>" for i in range(9)) + "]>"

# name -> (XML, error codes that are right, words of which one is in the message)
AT_DEFINE = {
    "empty": ("", {XML, ARGUMENT, DETAIL}, ()),
    "not XML": ("hello", SYNTAX, ()),
    "cut off": (domain()[:120], SYNTAX, ()),
    "binary": ("<domain type='vz'>\x01\x02</domain>", SYNTAX, ()),
    "wrong root element": ("<network/>", {XML, libvirt.VIR_ERR_INTERNAL_ERROR}, ("domain",)),
    "unknown type": (domain(kind="nonsense"), {XML, ARGUMENT, UNSUPPORTED}, ("nonsense",)),
    "another driver's type": (domain(kind="lxc"), {XML, ARGUMENT, UNSUPPORTED}, ("lxc",)),
    "kvm container": (domain(kind="kvm"), {XML, ARGUMENT, UNSUPPORTED}, ("kvm", "vz")),
    "no name": (domain(head=HEAD.replace("<name>bad</name>", "")), {libvirt.VIR_ERR_NO_NAME, XML}, ("name",)),
    "empty name": (domain(head=HEAD.replace(">bad<", "><")), {libvirt.VIR_ERR_NO_NAME, XML, SCHEMA}, ("name",)),
    "name with a slash": (domain(head=HEAD.replace(">bad<", ">../../etc/passwd<")), {XML, ARGUMENT}, ("/", "name")),
    "name of dots": (domain(head=HEAD.replace(">bad<", ">..<")), {XML, ARGUMENT, UNSUPPORTED}, ("..", "name")),
    "name with a newline": (domain(head=HEAD.replace(">bad<", ">a\nb<")), {XML, ARGUMENT}, ("name",)),
    "endless name": (domain(head=HEAD.replace(">bad<", f">{'x' * 5000}<")), {XML, ARGUMENT, UNSUPPORTED,
                     libvirt.VIR_ERR_SYSTEM_ERROR}, ("name", "long")),
    "bad uuid": (domain(top="<uuid>1234</uuid>"), SYNTAX, ("uuid", "UUID")),
    "no memory": (domain(head=HEAD.replace("<memory unit='MiB'>64</memory>", "")), {XML, ARGUMENT}, ("memory",)),
    "memory out of range": (domain(head=HEAD.replace(">64<", ">99999999999999999999999<")),
                            {XML, ARGUMENT, libvirt.VIR_ERR_OVERFLOW, libvirt.VIR_ERR_INTERNAL_ERROR}, ()),
    "no vcpu": (domain(head=HEAD.replace("<vcpu>1", "<vcpu>0")), {XML, ARGUMENT, UNSUPPORTED, libvirt.VIR_ERR_INTERNAL_ERROR}, ()),
    "another machine": (domain(head=HEAD.replace("<type>", "<type arch='s390x'>")), {XML, ARGUMENT, UNSUPPORTED},
                        ("s390x", "arch")),
    "unknown os type": (domain(head=HEAD.replace(">exe<", ">uml<")), {XML, ARGUMENT, UNSUPPORTED,
                        libvirt.VIR_ERR_OS_TYPE}, ("uml", "exe")),
    "init that is no path": (domain(head=HEAD.replace("/sbin/init", "sbin/init")), {XML, UNSUPPORTED, ARGUMENT}, ("init",)),
    "relative target": (domain(ROOT.replace("dir='/'", "dir='mnt'")), {XML, UNSUPPORTED, ARGUMENT}, ("mnt", "target")),
    "target with ..": (domain(ROOT + ROOT.replace("dir='/'", "dir='/a/../../b'")), {XML, UNSUPPORTED, ARGUMENT}, ("..",)),
    "two roots": (domain(ROOT + ROOT), {XML, UNSUPPORTED, ARGUMENT}, ("/",)),
    "a sound card": (domain(ROOT + "<sound model='ich6'/>"), {UNSUPPORTED}, ("sound",)),
    "a watchdog": (domain(ROOT + "<watchdog model='i6300esb'/>"), {UNSUPPORTED}, ("watchdog",)),
    "a host PCI device": (domain(ROOT + "<hostdev mode='subsystem' type='pci'><source><address domain='0' bus='0' slot='1' "
                          "function='0'/></source></hostdev>"), {UNSUPPORTED}, ("hostdev", "pci")),
    "a TPM": (domain(ROOT + "<tpm model='tpm-tis'><backend type='emulator'/></tpm>"), {UNSUPPORTED}, ("tpm",)),
    "overlapping id ranges": (domain(top="<idmap><uid start='0' target='100000' count='100'/><uid start='50' "
                              "target='200000' count='100'/><gid start='0' target='100000' count='100'/></idmap>"),
                              {XML, UNSUPPORTED, ARGUMENT}, ("idmap", "overlap")),
    "id range past the end": (domain(top="<idmap><uid start='0' target='4294967290' count='100'/>"
                              "<gid start='0' target='100000' count='100'/></idmap>"), {XML, UNSUPPORTED, ARGUMENT}, ("idmap",)),
    "extension with an unknown element": (domain(top="<vz:container><vz:nonsense/></vz:container>", attributes=VZ),
                                          {XML, SCHEMA, UNSUPPORTED}, ("nonsense", "container")),
    "extension with a bad value": (domain(top="<vz:container><vz:cpu units='lots'/></vz:container>", attributes=VZ),
                                   {XML, SCHEMA, UNSUPPORTED}, ("cpu", "units", "lots")),
    "extension twice": (domain(top="<vz:container/><vz:container/>", attributes=VZ), {XML, SCHEMA, UNSUPPORTED}, ("container",)),
    "entities that explode": (LAUGHS + domain(head=HEAD.replace(">bad<", ">&j;<")), SYNTAX | {ARGUMENT}, ()),
    "an entity of a file": ("<!DOCTYPE d [<!ENTITY f SYSTEM 'file:///etc/passwd'>]>" + domain(head=HEAD.replace(">bad<", ">&f;<")),
                            SYNTAX | {ARGUMENT, libvirt.VIR_ERR_NO_NAME}, ()),
    "deep nesting": ("<domain type='vz'>" + "<a>" * 5000 + "</a>" * 5000 + "</domain>", SYNTAX | {libvirt.VIR_ERR_NO_NAME}, ()),
}


@pytest.mark.parametrize("name", AT_DEFINE)
def test_define_refuses(daemon, conn, name):
    text, codes, words = AT_DEFINE[name]
    with pytest.raises(libvirt.libvirtError) as error:
        conn.defineXML(text).undefine()
    message = error.value.get_error_message()
    assert error.value.get_error_code() in codes, f"{error.value.get_error_code()}: {message}"
    assert not words or any(word in message for word in words), message
    assert "root:x:0" not in message
    assert conn.listAllDomains() == []


@pytest.mark.parametrize("name", ["cut off", "a sound card", "name with a slash", "extension with a bad value"])
def test_create_and_virsh_refuse_too(daemon, tmp_path, name):
    path = tmp_path / "bad.xml"
    path.write_text(AT_DEFINE[name][0])
    for command in ("create", "define"):
        done = daemon.virsh(command, path, check=False)
        assert done.returncode == 1 and done.stderr.startswith("error: ")
    assert daemon.virsh("list", "--all", "--name").stdout.strip() == ""


def test_schema_is_checked_when_asked(daemon, conn, guest):
    text = guest.xml().replace("<vcpu>", "<vcpu odd='1'>")
    with pytest.raises(libvirt.libvirtError) as error:
        conn.defineXMLFlags(text, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    assert error.value.get_error_code() in (SCHEMA, XML)


def test_metadata_that_is_not_xml(conn, guest):
    domain_object = conn.lookupByName("ct")
    for text in ("<open>", "words", "<a/><b/>"):
        with pytest.raises(libvirt.libvirtError):
            domain_object.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, text, "k", "urn:x", 0)


def test_names_that_only_look_bad(conn, make_guest):
    for number, name in enumerate(("with space", "ümläut", "-dash", "quote'\"", "a;b|c&d", "%s%n", "x" * 200)):
        make_guest(f"root{number}").define(name=name)
        domain_object = conn.lookupByName(name)
        domain_object.create()
        assert domain_object.isActive()
        domain_object.destroy()
        domain_object.undefine()


def test_daemon_takes_garbage_on_its_socket(daemon):
    import os  # pylint: disable=import-outside-toplevel
    import socket  # pylint: disable=import-outside-toplevel

    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(daemon.socket_path)
            client.send(os.urandom(200))
    assert daemon.virsh("list").returncode == 0
