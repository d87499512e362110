/* conv_block_armv7em.S in C, for hosts that emulate the DSP instructions. */
#include "conv_block.h"
#include "patchline/requantise.h"

#if PL_DSP && !defined(__ARM_FEATURE_DSP)

static void accumulate(const pl_block *block, uint32_t pair, int32_t pixels, int32_t acc[2][4])
{
    const int8_t *w = block->weights + pair * block->pair_bytes;
    const uint32_t *x = block->x;
    for (int32_t p = 0; p < pixels; p++) {
        acc[0][p] = block->scale[2 * pair].bias;
        acc[1][p] = block->scale[2 * pair + 1].bias;
    }
    for (uint32_t i = 0; i < block->pair_bytes; i += 4) {
        const uint32_t word = pl_load4(w + i);
        const uint32_t a = pl_sxtb16(word);
        const uint32_t b = pl_sxtb16_odd(word);
        for (int32_t p = 0; p < pixels; p++) {
            acc[0][p] = pl_smlad(a, x[p], acc[0][p]);
            acc[1][p] = pl_smlad(b, x[p], acc[1][p]);
        }
        x += pixels;
    }
}

static int32_t finished(const pl_block *block, uint32_t channel, int32_t acc)
{
    const int32_t multiplier = block->scale[channel].multiplier;
    if (block->finish == PL_FINISH_TFLITE) {
        const int32_t right = -block->shifts[channel];
        return pl_tflite_fast(acc, multiplier, pl_tflite_addend(block->zero, right), right);
    }
    return pl_saturate8(pl_smmlar(acc, multiplier, block->finish));
}

static void all_pairs(const pl_block *block, int32_t pixels)
{
    int32_t acc[2][4];
    for (uint32_t pair = 0; pair < block->pairs; pair++) {
        accumulate(block, pair, pixels, acc);
        for (uint32_t lane = 0; lane < 2; lane++) {
            if (block->finish == PL_FINISH_RAW) {
                memcpy(block->out + 4 * pixels * (int32_t)lane, acc[lane], 4 * (size_t)pixels);
                continue;
            }
            const uint32_t channel = 2 * pair + lane;
            for (int32_t p = 0; p < pixels; p++) {
                block->out[(uint32_t)p * block->out_stride + channel] = (int8_t)finished(block, channel, acc[lane][p]);
            }
        }
        if (block->finish == PL_FINISH_RAW) {
            return;
        }
    }
}

void pl_block1(const pl_block *block) { all_pairs(block, 1); }
void pl_block2(const pl_block *block) { all_pairs(block, 2); }
void pl_block3(const pl_block *block) { all_pairs(block, 3); }
void pl_block4(const pl_block *block) { all_pairs(block, 4); }

#endif
