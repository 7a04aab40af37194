// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/ploop/foreign.hpp"

#include "base/file.hpp"
#include "base/process.hpp"
#include "base/rollback.hpp"
#include "storage/ploop/convert.hpp"

#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdlib>

namespace vz::ploop {

namespace {

constexpr const char* qemuImg = "/usr/bin/qemu-img";

Result<void> runQemuImg(std::vector<std::string> arguments) {
    if (!file::exists(qemuImg))
        return fail(ErrorCode::OperationUnsupported, "other formats need qemu-img, which is not installed");
    arguments.insert(arguments.begin(), qemuImg);
    process::Command command;
    command.argv = std::move(arguments);
    VZ_TRY(auto finished, process::run(command, {}, std::chrono::hours(24 * 7)));
    if (finished.status == 0)
        return {};
    return fail(ErrorCode::OperationFailed, trim(finished.errors));
}

std::string quoted(std::string_view text) {
    std::string out = "\"";
    for (char c : text) {
        if (c == '"' || c == '\\')
            out += '\\';
        if (static_cast<unsigned char>(c) >= 0x20)
            out += c;
    }
    return out + "\"";
}

/** QEMU knows nothing of our descriptors: it is given every file of the chain. */
std::string chainName(const std::vector<Image::Link>& chain) {
    std::string name;
    for (const auto& link : chain) {
        std::string backing = name.empty() ? "" : cat(",\"backing\":", name);
        name = cat("{\"driver\":\"", link.plain ? "raw" : "parallels",
                   "\",\"file\":{\"driver\":\"file\",\"filename\":", quoted(link.path), "}", backing, "}");
    }
    return "json:" + name;
}

/** So that a name is never taken for an option or a protocol. */
std::string absolute(const std::string& path) {
    char* real = ::realpath(folderOf(path).c_str(), nullptr);
    std::string folder = real ? real : folderOf(path);
    std::free(real);
    return cat(folder, "/", nameOf(path));
}

} // namespace

Result<void> exportImage(FileSystem& files, const std::string& descriptor, const Guid& guid,
                         const std::string& format, const std::string& target) {
    if (files.exists(target))
        return fail(ErrorCode::StorageVolExist, target, " exists already");
    VZ_TRY(auto model, Volume::read(files, descriptor));
    VZ_TRY(auto chain, chainOf(absolute(descriptor), model, guid));
    std::string path = absolute(target);
    auto done = runQemuImg({"convert", "-O", format, chainName(chain), path});
    if (!done)
        (void)files.remove(path);
    return done;
}

Result<void> importImage(FileSystem& files, const std::string& source, const std::string& format,
                         const std::string& delta, Volume::CreateOptions options, const Progress& progress) {
    std::string flat = delta + ".import";
    if (files.exists(flat))
        return fail(ErrorCode::StorageVolExist, flat, " exists already");
    Rollback back;
    back.add([&] { (void)files.remove(flat); });
    std::vector<std::string> arguments{"convert", "-O", "raw", absolute(source), absolute(flat)};
    if (!format.empty())
        arguments.insert(arguments.begin() + 1, {"-f", format});
    VZ_CHECK(runQemuImg(arguments));
    Image::Options reading;
    reading.plainDisk.clusterSectors = options.clusterSectors;
    VZ_TRY(auto content, Image::open(files, {{flat, true}}, reading));
    options.sectors = content->bytes() / sectorSize;
    VZ_CHECK(Volume::create(files, delta, options));
    auto fill = [&]() -> Result<void> {
        Volume::Options opening;
        opening.access = Access::ReadWrite;
        VZ_TRY(auto volume, Volume::open(files, folderOf(delta) + "/DiskDescriptor.xml", opening));
        VZ_CHECK(copyContent(*content, volume->image(), progress));
        return volume->close();
    };
    auto filled = fill();
    if (!filled) {
        (void)files.remove(folderOf(delta) + "/DiskDescriptor.xml");
        (void)files.remove(delta);
    }
    return filled;
}

} // namespace vz::ploop
