/* Depthwise convolution 3x3 with the ARMv7E-M DSP instructions, sliding along the row of one channel.
 *
 * Rows 0 and 1 of a column are paired once and used by up to three outputs. The usual case - one SMMLAR as requantisation, at most
 * one column of padding on the left - runs in depthwise_3x3_armv7em.S; this C does all cases.
 */
#include <stddef.h>

#include "depthwise_3x3.h"
#include "patchline/requantise.h"

#if PL_DSP

enum { RUN = 8 }; /* sums that are requantised together */

/* One column of a channel: rows 0 and 1 as a pair, row 2. */
typedef struct {
    uint32_t pair, third;
} column_values;

typedef struct {
    const int8_t *rows[3]; /* of the next column */
    int32_t pitch;
    column_values zero; /* a column of padding */
} cursor;

static inline __attribute__((always_inline)) column_values load(cursor *at)
{
    const uint32_t x0 = (uint32_t)(int32_t)*at->rows[0];
    const uint32_t x1 = (uint32_t)(int32_t)*at->rows[1];
    const uint32_t x2 = (uint32_t)(int32_t)*at->rows[2];
    at->rows[0] += at->pitch;
    at->rows[1] += at->pitch;
    at->rows[2] += at->pitch;
    return (column_values){pl_pack(x0, x1), x2};
}

/* `column` relative to the row pointers' first; only a column of the map moves the cursor. */
static inline __attribute__((always_inline)) column_values load_checked(cursor *at, int32_t column, int32_t valid)
{
    return column >= 0 && column < valid ? load(at) : at->zero;
}

static inline __attribute__((always_inline)) void depthwise(const pl_depthwise *op, const pl_row *row, const int32_t stride)
{
    const int32_t channels = op->channels;
    const int32_t count = row->columns;
    const uint32_t zero = (uint32_t)op->input_zero & 0xffffu;
    const int8_t *inside = row->in[0] ? row->in[0] : row->in[1] ? row->in[1] : row->in[2];
    /* outputs [from, to) take in columns of the map only */
    const int32_t from = stride == 2 && row->left == 2 ? 1 : 0;
    int32_t to = (row->valid + row->left - 3 + stride) / stride;
    to = to > count ? count : to < from ? from : to;

    for (int32_t channel = 0; channel < channels; channel++) {
        const int8_t *w = op->weights + channel * 12;
        uint32_t w0 = pl_sxtb16(pl_load4(w));          /* 00 10 */
        uint32_t w1 = pl_sxtb16_odd(pl_load4(w));      /* 01 11 */
        uint32_t w2 = pl_sxtb16(pl_load4(w + 4));      /* 02 12 */
        uint32_t v01 = pl_sxtb16_odd(pl_load4(w + 4)); /* 20 21 */
        uint32_t v2 = (uint32_t)(int32_t)w[8];
        int32_t bias = op->requant.scale[channel].bias;
        /* a row outside the map holds the zero point only: a constant, and weights of 0 over any row */
        if (!row->in[0]) {
            bias += op->input_zero * (w[0] + w[1] + w[4]);
            w0 &= 0xffff0000u;
            w1 &= 0xffff0000u;
            w2 &= 0xffff0000u;
        }
        if (!row->in[1]) {
            bias += op->input_zero * (w[2] + w[3] + w[6]);
            w0 &= 0xffffu;
            w1 &= 0xffffu;
            w2 &= 0xffffu;
        }
        if (!row->in[2]) {
            bias += op->input_zero * (w[5] + w[7] + w[8]);
            v01 = 0;
            v2 = 0;
        }
        cursor at = {{NULL, NULL, NULL}, channels, {zero | zero << 16, zero}};
        for (int32_t i = 0; i < 3; i++) {
            at.rows[i] = (row->in[i] ? row->in[i] : inside) + channel;
        }
        int8_t *out = row->out + channel;
        int32_t sums[RUN];
        int32_t done = 0;
        int32_t x = 0;
        column_values a = load_checked(&at, -row->left, row->valid);
        column_values b = {0, 0};
        column_values c;
        if (stride == 1) {
            b = load_checked(&at, 1 - row->left, row->valid);
        }

#define OUTPUT(A, B, C)                                                            \
    do {                                                                           \
        int32_t acc = pl_smlad(A.pair, w0, bias);                                  \
        acc = pl_smlad(B.pair, w1, acc);                                           \
        acc = pl_smlad(C.pair, w2, acc);                                           \
        acc = pl_smlad(pl_pack(A.third, B.third), v01, acc);                       \
        acc = pl_smlabb(C.third, v2, acc);                                         \
        sums[done++] = acc;                                                        \
        if (done == RUN) {                                                         \
            pl_requantise_run(&op->requant, channel, sums, RUN, out, channels);    \
            out += RUN * channels;                                                 \
            done = 0;                                                              \
        }                                                                          \
    } while (0)

        for (int part = 0; part < 2; part++) { /* before and behind the columns that need no check */
            const int32_t end = part ? count : from;
            for (; x < end; x++) {
                if (stride == 2) {
                    b = load_checked(&at, x * 2 + 1 - row->left, row->valid);
                }
                c = load_checked(&at, x * stride + 2 - row->left, row->valid);
                OUTPUT(a, b, c);
                a = stride == 2 ? c : b;
                b = c;
            }
            if (part == 0 && stride == 1) {
                for (; x + 3 <= to; x += 3) {
                    c = load(&at);
                    OUTPUT(a, b, c);
                    a = load(&at);
                    OUTPUT(b, c, a);
                    b = load(&at);
                    OUTPUT(c, a, b);
                }
            } else if (part == 0) {
                for (; x + 2 <= to; x += 2) {
                    b = load(&at);
                    c = load(&at);
                    OUTPUT(a, b, c);
                    b = load(&at);
                    a = load(&at);
                    OUTPUT(c, b, a);
                }
            }
        }
        pl_requantise_run(&op->requant, channel, sums, done, out, channels);
    }
}

#ifdef __ARM_FEATURE_DSP

/* Runs the assembly where it can; 0 where it cannot. */
static int run(const pl_depthwise *op, const pl_row *row, const int32_t stride)
{
    const pl_requant *q = &op->requant;
    const int8_t *inside = row->in[0] ? row->in[0] : row->in[1] ? row->in[1] : row->in[2];
    const int32_t reach = row->valid + row->left; /* columns from the first window's first to the right edge */
    if (q->fast != PL_SINGLE || row->left > 1 || row->valid < 2) {
        return 0;
    }
    pl_dw3 job;
    job.in = row->in[0] ? row->in[0] : inside;
    job.row1 = (row->in[1] ? row->in[1] : inside) - job.in;
    job.row2 = (row->in[2] ? row->in[2] : inside) - job.in;
    job.out = row->out;
    job.weights = op->weights;
    job.scale = q->scale;
    job.channels = op->channels;
    job.mask01 = (row->in[0] ? 0xffffu : 0u) | (row->in[1] ? 0xffff0000u : 0u);
    job.mask2 = row->in[2] ? 0xffffffffu : 0u;
    job.padding = ((uint32_t)op->input_zero & 0xffffu) * 0x10001u;
    job.zero = q->zero;
    job.lead = (uint32_t)row->left;
    const int32_t inner = stride == 1 ? reach - 2 : (reach - 1) / 2;
    job.main = (uint32_t)(inner < row->columns ? inner : row->columns);
    job.tail = (uint32_t)row->columns - job.main;
    if (stride == 1) {
        pl_dw3_s1(&job);
    } else {
        job.tail = job.tail && (reach & 1) == 0 ? 2 : job.tail;
        pl_dw3_s2(&job);
    }
    return 1;
}

#else

static int run(const pl_depthwise *op, const pl_row *row, const int32_t stride)
{
    (void)op;
    (void)row;
    (void)stride;
    return 0;
}

#endif

void pl_depthwise_3s1(const void *constants, const pl_row *row)
{
    if (!run(constants, row, 1)) {
        depthwise(constants, row, 1);
    }
}

void pl_depthwise_3s2(const void *constants, const pl_row *row)
{
    if (!run(constants, row, 2)) {
        depthwise(constants, row, 2);
    }
}

#endif
