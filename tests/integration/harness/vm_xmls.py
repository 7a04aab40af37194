# SPDX-License-Identifier: LGPL-2.1-or-later
"""
Domain XML of many kinds: what people write for QEMU, one thing at a time. Nothing of it is started, so files and
devices that it names need not exist.
"""

PLACES = ("attributes", "os", "features", "top", "devices")


def domain(name, uuid, kind, case):
    """
    A whole document. `kind` is its type; `case` has raw XML for PLACES (attributes of <domain>; inside <os>, <features>
    and <devices>; beside them) and may have `machine`, `firmware`, `memory` (KiB) and `vcpu` (an element).
    """
    unknown = set(case) - {*PLACES, "machine", "firmware", "memory", "vcpu"}
    assert not unknown, unknown
    attributes, os, features, top, devices = (case.get(place, "") for place in PLACES)
    firmware = f" firmware='{case['firmware']}'" if "firmware" in case else ""
    return f"""<domain type='{kind}'{attributes}>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory>{case.get("memory", 131072)}</memory>
  {case.get("vcpu", "<vcpu>1</vcpu>")}
  <os{firmware}><type arch='x86_64' machine='{case.get("machine", "pc")}'>hvm</type>{os}</os>
  <features><acpi/><apic/>{features}</features>
  {top}
  <devices>{devices}</devices>
</domain>
"""


NO_PCI = "<controller type='usb' model='none'/><memballoon model='none'/>"


def _disk(inner, device="disk", kind="file"):
    return {"devices": f"<disk type='{kind}' device='{device}'>{inner}</disk>"}


def _net(inner, kind="network"):
    return {"devices": f"<interface type='{kind}'>{inner}</interface>"}


def _device(xml):
    return {"devices": xml}


def _top(xml):
    return {"top": xml}


def _feature(xml):
    return {"features": xml}


CASES = {
    "plain": {},
    "q35": {"machine": "q35"},
    "texts": _top("<title>A &lt;title&gt; &amp; more</title><description>two\nlines, ünïcode</description>"),
    "metadata": _top("<metadata><a:one xmlns:a='urn:a'>x</a:one><b:two xmlns:b='urn:b' b:attribute='y'/></metadata>"),
    "genid": _top("<genid>3f2504e0-4f89-11d3-9a0c-0305e82c3301</genid>"),
    "ends": _top("<on_poweroff>destroy</on_poweroff><on_reboot>destroy</on_reboot><on_crash>coredump-restart</on_crash>"
                 "<on_lockfailure>poweroff</on_lockfailure>"),
    "comments": _top("<!-- a comment --><?pi some?><metadata><!-- c --><a:b xmlns:a='urn:a'><!-- d --></a:b></metadata>"),
    "metadata-hostile": _top("<metadata><vz:vm xmlns:vz='urn:other' type='parallels'/><a:b xmlns:a='urn:>&amp;'>&lt;/metadata>"
                             "<![CDATA[</metadata>]]><vm type='kvm'/></a:b></metadata>"),
    "metadata-blank": _top("<metadata> <a:b xmlns:a='urn:a'> x <a:c> </a:c> </a:b> </metadata>"),
    "namespace-of-root": {"attributes": " xmlns:a='urn:a'", "top": "<metadata><a:b a:c='d'/></metadata>"},
    "genid-made": _top("<genid/>"),
    "boot-order-of-os": {"os": "<boot dev='hd'/><boot dev='network'/><bootmenu enable='yes' timeout='3000'/>"
                               "<bios useserial='yes' rebootTimeout='0'/>", "devices": "<serial type='pty'/>"},
    "loader": {"os": "<loader readonly='yes' type='rom'>/usr/share/seabios/bios-256k.bin</loader>"},
    "uefi": {"os": "<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>"
                   "<nvram template='/usr/share/OVMF/OVMF_VARS_4M.fd'>/var/lib/libvirt/qemu/nvram/x.fd</nvram>"},
    "smbios": {"os": "<smbios mode='sysinfo'/>",
               "top": "<sysinfo type='smbios'><bios><entry name='vendor'>LENOVO</entry></bios><system>"
                      "<entry name='manufacturer'>Fedora</entry></system></sysinfo>"},
    "firmware-strings": _top("<sysinfo type='fwcfg'><entry name='opt/com.example/name'>value</entry></sysinfo>"),
    "iothreads": {"top": "<iothreads>2</iothreads>",
                  **_disk("<driver name='qemu' type='raw' iothread='1' queues='2'/><source file='/x'/>"
                          "<target dev='vdb' bus='virtio'/>")},
    "vcpus": {"top": "<vcpus><vcpu id='0' enabled='yes' hotpluggable='no'/>"
                     "<vcpu id='1' enabled='no' hotpluggable='yes'/></vcpus>", "vcpu": "<vcpu current='1'>2</vcpu>"},
    "vcpu-placement": {"vcpu": "<vcpu placement='static' cpuset='0-1' current='2'>4</vcpu>"},
    "cputune": {"top": "<cputune><shares>512</shares><period>100000</period><quota>50000</quota>"
                       "<vcpupin vcpu='0' cpuset='0'/><emulatorpin cpuset='0'/>"
                       "<vcpusched vcpus='0' scheduler='batch'/></cputune>"},
    "memtune": _top("<memtune><hard_limit unit='KiB'>1048576</hard_limit><soft_limit unit='MiB'>512</soft_limit></memtune>"),
    "blkiotune": _top("<blkiotune><weight>500</weight><device><path>/dev/null</path>"
                      "<read_bytes_sec>1000</read_bytes_sec></device></blkiotune>"),
    "numatune": _top("<numatune><memory mode='strict' nodeset='0'/></numatune>"),
    "memory-backing": _top("<memoryBacking><nosharepages/><source type='memfd'/><access mode='shared'/>"
                           "<allocation mode='immediate'/></memoryBacking>"),
    "resource": _top("<resource><partition>/machine/other</partition></resource>"),
    "numa": {"top": "<maxMemory slots='4' unit='GiB'>1</maxMemory><cpu><topology sockets='1' dies='1' cores='2' "
                    "threads='1'/><numa><cell id='0' cpus='0' memory='64' unit='MiB'/>"
                    "<cell id='1' cpus='1' memory='64' unit='MiB' memAccess='shared'/></numa></cpu>", "vcpu": "<vcpu>2</vcpu>"},
    "numa-distances": {"top": "<numatune><memory mode='preferred' nodeset='0'/><memnode cellid='1' mode='strict' "
                              "nodeset='0'/></numatune><cpu><numa><cell id='0' cpus='0' memory='65536'><distances>"
                              "<sibling id='0' value='10'/><sibling id='1' value='21'/></distances></cell><cell id='1' "
                              "cpus='1' memory='65536' discard='yes'/></numa></cpu>", "vcpu": "<vcpu>2</vcpu>"},
    "huge-pages": _top("<memoryBacking><hugepages><page size='2048' unit='KiB'/></hugepages><locked/></memoryBacking>"
                       "<memtune><hard_limit>2097152</hard_limit></memtune>"),
    "memory-units": _top("<currentMemory unit='MB'>100</currentMemory>"),
    "iothread-pool": _top("<iothreadids><iothread id='2' thread_pool_min='2' thread_pool_max='8'/><iothread id='4'/>"
                          "</iothreadids><defaultiothread thread_pool_max='4'/>"),
    "iothread-tuning": _top("<iothreads>1</iothreads><cputune><iothreadpin iothread='1' cpuset='0'/><iothreadsched "
                            "iothreads='1' scheduler='idle'/><global_quota>90000</global_quota></cputune>"),
    "cpu-model": _top("<cpu mode='custom' match='exact' check='none'><model fallback='forbid'>Skylake-Client</model>"
                      "<vendor>Intel</vendor><feature policy='disable' name='vmx'/></cpu>"),
    "cpu-maximum": _top("<cpu mode='maximum' check='none'/>"),
    "clock": _top("<clock offset='timezone' timezone='Europe/Berlin'/>"),
    "clock-timers": _top("<clock offset='variable' adjustment='123' basis='utc'><timer name='rtc' tickpolicy='catchup' "
                         "track='guest'/><timer name='pit' tickpolicy='delay'/><timer name='hpet' present='no'/></clock>"),
    "cpu-host-model": _top("<cpu mode='host-model' check='partial'><topology sockets='1' dies='1' cores='1' threads='1'/>"
                           "</cpu>"),
    "cpu-cache": _top("<cpu mode='maximum' migratable='off'><cache mode='passthrough'/><maxphysaddr mode='emulate' "
                      "bits='42'/></cpu>"),
    "clock-absolute": _top("<clock offset='absolute' start='1000000000'/>"),
    "clock-localtime": _top("<clock offset='localtime'><timer name='tsc' frequency='1000000000' mode='native'/></clock>"),
    "features-x86": {"machine": "q35", "features": "<pae/><hap state='off'/><pmu state='off'/><vmport state='off'/>"
                     "<smm state='on'><tseg unit='MiB'>48</tseg></smm><ioapic driver='qemu'/><vmcoreinfo state='on'/>"},
    "features-hyperv": _feature("<hyperv mode='custom'><relaxed state='on'/><vapic state='on'/><spinlocks state='on' "
                                "retries='4096'/><vpindex state='on'/><vendor_id state='on' value='KVM Hv'/></hyperv>"),
    "features-kvm": _feature("<kvm><hidden state='on'/><hint-dedicated state='off'/></kvm><pvspinlock state='on'/>"
                             "<apic eoi='on'/>"),
    "features-tcg": _feature("<tcg><tb-cache unit='MiB'>128</tb-cache></tcg>"),
    "launch-security": _top("<launchSecurity type='sev'><cbitpos>47</cbitpos><reducedPhysBits>1</reducedPhysBits>"
                            "<policy>0x0003</policy></launchSecurity>"),
    "os-acpi-table": {"os": "<acpi><table type='slic'>/usr/share/slic.dat</table></acpi>"},
    "os-kernel": {"os": "<kernel>/boot/kernel</kernel><initrd>/boot/initrd</initrd><cmdline>a='b' &quot;c&quot; &lt;"
                        "</cmdline><dtb>/boot/dtb</dtb>"},
    "os-isapc": {"machine": "isapc", "devices": NO_PCI},
    "os-microvm": {"machine": "microvm", "devices": NO_PCI},
    "os-firmware": {"firmware": "efi"},
    "emulator": _device("<emulator>/usr/bin/qemu-system-x86_64</emulator>"),
    "power-management": _top("<pm><suspend-to-mem enabled='no'/><suspend-to-disk enabled='yes'/></pm>"),
    "perf": _top("<perf><event name='cpu_cycles' enabled='yes'/></perf>"),
    "seclabel": _top("<seclabel type='none'/>"),
    "seclabels": _top("<seclabel type='static' model='dac' relabel='no'><label>+0:+0</label></seclabel>"),
    "seclabel-disk": _disk("<driver name='qemu' type='raw'/><source file='/x'><seclabel model='dac' relabel='no'/></source>"
                           "<target dev='vdb' bus='virtio'/>"),
    "qemu-namespace-of-root": {"attributes": " xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'",
                               "top": "<qemu:commandline><qemu:arg value='-name'/><qemu:arg value='a&amp;b'/>"
                                      "</qemu:commandline><qemu:capabilities><qemu:del capability='blockdev-reopen'/>"
                                      "</qemu:capabilities>"},
    "qemu-override": _top("<qemu:override xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><qemu:device "
                          "alias='ua-mine'><qemu:frontend><qemu:property name='a' type='string' value='b'/>"
                          "</qemu:frontend></qemu:device></qemu:override>"),
    "qemu-namespace": _top("<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"
                           "<qemu:arg value='-snapshot'/><qemu:env name='A' value='b'/></qemu:commandline>"),
    # Disks
    "disk-virtio": _disk("<driver name='qemu' type='qcow2' cache='none' io='native' discard='unmap' "
                         "detect_zeroes='unmap' copy_on_read='on'/><source file='/a b.qcow2'/><target dev='vdb' "
                         "bus='virtio'/><serial>serial</serial><boot order='1'/>"),
    "disk-chain": _disk("<driver name='qemu' type='qcow2'/><source file='/top'/><backingStore type='file'>"
                        "<format type='qcow2'/><source file='/base'/><backingStore/></backingStore>"
                        "<target dev='vdb' bus='virtio'/>"),
    "disk-ide-sata-scsi-usb": {"machine": "q35", "devices":
        "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/1'/><target dev='sda' bus='sata'/>"
        "</disk><disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/3'/><target dev='sdc' "
        "bus='usb' removable='on'/></disk>"
        "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/2'/><target dev='sdb' "
        "bus='scsi'/><wwn>5000c50015ea71ac</wwn><vendor>V</vendor><product>P</product></disk>"
        "<controller type='scsi' model='virtio-scsi'><driver queues='2'/></controller>"},
    "cdrom-empty": _disk("<target dev='hdc' bus='ide' tray='open'/><readonly/>", "cdrom"),
    "floppy": _disk("<driver name='qemu' type='raw'/><source file='/f' startupPolicy='optional'/><target dev='fda' "
                    "bus='fdc'/>", "floppy"),
    "disk-block": _disk("<driver name='qemu' type='raw'/><source dev='/dev/null'/><target dev='vdb' bus='virtio'/>"
                        "<shareable/>", kind="block"),
    "disk-lun": {"devices": "<disk type='block' device='lun' sgio='filtered' rawio='yes'><driver name='qemu' type='raw'/>"
                            "<source dev='/dev/sg0'><reservations managed='yes'/></source><target dev='sda' bus='scsi'/>"
                            "</disk><controller type='scsi' model='virtio-scsi'/>"},
    "disk-fat": _disk("<driver name='qemu' type='fat'/><source dir='/srv'/><target dev='vdb' bus='virtio'/><readonly/>",
                      kind="dir"),
    "disk-slice": _disk("<driver name='qemu' type='raw'/><source file='/x'><slices><slice type='storage' offset='4096' "
                        "size='65536'/></slices></source><target dev='vdb' bus='virtio'/>"),
    "disk-mirror-of-old": _disk("<driver name='qemu' type='qcow2'/><source file='/x' index='3'/><mirror type='file' "
                                "job='copy'><format type='raw'/><source file='/y'/></mirror><target dev='vdb' "
                                "bus='virtio'/>"),
    "disk-vhost-user": {"top": "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>",
                        **_disk("<driver name='qemu' type='raw'/><source type='unix' path='/tmp/blk.sock'><reconnect "
                                "enabled='yes' timeout='10'/></source><target dev='vdb' bus='virtio'/>",
                                kind="vhostuser")},
    "disk-throttle-all": _disk("<driver name='qemu' type='raw' queue_size='256' event_idx='off' ioeventfd='on' iommu='off' "
                               "packed='on'/><source file='/x'/><target dev='vdb' bus='virtio'/><iotune>"
                               "<write_bytes_sec>1000</write_bytes_sec><write_bytes_sec_max>2000</write_bytes_sec_max>"
                               "<write_bytes_sec_max_length>3</write_bytes_sec_max_length><group_name>g</group_name>"
                               "</iotune><geometry cyls='16383' heads='16' secs='63'/>"),
    "disk-many": _device("".join(f"<disk type='file'><driver name='qemu' type='raw'/><source file='/d{i}'/>"
                                 f"<target dev='vd{chr(97 + i)}' bus='virtio'/></disk>" for i in range(24))),
    "disk-nbd": _disk("<driver name='qemu' type='raw'/><source protocol='nbd' name='export'><host name='example.org' "
                      "port='10809'/></source><target dev='vdb' bus='virtio'/>", kind="network"),
    "disk-nbd-unix": _disk("<driver name='qemu' type='raw'/><source protocol='nbd'><host transport='unix' "
                           "socket='/run/nbd'/></source><target dev='vdb' bus='virtio'/>", kind="network"),
    "disk-iscsi": _disk("<driver name='qemu' type='raw'/><source protocol='iscsi' name='iqn.2013-07.com.example:1/2'>"
                        "<host name='example.org' port='3260'/></source><target dev='vdb' bus='virtio'/>",
                        kind="network"),
    "disk-https": _disk("<driver name='qemu' type='raw'/><source protocol='https' name='url/file.img' query='a=b'>"
                        "<host name='example.org' port='443'/><ssl verify='no'/></source><target dev='vdb' bus='virtio'/>"
                        "<readonly/>", kind="network"),
    "disk-rbd": _disk("<driver name='qemu' type='raw'/><source protocol='rbd' name='pool/image'><host name='mon1' "
                      "port='6789'/><host name='mon2' port='6790'/></source><auth username='me'><secret type='ceph' "
                      "usage='its-name'/></auth><target dev='vdb' bus='virtio'/>", kind="network"),
    "disk-volume": _disk("<driver name='qemu' type='raw'/><source pool='pool' volume='volume'/><target dev='vdb' "
                         "bus='virtio'/>", kind="volume"),
    "disk-nvme": _disk("<driver name='qemu' type='raw'/><source type='pci' namespace='1' managed='yes'>"
                       "<address domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></source>"
                       "<target dev='vdb' bus='virtio'/>", kind="nvme"),
    "disk-limits": _disk("<driver name='qemu' type='raw' error_policy='stop' rerror_policy='report'/><source file='/x'/>"
                         "<target dev='vdb' bus='virtio'/><iotune><total_bytes_sec>1000000</total_bytes_sec>"
                         "<read_iops_sec>100</read_iops_sec></iotune><blockio logical_block_size='512' "
                         "physical_block_size='4096'/>"),
    "disk-encrypted": _disk("<driver name='qemu' type='qcow2'/><source file='/x'><encryption format='luks'>"
                            "<secret type='passphrase' uuid='0a81f5b2-8403-7b23-c8d6-21ccc2f80d6f'/></encryption></source>"
                            "<target dev='vdb' bus='virtio'/>"),
    "disk-transient": _disk("<driver name='qemu' type='qcow2'/><source file='/x'/><target dev='vdb' bus='virtio'/>"
                            "<transient/>"),
    # Interfaces
    "net-network": _net("<mac address='52:54:00:00:00:01'/><source network='default' portgroup='group'/>"
                        "<model type='virtio'/><bandwidth><inbound average='1000' peak='5000' burst='5120'/>"
                        "<outbound average='128'/></bandwidth><link state='down'/><mtu size='1400'/><boot order='2'/>"),
    "net-bridge": _net("<mac address='52:54:00:00:00:02'/><source bridge='br0'/><vlan><tag id='42'/></vlan>"
                       "<virtualport type='openvswitch'><parameters interfaceid='09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f'/>"
                       "</virtualport><model type='e1000'/>", "bridge"),
    "net-filter": _net("<mac address='52:54:00:00:00:03'/><source bridge='br0'/><model type='rtl8139'/>"
                       "<filterref filter='clean-traffic'><parameter name='IP' value='10.0.0.1'/></filterref>", "bridge"),
    "net-direct": _net("<mac address='52:54:00:00:00:04'/><source dev='eth0' mode='bridge'/><model type='virtio'/>"
                       "<driver name='vhost' txmode='iothread' ioeventfd='on' queues='2'><host csum='off'/>"
                       "<guest tso4='off'/></driver>", "direct"),
    "net-user": _net("<mac address='52:54:00:00:00:05'/><model type='virtio'/>", "user"),
    "net-ethernet": _net("<mac address='52:54:00:00:00:06'/><target dev='tap7' managed='no'/><model type='virtio'/>"
                         "<source><ip address='10.0.0.9' family='ipv4' prefix='24'/></source>", "ethernet"),
    "net-vhostuser": {"top": "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>",
                      **_net("<mac address='52:54:00:00:00:07'/><source type='unix' path='/tmp/vhost.sock' mode='client'/>"
                             "<model type='virtio'/>", "vhostuser")},
    "net-teaming": _device("<interface type='network'><mac address='52:54:00:00:00:08'/><source network='a'/><model "
                           "type='virtio'/><teaming type='persistent'/><alias name='ua-backup0'/></interface>"
                           "<interface type='hostdev' managed='yes'><mac address='52:54:00:00:00:08'/><source><address "
                           "type='pci' domain='0x0000' bus='0x00' slot='0x07' function='0x1'/></source><vlan><tag id='5'/>"
                           "</vlan><teaming type='transient' persistent='ua-backup0'/></interface>"),
    "net-vdpa": _net("<mac address='52:54:00:00:00:09'/><source dev='/dev/vhost-vdpa-0'/><model type='virtio'/>", "vdpa"),
    "net-mcast": _net("<mac address='52:54:00:00:00:0a'/><source address='230.0.0.1' port='5558'/><model type='e1000e'/>",
                      "mcast"),
    "net-socket": _net("<mac address='52:54:00:00:00:0b'/><source address='192.168.0.1' port='5558'><local "
                       "address='192.168.0.2' port='5559'/></source><model type='virtio'/>", "udp"),
    "net-rom": _net("<mac address='52:54:00:00:00:0c' type='static'/><source network='a'/><model type='virtio'/>"
                    "<rom enabled='no'/><coalesce><rx><frames max='7'/></rx></coalesce><port isolated='yes'/>"
                    "<backend tap='/dev/net/tun' vhost='/dev/vhost-net'/><acpi index='3'/>"),
    # Controllers
    "controllers-pci": {"machine": "q35", "devices":
        "<controller type='pci' index='0' model='pcie-root'/><controller type='pci' index='1' model='pcie-root-port'>"
        "<target chassis='1' port='0x10' hotplug='off'/></controller><controller type='pci' index='2' "
        "model='pcie-to-pci-bridge'/><controller type='pci' index='3' model='pcie-expander-bus'><target busNr='200'/>"
        "</controller>"},
    "controllers-usb": _device("<controller type='usb' index='0' model='ich9-ehci1'/><controller type='usb' index='0' "
                               "model='ich9-uhci1'><master startport='0'/></controller><controller type='usb' index='1' "
                               "model='nec-xhci' ports='8'/>"),
    "controllers-scsi": {"top": "<iothreads>1</iothreads>", "devices":
        "<controller type='scsi' index='0' model='lsilogic'/><controller type='scsi' index='1' model='virtio-scsi'>"
        "<driver queues='4' cmd_per_lun='8' max_sectors='512' iothread='1'/></controller>"},
    "controllers-others": _device("<controller type='virtio-serial' index='0' ports='16' vectors='4'/><controller "
                                  "type='sata' index='0'/><controller type='ccid' index='0'/>"),
    "no-usb": _device(NO_PCI),
    # Character devices
    "serials": _device("<serial type='file'><source path='/tmp/log' append='on'/><target port='1'/></serial>"
                       "<serial type='tcp'><source mode='bind' host='127.0.0.1' service='2445'/><protocol type='telnet'/>"
                       "<target port='2'/></serial><serial type='null'><target port='3'/></serial>"),
    "console-virtio": _device("<console type='pty'><target type='virtio' port='1'/></console>"),
    "parallel": _device("<parallel type='file'><source path='/tmp/p'/><target port='0'/></parallel>"),
    "channels": _device("<channel type='pty'><target type='virtio' name='arbitrary.name'/></channel>"
                        "<channel type='unix'><source mode='connect' path='/tmp/s'/><target type='virtio' name='b'/>"
                        "</channel>"),
    "udp": _device("<serial type='udp'><source mode='bind' host='127.0.0.1' service='1'/><source mode='connect' "
                   "host='127.0.0.1' service='2'/><target port='1'/></serial>"),
    "serial-log": _device("<serial type='pty'><log file='/var/log/x' append='off'/><target type='isa-serial' port='0'>"
                          "<model name='isa-serial'/></target></serial><console type='pty'><target type='serial' port='0'/>"
                          "</console>"),
    "serial-device": _device("<serial type='dev'><source path='/dev/ttyS0'/></serial><serial type='pipe'><source "
                             "path='/tmp/pipe'/></serial><serial type='stdio'/>"),
    "serial-tls": _device("<serial type='tcp'><source mode='connect' host='h' service='1' tls='no'><reconnect "
                          "enabled='yes' timeout='10'/></source><protocol type='raw'/></serial>"),
    "channel-guest-agent": _device("<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"),
    "smartcard": _device("<smartcard mode='passthrough' type='tcp'><source mode='bind' host='127.0.0.1' service='2001'/>"
                         "<protocol type='raw'/></smartcard>"),
    # Screens and input
    "vnc": _device("<graphics type='vnc' port='5910' autoport='no' listen='127.0.0.1' keymap='de' passwd='secret' "
                   "passwdValidTo='2030-01-01T00:00:00'><listen type='address' address='127.0.0.1'/></graphics>"),
    "vnc-auto": _device("<graphics type='vnc' autoport='yes' sharePolicy='force-shared'/><video><model type='cirrus' "
                        "vram='16384' heads='1' primary='yes'/></video>"),
    "vnc-sockets": _device("<graphics type='vnc' port='-1' websocket='5701'><listen type='network' network='default'/>"
                           "</graphics>"),
    "vnc-socket": _device("<graphics type='vnc' socket='/tmp/vnc'/>"),
    "spice": _device("<graphics type='spice' autoport='yes' defaultMode='secure'><listen type='none'/><channel name='main' "
                     "mode='insecure'/><image compression='auto_glz'/><clipboard copypaste='no'/><gl enable='no'/>"
                     "</graphics><channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>"
                     "<video><model type='qxl' ram='65536' vram='65536' vgamem='16384' heads='1'/></video>"),
    "egl-headless": _device("<graphics type='egl-headless'><gl rendernode='/dev/dri/renderD128'/></graphics>"),
    "graphics-dbus": _device("<graphics type='dbus' p2p='yes'/>"),
    "video-two": _device("<video><model type='vga' vram='16384' primary='yes'/></video><video><model type='virtio' "
                         "heads='1'/></video>"),
    "video-bochs": {"machine": "q35", "devices": "<video><model type='bochs' vram='16384'/></video>"},
    "sdl": _device("<graphics type='sdl' display=':0' fullscreen='no'/>"),
    "video-virtio": _device("<video><model type='virtio' heads='1' primary='yes'><resolution x='800' y='600'/></model>"
                            "</video>"),
    "video-none": _device("<video><model type='none'/></video>"),
    "inputs": _device("<controller type='usb' model='qemu-xhci' index='1'/><input type='tablet' bus='virtio'/>"
                      "<input type='keyboard' bus='virtio'/>"),
    "input-passthrough": _device("<input type='passthrough' bus='virtio'><source evdev='/dev/input/event1'/></input>"
                                 "<input type='evdev'><source dev='/dev/input/event2' grab='all' repeat='on'/></input>"),
    "audio": _device("<sound model='ac97'><audio id='1'/></sound><audio id='1' type='file' path='/tmp/a.wav'><input "
                     "mixingEngine='yes'/><output mixingEngine='yes' fixedSettings='yes' voices='2'><settings frequency='44100' channels='2' "
                     "format='s16'/></output></audio>"),
    "sound": _device("<sound model='ich6'><codec type='micro'/></sound><audio id='1' type='none'/>"),
    # The rest
    "watchdog": _device("<watchdog model='i6300esb' action='poweroff'/>"),
    "rng": _device("<rng model='virtio'><rate bytes='1234' period='2000'/><backend model='random'>/dev/urandom</backend>"
                   "</rng>"),
    "rng-egd": _device("<rng model='virtio'><backend model='egd' type='udp'><source mode='bind' service='1234'/>"
                       "<source mode='connect' host='1.2.3.4' service='1234'/></backend></rng>"),
    "tpm-passthrough": _device("<tpm model='tpm-tis'><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>"),
    "tpm": _device("<tpm model='tpm-crb'><backend type='emulator'/></tpm>"),
    "vsock": _device("<vsock model='virtio'><cid auto='no' address='7'/></vsock>"),
    "panic": _device("<panic model='isa'/>"),
    "shared-memory": _device("<shmem name='shm0'><model type='ivshmem-plain'/><size unit='M'>4</size></shmem>"),
    "filesystem-9p": _device("<filesystem type='mount' accessmode='mapped'><driver type='path' wrpolicy='immediate'/>"
                             "<source dir='/srv'/><target dir='tag'/><readonly/></filesystem>"),
    "hostdev-pci": _device("<hostdev mode='subsystem' type='pci' managed='yes'><source><address domain='0x0000' bus='0x06' "
                           "slot='0x02' function='0x0'/></source><rom bar='off'/></hostdev>"),
    "filesystem-virtiofs": {"top": "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>",
                            "devices": "<filesystem type='mount' accessmode='passthrough'><driver type='virtiofs' "
                                       "queue='1024'/><binary path='/usr/libexec/virtiofsd' xattr='on'><cache "
                                       "mode='always'/></binary><source dir='/srv'/><target dir='tag'/></filesystem>"},
    "hostdev-scsi": _device("<hostdev mode='subsystem' type='scsi' sgio='filtered'><source><adapter name='scsi_host0'/>"
                            "<address bus='0' target='0' unit='0'/></source><readonly/></hostdev>"),
    "hostdev-iscsi": _device("<hostdev mode='subsystem' type='scsi'><source protocol='iscsi' name='iqn.2014-08.com."
                             "example:iscsi/1'><host name='example.com' port='3260'/><initiator><iqn name='iqn.2020-07."
                             "com.example:test'/></initiator></source></hostdev>"),
    "hostdev-scsi-host": _device("<hostdev mode='subsystem' type='scsi_host' managed='no'><source protocol='vhost' "
                                 "wwpn='naa.5123456789abcde0'/></hostdev>"),
    "hostdev-usb": _device("<controller type='usb' model='piix3-uhci' index='0'/><hostdev mode='subsystem' type='usb' "
                           "managed='no'><source startupPolicy='optional'><vendor id='0x1234'/><product id='0xbeef'/>"
                           "</source></hostdev>"),
    "hostdev-mdev": _device("<hostdev mode='subsystem' type='mdev' managed='no' model='vfio-pci'><source><address "
                            "uuid='c2177883-f1bb-47f0-914d-32a22e3a8804'/></source></hostdev>"),
    "memory-module": {"top": "<maxMemory slots='4' unit='GiB'>1</maxMemory><cpu><numa><cell id='0' cpus='0' memory='128' "
                             "unit='MiB'/></numa></cpu>",
                      "devices": "<memory model='dimm'><target><size unit='MiB'>128</size><node>0</node></target></memory>"},
    "iommu": {"machine": "q35", "devices": "<iommu model='intel'><driver intremap='on' caching_mode='on'/></iommu>",
              "features": "<ioapic driver='qemu'/>"},
    "redirected-usb": _device("<controller type='usb' model='ich9-ehci1' index='0'/><redirdev bus='usb' type='tcp'>"
                              "<source mode='connect' host='localhost' service='4000'/></redirdev><redirfilter><usbdev "
                              "class='0x08' vendor='0x1234' product='0xbeef' version='2.56' allow='yes'/><usbdev "
                              "allow='no'/></redirfilter>"),
    "memory-nvdimm": {"top": "<maxMemory slots='4' unit='GiB'>2</maxMemory><cpu><numa><cell id='0' cpus='0' memory='128' "
                             "unit='MiB'/></numa></cpu>", "devices":
                      "<memory model='nvdimm' access='shared'><source>"
                      "<path>/tmp/nvdimm</path></source><target><size unit='MiB'>256</size><node>0</node><label><size "
                      "unit='KiB'>256</size></label><readonly/></target></memory>"},
    "memory-virtio": {"top": "<maxMemory slots='1' unit='GiB'>2</maxMemory><cpu><numa><cell id='0' cpus='0' memory='128' unit='MiB'/>"
                             "</numa></cpu>", "devices":
                      "<memory model='virtio-mem'><target><size unit='MiB'>256</size><node>0</node><block unit='MiB'>2"
                      "</block><requested unit='MiB'>128</requested></target></memory>"},
    "memory-pmem": {"top": "<maxMemory slots='1' unit='GiB'>2</maxMemory><cpu><numa><cell id='0' cpus='0' memory='128' "
                           "unit='MiB'/></numa></cpu>", "devices":
                    "<memory model='virtio-pmem' access='shared'><source><path>/tmp/pmem</path></source><target><size "
                    "unit='MiB'>128</size></target></memory>"},
    "balloon": _device("<memballoon model='virtio' autodeflate='on' freePageReporting='on'><stats period='10'/><driver "
                       "iommu='off'/></memballoon>"),
    "crypto": _device("<crypto model='virtio' type='qemu'><backend model='builtin' queues='1'/></crypto>"),
    "lease": _device("<lease><lockspace>space</lockspace><key>key</key><target path='/var/lock/x' offset='1024'/></lease>"),
    "hub": _device("<controller type='usb' model='piix3-uhci' index='0'/><hub type='usb'/>"),
    "panic-more": _device("<panic model='hyperv'/>"),
    "watchdog-ib700": _device("<watchdog model='ib700' action='inject-nmi'/>"),
    "shared-memory-server": _device("<shmem name='shm1' role='peer'><model type='ivshmem-doorbell'/><server path='/tmp/s'/>"
                                    "<msi vectors='32' ioeventfd='on'/></shmem>"),
    "address": _device("<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/x'/><target "
                       "dev='vdb' bus='virtio'/><alias name='ua-mine'/><address type='pci' domain='0x0000' bus='0x00' "
                       "slot='0x1e' function='0x0'/></disk>"),
}

# Those that some hosts cannot have.
ON_SOME_HOSTS = {"tpm", "tpm-passthrough", "launch-security", "os-firmware", "spice", "graphics-dbus", "egl-headless", "sdl"}

# What QEMU's driver refuses, and a word of what it says of it.
REFUSED = {
    "preserve": (_top("<on_poweroff>preserve</on_poweroff>"), "'preserve'"),
    "guest-address": (_net("<ip address='10.0.0.9' family='ipv4' prefix='24'/>", "ethernet"), "not supported by QEMU"),
    "usb-without-usb": (_device("<controller type='usb' model='none'/><hub type='usb'/>"), "USB"),
    "two-iommus": (_device("<iommu model='intel'/><iommu model='intel'/>"), "IOMMU"),
    "unknown-bus": (_disk("<driver name='qemu' type='raw'/><source file='/x'/><target dev='vdb' bus='nobus'/>"), "nobus"),
    "unknown-format": (_disk("<driver name='qemu' type='noformat'/><source file='/x'/><target dev='vdb'/>"), "noformat"),
    "no-target": (_disk("<driver name='qemu' type='raw'/><source file='/x'/>"), "/x"),
    "too-many-vcpus": ({"vcpu": "<vcpu>99999</vcpu>"}, "CPUs"),
    "no-number": ({"vcpu": "<vcpu>x</vcpu>"}, "vcpu"),
    "no-emulator": (_device("<emulator>/nonexistent</emulator>"), "/nonexistent"),
    "no-memory": ({"memory": "0"}, "<memory>"),
}
