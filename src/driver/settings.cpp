// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/settings.hpp"

#include "base/file.hpp"
#include "base/log.hpp"

#include <algorithm>
#include <cerrno>
#include <map>
#include <type_traits>
#include <variant>
#include <vector>

namespace vz::driver {

namespace {

using Value = std::variant<std::string, int64_t, std::vector<std::string>>;

struct Entry {
    std::string name;
    Value value;
    unsigned line = 0;
};

bool isNameCharacter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/** Reads one file's text from its beginning to its end. */
class Parser {
public:
    Parser(std::string_view text, const std::string& origin) : rest_(text), origin_(origin) {}

    Result<std::vector<Entry>> entries() {
        std::vector<Entry> found;
        for (skip(true); !rest_.empty(); skip(true)) {
            VZ_TRY(auto entry, this->entry());
            found.push_back(std::move(entry));
        }
        return found;
    }

private:
    template<typename... Parts>
    Error wrong(const Parts&... parts) const {
        return fail(ErrorCode::ConfigUnsupported, origin_, ": line ", line_, ": ", parts...);
    }

    bool at(char c) const { return !rest_.empty() && rest_.front() == c; }

    bool accept(char c) {
        if (!at(c))
            return false;
        line_ += c == '\n';
        rest_.remove_prefix(1);
        return true;
    }

    /** The longest beginning whose characters @p wanted accepts. */
    template<typename Wanted>
    std::string_view take(Wanted wanted) {
        auto end = std::find_if_not(rest_.begin(), rest_.end(), wanted);
        auto taken = rest_.substr(0, static_cast<size_t>(end - rest_.begin()));
        rest_.remove_prefix(taken.size());
        return taken;
    }

    /** Passes blanks and comments, and line ends too if @p acrossLines. */
    void skip(bool acrossLines) {
        do {
            take([](char c) { return c == ' ' || c == '\t' || c == '\r'; });
            if (at('#'))
                take([](char c) { return c != '\n'; });
        } while (acrossLines && accept('\n'));
    }

    Result<Entry> entry() {
        Entry entry;
        entry.line = line_;
        entry.name = take(isNameCharacter);
        if (entry.name.empty())
            return wrong("expected the name of a setting");
        skip(false);
        if (!accept('='))
            return wrong("expected '=' after ", entry.name);
        skip(false);
        VZ_TRY(entry.value, value());
        skip(false);
        if (!rest_.empty() && !at('\n'))
            return wrong("unexpected text after the value of ", entry.name);
        return entry;
    }

    Result<Value> value() {
        if (at('[')) {
            VZ_TRY(auto texts, list());
            return Value(std::move(texts));
        }
        if (at('"') || at('\'')) {
            VZ_TRY(auto content, text());
            return Value(std::move(content));
        }
        auto digits = take([](char c) { return isNameCharacter(c) || c == '-' || c == '.'; });
        if (auto number = parseNumber<int64_t>(digits))
            return Value(*number);
        return wrong("expected \"text\", a number or a list [\"text\", ...]");
    }

    Result<std::string> text() {
        char quote = rest_.front();
        rest_.remove_prefix(1);
        std::string content(take([quote](char c) { return c != quote && c != '\n'; }));
        if (!accept(quote))
            return wrong("the text has no closing ", quote);
        return content;
    }

    Result<std::vector<std::string>> list() {
        std::vector<std::string> texts;
        accept('[');
        for (skip(true); !at(']'); skip(true)) {
            if (!at('"') && !at('\''))
                return wrong("expected \"text\" or ] in the list");
            VZ_TRY(auto content, text());
            texts.push_back(std::move(content));
            skip(true);
            if (!accept(',') && !at(']'))
                return wrong("expected , or ] in the list");
        }
        accept(']');
        return texts;
    }

    std::string_view rest_;
    const std::string& origin_;
    unsigned line_ = 1;
};

/** Puts a value of the right kind into its place; what is wrong with it else. */
using Problem = std::string; // empty: none
using Setter = Problem (*)(Settings&, const Value&);

/** A path that says plainly where it leads: "/a/b", without empty parts, "." and "..". */
bool isPlainPath(std::string_view path) {
    if (path.size() < 2 || path.front() != '/')
        return false;
    auto parts = split(path.substr(1), '/');
    return std::none_of(parts.begin(), parts.end(),
                        [](auto part) { return part.empty() || part == "." || part == ".."; });
}

template<std::string Settings::*Member>
Problem setPath(Settings& settings, const Value& value) {
    const auto* path = std::get_if<std::string>(&value);
    if (!path || !isPlainPath(*path))
        return "must be an absolute path in quotes, without '//', '.', '..' and a '/' at its end";
    settings.*Member = *path;
    return {};
}

template<auto Member, int64_t Least, int64_t Most>
Problem setNumber(Settings& settings, const Value& value) {
    const auto* number = std::get_if<int64_t>(&value);
    if (!number || *number < Least || *number > Most)
        return cat("must be a number from ", Least, " to ", Most);
    settings.*Member = static_cast<std::remove_reference_t<decltype(settings.*Member)>>(*number);
    return {};
}

template<bool Settings::*Member>
Problem setFlag(Settings& settings, const Value& value) {
    const auto* number = std::get_if<int64_t>(&value);
    if (!number || (*number != 0 && *number != 1))
        return "must be 0 or 1";
    settings.*Member = *number == 1;
    return {};
}

/** A libvirt URI of this host, or nothing. Remote ones would put the machines on another host than the
 * containers: paths, devices and networks of one list would be those of two. */
Problem setLocalUri(Settings& settings, const Value& value) {
    const auto* uri = std::get_if<std::string>(&value);
    bool local =
        uri && (uri->empty() || (uri->starts_with("qemu") && uri->find(":///") != std::string::npos));
    if (!local)
        return "must be the URI of QEMU's driver on this host in quotes, as \"qemu:///system\", or \"\" for "
               "none";
    settings.qemuUri = *uri;
    return {};
}

Problem setAccelerator(Settings& settings, const Value& value) {
    constexpr std::pair<std::string_view, vm::AcceleratorWish> names[] = {{"auto", vm::AcceleratorWish::Auto},
                                                                          {"kvm", vm::AcceleratorWish::Kvm},
                                                                          {"tcg", vm::AcceleratorWish::Tcg}};
    const auto* wanted = std::get_if<std::string>(&value);
    for (const auto& [name, wish] : names) {
        if (wanted && *wanted == name) {
            settings.vmAccelerator = wish;
            return {};
        }
    }
    return "must be \"auto\", \"kvm\" or \"tcg\"";
}

/** Ids 0...65535 are the host's own accounts, and 2^32 - 1 is no id at all. */
constexpr int64_t leastId = 65536, mostId = UINT32_MAX;
constexpr int64_t longest = 86400; // seconds; a longer wait is a typing mistake

struct Known {
    std::string_view name;
    Setter set;
};

constexpr Known known[] = {
    {"supervisor", setPath<&Settings::supervisor>},
    {"cgroup_partition", setPath<&Settings::cgroupPartition>},
    {"id_range_first", setNumber<&Settings::idRangeFirst, leastId, mostId>},
    {"id_range_last", setNumber<&Settings::idRangeLast, leastId, mostId>},
    {"config_dir", setPath<&Settings::configDir>},
    {"run_dir", setPath<&Settings::runDir>},
    {"lib_dir", setPath<&Settings::libDir>},
    {"log_dir", setPath<&Settings::logDir>},
    {"start_timeout", setNumber<&Settings::startTimeoutSeconds, 1, longest>},
    {"job_timeout", setNumber<&Settings::jobTimeoutSeconds, 1, longest>},
    {"shutdown_timeout", setNumber<&Settings::shutdownTimeoutSeconds, 1, longest>},
    {"autostart", setFlag<&Settings::autostart>},
    {"auto_guarantee_containers", setNumber<&Settings::autoGuaranteeContainers, 0, 100>},
    {"auto_guarantee_machines", setNumber<&Settings::autoGuaranteeMachines, 0, 100>},
    {"qemu_uri", setLocalUri},
    {"show_foreign_machines", setFlag<&Settings::showForeignMachines>},
    {"vm_accelerator", setAccelerator},
    {"kvm_probe", setPath<&Settings::kvmProbe>},
};

Result<void> checkTogether(const Settings& settings, const std::string& origin) {
    constexpr uint32_t perContainer = 65536;
    if (settings.idRangeLast <= settings.idRangeFirst ||
        settings.idRangeLast - settings.idRangeFirst < perContainer)
        return fail(ErrorCode::ConfigUnsupported, origin, ": id_range_last (", settings.idRangeLast,
                    ") must be at least ", perContainer, " above id_range_first (", settings.idRangeFirst,
                    "): that many ids are one container's");
    return {};
}

} // namespace

std::string Settings::defaultSupervisor() {
    return VZ_HELPER_DIR "/vz-supervisor";
}

std::string Settings::defaultKvmProbe() {
    return VZ_HELPER_DIR "/vz-kvm-probe";
}

Result<Settings> Settings::parse(std::string_view text, const std::string& origin) {
    VZ_TRY(auto entries, Parser(text, origin).entries());
    Settings settings;
    std::map<std::string_view, unsigned> lines;
    for (const auto& entry : entries) {
        if (auto [first, isFirst] = lines.emplace(entry.name, entry.line); !isFirst)
            return fail(ErrorCode::ConfigUnsupported, origin, ": line ", entry.line, ": ", entry.name,
                        " was set in line ", first->second, " already");
        const auto* setting = std::find_if(std::begin(known), std::end(known),
                                           [&](const Known& one) { return one.name == entry.name; });
        if (setting == std::end(known)) {
            log::warning(origin, ": line ", entry.line, ": there is no setting ", entry.name,
                         "; it is ignored");
            continue;
        }
        if (auto problem = setting->set(settings, entry.value); !problem.empty())
            return fail(ErrorCode::ConfigUnsupported, origin, ": line ", entry.line, ": ", entry.name, " ",
                        problem);
    }
    VZ_CHECK(checkTogether(settings, origin));
    return settings;
}

std::vector<std::string_view> Settings::names() {
    std::vector<std::string_view> all;
    for (const auto& setting : known)
        all.push_back(setting.name);
    return all;
}

Result<Settings> Settings::load(const std::string& path) {
    auto text = file::read(path, 1u << 20);
    if (text)
        return parse(*text, path);
    if (text.error().systemError() == ENOENT)
        return Settings();
    return std::move(text).takeError();
}

} // namespace vz::driver
