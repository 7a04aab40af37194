// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/bpf.hpp"

#include <linux/btf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>
#include <string_view>

namespace vz::ct::bpf {

namespace {

constexpr size_t nowhere = std::numeric_limits<size_t>::max();

int call(int command, bpf_attr& attributes) {
    return static_cast<int>(::syscall(SYS_bpf, command, &attributes, sizeof attributes));
}

uint64_t address(const void* pointer) {
    return reinterpret_cast<uint64_t>(pointer);
}

template<size_t size>
void setName(char (&into)[size], std::string_view name) {
    name.substr(0, size - 1).copy(into, size - 1);
}

/** The types that a map for sockets has to describe its key and value by: "int" alone. */
Result<UniqueFd> loadIntType() {
    constexpr std::string_view names("\0int\0", 5);
    struct Image {
        btf_header header;
        btf_type type;
        uint32_t encoding;
        char names[8];
    } image{};
    image.header.magic = BTF_MAGIC;
    image.header.version = BTF_VERSION;
    image.header.hdr_len = sizeof image.header;
    image.header.type_len = sizeof image.type + sizeof image.encoding;
    image.header.str_off = image.header.type_len;
    image.header.str_len = names.size();
    image.type.name_off = 1;
    image.type.info = BTF_KIND_INT << 24;
    image.type.size = sizeof(uint32_t);
    image.encoding = BTF_INT_SIGNED << 24 | 32;
    names.copy(image.names, names.size());
    bpf_attr attributes{};
    attributes.btf = address(&image);
    attributes.btf_size = static_cast<uint32_t>(offsetof(Image, names) + names.size());
    UniqueFd fd(call(BPF_BTF_LOAD, attributes));
    if (!fd)
        return failErrno(errno, "cannot load BPF type information");
    return fd;
}

Result<UniqueFd> openProgram(uint32_t id) {
    bpf_attr attributes{};
    attributes.prog_id = id;
    UniqueFd program(call(BPF_PROG_GET_FD_BY_ID, attributes));
    if (!program)
        return failErrno(errno, "cannot open a BPF program of a cgroup");
    return program;
}

template<typename Info>
Result<void> describe(int fd, Info& info) {
    bpf_attr attributes{};
    attributes.info.bpf_fd = static_cast<uint32_t>(fd);
    attributes.info.info_len = sizeof info;
    attributes.info.info = address(&info);
    if (call(BPF_OBJ_GET_INFO_BY_FD, attributes) < 0)
        return failErrno(errno, "cannot look at a BPF program of a cgroup");
    return {};
}

} // namespace

void Code::add(int code, int destination, int source, int offset, int32_t immediate) {
    if (!reachable_)
        return;
    instructions_.push_back({.code = static_cast<__u8>(code),
                             .dst_reg = static_cast<__u8>(destination & 15),
                             .src_reg = static_cast<__u8>(source & 15),
                             .off = static_cast<__s16>(offset),
                             .imm = immediate});
}

void Code::add(int code, int destination, int source, Label to, int32_t immediate) {
    if (reachable_)
        jumps_.push_back({instructions_.size(), to.index});
    add(code, destination, source, 0, immediate);
}

void Code::addWide(Register to, int kind, uint32_t low, uint32_t high) {
    add(BPF_LD | BPF_DW | BPF_IMM, to, kind, 0, static_cast<int32_t>(low));
    add(0, 0, 0, 0, static_cast<int32_t>(high));
}

Label Code::label() {
    labels_.push_back(nowhere);
    return {labels_.size() - 1};
}

void Code::place(Label label) {
    labels_.at(label.index) = instructions_.size();
    reachable_ = reachable_ || std::ranges::find(jumps_, label.index, &Jump::label) != jumps_.end();
}

void Code::set(Register to, int32_t value) {
    add(BPF_ALU64 | BPF_MOV | BPF_K, to, 0, 0, value);
}

void Code::copy(Register to, Register from) {
    add(BPF_ALU64 | BPF_MOV | BPF_X, to, from, 0, 0);
}

void Code::compute(int operation, Register to, int32_t value) {
    add(BPF_ALU64 | operation | BPF_K, to, 0, 0, value);
}

void Code::compute(int operation, Register to, Register with) {
    add(BPF_ALU64 | operation | BPF_X, to, with, 0, 0);
}

void Code::load(Width width, Register to, Register base, int offset) {
    add(BPF_LDX | BPF_MEM | static_cast<int>(width), to, base, offset, 0);
}

void Code::store(Width width, Register base, int offset, Register from) {
    add(BPF_STX | BPF_MEM | static_cast<int>(width), base, from, offset, 0);
}

void Code::atomic(int operation, Width width, Register base, int offset, Register value) {
    add(BPF_STX | BPF_ATOMIC | static_cast<int>(width), base, value, offset, operation);
}

void Code::jump(Label to) {
    add(BPF_JMP | BPF_JA, 0, 0, to, 0);
    reachable_ = false;
}

void Code::jumpIf(int condition, Register left, int32_t right, Label to) {
    add(BPF_JMP | condition | BPF_K, left, 0, to, right);
}

void Code::jumpIf(int condition, Register left, Register right, Label to) {
    add(BPF_JMP | condition | BPF_X, left, right, to, 0);
}

void Code::jumpIfWord(int condition, Register left, uint32_t right, Label to) {
    add(BPF_JMP32 | condition | BPF_K, left, 0, to, static_cast<int32_t>(right));
}

void Code::call(int32_t helper) {
    add(BPF_JMP | BPF_CALL, 0, 0, 0, helper);
}

void Code::exit(int32_t value) {
    set(r0, value);
    add(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
    reachable_ = false;
}

void Code::constant(Register to, uint64_t value) {
    addWide(to, 0, static_cast<uint32_t>(value), static_cast<uint32_t>(value >> 32));
}

void Code::map(Register to, int map) {
    addWide(to, BPF_PSEUDO_MAP_FD, static_cast<uint32_t>(map), 0);
}

void Code::mapValue(Register to, int map, uint32_t offset) {
    addWide(to, BPF_PSEUDO_MAP_VALUE, static_cast<uint32_t>(map), offset);
}

Result<std::vector<bpf_insn>> Code::finish() const {
    auto out = instructions_;
    for (auto [at, label] : jumps_) {
        auto to = labels_.at(label);
        if (to == nowhere || to <= at)
            return fail(ErrorCode::InternalError, "a BPF program has a jump that leads nowhere");
        out[at].off = static_cast<__s16>(to - at - 1);
    }
    return out;
}

Result<UniqueFd> makeArray(const char* name, uint32_t valueSize) {
    bpf_attr attributes{};
    attributes.map_type = BPF_MAP_TYPE_ARRAY;
    attributes.key_size = sizeof(uint32_t);
    attributes.value_size = valueSize;
    attributes.max_entries = 1;
    setName(attributes.map_name, name);
    UniqueFd fd(call(BPF_MAP_CREATE, attributes));
    if (!fd)
        return failErrno(errno, "cannot make the BPF map ", name);
    return fd;
}

Result<UniqueFd> makeSocketStorage(const char* name) {
    VZ_TRY(auto types, loadIntType());
    bpf_attr attributes{};
    attributes.map_type = BPF_MAP_TYPE_SK_STORAGE;
    attributes.key_size = attributes.value_size = sizeof(uint32_t);
    attributes.map_flags = BPF_F_NO_PREALLOC;
    attributes.btf_fd = static_cast<uint32_t>(types.get());
    attributes.btf_key_type_id = attributes.btf_value_type_id = 1;
    setName(attributes.map_name, name);
    UniqueFd fd(call(BPF_MAP_CREATE, attributes));
    if (!fd)
        return failErrno(errno, "cannot make the BPF map ", name);
    return fd;
}

Result<void> readArray(int map, std::span<std::byte> value) {
    uint32_t key = 0;
    bpf_attr attributes{};
    attributes.map_fd = static_cast<uint32_t>(map);
    attributes.key = address(&key);
    attributes.value = address(value.data());
    if (call(BPF_MAP_LOOKUP_ELEM, attributes) < 0)
        return failErrno(errno, "cannot read a BPF map");
    return {};
}

Result<void> writeArray(int map, std::span<const std::byte> value) {
    uint32_t key = 0;
    bpf_attr attributes{};
    attributes.map_fd = static_cast<uint32_t>(map);
    attributes.key = address(&key);
    attributes.value = address(value.data());
    if (call(BPF_MAP_UPDATE_ELEM, attributes) < 0)
        return failErrno(errno, "cannot write a BPF map");
    return {};
}

Result<UniqueFd> load(ProgramKind kind, const char* name, const Code& code) {
    static constexpr char license[] = "LGPL";
    VZ_TRY(auto instructions, code.finish());
    bpf_attr attributes{};
    attributes.prog_type = kind.type;
    attributes.expected_attach_type = kind.attach;
    attributes.insns = address(instructions.data());
    attributes.insn_cnt = static_cast<uint32_t>(instructions.size());
    attributes.license = address(license);
    setName(attributes.prog_name, name);
    UniqueFd fd(call(BPF_PROG_LOAD, attributes));
    if (!fd)
        return failErrno(errno, "cannot load the BPF program ", name);
    return fd;
}

Result<void> attach(int group, ProgramKind kind, int program) {
    bpf_attr attributes{};
    attributes.target_fd = static_cast<uint32_t>(group);
    attributes.attach_bpf_fd = static_cast<uint32_t>(program);
    attributes.attach_type = kind.attach;
    attributes.attach_flags = BPF_F_ALLOW_MULTI;
    if (call(BPF_PROG_ATTACH, attributes) < 0)
        return failErrno(errno, "cannot attach a BPF program to a cgroup");
    return {};
}

Result<void> detach(int group, ProgramKind kind, uint32_t programId) {
    VZ_TRY(auto program, openProgram(programId));
    bpf_attr attributes{};
    attributes.target_fd = static_cast<uint32_t>(group);
    attributes.attach_bpf_fd = static_cast<uint32_t>(program.get());
    attributes.attach_type = kind.attach;
    if (call(BPF_PROG_DETACH, attributes) < 0)
        return failErrno(errno, "cannot detach a BPF program of a cgroup");
    return {};
}

Result<std::vector<uint32_t>> attached(int group, ProgramKind kind) {
    std::vector<uint32_t> ids(64);
    bpf_attr attributes{};
    attributes.query.target_fd = static_cast<uint32_t>(group);
    attributes.query.attach_type = kind.attach;
    attributes.query.prog_ids = address(ids.data());
    attributes.query.prog_cnt = static_cast<uint32_t>(ids.size());
    if (call(BPF_PROG_QUERY, attributes) < 0)
        return failErrno(errno, "cannot list the BPF programs of a cgroup");
    ids.resize(attributes.query.prog_cnt);
    return ids;
}

Result<std::optional<uint32_t>> find(int group, ProgramKind kind, const std::string& name) {
    VZ_TRY(auto ids, attached(group, kind));
    for (uint32_t id : ids) {
        VZ_TRY(auto program, openProgram(id));
        bpf_prog_info info{};
        VZ_CHECK(describe(program.get(), info));
        if (name == info.name)
            return std::optional(id);
    }
    return std::optional<uint32_t>();
}

Result<void> put(int group, ProgramKind kind, const char* name, const Code& code) {
    VZ_TRY(auto program, load(kind, name, code));
    return attach(group, kind, program.get());
}

Result<UniqueFd> mapOf(uint32_t programId, const std::string& name) {
    VZ_TRY(auto program, openProgram(programId));
    std::array<uint32_t, 8> ids{};
    bpf_prog_info info{};
    info.nr_map_ids = ids.size();
    info.map_ids = address(ids.data());
    VZ_CHECK(describe(program.get(), info));
    for (uint32_t i = 0; i < std::min<uint32_t>(info.nr_map_ids, ids.size()); ++i) {
        bpf_attr byId{};
        byId.map_id = ids[i];
        UniqueFd map(call(BPF_MAP_GET_FD_BY_ID, byId));
        bpf_map_info details{};
        if (map && describe(map.get(), details) && name == details.name)
            return map;
    }
    return fail(ErrorCode::OperationFailed, "a BPF program of a cgroup has no map ", name);
}

} // namespace vz::ct::bpf
