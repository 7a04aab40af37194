// SPDX-License-Identifier: LGPL-2.1-or-later
// vz-enter: runs a command in a container as its root. `virsh lxc-enter-namespace` also enters, but stays the
// host's root, whom a container with a user namespace knows as nobody; this one becomes the container's own.
#include "base/result.hpp"
#include "base/unique_fd.hpp"

#include <libvirt/libvirt-lxc.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <grp.h>
#include <memory>
#include <sched.h>
#include <span>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace {

using namespace vz;

constexpr int cannotRun = 127, cannotEnter = 125;

struct Close {
    void operator()(virConnectPtr conn) const { ::virConnectClose(conn); }
    void operator()(virDomainPtr domain) const { ::virDomainFree(domain); }
};
using Connection = std::unique_ptr<virConnect, Close>;
using Domain = std::unique_ptr<virDomain, Close>;

Error libvirtError() {
    const char* message = ::virGetLastErrorMessage();
    return fail(ErrorCode::OperationFailed, message);
}

/** By name, UUID or id, as virsh takes them. */
Result<Domain> find(virConnectPtr conn, const char* wanted) {
    Domain domain(::virDomainLookupByName(conn, wanted));
    if (!domain)
        domain.reset(::virDomainLookupByUUIDString(conn, wanted));
    if (auto id = parseNumber<int>(wanted); !domain && id)
        domain.reset(::virDomainLookupByID(conn, *id));
    if (!domain)
        return fail(ErrorCode::NoDomain, "there is no container '", wanted, "'");
    return domain;
}

Result<std::vector<UniqueFd>> namespacesOf(virDomainPtr domain) {
    int* list = nullptr;
    int count = ::virDomainLxcOpenNamespace(domain, &list, 0);
    if (count < 0)
        return libvirtError();
    std::vector<UniqueFd> fds;
    for (int i = 0; i < count; ++i)
        fds.emplace_back(list[i]);
    std::free(list);
    return fds;
}

Result<void> enter(virDomainPtr domain, const std::vector<UniqueFd>& namespaces) {
    if (::virDomainLxcEnterCGroup(domain, 0) < 0)
        return libvirtError();
    for (const auto& fd : namespaces) {
        if (::setns(fd.get(), 0) < 0)
            return failErrno(errno, "cannot enter a namespace of the container");
    }
    if (::setgroups(0, nullptr) < 0 || ::setgid(0) < 0 || ::setuid(0) < 0)
        return failErrno(errno, "cannot become the container's root");
    return {};
}

/** In the container: a clean environment, root's folder, and the command. */
[[noreturn]] void execute(char** command) {
    const char* terminal = std::getenv("TERM");
    std::string term = terminal ? terminal : "linux";
    ::clearenv();
    ::setenv("TERM", term.c_str(), 1);
    ::setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
    ::setenv("HOME", "/root", 1);
    ::setenv("USER", "root", 1);
    if (::chdir("/root") < 0 && ::chdir("/") < 0)
        std::fprintf(stderr, "vz-enter: the container has no /: %s\n", std::strerror(errno));
    ::execvp(command[0], command);
    std::fprintf(stderr, "vz-enter: cannot run %s: %s\n", command[0], std::strerror(errno));
    ::_exit(cannotRun);
}

/** The pid namespace counts for children only: the command is one, and its exit status ours. */
int runInside(char** command) {
    pid_t pid = ::fork();
    if (pid < 0) {
        std::perror("vz-enter: fork");
        return cannotEnter;
    }
    if (pid == 0)
        execute(command);
    // The terminal's signals are the command's.
    ::signal(SIGINT, SIG_IGN);
    ::signal(SIGQUIT, SIG_IGN);
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

Result<int> run(const char* uri, const char* wanted, char** command) {
    Connection conn(::virConnectOpen(uri));
    if (!conn)
        return libvirtError();
    VZ_TRY(auto domain, find(conn.get(), wanted));
    VZ_TRY(auto namespaces, namespacesOf(domain.get()));
    VZ_CHECK(enter(domain.get(), namespaces));
    return runInside(command);
}

int usage(std::FILE* to, int status) {
    std::fputs(
        "Usage: vz-enter [-c URI] CONTAINER [COMMAND [ARGUMENT...]]\n"
        "Runs COMMAND (a shell if there is none) in a running container, as its root.\n"
        "  -c URI   connection; LIBVIRT_DEFAULT_URI, or else vz:///system, if not given\n"
        "The exit status is the command's; 125 if the container cannot be entered, 127 if there is no such\n"
        "command in it.\n",
        to);
    return status;
}

} // namespace

int main(int argc, char** argv) {
    const char* uri = std::getenv("LIBVIRT_DEFAULT_URI");
    if (!uri || !*uri)
        uri = "vz:///system";
    std::span<char*> arguments(argv + 1, argv + argc);
    while (!arguments.empty() && arguments.front()[0] == '-') {
        std::string_view option = arguments.front();
        arguments = arguments.subspan(1);
        if (option == "--")
            break;
        if (option == "-h" || option == "--help")
            return usage(stdout, 0);
        if (option != "-c" || arguments.empty())
            return usage(stderr, 2);
        uri = arguments.front();
        arguments = arguments.subspan(1);
    }
    if (arguments.empty())
        return usage(stderr, 2);
    const char* wanted = arguments.front();
    static char shell[] = "/bin/sh", login[] = "-l";
    static char* shellCommand[] = {shell, login, nullptr};
    // argv ends with a null pointer, and so does its rest.
    char** command = arguments.size() > 1 ? &arguments[1] : shellCommand;
    ::virSetErrorFunc(nullptr, [](void*, virErrorPtr) {}); // told below, once
    auto done = run(uri, wanted, command);
    if (done)
        return *done;
    std::fprintf(stderr, "vz-enter: %s\n", done.error().message().c_str());
    return cannotEnter;
}
