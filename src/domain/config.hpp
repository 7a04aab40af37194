// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "domain/definition.hpp"
#include "domain/edit.hpp"
#include "domain/store.hpp"
#include "libvirt/domain_xml.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace vz::domain {

enum class MetadataKind : uint8_t { Description, Title, Element }; ///< virDomainMetadataType

/** Which lists a device of a container is in. */
enum class DeviceKind : uint8_t { Filesystem, Disk, Interface, Console, HostDevice, Other };

/**
 * One domain's XML: what a client defined, canonical, with our extension element and the type as it was
 * defined. Immutable; edits give a new Config. Copies share the parsed parts. Thread-safe.
 */
class Config {
public:
    struct ParseOptions {
        bool validate = false; ///< VIR_DOMAIN_DEFINE_VALIDATE: also against libvirt's schema
        bool live = false;     ///< keep aliases, pty paths (state files)
    };

    /**
     * From a client's XML. Checks the extension element against our schema (always), and that a container
     * asks for nothing that we would have to ignore: ConfigUnsupported naming element and value. <graphics>,
     * <video>, USB controller model none, <boot>, <clock>, NIC models and the like are accepted
     * (docs/domain-xml.md). hvm domains are parsed but not judged here.
     */
    static Result<Config> parse(const abi::DomainXml& parser, const std::string& xml, ParseOptions options);

    const Definition& definition() const;
    const abi::DomainDef& def() const; ///< for access checks

    /** VIR_DOMAIN_XML_* flags: SECURE adds secrets, others do not change a container's. */
    Result<std::string> toXml(const abi::DomainXml& parser, unsigned int flags) const;

    /** All of it, secrets and what only parse() with @c live understands: for state files. */
    const std::string& stateXml() const;

    /** What is added to the XML while the domain runs. */
    struct LiveFacts {
        int id = -1;
        std::vector<std::string> consolePaths; ///< pty of each console, in order
        std::vector<UsedInterface> interfaces; ///< found by their names
        /** The ranges in force. They are not in the XML: a client that defines the domain anew from its live
         * XML would turn an automatic range into a fixed one. */
        std::vector<ct::IdRange> uidMap, gidMap;
        std::string securityModel, securityLabel;
        std::string cpus; ///< those that it was given, as a list; empty: all. Not in the XML.
    };
    /** The live XML of a starting domain: aliases (console0, net0, fs0, hostdev0 ...), a console if there was
     * none, <graphics>/<video> left out, id, and the facts. */
    Result<Config> live(const abi::DomainXml& parser, const LiveFacts& facts) const;
    /** The same live Config with a new id and pty paths (after a reboot or adoption). */
    Result<Config> withFacts(const abi::DomainXml& parser, const LiveFacts& facts) const;

    /** What the network of an interface made of it. */
    struct NetworkPort {
        std::string id;     ///< UUID
        std::string actual; ///< the whole <actual> element of libvirt's state files
    };
    /** A live Config in which interface @p index has that port. */
    Result<Config> withPort(const abi::DomainXml& parser, size_t index, const NetworkPort& port) const;

    // Edits. Each returns a whole, checked Config, or an error and nothing changed.
    Result<Config> edited(const abi::DomainXml& parser, const Edits& edits) const;
    Result<Config> withName(const abi::DomainXml& parser, const std::string& name) const;
    /** @p value null removes. Element: @p key is the prefix, @p uri the namespace (as virDomainSetMetadata).
     */
    Result<Config> withMetadata(const abi::DomainXml& parser, MetadataKind kind, const char* value,
                                const char* key, const char* uri) const;
    Result<std::string> metadata(MetadataKind kind, const char* uri) const; ///< NoDomainMetadata if not there

    struct Device {
        DeviceKind kind;
        size_t index;      ///< position in the list of its kind in definition()
        std::string alias; ///< live configs; empty otherwise
    };
    /** Adds the device (its XML as a client sends it). @p added tells which one it became. With @p
     * assignAlias it gets one. InvalidArg/OperationFailed if its target is in use. */
    Result<Config> withDevice(const abi::DomainXml& parser, const std::string& xml, bool assignAlias,
                              Device* added) const;
    /** Finds the device a client means: filesystems and disks by target, interfaces by MAC (or the only
     * match), host devices by path, consoles by alias or target. DeviceMissing if there is none,
     * OperationFailed if several match. */
    Result<Device> findDevice(const abi::DomainXml& parser, const std::string& xml) const;
    Result<Device> findDeviceByAlias(const std::string& alias) const;
    Result<Config> withoutDevice(const abi::DomainXml& parser, const Device& device) const;
    /** Replaces it by the new XML, keeping alias and address. */
    Result<Config> withUpdatedDevice(const abi::DomainXml& parser, const Device& device,
                                     const std::string& xml) const;

private:
    struct Data;
    explicit Config(std::shared_ptr<const Data> data) : data_(std::move(data)) {}
    std::shared_ptr<const Data> data_;
};

/**
 * Reasons why a container cannot be started as defined, checked at start (define accepts it): no root
 * filesystem, a root that is the host's own / by any path (links, .., bind mounts: compared by device and
 * inode, and refused as well if it contains the host's / or is an ancestor of the state folders), sources
 * that are not there, interface or filesystem types this version cannot run (ConfigUnsupported naming the
 * element).
 */
Result<void> checkStartable(const Definition& definition, const Paths& paths = {});

/**
 * ConfigUnsupported if the block device @p path has the host's own /, also if that is on a partition of it or
 * on a device that is made of it (device mapper, RAID; /sys/dev/block/M:N/slaves).
 */
Result<void> checkNotHostRoot(const std::string& path);

} // namespace vz::domain
