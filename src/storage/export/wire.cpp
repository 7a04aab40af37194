// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/export/wire.hpp"

#include "base/file.hpp"
#include "base/rollback.hpp"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

namespace vz::exports {

namespace {

constexpr size_t maxPacket = 64 << 10;

/** The address of a name in an open folder: short, however long the folder's path is. */
Result<sockaddr_un> addressOf(const std::string& path, UniqueFd& folder) {
    auto slash = path.rfind('/');
    VZ_TRY(folder, file::open(path.substr(0, slash), O_PATH | O_DIRECTORY));
    std::string name = cat("/proc/self/fd/", folder.get(), path.substr(slash));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (name.size() >= sizeof address.sun_path)
        return failErrno(ENAMETOOLONG, "cannot use the socket ", path);
    std::memcpy(address.sun_path, name.data(), name.size());
    return address;
}

} // namespace

std::string encodeTexts(const Texts& texts) {
    std::string bytes;
    for (const auto& text : texts)
        bytes.append(text.c_str(), text.size() + 1);
    return bytes;
}

Texts decodeTexts(std::string_view bytes) {
    Texts texts;
    for (size_t end; (end = bytes.find('\0')) != std::string_view::npos; bytes.remove_prefix(end + 1))
        texts.emplace_back(bytes.substr(0, end));
    return texts;
}

Result<void> sendPacket(int socket, const Texts& texts, int fd, int flags) {
    std::string bytes = encodeTexts(texts);
    if (bytes.size() > maxPacket)
        return failErrno(EMSGSIZE, "cannot send a message");
    iovec part{bytes.data(), bytes.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))]{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (fd >= 0) {
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        auto* header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
    }
    while (::sendmsg(socket, &message, MSG_NOSIGNAL | flags) < 0) {
        if (errno != EINTR)
            return failErrno(errno, "cannot send a message");
    }
    return {};
}

Result<std::optional<Packet>> receivePacket(int socket) {
    std::string bytes(maxPacket, '\0');
    iovec part{bytes.data(), bytes.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))]{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    ssize_t got;
    while ((got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {
    }
    if (got < 0 && errno != ECONNRESET)
        return failErrno(errno, "cannot receive a message");
    if (got <= 0)
        return std::optional<Packet>();
    Packet packet;
    for (auto* header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            continue;
        int fd;
        std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
        packet.fd.reset(fd);
    }
    packet.texts = decodeTexts({bytes.data(), static_cast<size_t>(got)});
    if (packet.texts.empty() || (message.msg_flags & MSG_TRUNC))
        return fail(ErrorCode::InternalError, "a message makes no sense");
    return std::optional(std::move(packet));
}

Texts errorTexts(const Error& error) {
    return {"error", cat(static_cast<int>(error.code())), cat(error.systemError()), error.message()};
}

Error errorFrom(const Texts& answer) {
    if (answer.size() != 4 || answer[0] != "error")
        return fail(ErrorCode::InternalError, "the answer makes no sense");
    return Error(static_cast<ErrorCode>(parseNumber<int>(answer[1]).value_or(1)), answer[3],
                 parseNumber<int>(answer[2]).value_or(0));
}

Result<UniqueFd> listenAt(const std::string& path, int type, const SocketOwner& owner) {
    // Under another name until it listens, and belongs to whom it should.
    const std::string made = path + ".new";
    UniqueFd folder;
    VZ_TRY(auto address, addressOf(made, folder));
    UniqueFd socket(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
    if (!socket)
        return failErrno(errno, "cannot make a socket");
    VZ_CHECK(file::remove(made));
    if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0)
        return failErrno(errno, "cannot make the socket ", path);
    Rollback back;
    back.add([&] { (void)file::remove(made); });
    if (::chmod(made.c_str(), 0600) < 0 || ::lchown(made.c_str(), owner.user, owner.group) < 0)
        return failErrno(errno, "cannot set the owner of ", path);
    if (::listen(socket.get(), 16) < 0)
        return failErrno(errno, "cannot listen at ", path);
    if (::rename(made.c_str(), path.c_str()) < 0)
        return failErrno(errno, "cannot make the socket ", path);
    back.dismiss();
    return socket;
}

UniqueFd acceptNext(int listener) {
    for (;;) {
        UniqueFd socket(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
        if (socket || errno == EINVAL)
            return socket;
        if (errno != EINTR && errno != ECONNABORTED)
            std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
}

Result<UniqueFd> connectTo(const std::string& path) {
    UniqueFd folder;
    VZ_TRY(auto address, addressOf(path, folder));
    UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    if (!socket)
        return failErrno(errno, "cannot make a socket");
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0)
        return failErrno(errno, "cannot connect to ", path);
    return socket;
}

} // namespace vz::exports
