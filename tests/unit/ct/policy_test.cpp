// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/policy.hpp"

#include <catch2/catch.hpp>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <set>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace vz;
using namespace vz::ct;

namespace {

bool has(uint64_t set, int capability) {
    return set >> capability & 1;
}

/** What the child found wrong under the filter, 0 for nothing; runs in a child since a filter never leaves.
 */
int tryFilter(const std::string& filter) {
    sock_fprog program{static_cast<unsigned short>(filter.size() / sizeof(sock_filter)),
                       reinterpret_cast<sock_filter*>(const_cast<char*>(filter.data()))};
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return 1;
    if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
        return 2;
    if (::syscall(SYS_kexec_load, 0, 0, nullptr, 0) != -1 || errno != EPERM)
        return 3;
    if (::syscall(SYS_keyctl, 0, 0) != -1 || errno != ENOSYS)
        return 4;
    if (::socket(AF_NETLINK, SOCK_RAW, NETLINK_AUDIT) != -1 || errno != EAFNOSUPPORT)
        return 5;
    if (::socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE) < 0)
        return 6;
#ifdef __x86_64__
    // getpid by the x32 table (allowed, or absent from this kernel), kexec_load by it (528).
    if (::syscall(0x40000000 + 528, 0, 0, nullptr, 0) != -1 || (errno != EPERM && errno != ENOSYS))
        return 7;
#endif
    return ::getpid() > 0 ? 0 : 8;
}

} // namespace

TEST_CASE("capability names are found in any spelling") {
    CHECK(*capabilityByName("sys_admin") == CAP_SYS_ADMIN);
    CHECK(*capabilityByName("CAP_SYS_ADMIN") == CAP_SYS_ADMIN);
    CHECK(*capabilityByName("cap_Chown") == CAP_CHOWN);
    CHECK(*capabilityByName("checkpoint_restore") == CAP_CHECKPOINT_RESTORE);
    auto unknown = capabilityByName("sys_everything");
    REQUIRE_FALSE(unknown);
    CHECK(unknown.error().code() == ErrorCode::InvalidArg);
    CHECK(unknown.error().message().find("sys_everything") != std::string::npos);
}

TEST_CASE("default capabilities suit a system container and nothing that reaches the host") {
    auto inside = defaultCapabilities(true), bare = defaultCapabilities(false);
    for (auto set : {inside, bare}) {
        for (int wanted : {CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_SETUID, CAP_CHOWN, CAP_SYS_BOOT})
            CHECK(has(set, wanted));
        for (int refused : {CAP_SYS_MODULE, CAP_SYS_RAWIO, CAP_SYS_TIME, CAP_MAC_ADMIN, CAP_SYSLOG, CAP_BPF})
            CHECK_FALSE(has(set, refused));
    }
    // These reach past the container where its root is the host's.
    for (int refused : {CAP_MKNOD, CAP_DAC_READ_SEARCH, CAP_SYS_RESOURCE})
        CHECK_FALSE(has(bare, refused));
    CHECK((bare & ~inside) == 0);
}

TEST_CASE("the kernel takes the default seccomp filter and it refuses what it should") {
    auto filter = defaultSeccomp();
    REQUIRE(filter);
    REQUIRE(filter->size() % sizeof(sock_filter) == 0);
    REQUIRE(filter->size() > 20 * sizeof(sock_filter));
    pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0)
        ::_exit(tryFilter(*filter));
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("paths and devices are absolute and appear once") {
    for (bool userNamespace : {false, true}) {
        std::set<std::string> seen;
        for (const auto& list : {defaultMaskedPaths(userNamespace), defaultReadOnlyPaths(userNamespace)})
            for (const auto& path : list) {
                CHECK(path.front() == '/');
                CHECK(seen.insert(path).second);
            }
    }
    for (const auto& node : defaultDevices())
        CHECK(node.path.starts_with("/dev/"));
    for (const auto& rule : defaultDeviceRules())
        CHECK((rule.type == 'c' || rule.access == "m"));
}
