// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "ct/netlink.hpp"

#include <linux/rtnetlink.h>
#include <netlink/msg.h>

#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

/**
 * Messages of rtnetlink over the sockets of ct/netlink.hpp, made of a header and attributes: for what libnl
 * has no class for (classifiers made of BPF, owners of neighbours, rates above 4 GB/s), with the kernel's own
 * errno and words in errors.
 */
namespace vz::ct {

/** One request. Attributes are put in order; a nest is open from begin() to end(). */
class RtMessage {
public:
    template<typename Header>
    RtMessage(uint16_t type, unsigned flags, const Header& header)
        : RtMessage(type, flags, &header, sizeof header) {
        static_assert(std::is_trivially_copyable_v<Header>);
    }

    /** @p size bytes of plain data: a number in host order, an address, a structure. */
    RtMessage& put(uint16_t attribute, const void* data, size_t size);
    template<typename T>
    RtMessage& put(uint16_t attribute, const T& value) {
        static_assert(std::is_trivially_copyable_v<T> && !std::is_pointer_v<T>);
        return put(attribute, &value, sizeof value);
    }
    RtMessage& text(uint16_t attribute, const std::string& value) {
        return put(attribute, value.c_str(), value.size() + 1);
    }
    /** Opens a nest; what end() wants to know. */
    nlattr* begin(uint16_t attribute);
    void end(nlattr* nest);

    /** Null if there was no room for all of it. */
    nl_msg* get() const { return whole_ ? message_.get() : nullptr; }

private:
    struct Release {
        void operator()(nl_msg* message) const { ::nlmsg_free(message); }
    };
    RtMessage(uint16_t type, unsigned flags, const void* header, size_t size);
    std::unique_ptr<nl_msg, Release> message_;
    bool whole_ = true;
};

/** The attributes of a message or nest by their numbers; they refer to the bytes they were read from. */
class RtAttributes {
public:
    RtAttributes() = default;
    RtAttributes(const void* data, size_t size);
    bool has(uint16_t attribute) const { return found_.contains(attribute); }
    std::span<const char> bytes(uint16_t attribute) const;
    /** The value, or a zero one if it is not there or shorter. */
    template<typename T>
    T value(uint16_t attribute) const {
        T out{};
        auto data = bytes(attribute);
        if (data.size() >= sizeof out)
            std::memcpy(&out, data.data(), sizeof out);
        return out;
    }
    std::string text(uint16_t attribute) const;
    RtAttributes nest(uint16_t attribute) const;

private:
    std::map<uint16_t, std::span<const char>> found_;
};

/** The kernel's answer to a request: 0 or an errno, and what it says beside that (may be empty). */
struct RtAnswer {
    int error = 0;
    std::string detail;
    explicit operator bool() const { return error == 0; }
};

/** A socket in the network namespace of the thread that opened it. Not for two threads at a time. */
class RtSocket {
public:
    static Result<RtSocket> open();

    /** Sends it and waits for the answer. A failed Result: the socket itself did not work. */
    Result<RtAnswer> ask(RtMessage& message);
    /** The same; an errno becomes a SystemError "what: why". */
    Result<void> request(RtMessage& message, const std::string& what);

    /** Asks for objects (the message has NLM_F_DUMP, or names one); @p visit gets the header of each and its
     * attributes. */
    template<typename Header>
    Result<RtAnswer> get(RtMessage& message,
                         const std::function<void(const Header&, const RtAttributes&)>& visit) {
        return exchange(message, [&](const char* data, size_t size) {
            if (size < NLMSG_ALIGN(sizeof(Header)))
                return;
            Header header;
            std::memcpy(&header, data, sizeof header);
            visit(header,
                  RtAttributes(data + NLMSG_ALIGN(sizeof(Header)), size - NLMSG_ALIGN(sizeof(Header))));
        });
    }

    /** Index of an interface; 0 if there is none of that name. */
    Result<int> indexOf(const std::string& name);
    /** The same; DeviceMissing if there is none. */
    Result<int> needIndex(const std::string& name);

private:
    explicit RtSocket(netlink::Socket socket) : socket_(std::move(socket)) {}
    using Objects = std::function<void(const char* data, size_t size)>;
    Result<RtAnswer> exchange(RtMessage& message, const Objects& visit);

    netlink::Socket socket_;
};

} // namespace vz::ct
