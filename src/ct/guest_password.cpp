// SPDX-License-Identifier: LGPL-2.1-or-later
// Sets a password in a running container's shadow file.
#include "base/file.hpp"
#include "base/rollback.hpp"
#include "ct/guest_facts.hpp"
#include "ct/inside.hpp"

#include <cerrno>
#include <crypt.h>
#include <ctime>
#include <fcntl.h>
#include <linux/capability.h>
#include <memory>
#include <optional>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

namespace vz::ct {

namespace {

/** Host id of the container's root, from its id map (user_namespaces(7)). */
Result<uint32_t> hostIdOfRoot(pid_t init, const char* map) {
    VZ_TRY(auto text, file::read(cat("/proc/", init, "/", map)));
    for (auto line : lines(text)) {
        std::vector<uint32_t> numbers;
        for (auto part : split(line, ' ')) {
            if (auto number = parseNumber<uint32_t>(part))
                numbers.push_back(*number);
        }
        if (numbers.size() == 3 && numbers[0] == 0)
            return numbers[1];
    }
    return fail(ErrorCode::OperationUnsupported, "user 0 of the container is not mapped");
}

/**
 * Makes this thread's file accesses those of the container's root. Through an id-mapped mount the host's own
 * root has no id to own a new file with. The capabilities that the change of id takes away are taken back:
 * the new file gets the old one's group.
 */
Result<void> actAs(uint32_t uid, uint32_t gid) {
    ::syscall(SYS_setfsgid, gid);
    ::syscall(SYS_setfsuid, uid);
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2];
    if (::syscall(SYS_capget, &header, data) < 0)
        return failErrno(errno, "cannot read capabilities");
    for (auto& half : data)
        half.effective = half.permitted;
    if (::syscall(SYS_capset, &header, data) < 0)
        return failErrno(errno, "cannot take capabilities back");
    return {};
}

/** The lock of the passwd tools (lckpwdf(3)); a guest that holds it forever makes this fail, not hang. */
Result<UniqueFd> lockPasswords(int etc) {
    VZ_TRY(auto fd, file::open(".pwd.lock", O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0600, etc));
    struct flock lock {};
    lock.l_type = F_WRLCK;
    for (int tries = 0; ::fcntl(fd.get(), F_OFD_SETLK, &lock) < 0; ++tries) {
        if (errno != EAGAIN && errno != EACCES)
            return failErrno(errno, "cannot lock the container's password files");
        if (tries == 40)
            return fail(ErrorCode::ResourceBusy,
                        "another program in the container holds the password files' lock");
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    return fd;
}

Result<std::string> hashOf(const std::string& password) {
    struct Free {
        void operator()(void* memory) const { std::free(memory); }
    };
    // SHA-512: the strongest method that every distribution's crypt(3) knows.
    std::unique_ptr<char, Free> salt(::crypt_gensalt_ra("$6$", 0, nullptr, 0));
    if (!salt)
        return failErrno(errno, "cannot make a salt");
    auto data = std::make_unique<crypt_data>();
    const char* hash = ::crypt_r(password.c_str(), salt.get(), data.get());
    if (!hash || *hash == '*')
        return failErrno(errno, "cannot hash the password");
    return std::string(hash);
}

Result<std::string> edited(const std::string& shadow, const std::string& user, const std::string& hash) {
    std::string out;
    bool found = false;
    for (auto line : lines(shadow)) {
        auto parts = split(line, ':');
        if (!found && parts.size() >= 3 && parts[0] == user) {
            found = true;
            // name:hash:day of the last change:the rest as it was (shadow(5))
            out += cat(user, ":", hash, ":", ::time(nullptr) / 86400);
            for (size_t i = 3; i < parts.size(); ++i)
                out += cat(":", parts[i]);
        } else {
            out += line;
        }
        out += '\n';
    }
    if (!found)
        return fail(ErrorCode::InvalidArg, "the container has no user '", user, "' in /etc/shadow");
    return out;
}

Result<void> replaceShadow(int etc, const std::string& content, const struct stat& like) {
    static constexpr const char* temporary = ".shadow.libvirt-vz";
    ::unlinkat(etc, temporary, 0);
    VZ_TRY(auto fd, file::open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600, etc));
    Rollback undo;
    undo.add([etc] { ::unlinkat(etc, temporary, 0); });
    VZ_CHECK(file::writeAll(fd.get(), content));
    if (::fchown(fd.get(), like.st_uid, like.st_gid) < 0 || ::fchmod(fd.get(), like.st_mode & 07777) < 0 ||
        ::fsync(fd.get()) < 0)
        return failErrno(errno, "cannot prepare the container's new /etc/shadow");
    if (::renameat(etc, temporary, etc, "shadow") < 0)
        return failErrno(errno, "cannot replace the container's /etc/shadow");
    undo.dismiss();
    ::fsync(etc);
    return {};
}

Result<void> change(pid_t init, const std::string& user, const std::string& hash) {
    VZ_TRY(auto uid, hostIdOfRoot(init, "uid_map"));
    VZ_TRY(auto gid, hostIdOfRoot(init, "gid_map"));
    VZ_TRY(auto root, inside::rootOf(init));
    VZ_CHECK(actAs(uid, gid));
    VZ_TRY(auto etc, inside::open(root.get(), "/etc", O_RDONLY | O_DIRECTORY));
    VZ_TRY(auto lock, lockPasswords(etc.get()));
    VZ_TRY(auto shadow, inside::open(root.get(), "/etc/shadow", O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
    struct stat like;
    if (::fstat(shadow.get(), &like) < 0 || !S_ISREG(like.st_mode))
        return fail(ErrorCode::OperationFailed, "/etc/shadow of the container is no regular file");
    VZ_TRY(auto before, file::read(cat("/proc/self/fd/", shadow.get()), 1 << 20));
    VZ_TRY(auto after, edited(before, user, hash));
    return replaceShadow(etc.get(), after, like);
}

bool fitsField(const std::string& text) {
    return !text.empty() && text.find_first_of(":\n") == std::string::npos;
}

} // namespace

Result<void> setPassword(pid_t init, const std::string& user, const std::string& password, bool hashed) {
    if (!fitsField(user))
        return fail(ErrorCode::InvalidArg, "'", user, "' is no user name");
    if (hashed && !fitsField(password))
        return fail(ErrorCode::InvalidArg,
                    "the encrypted password is empty or has a character it cannot have");
    std::string hash = password;
    if (!hashed) {
        VZ_TRY(hash, hashOf(password));
    }
    // A thread of its own, because it changes its identity.
    std::optional<Result<void>> result;
    std::thread([&] { result = change(init, user, hash); }).join();
    return *std::move(result);
}

} // namespace vz::ct
