// SPDX-License-Identifier: LGPL-2.1-or-later

// Linked against in place of libvirt, to get a reference to a private symbol of version 0.0.1.

extern "C" __attribute__((visibility("default"))) void virDomainDefFree(void*) {}
