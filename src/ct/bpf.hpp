// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "base/unique_fd.hpp"

#include <linux/bpf.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

/**
 * Small BPF programs, by bpf(2) alone: for links (packet_guard.hpp), and on cgroup2 groups. There a program
 * is attached to its group, and its maps hang on it: all of it goes with the group, whoever dies before, and
 * is found again through the group. Formats: linux/bpf.h, linux/btf.h, Documentation/bpf/ of the kernel.
 */
namespace vz::ct::bpf {

enum Register : uint8_t { r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, r10 };
enum class Width : uint8_t { Byte = BPF_B, Half = BPF_H, Word = BPF_W, Double = BPF_DW };

/** A place in a program to jump to, which may be placed later; forward only. */
struct Label {
    size_t index;
};

/** A program while it is written down. What nothing leads to is left out: the kernel refuses such code. */
class Code {
public:
    Label label();
    void place(Label label);

    void set(Register to, int32_t value);
    void constant(Register to, uint64_t value);
    void copy(Register to, Register from);
    /** BPF_ADD, BPF_AND, BPF_LSH ... on 64 bits. */
    void compute(int operation, Register to, int32_t value);
    void compute(int operation, Register to, Register with);
    void load(Width width, Register to, Register base, int offset);
    void store(Width width, Register base, int offset, Register from);
    /** BPF_ADD, BPF_XCHG ..., also with BPF_FETCH: then @p value is what was there before. */
    void atomic(int operation, Width width, Register base, int offset, Register value);
    void jump(Label to);
    /** BPF_JEQ, BPF_JGT ... (unsigned), on 64 bits. */
    void jumpIf(int condition, Register left, int32_t right, Label to);
    void jumpIf(int condition, Register left, Register right, Label to);
    /** The same on the low 32 bits. */
    void jumpIfWord(int condition, Register left, uint32_t right, Label to);
    void call(int32_t helper);
    void exit(int32_t value);

    void map(Register to, int map);
    /** The address of the only value of an array, and an offset in it. */
    void mapValue(Register to, int map, uint32_t offset);

    /** The finished program; InternalError if a jump leads nowhere. */
    Result<std::vector<bpf_insn>> finish() const;

private:
    void add(int code, int destination, int source, int offset, int32_t immediate);
    void add(int code, int destination, int source, Label to, int32_t immediate);
    void addWide(Register to, int kind, uint32_t low, uint32_t high);

    struct Jump {
        size_t at, label;
    };
    std::vector<bpf_insn> instructions_;
    std::vector<size_t> labels_; // where each is; none: npos
    std::vector<Jump> jumps_;
    bool reachable_ = true; // whether something leads to what is written next
};

/** What is loaded and where it belongs: BPF_PROG_TYPE_*, BPF_CGROUP_*. */
struct ProgramKind {
    uint32_t type, attach;
};

/** An array with one value of that many bytes, zeroed. */
Result<UniqueFd> makeArray(const char* name, uint32_t valueSize);
/** A 32-bit number for each socket that gets one; it goes with the socket. */
Result<UniqueFd> makeSocketStorage(const char* name);
Result<void> readArray(int map, std::span<std::byte> value);
Result<void> writeArray(int map, std::span<const std::byte> value);

Result<UniqueFd> load(ProgramKind kind, const char* name, const Code& code);
/** Beside other programs of the kind, on an open group. */
Result<void> attach(int group, ProgramKind kind, int program);
Result<void> detach(int group, ProgramKind kind, uint32_t programId);
/** The ids of the programs of that kind on the group. */
Result<std::vector<uint32_t>> attached(int group, ProgramKind kind);
/** The one of that kind and name (of 15 characters at most) on the group. */
Result<std::optional<uint32_t>> find(int group, ProgramKind kind, const std::string& name);
/** load() and attach(). */
Result<void> put(int group, ProgramKind kind, const char* name, const Code& code);
/** A map of that name which the program uses; OperationFailed if there is none. */
Result<UniqueFd> mapOf(uint32_t programId, const std::string& name);

} // namespace vz::ct::bpf
