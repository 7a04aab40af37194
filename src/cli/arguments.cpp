// SPDX-License-Identifier: LGPL-2.1-or-later
#include "cli/arguments.hpp"

#include <cctype>

namespace vz::cli {

namespace {

enum class Kind { Unknown, Flag, Value };

Kind kindOf(std::string_view known, char option) {
    auto at = option == ':' ? std::string_view::npos : known.find(option);
    if (at == std::string_view::npos)
        return Kind::Unknown;
    return at + 1 < known.size() && known[at + 1] == ':' ? Kind::Value : Kind::Flag;
}

} // namespace

Result<Arguments> Arguments::parse(const std::vector<std::string>& arguments, std::string_view known,
                                   const std::map<std::string, char>& names) {
    Arguments parsed;
    bool onlyRest = false;
    for (size_t i = 0; i < arguments.size(); ++i) {
        const std::string& word = arguments[i];
        if (onlyRest || word.size() < 2 || word[0] != '-') {
            parsed.rest_.push_back(word);
            continue;
        }
        if (word == "--") {
            onlyRest = true;
            continue;
        }
        // What is left of the word after each option: "-fs10G" is -f and -s 10G.
        std::string left = word.substr(1);
        std::string shown = word;
        if (word.starts_with("--")) {
            auto equals = word.find('=');
            shown = word.substr(0, equals);
            auto name = names.find(shown.substr(2));
            if (name == names.end())
                return fail(ErrorCode::InvalidArg, "unknown option ", shown);
            if (equals != std::string::npos && kindOf(known, name->second) != Kind::Value)
                return fail(ErrorCode::InvalidArg, "the option ", shown, " takes no value");
            if (equals != std::string::npos) {
                parsed.values_[name->second] = word.substr(equals + 1);
                continue;
            }
            left = std::string(1, name->second);
        }
        while (!left.empty()) {
            char option = left[0];
            left.erase(0, 1);
            switch (kindOf(known, option)) {
            case Kind::Unknown:
                return fail(ErrorCode::InvalidArg, "unknown option ", shown);
            case Kind::Flag:
                parsed.values_[option] = "";
                break;
            case Kind::Value:
                if (left.empty() && i + 1 == arguments.size())
                    return fail(ErrorCode::InvalidArg, "the option ", shown, " needs a value");
                parsed.values_[option] = left.empty() ? arguments[++i] : left;
                left.clear();
                break;
            }
        }
    }
    return parsed;
}

std::string Arguments::value(char option, std::string otherwise) const {
    auto found = values_.find(option);
    return found == values_.end() ? otherwise : found->second;
}

Result<void> Arguments::expect(size_t least, size_t most) const {
    if (rest_.size() < least)
        return fail(ErrorCode::InvalidArg, "an argument is missing");
    if (rest_.size() > most)
        return fail(ErrorCode::InvalidArg, "unexpected argument ", rest_[most]);
    return {};
}

Result<uint64_t> parseSize(std::string_view text) {
    auto wrong = [&] {
        return fail(ErrorCode::InvalidArg, "'", text, "' is no size: a number, and K, M, G or T");
    };
    std::string_view digits = text;
    int shift = 0; // to sectors of 512 bytes
    if (!digits.empty() && std::isalpha(static_cast<unsigned char>(digits.back()))) {
        switch (std::toupper(static_cast<unsigned char>(digits.back()))) {
        case 'K':
            shift = 1;
            break;
        case 'M':
            shift = 11;
            break;
        case 'G':
            shift = 21;
            break;
        case 'T':
            shift = 31;
            break;
        default:
            return wrong();
        }
        digits.remove_suffix(1);
    }
    bool hex = digits.starts_with("0x") || digits.starts_with("0X");
    auto number = parseNumber<uint64_t>(hex ? digits.substr(2) : digits, hex ? 16 : 10);
    if (!number || *number > UINT64_MAX >> (shift + 9))
        return wrong();
    return *number << shift;
}

} // namespace vz::cli
