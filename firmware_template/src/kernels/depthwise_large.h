/* Depthwise 5x5 and 7x7 on ARMv7E-M: a chunk of an output row, channel by channel. */
#ifndef PATCHLINE_DEPTHWISE_LARGE_H
#define PATCHLINE_DEPTHWISE_LARGE_H

#include "patchline/kernels.h"

/* depthwise_large_armv7em.S reads this, see layouts.h. Scratch is [columns][pairs of rows] words. */
typedef struct {
    const int8_t *weights; /* of the first channel and the first pair of rows that counts */
    const pl_scale *scale;
    const int8_t *shifts; /* with PL_TFLITE */
    int8_t *out;
    uint32_t channels;
    uint32_t outputs;       /* of a channel */
    uint32_t pitch;         /* bytes from output to output */
    const uint32_t *x;      /* scratch: first pair of rows that counts */
    uint32_t x_bytes;       /* of the pairs of rows that count, in a column */
    uint32_t x_step;        /* bytes from the first column of an output to the next output's */
    uint32_t weights_bytes; /* of a channel */
    int32_t addend;         /* PL_SINGLE: the output's zero point; PL_TFLITE: twice that and one */
    int32_t rule;           /* PL_SINGLE, PL_TFLITE, or PL_BY_RULE: accumulators go to `out` as int32 */
    uint32_t zero_sum;      /* the input's zero point and 256 times it */
    int32_t skipped[4];     /* from `weights` to the sums of pairs of rows that are padding as a whole; 1 ends the list */
    int16_t *to;            /* scratch: first row and column to gather */
    uint32_t column_bytes;  /* from column to column of scratch */
    uint32_t in_pitch;      /* bytes from column to column of the map */
    uint32_t span;          /* bytes of the columns to gather, in the map */
    uint32_t rows;          /* to gather; they follow each other */
    const int8_t *lines[7]; /* `span` behind each row's first column to gather */
} pl_dwl;

typedef void pl_dwl_kernel(const pl_dwl *job);

pl_dwl_kernel pl_dwl_5s1, pl_dwl_5s2, pl_dwl_7s1, pl_dwl_7s2;

#endif
