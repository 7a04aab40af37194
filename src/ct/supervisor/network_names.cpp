// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/supervisor/network_names.hpp"

#include "base/file.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>

namespace vz::supervisor {

namespace {

constexpr mode_t fileMode = 0644;
constexpr size_t mostBytes = 1 << 20;

/** A plain file that is not large: its text. Anything else that is there is nothing to be edited. */
Result<std::optional<std::string>> plainText(const std::string& path) {
    struct stat info;
    if (::lstat(path.c_str(), &info) < 0 || !S_ISREG(info.st_mode))
        return std::optional<std::string>();
    VZ_TRY(auto fd, file::open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
    VZ_TRY(auto text, file::read(cat("/proc/self/fd/", fd.get()), mostBytes));
    return std::optional(std::move(text));
}

Result<void> replace(const std::string& path, const std::string& text) {
    return file::writeVolatile(path, text, fileMode);
}

std::string shortName(const std::string& hostname) {
    return hostname.substr(0, hostname.find('.'));
}

/** The text with the first line that @p is says yes to replaced by @p line, or with it at the end. */
template<typename Is>
std::string withLine(const std::string& text, const std::string& line, Is is) {
    std::string out;
    bool found = false;
    for (auto old : lines(text)) {
        bool here = !found && is(old);
        found = found || here;
        out += cat(here ? std::string_view(line) : old, "\n");
    }
    return found ? out : out + line + "\n";
}

/** Where Red Hat's distributions had it before systemd; of the others none has this line. */
Result<bool> writeSysconfig(const std::string& hostname) {
    const std::string path = "/etc/sysconfig/network";
    auto isName = [](std::string_view line) { return line.starts_with("HOSTNAME="); };
    VZ_TRY(auto text, plainText(path));
    auto all = text ? lines(*text) : std::vector<std::string_view>();
    if (std::none_of(all.begin(), all.end(), isName))
        return false;
    VZ_CHECK(replace(path, withLine(*text, cat("HOSTNAME=", hostname), isName)));
    return true;
}

/** The name is found without a name server, at the address that Debian uses for that. */
Result<void> writeHosts(const std::string& hostname) {
    const std::string path = "/etc/hosts";
    VZ_TRY(auto text, plainText(path));
    if (!text && file::exists(path))
        return {};
    auto alias = shortName(hostname);
    auto line = cat("127.0.1.1\t", hostname, alias == hostname ? "" : "\t" + alias);
    auto isOurs = [](std::string_view old) {
        return old.starts_with("127.0.1.1\t") || old.starts_with("127.0.1.1 ");
    };
    return replace(path, withLine(text.value_or("127.0.0.1\tlocalhost\n::1\tlocalhost\n"), line, isOurs));
}

Result<void> writeHostname(const std::string& hostname) {
    VZ_TRY(bool sysconfig, writeSysconfig(hostname));
    if (!sysconfig || file::exists("/etc/hostname"))
        VZ_CHECK(replace("/etc/hostname", hostname + "\n"));
    return writeHosts(hostname);
}

std::string joined(const std::vector<std::string>& words) {
    std::string out;
    for (const auto& word : words)
        out += cat(out.empty() ? "" : " ", word);
    return out;
}

std::string resolverFile(const ct::LaunchSpec& spec) {
    std::string out = spec.searchDomains.empty() ? "" : cat("search ", joined(spec.searchDomains), "\n");
    for (const auto& server : spec.nameservers)
        out += cat("nameserver ", server, "\n");
    return out;
}

Result<void> writeForResolved(const ct::LaunchSpec& spec) {
    const std::string folder = "/etc/systemd/resolved.conf.d";
    VZ_CHECK(file::makeDirs(folder));
    std::string text = "[Resolve]\n";
    if (!spec.nameservers.empty())
        text += cat("DNS=", joined(spec.nameservers), "\n");
    if (!spec.searchDomains.empty())
        text += cat("Domains=", joined(spec.searchDomains), "\n");
    return replace(folder + "/50-libvirt-vz.conf", text);
}

/** A link says which program makes the file: that is told. */
Result<void> writeResolver(const ct::LaunchSpec& spec) {
    const std::string path = "/etc/resolv.conf", resolvconf = "/etc/resolvconf/resolv.conf.d";
    struct stat info;
    bool present = ::lstat(path.c_str(), &info) == 0;
    if (!present || S_ISREG(info.st_mode))
        return replace(path, resolverFile(spec));
    if (!S_ISLNK(info.st_mode))
        return fail(ErrorCode::ConfigUnsupported, "/etc/resolv.conf of the container is no file");
    VZ_TRY(auto target, file::readLink(path));
    if (target.find("/systemd/resolve/") != std::string::npos)
        return writeForResolved(spec);
    if (target.find("/resolvconf/") != std::string::npos && file::isDirectory(resolvconf))
        return replace(resolvconf + "/base", resolverFile(spec));
    return fail(ErrorCode::ConfigUnsupported, "/etc/resolv.conf of the container is a link to ", target,
                ", and name servers for what makes that are not known here: replace the link by a file, or "
                "take <vz:nameservers> and <vz:search> away");
}

} // namespace

Result<void> writeNetworkNames(const ct::LaunchSpec& spec) {
    if (spec.writeHostname)
        VZ_CHECK(writeHostname(spec.hostname));
    if (!spec.nameservers.empty() || !spec.searchDomains.empty())
        return writeResolver(spec);
    return {};
}

} // namespace vz::supervisor
