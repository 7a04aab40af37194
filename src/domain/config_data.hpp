// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "domain/config.hpp"

namespace vz::domain {

/** What a Config holds. */
struct Config::Data {
    Definition definition;
    std::shared_ptr<const abi::DomainDef> def;
    std::string xml; ///< complete, with secrets
    std::string extension;
    bool live = false;
};

} // namespace vz::domain
