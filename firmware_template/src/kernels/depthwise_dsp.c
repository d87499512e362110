/* Depthwise convolution with the ARMv7E-M DSP instructions, along the row of one channel.
 *
 * Four outputs at a time: per kernel row their inputs are loaded once and paired with PKHBT, so that two products take
 * one SMLAD. Stride 1 and kernel width 3: 6 loads, 4 PKHBT, 8 multiplies for 12 products.
 */
#include "depthwise.h"
#include "patchline/requantise.h"

#if PL_DSP

enum { OUTPUTS = 4, MAX_WIDTH = 7 };

static inline __attribute__((always_inline)) void store(const pl_requant *q, int32_t channel, int32_t acc, int8_t *out)
{
    *out = pl_requantise(q, channel, acc);
}

/* acc[j] += the products of one kernel row for outputs j = 0..count-1; `in` is the first input of output 0. */
static inline __attribute__((always_inline)) void kernel_row(
    int32_t *acc, const int8_t *in, int32_t pitch, const int8_t *w, const int32_t width, const int32_t stride, const int32_t count)
{
    uint32_t x[MAX_WIDTH + (OUTPUTS - 1) * 2];
    uint32_t pairs[4];
    const uint32_t w0 = pl_load4(w);
    pairs[0] = pl_sxtb16(w0);
    pairs[1] = pl_sxtb16_odd(w0);
    if (width > 4) {
        const uint32_t w1 = pl_load4(w + 4);
        pairs[2] = pl_sxtb16(w1);
        pairs[3] = pl_sxtb16_odd(w1);
    }
    for (int32_t i = 0; i < width + (count - 1) * stride; i++) {
        x[i] = (uint32_t)(int32_t)*in;
        in += pitch;
    }
    for (int32_t j = 0; j < count; j++) {
        const uint32_t *first = x + j * stride;
        for (int32_t i = 0; i + 1 < width; i += 2) {
            acc[j] = pl_smlad(pl_pack(first[i], first[i + 1]), pairs[i / 2], acc[j]);
        }
        acc[j] = pl_smlabb(first[width - 1], pairs[width / 2], acc[j]);
    }
}

static inline __attribute__((always_inline)) void depthwise(
    const pl_depthwise *op, const pl_row *row, const int32_t width, const int32_t stride)
{
    const int32_t channels = op->channels;
    const int32_t weight_row = width > 4 ? 8 : 4;
    /* the rows inside the map; the others are filled with the zero point, a constant per channel */
    int32_t top = 0;
    while (top < op->kernel_h && !row->in[top]) {
        top++;
    }
    int32_t bottom = op->kernel_h;
    while (bottom > top && !row->in[bottom - 1]) {
        bottom--;
    }
    /* outputs whose columns all lie inside the map */
    int32_t from = (row->left + stride - 1) / stride;
    from = from > row->columns ? row->columns : from;
    const int32_t room = row->valid + row->left - width;
    int32_t to = room < 0 ? 0 : room / stride + 1;
    to = to > row->columns ? row->columns : to;
    to = to < from ? from : to;

    const int8_t *w = op->weights;
    for (int32_t channel = 0; channel < channels; channel++) {
        pl_depthwise_columns(op, row, channel, 0, from);
        int32_t bias = op->requant.scale[channel].bias;
        for (int32_t ky = 0; ky < op->kernel_h; ky++) {
            if (ky < top || ky >= bottom) {
                for (int32_t i = 0; i < weight_row; i++) {
                    bias += op->input_zero * w[ky * weight_row + i];
                }
            }
        }
        int32_t offset = (from * stride - row->left) * channels + channel;
        int8_t *out = row->out + from * channels + channel;
        int32_t x = from;
        for (; x + OUTPUTS <= to; x += OUTPUTS) {
            int32_t acc[OUTPUTS] = {bias, bias, bias, bias};
            for (int32_t ky = top; ky < bottom; ky++) {
                kernel_row(acc, row->in[ky] + offset, channels, w + ky * weight_row, width, stride, OUTPUTS);
            }
            for (int32_t j = 0; j < OUTPUTS; j++) {
                store(&op->requant, channel, acc[j], out);
                out += channels;
            }
            offset += OUTPUTS * stride * channels;
        }
        for (; x < to; x++) {
            int32_t acc = bias;
            for (int32_t ky = top; ky < bottom; ky++) {
                kernel_row(&acc, row->in[ky] + offset, channels, w + ky * weight_row, width, stride, 1);
            }
            store(&op->requant, channel, acc, out);
            out += channels;
            offset += stride * channels;
        }
        pl_depthwise_columns(op, row, channel, to, row->columns);
        w += op->kernel_h * weight_row;
    }
}

void pl_depthwise_3s1(const void *constants, const pl_row *row) { depthwise(constants, row, 3, 1); }
void pl_depthwise_3s2(const void *constants, const pl_row *row) { depthwise(constants, row, 3, 2); }
void pl_depthwise_5s1(const void *constants, const pl_row *row) { depthwise(constants, row, 5, 1); }
void pl_depthwise_5s2(const void *constants, const pl_row *row) { depthwise(constants, row, 5, 2); }
void pl_depthwise_7s1(const void *constants, const pl_row *row) { depthwise(constants, row, 7, 1); }
void pl_depthwise_7s2(const void *constants, const pl_row *row) { depthwise(constants, row, 7, 2); }

#endif
