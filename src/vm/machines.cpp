// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vm/machines.hpp"

#include "libvirt/driver_table.hpp"
#include "libvirt/features.hpp"
#include "libvirt/objects.hpp"
#include "vm/xml.hpp"

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace vz::vm {

namespace {

constexpr std::chrono::seconds kRetryAfter{2};

/** True for the URI of a driver in this process: "qemu:///system". */
bool isLocal(std::string_view uri) {
    return uri.substr(0, uri.find(':')).find('+') == std::string_view::npos;
}

/** All machines of QEMU's driver. */
Result<std::vector<abi::DomainHandle>> listAll(const abi::InnerConnection& inner, unsigned int flags) {
    virDomainPtr* list = nullptr;
    int count = ::virConnectListAllDomains(inner.get(), &list, flags);
    if (count < 0)
        return abi::lastError("the virtual machines cannot be listed");
    std::vector<abi::DomainHandle> machines(list, list + count);
    std::free(list);
    return machines;
}

std::string uuidOf(virDomainPtr machine) {
    auto text = abi::uuidText(abi::domainKey(machine).uuid);
    return text ? *text : std::string();
}

} // namespace

Result<std::shared_ptr<abi::InnerConnection>> Machines::open(virConnectPtr outer) {
    if (settings_.uri.empty())
        return fail(ErrorCode::NoSupport, "this host has no virtual machines: qemu_uri is empty in vz.conf");
    {
        std::lock_guard lock(mutex_);
        if (failure_ && (absent_ || std::chrono::steady_clock::now() < retry_))
            return *failure_;
    }
    auto opened = abi::InnerConnection::open(settings_.uri, outer);
    std::lock_guard lock(mutex_);
    if (opened) {
        failure_.reset();
        return opened;
    }
    auto error = std::move(opened).takeError().within("virtual machines are out of reach");
    if (error.code() == ErrorCode::AccessDenied)
        return error; // of this client, not of all
    // A driver that this daemon does not have does not come later; a daemon that is away may.
    absent_ = error.code() == ErrorCode::NoConnect && isLocal(settings_.uri);
    if (absent_)
        error = Error(ErrorCode::NoSupport, error.message());
    retry_ = std::chrono::steady_clock::now() + kRetryAfter;
    failure_ = error;
    return error;
}

Result<std::shared_ptr<abi::InnerConnection>> Machines::connection(virConnectPtr outer) {
    std::shared_ptr<abi::InnerConnection> found;
    {
        std::lock_guard lock(mutex_);
        if (auto at = connections_.find(outer); at != connections_.end())
            found = at->second;
    }
    if (found && found->alive())
        return found;
    VZ_TRY(auto opened, open(outer));
    std::lock_guard lock(mutex_);
    // Another thread of the same client may have been quicker; then all use the one it made.
    auto& slot = connections_[outer];
    if (slot == found)
        slot = std::move(opened);
    return slot;
}

bool Machines::absent() const {
    std::lock_guard lock(mutex_);
    return settings_.uri.empty() || absent_;
}

std::shared_ptr<abi::InnerConnection> Machines::liveOwn() const {
    std::shared_ptr<abi::InnerConnection> found;
    {
        std::lock_guard lock(mutex_);
        found = own_;
    }
    return found && found->alive() ? found : nullptr;
}

Result<std::shared_ptr<abi::InnerConnection>> Machines::own() {
    if (auto found = liveOwn())
        return found;
    std::lock_guard lock(mutex_);
    return failure_ ? *failure_ : fail(ErrorCode::NoConnect, "virtual machines are out of reach");
}

bool Machines::ownAlive() const {
    return liveOwn() != nullptr;
}

bool Machines::ensureOwn(virConnectPtr outer) {
    if (ownAlive())
        return false;
    abi::AsDaemon asDaemon;
    auto opened = open(outer);
    std::shared_ptr<abi::InnerConnection> before; // closed without the lock
    std::lock_guard lock(mutex_);
    before = std::exchange(own_, opened ? *opened : nullptr);
    if (own_)
        known_.clear();
    return own_ != nullptr;
}

void Machines::dropOwn() {
    std::shared_ptr<abi::InnerConnection> before;
    std::lock_guard lock(mutex_);
    before = std::exchange(own_, nullptr);
}

std::shared_ptr<abi::InnerConnection> Machines::disconnected(virConnectPtr outer) {
    std::lock_guard lock(mutex_);
    auto found = connections_.extract(outer);
    return found ? std::move(found.mapped()) : nullptr;
}

Result<std::vector<abi::DomainHandle>> Machines::find(const abi::InnerConnection& inner,
                                                      const std::string& name, const std::string& uuid) {
    abi::AsDaemon asDaemon; // a name is taken, whether the client may see by whom or not
    // Looking one up that is not there would leave an error in the daemon's log.
    VZ_TRY(auto machines, listAll(inner, 0));
    auto named = [&](auto& machine) { return ::virDomainGetName(machine.get()) == name; };
    std::erase_if(machines, [&](auto& machine) { return !named(machine) && uuidOf(machine.get()) != uuid; });
    std::ranges::partition(machines, named);
    return machines;
}

Result<std::vector<abi::DomainHandle>> Machines::list(const abi::InnerConnection& inner, unsigned int flags) {
    VZ_TRY(auto machines, listAll(inner, flags));
    std::erase_if(machines, [&](auto& machine) { return !visible(machine.get()); });
    return machines;
}

std::optional<Machines::Known> Machines::ask(virDomainPtr machine) {
    abi::AsDaemon asDaemon;
    auto xml = abi::takeText(::virDomainGetXMLDesc(machine, 0), "the machine cannot be read");
    if (!xml)
        return {};
    bool ours = !markedType(*xml).empty();
    return Known{ours, ::virDomainIsPersistent(machine) == 1};
}

std::optional<Machines::Known> Machines::known(const std::string& uuid) const {
    std::lock_guard lock(mutex_);
    auto at = known_.find(uuid);
    return at == known_.end() ? std::nullopt : std::optional(at->second);
}

bool Machines::shows(const std::optional<Known>& known) const {
    return known && (known->ours || settings_.showForeign);
}

bool Machines::visible(virDomainPtr machine) {
    auto uuid = uuidOf(machine);
    if (auto before = known(uuid))
        return shows(before);
    auto now = ask(machine);
    if (now) {
        std::lock_guard lock(mutex_);
        known_.emplace(uuid, *now);
    }
    return shows(now);
}

void Machines::made(const std::string& uuid) {
    std::lock_guard lock(mutex_);
    known_[uuid] = {.ours = true, .persistent = true};
}

void Machines::forget(const std::string& uuid) {
    std::lock_guard lock(mutex_);
    known_.erase(uuid);
}

bool Machines::noteEvent(virDomainPtr machine, int lifecycleType, int detail) {
    auto uuid = uuidOf(machine);
    // Whoever defines or starts it may have set or taken our mark.
    bool asksAgain = lifecycleType == VIR_DOMAIN_EVENT_DEFINED || lifecycleType == VIR_DOMAIN_EVENT_STARTED;
    auto before = known(uuid);
    auto now = asksAgain || !before ? ask(machine) : before;
    if (!now)
        now = before; // it is gone again already, and was what it was
    bool removed =
        lifecycleType == VIR_DOMAIN_EVENT_UNDEFINED && detail == VIR_DOMAIN_EVENT_UNDEFINED_REMOVED;
    if (now && removed)
        now->persistent = false;
    bool gone = now && !now->persistent &&
                (lifecycleType == VIR_DOMAIN_EVENT_STOPPED ||
                 (removed && ::virDomainGetID(machine) == static_cast<unsigned int>(-1)));
    std::lock_guard lock(mutex_);
    if (gone)
        known_.erase(uuid);
    else if (now)
        known_[uuid] = *now;
    return shows(now);
}

} // namespace vz::vm
