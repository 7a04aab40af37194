// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/protocol.hpp"

#include <cerrno>
#include <cstring>
#include <sys/socket.h>

namespace vz::ct {

namespace {

constexpr size_t maxFds = 8;

/** Takes "DIGITS" up to @p end off the front of @p text. */
std::optional<size_t> takeLength(std::string_view& text, char end) {
    size_t at = text.substr(0, 12).find(end);
    if (at == text.npos)
        return std::nullopt;
    auto length = parseNumber<size_t>(text.substr(0, at));
    text.remove_prefix(at + 1);
    return length;
}

} // namespace

Record& Record::add(std::string_view key, std::string_view value) {
    fields_.emplace_back(key, value);
    return *this;
}

std::string_view Record::text(std::string_view key) const {
    for (const auto& [name, value] : fields_)
        if (name == key)
            return value;
    return {};
}

std::vector<std::string_view> Record::all(std::string_view key) const {
    std::vector<std::string_view> found;
    for (const auto& [name, value] : fields_)
        if (name == key)
            found.push_back(value);
    return found;
}

int64_t Record::number(std::string_view key, int64_t otherwise) const {
    return parseNumber<int64_t>(text(key)).value_or(otherwise);
}

std::string Record::encode() const {
    std::string out;
    for (const auto& [key, value] : fields_) {
        out += key;
        out += '=';
        out += cat(value.size(), ':');
        out += value;
        out += '\n';
    }
    return out;
}

Result<Record> Record::decode(std::string_view text) {
    Record record;
    while (!text.empty()) {
        size_t at = text.substr(0, 64).find('=');
        if (at == text.npos || at == 0)
            return fail(ErrorCode::InvalidArg, "a record lacks a name");
        std::string_view key = text.substr(0, at);
        text.remove_prefix(at + 1);
        auto length = takeLength(text, ':');
        if (!length || text.size() <= *length || text[*length] != '\n')
            return fail(ErrorCode::InvalidArg, "the value of '", key, "' in a record is cut off");
        record.add(key, text.substr(0, *length));
        text.remove_prefix(*length + 1);
    }
    return record;
}

Result<void> sendMessage(int socket, const Message& message, const std::vector<int>& fds, int flags) {
    Record whole;
    whole.add(message.kind, message.serial);
    for (const auto& [key, value] : message.body.fields())
        whole.add(key, value);
    std::string text = whole.encode();
    if (text.size() > maxMessage || fds.size() > maxFds)
        return fail(ErrorCode::InvalidArg, "the message '", message.kind, "' is too long (", text.size(),
                    " bytes, ", maxMessage, " allowed)");

    iovec part{text.data(), text.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * maxFds)] = {};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    if (!fds.empty()) {
        header.msg_control = control;
        header.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
        cmsghdr* item = CMSG_FIRSTHDR(&header);
        item->cmsg_level = SOL_SOCKET;
        item->cmsg_type = SCM_RIGHTS;
        item->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
        std::memcpy(CMSG_DATA(item), fds.data(), sizeof(int) * fds.size());
    }
    while (::sendmsg(socket, &header, flags | MSG_NOSIGNAL) < 0) {
        if (errno != EINTR)
            return failErrno(errno, "cannot send the message '", message.kind, "'");
    }
    return {};
}

namespace {

std::vector<UniqueFd> receivedFds(msghdr& header) {
    std::vector<UniqueFd> fds;
    for (cmsghdr* item = CMSG_FIRSTHDR(&header); item; item = CMSG_NXTHDR(&header, item)) {
        if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (item->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; ++i) {
            int fd;
            std::memcpy(&fd, CMSG_DATA(item) + i * sizeof(int), sizeof fd);
            fds.emplace_back(fd);
        }
    }
    return fds;
}

} // namespace

Result<std::optional<Message>> receiveMessage(int socket, int flags) {
    std::string text(maxMessage, '\0');
    iovec part{text.data(), text.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * maxFds)];
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    ssize_t got;
    while ((got = ::recvmsg(socket, &header, flags | MSG_CMSG_CLOEXEC)) < 0) {
        if (errno == ECONNRESET)
            return std::optional<Message>();
        if (errno != EINTR)
            return failErrno(errno, "cannot receive a message");
    }
    Message message;
    message.fds = receivedFds(header);
    if (got == 0 && message.fds.empty())
        return std::optional<Message>();
    if (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
        return fail(ErrorCode::InvalidArg, "a message is longer than ", maxMessage, " bytes");
    VZ_TRY(auto whole, Record::decode(std::string_view(text).substr(0, static_cast<size_t>(got))));
    if (whole.fields().empty())
        return fail(ErrorCode::InvalidArg, "an empty message");
    const auto& [kind, serial] = whole.fields().front();
    message.kind = kind;
    message.serial = parseNumber<uint32_t>(serial).value_or(0);
    for (size_t i = 1; i < whole.fields().size(); ++i)
        message.body.add(whole.fields()[i].first, whole.fields()[i].second);
    return std::optional<Message>(std::move(message));
}

Record errorRecord(const Error& error) {
    // A message that quotes guest-made text may be long; the packet has a limit.
    Record record;
    record.add("code", static_cast<int>(error.code())).add("errno", error.systemError());
    record.add("message", std::string_view(error.message()).substr(0, 8192));
    return record;
}

Error errorFrom(const Record& record) {
    auto code = static_cast<ErrorCode>(record.number("code", static_cast<int>(ErrorCode::InternalError)));
    return Error(code, std::string(record.text("message")), static_cast<int>(record.number("errno")));
}

Result<std::pair<UniqueFd, UniqueFd>> makeChannel() {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return failErrno(errno, "cannot make a socket pair");
    return std::pair(UniqueFd(ends[0]), UniqueFd(ends[1]));
}

} // namespace vz::ct
