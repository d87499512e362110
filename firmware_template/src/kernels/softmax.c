/* Softmax over the channels of each position: patchline.network.fixedpoint.softmax, in int32. */
#include "patchline/requantise.h"

enum { SUM_BITS = 12 };

static int32_t saturating_shift_left2(int32_t x)
{
    return x > INT32_MAX / 4 ? INT32_MAX : x < INT32_MIN / 4 ? INT32_MIN : x * 4;
}

/* 1 / (1 + a) for a in [0, 1], all in Q31: three Newton-Raphson steps on half the denominator. */
static int32_t one_over_one_plus(int32_t a)
{
    const int32_t half = (int32_t)(((int64_t)a + INT32_MAX + 1) >> 1);
    int32_t x = 1515870810 + pl_high_multiply(half, -1010580540);
    for (int32_t i = 0; i < 3; i++) {
        const int32_t error = (1 << 29) - pl_high_multiply(half, x);
        x += saturating_shift_left2(pl_high_multiply(x, error));
    }
    return x > INT32_MAX / 2 ? INT32_MAX : x * 2;
}

void pl_softmax_row(const void *constants, const pl_row *row)
{
    const pl_softmax *op = constants;
    const int8_t *in = row->in[0];
    int8_t *out = row->out;
    for (int32_t x = 0; x < row->columns; x++) {
        int32_t largest = in[0];
        for (int32_t c = 1; c < op->channels; c++) {
            largest = in[c] > largest ? in[c] : largest;
        }
        uint32_t sum = 0;
        for (int32_t c = 0; c < op->channels; c++) {
            sum += (uint32_t)pl_rounding_shift_right(op->exp[largest - in[c]], SUM_BITS);
        }
        const int32_t leading = __builtin_clz(sum); /* the maximum itself adds 2^19: never 0 */
        const int32_t reciprocal = one_over_one_plus((int32_t)((sum << leading) - ((uint32_t)1 << 31)));
        const uint32_t shift = (uint32_t)(SUM_BITS - leading + 31 - 8);
        for (int32_t c = 0; c < op->channels; c++) {
            const int32_t share = pl_high_multiply(reciprocal, op->exp[largest - in[c]]);
            out[c] = (int8_t)pl_saturate8((shift > 31 ? 0 : pl_rounding_shift_right(share, shift)) - 128);
        }
        in += op->channels;
        out += op->channels;
    }
}
