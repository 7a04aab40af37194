// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "vm/ploop_disk.hpp"

#include <functional>
#include <string>
#include <string_view>

/**
 * Between the XML of our clients, where a virtual machine's type is 'vz' or 'parallels', and that of QEMU's
 * driver, where it is 'kvm' or 'qemu'. A machine made through us carries a mark in the inner XML:
 *
 *     <metadata><vz:vm xmlns:vz="urn:libvirt-vz:vm:1.0" type="parallels"/></metadata>
 *
 * It tells ours from those of qemu:///system, and which type the client defined. Clients never see it.
 */
namespace vz::vm {

/** Namespace of the mark. */
inline constexpr std::string_view kMarkUri = "urn:libvirt-vz:vm:1.0";

/** What the way in needs to know. */
struct InwardFacts {
    /** What 'vz' and 'parallels' mean for a machine of this architecture (libvirt's name; empty: the host's):
     * "kvm" or "qemu". */
    std::function<Result<std::string>(const std::string& arch)> innerType;
    /** Format ("raw") that a disk of this source (the path in <source file>) has in the machine's present
     * definition, and in its live one; empty if it has none. Makes a document that leaves the format out mean
     * the same when it is defined again, whatever the guest has written into the file since
     * (disk_format.hpp). May be empty. */
    std::function<std::string(const std::string& source)> knownFormat;
    PloopFacts ploop;
    std::string machineUuid; ///< for documents of one device: whose it is to be
};

/** A client's domain document, ready for QEMU's driver. */
struct InnerDomain {
    std::string xml;
    std::string type; ///< the client's: "vz" or "parallels"
    std::string name; ///< empty if the document has none (the inner driver refuses it then)
    std::string uuid; ///< in lower case with dashes; made here if the client gave none
};

/** What kind of guest a domain document wants: the text of <os><type> ("hvm", "exe"); empty if it has none
 * or is no XML. */
std::string osType(const std::string& xml);

/**
 * A domain document on its way in. Takes types 'vz' and 'parallels', and 'kvm' and 'qemu' only if the
 * document is marked, as one that comes from another host's driver is; that keeps its inner type. Adds what
 * is missing of mark, UUID and formats of disk files (disk_format.hpp), and changes nothing else: comments,
 * blanks and elements of others stay; only a <metadata> behind <memory> moves in front of it, where libvirt
 * prints it. An id that toOuter() made becomes the inner one.
 *
 * Errors: XmlError, also for a malformed UUID and for a document type; ConfigUnsupported for other types, for
 * an element of our namespaces that only containers have, and for disk images that cannot be used.
 */
Result<InnerDomain> domainToInner(const std::string& xml, const InwardFacts& facts);

/** Whether an element of <metadata> that a client wants to set is in the namespace of the mark. */
bool isMark(const std::string& element);

/** The same for a document that may have <domain> elements (or <inactiveDomain>) inside: domainsnapshot,
 * domaincheckpoint. Those without a type, and documents without any, stay as they are. */
Result<std::string> embeddedToInner(const std::string& xml, const InwardFacts& facts);

/** The same for one device: a disk without a format gets one, one that is a ploop image its socket. Other
 * devices come back as they are. */
Result<std::string> deviceToInner(const std::string& xml, const InwardFacts& facts);

/**
 * A document of QEMU's driver on its way out, changed as text: domain, domainsnapshot, domaincheckpoint;
 * others come back as they are. Types become the marked ones ('vz' where there is no mark), ids ours, marks
 * go, and with them a <metadata> that held nothing else; disks that are ploop images are as they were defined
 * (ploop_disk.hpp). It relies on the order of elements that libvirt
 * prints, and changes nothing else of the text. Once per document: a second time would move the id again.
 *
 * A few microseconds: of a domain without ploop images it reads no more than what libvirt prints before
 * <memory>.
 */
std::string toOuter(std::string xml);

/** The type that a domain document of QEMU's driver is marked with: "vz" or "parallels"; empty if it has no
 * mark. As fast as toOuter(). */
std::string_view markedType(std::string_view innerXml);

} // namespace vz::vm
