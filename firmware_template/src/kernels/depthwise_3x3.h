/* One row of a depthwise 3x3 convolution on ARMv7E-M. */
#ifndef PATCHLINE_DEPTHWISE_3X3_H
#define PATCHLINE_DEPTHWISE_3X3_H

#include "patchline/kernels.h"

/* depthwise_3x3_armv7em.S reads this by offset. */
typedef struct {
    const int8_t *in;      /* first column of the map, row 0 */
    int32_t row1, row2;    /* bytes from row 0 to rows 1 and 2 of the window */
    int8_t *out;
    const int8_t *weights;
    const pl_scale *scale;
    uint32_t channels;
    uint32_t mask01;  /* halves of the weight pairs of rows 0 and 1 that count */
    uint32_t mask2;   /* all ones where row 2 lies inside the map, else 0 */
    uint32_t padding; /* the input's zero point, twice */
    int32_t zero;     /* zero point of the output */
    uint32_t lead; /* 1: the first column of the first window is padding */
    uint32_t main; /* outputs all of whose other columns lie inside the map */
    uint32_t tail; /* stride 1: outputs that end in padding. Stride 2: 0 or one such output, 2: with its middle inside */
} pl_dw3;

typedef void pl_dw3_kernel(const pl_dw3 *row);

pl_dw3_kernel pl_dw3_s1, pl_dw3_s2;

#endif
