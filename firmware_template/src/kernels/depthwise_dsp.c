/* Depthwise convolution 5x5 and 7x7 with the ARMv7E-M DSP instructions, along the row of one channel.
 *
 * Four outputs at a time: per kernel row their inputs are loaded once and paired with PKHBT, so that two products take
 * one SMLAD. Stride 1 and width 5: 8 loads, 6 PKHBT, 12 multiplies for 20 products.
 */
#include "depthwise.h"
#include "patchline/requantise.h"

#if PL_DSP

enum { OUTPUTS = 4, MAX_WIDTH = 7, MAX_INPUTS = MAX_WIDTH + (OUTPUTS - 1) * 2 };

/* acc[j] += the products of one kernel row for outputs j = 0..3; `in` is the first input of output 0. */
static inline __attribute__((always_inline)) void kernel_row(
    int32_t *acc, const int8_t *in, int32_t pitch, const int8_t *w, const int32_t width, const int32_t stride)
{
    uint32_t x[MAX_INPUTS];
    uint32_t pairs[4];
    pairs[0] = pl_sxtb16(pl_load4(w));
    pairs[1] = pl_sxtb16_odd(pl_load4(w));
    pairs[2] = pl_sxtb16(pl_load4(w + 4));
    pairs[3] = pl_sxtb16_odd(pl_load4(w + 4));
#pragma GCC unroll 16
    for (int32_t i = 0; i < width + (OUTPUTS - 1) * stride; i++) {
        x[i] = (uint32_t)(int32_t)*in;
        in += pitch;
    }
#pragma GCC unroll 4
    for (int32_t j = 0; j < OUTPUTS; j++) {
        const uint32_t *first = x + j * stride;
#pragma GCC unroll 3
        for (int32_t i = 0; i + 1 < width; i += 2) {
            acc[j] = pl_smlad(pl_pack(first[i], first[i + 1]), pairs[i / 2], acc[j]);
        }
        acc[j] = pl_smlabb(first[width - 1], pairs[width / 2], acc[j]);
    }
}

/* The inputs of four outputs in one kernel row, with the zero point where they lie outside the map. */
static inline __attribute__((always_inline)) void gather(
    int8_t *to, const int8_t *in, int32_t channels, int32_t column, int32_t count, int32_t valid, int32_t zero)
{
    in += column * channels;
    for (int32_t i = 0; i < count; i++, column++, in += channels) {
        to[i] = column >= 0 && column < valid ? *in : (int8_t)zero;
    }
}

static inline __attribute__((always_inline)) void depthwise(
    const pl_depthwise *op, const pl_row *row, const int32_t width, const int32_t stride)
{
    enum { WEIGHT_ROW = 8 };
    const int32_t channels = op->channels;
    const int32_t inputs = width + (OUTPUTS - 1) * stride;
    /* the rows inside the map; the others are filled with the zero point, a constant per channel */
    int32_t top = 0;
    while (top < width && !row->in[top]) {
        top++;
    }
    int32_t bottom = width;
    while (bottom > top && !row->in[bottom - 1]) {
        bottom--;
    }
    const int8_t *w = op->weights;
    for (int32_t channel = 0; channel < channels; channel++, w += width * WEIGHT_ROW) {
        int32_t bias = op->requant.scale[channel].bias;
        for (int32_t i = 0; i < top * WEIGHT_ROW; i++) {
            bias += op->input_zero * w[i];
        }
        for (int32_t i = bottom * WEIGHT_ROW; i < width * WEIGHT_ROW; i++) {
            bias += op->input_zero * w[i];
        }
        int8_t *out = row->out + channel;
        int32_t column = -row->left;
        for (int32_t x = 0; x < row->columns; x += OUTPUTS, column += OUTPUTS * stride) {
            int32_t acc[OUTPUTS] = {bias, bias, bias, bias};
            if (column >= 0 && column + inputs <= row->valid) {
                for (int32_t ky = top; ky < bottom; ky++) {
                    const int8_t *in = row->in[ky] + column * channels + channel;
                    kernel_row(acc, in, channels, w + ky * WEIGHT_ROW, width, stride);
                }
            } else {
                for (int32_t ky = top; ky < bottom; ky++) {
                    int8_t line[MAX_INPUTS];
                    gather(line, row->in[ky] + channel, channels, column, inputs, row->valid, op->input_zero);
                    kernel_row(acc, line, 1, w + ky * WEIGHT_ROW, width, stride);
                }
            }
#pragma GCC unroll 4
            for (int32_t j = 0; j < OUTPUTS; j++) {
                if (x + j < row->columns) {
                    *out = pl_requantise(&op->requant, channel, acc[j]);
                    out += channels;
                }
            }
        }
    }
}

void pl_depthwise_5s1(const void *constants, const pl_row *row) { depthwise(constants, row, 5, 1); }
void pl_depthwise_5s2(const void *constants, const pl_row *row) { depthwise(constants, row, 5, 2); }
void pl_depthwise_7s1(const void *constants, const pl_row *row) { depthwise(constants, row, 7, 1); }
void pl_depthwise_7s2(const void *constants, const pl_row *row) { depthwise(constants, row, 7, 2); }

#endif
