// SPDX-License-Identifier: LGPL-2.1-or-later

// Does with the module what libvirtd does: opens it and calls the entry, first under one name, then the
// other.

#include <cstdio>
#include <dlfcn.h>
#include <initializer_list>

int main(int argc, char** argv) {
    if (argc != 2)
        return 2;
    void* module = dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL);
    if (!module) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    for (const char* name : {"vboxRegister", "vzRegister"}) {
        auto entry = reinterpret_cast<int (*)()>(dlsym(module, name));
        printf("%s %d\n", name, entry ? entry() : -99);
    }
    return 0;
}
