// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"

#include <map>
#include <set>
#include <string>
#include <vector>

/** Command lines in the manner of the ploop tools. */
namespace vz::cli {

/** Options and the rest of a command line, in the order of getopt(3): options may stand anywhere. */
class Arguments {
public:
    /**
     * @p known: the letters as for getopt ("s:f"), @p names: long options with the letter each stands for.
     * InvalidArg for an unknown option or a missing value.
     */
    static Result<Arguments> parse(const std::vector<std::string>& arguments, std::string_view known,
                                   const std::map<std::string, char>& names = {});

    bool has(char option) const { return values_.contains(option); }
    /** The value of the last one of that option. */
    std::string value(char option, std::string otherwise = "") const;
    const std::vector<std::string>& rest() const { return rest_; }
    /** InvalidArg unless there are from @p least to @p most other arguments. */
    Result<void> expect(size_t least, size_t most) const;

private:
    std::map<char, std::string> values_;
    std::vector<std::string> rest_;
};

/** A size as the ploop tool takes it: a number (0x too) of sectors, or with one of K, M, G and T. In sectors.
 */
Result<uint64_t> parseSize(std::string_view text);

} // namespace vz::cli
