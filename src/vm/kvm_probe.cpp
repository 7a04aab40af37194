// SPDX-License-Identifier: LGPL-2.1-or-later
/**
 * vz-kvm-probe DEVICE: tells whether KVM really works, by running a guest of a few instructions in it. Prints
 * one sentence and exits with 0 if it does, with 1 if not. It may hang in a broken KVM: the caller sets a
 * limit (accelerator.hpp), and SIGALRM ends it if the caller is gone.
 *
 * The guest runs twice. In real mode, as firmware does: that the device exists and that its calls succeed
 * does not say that anything runs. And in 64-bit mode with paging, as a kernel does, with an instruction in
 * it that only a processor can do: a KVM without hardware behind it (nested PVM) interprets what it has to,
 * so that firmware comes up and the kernel after it does not.
 */
#include "base/result.hpp"
#include "base/unique_fd.hpp"

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

namespace vz {

namespace {

constexpr unsigned lifetimeSeconds = 10;

struct Kvm {
    UniqueFd device, machine, vcpu;
};

Error no(int systemError, const char* what) {
    return failErrno(systemError, what);
}

Result<Kvm> makeMachine(const char* device) {
    Kvm kvm;
    kvm.device.reset(::open(device, O_RDWR | O_CLOEXEC));
    if (!kvm.device)
        return errno == ENOENT ? fail(ErrorCode::NoSupport, device, " does not exist")
                               : failErrno(errno, "cannot open ", device);
    constexpr int stableApi = 12;
    int version = ::ioctl(kvm.device.get(), KVM_GET_API_VERSION, 0);
    if (version < 0)
        return failErrno(errno, device, " is not KVM");
    if (version != stableApi)
        return fail(ErrorCode::NoSupport, device, " has version ", version,
                    " of the KVM interface instead of ", stableApi);
    kvm.machine.reset(::ioctl(kvm.device.get(), KVM_CREATE_VM, 0));
    if (!kvm.machine)
        return no(errno, "KVM cannot make a virtual machine");
    return kvm;
}

Result<void> addVcpu(Kvm& kvm) {
    kvm.vcpu.reset(::ioctl(kvm.machine.get(), KVM_CREATE_VCPU, 0));
    if (!kvm.vcpu)
        return no(errno, "KVM cannot make a virtual processor");
    return {};
}

#ifdef __x86_64__

/** Memory that is shared with the kernel. */
class Memory {
public:
    Memory(int fd, size_t size)
        : size_(size), start_(::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                                     MAP_SHARED | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0)) {}
    Memory(Memory&& other) noexcept : size_(other.size_), start_(std::exchange(other.start_, MAP_FAILED)) {}
    ~Memory() {
        if (*this)
            ::munmap(start_, size_);
    }
    explicit operator bool() const { return start_ != MAP_FAILED; }
    uint8_t* at(size_t offset) const { return static_cast<uint8_t*>(start_) + offset; }
    size_t size() const { return size_; }

private:
    size_t size_;
    void* start_;
};

// The guest's memory, from its physical address 0 on.
constexpr size_t scratchAt = 0x800, codeAt = 0x1000, levelsAt = 0x2000, guestSize = 0x5000;
constexpr uint8_t port = 0xe9;

constexpr uint8_t realModeValue = 0x5a;
constexpr uint8_t realModeCode[] = {
    0xb0, realModeValue, // mov  $0x5a, %al
    0xe6, port,          // out  %al, $0xe9
    0xf4,                // hlt
};

// KVM's interpreter of instructions (arch/x86/kvm/emulate.c) has no arithmetic of the floating point unit.
constexpr uint8_t longModeValue = 2;
constexpr uint8_t longModeCode[] = {
    0xdb, 0xe3,                               // fninit
    0xd9, 0xe8,                               // fld1
    0xd8, 0xc0,                               // fadd   %st(0), %st
    0xdf, 0x1c, 0x25, 0x00, 0x08, 0x00, 0x00, // fistps 0x800
    0x8a, 0x04, 0x25, 0x00, 0x08, 0x00, 0x00, // mov    0x800, %al
    0xe6, port,                               // out    %al, $0xe9
    0xf4,                                     // hlt
};

/** A guest: one processor and guestSize bytes of memory. */
class Guest {
public:
    static Result<Guest> create(Kvm kvm) {
        // Intel's processors without "unrestricted guest" need a place below 4 GiB for real mode.
        constexpr unsigned long taskState = 0xfffbd000;
        if (::ioctl(kvm.device.get(), KVM_CHECK_EXTENSION, KVM_CAP_SET_TSS_ADDR) > 0 &&
            ::ioctl(kvm.machine.get(), KVM_SET_TSS_ADDR, taskState) < 0)
            return no(errno, "KVM cannot place the task state of a virtual machine");
        VZ_CHECK(addVcpu(kvm));
        int size = ::ioctl(kvm.device.get(), KVM_GET_VCPU_MMAP_SIZE, 0);
        if (size < static_cast<int>(sizeof(kvm_run)))
            return fail(ErrorCode::NoSupport, "KVM does not say how a virtual processor is watched");
        Memory run(kvm.vcpu.get(), static_cast<size_t>(size));
        Memory memory(-1, guestSize);
        if (!run || !memory)
            return no(errno, "no memory for a virtual machine");
        kvm_userspace_memory_region region{};
        region.memory_size = memory.size();
        region.userspace_addr = reinterpret_cast<uint64_t>(memory.at(0));
        if (::ioctl(kvm.machine.get(), KVM_SET_USER_MEMORY_REGION, &region) < 0)
            return no(errno, "KVM cannot give memory to a virtual machine");
        return Guest(std::move(kvm), std::move(run), std::move(memory));
    }

    Result<void> runInRealMode() {
        VZ_TRY(auto registers, systemRegisters());
        registers.cs.base = 0;
        registers.cs.selector = 0;
        std::memcpy(memory_.at(codeAt), realModeCode, sizeof realModeCode);
        VZ_CHECK(runFromStart(registers, realModeValue));
        return {};
    }

    Result<void> runInLongMode() {
        VZ_TRY(auto registers, systemRegisters());
        makePages();
        constexpr uint64_t protection = 1, coprocessor = 2, numericError = 0x20, paging = 1u << 31;
        constexpr uint64_t physicalAddressExtension = 0x20, longMode = 0x100, longModeActive = 0x400;
        registers.cr0 = protection | coprocessor | 0x10 /* always set */ | numericError | paging;
        registers.cr3 = levelsAt;
        registers.cr4 = physicalAddressExtension;
        registers.efer = longMode | longModeActive;
        constexpr uint8_t code = 11, data = 3; // execute and read, read and write; both accessed
        registers.cs = flatSegment(8, code);
        registers.ds = registers.es = registers.fs = registers.gs = registers.ss = flatSegment(16, data);
        std::memcpy(memory_.at(codeAt), longModeCode, sizeof longModeCode);
        return runFromStart(registers, longModeValue);
    }

private:
    Guest(Kvm kvm, Memory run, Memory memory)
        : kvm_(std::move(kvm)), runMemory_(std::move(run)), memory_(std::move(memory)) {}

    const kvm_run& state() const { return *reinterpret_cast<const kvm_run*>(runMemory_.at(0)); }

    Result<kvm_sregs> systemRegisters() const {
        kvm_sregs registers{};
        if (::ioctl(kvm_.vcpu.get(), KVM_GET_SREGS, &registers) < 0)
            return no(errno, "KVM cannot read the registers of a virtual processor");
        return registers;
    }

    static kvm_segment flatSegment(uint16_t selector, uint8_t type) {
        kvm_segment segment{};
        segment.limit = UINT32_MAX;
        segment.selector = selector;
        segment.type = type;
        segment.present = segment.s = segment.g = 1;
        bool isCode = type & 8;
        segment.l = isCode;
        segment.db = !isCode;
        return segment;
    }

    /** Three levels of tables and one page of 2 MiB: virtual addresses are the physical ones. */
    void makePages() const {
        constexpr uint64_t present = 1, writable = 2, large = 0x80, page = 0x1000;
        const uint64_t entries[] = {(levelsAt + page) | writable | present,
                                    (levelsAt + 2 * page) | writable | present, large | writable | present};
        for (size_t level = 0; level < std::size(entries); ++level)
            std::memcpy(memory_.at(levelsAt + level * page), &entries[level], sizeof entries[level]);
    }

    Result<void> runFromStart(const kvm_sregs& system, uint8_t expected) {
        kvm_regs registers{};
        registers.rip = codeAt;
        registers.rflags = 2; // always set
        if (::ioctl(kvm_.vcpu.get(), KVM_SET_SREGS, &system) < 0 ||
            ::ioctl(kvm_.vcpu.get(), KVM_SET_REGS, &registers) < 0)
            return no(errno, "KVM cannot set the registers of a virtual processor");
        VZ_CHECK(runUntil(KVM_EXIT_IO));
        const auto& io = state().io;
        uint8_t value = *runMemory_.at(io.data_offset);
        if (io.direction != KVM_EXIT_IO_OUT || io.port != port || io.size != 1 || io.count != 1 ||
            value != expected)
            return fail(ErrorCode::NoSupport, "code in KVM calculated wrong: it wrote ", value, " to port ",
                        io.port, " instead of ", expected, " to port ", port);
        return runUntil(KVM_EXIT_HLT);
    }

    Result<void> runUntil(uint32_t wanted) {
        while (::ioctl(kvm_.vcpu.get(), KVM_RUN, 0) < 0) {
            if (errno != EINTR)
                return no(errno, "KVM cannot run a virtual processor");
        }
        return state().exit_reason == wanted ? Result<void>() : wrongExit();
    }

    Error wrongExit() const {
        switch (state().exit_reason) {
        case KVM_EXIT_INTERNAL_ERROR:
            if (state().internal.suberror == KVM_INTERNAL_ERROR_EMULATION)
                return fail(
                    ErrorCode::NoSupport,
                    "KVM here interprets the code of a guest instead of letting the processor run it, "
                    "and no kernel gets far in that");
            return fail(ErrorCode::NoSupport, "KVM failed inside (suberror ", state().internal.suberror, ")");
        case KVM_EXIT_FAIL_ENTRY:
            return fail(ErrorCode::NoSupport, "the processor refuses to enter a guest (reason ",
                        state().fail_entry.hardware_entry_failure_reason, ")");
        case KVM_EXIT_SHUTDOWN:
            return fail(ErrorCode::NoSupport, "simple code in KVM ends in a triple fault");
        default:
            return fail(ErrorCode::NoSupport, "simple code in KVM was left for an unexpected reason (exit ",
                        state().exit_reason, ")");
        }
    }

    Kvm kvm_;
    Memory runMemory_, memory_;
};

Result<const char*> probe(const char* device) {
    VZ_TRY(auto kvm, makeMachine(device));
    VZ_TRY(auto guest, Guest::create(std::move(kvm)));
    VZ_CHECK(guest.runInRealMode());
    VZ_CHECK(guest.runInLongMode());
    return "KVM runs code on the processor of this host";
}

#else

Result<const char*> probe(const char* device) {
    VZ_TRY(auto kvm, makeMachine(device));
    VZ_CHECK(addVcpu(kvm));
    return "KVM makes virtual processors; on this architecture it was not tried whether they run";
}

#endif

} // namespace

} // namespace vz

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fputs("usage: vz-kvm-probe DEVICE\n", stderr);
        return 2;
    }
    ::alarm(vz::lifetimeSeconds);
    auto answer = vz::probe(argv[1]);
    std::puts(answer ? *answer : answer.error().message().c_str());
    return answer ? 0 : 1;
}
