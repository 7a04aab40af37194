// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "../temporary_dir.hpp"

#include <catch2/catch.hpp>

namespace vz::test {

/** A /sys and a /proc of a host that is not this one. */
class FakeHost {
public:
    std::string sys() const { return dir_ / "sys"; }
    std::string proc() const { return dir_ / "proc"; }

    void put(const std::string& path, const std::string& content) {
        std::string whole = dir_ / path;
        REQUIRE(file::makeDirs(whole.substr(0, whole.rfind('/'))));
        REQUIRE(file::writeAtomic(whole, content + "\n"));
    }

    void cpu(unsigned id, int socket, int die, int core, const std::string& siblings) {
        std::string folder = cat("sys/devices/system/cpu/cpu", id, "/topology/");
        put(folder + "physical_package_id", cat(socket));
        put(folder + "die_id", cat(die));
        put(folder + "core_id", cat(core));
        put(folder + "thread_siblings_list", siblings);
    }

    void node(unsigned id, uint64_t memoryKiB, const std::string& cpus, const std::string& distances) {
        std::string folder = cat("sys/devices/system/node/node", id, "/");
        put(folder + "meminfo",
            cat("Node ", id, " MemTotal:       ", memoryKiB, " kB\nNode ", id, " MemFree:        17 kB"));
        put(folder + "cpulist", cpus);
        put(folder + "distance", distances);
        put(folder + "hugepages/hugepages-2048kB/nr_hugepages", "3");
    }

private:
    TemporaryDir dir_;
};

/** Two sockets of two cores of two threads, a cell each, and a third cell with memory alone. */
inline void twoSockets(FakeHost& host) {
    host.put("sys/devices/system/node/online", "0-1,4");
    host.node(0, 1000000, "0-1,4-5", "10 21 17");
    host.node(1, 2000000, "2-3,6-7", "21 10 28");
    host.node(4, 3000000, "", "17 28 10");
    host.cpu(0, 0, 0, 0, "0,4");
    host.cpu(4, 0, 0, 0, "0,4");
    host.cpu(1, 0, 0, 1, "1,5");
    host.cpu(5, 0, 0, 1, "1,5");
    host.cpu(2, 1, 0, 0, "2,6");
    host.cpu(6, 1, 0, 0, "2,6");
    host.cpu(3, 1, 0, 1, "3,7");
    host.cpu(7, 1, 0, 1, "3,7");
}

} // namespace vz::test
