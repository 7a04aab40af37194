// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vm/ids.hpp"
#include "vm/xml.hpp"
#include "vm/xml_scan.hpp"

#include <algorithm>
#include <climits>
#include <vector>

namespace vz::vm {

namespace {

using Kind = Tag::Kind;

/** A piece of the text and what comes in its place. */
struct Edit {
    size_t begin, end;
    std::string with;
};

/** Changes of one document, to be made all at once. */
class Edits {
public:
    explicit Edits(std::string_view text) : text_(text) { list_.reserve(8); }

    std::string_view text() const { return text_; }
    bool empty() const { return list_.empty(); }

    /** @p part is a piece of the text. */
    void replace(std::string_view part, std::string with) {
        auto begin = static_cast<size_t>(part.data() - text_.data());
        list_.push_back({begin, begin + part.size(), std::move(with)});
    }

    /** Takes elements out, with their lines if there is nothing else on these. */
    void remove(size_t begin, size_t end) {
        size_t lineBegin = begin;
        while (lineBegin > 0 && text_[lineBegin - 1] == ' ')
            --lineBegin;
        bool ownLines = lineBegin > 0 && text_[lineBegin - 1] == '\n' && text_.substr(end, 1) == "\n";
        list_.push_back(ownLines ? Edit{lineBegin, end + 1, {}} : Edit{begin, end, {}});
    }

    /** How many there are; with forgetFrom(), those made since then can be dropped. */
    size_t count() const { return list_.size(); }
    void forgetFrom(size_t count) { list_.resize(count); }

    std::string made() {
        std::sort(list_.begin(), list_.end(), [](const auto& a, const auto& b) { return a.begin < b.begin; });
        std::string out;
        out.reserve(text_.size() + 16 * list_.size());
        size_t at = 0;
        for (const auto& edit : list_) {
            out.append(text_.substr(at, edit.begin - at)).append(edit.with);
            at = edit.end;
        }
        return out.append(text_.substr(at));
    }

private:
    std::string_view text_;
    std::vector<Edit> list_;
};

std::string_view knownType(std::string_view type) {
    for (std::string_view known : {"vz", "parallels"}) {
        if (type == known)
            return known;
    }
    return {};
}

/** Is it the mark? libvirt keeps prefixes; where it had to move the namespace, it is on <metadata>. */
bool isMark(const Tag& tag, const Tag& metadata) {
    auto colon = tag.name.find(':');
    if (tag.name.substr(colon == tag.name.npos ? 0 : colon + 1) != "vm")
        return false;
    auto declaration =
        colon == tag.name.npos ? std::string("xmlns") : cat("xmlns:", tag.name.substr(0, colon));
    auto uri = attribute(tag, declaration);
    if (!uri)
        uri = attribute(metadata, declaration);
    return uri == kMarkUri;
}

/** Removes the mark from the open <metadata>, and that if nothing else is in it; returns the mark's type. */
std::string_view takeMark(Scanner& scanner, const Tag& metadata, Edits& edits) {
    std::string_view type;
    size_t before = edits.count(), at = metadata.end;
    bool marked = false, others = false;
    while (true) {
        Tag tag = scanner.next();
        if (tag.kind == Kind::None)
            return type;
        others |= !trim(edits.text().substr(at, tag.begin - at)).empty();
        at = tag.end;
        if (tag.kind == Kind::Close)
            break;
        bool mark = tag.opens() && isMark(tag, metadata);
        if (tag.kind == Kind::Open) {
            at = scanner.leave().end;
            if (at == 0)
                return type;
        }
        if (!mark) {
            others = true;
            continue;
        }
        edits.remove(tag.begin, at);
        if (!marked)
            type = knownType(attribute(tag, "type").value_or(""));
        marked = true;
    }
    if (marked && !others) {
        edits.forgetFrom(before);
        edits.remove(metadata.begin, at);
    }
    return type;
}

/**
 * Goes through a domain whose start tag was the last piece, up to its end if @p whole, and notes the edits of
 * <metadata>. libvirt prints <memory> always, and behind <metadata>. Returns the mark's type.
 */
std::string_view walkDomain(Scanner& scanner, bool whole, Edits& edits) {
    std::string_view type;
    while (true) {
        Tag tag = scanner.next();
        if (tag.kind == Kind::None || tag.kind == Kind::Close)
            return type;
        if (tag.kind != Kind::Open)
            continue;
        if (tag.name == "memory" && !whole)
            return type;
        if (tag.name != "metadata" || attribute(tag, "xmlns")) {
            scanner.leave();
            continue;
        }
        auto found = takeMark(scanner, tag, edits);
        if (type.empty())
            type = found;
    }
}

void translateDomain(Scanner& scanner, const Tag& domain, bool whole, Edits& edits) {
    auto type = domain.kind == Kind::Open ? walkDomain(scanner, whole, edits) : std::string_view();
    if (auto inner = attribute(domain, "type"))
        edits.replace(*inner, std::string(type.empty() ? "vz" : type));
    auto id = parseNumber<int>(attribute(domain, "id").value_or(""));
    if (id && *id >= 0 && *id <= INT_MAX - kFirstId)
        edits.replace(*attribute(domain, "id"), cat(outerId(*id)));
}

bool isDomain(const Tag& tag) {
    return tag.name == "domain" || tag.name == "inactiveDomain";
}

Tag firstElement(Scanner& scanner) {
    Tag tag = scanner.next();
    while (tag.kind == Kind::Other)
        tag = scanner.next();
    return tag;
}

void translate(std::string_view xml, Edits& edits) {
    Scanner scanner(xml);
    Tag root = firstElement(scanner);
    if (!root.opens())
        return;
    if (isDomain(root))
        return translateDomain(scanner, root, false, edits);
    if (root.kind != Kind::Open || (root.name != "domainsnapshot" && root.name != "domaincheckpoint"))
        return;
    for (Tag tag = scanner.next(); tag.kind != Kind::None && tag.kind != Kind::Close; tag = scanner.next()) {
        if (tag.opens() && isDomain(tag))
            translateDomain(scanner, tag, true, edits);
        else if (tag.kind == Kind::Open)
            scanner.leave();
    }
}

/** A disk of QEMU's driver as the client defined it. @p text is the name of its source, as it stands there.
 */
void restoreDisk(std::string_view text, const Tag& disk, const Tag& driver, const Tag& source, size_t end,
                 Edits& edits) {
    text.remove_prefix(kPloopName.size());
    auto kindEnd = text.find(':'), formatEnd = text.find(':', kindEnd + 1);
    auto type = attribute(disk, "type"), innerFormat = attribute(driver, "type");
    if (kindEnd == text.npos || formatEnd == text.npos || !type || !innerFormat)
        return;
    auto kind = text.substr(0, kindEnd), format = text.substr(kindEnd + 1, formatEnd - kindEnd - 1),
         rest = text.substr(formatEnd + 1);
    edits.replace(*type, std::string(kind));
    if (format == "-") {
        // With the blank before it: " type='raw'".
        auto begin = static_cast<size_t>(innerFormat->data() - edits.text().data());
        constexpr size_t before = std::string_view(" type='").size();
        edits.replace(edits.text().substr(begin - before, innerFormat->size() + before + 1), {});
    } else {
        edits.replace(*innerFormat, std::string(format));
    }
    auto slash = rest.find('/');
    std::string made = kind == "file" ? cat("<source file='", rest, "'")
                                      : cat("<source pool='", rest.substr(0, slash), "' volume='",
                                            rest.substr(std::min(rest.size(), slash + 1)), "'");
    if (auto index = attribute(source, "index"))
        made += cat(" index='", *index, "'");
    edits.replace(edits.text().substr(source.begin, end - source.begin), made + "/>");
}

/** Finds the disks that are ploop images, wherever they are in the document. */
void restoreDisks(std::string_view xml, Edits& edits) {
    if (xml.find(kPloopName) == xml.npos)
        return;
    Scanner scanner(xml);
    Tag disk, driver;
    for (Tag tag = scanner.next(); tag.kind != Kind::None; tag = scanner.next()) {
        if (!tag.opens())
            continue;
        if (tag.name == "disk") {
            disk = tag;
            driver = {};
        } else if (tag.name == "driver") {
            driver = tag;
        } else if (tag.name == "source" && tag.kind == Kind::Open) {
            auto name = attribute(tag, "name");
            if (name && name->starts_with(kPloopName) && attribute(tag, "protocol") == "nbd")
                restoreDisk(*name, disk, driver, tag, scanner.leave().end, edits);
        }
    }
}

} // namespace

std::string toOuter(std::string xml) {
    Edits edits(xml);
    translate(xml, edits);
    restoreDisks(xml, edits);
    return edits.empty() ? xml : edits.made();
}

std::string_view markedType(std::string_view innerXml) {
    Scanner scanner(innerXml);
    Tag root = firstElement(scanner);
    if (root.kind != Kind::Open || !isDomain(root))
        return {};
    Edits unused(innerXml);
    return walkDomain(scanner, false, unused);
}

} // namespace vz::vm
