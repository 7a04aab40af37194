// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/export/nbd_device.hpp"

#include "base/file.hpp"
#include "storage/export/nbd_control.hpp"

#include <cstdio>
#include <fcntl.h>
#include <random>

namespace vz::exports {

namespace {

/** As long as a SCSI disk is waited for: 30 s and five more tries. */
constexpr uint64_t requestLimit = 180;

} // namespace

uint64_t NbdDevice::newSequence() {
    std::random_device random;
    return std::uniform_int_distribution<uint64_t>(1)(random);
}

std::string NbdDevice::backend() const {
    char text[32];
    std::snprintf(text, sizeof text, "vz-ploopd %016llx", static_cast<unsigned long long>(sequence()));
    return text;
}

Result<NbdDevice> NbdDevice::attach(const UniqueFd& peer, const Options& options, uint64_t sequence,
                                    UniqueFd& held) {
    NbdControl::Device wanted;
    if (!options.device.empty()) {
        VZ_TRY(wanted.number, numberOf(options.device, pathStart));
    }
    VZ_TRY(auto control, NbdControl::open());
    NbdDevice device("", sequence);
    wanted.bytes = options.bytes;
    wanted.flags = options.flags;
    wanted.backend = device.backend();
    wanted.peer = peer.get();
    wanted.requestLimit = requestLimit;
    VZ_TRY(auto number, control.connect(wanted));
    device = NbdDevice(cat(pathStart, number), sequence);
    // Whenever who could write closes it, udev has the partitions read again, which are gone for a moment
    // then.
    auto fd = file::open(device.path(), O_RDONLY);
    if (fd && !device.bound())
        fd = fail(ErrorCode::OperationUnsupported,
                  "this kernel does not tell whose a network block device is");
    auto kept = fd ? control.change(number, wanted.backend, {{}, true}) : std::move(fd).takeError();
    if (!kept) {
        (void)control.disconnect(number);
        return std::move(kept).takeError();
    }
    held = *std::move(fd);
    return device;
}

std::optional<NbdDevice> NbdDevice::findAnywhere(uint64_t sequence) {
    auto names = file::list("/sys/block");
    if (!names)
        return {};
    for (const auto& name : *names) {
        NbdDevice device("/dev/" + name, sequence);
        if (device.path().starts_with(pathStart) && device.bound())
            return device;
    }
    return {};
}

bool NbdDevice::bound() const {
    auto text = file::read(attribute("backend"));
    return text && trim(*text) == backend();
}

Result<void> NbdDevice::refresh(uint64_t bytes) const {
    VZ_TRY(auto control, NbdControl::open());
    VZ_TRY(auto own, number());
    return control.change(own, backend(), {bytes, {}});
}

Result<void> NbdDevice::setAutoclear(bool on) const {
    // With it open the number stays ours.
    VZ_TRY(auto fd, open());
    VZ_TRY(auto control, NbdControl::open());
    VZ_TRY(auto own, number());
    return control.change(own, backend(), {{}, on});
}

/** Disconnecting it would be at once: so the last user does, who may be this one. */
Result<void> NbdDevice::release() const {
    return setAutoclear(true);
}

/** It is not opened before: whoever closes it may wait in the kernel for just this, and let nobody in. */
Result<void> NbdDevice::disconnect() const {
    VZ_TRY(auto control, NbdControl::open());
    VZ_TRY(auto own, number());
    return control.disconnect(own);
}

} // namespace vz::exports
