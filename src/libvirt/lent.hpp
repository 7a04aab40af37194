// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "libvirt/private.hpp"

#include <libvirt/libvirt.h>

#include <memory>
#include <mutex>
#include <utility>

/** Helpers for callbacks that are handed to libvirt. Internal to src/libvirt. */
namespace vz::abi {

/**
 * What callbacks of libvirt use although its owner may end before them: libvirt drops a callback that is
 * running only later. Thread-safe.
 */
template<typename T>
class Lent {
public:
    explicit Lent(T value) : value_(std::make_unique<T>(std::move(value))) {}

    /** Runs @p use with the value, unless it ended. One use at a time. */
    template<typename Use>
    void use(Use use) {
        std::lock_guard guard(lock_);
        if (value_)
            use(*value_);
    }

    /** Waits for the use that is going on, so it must not be called by one; there is none after it. */
    void end() {
        std::unique_ptr<T> last; // destroyed with the lock given back
        std::lock_guard guard(lock_);
        last.swap(value_);
    }

private:
    std::mutex lock_;
    std::unique_ptr<T> value_;
};

/** One reference to a connection, taken here. Copies share it; the last one of all closes the connection. */
using ConnectRef = std::shared_ptr<virConnect>;

inline ConnectRef refConnect(virConnectPtr conn) {
    return virConnectRef(conn) == 0 ? ConnectRef(conn, priv::virObjectUnref) : ConnectRef();
}

// An opaque pointer that shares its target with others: made, read, and freed by libvirt's free callback.
template<typename T>
void* lend(std::shared_ptr<T> shared) {
    return new std::shared_ptr<T>(std::move(shared));
}
template<typename T>
const std::shared_ptr<T>& lent(void* opaque) {
    return *static_cast<std::shared_ptr<T>*>(opaque);
}
template<typename T>
void unlend(void* opaque) {
    delete static_cast<std::shared_ptr<T>*>(opaque);
}

} // namespace vz::abi
