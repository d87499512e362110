/* Requantisation by the rules that are not one instruction. */
#include "patchline/requantise.h"

int32_t pl_requantise_by_rule(const pl_requant *q, int32_t i, int32_t acc)
{
    const int32_t multiplier = q->scale[i].multiplier;
    int32_t value;
    if (q->tflite) {
        const int32_t shift = q->shifts[i];
        value = q->tflite == 2 ? pl_rounding_multiply(acc, multiplier, shift) : pl_tflite_multiply(acc, multiplier, shift);
        value += q->zero;
    } else {
        acc = q->shifts ? pl_shift_left(acc, (uint32_t)q->shifts[i]) : acc;
        value = pl_smmlar(acc, multiplier, q->zero);
    }
    return pl_clamp(value, q->low, q->high);
}

void pl_requantise_run(const pl_requant *q, int32_t channel, const int32_t *acc, int32_t count, int8_t *out, int32_t pitch)
{
    const int32_t multiplier = q->scale[channel].multiplier;
    const int32_t *end = acc + count;
    if (q->fast == PL_SINGLE) {
        for (; acc != end; out += pitch) {
            *out = (int8_t)pl_saturate8(pl_smmlar(*acc++, multiplier, q->zero));
        }
    } else if (q->fast == PL_TFLITE) {
        const int32_t right = -q->shifts[channel];
        const int32_t addend = pl_tflite_addend(q->zero, right);
        for (; acc != end; out += pitch) {
            *out = (int8_t)pl_tflite_fast(*acc++, multiplier, addend, right);
        }
    } else {
        for (; acc != end; out += pitch) {
            *out = (int8_t)pl_requantise_by_rule(q, channel, *acc++);
        }
    }
}
