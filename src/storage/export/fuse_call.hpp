// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "storage/ploop/buffer.hpp"
#include "storage/ploop/image.hpp"

#include <functional>
#include <linux/fuse.h>
#include <mutex>
#include <span>

namespace vz::exports {

/** What the requests to a FUSE file are about: the image, and how often the file is open. */
class FuseDisk {
public:
    FuseDisk(ploop::Image& served, bool forReading) : image(served), readOnly(forReading) {}

    ploop::Image& image;
    const bool readOnly;

    void opened();
    void released();
    /** The file system has gone, by whatever: nothing will be asked for any more. */
    void ended();
    /** Called, on a thread that serves requests, when the file is no longer open anywhere; at once if that is
     * so. */
    void onIdle(std::function<void()> idle);

private:
    std::mutex mutex_;
    unsigned openCount_ = 0;
    std::function<void()> idle_;
};

/** A place for one FUSE request and its data, used for one after the other (linux/fuse.h). */
class FuseCall {
public:
    /** The largest data of a request; what the kernel allows without a change of fs.fuse.max_pages_limit. */
    static constexpr uint32_t maxData = 1u << 20;

    /** Takes requests from @p fd and answers there. */
    FuseCall(FuseDisk& disk, int fd) : disk_(disk), fd_(fd), buffer_(headRoom + maxData + headRoom) {}

    enum class Got { Request, Nothing, End };
    /** The next request. Nothing if there is none now, or a signal came; End when the file system has gone.
     */
    Got receive();
    /** The same by other means than read(2): what is to be read into, and what came of it, which is a size or
     * -errno. */
    std::span<std::byte> place() { return {head(), headSize + maxData}; }
    Got received(ssize_t got);
    /** Does what the request asks for and answers it. */
    void serve();

    uint32_t opcode() const { return header().opcode; }
    /** The part of the disk that a read or write is about; nothing if it is to be left to serve(). */
    std::optional<ploop::Range> readRange() const;
    std::optional<ploop::Range> writeRange() const;
    /** Of a read or write; aligned to 4 KiB. */
    std::byte* data() { return buffer_.data() + headRoom; }
    /** The answer to a read whose @p size bytes are at data(), or to a write: to be written to the connection
     * by the caller, before the place is used again. */
    std::span<const std::byte> readAnswer(size_t size);
    std::span<const std::byte> writeAnswer();
    /** Gives back the memory behind the first @p kept bytes of data(), which is lost. */
    void dropData(size_t kept);

private:
    /** Requests are read to such a place that the data of a write begins at a page. */
    static constexpr size_t headRoom = 4096;
    static constexpr size_t headSize = sizeof(fuse_in_header) + sizeof(fuse_write_in);

    std::byte* head() { return buffer_.data() + (headRoom - headSize); }
    const std::byte* head() const { return const_cast<FuseCall*>(this)->head(); }
    const fuse_in_header& header() const { return *reinterpret_cast<const fuse_in_header*>(head()); }
    template<typename T>
    const T& argument() const {
        return *reinterpret_cast<const T*>(head() + sizeof(fuse_in_header));
    }
    fuse_out_header answerHeader(int error, size_t size) const;
    void reply(int error, const void* data = nullptr, size_t size = 0);
    template<typename T>
    void answer(const T& out) {
        reply(0, &out, sizeof out);
    }
    void send(std::span<const std::byte> answer);
    void finish(const Result<void>& done);

    void init();
    void attributes();
    void open();
    void read();
    void write();
    void allocate();
    void statistics();

    FuseDisk& disk_;
    int fd_;
    uint64_t unique_ = 0;
    size_t size_ = 0; ///< of the request
    ploop::Buffer buffer_;
};

} // namespace vz::exports
