/* The inner part of every convolution on ARMv7E-M: `pixels` windows, widened to int16, times all channel pairs. */
#ifndef PATCHLINE_CONV_BLOCK_H
#define PATCHLINE_CONV_BLOCK_H

#include "layouts.h"
#include "patchline/kernels.h"

/* conv_block_armv7em.S reads this, see layouts.h. PL_FINISH_RAW: the sums of ONE channel pair as int32 [2][pixels] at `out`. */
typedef struct {
    const uint32_t *x;     /* [pairs of inputs][pixels]: two int16 a word */
    const int8_t *weights; /* of the first channel pair */
    const pl_scale *scale;
    int8_t *out;          /* pixel 0, channel 0 */
    uint32_t pair_bytes;  /* weights of one channel pair: 2 * inputs, inputs a multiple of 4 */
    uint32_t out_stride;  /* bytes from pixel to pixel */
    uint32_t pairs;       /* channel pairs, at least 1 */
    int32_t finish;       /* PL_SINGLE: the zero point, else a PL_FINISH_* */
    const int8_t *shifts; /* the rest: PL_FINISH_TFLITE only */
    int32_t zero;
} pl_block;

typedef void pl_block_kernel(const pl_block *block);

pl_block_kernel pl_block1, pl_block2, pl_block3, pl_block4;

#endif
