// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/file.hpp"

#include <cstdlib>
#include <stdexcept>

namespace vz::test {

/** A folder for one test case, removed at its end. */
class TemporaryDir {
public:
    TemporaryDir() {
        std::string name = "/tmp/vz-unit.XXXXXX";
        if (!::mkdtemp(name.data()))
            throw std::runtime_error("cannot make a temporary folder");
        path_ = name;
    }
    ~TemporaryDir() { (void)file::removeTree(path_); }
    TemporaryDir(const TemporaryDir&) = delete;
    TemporaryDir& operator=(const TemporaryDir&) = delete;

    const std::string& path() const { return path_; }
    std::string operator/(std::string_view name) const { return cat(path_, "/", name); }

private:
    std::string path_;
};

} // namespace vz::test
