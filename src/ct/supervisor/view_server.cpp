// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/supervisor/view_server.hpp"

#include "base/file.hpp"
#include "ct/counter_facts.hpp"
#include "ct/protocol.hpp"
#include "ct/supervisor/sys.hpp"
#include "ct/view.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <linux/fuse.h>
#include <map>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

namespace vz::supervisor {

namespace {

constexpr uint32_t newestMinor = 31; ///< of the protocol; all that is used here was there by then
constexpr uint64_t firstFile = FUSE_ROOT_ID + 1;
constexpr uint64_t validSeconds = 3600; ///< of names; attributes are asked for at each open(2)
constexpr uint64_t block = 4096;

uint64_t nowNs() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1000000000 + static_cast<uint64_t>(now.tv_nsec);
}

/** The texts of the files, made when they are asked for. */
class Texts {
public:
    explicit Texts(const ct::LaunchSpec& spec) : spec_(spec) {
        // The limits are on the parent of what the container itself has.
        for (const auto& dir : spec.payloadCgroups)
            groups_.push_back(dir.substr(0, dir.rfind('/')));
        setCounters(spec.counters);
    }

    void booted(pid_t init) {
        init_ = init;
        atBoot_ = boots_++ ? ct::view::cpuTimes(groups_) : std::vector<ct::view::CpuUse>();
        load_ = {};
        files_ = {};
    }

    void setCounters(const std::vector<ct::CounterSetting>& counters) {
        counters_.clear();
        for (const auto& each : counters)
            counters_[each.name] = {each.barrier, each.limit};
        files_ = {};
    }

    /**
     * The text of a file; a new one for who reads from the beginning. A container that reads all the time is
     * given the same again while making it would take more than a twentieth of the time: what it costs is the
     * host's, not the container's.
     */
    const std::string& text(size_t file, bool beginning) {
        auto& known = files_[file];
        auto now = nowNs();
        if (known.madeNs && (!beginning || now - known.madeNs < 20 * known.costNs))
            return known.text;
        known.text = make(viewFiles[file].name);
        known.madeNs = nowNs();
        known.costNs = known.madeNs - now;
        return known.text;
    }

private:
    struct Known {
        std::string text;
        uint64_t madeNs = 0, costNs = 0;
    };

    static std::string host(const char* path) { return file::read(path).valueOr(""); }

    std::string make(std::string_view name) {
        using namespace ct::view;
        if (name == "user_beancounters")
            return userBeancounters();
        if (name == "diskstats")
            return diskstats(groups_);
        auto facts = figures(groups_, init_, atBoot_);
        if (name == "meminfo")
            return meminfo(facts);
        if (name == "swaps")
            return swaps(facts);
        if (name == "uptime")
            return uptime(facts);
        if (name == "stat")
            return stat(facts, host("/proc/stat"));
        if (name == "cpuinfo")
            return cpuinfo(facts, host("/proc/cpuinfo"));
        if (name == "online")
            return onlineCpus(facts);
        return loadavg(facts);
    }

    std::string loadavg(const ct::view::Figures& facts) {
        uint64_t used = 0;
        for (const auto& cpu : facts.use)
            used += cpu.userNs + cpu.systemNs;
        load_.update(used, facts.uptimeNs);
        return load_.text(1, std::max<uint64_t>(1, facts.processes));
    }

    std::string userBeancounters() {
        std::vector<pid_t> processes;
        // One hierarchy is enough: the processes are the same in all.
        if (!groups_.empty())
            (void)ct::collectProcesses(groups_.front(), processes);
        auto status =
            ct::counterStatus(counters_, ct::counterFacts(groups_), processes, init_, !spec_.uids.empty());
        for (auto& counter : status) {
            auto& most = mostHeld_[counter.info->name];
            most = std::max({most, counter.held, counter.maxHeld});
            counter.maxHeld = most;
        }
        return ct::view::beancounters(ct::view::numberOf(spec_.name, spec_.uuid), status);
    }

    const ct::LaunchSpec& spec_;
    std::vector<std::string> groups_;
    ct::Beancounters counters_;
    pid_t init_ = 0;
    unsigned boots_ = 0;
    std::vector<ct::view::CpuUse> atBoot_;
    ct::view::LoadAverage load_;
    std::map<std::string_view, uint64_t> mostHeld_; ///< where the kernel keeps none: at the times of reading
    std::array<Known, std::size(viewFiles)> files_;
};

class Server {
public:
    Server(const ct::LaunchSpec& spec, int fuse, int channel)
        : texts_(spec), owner_(hostRoot(spec)), fuse_(fuse), channel_(channel) {}

    [[noreturn]] void run() {
        for (;;) {
            pollfd waiting[] = {{channel_, POLLIN, 0}, {fuse_, POLLIN, 0}};
            if (::poll(waiting, 2, -1) < 0)
                continue;
            // First what has been set: who reads after that must not get what was before.
            if (waiting[0].revents)
                takeNews();
            else if (waiting[1].revents)
                takeRequest();
        }
    }

private:
    void takeNews() {
        auto message = ct::receiveMessage(channel_, MSG_DONTWAIT);
        if (!message && message.error().systemError() == EAGAIN)
            return;
        if (!message || !*message)
            ::_exit(0);
        if ((*message)->kind == "booted")
            texts_.booted(static_cast<pid_t>((*message)->body.number("pid")));
        else if (auto counters = ct::decodeCounters((*message)->body.text("limits")))
            texts_.setCounters(counters->set);
    }

    void takeRequest() {
        ssize_t got = ::read(fuse_, request_, sizeof request_);
        if (got < static_cast<ssize_t>(sizeof(fuse_in_header))) {
            if (got < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOENT))
                return;
            ::_exit(0);
        }
        serve();
    }

    const fuse_in_header& header() const { return *reinterpret_cast<const fuse_in_header*>(request_); }
    template<typename T>
    const T& argument() const {
        return *reinterpret_cast<const T*>(request_ + sizeof(fuse_in_header));
    }

    void reply(int error, const void* data = nullptr, size_t size = 0) {
        fuse_out_header out{};
        out.len = static_cast<uint32_t>(sizeof out + size);
        out.error = -error;
        out.unique = header().unique;
        iovec parts[] = {{&out, sizeof out}, {const_cast<void*>(data), size}};
        // Fails if nobody waits for it any more.
        (void)!::writev(fuse_, parts, size > 0 ? 2 : 1);
    }
    template<typename T>
    void answer(const T& out) {
        reply(0, &out, sizeof out);
    }

    void serve() {
        switch (header().opcode) {
        case FUSE_INIT:
            return init();
        case FUSE_LOOKUP:
            return lookup();
        case FUSE_GETATTR:
            return attributes();
        case FUSE_OPEN:
            return open();
        case FUSE_READ:
            return read();
        case FUSE_RELEASE:
            return reply(0);
        case FUSE_FORGET:
        case FUSE_BATCH_FORGET:
        case FUSE_INTERRUPT:
            return; // not answered
        default:    // the kernel does without
            return reply(ENOSYS);
        }
    }

    void init() {
        fuse_init_out out{};
        out.major = FUSE_KERNEL_VERSION;
        out.minor = std::min(argument<fuse_init_in>().minor, newestMinor);
        out.max_write = 4096;
        out.time_gran = 1;
        answer(out);
    }

    bool known(uint64_t node) const {
        return node == FUSE_ROOT_ID || (node >= firstFile && node - firstFile < std::size(viewFiles));
    }

    /**
     * sendfile(2) gives no more of a file than its size, which cannot be known before: it is said to be more
     * than it has now.
     */
    uint64_t sizeOf(uint64_t node) {
        auto now = texts_.text(static_cast<size_t>(node - firstFile), false).size();
        return (now + now / 2) / block * block + block;
    }

    fuse_attr attributesOf(uint64_t node) {
        fuse_attr out{};
        out.ino = node;
        out.nlink = 1;
        out.blksize = block;
        out.uid = owner_.uid;
        out.gid = owner_.gid;
        out.size = node == FUSE_ROOT_ID ? 0 : sizeOf(node);
        out.mode = node == FUSE_ROOT_ID ? S_IFDIR | 0555 : S_IFREG | viewFiles[node - firstFile].mode;
        return out;
    }

    void lookup() {
        const auto* name = reinterpret_cast<const char*>(request_ + sizeof(fuse_in_header));
        auto length = std::min(sizeof request_, size_t(header().len)) - sizeof(fuse_in_header);
        std::string_view wanted(name, ::strnlen(name, length));
        auto found = std::ranges::find_if(viewFiles, [&](const auto& each) { return wanted == each.name; });
        if (header().nodeid != FUSE_ROOT_ID || found == std::end(viewFiles))
            return reply(ENOENT);
        fuse_entry_out out{};
        out.nodeid = firstFile + static_cast<uint64_t>(found - std::begin(viewFiles));
        out.entry_valid = validSeconds;
        out.attr = attributesOf(out.nodeid);
        answer(out);
    }

    void attributes() {
        if (!known(header().nodeid))
            return reply(ENOENT);
        fuse_attr_out out{};
        out.attr = attributesOf(header().nodeid);
        answer(out);
    }

    void open() {
        fuse_open_out out{};
        out.open_flags = FOPEN_DIRECT_IO | FOPEN_NOFLUSH; // each read(2) comes here
        answer(out);
    }

    void read() {
        const auto& in = argument<fuse_read_in>();
        auto node = header().nodeid;
        if (!known(node) || node == FUSE_ROOT_ID)
            return reply(EISDIR);
        const auto& text = texts_.text(static_cast<size_t>(node - firstFile), in.offset == 0);
        size_t from = static_cast<size_t>(std::min<uint64_t>(in.offset, text.size()));
        reply(0, text.data() + from, std::min<size_t>(in.size, text.size() - from));
    }

    Texts texts_;
    Ids owner_;
    int fuse_, channel_;
    /** As much as the kernel insists on: FUSE_MIN_READ_BUFFER, more than headers and max_write. */
    alignas(fuse_in_header) unsigned char request_[FUSE_MIN_READ_BUFFER];
};

} // namespace

void serveView(const ct::LaunchSpec& spec, int fuse, int channel) {
    ::prctl(PR_SET_NAME, "vz-view");
    closeOthers({fuse, channel}); // the supervisor's may be disks and terminals
    Server(spec, fuse, channel).run();
}

} // namespace vz::supervisor
