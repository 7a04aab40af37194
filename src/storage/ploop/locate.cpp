// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/ploop/locate.hpp"

#include "base/file.hpp"
#include "storage/ploop/volume.hpp"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <fcntl.h>
#include <sys/stat.h>

namespace vz::ploop {

namespace {

struct Magic {
    size_t offset;
    std::string_view bytes;
    const char* format;
};

/** The first bytes of what qemu-img knows (its block/ folder has each format). */
constexpr Magic foreign[] = {
    {0, "QFI\xfb", "qcow2"}, {0, "KDMV", "vmdk"},         {0, "COWD", "vmdk"},
    {0, "vhdxfile", "vhdx"}, {0, "conectix", "vpc"},      {64, "\x7f\x10\xda\xbe", "vdi"},
    {0, "QED\0", "qed"},     {0, "LUKS\xba\xbe", "luks"}, {0, "# Disk Descrip", "vmdk"}};

constexpr std::string_view ploopMagics[] = {"WithoutFreeSpace", "WithouFreSpacExt"};

Result<std::string> beginningOf(const std::string& path) {
    VZ_TRY(auto fd, file::open(path, O_RDONLY | O_NONBLOCK));
    std::string bytes(512, '\0');
    ssize_t got = ::pread(fd.get(), bytes.data(), bytes.size(), 0);
    if (got < 0)
        return failErrno(errno, "cannot read ", path);
    bytes.resize(static_cast<size_t>(got));
    return bytes;
}

Result<Located> byContent(std::string path) {
    VZ_TRY(auto bytes, beginningOf(path));
    auto begins = [&](size_t offset, std::string_view magic) {
        return bytes.size() >= offset && std::string_view(bytes).substr(offset).starts_with(magic);
    };
    for (auto magic : ploopMagics) {
        if (begins(0, magic))
            return Located{Located::Kind::Delta, std::move(path), {}};
    }
    for (const auto& magic : foreign) {
        if (begins(magic.offset, magic.bytes))
            return Located{Located::Kind::Other, std::move(path), magic.format};
    }
    return Located{Located::Kind::Raw, std::move(path), {}};
}

/** Whether the descriptor beside a file names it. */
bool namedBeside(FileSystem& files, const std::string& descriptor, const std::string& path) {
    auto model = Volume::read(files, descriptor);
    if (!model)
        return false;
    return std::any_of(model->deltas.begin(), model->deltas.end(), [&](const auto& delta) {
        return delta.file == path || cat(folderOf(descriptor), "/", delta.file) == path;
    });
}

} // namespace

Result<Located> locate(FileSystem& files, const std::string& given) {
    char real[PATH_MAX];
    if (!::realpath(given.c_str(), real))
        return failErrno(errno, "cannot find ", given);
    std::string path = real;
    struct stat info {};
    if (::stat(real, &info) < 0)
        return failErrno(errno, "cannot look at ", path);
    if (S_ISBLK(info.st_mode))
        return Located{Located::Kind::Device, std::move(path), {}};
    auto descriptor = descriptorPath(files, path);
    if (S_ISDIR(info.st_mode)) {
        if (files.exists(descriptor))
            return Located{Located::Kind::Image, std::move(descriptor), {}};
        return fail(ErrorCode::StorageProbeFailed, path, " is a folder without a DiskDescriptor.xml in it");
    }
    if (!S_ISREG(info.st_mode))
        return fail(ErrorCode::StorageProbeFailed, path, " is neither an image nor a block device");
    if (descriptor == path || namedBeside(files, descriptor, path))
        return Located{Located::Kind::Image, std::move(descriptor), {}};
    return byContent(std::move(path));
}

} // namespace vz::ploop
