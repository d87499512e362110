/* Depthwise convolution: portable C, which also serves the borders of the fast kernels. */
#include "depthwise.h"
#include "patchline/requantise.h"

static int32_t weight(const pl_depthwise *op, int32_t channel, int32_t ky, int32_t kx)
{
    static const uint8_t place_3x3[3][3] = {{0, 1, 4}, {2, 3, 6}, {5, 7, 8}};
    if (op->kernel_w == 3 && op->kernel_h == 3) {
        return op->weights[channel * 12 + place_3x3[ky][kx]];
    }
    if (op->stride == 2 && op->kernel_w == op->kernel_h && (op->kernel_w == 5 || op->kernel_w == 7)) {
        kx = kx & 1 ? (op->kernel_w + kx) >> 1 : kx >> 1; /* even columns first */
    }
    const int32_t across = (op->kernel_w + 1) >> 1;
    const int32_t down = (op->kernel_h + 1) >> 1;
    const int32_t quad = (channel * down + (ky >> 1)) * across + (kx >> 1);
    return op->weights[quad * 4 + (ky & 1) * 2 + (kx & 1)];
}

void pl_depthwise_columns(const pl_depthwise *op, const pl_row *row, int32_t channel, int32_t from, int32_t to)
{
    const int32_t channels = op->channels;
    for (int32_t x = from; x < to; x++) {
        const int32_t start = x * op->stride - row->left;
        int32_t acc = op->requant.scale[channel].bias;
        for (int32_t ky = 0; ky < op->kernel_h; ky++) {
            const int8_t *in = row->in[ky];
            for (int32_t kx = 0; kx < op->kernel_w; kx++) {
                const int32_t column = start + kx;
                const int inside = in && column >= 0 && column < row->valid;
                const int32_t value = inside ? in[column * channels + channel] : op->input_zero;
                acc += value * weight(op, channel, ky, kx);
            }
        }
        row->out[x * channels + channel] = pl_requantise(&op->requant, channel, acc);
    }
}

void pl_depthwise_row(const void *constants, const pl_row *row)
{
    const pl_depthwise *op = constants;
    for (int32_t channel = 0; channel < op->channels; channel++) {
        pl_depthwise_columns(op, row, channel, 0, row->columns);
    }
}

#if !PL_DSP

void pl_depthwise_3s1(const void *constants, const pl_row *row) { pl_depthwise_row(constants, row); }
void pl_depthwise_3s2(const void *constants, const pl_row *row) { pl_depthwise_row(constants, row); }
void pl_depthwise_5s1(const void *constants, const pl_row *row) { pl_depthwise_row(constants, row); }
void pl_depthwise_5s2(const void *constants, const pl_row *row) { pl_depthwise_row(constants, row); }
void pl_depthwise_7s1(const void *constants, const pl_row *row) { pl_depthwise_row(constants, row); }
void pl_depthwise_7s2(const void *constants, const pl_row *row) { pl_depthwise_row(constants, row); }

#endif
