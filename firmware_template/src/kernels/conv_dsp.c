/* Dense convolution with the ARMv7E-M DSP instructions.
 *
 * Up to 4 windows at a time are widened to int16 in scratch, [pair of inputs][pixel], and shared by all output channels;
 * the products are done by pl_block1..4. Widening costs about 2 cycles an input, once for all output channels.
 */
#include "conv_block.h"
#include "patchline/requantise.h"

#if PL_DSP

/* Widen `count` bytes in split order; pixel p's words lie 4 * pixels bytes apart. */
static inline __attribute__((always_inline)) void widen(const int8_t *from, int32_t count, uint32_t *to, const int32_t pixels)
{
    for (; count >= 8; count -= 8) {
        const uint32_t first = pl_load4(from);
        const uint32_t second = pl_load4(from + 4);
        to[0] = pl_sxtb16(first);
        to[pixels] = pl_sxtb16_odd(first);
        to[2 * pixels] = pl_sxtb16(second);
        to[3 * pixels] = pl_sxtb16_odd(second);
        from += 8;
        to += 4 * pixels;
    }
    for (; count > 0; count -= 4) {
        uint32_t word = (uint8_t)from[0];
        if (count >= 4) {
            word = pl_load4(from);
        } else {
            if (count > 1) {
                word |= (uint32_t)(uint8_t)from[1] << 8;
            }
            if (count > 2) {
                word |= (uint32_t)(uint8_t)from[2] << 16;
            }
        }
        to[0] = pl_sxtb16(word);
        to[pixels] = pl_sxtb16_odd(word);
        from += 4;
        to += 2 * pixels;
    }
}

static void widen_split(const int8_t *from, int32_t count, uint32_t *to, int32_t pixels)
{
    if (pixels == 4) { /* nearly always: offsets that the instructions can hold */
        widen(from, count, to, 4);
    } else {
        widen(from, count, to, pixels);
    }
}

static void fill_split(int32_t value, int32_t count, uint32_t *to, int32_t pixels)
{
    const uint32_t pair = ((uint32_t)value & 0xffffu) * 0x10001u;
    for (; count > 0; count -= 4) {
        to[0] = pair;
        to[pixels] = pair;
        to += 2 * pixels;
    }
}

/* Element k of a window in flat order is halfword 2 * pixels * (k / 2) + k % 2. */
static int16_t *flat_element(int16_t *to, int32_t k, int32_t pixels)
{
    return to + 2 * pixels * (k >> 1) + (k & 1);
}

/* `count` elements from element k on; `from` NULL: the value `fill`. */
static void widen_flat(const int8_t *from, int32_t fill, int32_t k, int32_t count, int16_t *to, int32_t pixels)
{
    int16_t *next = flat_element(to, k, pixels);
    for (int32_t i = 0; i < count; i++) {
        *next = from ? from[i] : (int16_t)fill;
        next += (k + i) & 1 ? 2 * pixels - 1 : 1;
    }
}

/* A whole window inside the map in flat order: 2 loads, PKHBT and a store for two inputs. */
static inline __attribute__((always_inline)) void widen_inside(
    const pl_conv *op, const pl_row *row, int32_t start, uint32_t *to, const int32_t pixels)
{
    const int32_t span = op->kernel_w * op->channels_in;
    uint32_t left_over = 0;
    int32_t odd = 0; /* a row ended amid a pair: its last input is left over */
    for (int32_t ky = 0; ky < op->kernel_h; ky++) {
        const int8_t *from = row->in[ky] + start * op->channels_in;
        int32_t count = span;
        if (odd) {
            *to = pl_pack(left_over, (uint32_t)*from++);
            to += pixels;
            count--;
        }
        for (; count >= 4; count -= 4) {
            to[0] = pl_pack((uint32_t)from[0], (uint32_t)from[1]);
            to[pixels] = pl_pack((uint32_t)from[2], (uint32_t)from[3]);
            from += 4;
            to += 2 * pixels;
        }
        if (count >= 2) {
            to[0] = pl_pack((uint32_t)from[0], (uint32_t)from[1]);
            from += 2;
            to += pixels;
            count -= 2;
        }
        odd = count;
        if (odd) {
            left_over = (uint32_t)*from;
        }
    }
    if (odd) {
        *to = pl_pack(left_over, 0);
    }
}

/* One window that begins at column `start` of the row pointers, into `to` (the words of its pixel). */
static void widen_window(const pl_conv *op, const pl_row *row, int32_t start, uint32_t *to, int32_t pixels)
{
    const int32_t channels = op->channels_in;
    const int32_t kernel_w = op->kernel_w;
    const int32_t span = kernel_w * channels;
    const int32_t lead = start < 0 ? (-start < kernel_w ? -start : kernel_w) : 0; /* columns left of the map */
    int32_t end = row->valid - start; /* columns of the window up to the right edge */
    end = end > kernel_w ? kernel_w : end < lead ? lead : end;
    if (op->order == PL_FLAT && lead == 0 && end == kernel_w && row->in[0] && row->in[op->kernel_h - 1]) {
        if (pixels == 4) {
            widen_inside(op, row, start, to, 4);
        } else {
            widen_inside(op, row, start, to, pixels);
        }
        return;
    }
    for (int32_t ky = 0; ky < op->kernel_h; ky++) {
        const int8_t *in = row->in[ky];
        const int8_t *from = in ? in + (start + lead) * channels : NULL;
        const int32_t first = in ? lead * channels : span;
        const int32_t inner = in ? (end - lead) * channels : 0;
        if (op->order == PL_SPLIT) {
            if (inner == span) {
                widen_split(from, span, to, pixels);
            } else if (kernel_w == 1) {
                fill_split(op->input_zero, span, to, pixels);
            } else { /* channels_in * columns need not be a multiple of 4 here: element by element */
                for (int32_t k = 0; k < span; k++) {
                    const int32_t value = k >= first && k < first + inner ? from[k - first] : op->input_zero;
                    int16_t *pair = (int16_t *)(to + ((k >> 2) * 2 + (k & 1)) * pixels);
                    pair[k >> 1 & 1] = (int16_t)value;
                }
            }
            to += ((span + 3) >> 2) * 2 * pixels;
        } else {
            const int32_t k = ky * span;
            widen_flat(NULL, op->input_zero, k, first, (int16_t *)to, pixels);
            widen_flat(from, 0, k + first, inner, (int16_t *)to, pixels);
            widen_flat(NULL, op->input_zero, k + first + inner, span - first - inner, (int16_t *)to, pixels);
        }
    }
}

/* Inputs of a window in the layout of the weights, padded to a multiple of 4. */
static int32_t window_inputs(const pl_conv *op)
{
    const int32_t span = op->kernel_w * op->channels_in;
    return op->order == PL_SPLIT ? op->kernel_h * ((span + 3) & ~3) : (op->kernel_h * span + 3) & ~3;
}

/* All output channels of `pixels` widened windows; `block` is ready but for its output. */
static void finish_any(const pl_conv *op, pl_block block, int8_t *out, int32_t pixels)
{
    static pl_block_kernel *const raw[] = {pl_block1_raw, pl_block2_raw, pl_block3_raw, pl_block4_raw};
    const pl_requant *q = &op->requant;
    const int32_t channels = op->channels_out;
    int32_t first = 0;
    if (q->fast == PL_SINGLE) { /* only the last channel, without a partner, is left */
        first = channels - 1;
        block.weights += block.pairs * block.pair_bytes;
    }
    for (int32_t c = first; c < channels; c += 2) {
        int32_t acc[8];
        block.scale = q->scale + c;
        block.out = (int8_t *)acc;
        raw[pixels - 1](&block);
        block.weights += block.pair_bytes;
        pl_requantise_run(q, c, acc, pixels, out + c, channels);
        if (c + 1 < channels) {
            pl_requantise_run(q, c + 1, acc + pixels, pixels, out + c + 1, channels);
        }
    }
}

static pl_block block_of(const pl_conv *op, const pl_row *row)
{
    const uint32_t channels = op->channels_out;
    return (pl_block){row->scratch, op->weights, op->requant.scale, row->out, 2u * (uint32_t)window_inputs(op), channels,
                      channels / 2, op->requant.zero};
}

static inline __attribute__((always_inline)) void finish_block(const pl_conv *op, pl_block *block, int32_t pixels)
{
    static pl_block_kernel *const plain[] = {pl_block1, pl_block2, pl_block3, pl_block4};
    if (op->requant.fast == PL_SINGLE && block->pairs) {
        plain[pixels - 1](block);
    }
    if (op->requant.fast != PL_SINGLE || op->channels_out & 1) {
        finish_any(op, *block, block->out, pixels);
    }
    block->out += pixels * op->channels_out;
}

/* Pixels of the next block when `left` remain: 5 goes as 3 + 2 and 6 as 3 + 3, quicker than 4 + 1 and 4 + 2. */
static int32_t block_size(int32_t left)
{
    return left == 5 || left == 6 ? 3 : left < 4 ? left : 4;
}

void pl_conv_window(const void *constants, const pl_row *row)
{
    const pl_conv *op = constants;
    uint32_t *scratch = row->scratch;
    pl_block block = block_of(op, row);
    for (int32_t x = 0; x < row->columns;) {
        const int32_t pixels = block_size(row->columns - x);
        for (int32_t p = 0; p < pixels; p++) {
            widen_window(op, row, (x + p) * op->stride - row->left, scratch + p, pixels);
        }
        finish_block(op, &block, pixels);
        x += pixels;
    }
}

/* Four pixels `step` bytes apart at once, for a multiple of 4 channels: 4 loads, 8 SXTB16, 8 stores for 16 inputs. */
static inline __attribute__((always_inline)) void widen_pixels(const int8_t *from, int32_t step, int32_t channels, uint32_t *to)
{
    const int8_t *from1 = from + step;
    const int8_t *from2 = from1 + step;
    const int8_t *from3 = from2 + step;
    for (const int8_t *end = from + channels; from != end; to += 8) {
        const uint32_t x0 = pl_load4(from);
        const uint32_t x1 = pl_load4(from1);
        const uint32_t x2 = pl_load4(from2);
        const uint32_t x3 = pl_load4(from3);
        from += 4;
        from1 += 4;
        from2 += 4;
        from3 += 4;
        to[0] = pl_sxtb16(x0);
        to[1] = pl_sxtb16(x1);
        to[2] = pl_sxtb16(x2);
        to[3] = pl_sxtb16(x3);
        to[4] = pl_sxtb16_odd(x0);
        to[5] = pl_sxtb16_odd(x1);
        to[6] = pl_sxtb16_odd(x2);
        to[7] = pl_sxtb16_odd(x3);
    }
}

void pl_conv_pointwise(const void *constants, const pl_row *row)
{
    const pl_conv *op = constants;
    const int32_t channels = op->channels_in;
    const int32_t step = op->stride * channels;
    uint32_t *scratch = row->scratch;
    const int8_t *in = row->in[0];
    pl_block block = block_of(op, row);
    for (int32_t x = 0; x < row->columns;) {
        const int32_t pixels = block_size(row->columns - x);
        if (pixels == 4 && (channels & 3) == 0) {
            widen_pixels(in, step, channels, scratch);
        } else {
            for (int32_t p = 0; p < pixels; p++) {
                widen_split(in + p * step, channels, scratch + p, pixels);
            }
        }
        in += pixels * step;
        finish_block(op, &block, pixels);
        x += pixels;
    }
}

/* One output column, so nothing to share a widened window with: inputs are split as they are loaded.
 * Per 4 inputs and 2 channels: 3 loads, 6 SXTB16, 4 SMLAD for 8 products. */
void pl_conv_dense(const void *constants, const pl_row *row)
{
    const pl_conv *op = constants;
    const int32_t span = op->kernel_w * op->channels_in;
    const int8_t *w = op->weights;
    for (int32_t o = 0; o < op->channels_out; o += 2) {
        int32_t a = op->requant.scale[o].bias;
        int32_t b = op->requant.scale[o + 1].bias;
        for (int32_t ky = 0; ky < op->kernel_h; ky++) {
            const int8_t *in = row->in[ky];
            for (int32_t left = span; left > 0; left -= 4) {
                uint32_t x;
                if (left >= 4) {
                    x = pl_load4(in);
                } else {
                    x = 0;
                    memcpy(&x, in, (size_t)left);
                }
                const uint32_t w0 = pl_load4(w);
                const uint32_t w1 = pl_load4(w + 4);
                const uint32_t even = pl_sxtb16(x);
                const uint32_t odd = pl_sxtb16_odd(x);
                a = pl_smlad(pl_sxtb16(w0), even, a);
                b = pl_smlad(pl_sxtb16_odd(w0), even, b);
                a = pl_smlad(pl_sxtb16(w1), odd, a);
                b = pl_smlad(pl_sxtb16_odd(w1), odd, b);
                in += 4;
                w += 8;
            }
        }
        row->out[o] = pl_requantise(&op->requant, o, a);
        if (o + 1 < op->channels_out) {
            row->out[o + 1] = pl_requantise(&op->requant, o + 1, b);
        }
    }
}

#endif
