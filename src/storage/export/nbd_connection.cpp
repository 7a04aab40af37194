// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/export/nbd_connection.hpp"

#include "base/log.hpp"

#include <algorithm>
#include <cerrno>
#include <concepts>
#include <cstring>
#include <endian.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <thread>
#include <vector>

namespace vz::exports {

namespace {

// Numbers of the protocol, as doc/proto.md names them.
constexpr uint64_t initMagic = 0x4e42444d41474943, optionMagic = 0x49484156454f5054,
                   optionReplyMagic = 0x3e889045565a9;
constexpr uint32_t requestMagic = 0x25609513, replyMagic = 0x67446698;
constexpr uint16_t fixedNewstyle = 1, noZeroes = 2;
enum Option : uint32_t { optExportName = 1, optAbort = 2, optList = 3, optInfo = 6, optGo = 7 };
enum OptionReply : uint32_t {
    repAck = 1,
    repServer = 2,
    repInfo = 3,
    repUnsupported = 0x80000001,
    repInvalid = 0x80000003,
    repUnknown = 0x80000006,
};
constexpr uint16_t infoExport = 0, infoBlockSize = 3;
enum ExportFlag : uint16_t {
    hasFlags = 1,
    isReadOnly = 2,
    sendFlush = 4,
    sendFua = 8,
    sendTrim = 32,
    sendWriteZeroes = 64,
};
enum Command : uint16_t { cmdRead, cmdWrite, cmdDisconnect, cmdFlush, cmdTrim, cmdWriteZeroes = 6 };
constexpr uint16_t flagFua = 1;

constexpr uint32_t mostOptionData = 8192;
/** What is asked for at one time; clients that were told keep to the first. */
constexpr uint32_t preferredMost = 2u << 20, mostData = 32u << 20;

template<typename T>
T big(T value) {
    if constexpr (sizeof value == 2)
        return htobe16(value);
    else if constexpr (sizeof value == 4)
        return htobe32(value);
    else
        return htobe64(value);
}

/** Numbers as they go over the wire. */
class Packing {
public:
    template<std::integral T>
    Packing& add(T value) {
        value = big(value);
        bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
        return *this;
    }
    Packing& add(std::string_view bytes) {
        bytes_.append(bytes);
        return *this;
    }
    const std::string& bytes() const { return bytes_; }

private:
    std::string bytes_;
};

template<typename T>
T numberAt(const void* bytes) {
    T value;
    std::memcpy(&value, bytes, sizeof value);
    return big(value);
}

bool receiveAll(int fd, void* into, size_t size) {
    auto* to = static_cast<char*>(into);
    while (size > 0) {
        ssize_t got = ::recv(fd, to, size, MSG_WAITALL);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        to += got;
        size -= static_cast<size_t>(got);
    }
    return true;
}

bool sendAll(int fd, const void* head, size_t headSize, const void* data = nullptr, size_t size = 0) {
    iovec parts[] = {{const_cast<void*>(head), headSize}, {const_cast<void*>(data), size}};
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = 2;
    while (parts[0].iov_len + parts[1].iov_len > 0) {
        ssize_t sent = ::sendmsg(fd, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        for (auto left = static_cast<size_t>(sent); auto& part : parts) {
            size_t here = std::min(left, part.iov_len);
            part.iov_base = static_cast<char*>(part.iov_base) + here;
            part.iov_len -= here;
            left -= here;
        }
    }
    return true;
}

/** Those errors that the protocol has. */
uint32_t codeOf(const Error& error) {
    switch (error.systemError()) {
    case EPERM:
    case EACCES:
    case EROFS:
        return EPERM;
    case ENOMEM:
        return ENOMEM;
    case EINVAL:
        return EINVAL;
    case ENOSPC:
    case EFBIG:
    case EDQUOT:
        return ENOSPC;
    default:
        return EIO;
    }
}

} // namespace

bool NbdConnection::negotiate() {
    auto greeting = Packing().add(initMagic).add(optionMagic).add<uint16_t>(fixedNewstyle | noZeroes);
    uint32_t flags;
    if (!sendAll(fd_, greeting.bytes().data(), greeting.bytes().size()) ||
        !receiveAll(fd_, &flags, sizeof flags))
        return false;
    flags = big(flags);
    if (flags & ~uint32_t(fixedNewstyle | noZeroes))
        return false;
    for (;;) {
        char head[16];
        if (!receiveAll(fd_, head, sizeof head) || numberAt<uint64_t>(head) != optionMagic)
            return false;
        uint32_t option = numberAt<uint32_t>(head + 8), size = numberAt<uint32_t>(head + 12);
        std::string data(std::min(size, mostOptionData), '\0');
        if (size > mostOptionData || !receiveAll(fd_, data.data(), data.size()))
            return false;
        if (auto end = serveOption(option, data, flags & noZeroes))
            return *end;
    }
}

void NbdConnection::serve(unsigned workers) {
    std::vector<std::thread> others;
    try {
        others.reserve(workers);
        for (unsigned i = 1; i < workers; ++i)
            others.emplace_back([this] { work(); });
    } catch (const std::exception&) {
        // Those that there are do it.
    }
    work();
    for (auto& other : others)
        other.join();
}

uint16_t NbdConnection::exportFlags(bool readOnly) {
    return static_cast<uint16_t>(hasFlags | sendFlush | sendFua |
                                 (readOnly ? isReadOnly : sendTrim | sendWriteZeroes));
}

bool NbdConnection::isOurs(std::string_view name) const {
    return options_.name.empty() || name == options_.name;
}

bool NbdConnection::answer(uint32_t option, uint32_t type, std::string_view data) {
    auto packed = Packing().add(optionReplyMagic).add(option).add(type);
    packed.add(static_cast<uint32_t>(data.size())).add(data);
    return sendAll(fd_, packed.bytes().data(), packed.bytes().size());
}

/** Whether to go on to requests; nothing if more options are to come. */
std::optional<bool> NbdConnection::serveOption(uint32_t option, const std::string& data, bool shortAnswer) {
    auto orEnd = [](bool sent) { return sent ? std::nullopt : std::optional(false); };
    switch (option) {
    case optExportName: {
        if (!isOurs(data))
            return false; // this option has no other refusal
        auto packed = Packing().add(image_.bytes()).add(exportFlags(options_.readOnly));
        if (!shortAnswer)
            packed.add(std::string(124, '\0'));
        return sendAll(fd_, packed.bytes().data(), packed.bytes().size());
    }
    case optAbort:
        (void)answer(option, repAck);
        return false;
    case optList:
        return orEnd(
            answer(option, repServer,
                   Packing().add(static_cast<uint32_t>(options_.name.size())).add(options_.name).bytes()) &&
            answer(option, repAck));
    case optInfo:
    case optGo: {
        if (data.size() < 6 || numberAt<uint32_t>(data.data()) > data.size() - 6)
            return orEnd(answer(option, repInvalid));
        if (!isOurs(std::string_view(data).substr(4, numberAt<uint32_t>(data.data()))))
            return orEnd(answer(option, repUnknown));
        auto size = Packing().add(infoExport).add(image_.bytes()).add(exportFlags(options_.readOnly));
        auto blocks = Packing().add(infoBlockSize).add(uint32_t(1)).add(uint32_t(4096)).add(preferredMost);
        bool sent = answer(option, repInfo, size.bytes()) && answer(option, repInfo, blocks.bytes()) &&
                    answer(option, repAck);
        return option == optGo ? std::optional(sent) : orEnd(sent);
    }
    default:
        return orEnd(answer(option, repUnsupported));
    }
}

/** What cannot be gone on with ends the connection, not all of us. */
void NbdConnection::work() {
    try {
        workAll();
    } catch (const std::exception& failure) {
        log::error(failure.what());
        (void)end();
        ::shutdown(fd_, SHUT_RDWR); // for the worker that waits for a request
    }
}

/** Takes one request with its data after the other, in turn with the other workers. */
void NbdConnection::workAll() {
    ploop::Buffer buffer(preferredMost);
    size_t room = preferredMost;
    Request request;
    while (receive(request, buffer, room)) {
        auto done = tryToPerform(request, buffer.data());
        bool good = done && request.command == cmdRead;
        uint32_t code = done ? 0 : codeOf(done.error());
        if (!done)
            log::error(done.error().message());
        char head[16];
        std::memcpy(head, Packing().add(replyMagic).add(code).bytes().data(), 8);
        std::memcpy(head + 8, &request.cookie, 8);
        std::lock_guard lock(sending_);
        if (!sendAll(fd_, head, sizeof head, buffer.data(), good ? request.length : 0))
            ended_ = true;
    }
}

bool NbdConnection::receive(Request& request, ploop::Buffer& buffer, size_t& room) {
    std::lock_guard lock(receiving_);
    char head[28];
    if (ended_ || !receiveAll(fd_, head, sizeof head) || numberAt<uint32_t>(head) != requestMagic)
        return end();
    request.flags = numberAt<uint16_t>(head + 4);
    request.command = numberAt<uint16_t>(head + 6);
    std::memcpy(&request.cookie, head + 8, 8);
    request.offset = numberAt<uint64_t>(head + 16);
    request.length = numberAt<uint32_t>(head + 24);
    bool data = request.command == cmdRead || request.command == cmdWrite;
    if (request.command == cmdDisconnect || (data && request.length > mostData))
        return end();
    if (data && request.length > room) {
        room = request.length;
        buffer = ploop::Buffer(room);
    }
    if (request.command == cmdWrite && !receiveAll(fd_, buffer.data(), request.length))
        return end();
    return true;
}

bool NbdConnection::end() {
    ended_ = true;
    return false;
}

Result<void> NbdConnection::tryToPerform(const Request& request, std::byte* data) {
    try {
        return perform(request, data);
    } catch (const std::exception& failure) {
        return failErrno(ENOMEM, failure.what());
    }
}

Result<void> NbdConnection::perform(const Request& request, std::byte* data) {
    bool writes =
        request.command == cmdWrite || request.command == cmdTrim || request.command == cmdWriteZeroes;
    if (writes && options_.readOnly)
        return failErrno(EROFS, "a request to write to a disk for reading");
    switch (request.command) {
    case cmdRead:
        return image_.read(request.offset, data, request.length);
    case cmdWrite:
        VZ_CHECK(image_.write(request.offset, data, request.length));
        break;
    case cmdTrim:
        VZ_CHECK(image_.discard(request.offset, request.length));
        break;
    case cmdWriteZeroes:
        VZ_CHECK(image_.zero(request.offset, request.length));
        break;
    case cmdFlush:
        return options_.readOnly ? Result<void>() : image_.flush();
    default:
        return failErrno(EINVAL, "an unknown request, ", request.command);
    }
    return request.flags & flagFua ? image_.flush() : Result<void>();
}

} // namespace vz::exports
