// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/rtnl.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <linux/netlink.h>
#include <sys/socket.h>

namespace vz::ct {

namespace {

struct Free {
    void operator()(unsigned char* bytes) const { std::free(bytes); }
};

RtAnswer answerOf(const nlmsghdr& header, const char* message) {
    if (header.nlmsg_len < NLMSG_LENGTH(sizeof(nlmsgerr)))
        return {EBADMSG, {}};
    nlmsgerr error;
    std::memcpy(&error, message + NLMSG_HDRLEN, sizeof error);
    RtAnswer answer{-error.error, {}};
    if (header.nlmsg_flags & NLM_F_ACK_TLVS) {
        // Behind the error is the request it is about: its header, or all of it.
        size_t skip = NLMSG_LENGTH(sizeof(nlmsgerr));
        if (!(header.nlmsg_flags & NLM_F_CAPPED))
            skip += NLMSG_ALIGN(error.msg.nlmsg_len) - sizeof(nlmsghdr);
        if (skip < header.nlmsg_len)
            answer.detail = RtAttributes(message + skip, header.nlmsg_len - skip).text(NLMSGERR_ATTR_MSG);
    }
    return answer;
}

Error failAnswer(const std::string& what, const RtAnswer& answer) {
    return answer.detail.empty() ? failErrno(answer.error, what)
                                 : failErrno(answer.error, what, ": ", answer.detail);
}

} // namespace

RtMessage::RtMessage(uint16_t type, unsigned flags, const void* header, size_t size)
    : message_(::nlmsg_alloc_simple(type, static_cast<int>(NLM_F_REQUEST | NLM_F_ACK | flags))) {
    whole_ = message_ && ::nlmsg_append(message_.get(), const_cast<void*>(header), size, NLMSG_ALIGNTO) == 0;
}

RtMessage& RtMessage::put(uint16_t attribute, const void* data, size_t size) {
    whole_ = whole_ && ::nla_put(message_.get(), attribute, static_cast<int>(size), data) == 0;
    return *this;
}

nlattr* RtMessage::begin(uint16_t attribute) {
    auto* nest = whole_ ? ::nla_nest_start(message_.get(), attribute) : nullptr;
    whole_ = nest;
    return nest;
}

void RtMessage::end(nlattr* nest) {
    whole_ = whole_ && ::nla_nest_end(message_.get(), nest) == 0;
}

RtAttributes::RtAttributes(const void* data, size_t size) {
    int left = static_cast<int>(size);
    for (const auto* at = static_cast<const nlattr*>(data); ::nla_ok(at, left); at = ::nla_next(at, &left))
        found_.insert_or_assign(
            static_cast<uint16_t>(::nla_type(at)),
            std::span(static_cast<const char*>(::nla_data(at)), static_cast<size_t>(::nla_len(at))));
}

std::span<const char> RtAttributes::bytes(uint16_t attribute) const {
    auto found = found_.find(attribute);
    return found == found_.end() ? std::span<const char>() : found->second;
}

std::string RtAttributes::text(uint16_t attribute) const {
    auto data = bytes(attribute);
    return {data.begin(), std::find(data.begin(), data.end(), '\0')};
}

RtAttributes RtAttributes::nest(uint16_t attribute) const {
    auto data = bytes(attribute);
    return {data.data(), data.size()};
}

Result<RtSocket> RtSocket::open() {
    VZ_TRY(auto socket, netlink::connectHere());
    // Without it errors have no words; an older kernel says EINVAL more often, no more.
    int on = 1;
    (void)::setsockopt(::nl_socket_get_fd(socket.get()), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
    return RtSocket(std::move(socket));
}

Result<RtAnswer> RtSocket::exchange(RtMessage& message, const Objects& visit) {
    if (!message.get())
        return fail(ErrorCode::NoMemory, "cannot describe a request to the kernel's network");
    if (int rc = ::nl_send_auto(socket_.get(), message.get()); rc < 0)
        return netlink::failure(rc, "cannot send a netlink message");
    const auto serial = ::nlmsg_hdr(message.get())->nlmsg_seq;
    for (;;) {
        sockaddr_nl sender{};
        unsigned char* bytes = nullptr;
        int size = ::nl_recv(socket_.get(), &sender, &bytes, nullptr);
        std::unique_ptr<unsigned char, Free> received(bytes);
        if (size <= 0)
            return netlink::failure(size, "cannot receive a netlink message");
        auto* header = reinterpret_cast<nlmsghdr*>(bytes);
        for (; ::nlmsg_ok(header, size); header = ::nlmsg_next(header, &size)) {
            if (header->nlmsg_seq != serial)
                continue; // of a request that was given up
            if (header->nlmsg_type == NLMSG_DONE)
                return RtAnswer();
            const auto* data = static_cast<const char*>(::nlmsg_data(header));
            if (header->nlmsg_type == NLMSG_ERROR)
                return answerOf(*header, reinterpret_cast<const char*>(header));
            visit(data, static_cast<size_t>(::nlmsg_datalen(header)));
        }
    }
}

Result<RtAnswer> RtSocket::ask(RtMessage& message) {
    return exchange(message, [](const char*, size_t) {});
}

Result<void> RtSocket::request(RtMessage& message, const std::string& what) {
    VZ_TRY(auto answer, ask(message));
    if (!answer)
        return failAnswer(what, answer);
    return {};
}

Result<int> RtSocket::indexOf(const std::string& name) {
    VZ_TRY(auto link, netlink::findLink(socket_.get(), name));
    return link ? ::rtnl_link_get_ifindex(link.get()) : 0;
}

Result<int> RtSocket::needIndex(const std::string& name) {
    VZ_TRY(auto link, netlink::needLink(socket_.get(), name));
    return ::rtnl_link_get_ifindex(link.get());
}

} // namespace vz::ct
