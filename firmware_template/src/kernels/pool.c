/* Average and maximum over a window; what lies outside the map never counts. */
#include "patchline/requantise.h"

/* The part of an output's window that lies inside the map. */
typedef struct {
    const int8_t *const *rows;
    int32_t height;
    int32_t offset, bytes; /* first column, all columns: bytes behind the row pointers */
    int32_t channels;
    int32_t cells;
} window;

/* The rows inside the map; they follow each other. */
static window rows_of(const pl_pool *op, const pl_row *row)
{
    window found = {.rows = row->in, .height = op->kernel_h, .channels = op->channels};
    for (; found.height && !found.rows[0]; found.height--) {
        found.rows++;
    }
    for (; found.height && !found.rows[found.height - 1]; found.height--) {
    }
    return found;
}

/* The columns of output x. */
static void set_columns(window *found, const pl_pool *op, const pl_row *row, int32_t x)
{
    const int32_t start = x * op->stride - row->left;
    const int32_t from = start < 0 ? 0 : start;
    const int32_t to = start + op->kernel_w > row->valid ? row->valid : start + op->kernel_w;
    found->offset = from * found->channels;
    found->bytes = (to - from) * found->channels;
    found->cells = (to - from) * found->height;
}

/* An average that is rounded to nearest, halves away from zero; `half` and `reciprocal` = 2^31 / count rounded up belong to count.
 * Exact for |total| + half < 2^15: the product is too large by less than 2^-15 of a unit, and then no quotient's part reaches 1. */
static inline int32_t average_of(int32_t total, int32_t half, uint32_t reciprocal)
{
    const uint32_t magnitude = (uint32_t)(total < 0 ? -total : total) + (uint32_t)half;
    const int32_t quotient = (int32_t)((uint64_t)(2 * magnitude) * reciprocal >> 32);
    return total < 0 ? -quotient : quotient;
}

static void average(const pl_pool *op, const window *from, int32_t first, int8_t *out)
{
    const int32_t division = op->requant.scale == NULL;
    const int32_t centre = division ? 0 : op->input_zero;
    for (int32_t c = first; c < from->channels; c++) {
        int32_t acc = -from->cells * centre;
        for (int32_t ky = 0; ky < from->height; ky++) {
            const int8_t *in = from->rows[ky] + from->offset + c;
            for (int32_t i = 0; i < from->bytes; i += from->channels) {
                acc += in[i];
            }
        }
        if (division) {
            out[c] = (int8_t)pl_clamp(pl_rounded_division(acc, from->cells), op->requant.low, op->requant.high);
        } else {
            out[c] = pl_requantise(&op->requant, from->cells - 1, acc);
        }
    }
}

static void maximum(const pl_pool *op, const window *from, int32_t first, int8_t *out)
{
    for (int32_t c = first; c < from->channels; c++) {
        int32_t largest = -128;
        for (int32_t ky = 0; ky < from->height; ky++) {
            const int8_t *in = from->rows[ky] + from->offset + c;
            for (int32_t i = 0; i < from->bytes; i += from->channels) {
                largest = in[i] > largest ? in[i] : largest;
            }
        }
        out[c] = (int8_t)pl_clamp(largest, op->requant.low, op->requant.high);
    }
}

#if PL_DSP

/* Both do all whole fours of channels and return how many channels that are. Cortex-M4: 9 cycles for four inputs. */

enum { CELLS = 255 }; /* whose sum fits 16 bits */

/* Sums of four channels: 0 and 2, 1 and 3. Not inlined: it needs all registers. */
static __attribute__((noinline)) void sum_four(const window *from, int32_t c, uint32_t sums[2])
{
    const int32_t channels = from->channels;
    const int32_t offset = from->offset + c;
    const int32_t bytes = from->bytes;
    uint32_t even = 0;
    uint32_t odd = 0;
    for (const int8_t *const *rows = from->rows, *const *end = rows + from->height; rows != end;) {
        const int8_t *in = *rows++ + offset;
        for (int32_t left = bytes; left; left -= channels) {
            const uint32_t word = pl_load4(in);
            in += channels;
            even = pl_sxtab16(even, word);
            odd = pl_sxtab16_odd(odd, word);
        }
    }
    sums[0] = even;
    sums[1] = odd;
}

/* The averages of four totals by their count, and by rule single. Neither is inlined: they are loops without a spill. */
static __attribute__((noinline)) void divide_four(const pl_requant *q, const int32_t *totals, int32_t cells, int8_t *out)
{
    const uint32_t reciprocal = 0x7fffffffu / (uint32_t)cells + 1u;
    const int32_t low = q->low;
    const int32_t high = q->high;
    for (const int8_t *end = out + 4; out != end;) {
        *out++ = (int8_t)pl_clamp(average_of(*totals++, cells / 2, reciprocal), low, high);
    }
}

static __attribute__((noinline)) void scale_four(const pl_requant *q, const int32_t *totals, int32_t cells, int8_t *out)
{
    const int32_t shift = q->shifts ? q->shifts[cells - 1] : 0;
    const int32_t multiplier = q->scale[cells - 1].multiplier;
    const int32_t zero = q->zero;
    const int32_t low = q->low;
    const int32_t high = q->high;
    for (const int8_t *end = out + 4; out != end;) {
        *out++ = (int8_t)pl_clamp(pl_smmlar(pl_shift_left(*totals++, (uint32_t)shift), multiplier, zero), low, high);
    }
}

static int32_t average_fours(const pl_pool *op, const window *from, int8_t *out)
{
    const pl_requant *q = &op->requant;
    const int32_t cells = from->cells;
    const int32_t centre = q->scale ? cells * op->input_zero : 0;
    int32_t c = 0;
    for (; cells <= CELLS && c + 4 <= from->channels; c += 4) {
        uint32_t sums[2];
        sum_four(from, c, sums);
        const int32_t totals[4] = {
            (int16_t)(sums[0] & 0xffffu) - centre,
            (int16_t)(sums[1] & 0xffffu) - centre,
            ((int32_t)sums[0] >> 16) - centre,
            ((int32_t)sums[1] >> 16) - centre,
        };
        if (!q->scale) {
            divide_four(q, totals, cells, out + c);
        } else if (!q->tflite) {
            scale_four(q, totals, cells, out + c);
        } else {
            pl_requantise_run(q, cells - 1, totals, 4, out + c, 1);
        }
    }
    return c;
}

static int32_t maximum_fours(const pl_pool *op, const window *from, int8_t *out)
{
    const int32_t channels = from->channels;
    const int32_t bytes = from->bytes;
    const uint32_t low = (uint32_t)(op->requant.low & 0xff) * 0x1010101u;
    const uint32_t high = (uint32_t)(op->requant.high & 0xff) * 0x1010101u;
    int32_t c = 0;
    for (; c + 4 <= channels; c += 4) {
        uint32_t largest = low;
        for (int32_t ky = 0; ky < from->height; ky++) {
            const int8_t *in = from->rows[ky] + from->offset + c;
            for (int32_t left = bytes; left; left -= channels) {
                largest = pl_max4(largest, pl_load4(in));
                in += channels;
            }
        }
        pl_store4(out + c, pl_min4(largest, high));
    }
    return c;
}

#else

static int32_t average_fours(const pl_pool *op, const window *from, const int8_t *out)
{
    (void)op;
    (void)from;
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
    window from = rows_of(op, row);
    int8_t *out = row->out;
    for (int32_t x = 0; x < row->columns; x++, out += op->channels) {
        set_columns(&from, op, row, x);
        average(op, &from, average_fours(op, &from, out), out);
    }
}

void pl_max_pool_row(const void *constants, const pl_row *row)
{
    const pl_pool *op = constants;
    window from = rows_of(op, row);
    int8_t *out = row->out;
    for (int32_t x = 0; x < row->columns; x++, out += op->channels) {
        set_columns(&from, op, row, x);
        maximum(op, &from, maximum_fours(op, &from, out), out);
    }
}
