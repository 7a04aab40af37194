// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vm/accelerator.hpp"

#include "base/log.hpp"
#include "base/process.hpp"

#include <sys/stat.h>

namespace vz::vm {

Accelerator AcceleratorProbe::accelerator() {
    constexpr const char* saidSo = "the setting vm_accelerator says so";
    if (options_.wish != AcceleratorWish::Auto)
        return {options_.wish == AcceleratorWish::Kvm, saidSo, true};
    std::lock_guard lock(mutex_);
    auto found = identify();
    if (answer_ && found == tried_)
        return *answer_;
    tried_ = found;
    answer_ = found == Identity() ? Accelerator{false, cat(options_.device, " does not exist")} : tryKvm();
    log::info(answer_->kvm ? "virtual machines can use KVM: " : "virtual machines are emulated: ",
              answer_->reason);
    return *answer_;
}

AcceleratorProbe::Identity AcceleratorProbe::identify() const {
    struct stat status {};
    if (::stat(options_.device.c_str(), &status) != 0)
        return {};
    return {status.st_dev, status.st_ino, status.st_mtim.tv_sec, status.st_mtim.tv_nsec};
}

Accelerator AcceleratorProbe::tryKvm() const {
    auto done = process::run({.argv = {options_.helper, options_.device}}, {}, options_.limit);
    if (!done && done.error().code() == ErrorCode::OperationTimeout)
        return {false,
                cat("simple code did not run to its end in KVM within ", options_.limit.count(), " ms")};
    if (!done)
        return {false, cat("KVM could not be tried: ", done.error().message())};
    std::string said(trim(done->output));
    if (done->status == 0 && !said.empty())
        return {true, said};
    if (done->status == 1 && !said.empty())
        return {false, said};
    return {false,
            cat("KVM could not be tried: ", options_.helper, " gave no answer (status ", done->status, ")")};
}

} // namespace vz::vm
