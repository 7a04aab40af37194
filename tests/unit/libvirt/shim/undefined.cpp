// SPDX-License-Identifier: LGPL-2.1-or-later

// A driver that uses a function which no libvirt has.

extern "C" {

void virNoSuchFunction();

__attribute__((visibility("default"))) int vzDriverRegister() {
    virNoSuchFunction();
    return 0;
}

} // extern "C"
