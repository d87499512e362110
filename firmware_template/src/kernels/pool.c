/* Average and maximum over a window; what lies outside the map never counts. */
#include "patchline/requantise.h"

/* Columns of the window of output x that lie inside the map, relative to the row pointers. */
static void window_columns(const pl_pool *op, const pl_row *row, int32_t x, int32_t *from, int32_t *to)
{
    const int32_t start = x * op->stride - row->left;
    *from = start < 0 ? 0 : start;
    *to = start + op->kernel_w > row->valid ? row->valid : start + op->kernel_w;
}

void pl_average_pool_row(const void *constants, const pl_row *row)
{
    const pl_pool *op = constants;
    const int32_t channels = op->channels;
    const int32_t division = op->requant.scale == NULL;
    const int32_t centre = division ? 0 : op->input_zero;
    int32_t rows = 0;
    for (int32_t ky = 0; ky < op->kernel_h; ky++) {
        rows += row->in[ky] != NULL;
    }
    for (int32_t x = 0; x < row->columns; x++) {
        int32_t from, to;
        window_columns(op, row, x, &from, &to);
        const int32_t cells = rows * (to - from);
        for (int32_t c = 0; c < channels; c++) {
            int32_t acc = -cells * centre;
            for (int32_t ky = 0; ky < op->kernel_h; ky++) {
                if (row->in[ky]) {
                    const int8_t *in = row->in[ky] + from * channels + c;
                    for (int32_t column = from; column < to; column++, in += channels) {
                        acc += *in;
                    }
                }
            }
            int8_t *out = row->out + x * channels + c;
            if (division) {
                *out = (int8_t)pl_clamp(pl_rounded_division(acc, cells), op->requant.low, op->requant.high);
            } else {
                *out = pl_requantise(&op->requant, cells - 1, acc);
            }
        }
    }
}

void pl_max_pool_row(const void *constants, const pl_row *row)
{
    const pl_pool *op = constants;
    const int32_t channels = op->channels;
    for (int32_t x = 0; x < row->columns; x++) {
        int32_t from, to;
        window_columns(op, row, x, &from, &to);
        for (int32_t c = 0; c < channels; c++) {
            int32_t largest = -128;
            for (int32_t ky = 0; ky < op->kernel_h; ky++) {
                if (row->in[ky]) {
                    const int8_t *in = row->in[ky] + from * channels + c;
                    for (int32_t column = from; column < to; column++, in += channels) {
                        largest = *in > largest ? *in : largest;
                    }
                }
            }
            row->out[x * channels + c] = (int8_t)pl_clamp(largest, op->requant.low, op->requant.high);
        }
    }
}
