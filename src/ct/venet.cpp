// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/venet.hpp"

#include "base/file.hpp"
#include "base/log.hpp"
#include "ct/namespace_thread.hpp"
#include "ct/packet_guard.hpp"
#include "ct/rtnl.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <map>
#include <net/if.h>
#include <optional>
#include <set>

namespace vz::ct {

namespace {

/** Who made a route or a neighbour; one of the numbers that the kernel leaves to users. */
constexpr uint8_t ownProtocol = 0x76;

/** An IPv4 or IPv6 address. */
struct Ip {
    uint8_t family = AF_INET;
    std::array<uint8_t, 16> bytes{};

    size_t size() const { return family == AF_INET ? 4 : 16; }
    uint8_t bits() const { return static_cast<uint8_t>(size() * 8); }
    auto operator<=>(const Ip&) const = default;
    std::string text() const {
        char out[INET6_ADDRSTRLEN] = "";
        ::inet_ntop(family, bytes.data(), out, sizeof out);
        return out;
    }
    bool inside(const Ip& net, unsigned prefix) const {
        if (family != net.family)
            return false;
        for (unsigned bit = 0; bit < prefix; ++bit) {
            auto mask = static_cast<uint8_t>(0x80 >> (bit % 8));
            if ((bytes[bit / 8] & mask) != (net.bytes[bit / 8] & mask))
                return false;
        }
        return true;
    }
};

Result<Ip> parseIp(const std::string& text) {
    Ip ip;
    ip.family = text.find(':') == std::string::npos ? AF_INET : AF_INET6;
    if (::inet_pton(ip.family, text.c_str(), ip.bytes.data()) != 1)
        return fail(ErrorCode::ConfigUnsupported, "'", text, "' is not an IP address");
    uint8_t first = ip.bytes[0];
    bool linkLocal = ip.family == AF_INET6 && first == 0xfe && (ip.bytes[1] & 0xc0) == 0x80;
    bool reserved = ip.family == AF_INET6 && first == 0; // ::, ::1, ::ffff:10.0.0.1
    bool special = ip.family == AF_INET ? first == 0 || first == 127 || first >= 224 : first == 0xff;
    if (special || linkLocal || reserved)
        return fail(ErrorCode::ConfigUnsupported, "'", text,
                    "' is not an address that can be routed to a host");
    return ip;
}

Ip ipOf(uint8_t family, std::span<const char> bytes) {
    Ip ip;
    ip.family = family;
    std::copy_n(bytes.begin(), std::min(bytes.size(), ip.size()), ip.bytes.begin());
    return ip;
}

bool contains(const std::vector<Ip>& ips, const Ip& ip) {
    return std::find(ips.begin(), ips.end(), ip) != ips.end();
}

/** The routes of our making: address and interface. */
Result<std::set<std::pair<Ip, int>>> ownRoutes(RtSocket& socket) {
    std::set<std::pair<Ip, int>> routes;
    for (uint8_t family : {AF_INET, AF_INET6}) {
        rtmsg header{};
        header.rtm_family = family;
        RtMessage message(RTM_GETROUTE, NLM_F_DUMP, header);
        VZ_TRY(auto answer, socket.get<rtmsg>(message, [&](const rtmsg& route, const RtAttributes& found) {
            if (route.rtm_protocol == ownProtocol)
                routes.emplace(ipOf(family, found.bytes(RTA_DST)), found.value<int>(RTA_OIF));
        }));
        if (!answer)
            return failErrno(answer.error, "cannot list routes");
    }
    return routes;
}

RtMessage routeMessage(uint16_t type, unsigned flags, const Ip& ip, uint8_t prefix, int index) {
    rtmsg header{};
    header.rtm_family = ip.family;
    header.rtm_dst_len = prefix;
    header.rtm_table = RT_TABLE_MAIN;
    header.rtm_protocol = ownProtocol;
    header.rtm_scope = ip.family == AF_INET ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
    header.rtm_type = RTN_UNICAST;
    RtMessage message(type, flags, header);
    if (prefix)
        message.put(RTA_DST, ip.bytes.data(), ip.size());
    message.put(RTA_OIF, index);
    return message;
}

/** What the kernel would do with a packet to @p ip now. */
Result<uint8_t> routeType(RtSocket& socket, const Ip& ip) {
    rtmsg header{};
    header.rtm_family = ip.family;
    header.rtm_dst_len = ip.bits();
    RtMessage message(RTM_GETROUTE, 0, header);
    message.put(RTA_DST, ip.bytes.data(), ip.size());
    uint8_t type = RTN_UNSPEC;
    VZ_CHECK(socket.get<rtmsg>(message, [&](const rtmsg& route, const auto&) { type = route.rtm_type; }));
    return type;
}

Result<void> addHostRoute(RtSocket& socket, const Ip& ip, int index) {
    VZ_TRY(auto type, routeType(socket, ip));
    if (type == RTN_LOCAL)
        return fail(ErrorCode::ResourceBusy, "the address ", ip.text(), " is one of this host's own");
    if (type == RTN_BROADCAST)
        return fail(ErrorCode::ConfigUnsupported, ip.text(), " is the broadcast address of a network");
    auto message = routeMessage(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, ip, ip.bits(), index);
    VZ_TRY(auto added, socket.ask(message));
    if (added.error == EEXIST)
        return fail(ErrorCode::ResourceBusy, "the address ", ip.text(),
                    " is in use: this host has a route to it already");
    if (!added)
        return failErrno(added.error, "cannot add a route to ", ip.text());
    return {};
}

Result<void> askLeniently(RtSocket& socket, RtMessage& message, std::initializer_list<int> fine,
                          const std::string& what) {
    VZ_TRY(auto answer, socket.ask(message));
    if (answer || std::find(fine.begin(), fine.end(), answer.error) != fine.end())
        return {};
    return failErrno(answer.error, what);
}

RtMessage proxyMessage(uint16_t type, unsigned flags, const Ip& ip, int link) {
    ndmsg header{};
    header.ndm_family = ip.family;
    header.ndm_ifindex = link;
    header.ndm_flags = NTF_PROXY;
    header.ndm_state = NUD_PERMANENT;
    RtMessage message(type, flags, header);
    message.put(NDA_DST, ip.bytes.data(), ip.size());
    message.put(NDA_PROTOCOL, ownProtocol);
    return message;
}

using Proxies = std::set<std::pair<Ip, int>>;

Result<Proxies> ownProxies(RtSocket& socket) {
    Proxies proxies;
    for (uint8_t family : {AF_INET, AF_INET6}) {
        ndmsg header{};
        header.ndm_family = family;
        header.ndm_flags = NTF_PROXY;
        RtMessage message(RTM_GETNEIGH, NLM_F_DUMP, header);
        VZ_TRY(auto answer, socket.get<ndmsg>(message, [&](const ndmsg& entry, const RtAttributes& found) {
            if ((entry.ndm_flags & NTF_PROXY) && found.value<uint8_t>(NDA_PROTOCOL) == ownProtocol)
                proxies.emplace(ipOf(family, found.bytes(NDA_DST)), entry.ndm_ifindex);
        }));
        if (!answer)
            return failErrno(answer.error, "cannot list the addresses that the host answers for");
    }
    return proxies;
}

/** The host's addresses and default routes: where neighbours would ask for an address. */
struct Outside {
    struct Net {
        Ip ip;
        unsigned prefix;
        int link;
    };
    std::vector<Net> nets;
    std::set<std::pair<uint8_t, int>> defaultLinks;

    std::set<int> linksFor(const Ip& ip) const {
        std::set<int> links;
        for (const auto& net : nets)
            if (ip.inside(net.ip, net.prefix))
                links.insert(net.link);
        if (!links.empty())
            return links;
        for (auto [family, link] : defaultLinks)
            if (family == ip.family)
                links.insert(link);
        return links;
    }
};

Result<Outside> lookOutside(RtSocket& socket) {
    Outside outside;
    RtMessage addresses(RTM_GETADDR, NLM_F_DUMP, ifaddrmsg{});
    VZ_TRY(auto listed,
           socket.get<ifaddrmsg>(addresses, [&](const ifaddrmsg& one, const RtAttributes& found) {
               bool known = one.ifa_family == AF_INET || one.ifa_family == AF_INET6;
               if (known && one.ifa_scope < RT_SCOPE_LINK)
                   outside.nets.push_back({ipOf(one.ifa_family, found.bytes(IFA_ADDRESS)), one.ifa_prefixlen,
                                           static_cast<int>(one.ifa_index)});
           }));
    for (uint8_t family : {AF_INET, AF_INET6}) {
        rtmsg header{};
        header.rtm_family = family;
        RtMessage routes(RTM_GETROUTE, NLM_F_DUMP, header);
        VZ_TRY(listed, socket.get<rtmsg>(routes, [&](const rtmsg& route, const RtAttributes& found) {
            if (route.rtm_dst_len == 0 && route.rtm_table == RT_TABLE_MAIN && route.rtm_type == RTN_UNICAST &&
                found.has(RTA_OIF))
                outside.defaultLinks.emplace(family, found.value<int>(RTA_OIF));
        }));
    }
    if (!listed)
        return failErrno(listed.error, "cannot list the host's addresses");
    return outside;
}

Result<void> setSysctl(const std::string& path, const char* value) {
    auto full = cat("/proc/sys/net/", path);
    // Without IPv6 the host has none of its files.
    if (!file::exists(full))
        return {};
    return file::writeValue(full, value);
}

/** The host's side of the link: it forwards, and believes only what its routes say. */
Result<void> setHostRules(const std::string& name) {
    const std::pair<const char*, const char*> rules[] = {
        {"ipv4/conf/", "forwarding=1"},       {"ipv4/conf/", "rp_filter=1"},
        {"ipv4/conf/", "accept_redirects=0"}, {"ipv4/conf/", "send_redirects=0"},
        {"ipv6/conf/", "accept_ra=0"},        {"ipv6/conf/", "accept_redirects=0"}};
    for (auto [folder, rule] : rules) {
        std::string_view text = rule;
        auto equals = text.find('=');
        VZ_CHECK(setSysctl(cat(folder, name, "/", text.substr(0, equals)), rule + equals + 1));
    }
    return {};
}

struct LinkFacts {
    int index = 0;
    std::array<char, 6> mac{};
};

Result<LinkFacts> linkNamed(RtSocket& socket, const std::string& name) {
    RtMessage message(RTM_GETLINK, 0, ifinfomsg{});
    message.text(IFLA_IFNAME, name);
    LinkFacts facts;
    VZ_CHECK(socket.get<ifinfomsg>(message, [&](const ifinfomsg& link, const RtAttributes& found) {
        facts = {link.ifi_index, found.value<std::array<char, 6>>(IFLA_ADDRESS)};
    }));
    if (!facts.index)
        return fail(ErrorCode::DeviceMissing, "there is no network interface ", name);
    return facts;
}

/** One hardware address for both ends, no questions about addresses, and no address by itself. */
Result<void> setLink(RtSocket& socket, int index, const std::array<char, 6>& mac, const std::string& name) {
    ifinfomsg header{};
    header.ifi_index = index;
    header.ifi_flags = IFF_NOARP | IFF_UP;
    header.ifi_change = IFF_NOARP | IFF_UP;
    RtMessage message(RTM_NEWLINK, 0, header);
    message.put(IFLA_ADDRESS, mac);
    if (file::exists("/proc/sys/net/ipv6")) {
        auto families = message.begin(IFLA_AF_SPEC);
        auto v6 = message.begin(AF_INET6);
        message.put(IFLA_INET6_ADDR_GEN_MODE, static_cast<uint8_t>(IN6_ADDR_GEN_MODE_NONE));
        message.end(v6);
        message.end(families);
    }
    return socket.request(message, cat("cannot make ", name, " a routed link"));
}

RtMessage addressMessage(uint16_t type, unsigned flags, const Ip& ip, uint8_t prefix, int index) {
    ifaddrmsg header{};
    header.ifa_family = ip.family;
    header.ifa_prefixlen = prefix;
    header.ifa_index = static_cast<uint32_t>(index);
    header.ifa_flags = ip.family == AF_INET6 ? IFA_F_NODAD : 0;
    RtMessage message(type, flags, header);
    message.put(IFA_LOCAL, ip.bytes.data(), ip.size()).put(IFA_ADDRESS, ip.bytes.data(), ip.size());
    return message;
}

Result<std::map<Ip, uint8_t>> addressesOf(RtSocket& socket, int index) {
    std::map<Ip, uint8_t> present; // with the prefix
    RtMessage message(RTM_GETADDR, NLM_F_DUMP, ifaddrmsg{});
    VZ_TRY(auto answer, socket.get<ifaddrmsg>(message, [&](const ifaddrmsg& one, const RtAttributes& found) {
        if (one.ifa_index == static_cast<uint32_t>(index) &&
            (one.ifa_family == AF_INET || one.ifa_family == AF_INET6))
            present.emplace(ipOf(one.ifa_family, found.bytes(IFA_ADDRESS)), one.ifa_prefixlen);
    }));
    if (!answer)
        return failErrno(answer.error, "cannot list addresses");
    return present;
}

/** The address that packets by the default route of an interface leave with; none: there is no such route. */
Result<std::optional<Ip>> defaultSource(RtSocket& socket, int index, uint8_t family) {
    std::optional<Ip> source;
    rtmsg header{};
    header.rtm_family = family;
    RtMessage message(RTM_GETROUTE, NLM_F_DUMP, header);
    VZ_TRY(auto answer, socket.get<rtmsg>(message, [&](const rtmsg& route, const RtAttributes& found) {
        if (route.rtm_dst_len == 0 && route.rtm_table == RT_TABLE_MAIN && route.rtm_type == RTN_UNICAST &&
            found.value<int>(RTA_OIF) == index)
            source = ipOf(family, found.bytes(RTA_PREFSRC));
    }));
    if (!answer)
        return failErrno(answer.error, "cannot list routes");
    return source;
}

/** By default it speaks from the first of its addresses. Another default route of the container's stays. */
Result<void> setDefaultRoute(RtSocket& socket, int index, uint8_t family, const std::vector<Ip>& ips) {
    auto first = std::find_if(ips.begin(), ips.end(), [&](const Ip& ip) { return ip.family == family; });
    VZ_TRY(auto present, defaultSource(socket, index, family));
    if (first != ips.end() && present == *first)
        return {};
    Ip any;
    any.family = family;
    if (present) {
        auto message = routeMessage(RTM_DELROUTE, 0, any, 0, index);
        VZ_CHECK(askLeniently(socket, message, {ESRCH}, "cannot remove the default route"));
    }
    if (first == ips.end())
        return {};
    auto message = routeMessage(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, any, 0, index);
    message.put(RTA_PREFSRC, first->bytes.data(), first->size());
    return askLeniently(socket, message, {EEXIST}, "cannot add the default route");
}

Result<void> configureInside(int netns, const Venet& wanted, const std::vector<Ip>& ips,
                             const std::array<char, 6>& mac) {
    VZ_TRY(auto socket, inNamespace(netns, CLONE_NEWNET, RtSocket::open));
    VZ_TRY(auto link, linkNamed(socket, wanted.guestName));
    VZ_CHECK(setLink(socket, link.index, mac, wanted.guestName));
    VZ_TRY(auto present, addressesOf(socket, link.index));
    for (const auto& [ip, prefix] : present) {
        auto message = addressMessage(RTM_DELADDR, 0, ip, prefix, link.index);
        if (!contains(ips, ip))
            VZ_CHECK(askLeniently(socket, message, {EADDRNOTAVAIL}, cat("cannot remove ", ip.text())));
    }
    for (const auto& ip : ips) {
        auto message = addressMessage(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, ip, ip.bits(), link.index);
        VZ_CHECK(askLeniently(socket, message, {EEXIST}, cat("cannot add the address ", ip.text())));
    }
    for (uint8_t family : {AF_INET, AF_INET6})
        VZ_CHECK(setDefaultRoute(socket, link.index, family, ips));
    return {};
}

Result<void> setHostRoutes(RtSocket& socket, int index, const std::vector<Ip>& ips) {
    VZ_TRY(auto routes, ownRoutes(socket));
    for (const auto& [ip, link] : routes) {
        if (link != index || contains(ips, ip))
            continue;
        auto message = routeMessage(RTM_DELROUTE, 0, ip, ip.bits(), index);
        VZ_CHECK(askLeniently(socket, message, {ESRCH}, cat("cannot remove the route to ", ip.text())));
    }
    for (const auto& ip : ips) {
        if (!routes.contains({ip, index}))
            VZ_CHECK(addHostRoute(socket, ip, index));
    }
    return {};
}

/** Answers for the addresses where they would be looked for. A link on which that is not possible (a tunnel)
 * has nobody who asks. */
Result<void> answerOutside(RtSocket& socket, int hostEnd, const std::vector<Ip>& ips) {
    VZ_TRY(auto outside, lookOutside(socket));
    for (const auto& ip : ips) {
        for (int link : outside.linksFor(ip)) {
            if (link == hostEnd)
                continue;
            auto message = proxyMessage(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, ip, link);
            VZ_CHECK(askLeniently(socket, message, {EINVAL, EOPNOTSUPP, ENODEV},
                                  cat("cannot answer for ", ip.text(), " on a link of the host")));
            char name[IF_NAMESIZE];
            if (ip.family == AF_INET6 && ::if_indextoname(static_cast<unsigned>(link), name))
                VZ_CHECK(setSysctl(cat("ipv6/conf/", name, "/proxy_ndp"), "1"));
        }
    }
    return {};
}

} // namespace

Result<void> configureVenet(int netns, const Venet& wanted) {
    std::vector<Ip> ips;
    for (const auto& text : wanted.addresses) {
        VZ_TRY(auto ip, parseIp(text));
        ips.push_back(ip);
    }
    VZ_CHECK(setPacketGuard(wanted.hostName, {PacketGuard::Kind::Routed, {}, wanted.addresses}));
    VZ_TRY(auto socket, RtSocket::open());
    VZ_TRY(auto hostEnd, linkNamed(socket, wanted.hostName));
    VZ_CHECK(setHostRules(wanted.hostName));
    VZ_CHECK(setLink(socket, hostEnd.index, hostEnd.mac, wanted.hostName));
    VZ_CHECK(configureInside(netns, wanted, ips, hostEnd.mac));
    VZ_CHECK(setHostRoutes(socket, hostEnd.index, ips));
    VZ_CHECK(answerOutside(socket, hostEnd.index, ips));
    return removeOrphanedProxies();
}

Result<void> releaseVenet(const std::string& hostName) {
    VZ_TRY(auto socket, RtSocket::open());
    VZ_TRY(int index, socket.indexOf(hostName));
    if (index)
        VZ_CHECK(setHostRoutes(socket, index, {}));
    return removeOrphanedProxies();
}

Result<void> removeOrphanedProxies() {
    VZ_TRY(auto socket, RtSocket::open());
    VZ_TRY(auto proxies, ownProxies(socket));
    if (proxies.empty())
        return {};
    VZ_TRY(auto routes, ownRoutes(socket));
    for (const auto& [ip, link] : proxies) {
        bool used = std::any_of(routes.begin(), routes.end(), [&](auto& route) { return route.first == ip; });
        auto message = proxyMessage(RTM_DELNEIGH, 0, ip, link);
        if (!used)
            VZ_CHECK(askLeniently(socket, message, {ENOENT, ENODEV},
                                  cat("cannot stop answering for ", ip.text())));
    }
    return {};
}

} // namespace vz::ct
