// SPDX-License-Identifier: LGPL-2.1-or-later
// Any text as the XML of a virtual machine, in both directions. What is accepted comes out again without our
// mark, goes in again as the same machine, and stays the same text from then on.
#include "vm/xml.hpp"

#include <cstdlib>

using namespace vz;

namespace {

void must(bool condition) {
    if (!condition)
        std::abort();
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    std::string text(reinterpret_cast<const char*>(data), size);
    // No file that the text may name is looked at.
    vm::InwardFacts facts{[](const std::string&) { return std::string("qemu"); },
                          [](const std::string&) { return std::string("raw"); }};
    (void)vm::markedType(text);
    must(vm::toOuter(text).size() <= size + size / 2 + 32);
    (void)vm::embeddedToInner(text, facts);
    (void)vm::deviceToInner(text, facts);

    auto inner = vm::domainToInner(text, facts);
    if (!inner)
        return 0;
    must(inner->type == "vz" || inner->type == "parallels");
    must(inner->uuid.size() == 36 && vm::osType(inner->xml) == vm::osType(text));
    auto outer = vm::toOuter(inner->xml);
    auto again = vm::domainToInner(outer, facts);
    must(bool(again));
    must(again->type == inner->type && again->name == inner->name && again->uuid == inner->uuid);
    must(vm::toOuter(again->xml) == outer);
    return 0;
}
