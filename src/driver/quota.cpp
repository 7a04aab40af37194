// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/quota.hpp"

#include "ct/disk_quota.hpp"

#include <algorithm>

namespace vz::driver {

namespace {

bool isFolder(const domain::Filesystem& filesystem) {
    using Type = domain::Filesystem::Type;
    return filesystem.type == Type::Mount || filesystem.type == Type::Bind;
}

} // namespace

Result<void> setQuota(const domain::Definition& definition, const std::vector<ct::IdRange>& uids) {
    const auto* root = definition.root();
    const auto& quota = definition.extension.quota;
    bool folder = root && isFolder(*root);
    if (!quota) {
        // One that was there earlier is still known to the file system.
        if (folder && !uids.empty() && ct::projectOf(root->source) == uids.front().host)
            return ct::setProjectQuota(root->source, uids.front().host, {});
        return {};
    }
    if (!folder)
        return fail(ErrorCode::ConfigUnsupported, "<vz:quota> of '", definition.name,
                    "' is for a root that is a folder: this one is an image, whose size is the limit");
    if (uids.empty())
        return fail(ErrorCode::ConfigUnsupported, "<vz:quota> of '", definition.name,
                    "' cannot hold: root of a container without a user namespace takes its files out of it");
    VZ_CHECK(ct::checkProjectQuota(root->source));
    auto project = uids.front().host;
    auto soft = [](const auto& amount) {
        return amount.hard ? std::min(amount.soft, amount.hard) : amount.soft;
    };
    ct::QuotaLimits limits{.softBytes = soft(quota->space),
                           .hardBytes = quota->space.hard,
                           .softInodes = soft(quota->inodes),
                           .hardInodes = quota->inodes.hard};
    VZ_CHECK(ct::markProject(root->source, project));
    return ct::setProjectQuota(root->source, project, limits);
}

} // namespace vz::driver
