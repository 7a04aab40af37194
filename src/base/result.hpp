// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/error.hpp"

#include <utility>
#include <variant>

namespace vz {

/**
 * A value or the Error that came instead of it. Shaped like std::expected<T, Error>, which this can
 * become when the project moves to C++23. Reading the side that is not there is a programming fault.
 */
template<typename T>
class [[nodiscard]] Result {
public:
    using Value = T;

    Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

    explicit operator bool() const { return state_.index() == 0; }
    T& operator*() & { return std::get<0>(state_); }
    const T& operator*() const& { return std::get<0>(state_); }
    T&& operator*() && { return std::get<0>(std::move(state_)); }
    T* operator->() { return &std::get<0>(state_); }
    const T* operator->() const { return &std::get<0>(state_); }
    const Error& error() const { return std::get<1>(state_); }
    Error takeError() && { return std::get<1>(std::move(state_)); }
    T valueOr(T other) && { return *this ? std::get<0>(std::move(state_)) : std::move(other); }

private:
    std::variant<T, Error> state_;
};

template<>
class [[nodiscard]] Result<void> {
public:
    using Value = void;

    Result() = default;
    Result(Error error) : state_(std::move(error)) {}

    explicit operator bool() const { return state_.index() == 0; }
    const Error& error() const { return std::get<1>(state_); }
    Error takeError() && { return std::get<1>(std::move(state_)); }

private:
    std::variant<std::monostate, Error> state_;
};

#define VZ_JOIN_(a, b) a##b
#define VZ_JOIN(a, b) VZ_JOIN_(a, b)

/** VZ_TRY(auto x, call()): x is the value of the Result, or the error is returned from this function. */
#define VZ_TRY(declaration, ...) VZ_TRY_(VZ_JOIN(vzResult, __LINE__), declaration, __VA_ARGS__)
#define VZ_TRY_(result, declaration, ...)                                                                    \
    auto result = (__VA_ARGS__);                                                                             \
    if (!result)                                                                                             \
        return std::move(result).takeError();                                                                \
    declaration = *std::move(result) /* NOLINT(bugprone-macro-parentheses) */

/** VZ_CHECK(call()): go on if the Result is good, else return its error from this function. */
#define VZ_CHECK(...)                                                                                        \
    do {                                                                                                     \
        if (auto vzChecked = (__VA_ARGS__); !vzChecked)                                                      \
            return std::move(vzChecked).takeError();                                                         \
    } while (false)

} // namespace vz
