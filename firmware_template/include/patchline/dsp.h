/* The ARMv7E-M DSP instructions that the kernels use.
 *
 * With PL_EMULATE_DSP the same kernels run on a host, each instruction written out in C: so the fast code too is tested
 * under address and undefined-behaviour sanitizers.
 */
#ifndef PATCHLINE_DSP_H
#define PATCHLINE_DSP_H

#include <stdint.h>
#include <string.h>

#if defined(__ARM_FEATURE_DSP) && !defined(PL_PORTABLE)
#define PL_DSP 1
#include <arm_acle.h>
#elif defined(PL_EMULATE_DSP)
#define PL_DSP 1
#else
#define PL_DSP 0
#endif

/* Four bytes in memory order; the address need not be aligned (ARMv7-M loads words from anywhere). The builtin stays one instruction
 * in a freestanding build too, where memcpy is a call. */
static inline uint32_t pl_load4(const void *from)
{
    uint32_t word;
    __builtin_memcpy(&word, from, 4);
    return word;
}

static inline void pl_store4(void *to, uint32_t word)
{
    __builtin_memcpy(to, &word, 4);
}

#if PL_DSP && defined(__ARM_FEATURE_DSP)

/* The halves of the result are bytes 0 and 2 of `x`, sign-extended. */
static inline uint32_t pl_sxtb16(uint32_t x)
{
    return (uint32_t)__sxtb16((int8x4_t)x);
}

/* The same for bytes 1 and 3. */
static inline uint32_t pl_sxtb16_odd(uint32_t x)
{
    uint32_t y;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(y) : "r"(x));
    return y;
}

/* The halves of `acc` plus bytes 0 and 2 of `x`, sign-extended; each wraps by itself. */
static inline uint32_t pl_sxtab16(uint32_t acc, uint32_t x)
{
    __asm__("sxtab16 %0, %0, %1" : "+r"(acc) : "r"(x));
    return acc;
}

/* The same for bytes 1 and 3. */
static inline uint32_t pl_sxtab16_odd(uint32_t acc, uint32_t x)
{
    __asm__("sxtab16 %0, %0, %1, ror #8" : "+r"(acc) : "r"(x));
    return acc;
}

/* The larger of each pair of signed bytes, and the smaller. */
static inline uint32_t pl_max4(uint32_t x, uint32_t y)
{
    uint32_t z;
    __asm__("ssub8 %0, %1, %2\n\tsel %0, %1, %2" : "=&r"(z) : "r"(x), "r"(y) : "cc");
    return z;
}

static inline uint32_t pl_min4(uint32_t x, uint32_t y)
{
    uint32_t z;
    __asm__("ssub8 %0, %1, %2\n\tsel %0, %2, %1" : "=&r"(z) : "r"(x), "r"(y) : "cc");
    return z;
}

/* acc + both products of halves. */
static inline int32_t pl_smlad(uint32_t x, uint32_t y, int32_t acc)
{
    __asm__("smlad %0, %1, %2, %0" : "+r"(acc) : "r"(x), "r"(y));
    return acc;
}

/* acc + product of the low halves. */
static inline int32_t pl_smlabb(uint32_t x, uint32_t y, int32_t acc)
{
    __asm__("smlabb %0, %1, %2, %0" : "+r"(acc) : "r"(x), "r"(y));
    return acc;
}

/* acc + product of the low half of x and the high half of y. */
static inline int32_t pl_smlabt(uint32_t x, uint32_t y, int32_t acc)
{
    __asm__("smlabt %0, %1, %2, %0" : "+r"(acc) : "r"(x), "r"(y));
    return acc;
}

/* Low half of x below, low half of y above. */
static inline uint32_t pl_pack(uint32_t x, uint32_t y)
{
    uint32_t z;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(z) : "r"(x), "r"(y));
    return z;
}

/* addend + round(x * y / 2^32): one instruction for a whole requantisation. */
static inline int32_t pl_smmlar(int32_t x, int32_t y, int32_t addend)
{
    int32_t z;
    __asm__("smmlar %0, %1, %2, %3" : "=r"(z) : "r"(x), "r"(y), "r"(addend));
    return z;
}

static inline int32_t pl_saturate8(int32_t x)
{
    return __ssat(x, 8);
}

#else

static inline int32_t pl_saturate8(int32_t x)
{
    return x < -128 ? -128 : x > 127 ? 127 : x;
}

static inline int32_t pl_smmlar(int32_t x, int32_t y, int32_t addend)
{
    return (int32_t)(((int64_t)x * y + ((int64_t)1 << 31)) >> 32) + addend;
}

#endif

#if PL_DSP && !defined(__ARM_FEATURE_DSP)

static inline int32_t pl_low(uint32_t x)
{
    return (int16_t)(x & 0xffffu);
}

static inline int32_t pl_high(uint32_t x)
{
    return (int16_t)(x >> 16);
}

static inline uint32_t pl_pack(uint32_t x, uint32_t y)
{
    return (x & 0xffffu) | y << 16;
}

static inline uint32_t pl_sxtb16(uint32_t x)
{
    return pl_pack((uint32_t)(int8_t)(x & 0xffu), (uint32_t)(int8_t)(x >> 16 & 0xffu));
}

static inline uint32_t pl_sxtb16_odd(uint32_t x)
{
    return pl_sxtb16(x >> 8 | x << 24);
}

static inline uint32_t pl_sxtab16(uint32_t acc, uint32_t x)
{
    const uint32_t y = pl_sxtb16(x);
    return pl_pack(acc + y, (acc >> 16) + (y >> 16));
}

static inline uint32_t pl_sxtab16_odd(uint32_t acc, uint32_t x)
{
    return pl_sxtab16(acc, x >> 8);
}

static inline uint32_t pl_max4(uint32_t x, uint32_t y)
{
    uint32_t z = 0;
    for (int i = 0; i < 32; i += 8) {
        z |= ((int8_t)(x >> i & 0xffu) >= (int8_t)(y >> i & 0xffu) ? x : y) & 0xffu << i;
    }
    return z;
}

static inline uint32_t pl_min4(uint32_t x, uint32_t y)
{
    return ~pl_max4(~x, ~y);
}

/* Sums wrap as the instruction's do. */
static inline int32_t pl_smlad(uint32_t x, uint32_t y, int32_t acc)
{
    return (int32_t)((uint32_t)acc + (uint32_t)(pl_low(x) * pl_low(y)) + (uint32_t)(pl_high(x) * pl_high(y)));
}

static inline int32_t pl_smlabb(uint32_t x, uint32_t y, int32_t acc)
{
    return (int32_t)((uint32_t)acc + (uint32_t)(pl_low(x) * pl_low(y)));
}

static inline int32_t pl_smlabt(uint32_t x, uint32_t y, int32_t acc)
{
    return (int32_t)((uint32_t)acc + (uint32_t)(pl_low(x) * pl_high(y)));
}

#endif

#endif
