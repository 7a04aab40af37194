// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/cpu_list.hpp"

namespace vz {

namespace {

/** More CPUs or cells than any kernel is built for: a list beyond it is broken. */
constexpr unsigned maxListed = 65536;

Result<void> addRange(std::vector<unsigned>& numbers, std::string_view range) {
    auto dash = range.find('-');
    auto first = parseNumber<unsigned>(range.substr(0, dash));
    auto last = dash == std::string_view::npos ? first : parseNumber<unsigned>(range.substr(dash + 1));
    if (!first || !last || *last < *first || *last >= maxListed)
        return fail(ErrorCode::OperationFailed, "'", range, "' is not a range of CPU or node numbers");
    for (unsigned number = *first; number <= *last; ++number)
        numbers.push_back(number);
    return {};
}

} // namespace

Result<std::vector<unsigned>> parseCpuList(std::string_view text) {
    std::vector<unsigned> numbers;
    for (auto range : split(trim(text), ','))
        VZ_CHECK(addRange(numbers, range));
    return numbers;
}

std::string formatCpuList(const std::vector<unsigned>& numbers) {
    std::string out;
    for (size_t i = 0; i < numbers.size();) {
        size_t last = i;
        while (last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1)
            ++last;
        out += cat(out.empty() ? "" : ",", numbers[i]);
        if (last > i)
            out += cat("-", numbers[last]);
        i = last + 1;
    }
    return out;
}

} // namespace vz
