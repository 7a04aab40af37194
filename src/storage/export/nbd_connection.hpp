// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "storage/ploop/buffer.hpp"
#include "storage/ploop/image.hpp"

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>

namespace vz::exports {

/** One client of an image, at a stream socket: its greeting, then its requests (see NbdServer). */
class NbdConnection {
public:
    struct Options {
        bool readOnly = false;
        std::string name; ///< of the export; empty: whatever a client asks for is the image
    };

    /** @p image and the socket must live longer than the object. */
    NbdConnection(ploop::Image& image, int fd, const Options& options)
        : image_(image), fd_(fd), options_(options) {}

    /** What is said about the image to who wants to know before the first request (doc/proto.md,
     * "transmission flags"). */
    static uint16_t exportFlags(bool readOnly);

    /** True if the client wants to go on to requests. */
    bool negotiate();
    /** Serves requests with that many threads, this one among them; returns when the client is gone. */
    void serve(unsigned workers);

private:
    struct Request {
        uint16_t flags, command;
        uint64_t cookie, offset; ///< the cookie as it came
        uint32_t length;
    };

    bool isOurs(std::string_view name) const;
    bool answer(uint32_t option, uint32_t type, std::string_view data = {});
    std::optional<bool> serveOption(uint32_t option, const std::string& data, bool shortAnswer);
    void work();
    void workAll();
    bool receive(Request& request, ploop::Buffer& buffer, size_t& room);
    bool end();
    Result<void> tryToPerform(const Request& request, std::byte* data);
    Result<void> perform(const Request& request, std::byte* data);

    ploop::Image& image_;
    const int fd_;
    const Options options_;
    std::mutex receiving_, sending_;
    std::atomic<bool> ended_ = false;
};

} // namespace vz::exports
