// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vm/disk_format.hpp"

#include "base/file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace vz::vm {

namespace {

/** The first bytes of an image: enough for every header below. */
class Header {
public:
    explicit Header(std::string bytes) : bytes_(std::move(bytes)) {}

    bool has(size_t offset, std::string_view magic) const {
        return bytes_.size() >= offset + magic.size() &&
               std::string_view(bytes_).substr(offset, magic.size()) == magic;
    }
    uint64_t big(size_t offset, size_t size) const {
        uint64_t value = 0;
        for (size_t i = 0; i < size; ++i)
            value = value << 8 | byte(offset + i);
        return value;
    }
    uint64_t little(size_t offset, size_t size) const {
        uint64_t value = 0;
        for (size_t i = size; i > 0; --i)
            value = value << 8 | byte(offset + i - 1);
        return value;
    }

private:
    uint8_t byte(size_t offset) const {
        return offset < bytes_.size() ? static_cast<uint8_t>(bytes_[offset]) : 0;
    }

    std::string bytes_;
};

/** What a header tells. */
struct Image {
    std::string format;
    bool backing = false; ///< it names a backing file
    bool others = false;  ///< it names files that the XML has no word for, or may do so
};

/**
 * Formats: qcow2 docs/interop/qcow2.txt, qed docs/interop/qed_spec.rst, vdi block/vdi.c, vpc block/vpc.c,
 * vmdk block/vmdk.c of QEMU.
 */
Image recognize(const Header& header) {
    using namespace std::literals;
    if (header.has(0, "QFI\xfb"sv)) {
        auto version = header.big(4, 4);
        bool backing = header.big(8, 8) != 0;
        if (version == 1)
            return {"qcow", backing, false};
        // Bit 2 of the incompatible features: the data are in a file of their own.
        bool data = version >= 3 && (header.big(72, 8) & 4);
        return {"qcow2", backing, data};
    }
    if (header.has(0, "QED\0"sv))
        return {"qed", (header.little(16, 8) & 1) != 0, false};
    if (header.has(0, "<<< "sv) && header.has(64, "\x7f\x10\xda\xbe"sv))
        return {"vdi"};
    if (header.has(0, "conectix"sv))
        return {"vpc"};
    // Its extents may be any files.
    if (header.has(0, "KDMV"sv) || header.has(0, "COWD"sv) || header.has(0, "# Disk DescriptorFile"sv))
        return {"vmdk", false, true};
    return {"raw"};
}

bool isPloop(const Header& header) {
    return header.has(0, "WithoutFreeSpace") || header.has(0, "WithouFreSpacExt");
}

/** Empty if the file cannot be read; it is not opened for more than that. */
std::string firstBytes(const std::string& path) {
    auto fd = file::open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    struct stat info;
    // It may have been replaced since it was looked at.
    if (!fd || fstat(fd->get(), &info) < 0 || !S_ISREG(info.st_mode))
        return {};
    std::string bytes(512, '\0');
    auto count = pread(fd->get(), bytes.data(), bytes.size(), 0);
    bytes.resize(count > 0 ? static_cast<size_t>(count) : 0);
    return bytes;
}

} // namespace

Error ploopIsUnsupported(const std::string& disk) {
    return fail(ErrorCode::ConfigUnsupported, "the disk ", disk,
                " is a ploop image: give the disk type='file' or 'volume' and a <driver name='qemu' "
                "type='ploop'/>");
}

Result<std::string> formatOfFile(const std::string& path, bool ownChain) {
    // Not opened before it is known to be a file: with devices, opening alone has effects.
    struct stat info;
    if (stat(path.c_str(), &info) < 0)
        return std::string(errno == ENOENT ? "qcow2" : "");
    if (S_ISDIR(info.st_mode) && file::exists(path + "/DiskDescriptor.xml"))
        return std::string("ploop");
    if (!S_ISREG(info.st_mode))
        return std::string();
    Header header(firstBytes(path));
    if (isPloop(header)) // its descriptor names other files
        return ploopIsUnsupported(path);
    if (header.has(0, "vhdxfile"))
        return fail(ErrorCode::ConfigUnsupported, "the disk ", path,
                    " is a VHDX image, which libvirt has no driver type for: convert it to qcow2");
    auto image = recognize(header);
    if (image.others || (image.backing && !ownChain))
        return fail(
            ErrorCode::ConfigUnsupported, "the disk ", path, " looks like a ", image.format,
            " image that names other files; this is not believed unless the XML says it: give the disk "
            "a <driver name='qemu' type='",
            image.format, "'/>, or type='raw' if it is the guest that wrote that");
    return image.format;
}

} // namespace vz::vm
