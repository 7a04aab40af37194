// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/open_vswitch.hpp"

#include "base/file.hpp"
#include "base/process.hpp"

namespace vz::driver {

namespace {

Result<std::string> program() {
    for (const char* path : {"/usr/bin/ovs-vsctl", "/usr/local/bin/ovs-vsctl", "/usr/sbin/ovs-vsctl"}) {
        if (file::exists(path))
            return std::string(path);
    }
    return fail(ErrorCode::ConfigUnsupported, "<virtualport type='openvswitch'>: there is no ovs-vsctl on ",
                "this host: install Open vSwitch (openvswitch-switch)");
}

Result<void> control(std::vector<std::string> arguments) {
    VZ_TRY(auto path, program());
    std::vector<std::string> argv{path, "--timeout=10", "--"};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    VZ_TRY(auto done, process::run({.argv = std::move(argv)}, {}, std::chrono::seconds(20)));
    if (done.status != 0)
        return fail(ErrorCode::OperationFailed, "ovs-vsctl: ", trim(done.errors));
    return {};
}

/** Columns of a port for its VLANs. */
std::vector<std::string> vlanColumns(const domain::Vlan& vlan) {
    std::vector<std::string> columns, trunks;
    for (const auto& tag : vlan.tags) {
        if (vlan.trunk)
            trunks.push_back(cat(tag.id));
        if (!vlan.trunk || !tag.nativeMode.empty())
            columns.push_back(cat("tag=", tag.id));
        if (!tag.nativeMode.empty())
            columns.push_back(cat("vlan_mode=native-", tag.nativeMode));
    }
    if (!trunks.empty())
        columns.push_back(cat("trunks=", join(trunks, ",")));
    return columns;
}

} // namespace

Result<void> addSwitchPort(const InterfaceOwner& owner, const domain::Interface& interface,
                           const std::string& port) {
    std::vector<std::string> arguments{"--if-exists", "del-port",       port, "--",
                                       "add-port",    interface.bridge, port};
    if (interface.vlan) {
        for (auto& column : vlanColumns(*interface.vlan))
            arguments.push_back(std::move(column));
    }
    auto set = [&](const std::string& key, const std::string& value) {
        arguments.insert(arguments.end(),
                         {"--", "set", "Interface", port, cat("external-ids:", key, "=\"", value, "\"")});
    };
    set("attached-mac", interface.mac);
    set("vm-id", owner.uuid);
    set("iface-status", "active");
    for (const auto& [name, value] : interface.virtualPort->parameters) {
        if (name == "interfaceid")
            set("iface-id", value);
        else if (name == "profileid")
            set("port-profile", value);
    }
    auto added = control(std::move(arguments));
    return added ? added
                 : Result<void>(std::move(added).takeError().within(
                       cat("cannot add a port to the switch '", interface.bridge, "'")));
}

Result<void> removeSwitchPort(const std::string& port) {
    return control({"--if-exists", "del-port", port});
}

} // namespace vz::driver
