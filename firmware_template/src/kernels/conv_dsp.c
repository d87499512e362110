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
    } else if (pixels == 3) {
        widen(from, count, to, 3);
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

/* A whole window inside the map in order PL_FLAT: the fours of every row as in PL_SPLIT, then what is left of the rows in pairs. */
static inline __attribute__((always_inline)) void widen_inside(
    const pl_row *row, int32_t offset, uint32_t *to, const int32_t pixels, const int32_t kernel_h, const int32_t span)
{
    const int32_t fours = span & ~3;
    uint32_t *rest = to + (kernel_h * fours >> 1) * pixels;
    uint32_t left_over = 0;
    int32_t odd = 0;
#pragma GCC unroll 3
    for (int32_t ky = 0; ky < kernel_h; ky++) {
        const int8_t *from = row->in[ky] + offset;
#pragma GCC unroll 2
        for (int32_t i = 0; i < fours; i += 4, to += 2 * pixels) {
            const uint32_t word = pl_load4(from + i);
            to[0] = pl_sxtb16(word);
            to[pixels] = pl_sxtb16_odd(word);
        }
        for (int32_t i = fours; i < span; i++) {
            if (odd) {
                *rest = pl_pack(left_over, (uint32_t)from[i]);
                rest += pixels;
            }
            left_over = (uint32_t)from[i];
            odd = !odd;
        }
    }
    if (odd) {
        *rest = pl_pack(left_over, 0);
    }
}

/* Element (ky, i) of a window, counted as in the layout of the weights: its halfword in the words of one pixel. */
static int32_t halfword(const pl_conv *op, int32_t ky, int32_t i, int32_t pixels)
{
    const int32_t span = op->kernel_w * op->channels_in;
    const int32_t fours = span & ~3;
    int32_t pair;
    int32_t half;
    if (op->order == PL_SPLIT || i < fours) {
        const int32_t k = ky * (op->order == PL_SPLIT ? (span + 3) & ~3 : fours) + i;
        pair = (k >> 2) * 2 + (k & 1);
        half = k >> 1 & 1;
    } else {
        const int32_t k = op->kernel_h * fours + ky * (span - fours) + i - fours;
        pair = k >> 1;
        half = k & 1;
    }
    return 2 * pixels * pair + half;
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
        if (pixels == 4 && op->kernel_h == 3 && span == 9) { /* the usual first layer, 3x3 on RGB: all unrolled */
            widen_inside(row, start * channels, to, 4, 3, 9);
        } else {
            widen_inside(row, start * channels, to, pixels, op->kernel_h, span);
        }
        return;
    }
    for (int32_t ky = 0; ky < op->kernel_h; ky++) {
        const int8_t *in = row->in[ky];
        const int32_t first = in ? lead * channels : span;
        const int32_t behind = in ? end * channels : span;
        const int8_t *from = in ? in + start * channels : NULL;
        if (op->order == PL_SPLIT && (first & 3) == 0 && (behind == span || (behind & 3) == 0)) {
            fill_split(op->input_zero, first, to, pixels);
            widen_split(from + first, behind - first, to + (first >> 1) * pixels, pixels);
            fill_split(op->input_zero, span - behind, to + (behind >> 1) * pixels, pixels);
            to += ((span + 3) >> 2) * 2 * pixels;
            continue;
        }
        for (int32_t i = 0; i < span; i++) {
            const int32_t value = i >= first && i < behind ? from[i] : op->input_zero;
            const int32_t row_of = op->order == PL_SPLIT ? 0 : ky; /* `to` has moved on where rows are whole */
            ((int16_t *)to)[halfword(op, row_of, i, pixels)] = (int16_t)value;
        }
        if (op->order == PL_SPLIT) {
            to += ((span + 3) >> 2) * 2 * pixels;
        }
    }
}

/* Inputs of a window in the layout of the weights, padded to a multiple of 4. */
static int32_t window_inputs(const pl_conv *op)
{
    const int32_t span = op->kernel_w * op->channels_in;
    return op->order == PL_SPLIT ? op->kernel_h * ((span + 3) & ~3) : (op->kernel_h * span + 3) & ~3;
}

static pl_block_kernel *const blocks[] = {pl_block1, pl_block2, pl_block3, pl_block4};

/* Channels whose requantisation the block kernels do not do: all by a slow rule, else an odd channel at the end. */
static void finish_raw(const pl_conv *op, pl_block block, int32_t first, int32_t pixels)
{
    const pl_requant *q = &op->requant;
    const int32_t channels = op->channels_out;
    int8_t *out = block.out;
    block.weights += (uint32_t)(first >> 1) * block.pair_bytes;
    block.pairs = 1;
    block.finish = PL_FINISH_RAW;
    for (int32_t c = first; c < channels; c += 2) {
        int32_t acc[8];
        block.scale = q->scale + c;
        block.out = (int8_t *)acc;
        blocks[pixels - 1](&block);
        block.weights += block.pair_bytes;
        pl_requantise_run(q, c, acc, pixels, out + c, channels);
        if (c + 1 < channels) {
            pl_requantise_run(q, c + 1, acc + pixels, pixels, out + c + 1, channels);
        }
    }
}

static pl_block block_of(const pl_conv *op, const pl_row *row)
{
    const pl_requant *q = &op->requant;
    const uint32_t channels = op->channels_out;
    return (pl_block){
        .x = row->scratch,
        .weights = op->weights,
        .scale = q->scale,
        .out = row->out,
        .pair_bytes = 2u * (uint32_t)window_inputs(op),
        .out_stride = channels,
        .pairs = q->fast == PL_BY_RULE ? 0 : channels / 2,
        .finish = q->fast == PL_TFLITE ? PL_FINISH_TFLITE : q->zero,
        .shifts = q->shifts,
        .zero = q->zero,
    };
}

/* All output channels of `pixels` widened windows. */
static inline __attribute__((always_inline)) void finish_block(const pl_conv *op, pl_block *block, int32_t pixels)
{
    if (block->pairs) {
        blocks[pixels - 1](block);
    }
    if (2 * block->pairs < op->channels_out) {
        finish_raw(op, *block, (int32_t)(2 * block->pairs), pixels);
    }
    block->out += pixels * op->channels_out;
}

/* Pixels of the next block: 5 that are left go as 3 + 2 and 6 as 3 + 3, quicker than 4 + 1 and 4 + 2. */
static int32_t block_size(int32_t left)
{
    return left == 5 || left == 6 ? 3 : left < 4 ? left : 4;
}

/* Four whole windows of the usual first layer, 3x3 on RGB. */
static void widen_rgb(const pl_row *row, int32_t start, int32_t stride, uint32_t *to)
{
    for (int32_t p = 0; p < 4; p++) {
        widen_inside(row, (start + p * stride) * 3, to + p, 4, 3, 9);
    }
}

void pl_conv_window(const void *constants, const pl_row *row)
{
    const pl_conv *op = constants;
    const int32_t stride = op->stride;
    const int32_t rgb = op->kernel_h == 3 && op->kernel_w == 3 && op->channels_in == 3 && row->in[0] && row->in[2];
    uint32_t *scratch = row->scratch;
    pl_block block = block_of(op, row);
    for (int32_t x = 0; x < row->columns;) {
        const int32_t pixels = block_size(row->columns - x);
        const int32_t start = x * stride - row->left;
        if (rgb && pixels == 4 && start >= 0 && start + 3 * stride + 3 <= row->valid) {
            widen_rgb(row, start, stride, scratch);
        } else {
            for (int32_t p = 0; p < pixels; p++) {
                widen_window(op, row, start + p * stride, scratch + p, pixels);
            }
        }
        finish_block(op, &block, pixels);
        x += pixels;
    }
}

/* 2 to 4 pixels `step` bytes apart at once, for a multiple of 4 channels: with 4, 4 loads, 8 SXTB16, 8 stores for 16 inputs. */
static inline __attribute__((always_inline)) void widen_pixels(
    const int8_t *from, int32_t step, int32_t channels, uint32_t *to, const int32_t pixels)
{
    const int8_t *from1 = from + step;
    const int8_t *from2 = from1 + step;
    const int8_t *from3 = from2 + step;
    for (const int8_t *end = from + channels; from != end; to += 2 * pixels) {
        const uint32_t x0 = pl_load4(from);
        const uint32_t x1 = pl_load4(from1);
        const uint32_t x2 = pixels > 2 ? pl_load4(from2) : 0;
        const uint32_t x3 = pixels > 3 ? pl_load4(from3) : 0;
        from += 4;
        from1 += 4;
        from2 += 4;
        from3 += 4;
        to[0] = pl_sxtb16(x0);
        to[1] = pl_sxtb16(x1);
        to[pixels] = pl_sxtb16_odd(x0);
        to[pixels + 1] = pl_sxtb16_odd(x1);
        if (pixels > 2) {
            to[2] = pl_sxtb16(x2);
            to[pixels + 2] = pl_sxtb16_odd(x2);
        }
        if (pixels > 3) {
            to[3] = pl_sxtb16(x3);
            to[7] = pl_sxtb16_odd(x3);
        }
    }
}

void pl_conv_pointwise(const void *constants, const pl_row *row)
{
    const pl_conv *op = constants;
    const int32_t channels = op->channels_in;
    const int32_t step = op->stride * channels;
    uint32_t *scratch = row->scratch;
    const int8_t *in = row->in[0];
    int32_t left = row->columns;
    pl_block block = block_of(op, row);
    const int whole = 2 * block.pairs == op->channels_out && (channels & 3) == 0; /* nearly always */
    while (left) {
        const int32_t pixels = block_size(left);
        if (whole && pixels > 1) {
            if (pixels == 4) {
                widen_pixels(in, step, channels, scratch, 4);
            } else if (pixels == 3) {
                widen_pixels(in, step, channels, scratch, 3);
            } else {
                widen_pixels(in, step, channels, scratch, 2);
            }
            blocks[pixels - 1](&block);
            block.out += pixels * op->channels_out;
        } else {
            for (int32_t p = 0; p < pixels; p++) {
                widen_split(in + p * step, channels, scratch + p, pixels);
            }
            finish_block(op, &block, pixels);
        }
        in += pixels * step;
        left -= pixels;
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
