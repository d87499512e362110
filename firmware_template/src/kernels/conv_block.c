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

static void finished(const pl_block *block, int32_t pixels)
{
    int32_t acc[2][4];
    for (uint32_t pair = 0; pair < block->pairs; pair++) {
        accumulate(block, pair, pixels, acc);
        for (int32_t lane = 0; lane < 2; lane++) {
            const int32_t multiplier = block->scale[2 * pair + (uint32_t)lane].multiplier;
            for (int32_t p = 0; p < pixels; p++) {
                const int32_t value = pl_saturate8(pl_smmlar(acc[lane][p], multiplier, block->zero));
                block->out[(uint32_t)p * block->out_stride + 2 * pair + (uint32_t)lane] = (int8_t)value;
            }
        }
    }
}

static void raw(const pl_block *block, int32_t pixels)
{
    int32_t acc[2][4];
    accumulate(block, 0, pixels, acc);
    for (int32_t lane = 0; lane < 2; lane++) {
        memcpy(block->out + 4 * pixels * lane, acc[lane], 4 * (size_t)pixels);
    }
}

void pl_block1(const pl_block *block) { finished(block, 1); }
void pl_block2(const pl_block *block) { finished(block, 2); }
void pl_block3(const pl_block *block) { finished(block, 3); }
void pl_block4(const pl_block *block) { finished(block, 4); }
void pl_block1_raw(const pl_block *block) { raw(block, 1); }
void pl_block2_raw(const pl_block *block) { raw(block, 2); }
void pl_block3_raw(const pl_block *block) { raw(block, 3); }
void pl_block4_raw(const pl_block *block) { raw(block, 4); }

#endif
