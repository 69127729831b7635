// Memory that a thread keeps from one call to the next.
#pragma once

#include <stdint.h>
#include <stdlib.h>

#ifdef __GLIBC__
// Compilers call it to register the destructor of a thread_local. It is a function of the C++ runtime,
// which `zig cc` does not link, so it is defined here as C++ runtimes define it: by glibc's own.
extern "C" int __cxa_thread_atexit_impl(void (*)(void*), void*, void*);
extern "C" __attribute__((weak, visibility("hidden"))) int __cxa_thread_atexit(
    void (*destructor)(void*), void* object, void* library) {
    return __cxa_thread_atexit_impl(destructor, object, library);
}
#endif

namespace throughtime {

// Memory that a calling thread keeps for its next call: writing to fresh memory for the first time
// takes as long as several copies.
struct Scratch {
    static constexpr int64_t KEPT = 32 << 20;
    char* data = nullptr;
    int64_t size = 0;

    char* get(int64_t bytes) {
        if (bytes > size) {
            free(data);
            size = (bytes + 65535) / 65536 * 65536;
            data = (char*)aligned_alloc(64, size);
            if (!data) size = 0;
        }
        return data;
    }
    void trim() {
        if (size <= KEPT) return;
        free(data);
        data = nullptr;
        size = 0;
    }
    ~Scratch() { free(data); }
};
}  // namespace throughtime
