// SPDX-License-Identifier: LGPL-2.1-or-later
// Any bytes as an image file: opening, reading, checking, repairing and writing must end, and must stay in
// bounds.
#include "../unit/storage/test_disk.hpp"
#include "storage/ploop/check.hpp"

#include <cstdlib>

using namespace vz;
using namespace vz::ploop;

namespace {

const std::string path = "/image/root.hds";

void touch(Image& image, bool write) {
    std::vector<std::byte> data(70000, std::byte(7));
    uint64_t last = image.bytes() > data.size() ? image.bytes() - data.size() : 0;
    for (uint64_t offset : {uint64_t(0), image.bytes() / 2, last}) {
        size_t size = std::min<uint64_t>(data.size(), image.bytes() - offset);
        (void)image.read(offset, data.data(), size);
        if (write) {
            (void)image.write(offset, data.data(), size);
            (void)image.zero(offset, size);
        }
    }
    (void)image.close();
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    test::TestDisk disk;
    {
        auto file = disk.create(path, 0600);
        (void)(*file)->write(0, data, size);
    }
    if (auto image = Image::open(disk, {{path}}, {}))
        touch(**image, false);
    Image::Options writing;
    writing.access = Access::ReadWrite;
    writing.recover = true;
    if (auto image = Image::open(disk, {{path}}, writing))
        touch(**image, true);
    CheckOptions repair;
    repair.repair = repair.force = true;
    auto first = checkDelta(disk, path, repair);
    // What a repair calls good is good.
    if (first && !first->serious) {
        auto second = checkDelta(disk, path, {});
        if (!second || second->serious)
            std::abort();
        auto image = Image::open(disk, {{path}}, writing);
        if (image)
            touch(**image, true);
    }
    return 0;
}
