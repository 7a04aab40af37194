// SPDX-License-Identifier: LGPL-2.1-or-later
// Runs a fuzz target over the files of a folder, and over damaged copies of each: no fuzzer is needed for
// that.
#include "base/file.hpp"

#include <cstdio>
#include <random>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

void run(const std::string& text) {
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(text.data()), text.size());
}

/** A few bytes of @p text replaced by others, mostly by those that are edges of ranges. */
std::string damaged(std::string text, std::mt19937& random) {
    constexpr char edges[] = {0, 1, 2, 63, 64, 127, -128, -1};
    for (unsigned i = 0, count = 1 + random() % 6; i < count && !text.empty(); ++i) {
        size_t at = random() % (random() % 2 ? text.size() : std::min<size_t>(text.size(), 128));
        text[at] = random() % 2 ? edges[random() % sizeof edges] : static_cast<char>(random());
    }
    if (random() % 8 == 0)
        text.resize(random() % (text.size() + 1));
    return text;
}

} // namespace

int main(int argc, char** argv) {
    std::mt19937 random(1);
    size_t count = 0;
    for (int i = 1; i < argc; ++i) {
        auto names = vz::file::list(argv[i]);
        for (size_t n = 0; names && n < names->size(); ++n, ++count) {
            auto text = vz::file::read(vz::cat(argv[i], "/", (*names)[n]));
            if (!text) {
                std::fprintf(stderr, "%s\n", text.error().message().c_str());
                return 1;
            }
            run(*text);
            for (int round = 0; round < 300; ++round)
                run(damaged(*text, random));
        }
    }
    std::printf("%zu files\n", count);
    return count > 0 ? 0 : 1;
}
