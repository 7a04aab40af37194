// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/launch_spec.hpp"

#include "ct/beancounters.hpp"

#include "ct/protocol.hpp"

#include <type_traits>

namespace vz::ct {

namespace {

// Each structure is described once, by visit(); the writer and the reader walk the same list.

template<typename Codec, typename Value>
requires std::is_same_v<std::remove_const_t<Value>, IdRange>
void visit(Codec& codec, Value& range) {
    codec("inside", range.inside);
    codec("host", range.host);
    codec("count", range.count);
}

template<typename Codec, typename Value>
requires std::is_same_v<std::remove_const_t<Value>, Mount>
void visit(Codec& codec, Value& mount) {
    codec("kind", mount.kind, Mount::Kind::Block);
    codec("source", mount.source);
    codec("target", mount.target);
    codec("fs-type", mount.fsType);
    codec("read-only", mount.readOnly);
    codec("id-mapped", mount.idMapped);
    codec("size", mount.size);
}

template<typename Codec, typename Value>
requires std::is_same_v<std::remove_const_t<Value>, DeviceNode>
void visit(Codec& codec, Value& device) {
    codec("path", device.path);
    codec("type", device.type);
    codec("major", device.major);
    codec("minor", device.minor);
    codec("mode", device.mode);
    codec("uid", device.uid);
    codec("gid", device.gid);
    codec("hold", device.hold);
}

template<typename Codec, typename Value>
requires std::is_same_v<std::remove_const_t<Value>, ResourceLimit>
void visit(Codec& codec, Value& limit) {
    codec("resource", limit.resource);
    codec("soft", limit.soft);
    codec("hard", limit.hard);
}

template<typename Codec, typename Value>
requires std::is_same_v<std::remove_const_t<Value>, CounterSetting>
void visit(Codec& codec, Value& setting) {
    codec("name", setting.name);
    codec("barrier", setting.barrier);
    codec("limit", setting.limit);
}

template<typename Codec, typename Value>
requires std::is_same_v<std::remove_const_t<Value>, CounterLimits>
void visit(Codec& codec, Value& limits) {
    codec("limit", limits.rlimits);
    codec("max-ptys", limits.maxPtys);
    codec("shared-mem-pages", limits.sharedMemPages);
    codec("oom-score-adj", limits.oomScoreAdj);
    codec("counter", limits.set);
}

template<typename Codec, typename Value>
requires std::is_same_v<std::remove_const_t<Value>, ConsoleSpec>
void visit(Codec& codec, Value& console) {
    codec("log-file", console.logFile);
    codec("log-append", console.logAppend);
}

template<typename Codec, typename Value>
requires std::is_same_v<std::remove_const_t<Value>, LaunchSpec>
void visit(Codec& codec, Value& spec) {
    codec("name", spec.name);
    codec("uuid", spec.uuid);
    codec("run-dir", spec.runDir);
    codec("argv", spec.argv);
    codec("environment", spec.environment);
    codec("working-dir", spec.workingDir);
    codec("init-uid", spec.initUid);
    codec("init-gid", spec.initGid);
    codec("hostname", spec.hostname);
    codec("write-hostname", spec.writeHostname);
    codec("nameserver", spec.nameservers);
    codec("search-domain", spec.searchDomains);
    codec("root", spec.root);
    codec("mount", spec.mounts);
    codec("dev-size", spec.devSize);
    codec("max-ptys", spec.maxPtys);
    codec("device", spec.devices);
    codec("masked-path", spec.maskedPaths);
    codec("read-only-path", spec.readOnlyPaths);
    codec("uids", spec.uids);
    codec("gids", spec.gids);
    codec("supervisor-cgroup", spec.supervisorCgroups);
    codec("payload-cgroup", spec.payloadCgroups);
    codec("cgroup-view", spec.cgroupView);
    codec("private-network", spec.privateNetwork);
    codec("capabilities", spec.capabilities);
    codec("no-new-privileges", spec.noNewPrivileges);
    codec("seccomp", spec.seccomp);
    codec("apparmor-profile", spec.apparmorProfile);
    codec("limit", spec.limits);
    codec("oom-score-adj", spec.oomScoreAdj);
    codec("shared-mem-pages", spec.sharedMemPages);
    codec("counter", spec.counters);
    codec("console", spec.consoles);
    codec("on-poweroff", spec.onPoweroff, EndAction::Preserve);
    codec("on-reboot", spec.onReboot, EndAction::Preserve);
    codec("on-crash", spec.onCrash, EndAction::Preserve);
}

class Writer {
public:
    void operator()(std::string_view key, const std::string& value) { record_.add(key, value); }
    template<typename T>
    requires std::is_integral_v<T>
    void operator()(std::string_view key, const T& value) {
        if constexpr (std::is_same_v<T, uint64_t>)
            record_.add(key, std::string_view(cat(value)));
        else
            record_.add(key, static_cast<int64_t>(value));
    }
    template<typename T>
    requires std::is_enum_v<T>
    void operator()(std::string_view key, const T& value, T) { record_.add(key, static_cast<int>(value)); }
    template<typename T>
    void operator()(std::string_view key, const std::optional<T>& value) {
        if (value)
            (*this)(key, *value);
    }
    template<typename T>
    void operator()(std::string_view key, const std::vector<T>& values) {
        for (const auto& value : values)
            (*this)(key, value);
    }
    template<typename T>
    requires std::is_class_v<T>
    void operator()(std::string_view key, const T& part) { record_.add(key, std::string_view(encode(part))); }

    template<typename T>
    static std::string encode(const T& whole) {
        Writer writer;
        visit(writer, whole);
        return writer.record_.encode();
    }

private:
    Record record_;
};

class Reader {
public:
    void operator()(std::string_view key, std::string& value) {
        if (auto text = next(key))
            value = *text;
        else
            wrong(key);
    }
    template<typename T>
    requires std::is_integral_v<T>
    void operator()(std::string_view key, T& value) {
        using Number = std::conditional_t<std::is_same_v<T, bool> || std::is_same_v<T, char>, uint8_t, T>;
        auto text = next(key);
        auto number = text ? parseNumber<Number>(*text) : std::nullopt;
        if (number && (!std::is_same_v<T, bool> || *number <= 1))
            value = static_cast<T>(*number);
        else
            wrong(key);
    }
    template<typename T>
    requires std::is_enum_v<T>
    void operator()(std::string_view key, T& value, T last) {
        auto text = next(key);
        auto number = text ? parseNumber<uint8_t>(*text) : std::nullopt;
        if (number && *number <= static_cast<uint8_t>(last))
            value = static_cast<T>(*number);
        else
            wrong(key);
    }
    template<typename T>
    void operator()(std::string_view key, std::optional<T>& value) {
        if (follows(key))
            (*this)(key, value.emplace());
    }
    template<typename T>
    void operator()(std::string_view key, std::vector<T>& values) {
        while (!error_ && follows(key))
            (*this)(key, values.emplace_back());
    }
    template<typename T>
    requires std::is_class_v<T>
    void operator()(std::string_view key, T& part) {
        auto text = next(key);
        if (!text)
            return wrong(key);
        auto decoded = decode<T>(*text);
        if (decoded)
            part = *std::move(decoded);
        else if (!error_)
            error_ = std::move(decoded).takeError();
    }

    template<typename T>
    static Result<T> decode(std::string_view text) {
        VZ_TRY(auto record, Record::decode(text));
        Reader reader(std::move(record));
        T whole{};
        visit(reader, whole);
        if (reader.error_)
            return *std::move(reader.error_);
        if (reader.at_ != reader.record_.fields().size())
            return fail(ErrorCode::InvalidArg, "the launch description has a field '",
                        reader.record_.fields()[reader.at_].first,
                        "' that this version does not know; restart libvirtd after an upgrade");
        return whole;
    }

private:
    explicit Reader(Record record) : record_(std::move(record)) {}
    bool follows(std::string_view key) const {
        return at_ < record_.fields().size() && record_.fields()[at_].first == key;
    }
    std::optional<std::string_view> next(std::string_view key) {
        if (!follows(key))
            return std::nullopt;
        return record_.fields()[at_++].second;
    }
    void wrong(std::string_view key) {
        if (!error_)
            error_ = fail(ErrorCode::InvalidArg, "the launch description lacks a good value for '", key, "'");
    }

    Record record_;
    size_t at_ = 0;
    std::optional<Error> error_;
};

} // namespace

std::string encode(const LaunchSpec& spec) {
    return Writer::encode(spec);
}
std::string encode(const Mount& mount) {
    return Writer::encode(mount);
}
std::string encode(const DeviceNode& device) {
    return Writer::encode(device);
}
std::string encode(const CounterLimits& limits) {
    return Writer::encode(limits);
}
Result<LaunchSpec> decode(std::string_view text) {
    return Reader::decode<LaunchSpec>(text);
}
Result<Mount> decodeMount(std::string_view text) {
    return Reader::decode<Mount>(text);
}
Result<DeviceNode> decodeDevice(std::string_view text) {
    return Reader::decode<DeviceNode>(text);
}
Result<CounterLimits> decodeCounters(std::string_view text) {
    return Reader::decode<CounterLimits>(text);
}

} // namespace vz::ct
