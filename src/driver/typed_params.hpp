// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <libvirt/libvirt.h>

#include <new>
#include <string>

namespace vz::driver {

/** Owner of a growing list of libvirt's typed parameters. */
class TypedParams {
public:
    TypedParams() = default;
    TypedParams(const TypedParams&) = delete;
    TypedParams& operator=(const TypedParams&) = delete;
    ~TypedParams() { ::virTypedParamsFree(params_, count_); }

    void add(const std::string& name, const std::string& value) {
        check(::virTypedParamsAddString(&params_, &count_, &capacity_, name.c_str(), value.c_str()));
    }
    void add(const std::string& name, int value) {
        check(::virTypedParamsAddInt(&params_, &count_, &capacity_, name.c_str(), value));
    }
    void add(const std::string& name, unsigned int value) {
        check(::virTypedParamsAddUInt(&params_, &count_, &capacity_, name.c_str(), value));
    }
    void add(const std::string& name, unsigned long long value) {
        check(::virTypedParamsAddULLong(&params_, &count_, &capacity_, name.c_str(), value));
    }

    /** Hands the list to a caller who frees it with virTypedParamsFree. */
    void release(virTypedParameterPtr* params, int* count) {
        *params = params_;
        *count = count_;
        params_ = nullptr;
        count_ = capacity_ = 0;
    }

private:
    static void check(int result) {
        if (result < 0)
            throw std::bad_alloc();
    }

    virTypedParameterPtr params_ = nullptr;
    int count_ = 0;
    int capacity_ = 0;
};

} // namespace vz::driver
