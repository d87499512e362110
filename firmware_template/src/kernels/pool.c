/* Average and maximum over a window; what lies outside the map never counts. */
#include "patchline/requantise.h"

/* The part of an output's window that lies inside the map. */
typedef struct {
    const int8_t *const *rows; /* some may be NULL */
    int32_t height;            /* of the list */
    int32_t from, width;       /* columns, relative to the row pointers */
} window;

static window window_of(const pl_pool *op, const pl_row *row, int32_t x)
{
    const int32_t start = x * op->stride - row->left;
    const int32_t from = start < 0 ? 0 : start;
    const int32_t to = start + op->kernel_w > row->valid ? row->valid : start + op->kernel_w;
    return (window){row->in, op->kernel_h, from, to - from};
}

/* An average that is rounded to nearest, halves away from zero; `half` and `reciprocal` = 2^31 / count rounded up belong to count.
 * Exact for |total| + half < 2^15: the product is too large by less than 2^-15 of a unit, and then no quotient's part reaches 1. */
static inline int32_t average_of(int32_t total, int32_t half, uint32_t reciprocal)
{
    const uint32_t magnitude = (uint32_t)(total < 0 ? -total : total) + (uint32_t)half;
    const int32_t quotient = (int32_t)((uint64_t)(2 * magnitude) * reciprocal >> 32);
    return total < 0 ? -quotient : quotient;
}

static void average(const pl_pool *op, const window *from, int32_t first, int32_t cells, int8_t *out)
{
    const int32_t channels = op->channels;
    const int32_t division = op->requant.scale == NULL;
    const int32_t centre = division ? 0 : op->input_zero;
    for (int32_t c = first; c < channels; c++) {
        int32_t acc = -cells * centre;
        for (int32_t ky = 0; ky < from->height; ky++) {
            if (from->rows[ky]) {
                const int8_t *in = from->rows[ky] + from->from * channels + c;
                for (int32_t x = 0; x < from->width; x++, in += channels) {
                    acc += *in;
                }
            }
        }
        if (division) {
            out[c] = (int8_t)pl_clamp(pl_rounded_division(acc, cells), op->requant.low, op->requant.high);
        } else {
            out[c] = pl_requantise(&op->requant, cells - 1, acc);
        }
    }
}

static void maximum(const pl_pool *op, const window *from, int32_t first, int8_t *out)
{
    const int32_t channels = op->channels;
    for (int32_t c = first; c < channels; c++) {
        int32_t largest = -128;
        for (int32_t ky = 0; ky < from->height; ky++) {
            if (from->rows[ky]) {
                const int8_t *in = from->rows[ky] + from->from * channels + c;
                for (int32_t x = 0; x < from->width; x++, in += channels) {
                    largest = *in > largest ? *in : largest;
                }
            }
        }
        out[c] = (int8_t)pl_clamp(largest, op->requant.low, op->requant.high);
    }
}

#if PL_DSP

/* Both do all whole fours of channels and return how many channels that are. Cortex-M4: 9 cycles for four inputs. */

enum { CELLS = 255 }; /* whose sum fits 16 bits */

static int32_t average_fours(const pl_pool *op, const window *from, int32_t cells, int8_t *out)
{
    const pl_requant *q = &op->requant;
    const int32_t channels = op->channels;
    const uint32_t reciprocal = 0x7fffffffu / (uint32_t)cells + 1u;
    int32_t c = 0;
    if (cells > CELLS) {
        return 0;
    }
    for (; c + 4 <= channels; c += 4) {
        uint32_t even = 0;
        uint32_t odd = 0;
        for (int32_t ky = 0; ky < from->height; ky++) {
            if (from->rows[ky]) {
                const int8_t *in = from->rows[ky] + from->from * channels + c;
                for (const int8_t *end = in + from->width * channels; in != end; in += channels) {
                    const uint32_t word = pl_load4(in);
                    even = pl_sxtab16(even, word);
                    odd = pl_sxtab16_odd(odd, word);
                }
            }
        }
        const int32_t centre = q->scale ? cells * op->input_zero : 0;
        const int32_t totals[4] = {
            (int16_t)(even & 0xffffu) - centre,
            (int16_t)(odd & 0xffffu) - centre,
            ((int32_t)even >> 16) - centre,
            ((int32_t)odd >> 16) - centre,
        };
        if (q->scale) {
            pl_requantise_run(q, cells - 1, totals, 4, out + c, 1);
            continue;
        }
        for (int32_t i = 0; i < 4; i++) {
            out[c + i] = (int8_t)pl_clamp(average_of(totals[i], cells / 2, reciprocal), q->low, q->high);
        }
    }
    return c;
}

static int32_t maximum_fours(const pl_pool *op, const window *from, int8_t *out)
{
    const int32_t channels = op->channels;
    const uint32_t low = (uint32_t)(op->requant.low & 0xff) * 0x1010101u;
    const uint32_t high = (uint32_t)(op->requant.high & 0xff) * 0x1010101u;
    int32_t c = 0;
    for (; c + 4 <= channels; c += 4) {
        uint32_t largest = low;
        for (int32_t ky = 0; ky < from->height; ky++) {
            if (from->rows[ky]) {
                const int8_t *in = from->rows[ky] + from->from * channels + c;
                for (const int8_t *end = in + from->width * channels; in != end; in += channels) {
                    largest = pl_max4(largest, pl_load4(in));
                }
            }
        }
        pl_store4(out + c, pl_min4(largest, high));
    }
    return c;
}

#else

static int32_t average_fours(const pl_pool *op, const window *from, int32_t cells, const int8_t *out)
{
    (void)op;
    (void)from;
    (void)cells;
    (void)out;
    (void)average_of;
    return 0;
}

static int32_t maximum_fours(const pl_pool *op, const window *from, const int8_t *out)
{
    (void)op;
    (void)from;
    (void)out;
    return 0;
}

#endif

void pl_average_pool_row(const void *constants, const pl_row *row)
{
    const pl_pool *op = constants;
    int32_t rows = 0;
    for (int32_t ky = 0; ky < op->kernel_h; ky++) {
        rows += row->in[ky] != NULL;
    }
    for (int32_t x = 0; x < row->columns; x++) {
        const window from = window_of(op, row, x);
        int8_t *out = row->out + x * op->channels;
        const int32_t cells = rows * from.width;
        average(op, &from, average_fours(op, &from, cells, out), cells, out);
    }
}

void pl_max_pool_row(const void *constants, const pl_row *row)
{
    const pl_pool *op = constants;
    for (int32_t x = 0; x < row->columns; x++) {
        const window from = window_of(op, row, x);
        int8_t *out = row->out + x * op->channels;
        maximum(op, &from, maximum_fours(op, &from, out), out);
    }
}
