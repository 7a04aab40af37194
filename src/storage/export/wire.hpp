// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "base/unique_fd.hpp"

#include <optional>
#include <string>
#include <sys/socket.h>
#include <vector>

/**
 * What travels between vz-ploopd and those who give it work: packets of a SOCK_SEQPACKET socket that are
 * lists of texts, with at most one descriptor beside them. A request is a verb and its arguments. The answer
 * is any number of "progress DONE TOTAL", then "ok" and values, or "error CODE ERRNO MESSAGE".
 */
namespace vz::exports {

/** The descriptor by which vz-ploopd answers to who has started it. */
constexpr int channelFd = 3;

using Texts = std::vector<std::string>;

/** Each text is ended by a zero byte. */
std::string encodeTexts(const Texts& texts);
Texts decodeTexts(std::string_view bytes);

struct Packet {
    Texts texts;
    UniqueFd fd;
};

Result<void> sendPacket(int socket, const Texts& texts, int fd = -1, int flags = 0);
/** Nothing when the other side hung up. */
Result<std::optional<Packet>> receivePacket(int socket);

Texts errorTexts(const Error& error);
/** The error of "error ..."; of any other answer that is not "ok", that it makes no sense. */
Error errorFrom(const Texts& answer);

/** Who may connect to a socket. */
struct SocketOwner {
    uid_t user = 0;
    gid_t group = 0;
};

/**
 * The socket at @p path, which may be longer than a socket's address; of @p type, and for @p owner alone. It
 * appears when one can connect to it, in place of what was there.
 */
Result<UniqueFd> listenAt(const std::string& path, int type = SOCK_SEQPACKET, const SocketOwner& owner = {});
Result<UniqueFd> connectTo(const std::string& path);
/** The next who connects to a listening socket; nothing once it is shut down. What passes (too many files, no
 * memory) is waited out. */
UniqueFd acceptNext(int listener);

} // namespace vz::exports
