// SPDX-License-Identifier: LGPL-2.1-or-later
// Any text as DiskDescriptor.xml: what is accepted can be written, and reads the same again.
#include "storage/ploop/descriptor.hpp"

#include <cstdlib>

using namespace vz::ploop;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    auto read = Descriptor::parse(std::string(reinterpret_cast<const char*>(data), size));
    if (!read)
        return 0;
    std::string written = read->format();
    auto again = Descriptor::parse(written);
    if (!again || again->format() != written || again->deltas.size() != read->deltas.size() ||
        again->sectors != read->sectors)
        std::abort();
    return 0;
}
