// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/names.hpp"

#include <algorithm>

namespace vz::driver {

Names::Claim::Claim(Claim&& other) noexcept
    : names_(std::exchange(other.names_, nullptr)), held_(std::move(other.held_)) {}

Names::Claim::~Claim() {
    if (!names_)
        return;
    {
        std::lock_guard lock(names_->mutex_);
        for (const auto& one : held_)
            names_->held_.erase(one);
    }
    names_->released_.notify_all();
}

bool Names::free(const std::set<std::string>& wanted) const {
    return std::ranges::none_of(wanted, [&](const auto& one) { return held_.contains(one); });
}

Result<Names::Claim> Names::claim(const std::string& name, const std::string& uuid,
                                  std::chrono::seconds limit) {
    // A name may look like a UUID.
    std::set<std::string> wanted{cat("name ", name), cat("uuid ", uuid)};
    if (name.empty())
        wanted.erase("name ");
    if (uuid.empty())
        wanted.erase("uuid ");
    std::unique_lock lock(mutex_);
    if (!released_.wait_for(lock, limit, [&] { return free(wanted); }))
        return fail(ErrorCode::OperationTimeout, "another call makes a domain of the name '", name,
                    "' or the uuid ", uuid, " and was not done within ", limit.count(), " s");
    held_.insert(wanted.begin(), wanted.end());
    return Claim(*this, std::move(wanted));
}

} // namespace vz::driver
