/* One row of a depthwise 3x3 convolution on ARMv7E-M. */
#ifndef PATCHLINE_DEPTHWISE_3X3_H
#define PATCHLINE_DEPTHWISE_3X3_H

#include "layouts.h"
#include "patchline/kernels.h"

/* Outputs that a round of the assembly's loop makes. */
enum { PL_DW3_ROUND_S1 = 6, PL_DW3_ROUND_S2 = 4 };

/* depthwise_3x3_armv7em.S reads this in this order, see layouts.h. */
typedef struct {
    int32_t row1, row2; /* bytes from row 0 to rows 1 and 2 of the window */
    int32_t store;      /* stride 1: bytes from the next column to the output that is finished */
    uint32_t channels;
    const int8_t *end; /* the next column when the loop ends, of the channel before the first */
    uint32_t mode;     /* PL_DW3_NO_LEAD: the first window's first column lies inside. PL_DW3_BORDER: not all rows do */
    const int8_t *weights;
    const pl_scale *scale;
    uint32_t padding; /* the input's zero point, twice */
    uint32_t length;  /* bytes from the first column to `end` */
    const int8_t *weights_end;
    int8_t *out;          /* stride 2: less one column and one channel */
    const int8_t *shifts; /* PL_TFLITE */
    int32_t twice;        /* PL_TFLITE: 2 * zero point of the output + 1 */
    uint32_t last;        /* the last window's last column: `padding` or PL_DW3_INSIDE */
    uint32_t mask01;      /* halves of the weight pairs of rows 0 and 1 that count */
    uint32_t mask2;       /* all ones where row 2 lies inside the map, else 0 */
    uint32_t entry;       /* where the loop is entered, see depthwise_3x3_dsp.c */
    int32_t zero;         /* zero point of the output */
} pl_dw3;

typedef void pl_dw3_kernel(const pl_dw3 *row);

pl_dw3_kernel pl_dw3_s1, pl_dw3_s2;               /* PL_SINGLE */
pl_dw3_kernel pl_dw3_s1_tflite, pl_dw3_s2_tflite; /* PL_TFLITE */

#endif
