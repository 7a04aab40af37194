// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/rtnl.hpp"

#include <algorithm>
#include <cerrno>
#include <linux/netlink.h>
#include <sys/socket.h>

namespace vz::ct {

namespace {

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

void RtMessage::append(const void* data, size_t size) {
    const auto* bytes = static_cast<const char*>(data);
    bytes_.insert(bytes_.end(), bytes, bytes + size);
    bytes_.resize(NLMSG_ALIGN(bytes_.size()));
}

RtMessage& RtMessage::put(uint16_t attribute, const void* data, size_t size) {
    rtattr start{static_cast<unsigned short>(RTA_LENGTH(size)), attribute};
    append(&start, sizeof start);
    append(data, size);
    return *this;
}

size_t RtMessage::begin(uint16_t attribute) {
    size_t nest = bytes_.size();
    put(attribute, nullptr, 0);
    return nest;
}

void RtMessage::end(size_t nest) {
    auto length = static_cast<unsigned short>(bytes_.size() - nest);
    std::memcpy(bytes_.data() + nest + offsetof(rtattr, rta_len), &length, sizeof length);
}

RtAttributes::RtAttributes(const void* data, size_t size) {
    const auto* at = static_cast<const char*>(data);
    rtattr head;
    while (size >= sizeof head) {
        std::memcpy(&head, at, sizeof head);
        if (head.rta_len < sizeof head || head.rta_len > size)
            return;
        found_.insert_or_assign(static_cast<uint16_t>(head.rta_type & NLA_TYPE_MASK),
                                std::span(at + sizeof head, head.rta_len - sizeof head));
        size_t step = std::min<size_t>(RTA_ALIGN(head.rta_len), size);
        at += step;
        size -= step;
    }
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
    UniqueFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
    if (!fd)
        return failErrno(errno, "cannot open a netlink socket");
    // Without it errors have no words; an older kernel says EINVAL more often, no more.
    int on = 1;
    (void)::setsockopt(fd.get(), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
    return RtSocket(std::move(fd));
}

Result<void> RtSocket::send(RtMessage& message) {
    auto& bytes = message.bytes();
    auto length = static_cast<uint32_t>(bytes.size());
    std::memcpy(bytes.data() + offsetof(nlmsghdr, nlmsg_len), &length, sizeof length);
    ++serial_;
    std::memcpy(bytes.data() + offsetof(nlmsghdr, nlmsg_seq), &serial_, sizeof serial_);
    sockaddr_nl kernel{};
    kernel.nl_family = AF_NETLINK;
    if (::sendto(fd_.get(), bytes.data(), bytes.size(), 0, reinterpret_cast<sockaddr*>(&kernel),
                 sizeof kernel) < 0)
        return failErrno(errno, "cannot send a netlink message");
    return {};
}

Result<std::span<const char>> RtSocket::receive() {
    for (;;) {
        ssize_t size = ::recv(fd_.get(), nullptr, 0, MSG_PEEK | MSG_TRUNC);
        if (size >= 0) {
            buffer_.resize(static_cast<size_t>(size));
            size = ::recv(fd_.get(), buffer_.data(), buffer_.size(), 0);
        }
        if (size >= 0)
            return std::span<const char>(buffer_.data(), static_cast<size_t>(size));
        if (errno != EINTR)
            return failErrno(errno, "cannot receive a netlink message");
    }
}

Result<RtAnswer> RtSocket::exchange(RtMessage& message, const Objects& visit) {
    VZ_CHECK(send(message));
    for (;;) {
        VZ_TRY(auto data, receive());
        nlmsghdr header;
        for (; data.size() >= sizeof header;
             data = data.subspan(std::min<size_t>(NLMSG_ALIGN(header.nlmsg_len), data.size()))) {
            std::memcpy(&header, data.data(), sizeof header);
            if (header.nlmsg_len < sizeof header || header.nlmsg_len > data.size())
                return fail(ErrorCode::InternalError, "the kernel sent a damaged netlink message");
            if (header.nlmsg_seq != serial_)
                continue; // of a request that was given up
            if (header.nlmsg_type == NLMSG_DONE)
                return RtAnswer();
            if (header.nlmsg_type == NLMSG_ERROR)
                return answerOf(header, data.data());
            visit(data.data() + NLMSG_HDRLEN, header.nlmsg_len - NLMSG_HDRLEN);
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
    RtMessage message(RTM_GETLINK, 0, ifinfomsg{});
    message.text(IFLA_IFNAME, name);
    int index = 0;
    VZ_TRY(auto answer,
           get<ifinfomsg>(message, [&](const auto& link, const auto&) { index = link.ifi_index; }));
    if (!answer && answer.error != ENODEV)
        return failAnswer(cat("cannot look up the network interface ", name), answer);
    return index;
}

Result<int> RtSocket::needIndex(const std::string& name) {
    VZ_TRY(int index, indexOf(name));
    if (!index)
        return fail(ErrorCode::DeviceMissing, "there is no network interface ", name);
    return index;
}

} // namespace vz::ct
