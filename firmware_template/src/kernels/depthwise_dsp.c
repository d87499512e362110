/* Depthwise convolution 5x5 and 7x7 with the ARMv7E-M DSP instructions.
 *
 * Channel by channel, the columns that up to 16 outputs need are gathered into scratch as pairs of rows, (0,1), (2,3), ..., with the
 * zero point in place of padding. Then a product of two rows takes one SMLAD, and four outputs share each loaded pair.
 * Cortex-M4: gathering about 3.5 cycles an input; 5x5 at stride 1 then takes 60 SMLAD and about 45 cycles of loads for the
 * 100 products of four outputs.
 */
#include <stddef.h>

#include "patchline/requantise.h"

#if PL_DSP

/* CHUNK is known to patchline.schedule.memory: scratch is [pairs of rows][columns of CHUNK outputs] words. */
enum { BLOCK = 4, CHUNK = 16, MAX_KERNEL = 7 };

/* `count` columns of all rows of one channel, `pitch` words from pair to pair; every row lies inside the map. */
static inline __attribute__((always_inline)) void gather_inside(
    uint32_t *to, const int32_t pitch, const int8_t *const *rows, int32_t offset, int32_t channels, int32_t count,
    const int32_t kernel)
{
    const int8_t *in[MAX_KERNEL] = {NULL};
#pragma GCC unroll 7
    for (int32_t i = 0; i < kernel; i++) {
        in[i] = rows[i] + offset;
    }
    int32_t at = 0;
    for (const uint32_t *end = to + count; to != end; to++) {
#pragma GCC unroll 3
        for (int32_t pair = 0; pair < kernel / 2; pair++) {
            const uint32_t upper = (uint32_t)in[2 * pair][at];
            const uint32_t lower = (uint32_t)in[2 * pair + 1][at];
            to[pair * pitch] = pl_pack(upper, lower);
        }
        to[kernel / 2 * pitch] = (uint32_t)in[kernel - 1][at]; /* its partner has weight 0 */
        at += channels;
    }
}

/* The same where some rows lie outside the map, one pair of rows after the other. */
static __attribute__((noinline)) void gather_border(
    uint32_t *to, int32_t pitch, const int8_t *const *rows, int32_t offset, int32_t channels, int32_t count, int32_t kernel,
    const int8_t *zero)
{
    for (int32_t i = 0; i < kernel; i += 2, to += pitch) {
        const int8_t *below = i + 1 < kernel ? rows[i + 1] : NULL;
        const int8_t *a = rows[i] ? rows[i] + offset : zero;
        const int8_t *b = below ? below + offset : zero;
        const int32_t step_a = rows[i] ? channels : 0;
        const int32_t step_b = below ? channels : 0;
        for (int32_t x = 0; x < count; x++) {
            to[x] = pl_pack((uint32_t)*a, (uint32_t)*b);
            a += step_a;
            b += step_b;
        }
    }
}

/* acc[j] += the products of one pair of rows for four outputs. */
static inline __attribute__((always_inline)) void products(
    int32_t *acc, const uint32_t *x, const int8_t *w, const int32_t kernel, const int32_t stride)
{
    uint32_t weights = 0;
#pragma GCC unroll 7
    for (int32_t kx = 0; kx < kernel; kx++) {
        if ((kx & 1) == 0) {
            weights = pl_load4(w + 2 * kx);
        }
        const uint32_t pair = kx & 1 ? pl_sxtb16_odd(weights) : pl_sxtb16(weights);
#pragma GCC unroll 4
        for (int32_t j = 0; j < BLOCK; j++) {
            acc[j] = pl_smlad(x[j * stride + kx], pair, acc[j]);
        }
    }
}

static inline __attribute__((always_inline)) void depthwise(
    const pl_depthwise *op, const pl_row *row, const int32_t kernel, const int32_t stride)
{
    const int32_t pairs = (kernel + 1) / 2;
    const int32_t pitch = (CHUNK - 1) * stride + kernel;
    const int32_t weight_row = 4 * pairs;
    const int32_t channels = op->channels;
    const uint32_t padding = ((uint32_t)op->input_zero & 0xffffu) * 0x10001u;
    uint32_t *line = row->scratch;
    int32_t whole = 1;
    for (int32_t i = 0; i < kernel; i++) {
        whole &= row->in[i] != NULL;
    }
    for (int32_t x = 0; x < row->columns; x += CHUNK) {
        const int32_t outputs = row->columns - x < CHUNK ? row->columns - x : CHUNK;
        const int32_t first = x * stride - row->left;
        const int32_t needed = (outputs - 1) * stride + kernel;
        const int32_t lead = first < 0 ? -first : 0; /* columns left of the map; fewer than the kernel has */
        int32_t end = row->valid - first;
        end = end > needed ? needed : end < lead ? lead : end;
        const int8_t *w = op->weights;
        for (int32_t p = 0; p < pairs; p++) { /* the same for all channels */
            for (int32_t i = 0; i < lead; i++) {
                line[p * pitch + i] = padding;
            }
            for (int32_t i = end; i < needed; i++) {
                line[p * pitch + i] = padding;
            }
        }
        for (int32_t channel = 0; channel < channels; channel++, w += pairs * weight_row) {
            const int32_t offset = (first + lead) * channels + channel;
            if (whole) {
                gather_inside(line + lead, pitch, row->in, offset, channels, end - lead, kernel);
            } else {
                gather_border(line + lead, pitch, row->in, offset, channels, end - lead, kernel, &op->input_zero);
            }
            const int32_t bias = op->requant.scale[channel].bias;
            int8_t *out = row->out + x * channels + channel;
            for (int32_t done = 0; done < outputs; done += BLOCK) {
                int32_t acc[BLOCK] = {bias, bias, bias, bias};
                for (int32_t p = 0; p < pairs; p++) {
                    products(acc, line + p * pitch + done * stride, w + p * weight_row, kernel, stride);
                }
                const int32_t count = outputs - done < BLOCK ? outputs - done : BLOCK;
                pl_requantise_run(&op->requant, channel, acc, count, out, channels);
                out += BLOCK * channels;
            }
        }
    }
}

void pl_depthwise_5s1(const void *constants, const pl_row *row) { depthwise(constants, row, 5, 1); }
void pl_depthwise_5s2(const void *constants, const pl_row *row) { depthwise(constants, row, 5, 2); }
void pl_depthwise_7s1(const void *constants, const pl_row *row) { depthwise(constants, row, 7, 1); }
void pl_depthwise_7s2(const void *constants, const pl_row *row) { depthwise(constants, row, 7, 2); }

#endif
