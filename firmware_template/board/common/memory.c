/* The two functions of the C library that compilers and kernels call. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Words where both sides are aligned alike; GCC must not turn the loops into calls of themselves. */
__attribute__((optimize("no-tree-loop-distribute-patterns"))) void *memcpy(void *restrict to, const void *restrict from, size_t bytes)
{
    uint8_t *out = to;
    const uint8_t *in = from;
    for (; bytes >= 4; bytes -= 4, out += 4, in += 4) {
        uint32_t word;
        __builtin_memcpy(&word, in, 4);
        __builtin_memcpy(out, &word, 4);
    }
    for (; bytes; bytes--) {
        *out++ = *in++;
    }
    return to;
}

__attribute__((optimize("no-tree-loop-distribute-patterns"))) void *memset(void *to, int value, size_t bytes)
{
    uint8_t *out = to;
    const uint32_t word = (uint8_t)value * 0x01010101u;
    for (; bytes >= 4; bytes -= 4, out += 4) {
        __builtin_memcpy(out, &word, 4);
    }
    for (; bytes; bytes--) {
        *out++ = (uint8_t)value;
    }
    return to;
}

__attribute__((optimize("no-tree-loop-distribute-patterns"))) int memcmp(const void *a, const void *b, size_t bytes)
{
    const uint8_t *x = a;
    const uint8_t *y = b;
    for (; bytes; bytes--, x++, y++) {
        if (*x != *y) {
            return *x < *y ? -1 : 1;
        }
    }
    return 0;
}
