/* Requantisation: the C form of patchline.network.arithmetic. */
#ifndef PATCHLINE_REQUANTISE_H
#define PATCHLINE_REQUANTISE_H

#include "patchline/dsp.h"
#include "patchline/kernels.h"

/* Signed left shift that wraps, as the hardware's does. */
static inline int32_t pl_shift_left(int32_t x, uint32_t bits)
{
    return (int32_t)((uint32_t)x << bits);
}

static inline int32_t pl_clamp(int32_t x, int32_t low, int32_t high)
{
    return x < low ? low : x > high ? high : x;
}

/* x * y / 2^31 rounded, halves up (TFLite's SaturatingRoundingDoublingHighMul, which saturates only where both are -2^31). */
static inline int32_t pl_high_multiply(int32_t x, int32_t y)
{
    return (int32_t)(((int64_t)x * y + ((int64_t)1 << 30)) >> 31);
}

/* x / 2^bits rounded, halves away from zero (TFLite's RoundingDivideByPOT). */
static inline int32_t pl_rounding_shift_right(int32_t x, uint32_t bits)
{
    const uint32_t mask = ((uint32_t)1 << bits) - 1u;
    const uint32_t threshold = (mask >> 1) + (x < 0 ? 1u : 0u);
    return (x >> bits) + (((uint32_t)x & mask) > threshold ? 1 : 0);
}

/* TFLite's MultiplyByQuantizedMultiplier; |x| < 2^31. */
static inline int32_t pl_tflite_multiply(int32_t x, int32_t multiplier, int32_t shift)
{
    if (shift < 0) {
        int32_t high = pl_high_multiply(x, multiplier);
        high -= high < 0; /* halves away from zero */
        return (high >> -shift) + (high >> (-shift - 1) & 1);
    }
    if (shift > 0) {
        const int64_t wide = (int64_t)x * ((int64_t)1 << shift);
        x = wide > INT32_MAX ? INT32_MAX : wide < INT32_MIN ? INT32_MIN : (int32_t)wide;
    }
    return pl_high_multiply(x, multiplier);
}

/* x * multiplier * 2^(shift - 31) with one rounding, halves up (TFLite's fully connected kernel). */
static inline int32_t pl_rounding_multiply(int32_t x, int32_t multiplier, int32_t shift)
{
    return (int32_t)(((int64_t)x * multiplier + ((int64_t)1 << (30 - shift))) >> (31 - shift));
}

/* total / count rounded, halves away from zero. */
static inline int32_t pl_rounded_division(int32_t total, int32_t count)
{
    const int32_t half = count / 2;
    return total > 0 ? (total + half) / count : -((half - total) / count);
}

/* TFLite's rule for |acc| < 2^30, multiplier >= 0 and `right` = -shift in 1..22: LSL, ADD, SMMLAR, ASR, SSAT.
 *
 * SMMLAR of the doubled accumulator is TFLite's first rounding exactly. Its second, halves away from zero, is (x + half - (x < 0)) >> right;
 * the sign of `acc` serves as well as that of x, which differs only where x = 0, and half - 1 gives 0 there too. The zero point
 * goes in below the shift: `addend` is pl_tflite_addend. */
static inline int32_t pl_tflite_fast(int32_t acc, int32_t multiplier, int32_t addend, int32_t right)
{
    return pl_saturate8(pl_smmlar(pl_shift_left(acc, 1), multiplier, addend - (acc < 0)) >> right);
}

/* half + zero point, both before the shift */
static inline int32_t pl_tflite_addend(int32_t zero, int32_t right)
{
    return pl_shift_left(2 * zero + 1, (uint32_t)right - 1u);
}

/* Every rule but the single one; `i` is the entry of the constants. */
int32_t pl_requantise_by_rule(const pl_requant *q, int32_t i, int32_t acc);

/* `count` accumulators of one channel to outputs `pitch` bytes apart. */
void pl_requantise_run(const pl_requant *q, int32_t channel, const int32_t *acc, int32_t count, int8_t *out, int32_t pitch);

/* The first channel from `i` on that has a shift, `channels` where there is none; four are looked at together. */
static inline int32_t pl_next_shifted(const pl_requant *q, int32_t i, int32_t channels)
{
    while (i + 4 <= channels && pl_load4(q->shifts + i) == 0) {
        i += 4;
    }
    while (i < channels && q->shifts[i] == 0) {
        i++;
    }
    return i;
}

/* Entry `i` of the constants applied to an accumulator (which holds its bias already). */
static inline int8_t pl_requantise(const pl_requant *q, int32_t i, int32_t acc)
{
    if (q->fast == PL_SINGLE) {
        return (int8_t)pl_saturate8(pl_smmlar(acc, q->scale[i].multiplier, q->zero));
    }
    return (int8_t)pl_requantise_by_rule(q, i, acc);
}

#endif
