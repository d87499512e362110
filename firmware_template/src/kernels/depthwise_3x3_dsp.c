/* Depthwise convolution 3x3 with the ARMv7E-M DSP instructions, sliding along the row of one channel.
 *
 * Rows 0 and 1 of a column are paired once and used by up to three outputs. The usual case - a fast rule, at most one column of
 * padding on each side - runs in depthwise_3x3_armv7em.S; this C does all cases, and single channels that a fast rule does not fit.
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

/* Channels [begin, stop). */
static inline __attribute__((always_inline)) void depthwise(const pl_depthwise *op, const pl_row *row, const int32_t stride, int32_t begin,
                                                            int32_t stop)
{
    const int32_t channels = op->channels;
    const int32_t count = row->columns;
    const uint32_t zero = (uint32_t)op->input_zero & 0xffffu;
    const int8_t *inside = row->in[0] ? row->in[0] : row->in[1] ? row->in[1] : row->in[2];
    /* outputs [from, to) take in columns of the map only */
    const int32_t from = stride == 2 && row->left == 2 ? 1 : 0;
    int32_t to = (row->valid + row->left - 3 + stride) / stride;
    to = to > count ? count : to < from ? from : to;

    for (int32_t channel = begin; channel < stop; channel++) {
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

static __attribute__((noinline)) void channels_s1(const pl_depthwise *op, const pl_row *row, int32_t begin, int32_t stop)
{
    depthwise(op, row, 1, begin, stop);
}

static __attribute__((noinline)) void channels_s2(const pl_depthwise *op, const pl_row *row, int32_t begin, int32_t stop)
{
    depthwise(op, row, 2, begin, stop);
}

#ifdef __ARM_FEATURE_DSP

/* What the assembly needs; 0 where it cannot do the row. */
static int prepare(const pl_depthwise *op, const pl_row *row, const int32_t stride, pl_dw3 *job)
{
    const pl_requant *q = &op->requant;
    const int8_t *inside = row->in[0] ? row->in[0] : row->in[1] ? row->in[1] : row->in[2];
    const int32_t channels = op->channels;
    const int32_t reach = row->valid + row->left;            /* columns from the first window's first to the right edge */
    const int32_t needed = (row->columns - 1) * stride + 2; /* of them, but for the last window's last */
    if (q->fast == PL_BY_RULE || row->left > 1 || needed > reach) {
        return 0;
    }
    /* steps of the loop: stride 1 has two outputs more, stride 2 one */
    const int32_t steps = row->columns + stride - 3;
    const int32_t round = stride == 1 ? PL_DW3_ROUND_S1 : PL_DW3_ROUND_S2;
    const int32_t over = steps % round;
    const int32_t column = stride == 1 ? steps + 2 : steps * 2 + 1; /* the one that follows the loop */
    const int8_t *in = row->in[0] ? row->in[0] : inside;
    job->row1 = (row->in[1] ? row->in[1] : inside) - in;
    job->row2 = (row->in[2] ? row->in[2] : inside) - in;
    job->store = row->out - in - (3 - row->left) * channels;
    job->channels = op->channels;
    job->length = (uint32_t)((column - row->left) * channels);
    job->end = in + job->length - 1;
    job->mode = (row->left ? 0 : PL_DW3_NO_LEAD) | (row->in[0] && row->in[1] && row->in[2] ? 0 : PL_DW3_BORDER);
    job->weights = op->weights;
    job->weights_end = op->weights + 12 * channels;
    job->scale = q->scale;
    job->padding = ((uint32_t)op->input_zero & 0xffffu) * 0x10001u;
    job->out = row->out - channels - 1;
    job->shifts = q->shifts;
    job->twice = 2 * q->zero + 1;
    job->last = needed < reach ? PL_DW3_INSIDE : job->padding;
    job->mask01 = (row->in[0] ? 0xffffu : 0u) | (row->in[1] ? 0xffff0000u : 0u);
    job->mask2 = row->in[2] ? 0xffffffffu : 0u;
    /* the loop ends with the row; behind its entries comes that of no step and, at stride 1, that of one output */
    job->entry = (uint32_t)(steps < 0 ? round + 1 : steps == 0 ? round : over ? round - over : 0);
    job->zero = q->zero;
    return 1;
}

typedef void channels_kernel(const pl_depthwise *op, const pl_row *row, int32_t begin, int32_t stop);

static void run(const pl_depthwise *op, const pl_row *row, int32_t stride, pl_dw3_kernel *single, pl_dw3_kernel *tflite,
                channels_kernel *channels)
{
    const pl_requant *q = &op->requant;
    pl_dw3 job;
    if (!prepare(op, row, stride, &job)) {
        channels(op, row, 0, op->channels);
    } else if (q->fast == PL_TFLITE) {
        tflite(&job);
    } else {
        single(&job);
        if (q->fast == PL_MOSTLY_SINGLE) {
            for (int32_t i = 0; (i = pl_next_shifted(q, i, op->channels)) < op->channels; i++) {
                channels(op, row, i, i + 1);
            }
        }
    }
}

void pl_depthwise_3s1(const void *constants, const pl_row *row)
{
    run(constants, row, 1, pl_dw3_s1, pl_dw3_s1_tflite, channels_s1);
}

void pl_depthwise_3s2(const void *constants, const pl_row *row)
{
    run(constants, row, 2, pl_dw3_s2, pl_dw3_s2_tflite, channels_s2);
}

#else

void pl_depthwise_3s1(const void *constants, const pl_row *row)
{
    channels_s1(constants, row, 0, ((const pl_depthwise *)constants)->channels);
}

void pl_depthwise_3s2(const void *constants, const pl_row *row)
{
    channels_s2(constants, row, 0, ((const pl_depthwise *)constants)->channels);
}

#endif

#endif
