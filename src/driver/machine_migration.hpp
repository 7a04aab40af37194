// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "driver/machine_methods.hpp"

/**
 * Migration of virtual machines. The prototypes are no public APIs': the client's library calls them through
 * libvirt's protocol, in the phases that virDomainMigrate3 and virDomainMigrateToURI3 have.
 */
namespace vz::driver {

// The phases without a document of the client's are forwarded as they are.
using MigrateBegin3 = char* (*)(virDomainPtr, const char* xml, char** cookie, int* cookieLength,
                                unsigned long flags, const char* name, unsigned long bandwidth);
using MigratePrepare3 = int (*)(virConnectPtr, const char* cookieIn, int cookieInLength, char** cookie,
                                int* cookieLength, const char* uriIn, char** uriOut, unsigned long flags,
                                const char* name, unsigned long bandwidth, const char* xml);
using MigratePrepareTunnel3 = int (*)(virConnectPtr, virStreamPtr, const char* cookieIn, int cookieInLength,
                                      char** cookie, int* cookieLength, unsigned long flags, const char* name,
                                      unsigned long bandwidth, const char* xml);
using MigratePerform3 = int (*)(virDomainPtr, const char* xml, const char* cookieIn, int cookieInLength,
                                char** cookie, int* cookieLength, const char* destination, const char* uri,
                                unsigned long flags, const char* name, unsigned long bandwidth);
using MigrateFinish3 = virDomainPtr (*)(virConnectPtr, const char* name, const char* cookieIn,
                                        int cookieInLength, char** cookie, int* cookieLength,
                                        const char* destination, const char* uri, unsigned long flags,
                                        int cancelled);
using MigrateConfirm3 = int (*)(virDomainPtr, const char* cookieIn, int cookieInLength, unsigned long flags,
                                int cancelled);
using MigrateBegin3Params = char* (*)(virDomainPtr, virTypedParameterPtr params, int nparams, char** cookie,
                                      int* cookieLength, unsigned int flags);
using MigratePrepare3Params = int (*)(virConnectPtr, virTypedParameterPtr params, int nparams,
                                      const char* cookieIn, int cookieInLength, char** cookie,
                                      int* cookieLength, char** uriOut, unsigned int flags);
using MigratePrepareTunnel3Params = int (*)(virConnectPtr, virStreamPtr, virTypedParameterPtr params,
                                            int nparams, const char* cookieIn, int cookieInLength,
                                            char** cookie, int* cookieLength, unsigned int flags);
using MigratePerform3Params = int (*)(virDomainPtr, const char* destination, virTypedParameterPtr params,
                                      int nparams, const char* cookieIn, int cookieInLength, char** cookie,
                                      int* cookieLength, unsigned int flags);
using MigrateFinish3Params = virDomainPtr (*)(virConnectPtr, virTypedParameterPtr params, int nparams,
                                              const char* cookieIn, int cookieInLength, char** cookie,
                                              int* cookieLength, unsigned int flags, int cancelled);
using MigrateConfirm3Params = int (*)(virDomainPtr, virTypedParameterPtr params, int nparams,
                                      const char* cookieIn, int cookieInLength, unsigned int flags,
                                      int cancelled);

// The two protocols before it.
using MigratePrepare = int (*)(virConnectPtr, char** cookie, int* cookieLength, const char* uriIn,
                               char** uriOut, unsigned long flags, const char* name, unsigned long bandwidth);
using MigratePerform = int (*)(virDomainPtr, const char* cookie, int cookieLength, const char* uri,
                               unsigned long flags, const char* name, unsigned long bandwidth);
using MigrateFinish = virDomainPtr (*)(virConnectPtr, const char* name, const char* cookie, int cookieLength,
                                       const char* uri, unsigned long flags);
using MigratePrepare2 = int (*)(virConnectPtr, char** cookie, int* cookieLength, const char* uriIn,
                                char** uriOut, unsigned long flags, const char* name, unsigned long bandwidth,
                                const char* xml);
using MigrateFinish2 = virDomainPtr (*)(virConnectPtr, const char* name, const char* cookie, int cookieLength,
                                        const char* uri, unsigned long flags, int result);
using MigratePrepareTunnel = int (*)(virConnectPtr, virStreamPtr, unsigned long flags, const char* name,
                                     unsigned long bandwidth, const char* xml);

Result<Passed<char*>> migrateBegin(const MachineCall& call, const char* xml, char** cookie, int* cookieLength,
                                   unsigned long flags, const char* name, unsigned long bandwidth);
Result<Passed<char*>> migrateBeginParams(const MachineCall& call, virTypedParameterPtr params, int nparams,
                                         char** cookie, int* cookieLength, unsigned int flags);
Result<Passed<int>> migratePrepare(const ConnectCall& call, const char* cookieIn, int cookieInLength,
                                   char** cookie, int* cookieLength, const char* uriIn, char** uriOut,
                                   unsigned long flags, const char* name, unsigned long bandwidth,
                                   const char* xml);
Result<Passed<int>> migratePrepareTunnel(const ConnectCall& call, virStreamPtr stream, const char* cookieIn,
                                         int cookieInLength, char** cookie, int* cookieLength,
                                         unsigned long flags, const char* name, unsigned long bandwidth,
                                         const char* xml);
Result<Passed<int>> migratePrepareParams(const ConnectCall& call, virTypedParameterPtr params, int nparams,
                                         const char* cookieIn, int cookieInLength, char** cookie,
                                         int* cookieLength, char** uriOut, unsigned int flags);
Result<Passed<int>> migratePrepareTunnelParams(const ConnectCall& call, virStreamPtr stream,
                                               virTypedParameterPtr params, int nparams, const char* cookieIn,
                                               int cookieInLength, char** cookie, int* cookieLength,
                                               unsigned int flags);
Result<Passed<int>> migratePerform(const MachineCall& call, const char* xml, const char* cookieIn,
                                   int cookieInLength, char** cookie, int* cookieLength,
                                   const char* destination, const char* uri, unsigned long flags,
                                   const char* name, unsigned long bandwidth);
Result<Passed<int>> migratePerformParams(const MachineCall& call, const char* destination,
                                         virTypedParameterPtr params, int nparams, const char* cookieIn,
                                         int cookieInLength, char** cookie, int* cookieLength,
                                         unsigned int flags);
Result<Passed<int>> migratePrepare2(const ConnectCall& call, char** cookie, int* cookieLength,
                                    const char* uriIn, char** uriOut, unsigned long flags, const char* name,
                                    unsigned long bandwidth, const char* xml);
Result<Passed<int>> migratePrepareTunnel2(const ConnectCall& call, virStreamPtr stream, unsigned long flags,
                                          const char* name, unsigned long bandwidth, const char* xml);

// machine_host_devices.cpp: the host's devices, which are handed to virtual machines. The client's object
// does not tell its connection, so these go through one of the driver's own.
int nodeDeviceDettach(virNodeDevicePtr device) noexcept;
int nodeDeviceDetachFlags(virNodeDevicePtr device, const char* driver, unsigned int flags) noexcept;
int nodeDeviceReAttach(virNodeDevicePtr device) noexcept;
int nodeDeviceReset(virNodeDevicePtr device) noexcept;

} // namespace vz::driver
