// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/tcp_memory.hpp"

#include "base/file.hpp"
#include "ct/namespace_thread.hpp"

#include <algorithm>
#include <array>

namespace vz::ct {

namespace {

/** What a socket has at least, to begin with, and at most. */
using Sizes = std::array<uint64_t, 3>;

constexpr const char* sendPath = "/proc/sys/net/ipv4/tcp_wmem";
constexpr const char* receivePath = "/proc/sys/net/ipv4/tcp_rmem";

Result<Sizes> usual(const char* path) {
    VZ_TRY(auto text, file::read(path));
    auto parts = split(trim(text), '\t');
    Sizes sizes{};
    for (size_t i = 0; i < std::min(parts.size(), sizes.size()); ++i)
        sizes.at(i) = parseNumber<uint64_t>(parts[i]).value_or(0);
    if (parts.size() != sizes.size() || !sizes.back())
        return fail(ErrorCode::InternalError, path, " has '", trim(text), "' where three numbers should be");
    return sizes;
}

std::string limited(const Sizes& sizes, uint64_t most) {
    std::string out;
    for (auto size : sizes)
        out += cat(out.empty() ? "" : " ", most ? std::min(size, most) : size);
    return out;
}

} // namespace

Result<void> setTcpMemory(int netns, const BufferLimits& limits) {
    VZ_TRY(auto send, usual(sendPath));
    VZ_TRY(auto receive, usual(receivePath));
    return inNamespace(netns, CLONE_NEWNET, [&]() -> Result<void> {
        VZ_CHECK(file::writeValue(sendPath, limited(send, limits.send)));
        return file::writeValue(receivePath, limited(receive, limits.receive));
    });
}

} // namespace vz::ct
