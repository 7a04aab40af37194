// SPDX-License-Identifier: LGPL-2.1-or-later
// What virsh dominfo tells of a container's settings: those that contradict each other, and those without
// effect.
#include "driver/client_memory.hpp"
#include "driver/io_limits.hpp"
#include "driver/methods.hpp"

namespace vz::driver {

namespace {

/** Limits that are set and that this host cannot hold. */
void addUnheld(const DomainCall& call, const domain::Definition& definition, std::vector<std::string>& out) {
    const auto& set = definition.extension.beancounters;
    auto group = call.domain.cgroup();
    if (set.empty() || !group)
        return;
    bool userNamespace = definition.extension.userNamespace.value_or(true);
    for (const auto& status : ct::counterStatus(set, **group, call.domain.id(), userNamespace)) {
        bool limited = status.set.limit < ct::Beancounter::unlimited;
        bool unheld = status.state >= ct::CounterState::Accounted;
        if (limited && unheld)
            out.push_back(cat("the limit of ", status.info->name, " is not held on this host: it is ",
                              ct::nameOf(status.state),
                              status.mechanism.empty() ? "" : cat(" (", status.mechanism, ")")));
    }
}

} // namespace

Result<int> getMessages(const DomainCall& call, char*** messages, unsigned int flags) {
    VZ_CHECK(allowFlags(flags, VIR_DOMAIN_MESSAGE_DEPRECATION | VIR_DOMAIN_MESSAGE_TAINTING,
                        "virDomainGetMessages"));
    std::vector<std::string> texts;
    // Nothing of a container is deprecated.
    if (!flags || (flags & VIR_DOMAIN_MESSAGE_TAINTING)) {
        auto config = call.domain.current();
        const auto& definition = config.definition();
        texts = ct::counterFindings(definition.extension.beancounters);
        addUnheld(call, definition, texts);
        if (auto disks = call.domain.disks()) {
            auto idle = idleWeights(definition, *disks);
            texts.insert(texts.end(), idle.begin(), idle.end());
        }
    }
    auto** list = allocate<char*>(texts.size() + 1);
    for (size_t i = 0; i < texts.size(); ++i)
        list[i] = copyText(texts[i]);
    *messages = list;
    return static_cast<int>(texts.size());
}

} // namespace vz::driver
