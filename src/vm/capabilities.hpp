// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "vm/accelerator.hpp"

#include <string>
#include <string_view>

/**
 * The documents about what virtual machines can be, between QEMU's driver and our clients. "Inner" is a text
 * of that driver, where a machine's type is 'kvm' or 'qemu'; "outer" is ours, where it is 'vz' or
 * 'parallels'. All functions are pure. Errors are XmlError, for a text that is not such a document.
 */
namespace vz::vm {

/** Namespace of <accelerator>, which tells in the outer capabilities what machines of an architecture run on.
 */
inline constexpr std::string_view kCapabilitiesUri = "urn:libvirt-vz:capabilities:1.0";

/** What runs the machines of one architecture. */
struct Engine {
    bool kvm = false;   ///< else QEMU's emulation
    std::string reason; ///< as in Accelerator

    /** The domain type that QEMU's driver has for it. */
    const char* innerType() const { return kvm ? "kvm" : "qemu"; }
    /** Its name in the outer capabilities. */
    const char* name() const { return kvm ? "kvm" : "tcg"; }
};

/**
 * What the machines of @p arch (libvirt's name; empty: the host's) run on. KVM only where the inner
 * capabilities @p inner offer it for that architecture: QEMU's driver knows whether QEMU can open the device.
 * If the settings force KVM, the host's own architectures have it all the same.
 */
Result<Engine> engineFor(const std::string& inner, std::string_view arch, const Accelerator& accelerator);

/**
 * The outer capabilities: @p containers, which has only what containers need, with the host as @p inner has
 * it (its <cpu><model> is right to have, as QEMU's driver answers what clients then ask) and in front of
 * containers the guests of @p inner that can really run. In these the type that is used stands twice, as
 * 'parallels' and, last, as 'vz' (virt-install takes the last one), with the machines and emulator that it
 * has for itself, and this is added to <arch>:
 *
 *     <vz:accelerator xmlns:vz="urn:libvirt-vz:capabilities:1.0" type="kvm|tcg" reason="..."/>
 */
Result<std::string> outerCapabilities(const std::string& containers, const std::string& inner,
                                      const Accelerator& accelerator);

/**
 * The type to ask the inner domain capabilities for, when a client asks ours for this emulator and
 * architecture (null: not told). Empty if QEMU's driver is to choose: it knows programs that are not in its
 * capabilities too.
 */
Result<std::string> innerTypeToAsk(const std::string& inner, const char* emulator, const char* arch,
                                   const Accelerator& accelerator);

/** The inner domain capabilities @p inner as those of @p type. */
Result<std::string> outerDomainCapabilities(const std::string& inner, const std::string& type);

} // namespace vz::vm
