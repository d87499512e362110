/* Average over the whole map: int32 sums that are filled row by row, strip by strip. */
#include "patchline/requantise.h"

#if PL_DSP

enum { COLUMNS = 255 }; /* whose sum fits 16 bits */

/* Adds up to COLUMNS columns to the sums of all whole fours of channels. Cortex-M4: 9 cycles for four inputs, about 25 beside them. */
static __attribute__((noinline)) void sum_fours(const int8_t *in, int32_t channels, int32_t columns, int32_t *sums)
{
    const int32_t *end = sums + (channels & ~3);
    for (; sums != end; sums += 4, in += 4) {
        const int8_t *from = in;
        uint32_t even = 0;
        uint32_t odd = 0;
        for (int32_t left = columns; left; left--) {
            const uint32_t word = pl_load4(from);
            from += channels;
            even = pl_sxtab16(even, word);
            odd = pl_sxtab16_odd(odd, word);
        }
        sums[0] += (int16_t)(even & 0xffffu);
        sums[1] += (int16_t)(odd & 0xffffu);
        sums[2] += (int32_t)even >> 16;
        sums[3] += (int32_t)odd >> 16;
    }
}

/* Returns how many channels it did. */
static int32_t sum_row(const int8_t *in, int32_t channels, int32_t columns, int32_t *sums)
{
    for (; columns > COLUMNS; columns -= COLUMNS, in += COLUMNS * channels) {
        sum_fours(in, channels, COLUMNS, sums);
    }
    sum_fours(in, channels, columns, sums);
    return channels & ~3;
}

#else

static int32_t sum_row(const int8_t *in, int32_t channels, int32_t columns, const int32_t *sums)
{
    (void)in;
    (void)channels;
    (void)columns;
    (void)sums;
    return 0;
}

#endif

void pl_global_pool_row(const void *constants, const pl_row *row)
{
    const pl_global_pool *op = constants;
    const int32_t channels = op->channels;
    int32_t *sums = row->scratch;
    for (int32_t c = sum_row(row->in[0], channels, row->columns, sums); c < channels; c++) {
        const int8_t *in = row->in[0] + c;
        int32_t sum = sums[c];
        for (int32_t x = 0; x < row->columns; x++, in += channels) {
            sum += *in;
        }
        sums[c] = sum;
    }
    const pl_requant *q = &op->requant;
    for (int32_t c = 0; row->out && c < channels; c++) {
        row->out[c] = q->scale ? pl_requantise(q, 0, sums[c] + op->offset)
                               : (int8_t)pl_clamp(pl_rounded_division(sums[c], op->cells), q->low, q->high);
    }
}
