// SPDX-License-Identifier: LGPL-2.1-or-later

// The object libvirtd loads. libvirtd refuses to start if a driver module does not load or register, so this
// one uses nothing but public symbols and always succeeds: it opens the real driver, which is bound to one
// libvirt version, and turns every failure into one line of log. It needs no C++ runtime.

#include <libvirt/libvirt.h>

#include <cerrno>
#include <climits>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

namespace {

constexpr char kEntry[] = "vzDriverRegister";

/** Under systemd standard error is the journal, where syslog's messages arrive too; once is enough. */
bool journalHasStandardError() {
    return secure_getenv("JOURNAL_STREAM") != nullptr;
}

__attribute__((format(printf, 1, 2))) void complain(const char* format, ...) {
    char text[PATH_MAX + 512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fprintf(stderr, "libvirt-vz: error: %s; vz:///system is not available\n", text);
    if (!journalHasStandardError())
        syslog(LOG_DAEMON | LOG_ERR, "libvirt-vz: error: %s; vz:///system is not available", text);
}

/** "9.0.0" of the libvirt that runs; false if it does not tell. */
bool runningVersion(char* text, size_t size) {
    unsigned long version = 0;
    if (virGetVersion(&version, nullptr, nullptr) < 0)
        return false;
    snprintf(text, size, "%lu.%lu.%lu", version / 1000000, version / 1000 % 1000, version % 1000);
    return true;
}

/** PATH/vz/libvirt_vz_VERSION.so, where PATH is the folder in which this very object really lies. */
bool besideThisObject(const char* version, char* path, size_t size) {
    Dl_info self;
    char real[PATH_MAX];
    if (!dladdr(reinterpret_cast<void*>(&besideThisObject), &self) || !self.dli_fname ||
        !realpath(self.dli_fname, real))
        return false;
    if (char* slash = strrchr(real, '/'))
        *slash = '\0';
    int length = snprintf(path, size, "%s/vz/libvirt_vz_%s.so", real, version);
    return length > 0 && static_cast<size_t>(length) < size;
}

bool findDriver(char* path, size_t size) {
    // For tests; a program with raised privileges does not see it.
    if (const char* chosen = secure_getenv("LIBVIRT_VZ_DRIVER")) {
        snprintf(path, size, "%s", chosen);
        return true;
    }
    char version[64];
    if (!runningVersion(version, sizeof version)) {
        complain("libvirt does not tell its version");
        return false;
    }
    if (strcmp(version, VZ_LIBVIRT_VERSION) != 0) {
        complain("this driver was built for libvirt " VZ_LIBVIRT_VERSION
                 ", and libvirt %s is running; install the "
                 "build for that version",
                 version);
        return false;
    }
    if (!besideThisObject(version, path, size)) {
        complain("the folder of the driver cannot be found: %s", strerror(errno));
        return false;
    }
    return true;
}

/**
 * Whether the file is as long as its ELF header says. The section headers are at the end of what linkers
 * write; dlopen(3) maps a file that was cut off without a look at its length, and touching the rest is a
 * SIGBUS.
 */
bool isWhole(const char* path) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return true; // dlopen says why better
    ElfW(Ehdr) header;
    struct stat info;
    bool known = fstat(file, &info) == 0 &&
                 pread(file, &header, sizeof header, 0) == static_cast<ssize_t>(sizeof header) &&
                 memcmp(header.e_ident, ELFMAG, SELFMAG) == 0;
    close(file);
    if (!known)
        return true; // not ELF at all, which dlopen sees
    auto size = static_cast<uint64_t>(info.st_size);
    uint64_t sections = uint64_t{header.e_shnum} * header.e_shentsize;
    return sections <= size && header.e_shoff <= size - sections;
}

void loadDriver() {
    char path[PATH_MAX];
    if (!findDriver(path, sizeof path))
        return;
    if (!isWhole(path)) {
        complain("the driver '%s' is cut off; install it again", path);
        return;
    }
    // Once registered, libvirt points into the driver for ever: it is never unloaded.
    void* driver = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!driver) {
        complain("the driver cannot be loaded: %s", dlerror());
        return;
    }
    auto entry = reinterpret_cast<int (*)()>(dlsym(driver, kEntry));
    if (!entry)
        complain("'%s' is not the driver: it has no %s", path, kEntry);
    else if (entry() < 0)
        complain("the driver '%s' did not register itself", path);
}

/** libvirtd may find this object under both names; it calls from one thread. */
int registerOnce() {
    static bool done = false;
    if (!done) {
        done = true;
        loadDriver();
    }
    return 0;
}

} // namespace

extern "C" {

__attribute__((visibility("default"))) int vzRegister() {
    return registerOnce();
}

__attribute__((visibility("default"))) int vboxRegister() {
    return registerOnce();
}

} // extern "C"
