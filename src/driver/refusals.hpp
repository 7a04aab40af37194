// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <string_view>

namespace vz::driver {

/** Why containers do not have a call; generated from api_support.tsv. */
struct Refusal {
    std::string_view slot;
    std::string_view api; ///< the public API behind the slot
    std::string_view reason;
};

/** The row of @p slot; one without a reason for a slot that has none. */
Refusal refusalOf(std::string_view slot);

} // namespace vz::driver
