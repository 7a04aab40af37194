// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <optional>
#include <string_view>

/**
 * Reads well-formed XML tag by tag without building anything, at a few nanoseconds a tag. For texts that
 * libvirt printed: in others it may find less than there is (names are compared as written, entities are not
 * resolved), but it always ends and stays within the text.
 */
namespace vz::vm {

/** One piece of markup. Positions are offsets in the text. */
struct Tag {
    enum class Kind {
        Open,  ///< <a>
        Close, ///< </a>
        Empty, ///< <a/>
        Other, ///< comment, CDATA section, processing instruction
        None,  ///< the text has ended, or is not well-formed
    };
    Kind kind = Kind::None;
    size_t begin = 0, end = 0;
    std::string_view name;       ///< with the prefix, as written
    std::string_view attributes; ///< what stands between the name and the end of the tag

    bool opens() const { return kind == Kind::Open || kind == Kind::Empty; }
};

/** The value of the attribute @p name (with its prefix) of a tag, as written between its quotes. */
std::optional<std::string_view> attribute(const Tag& tag, std::string_view name);

class Scanner {
public:
    explicit Scanner(std::string_view text) : text_(text) {}

    /** The next piece of markup; None for ever after the last. */
    Tag next();
    /** Goes on behind the end tag of the element that is open; its own start tag was the last piece or is
     * further back. Returns the end tag, or None. */
    Tag leave();

private:
    Tag special(size_t begin);
    Tag tag(size_t begin);
    Tag stop();

    std::string_view text_;
    size_t at_ = 0;
};

} // namespace vz::vm
