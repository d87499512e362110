/* Dense convolution: portable C, the definition of what the fast kernels in conv_dsp.c compute. */
#include "patchline/requantise.h"

#if !PL_DSP

static int32_t round_up4(int32_t n)
{
    return (n + 3) & ~3;
}

/* Weight of window element (ky, i), i = column * channels_in + channel, for output channel `o`. */
static int32_t weight(const pl_conv *op, int32_t o, int32_t ky, int32_t i)
{
    const int32_t span = op->kernel_w * op->channels_in;
    const int32_t fours = span & ~3;
    const int32_t row = op->order == PL_SPLIT ? round_up4(span) : fours;
    const int32_t total = op->order == PL_SPLIT ? op->kernel_h * row : round_up4(op->kernel_h * span);
    int32_t k = ky * row + i;
    int32_t pair = k & 1;
    int32_t half = k >> 1 & 1;
    if (op->order == PL_FLAT && i >= fours) {
        k = op->kernel_h * fours + ky * (span - fours) + i - fours;
        pair = k >> 1 & 1;
        half = k & 1;
    }
    return op->weights[(o >> 1) * 2 * total + (k & ~3) * 2 + pair * 4 + half * 2 + (o & 1)];
}

void pl_conv_window(const void *constants, const pl_row *row)
{
    const pl_conv *op = constants;
    const int32_t channels = op->channels_in;
    for (int32_t x = 0; x < row->columns; x++) {
        const int32_t start = x * op->stride - row->left;
        int8_t *out = row->out + x * op->channels_out;
        for (int32_t o = 0; o < op->channels_out; o++) {
            int32_t acc = op->requant.scale[o].bias;
            for (int32_t ky = 0; ky < op->kernel_h; ky++) {
                const int8_t *in = row->in[ky];
                for (int32_t kx = 0; kx < op->kernel_w; kx++) {
                    const int32_t column = start + kx;
                    const int inside = in && column >= 0 && column < row->valid;
                    for (int32_t c = 0; c < channels; c++) {
                        const int32_t value = inside ? in[column * channels + c] : op->input_zero;
                        acc += value * weight(op, o, ky, kx * channels + c);
                    }
                }
            }
            out[o] = pl_requantise(&op->requant, o, acc);
        }
    }
}

void pl_conv_pointwise(const void *constants, const pl_row *row)
{
    pl_conv_window(constants, row);
}

void pl_conv_dense(const void *constants, const pl_row *row)
{
    pl_conv_window(constants, row);
}

#endif
