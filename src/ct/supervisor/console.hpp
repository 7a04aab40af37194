// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "ct/supervisor/devices.hpp"
#include "ct/supervisor/loop.hpp"

#include <memory>
#include <string>

namespace vz::supervisor {

/** Bytes on their way; bounded by forgetting the oldest. */
class Backlog {
public:
    static constexpr size_t limit = 65536;

    void push(std::string_view bytes);
    /** Writes what @p fd takes without blocking; false if it is broken. */
    bool drain(int fd);
    bool empty() const { return begin_ == bytes_.size(); }
    size_t size() const { return bytes_.size() - begin_; }
    void clear();

private:
    std::string bytes_;
    size_t begin_ = 0;
};

/** A log file of bounded size: at 2 MiB it becomes FILE.0, replacing an older one. */
class ConsoleLog {
public:
    Result<void> open(const ct::ConsoleSpec& spec);
    void write(std::string_view bytes);

private:
    Result<void> openFile(int extraFlags);

    std::string path_;
    UniqueFd file_;
    uint64_t size_ = 0;
};

/**
 * Relays between the container's terminal and what stands for it outside: a host pty that is there all the
 * time, and a byte stream of one client. The container never waits for a reader.
 */
class Console : Loop::Handler {
public:
    static Result<std::unique_ptr<Console>> create(Loop& loop, const ct::ConsoleSpec& spec);
    ~Console();
    Console(const Console&) = delete;
    Console& operator=(const Console&) = delete;

    const std::string& hostPath() const { return hostPath_; }
    /** The container's side, new at every boot. */
    void connectGuest(GuestTerminal guest);
    /** Takes what init printed last, then closes the container's side. */
    void disconnectGuest();
    bool hasClient() const { return static_cast<bool>(client_); }
    /** The client's end of a new stream; an older client is cut off. */
    Result<UniqueFd> connectClient();

private:
    explicit Console(Loop& loop) : loop_(loop) {}
    void ready(int fd, uint32_t events) override;
    void readGuest();
    void readInput(int fd);
    void dropClient();
    void flush();
    void updateInterest();

    Loop& loop_;
    ConsoleLog log_;
    std::string hostPath_;
    UniqueFd hostMaster_, hostSlave_;
    GuestTerminal guest_;
    UniqueFd client_;
    Backlog toHost_, toClient_, toGuest_;
};

} // namespace vz::supervisor
