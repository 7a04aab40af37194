// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <libvirt/libvirt.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <new>
#include <string>
#include <string_view>
#include <vector>

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

/** What a client gives us room for: an array of typed parameters, which it may have asked the size of first.
 */
class ParamSlots {
public:
    /** @p count is the room on the way in, and what was used on the way out. */
    ParamSlots(virTypedParameterPtr params, int* count) : params_(params), room_(*count), used_(count) {
        *used_ = 0;
    }

    void add(const char* name, unsigned long long value) {
        if (auto* param = next(name, VIR_TYPED_PARAM_ULLONG))
            param->value.ul = value;
    }
    void add(const char* name, long long value) {
        if (auto* param = next(name, VIR_TYPED_PARAM_LLONG))
            param->value.l = value;
    }
    void add(const char* name, unsigned int value) {
        if (auto* param = next(name, VIR_TYPED_PARAM_UINT))
            param->value.ui = value;
    }
    void add(const char* name, int value) {
        if (auto* param = next(name, VIR_TYPED_PARAM_INT))
            param->value.i = value;
    }
    /** The client frees the copy that it gets. */
    void add(const char* name, const std::string& value) {
        if (auto* param = next(name, VIR_TYPED_PARAM_STRING))
            param->value.s = ::strdup(value.c_str());
    }

private:
    virTypedParameterPtr next(const char* name, int type) {
        bool asksForCount = room_ == 0;
        if (!asksForCount && *used_ == room_)
            return nullptr;
        int index = (*used_)++;
        if (asksForCount)
            return nullptr;
        auto* param = params_ + index;
        *param = {};
        std::string_view(name).copy(param->field, VIR_TYPED_PARAM_FIELD_LENGTH - 1);
        param->type = type;
        return param;
    }

    virTypedParameterPtr params_;
    int room_;
    int* used_;
};

/** A client's typed parameters with some texts replaced; everything else still belongs to the client. */
class EditedParams {
public:
    EditedParams(virTypedParameterPtr params, int count) : params_(params, params + count) {}

    /** The text of the first parameter of that name; null if there is none. */
    const char* text(std::string_view name) const {
        for (const auto& param : params_) {
            if (param.field == name && param.type == VIR_TYPED_PARAM_STRING)
                return param.value.s;
        }
        return nullptr;
    }
    /** Replaces it, or adds it if there is none. An empty text changes nothing. */
    void setText(std::string_view name, std::string value) {
        if (value.empty())
            return;
        texts_.push_back(std::move(value));
        auto found = std::ranges::find_if(params_, [&](const auto& param) { return param.field == name; });
        if (found == params_.end()) {
            auto& added = params_.emplace_back();
            name.copy(added.field, VIR_TYPED_PARAM_FIELD_LENGTH - 1);
            added.type = VIR_TYPED_PARAM_STRING;
            found = std::prev(params_.end());
        }
        found->value.s = texts_.back().data();
    }

    virTypedParameterPtr params() { return params_.data(); }
    int count() const { return static_cast<int>(params_.size()); }

private:
    std::vector<virTypedParameter> params_;
    std::deque<std::string> texts_; // stay where they are
};

} // namespace vz::driver
