// SPDX-License-Identifier: LGPL-2.1-or-later
// Which devices a container may use: the v1 devices controller, or a BPF program on a cgroup2 group.
#include "base/file.hpp"
#include "ct/bpf.hpp"
#include "ct/cgroup_internal.hpp"

#include <fcntl.h>

namespace vz::ct::cgroups {

namespace {

std::string number(int64_t value) {
    return value < 0 ? "*" : cat(value);
}

/** The line of devices.allow and devices.deny. */
std::string line(const DeviceRule& rule) {
    return cat(rule.type, " ", number(rule.major), ":", number(rule.minor), " ", rule.access);
}

/** A parent does not hand a later permission on, so all groups below get it too, on the way down. */
Result<void> allowBelow(const std::string& dir, const std::vector<DeviceRule>& rules) {
    VZ_TRY(auto allow, file::open(dir + "/devices.allow", O_WRONLY));
    for (const auto& rule : rules) {
        if (auto written = file::writeAll(allow.get(), line(rule)); !written)
            return std::move(written).takeError().within(cat("cannot allow '", line(rule), "' in ", dir));
    }
    VZ_TRY(auto names, file::list(dir));
    for (const auto& name : names) {
        auto below = cat(dir, "/", name);
        if (!file::isDirectory(below))
            continue;
        // The container may remove its groups at any time.
        if (auto done = allowBelow(below, rules); !done && file::exists(below))
            return done;
    }
    return {};
}

uint32_t accessBits(const DeviceRule& rule) {
    uint32_t bits = 0;
    for (char c : rule.access)
        bits |= c == 'm'   ? BPF_DEVCG_ACC_MKNOD
                : c == 'r' ? BPF_DEVCG_ACC_READ
                : c == 'w' ? BPF_DEVCG_ACC_WRITE
                           : 0;
    return bits;
}

constexpr bpf::ProgramKind deviceKind{BPF_PROG_TYPE_CGROUP_DEVICE, BPF_CGROUP_DEVICE};

/** The test of one rule: "return 1" if all fits, else on to the next. */
void addRule(bpf::Code& code, const DeviceRule& rule) {
    auto next = code.label();
    auto unless = [&](bpf::Register reg, int64_t value) {
        code.jumpIf(BPF_JNE, reg, static_cast<int32_t>(value), next);
    };
    if (rule.type != 'a')
        unless(bpf::r2, rule.type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
    constexpr uint32_t all = BPF_DEVCG_ACC_MKNOD | BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE;
    if (uint32_t refused = all & ~accessBits(rule)) {
        code.copy(bpf::r0, bpf::r3);
        code.compute(BPF_AND, bpf::r0, static_cast<int32_t>(refused));
        unless(bpf::r0, 0);
    }
    if (rule.major >= 0)
        unless(bpf::r4, rule.major);
    if (rule.minor >= 0)
        unless(bpf::r5, rule.minor);
    code.exit(1);
    code.place(next);
}

/** struct bpf_cgroup_dev_ctx: access and type in the first word, then major and minor. */
bpf::Code deviceProgram(const std::vector<DeviceRule>& rules) {
    using enum bpf::Width;
    bpf::Code code;
    code.load(Word, bpf::r2, bpf::r1, 0);
    code.compute(BPF_AND, bpf::r2, 0xffff);
    code.load(Word, bpf::r3, bpf::r1, 0);
    code.compute(BPF_RSH, bpf::r3, 16);
    code.load(Word, bpf::r4, bpf::r1, 4);
    code.load(Word, bpf::r5, bpf::r1, 8);
    for (const auto& rule : rules)
        addRule(code, rule);
    code.exit(0);
    return code;
}

} // namespace

std::string formatRule(const DeviceRule& rule) {
    return cat(rule.type, number(rule.major), ":", number(rule.minor), ":", rule.access);
}

std::optional<DeviceRule> parseRule(std::string_view text) {
    if (text.empty())
        return std::nullopt;
    DeviceRule rule{.type = text[0]};
    auto parts = split(text.substr(1), ':');
    if (parts.size() != 3)
        return std::nullopt;
    for (auto [part, into] : {std::pair{parts[0], &rule.major}, std::pair{parts[1], &rule.minor}}) {
        if (part == "*")
            continue;
        auto value = parseNumber<int64_t>(part);
        if (!value)
            return std::nullopt;
        *into = *value;
    }
    rule.access = parts[2];
    return rule;
}

Result<void> setDevices(const Place& place, const std::vector<DeviceRule>& rules) {
    // The group denies by default since it was made; what an earlier list allowed is taken back line by line.
    VZ_TRY(auto before, file::read(place.limitDir() + "/devices.list"));
    for (auto allowed : lines(before))
        VZ_CHECK(file::writeValue(place.limitDir() + "/devices.deny", allowed));
    return allowBelow(place.limitDir(), rules);
}

Result<void> allowDevice(const Place& place, const DeviceRule& rule) {
    return allowBelow(place.limitDir(), {rule});
}

Result<void> denyDevice(const Place& place, const DeviceRule& rule) {
    return file::writeValue(place.limitDir() + "/devices.deny", line(rule));
}

Result<void> setDeviceProgram(const std::string& group, const std::vector<DeviceRule>& rules) {
    VZ_TRY(auto folder, file::open(group, O_RDONLY | O_DIRECTORY));
    VZ_TRY(auto before, bpf::attached(folder.get(), deviceKind));
    VZ_TRY(auto program, bpf::load(deviceKind, "vz_devices", deviceProgram(rules)));
    VZ_CHECK(bpf::attach(folder.get(), deviceKind, program.get()));
    // All attached programs must agree, so between the two steps less is allowed, never more.
    for (uint32_t id : before)
        VZ_CHECK(bpf::detach(folder.get(), deviceKind, id));
    return {};
}

} // namespace vz::ct::cgroups
