// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "base/unique_fd.hpp"

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/**
 * What travels between the daemon and vz-supervisor (and between the supervisor and its own children):
 * records of named values, sent as single packets of a SOCK_SEQPACKET socket, with descriptors beside them.
 *
 * The dialogue of a start (D daemon, S supervisor): D launch{network, hold}+memfd of the description ·
 * S supervisor{}+pidfd of S · [S network{}+netns · D go{}] · [S held{}+pidfd of init · D go{}] ·
 * S started{as hello}+pidfd of init. An error{} instead of any message of S ends it.
 * Over control.sock S begins with hello{boot, console...}+pidfd of S[+pidfd of init]. Afterwards D sends
 * requests with a serial, answered by ok{} or error{} with that serial; rebooted{}, preserved{} and stopped{}
 * come from S with serial 0 at any time.
 */
namespace vz::ct {

/** An ordered list of named values; names may repeat, values may hold any byte. */
class Record {
public:
    Record& add(std::string_view key, std::string_view value);
    template<std::integral T>
    Record& add(std::string_view key, T value) {
        return add(key, std::string_view(cat(static_cast<int64_t>(value))));
    }

    /** The first value of that name; empty if there is none. */
    std::string_view text(std::string_view key) const;
    /** All values of that name. */
    std::vector<std::string_view> all(std::string_view key) const;
    /** The first value of that name as a number; @p otherwise if it is not there or none. */
    int64_t number(std::string_view key, int64_t otherwise = 0) const;
    const std::vector<std::pair<std::string, std::string>>& fields() const { return fields_; }

    std::string encode() const;
    /** InvalidArg if @p text is not what encode() makes. */
    static Result<Record> decode(std::string_view text);

private:
    std::vector<std::pair<std::string, std::string>> fields_;
};

struct Message {
    std::string kind;
    uint32_t serial = 0; ///< of the request that it is or answers; 0 for news
    Record body;
    std::vector<UniqueFd> fds; ///< received ones; owned
};

/** Largest packet accepted; longer ones are an error. */
inline constexpr size_t maxMessage = 32768;

/** Sends one packet with copies of @p fds. Blocks only if the socket does and @p flags lack MSG_DONTWAIT. */
Result<void> sendMessage(int socket, const Message& message, const std::vector<int>& fds = {}, int flags = 0);

/** Receives one packet; nothing when the other side hung up. Garbage is InvalidArg; EAGAIN is a SystemError.
 */
Result<std::optional<Message>> receiveMessage(int socket, int flags = 0);

/** An Error as the body of an error{} message, and back. */
Record errorRecord(const Error& error);
Error errorFrom(const Record& record);

/** The two ends of a SOCK_SEQPACKET pair, close-on-exec. */
Result<std::pair<UniqueFd, UniqueFd>> makeChannel();

} // namespace vz::ct
