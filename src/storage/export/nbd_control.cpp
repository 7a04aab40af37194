// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/export/nbd_control.hpp"

#include "base/file.hpp"
#include "base/process.hpp"

#include <algorithm>
#include <cerrno>
#include <concepts>
#include <cstring>
#include <linux/genetlink.h>
#include <linux/nbd-netlink.h>
#include <linux/nbd.h>
#include <linux/netlink.h>
#include <sys/socket.h>

namespace vz::exports {

namespace {

/** A request of generic netlink with its attributes. */
class Request {
public:
    Request(uint16_t family, uint8_t command, uint8_t version) {
        nlmsghdr head{};
        head.nlmsg_type = family;
        head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
        genlmsghdr generic{};
        generic.cmd = command;
        generic.version = version;
        append(&head, sizeof head);
        append(&generic, sizeof generic);
    }
    template<std::integral T>
    Request& add(uint16_t type, T value) {
        return add(type, &value, sizeof value);
    }
    /** With the zero byte at its end. */
    Request& add(uint16_t type, const std::string& text) { return add(type, text.c_str(), text.size() + 1); }
    /** What @p inner adds goes into an attribute. */
    template<typename Inner>
    Request& nest(uint16_t type, Inner&& inner) {
        size_t begin = bytes_.size();
        add(static_cast<uint16_t>(type | NLA_F_NESTED), nullptr, 0);
        inner();
        setLength<nlattr>(begin, &nlattr::nla_len);
        return *this;
    }
    std::string bytes() {
        setLength<nlmsghdr>(0, &nlmsghdr::nlmsg_len);
        return bytes_;
    }

private:
    Request& add(uint16_t type, const void* data, size_t size) {
        nlattr head{};
        head.nla_type = type;
        head.nla_len = static_cast<uint16_t>(sizeof head + size);
        append(&head, sizeof head);
        append(data, size);
        return *this;
    }
    void append(const void* data, size_t size) {
        if (size > 0)
            bytes_.append(static_cast<const char*>(data), size);
        bytes_.resize(NLA_ALIGN(bytes_.size()));
    }
    template<typename Head, typename Length>
    void setLength(size_t begin, Length Head::*length) {
        Head head;
        std::memcpy(&head, &bytes_[begin], sizeof head);
        head.*length = static_cast<Length>(bytes_.size() - begin);
        std::memcpy(&bytes_[begin], &head, sizeof head);
    }

    std::string bytes_;
};

/** A number among the attributes of an answer. */
template<std::integral T>
std::optional<T> numberIn(std::string_view attributes, uint16_t type) {
    nlattr head;
    while (attributes.size() >= sizeof head) {
        std::memcpy(&head, attributes.data(), sizeof head);
        if (head.nla_len < sizeof head || head.nla_len > attributes.size())
            break;
        if ((head.nla_type & NLA_TYPE_MASK) == type && head.nla_len >= sizeof head + sizeof(T)) {
            T value;
            std::memcpy(&value, attributes.data() + sizeof head, sizeof value);
            return value;
        }
        attributes.remove_prefix(std::min<size_t>(NLA_ALIGN(head.nla_len), attributes.size()));
    }
    return {};
}

Result<void> loadModule() {
    for (const char* program : {"/usr/sbin/modprobe", "/sbin/modprobe"}) {
        if (!file::exists(program))
            continue;
        process::Command command;
        command.argv = {program, "-q", "nbd"};
        VZ_TRY(auto finished, process::run(command));
        if (finished.status == 0)
            return {};
        break;
    }
    return fail(ErrorCode::OperationUnsupported,
                "this kernel has no network block devices: its module nbd cannot be loaded");
}

} // namespace

Result<NbdControl> NbdControl::open() {
    UniqueFd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC));
    sockaddr_nl address{};
    address.nl_family = AF_NETLINK;
    if (!socket || ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0)
        return failErrno(errno, "cannot make a netlink socket");
    NbdControl control(std::move(socket));
    auto found = control.findFamily();
    if (!found && found.error().systemError() == ENOENT) {
        VZ_CHECK(loadModule());
        found = control.findFamily();
    }
    if (!found && found.error().systemError() == ENOENT)
        return fail(ErrorCode::OperationUnsupported,
                    "the kernel's network block devices can be had in the host's own network namespace only");
    VZ_CHECK(std::move(found));
    return control;
}

Result<void> NbdControl::findFamily() {
    Request request(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1);
    request.add(CTRL_ATTR_FAMILY_NAME, std::string(NBD_GENL_FAMILY_NAME));
    VZ_TRY(auto answer, exchange(request.bytes()));
    auto family = numberIn<uint16_t>(answer, CTRL_ATTR_FAMILY_ID);
    if (!family)
        return fail(ErrorCode::SystemError, "the kernel's answer about its nbd driver makes no sense");
    family_ = *family;
    return {};
}

/** The attributes of the answer, if there is one besides the acknowledgement. */
Result<std::string> NbdControl::exchange(const std::string& message) {
    if (::send(socket_.get(), message.data(), message.size(), 0) < 0)
        return failErrno(errno, "cannot give an order to the nbd driver");
    std::string attributes;
    alignas(nlmsghdr) char buffer[8192];
    for (;;) {
        ssize_t got = ::recv(socket_.get(), buffer, sizeof buffer, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return failErrno(errno, "no answer of the nbd driver");
        auto left = static_cast<unsigned>(got);
        for (auto* head = reinterpret_cast<nlmsghdr*>(buffer); NLMSG_OK(head, left);
             head = NLMSG_NEXT(head, left)) {
            const auto* data = static_cast<const char*>(NLMSG_DATA(head));
            size_t size = head->nlmsg_len - NLMSG_HDRLEN;
            if (head->nlmsg_type == NLMSG_ERROR) {
                int error = size >= sizeof error ? *reinterpret_cast<const int*>(data) : -EIO;
                return error == 0 ? Result<std::string>(attributes)
                                  : failErrno(-error, "the nbd driver refuses");
            }
            if (size > GENL_HDRLEN)
                attributes.assign(data + GENL_HDRLEN, size - GENL_HDRLEN);
        }
    }
}

Result<unsigned> NbdControl::connect(const Device& device) {
    Request request(family_, NBD_CMD_CONNECT, NBD_GENL_VERSION);
    if (device.number)
        request.add(NBD_ATTR_INDEX, uint32_t(*device.number));
    request.add(NBD_ATTR_SIZE_BYTES, device.bytes)
        .add(NBD_ATTR_BLOCK_SIZE_BYTES, uint64_t(device.blockBytes))
        .add(NBD_ATTR_TIMEOUT, device.requestLimit)
        .add(NBD_ATTR_DEAD_CONN_TIMEOUT, uint64_t(0)) // no other connection will come
        .add(NBD_ATTR_SERVER_FLAGS, uint64_t(device.flags))
        .add(NBD_ATTR_BACKEND_IDENTIFIER, device.backend)
        .nest(NBD_ATTR_SOCKETS, [&] {
            for (const auto& peer : device.peers)
                request.nest(NBD_SOCK_ITEM, [&] { request.add(NBD_SOCK_FD, uint32_t(peer.get())); });
        });
    auto answer = exchange(request.bytes());
    if (!answer && answer.error().systemError() == EBUSY)
        return fail(ErrorCode::ResourceBusy, "/dev/nbd", device.number.value_or(0), " is in use");
    if (!answer)
        return failErrno(answer.error().systemError(), "cannot make a network block device");
    auto number = numberIn<uint32_t>(*answer, NBD_ATTR_INDEX);
    if (!number)
        return fail(ErrorCode::SystemError, "the nbd driver does not say which device it has made");
    return *number;
}

Result<void> NbdControl::change(unsigned number, const std::string& backend, const Change& change) {
    Request request(family_, NBD_CMD_RECONFIGURE, NBD_GENL_VERSION);
    request.add(NBD_ATTR_INDEX, uint32_t(number)).add(NBD_ATTR_BACKEND_IDENTIFIER, backend);
    if (change.bytes)
        request.add(NBD_ATTR_SIZE_BYTES, *change.bytes);
    if (change.autoclear)
        request.add(NBD_ATTR_CLIENT_FLAGS, uint64_t(*change.autoclear ? NBD_CFLAG_DISCONNECT_ON_CLOSE : 0));
    if (auto answer = exchange(request.bytes()); !answer)
        return failErrno(answer.error().systemError(), "cannot change /dev/nbd", number);
    return {};
}

Result<void> NbdControl::disconnect(unsigned number) {
    Request request(family_, NBD_CMD_DISCONNECT, NBD_GENL_VERSION);
    request.add(NBD_ATTR_INDEX, uint32_t(number));
    if (auto answer = exchange(request.bytes()); !answer)
        return failErrno(answer.error().systemError(), "cannot disconnect /dev/nbd", number);
    return {};
}

} // namespace vz::exports
