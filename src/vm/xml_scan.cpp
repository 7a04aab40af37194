// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vm/xml_scan.hpp"

namespace vz::vm {

namespace {

constexpr std::string_view blanks = " \t\r\n";

/** Where a tag that goes on at @p at ends: the offset of its '>'. An attribute's value may hold one too. */
size_t tagEnd(std::string_view text, size_t at) {
    char quote = 0;
    for (; at < text.size(); ++at) {
        char c = text[at];
        if (quote)
            quote = c == quote ? 0 : quote;
        else if (c == '>')
            return at;
        else if (c == '"' || c == '\'')
            quote = c;
    }
    return text.npos;
}

} // namespace

std::optional<std::string_view> attribute(const Tag& tag, std::string_view name) {
    auto rest = tag.attributes;
    while (true) {
        auto begin = rest.find_first_not_of(blanks);
        auto quote = rest.find_first_of("\"'");
        if (begin == rest.npos || quote == rest.npos || begin >= quote)
            return std::nullopt;
        auto end = rest.find(rest[quote], quote + 1);
        if (end == rest.npos)
            return std::nullopt;
        auto found = rest.substr(begin, rest.find_first_of(" \t\r\n=", begin) - begin);
        if (found == name)
            return rest.substr(quote + 1, end - quote - 1);
        rest.remove_prefix(end + 1);
    }
}

Tag Scanner::next() {
    auto begin = text_.find('<', at_);
    if (begin == text_.npos || begin + 1 == text_.size())
        return stop();
    char c = text_[begin + 1];
    return c == '!' || c == '?' ? special(begin) : tag(begin);
}

Tag Scanner::leave() {
    for (size_t depth = 1;;) {
        Tag found = next();
        if (found.kind == Tag::Kind::Open)
            ++depth;
        if (found.kind == Tag::Kind::None || (found.kind == Tag::Kind::Close && --depth == 0))
            return found;
    }
}

Tag Scanner::special(size_t begin) {
    struct Form {
        std::string_view start, end;
    };
    // No document type: its markup is of another kind, and libvirt prints none.
    for (auto form : {Form{"<!--", "-->"}, Form{"<![CDATA[", "]]>"}, Form{"<?", "?>"}}) {
        if (text_.substr(begin, form.start.size()) != form.start)
            continue;
        auto end = text_.find(form.end, begin + form.start.size());
        if (end == text_.npos)
            return stop();
        at_ = end + form.end.size();
        return {Tag::Kind::Other, begin, at_, {}, {}};
    }
    return stop();
}

Tag Scanner::tag(size_t begin) {
    bool closing = text_[begin + 1] == '/';
    size_t nameBegin = begin + (closing ? 2 : 1);
    size_t end = tagEnd(text_, nameBegin);
    if (end == text_.npos)
        return stop();
    at_ = end + 1;
    bool empty = !closing && text_[end - 1] == '/';
    auto inside = text_.substr(nameBegin, end - nameBegin - (empty ? 1 : 0));
    auto name = inside.substr(0, inside.find_first_of(blanks));
    return {closing ? Tag::Kind::Close
            : empty ? Tag::Kind::Empty
                    : Tag::Kind::Open,
            begin, at_, name, inside.substr(name.size())};
}

Tag Scanner::stop() {
    at_ = text_.size();
    return {};
}

} // namespace vz::vm
