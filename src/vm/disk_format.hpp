// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"

#include <string>

namespace vz::vm {

/**
 * The format, as libvirt names it, of a disk file that the XML gives none for: what the file's header is for
 * certain, else "raw"; "qcow2" for a file that does not exist. Empty for what is no regular file or cannot be
 * read: libvirt's own default is right there.
 *
 * A header is the guest's to write where a disk is raw. libvirt for that reason never looks at it: a guest
 * could pretend that its disk is a qcow2 image on top of any file of the host, and would read that file after
 * the next start. Here the caller uses the format that a machine's disk already has before it asks for this,
 * and a header is only believed if it leads to no other file, so that a false one gains nothing.
 *
 * @p ownChain: the XML says what the backing file is, which makes the header's word on it void.
 * "ploop" for a folder with a DiskDescriptor.xml.
 * Errors: ConfigUnsupported for images that name other files, for files of ploop images and for those that
 * libvirt has no name for.
 */
Result<std::string> formatOfFile(const std::string& path, bool ownChain);

/** What is said of a ploop disk that is not given as one. @p disk names it in the message. */
Error ploopIsUnsupported(const std::string& disk);

} // namespace vz::vm
