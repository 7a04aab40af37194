// SPDX-License-Identifier: LGPL-2.1-or-later

// A driver built for another libvirt: its private symbol has a version that the installed one does not have.

extern "C" {

void virDomainDefFree(void* def);

__attribute__((visibility("default"))) int vzDriverRegister() {
    virDomainDefFree(nullptr);
    return 0;
}

} // extern "C"
