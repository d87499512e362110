/* Average over the whole map: int32 sums that are filled row by row, strip by strip. */
#include "patchline/requantise.h"

void pl_global_pool_row(const void *constants, const pl_row *row)
{
    const pl_global_pool *op = constants;
    const int32_t channels = op->channels;
    int32_t *sums = row->scratch;
    for (int32_t c = 0; c < channels; c++) {
        const int8_t *in = row->in[0] + c;
        int32_t sum = sums[c];
        for (int32_t x = 0; x < row->columns; x++, in += channels) {
            sum += *in;
        }
        sums[c] = sum;
    }
    if (row->out) {
        for (int32_t c = 0; c < channels; c++) {
            const pl_requant *q = &op->requant;
            row->out[c] = q->scale ? pl_requantise(q, 0, sums[c] + op->offset)
                                   : (int8_t)pl_clamp(pl_rounded_division(sums[c], op->cells), q->low, q->high);
        }
    }
}
