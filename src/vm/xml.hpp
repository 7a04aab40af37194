// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"

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
    std::string innerType; ///< what 'vz' and 'parallels' mean on this host: "kvm" or "qemu"
    /** Format ("raw") that a disk of this source has in the machine's present definition; empty if it has
     * none. Makes a document that leaves the format out mean the same when it is defined again. */
    std::function<std::string(const std::string& source)> knownFormat;
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
 * document is marked, as one that comes from another host's driver is. Errors: XmlError; ConfigUnsupported
 * for other types, for an element of our namespaces that only containers have, and for ploop disks.
 */
Result<InnerDomain> domainToInner(const std::string& xml, const InwardFacts& facts);

/** The same for a document that may have <domain> elements (or <inactiveDomain>) inside: domainsnapshot,
 * domaincheckpoint. */
Result<std::string> embeddedToInner(const std::string& xml, const InwardFacts& facts);

/** The same for one device: a disk without a format gets one. */
Result<std::string> deviceToInner(const std::string& xml, const InwardFacts& facts);

/**
 * A document of QEMU's driver on its way out, changed in place: domain, domainsnapshot, domaincheckpoint.
 * Types become the marked ones ('vz' where there is no mark), ids ours, marks go. It relies on the form that
 * libvirt prints and changes nothing else of the text.
 */
std::string toOuter(std::string xml);

/** The type that a document of QEMU's driver is marked with: "vz" or "parallels"; empty if it has no mark. */
std::string_view markedType(std::string_view innerXml);

} // namespace vz::vm
