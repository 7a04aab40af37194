// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/traffic_control.hpp"

#include <arpa/inet.h>
#include <cerrno>
#include <linux/if_ether.h>

namespace vz::ct {

RtMessage tcMessage(uint16_t type, unsigned flags, int index, uint32_t parent, uint32_t handle) {
    tcmsg header{};
    header.tcm_family = AF_UNSPEC;
    header.tcm_ifindex = index;
    header.tcm_parent = parent;
    header.tcm_handle = handle;
    return {type, flags, header};
}

RtMessage filterMessage(uint16_t type, unsigned flags, int index, FilterPlace place, uint32_t handle) {
    tcmsg header{};
    header.tcm_family = AF_UNSPEC;
    header.tcm_ifindex = index;
    header.tcm_handle = handle;
    header.tcm_parent = TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS);
    header.tcm_info = TC_H_MAKE(static_cast<uint32_t>(place) << 16, htons(ETH_P_ALL));
    return {type, flags, header};
}

Result<void> openIngress(RtSocket& socket, int index, const std::string& what) {
    auto message =
        tcMessage(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, index, TC_H_CLSACT, TC_H_MAKE(TC_H_CLSACT, 0));
    message.text(TCA_KIND, "clsact");
    VZ_TRY(auto answer, socket.ask(message));
    if (!answer && answer.error != EEXIST)
        return kernelLacks(answer, "sch_ingress", what);
    return {};
}

Result<void> removed(RtSocket& socket, RtMessage& message, const std::string& what) {
    VZ_TRY(auto answer, socket.ask(message));
    // A hook or queue that was never made is EINVAL.
    if (answer || answer.error == ENOENT || answer.error == ENODEV || answer.error == EINVAL)
        return {};
    return failErrno(answer.error, what, answer.detail.empty() ? "" : ": ", answer.detail);
}

Result<void> removeFilter(RtSocket& socket, int index, FilterPlace place, const std::string& what) {
    auto message = filterMessage(RTM_DELTFILTER, 0, index, place);
    return removed(socket, message, what);
}

Error kernelLacks(const RtAnswer& answer, const char* module, const std::string& what) {
    if (answer.error == ENOENT || answer.error == EOPNOTSUPP || answer.error == EAFNOSUPPORT)
        return fail(ErrorCode::ConfigUnsupported, what, ": this kernel has no ", module);
    return failErrno(answer.error, what, answer.detail.empty() ? "" : ": ", answer.detail);
}

} // namespace vz::ct
