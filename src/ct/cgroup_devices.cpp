// SPDX-License-Identifier: LGPL-2.1-or-later
// Which devices a container may use: the v1 devices controller, or a BPF program on a cgroup2 group.
#include "base/file.hpp"
#include "ct/cgroup_internal.hpp"

#include <cerrno>
#include <fcntl.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

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

using Program = std::vector<bpf_insn>;

bpf_insn instruction(int code, int destination, int source, int offset, int immediate) {
    return {.code = static_cast<__u8>(code),
            .dst_reg = static_cast<__u8>(destination & 15),
            .src_reg = static_cast<__u8>(source & 15),
            .off = static_cast<__s16>(offset),
            .imm = immediate};
}

bpf_insn load(int destination, int offset) {
    return instruction(BPF_LDX | BPF_MEM | BPF_W, destination, BPF_REG_1, offset, 0);
}

bpf_insn move(int destination, int value) {
    return instruction(BPF_ALU | BPF_MOV | BPF_K, destination, 0, 0, value);
}

constexpr int exitCode = BPF_JMP | BPF_EXIT;

/** The test of one rule: falls through to "return 1" if all fits, else jumps behind it. */
void addRule(Program& program, const DeviceRule& rule) {
    Program tests;
    auto unless = [&](int reg, int64_t value) {
        tests.push_back(instruction(BPF_JMP | BPF_JNE | BPF_K, reg, 0, 0, static_cast<int>(value)));
    };
    if (rule.type != 'a')
        unless(BPF_REG_2, rule.type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
    constexpr uint32_t all = BPF_DEVCG_ACC_MKNOD | BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE;
    if (uint32_t refused = all & ~accessBits(rule)) {
        tests.push_back(instruction(BPF_ALU | BPF_MOV | BPF_X, BPF_REG_0, BPF_REG_3, 0, 0));
        tests.push_back(instruction(BPF_ALU | BPF_AND | BPF_K, BPF_REG_0, 0, 0, static_cast<int>(refused)));
        unless(BPF_REG_0, 0);
    }
    if (rule.major >= 0)
        unless(BPF_REG_4, rule.major);
    if (rule.minor >= 0)
        unless(BPF_REG_5, rule.minor);
    for (size_t i = 0; i < tests.size(); ++i) {
        if (BPF_CLASS(tests[i].code) ==
            BPF_JMP) // over the remaining tests and the two instructions of "return 1"
            tests[i].off = static_cast<__s16>(tests.size() - i - 1 + 2);
    }
    program.insert(program.end(), tests.begin(), tests.end());
    program.push_back(move(BPF_REG_0, 1));
    program.push_back(instruction(exitCode, 0, 0, 0, 0));
}

/** struct bpf_cgroup_dev_ctx: access and type in the first word, then major and minor. */
Program deviceProgram(const std::vector<DeviceRule>& rules) {
    Program program{load(BPF_REG_2, 0), instruction(BPF_ALU | BPF_AND | BPF_K, BPF_REG_2, 0, 0, 0xffff),
                    load(BPF_REG_3, 0), instruction(BPF_ALU | BPF_RSH | BPF_K, BPF_REG_3, 0, 0, 16),
                    load(BPF_REG_4, 4), load(BPF_REG_5, 8)};
    for (const auto& rule : rules)
        addRule(program, rule);
    program.push_back(move(BPF_REG_0, 0));
    program.push_back(instruction(exitCode, 0, 0, 0, 0));
    return program;
}

int bpf(int command, bpf_attr& attributes) {
    return static_cast<int>(::syscall(SYS_bpf, command, &attributes, sizeof attributes));
}

Result<UniqueFd> loadProgram(const Program& program) {
    static constexpr char license[] = "LGPL";
    bpf_attr attributes{};
    attributes.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
    attributes.insns = reinterpret_cast<uint64_t>(program.data());
    attributes.insn_cnt = static_cast<uint32_t>(program.size());
    attributes.license = reinterpret_cast<uint64_t>(license);
    UniqueFd fd(bpf(BPF_PROG_LOAD, attributes));
    if (!fd)
        return failErrno(errno, "cannot load the BPF program that restricts devices");
    return fd;
}

Result<std::vector<uint32_t>> attachedPrograms(int group) {
    std::vector<uint32_t> ids(64);
    bpf_attr attributes{};
    attributes.query.target_fd = static_cast<uint32_t>(group);
    attributes.query.attach_type = BPF_CGROUP_DEVICE;
    attributes.query.prog_ids = reinterpret_cast<uint64_t>(ids.data());
    attributes.query.prog_cnt = static_cast<uint32_t>(ids.size());
    if (bpf(BPF_PROG_QUERY, attributes) < 0)
        return failErrno(errno, "cannot list the device programs of a cgroup");
    ids.resize(attributes.query.prog_cnt);
    return ids;
}

Result<void> detach(int group, uint32_t id) {
    bpf_attr byId{};
    byId.prog_id = id;
    UniqueFd program(bpf(BPF_PROG_GET_FD_BY_ID, byId));
    if (!program)
        return failErrno(errno, "cannot open the device program of a cgroup");
    bpf_attr attributes{};
    attributes.target_fd = static_cast<uint32_t>(group);
    attributes.attach_bpf_fd = static_cast<uint32_t>(program.get());
    attributes.attach_type = BPF_CGROUP_DEVICE;
    if (bpf(BPF_PROG_DETACH, attributes) < 0)
        return failErrno(errno, "cannot detach the device program of a cgroup");
    return {};
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
    VZ_TRY(auto before, attachedPrograms(folder.get()));
    VZ_TRY(auto program, loadProgram(deviceProgram(rules)));
    bpf_attr attributes{};
    attributes.target_fd = static_cast<uint32_t>(folder.get());
    attributes.attach_bpf_fd = static_cast<uint32_t>(program.get());
    attributes.attach_type = BPF_CGROUP_DEVICE;
    attributes.attach_flags = BPF_F_ALLOW_MULTI;
    if (bpf(BPF_PROG_ATTACH, attributes) < 0)
        return failErrno(errno, "cannot attach the device program to ", group);
    // All attached programs must agree, so between the two steps less is allowed, never more.
    for (uint32_t id : before)
        VZ_CHECK(detach(folder.get(), id));
    return {};
}

} // namespace vz::ct::cgroups
