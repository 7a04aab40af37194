# SPDX-License-Identifier: LGPL-2.1-or-later
"""
One call of each function of libvirt that containers refuse, and of those that only virtual machines need, in C: the
Python binding lacks some, and asks others first for what these would need. The arguments get as far as the driver, but
are such that nothing comes of a call on a machine that does not run.
"""

import ctypes
import os
import socket
from ctypes import byref, c_char_p, c_int, c_longlong, c_size_t, c_uint, c_ulong, c_ulonglong, c_void_p

from . import build

CONFIG = 2  # VIR_DOMAIN_AFFECT_CONFIG
PEER2PEER = 2  # VIR_MIGRATE_PEER2PEER
INT, UINT, ULLONG, BOOLEAN, STRING = 1, 2, 4, 6, 7  # virTypedParameterType
NOTHING = b"/nonexistent/nothing"
NO_XML = b"<nothing/>"
CPUS = b"\1"


class _Value(ctypes.Union):
    _fields_ = [("i", c_int), ("ui", c_uint), ("ul", c_ulonglong), ("b", ctypes.c_char), ("s", c_char_p)]


class _Param(ctypes.Structure):
    _fields_ = [("field", ctypes.c_char * 80), ("type", c_int), ("value", _Value)]


def param(name, kind, value):
    """An array of one typed parameter, and its length."""
    one = (_Param * 1)()
    one[0].field, one[0].type = name, kind
    setattr(one[0].value, {INT: "i", UINT: "ui", ULLONG: "ul", BOOLEAN: "b", STRING: "s"}[kind], value)
    return one, 1


def room(size=256):
    """A place for a structure or an array of the call's."""
    return ctypes.create_string_buffer(size)


def out():
    """A place for a pointer or a number of up to 8 bytes."""
    return byref(c_void_p())


class Subject:
    """What is called on: a domain of the Python binding, and what the calls of this file are given besides."""

    def __init__(self, conn, domain):
        self._keep = conn, domain
        self._library = ctypes.CDLL("libvirt.so.0")
        self._others = [ctypes.CDLL("libvirt-qemu.so.0"), ctypes.CDLL("libvirt-lxc.so.0")]
        self.conn, self.domain = _pointer(conn, b"virConnectPtr"), _pointer(domain, b"virDomainPtr")
        # Of no snapshot there is: a driver finds out, if it has any.
        self.snapshot = self._make("virGetDomainSnapshot", self.domain, b"none")
        self.checkpoint = self._make("virGetDomainCheckpoint", self.domain, b"none")
        self.device = self._make("virGetNodeDevice", self.conn, b"none")
        self.stream = self._make("virStreamNew", self.conn, 0)
        self._socket = socket.socketpair()
        self.socket = self._socket[0].fileno()
        self.file = os.open("/dev/null", os.O_RDONLY)
        self.files = (c_int * 1)(self.file)

    def function(self, name):
        found = next(filter(None, (getattr(library, name, None) for library in [self._library, *self._others])))
        found.restype = c_void_p
        return found

    def _make(self, name, *arguments):
        made = self.function(name)(*arguments)
        assert made, name
        return c_void_p(made)

    def call(self, api, subject, arguments):
        """The code and words of the error; 0 and nothing if there is none."""
        self._library.virResetLastError()
        self.function(api)(getattr(self, subject), *arguments(self))
        self._library.virGetLastErrorMessage.restype = c_char_p
        return self._library.virGetLastErrorCode(), self._library.virGetLastErrorMessage().decode()

    def close(self):
        self._library.virStreamFree(self.stream)
        for handle in (self.snapshot, self.checkpoint, self.device):
            self._library.virObjectUnref(handle)
        for end in self._socket:
            end.close()
        os.close(self.file)
        self._keep = None


def _pointer(thing, name):
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = c_void_p, [ctypes.py_object, c_char_p]
    return c_void_p(get(thing._o, name))


# slot -> its arguments behind the domain
DOMAIN = {
    # files and power
    "domainCreateWithFiles": lambda s: [1, s.files, 0],
    "domainPMSuspendForDuration": lambda s: [0, c_ulonglong(0), 0],
    "domainPMWakeup": lambda s: [0],
    "domainInjectNMI": lambda s: [0],
    "domainSendKey": lambda s: [0, 0, (c_uint * 1)(30), 1, 0],
    "domainCoreDump": lambda s: [NOTHING, 0],
    "domainCoreDumpWithFormat": lambda s: [NOTHING, 0, 0],
    "domainMemoryPeek": lambda s: [c_ulonglong(0), c_size_t(8), room(), 1],
    # statistics
    "domainSetMemoryStatsPeriod": lambda s: [1, CONFIG],
    "domainGetPerfEvents": lambda s: [out(), out(), CONFIG],
    "domainSetPerfEvents": lambda s: [*param(b"cpu_cycles", BOOLEAN, 1), CONFIG],
    "domainGetMessages": lambda s: [out(), 0],
    # devices
    "domainSetInterfaceParameters": lambda s: [b"none", *param(b"inbound.average", UINT, 1), CONFIG],
    "domainGetInterfaceParameters": lambda s: [b"none", None, out(), CONFIG],
    "domainOpenChannel": lambda s: [None, s.stream, 0],
    "domainOpenGraphics": lambda s: [0, s.socket, 0],
    "domainOpenGraphicsFD": lambda s: [0, 0],
    "domainScreenshot": lambda s: [s.stream, 0, 0],
    # inside
    "domainFSTrim": lambda s: [None, c_ulonglong(0), 0],
    "domainFSFreeze": lambda s: [None, 0, 0],
    "domainFSThaw": lambda s: [None, 0, 0],
    "domainAuthorizedSSHKeysGet": lambda s: [b"root", out(), 0],
    "domainAuthorizedSSHKeysSet": lambda s: [b"root", (c_char_p * 1)(b"ssh-rsa AAAA"), 1, 0],
    "domainAgentSetResponseTimeout": lambda s: [-1, 0],
    "domainGetGuestVcpus": lambda s: [out(), out(), 0],
    "domainSetGuestVcpus": lambda s: [b"0", 1, 0],
    # memory
    "domainSetMaxMemory": lambda s: [c_ulong(256 << 10)],
    "domainSetMemory": lambda s: [c_ulong(64 << 10)],
    "domainSetMemoryFlags": lambda s: [c_ulong(64 << 10), CONFIG],
    "domainSetMemoryParameters": lambda s: [*param(b"hard_limit", ULLONG, 1 << 30), CONFIG],
    "domainGetMemoryParameters": lambda s: [None, out(), CONFIG],
    "domainSetNumaParameters": lambda s: [*param(b"numa_mode", INT, 0), CONFIG],
    "domainGetNumaParameters": lambda s: [None, out(), CONFIG],
    "domainSetBlkioParameters": lambda s: [*param(b"weight", UINT, 500), CONFIG],
    "domainGetBlkioParameters": lambda s: [None, out(), CONFIG],
    # CPU
    "domainSetVcpus": lambda s: [1],
    "domainSetVcpusFlags": lambda s: [1, CONFIG],
    "domainSetVcpu": lambda s: [b"0", 1, CONFIG],
    "domainPinVcpu": lambda s: [0, CPUS, 1],
    "domainPinVcpuFlags": lambda s: [0, CPUS, 1, CONFIG],
    "domainGetVcpuPinInfo": lambda s: [1, room(), 1, CONFIG],
    "domainPinEmulator": lambda s: [CPUS, 1, CONFIG],
    "domainGetEmulatorPinInfo": lambda s: [room(), 1, CONFIG],
    "domainGetSchedulerType": lambda s: [out()],
    "domainGetSchedulerParameters": lambda s: [(_Param * 1)(), byref(c_int(1))],
    "domainGetSchedulerParametersFlags": lambda s: [(_Param * 1)(), byref(c_int(1)), CONFIG],
    "domainSetSchedulerParameters": lambda s: [*param(b"cpu_shares", ULLONG, 1000)],
    "domainSetSchedulerParametersFlags": lambda s: [*param(b"cpu_shares", ULLONG, 1000), CONFIG],
    "domainGetIOThreadInfo": lambda s: [out(), CONFIG],
    "domainPinIOThread": lambda s: [7, CPUS, 1, CONFIG],
    "domainAddIOThread": lambda s: [1, CONFIG],
    "domainDelIOThread": lambda s: [7, CONFIG],
    "domainSetIOThreadParams": lambda s: [7, *param(b"poll_max_ns", ULLONG, 1), 1],
    "domainGetLaunchSecurityInfo": lambda s: [out(), out(), 0],
    "domainSetLaunchSecurityState": lambda s: [*param(b"sev-secret", STRING, b"none"), 0],
    # disks
    "domainBlockResize": lambda s: [b"vda", c_ulonglong(1 << 20), 0],
    "domainBlockStats": lambda s: [b"vda", room(), c_size_t(40)],
    "domainBlockStatsFlags": lambda s: [b"vda", None, out(), 0],
    "domainGetBlockInfo": lambda s: [b"vda", room(), 0],
    "domainBlockPeek": lambda s: [b"vda", c_ulonglong(0), c_size_t(8), room(), 0],
    "domainSetBlockIoTune": lambda s: [b"vda", *param(b"total_bytes_sec", ULLONG, 1 << 20), CONFIG],
    "domainGetBlockIoTune": lambda s: [None, None, out(), CONFIG],
    "domainGetDiskErrors": lambda s: [None, 0, 0],
    "domainBlockJobAbort": lambda s: [b"vda", 0],
    "domainGetBlockJobInfo": lambda s: [b"vda", room(), 0],
    "domainBlockJobSetSpeed": lambda s: [b"vda", c_ulong(1), 0],
    "domainBlockPull": lambda s: [b"vda", c_ulong(0), 0],
    "domainBlockRebase": lambda s: [b"vda", None, c_ulong(0), 0],
    "domainBlockCopy": lambda s: [b"vda", NO_XML, None, 0, 0],
    "domainBlockCommit": lambda s: [b"vda", None, None, c_ulong(0), 0],
    "domainSetBlockThreshold": lambda s: [b"vda", c_ulonglong(1), 0],
    "domainFDAssociate": lambda s: [b"none", 1, s.files, 0],
    # snapshots, checkpoints, backup
    "domainSnapshotCreateXML": lambda s: [NO_XML, 0],
    "domainSnapshotNum": lambda s: [0],
    "domainSnapshotListNames": lambda s: [(c_char_p * 1)(), 1, 0],
    "domainListAllSnapshots": lambda s: [out(), 0],
    "domainSnapshotLookupByName": lambda s: [b"none", 0],
    "domainHasCurrentSnapshot": lambda s: [0],
    "domainSnapshotCurrent": lambda s: [0],
    "domainCheckpointCreateXML": lambda s: [NO_XML, 0],
    "domainListAllCheckpoints": lambda s: [out(), 0],
    "domainCheckpointLookupByName": lambda s: [b"none", 0],
    "domainBackupBegin": lambda s: [NO_XML, None, 0],
    "domainBackupGetXMLDesc": lambda s: [0],
    # saving and jobs
    "domainSave": lambda s: [NOTHING],
    "domainSaveFlags": lambda s: [NOTHING, None, 0],
    "domainSaveParams": lambda s: [*param(b"file", STRING, NOTHING), 0],
    "domainManagedSave": lambda s: [0],
    "domainManagedSaveRemove": lambda s: [0],
    "domainManagedSaveGetXMLDesc": lambda s: [0],
    "domainManagedSaveDefineXML": lambda s: [NO_XML, 0],
    "domainGetJobInfo": lambda s: [room()],
    "domainGetJobStats": lambda s: [out(), out(), out(), 0],
    "domainAbortJob": lambda s: [],
    "domainAbortJobFlags": lambda s: [0],
    # migration
    "domainMigrateBegin3": lambda s: [None, out(), out(), c_ulong(0), None, c_ulong(0)],
    # Peer to peer: without it QEMU's driver of 9.0.0 takes for granted that there was a first phase, and crashes.
    "domainMigratePerform3": lambda s: [None, None, 0, out(), out(), b"qemu:///none", None, c_ulong(PEER2PEER), None,
                                        c_ulong(0)],
    "domainMigrateConfirm3": lambda s: [None, 0, c_ulong(0), 1],
    "domainMigrateBegin3Params": lambda s: [None, 0, out(), out(), 0],
    "domainMigratePerform3Params": lambda s: [b"qemu:///none", None, 0, None, 0, out(), out(), PEER2PEER],
    "domainMigrateConfirm3Params": lambda s: [None, 0, None, 0, 0, 1],
    "domainMigrateGetMaxDowntime": lambda s: [out(), 0],
    "domainMigrateSetMaxDowntime": lambda s: [c_ulonglong(1), 0],
    "domainMigrateGetMaxSpeed": lambda s: [out(), 0],
    "domainMigrateSetMaxSpeed": lambda s: [c_ulong(1), 0],
    "domainMigrateStartPostCopy": lambda s: [0],
    "domainMigrateGetCompressionCache": lambda s: [out(), 0],
    "domainMigrateSetCompressionCache": lambda s: [c_ulonglong(1 << 20), 0],
    "domainStartDirtyRateCalc": lambda s: [1, 0],
    "domainMigratePerform": lambda s: [None, 0, b"tcp:127.0.0.1:1", c_ulong(0), None, c_ulong(0)],
    # QEMU
    "domainQemuMonitorCommand": lambda s: [b"info name", out(), 1],
    "domainQemuMonitorCommandWithFiles": lambda s: [b"info name", 0, None, out(), out(), out(), 1],
    "domainQemuAgentCommand": lambda s: [b"{}", 0, 0],
    # what only containers have
    "domainSendProcessSignal": lambda s: [c_longlong(1), 0, 0],
    "domainLxcOpenNamespace": lambda s: [out(), 0],
}

SNAPSHOT = {
    "domainSnapshotGetXMLDesc": lambda s: [0],
    "domainSnapshotNumChildren": lambda s: [0],
    "domainSnapshotListChildrenNames": lambda s: [(c_char_p * 1)(), 1, 0],
    "domainSnapshotListAllChildren": lambda s: [out(), 0],
    "domainSnapshotGetParent": lambda s: [0],
    "domainSnapshotIsCurrent": lambda s: [0],
    "domainSnapshotHasMetadata": lambda s: [0],
    "domainRevertToSnapshot": lambda s: [0],
    "domainSnapshotDelete": lambda s: [0],
}

CHECKPOINT = {
    "domainCheckpointGetXMLDesc": lambda s: [0],
    "domainCheckpointListAllChildren": lambda s: [out(), 0],
    "domainCheckpointGetParent": lambda s: [0],
    "domainCheckpointDelete": lambda s: [0],
}

CONNECTION = {
    "connectCompareCPU": lambda s: [NO_XML, 0],
    "connectBaselineCPU": lambda s: [(c_char_p * 1)(NO_XML), 1, 0],
    "connectGetCPUModelNames": lambda s: [b"none", out(), 0],
    "connectCompareHypervisorCPU": lambda s: [NOTHING, None, None, None, NO_XML, 0],
    "connectBaselineHypervisorCPU": lambda s: [NOTHING, None, None, None, (c_char_p * 1)(NO_XML), 1, 0],
    "nodeGetSEVInfo": lambda s: [out(), out(), 0],
    "connectDomainXMLFromNative": lambda s: [b"qemu-argv", b"qemu", 0],
    "connectDomainXMLToNative": lambda s: [b"qemu-argv", NO_XML, 0],
    "domainRestore": lambda s: [NOTHING],
    "domainRestoreFlags": lambda s: [NOTHING, None, 0],
    "domainRestoreParams": lambda s: [*param(b"file", STRING, NOTHING), 0],
    "domainSaveImageGetXMLDesc": lambda s: [NOTHING, 0],
    "domainSaveImageDefineXML": lambda s: [NOTHING, NO_XML, 0],
    "domainMigratePrepare3": lambda s: [None, 0, out(), out(), None, out(), c_ulong(0), None, c_ulong(0), NO_XML],
    "domainMigratePrepareTunnel3": lambda s: [s.stream, None, 0, out(), out(), c_ulong(0), None, c_ulong(0), NO_XML],
    "domainMigrateFinish3": lambda s: [b"none", None, 0, out(), out(), None, None, c_ulong(0), 1],
    "domainMigratePrepare3Params": lambda s: [*param(b"destination_xml", STRING, NO_XML), None, 0, out(), out(), out(),
                                              0],
    "domainMigratePrepareTunnel3Params": lambda s: [s.stream, *param(b"destination_xml", STRING, NO_XML), None, 0,
                                                    out(), out(), 0],
    "domainMigrateFinish3Params": lambda s: [*param(b"destination_name", STRING, b"none"), None, 0, out(), out(), 0, 1],
    "domainMigratePrepare": lambda s: [out(), out(), None, out(), c_ulong(0), None, c_ulong(0)],
    "domainMigrateFinish": lambda s: [b"none", None, 0, b"tcp:127.0.0.1:1", c_ulong(0)],
    "domainMigratePrepare2": lambda s: [out(), out(), None, out(), c_ulong(0), None, c_ulong(0), NO_XML],
    "domainMigrateFinish2": lambda s: [b"none", None, 0, b"tcp:127.0.0.1:1", c_ulong(0), 1],
    "domainMigratePrepareTunnel": lambda s: [s.stream, c_ulong(0), None, c_ulong(0), NO_XML],
    "domainQemuAttach": lambda s: [1, 0],
}

DEVICE = {
    "nodeDeviceDettach": lambda s: [],
    "nodeDeviceDetachFlags": lambda s: [None, 0],
    "nodeDeviceReAttach": lambda s: [],
    "nodeDeviceReset": lambda s: [],
}

# slot -> what it is called on, and the arguments behind that
CALLS = {slot: (kind, arguments)
         for kind, calls in (("domain", DOMAIN), ("snapshot", SNAPSHOT), ("checkpoint", CHECKPOINT),
                             ("conn", CONNECTION), ("device", DEVICE))
         for slot, arguments in calls.items()}


def _rows(path):
    with open(os.path.join(build.TOP, path), encoding="utf-8") as file:
        for line in file.read().splitlines():
            if line and not line.startswith("#"):
                yield line.split("\t")


def support():
    """slot -> (status, reason, words for virtual machines) of src/driver/api_support.tsv."""
    return {row[0]: tuple((row[1:] + ["", ""])[:3]) for row in _rows("src/driver/api_support.tsv")}


def apis(version):
    """slot -> the function of libvirt behind it."""
    return {slot: api for driver, _, slot, api in _rows(f"src/libvirt/layouts/{version}.tsv") if driver == "hypervisor"}
