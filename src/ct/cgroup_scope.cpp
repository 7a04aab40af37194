// SPDX-License-Identifier: LGPL-2.1-or-later
// Under systemd groups are systemd's to make: a delegated scope per container, asked for over D-Bus.
#include "base/file.hpp"
#include "ct/cgroup_internal.hpp"

#include <gio/gio.h>

#include <memory>
#include <thread>

namespace vz::ct::cgroups {

namespace {

struct Unref {
    void operator()(GVariant* value) const { g_variant_unref(value); }
    void operator()(GDBusConnection* bus) const { g_object_unref(bus); }
    void operator()(GError* error) const { g_error_free(error); }
};
using Variant = std::unique_ptr<GVariant, Unref>;
using Bus = std::unique_ptr<GDBusConnection, Unref>;

using Clock = std::chrono::steady_clock;

constexpr int callLimitMs = 20000;
/** How long systemd may take to forget the scope of an earlier run. */
constexpr std::chrono::seconds scopeLimit(5);

Result<Bus> connect() {
    GError* failed = nullptr;
    Bus bus(g_bus_get_sync(G_BUS_TYPE_SYSTEM, nullptr, &failed));
    if (!bus) {
        std::unique_ptr<GError, Unref> error(failed);
        return fail(ErrorCode::OperationFailed, "cannot reach systemd over the system bus: ", error->message);
    }
    g_dbus_connection_set_exit_on_close(bus.get(), false);
    return bus;
}

/** Fails as NoDomain where there is no such unit, and as ResourceBusy where there is one already. */
Result<Variant> call(GDBusConnection* bus, const char* path, const char* interface, const char* method,
                     GVariant* arguments) {
    GError* failed = nullptr;
    Variant answer(g_dbus_connection_call_sync(bus, "org.freedesktop.systemd1", path, interface, method,
                                               arguments, nullptr, G_DBUS_CALL_FLAGS_NONE, callLimitMs,
                                               nullptr, &failed));
    if (answer)
        return answer;
    std::unique_ptr<GError, Unref> error(failed);
    std::unique_ptr<char, void (*)(void*)> name(g_dbus_error_get_remote_error(error.get()), g_free);
    std::string_view kind = name ? name.get() : "";
    auto code = kind == "org.freedesktop.systemd1.NoSuchUnit"   ? ErrorCode::NoDomain
                : kind == "org.freedesktop.systemd1.UnitExists" ? ErrorCode::ResourceBusy
                                                                : ErrorCode::OperationFailed;
    return fail(code, "systemd's ", method, " failed: ", error->message);
}

Result<void> requestScope(GDBusConnection* bus, const std::string& unit, const std::string& slice,
                          const std::string& description, pid_t pid) {
    GVariantBuilder properties;
    g_variant_builder_init(&properties, G_VARIANT_TYPE("a(sv)"));
    auto add = [&](const char* name, GVariant* value) {
        g_variant_builder_add(&properties, "(sv)", name, value);
    };
    auto process = static_cast<guint32>(pid);
    add("Description", g_variant_new_string(description.c_str()));
    add("Slice", g_variant_new_string(slice.c_str()));
    add("PIDs", g_variant_new_fixed_array(G_VARIANT_TYPE_UINT32, &process, 1, sizeof process));
    add("Delegate", g_variant_new_boolean(true));
    // The driver decides how a container ends; systemd only when the host goes down, and then after
    // libvirt-guests.service, which orders itself behind this target, and before libvirtd.
    const char* before = "virt-guest-shutdown.target";
    const char* after = "libvirtd.service";
    add("Before", g_variant_new_strv(&before, 1));
    add("After", g_variant_new_strv(&after, 1));
    add("CollectMode", g_variant_new_string("inactive-or-failed"));
    VZ_TRY(auto job,
           call(bus, "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "StartTransientUnit",
                g_variant_new("(ssa(sv)a(sa(sv)))", unit.c_str(), "fail", &properties, nullptr)));
    (void)job;
    return {};
}

/** The scope is there when the process is in it. */
Result<std::string> waitForGroup(const std::string& unit, pid_t pid) {
    auto end = Clock::now() + std::chrono::milliseconds(callLimitMs);
    auto suffix = "/" + unit;
    do {
        VZ_TRY(auto groups, file::read(cat("/proc/", pid, "/cgroup")));
        for (auto line : lines(groups)) {
            // "0::/machine.slice/x.scope" on cgroup2, "1:name=systemd:/..." elsewhere
            auto parts = split(line, ':');
            bool tracking = parts.size() == 3 && (parts[1].empty() || parts[1] == "name=systemd");
            if (tracking && parts[2].ends_with(suffix))
                return std::string(parts[2]);
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    } while (Clock::now() < end);
    return fail(ErrorCode::OperationTimeout, "systemd did not move the supervisor into ", unit, " within ",
                callLimitMs / 1000, " s");
}

} // namespace

std::string escapeName(std::string_view name) {
    std::string out;
    for (char c : name) {
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                     c == '_' || (c == '.' && !out.empty());
        if (plain) {
            out += c;
            continue;
        }
        constexpr char digits[] = "0123456789abcdef";
        auto byte = static_cast<unsigned char>(c);
        out += cat("\\x", digits[byte >> 4], digits[byte & 15]);
    }
    return out;
}

std::string sliceOf(const std::string& partition) {
    std::string out;
    for (auto part : split(partition, '/')) {
        if (part.empty())
            continue;
        if (part.ends_with(".slice"))
            part.remove_suffix(6);
        out += cat(out.empty() ? "" : "-", part);
    }
    return out.empty() ? "machine.slice" : out + ".slice";
}

Result<std::string> startScope(const std::string& unit, const std::string& slice,
                               const std::string& description, pid_t pid) {
    VZ_TRY(auto bus, connect());
    auto end = Clock::now() + scopeLimit;
    for (;;) {
        auto requested = requestScope(bus.get(), unit, slice, description, pid);
        if (requested)
            return waitForGroup(unit, pid);
        // systemd forgets a scope a moment after its end.
        if (requested.error().code() != ErrorCode::ResourceBusy || Clock::now() > end)
            return std::move(requested).takeError();
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
}

Result<void> protectSlice(const std::string& slice, uint64_t bytes) {
    VZ_TRY(auto bus, connect());
    GVariantBuilder properties;
    g_variant_builder_init(&properties, G_VARIANT_TYPE("a(sv)"));
    g_variant_builder_add(&properties, "(sv)", "MemoryLow", g_variant_new_uint64(bytes));
    VZ_TRY(auto answer,
           call(bus.get(), "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager",
                "SetUnitProperties", g_variant_new("(sba(sv))", slice.c_str(), true, &properties)));
    (void)answer;
    return {};
}

Result<bool> stopScope(const std::string& unit) {
    VZ_TRY(auto bus, connect());
    auto stopped = call(bus.get(), "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager",
                        "StopUnit", g_variant_new("(ss)", unit.c_str(), "replace"));
    if (!stopped && stopped.error().code() != ErrorCode::NoDomain)
        return std::move(stopped).takeError();
    return static_cast<bool>(stopped);
}

} // namespace vz::ct::cgroups
