// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvirt/objects.hpp"

#include "libvirt/driver_table.hpp"
#include "libvirt/private.hpp"

namespace vz::abi {

namespace {

using Closed = std::function<void()>;

/** Runs with the stream's lock held, in the thread that ends the stream. */
void streamClosed(virStreamPtr, void* opaque) {
    if (const auto& closed = *static_cast<Closed*>(opaque))
        closed();
}

void freeClosed(void* opaque) {
    delete static_cast<Closed*>(opaque);
}

std::string textOf(const unsigned char* uuid) {
    // By hand: this is done several times in each call, and a formatted print takes longer than all the rest.
    constexpr char digits[] = "0123456789abcdef";
    std::string text;
    text.reserve(VIR_UUID_STRING_BUFLEN);
    for (int i = 0; i < VIR_UUID_BUFLEN; ++i) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            text += '-';
        text += digits[uuid[i] >> 4];
        text += digits[uuid[i] & 0xf];
    }
    return text;
}

} // namespace

Result<virDomainPtr> makeDomain(virConnectPtr conn, const std::string& name, const unsigned char* uuid,
                                int id) {
    virDomainPtr dom = priv::virGetDomain(conn, name.c_str(), uuid, id);
    if (!dom)
        return lastError("libvirt could not make a domain object");
    return dom;
}

Result<std::string> uuidText(const unsigned char* uuid) {
    if (!uuid)
        return fail(ErrorCode::InvalidArg, "a UUID is needed, none was given");
    return textOf(uuid);
}

Result<void> uuidBytes(const std::string& text, unsigned char* uuid) {
    if (priv::virUUIDParse(text.c_str(), uuid) < 0)
        return fail(ErrorCode::InvalidArg, "'", text, "' is not a UUID");
    return {};
}

std::string newUuid() {
    unsigned char uuid[VIR_UUID_BUFLEN];
    // It cannot fail but for a host without random numbers, where libvirtd itself would not have started.
    if (priv::virUUIDGenerate(uuid) < 0)
        std::abort();
    return textOf(uuid);
}

std::string hostUuid() {
    unsigned char uuid[VIR_UUID_BUFLEN] = {};
    priv::virGetHostUUID(uuid);
    return textOf(uuid);
}

Result<void> joinStream(virStreamPtr stream, UniqueFd fd, std::function<void()> closed) {
    if (priv::virFDStreamOpen(stream, fd.get()) < 0)
        return lastError("libvirt could not join the stream");
    (void)fd.release(); // The stream closes it from now on.
    auto* callback = new Closed(std::move(closed));
    if (priv::virFDStreamSetInternalCloseCb(stream, streamClosed, callback, freeClosed) < 0) {
        delete callback;
        return lastError("libvirt could not watch the end of the stream");
    }
    return {};
}

} // namespace vz::abi
