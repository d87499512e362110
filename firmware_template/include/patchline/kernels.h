/* Kernels: every operator computes one output row from the input rows of its window.
 *
 * Each takes its constants (a struct below, emitted by the code generator) and a `pl_row`. The formulas are those of
 * patchline.network.arithmetic; the zero points of the inputs are folded into the biases, so padding is filled with the
 * input's zero point.
 */
#ifndef PATCHLINE_KERNELS_H
#define PATCHLINE_KERNELS_H

#include <stdint.h>

/* One call of a kernel. Rows are HWC: column c of a row begins c * channels bytes after its pointer. */
typedef struct {
    const int8_t *const *in; /* input rows of the window; NULL above and below the map. Several inputs: one row each */
    int8_t *out;             /* first output column to write */
    void *scratch;           /* working memory of this operator, as planned */
    int32_t columns;         /* output columns to write */
    int32_t left;            /* padding columns before in[] in the window of the first output */
    int32_t valid;           /* columns from in[] to the right edge of the map */
    int32_t first;           /* the first output column's place in the map */
    int32_t y;               /* the output row's; of a global pool, the input row's */
} pl_row;

typedef void pl_kernel(const void *constants, const pl_row *row);

typedef struct {
    int32_t bias;
    int32_t multiplier;
} pl_scale;

/* How an int32 accumulator becomes int8. `shifts` is NULL where all are 0 (rule single only). */
typedef struct {
    const pl_scale *scale; /* per channel (Conv, Depthwise), per count of cells (average pool), else one entry */
    const int8_t *shifts;
    int16_t low, high; /* clamp */
    int8_t zero;       /* zero point of the output */
    uint8_t tflite;    /* rule: 0 single, 1 tflite, 2 tflite_once */
    uint8_t fast;      /* one of the short ways below, or PL_BY_RULE */
} pl_requant;

/* The short ways to requantise, all with full clamp. PL_SINGLE: no shifts, one SMMLAR and one saturation. PL_TFLITE: rule tflite where
 * every shift lies in -22..-1, no multiplier is negative and no accumulator can leave (-2^30, 2^30), see pl_tflite_fast.
 * PL_MOSTLY_SINGLE, of depthwise kernels only: as PL_SINGLE, but for the few channels that have a shift. */
enum { PL_BY_RULE, PL_SINGLE, PL_TFLITE, PL_MOSTLY_SINGLE };

/* Weights of two output channels lie interleaved so that SXTB16 of a word gives one channel's pair and SXTB16 with ROR 8
 * the other's: bytes (a[i], b[i], a[j], b[j]). In order PL_SPLIT the pairs of every four inputs are (0,2) and (1,3), as
 * SXTB16 splits four input bytes, and every kernel row is padded to a multiple of 4 inputs. In order PL_FLAT so are the whole fours of
 * every kernel row, one row after the other; then what is left of the rows follows without gaps in pairs (0,1), (2,3).
 * Padding has weight 0. */
enum { PL_SPLIT, PL_FLAT };

typedef struct {
    const int8_t *weights;
    pl_requant requant;
    uint16_t channels_in, channels_out;
    uint16_t kernel_h, kernel_w;
    uint8_t stride; /* columns */
    uint8_t order;
    int8_t input_zero;
} pl_conv;

pl_kernel pl_conv_window;    /* any window; scratch: 4 windows of int16 */
pl_kernel pl_conv_pointwise; /* 1x1 without padding, order PL_SPLIT; scratch: 4 pixels of int16 */
pl_kernel pl_conv_dense;     /* one output column, no padding, order PL_SPLIT; no scratch */

/* Weights, channel by channel, so that SXTB16 yields pairs of rows. A 3x3 kernel takes 12 bytes: 00 01 10 11  02 20 12 21  22 and
 * three zeros (row, column). Others: [pairs of rows][pairs of columns] of four bytes, 00 01 10 11, with zeros beyond the kernel.
 * 5x5 and 7x7: in place of the last column's partner stands the sum of the pair's weights, its low byte (signed) above its high one;
 * at column stride 2 the even columns come before the odd ones. */
typedef struct {
    const int8_t *weights;
    pl_requant requant;
    uint16_t channels;
    uint16_t kernel_h, kernel_w;
    uint8_t stride;
    int8_t input_zero;
} pl_depthwise;

pl_kernel pl_depthwise_row; /* any kernel */
pl_kernel pl_depthwise_3s1; /* kernel 3x3, column stride 1, and so on */
pl_kernel pl_depthwise_3s2;
pl_kernel pl_depthwise_5s1; /* 5x5 and 7x7 need scratch for 16 outputs */
pl_kernel pl_depthwise_5s2;
pl_kernel pl_depthwise_7s1;
pl_kernel pl_depthwise_7s2;

/* q = clamp((a * multipliers[0] + b * multipliers[1] + offset) >> shift) */
typedef struct {
    int32_t multipliers[2];
    int32_t offset;
    uint16_t channels;
    int16_t low, high;
    uint8_t shift;
} pl_add;

pl_kernel pl_add_row;

typedef struct {
    int32_t multipliers[3]; /* input 0, input 1, output */
    uint16_t channels;
    int16_t low, high;
    int8_t shifts[3];
    int8_t zeros[3];
} pl_add_tflite;

pl_kernel pl_add_tflite_row;

typedef struct {
    pl_requant requant;
    uint16_t channels;
    int8_t zeros[2];
    uint8_t gate; /* the second input is (1, 1, channels) */
} pl_mul;

pl_kernel pl_mul_row;

typedef struct {
    pl_requant requant; /* average; rule tflite with `scale` NULL: rounded division by the count */
    uint16_t channels;
    uint16_t kernel_h, kernel_w;
    uint8_t stride;
    int8_t input_zero;
} pl_pool;

pl_kernel pl_average_pool_row;
pl_kernel pl_max_pool_row;

typedef struct pl_range {
    uint16_t low, high;
} pl_range;

/* Adds a row to the int32 sums in `scratch`; where `out` is not NULL it then writes the result there. */
typedef struct {
    pl_requant requant;
    const pl_range *rows, *columns; /* what each tile reads of the input */
    int32_t offset;                 /* -cells * input zero point */
    uint16_t channels;
    int32_t cells;
} pl_global_pool;

pl_kernel pl_global_pool_row;

typedef struct {
    const int8_t *table; /* [256], entry x + 128 */
    uint16_t channels;
} pl_lookup;

pl_kernel pl_lookup_row;

typedef struct {
    const int8_t *table; /* NULL: copied as it is */
    uint16_t channels;
} pl_concat_input;

typedef struct {
    const pl_concat_input *inputs;
    uint16_t count;
    uint16_t channels; /* of the output */
} pl_concat;

pl_kernel pl_concat_row;

typedef struct {
    uint16_t channels;
    uint8_t factor;
} pl_upsample;

pl_kernel pl_upsample_row;

/* Output i takes inputs i * stride / up - pad and those that follow, in both directions, with the weights of i % up. */
typedef struct {
    const int16_t *weights; /* [up][kernel]; those of an output sum to 256 */
    uint16_t channels;
    uint16_t kernel;
    uint8_t stride, up;
} pl_resize;

pl_kernel pl_resize_row;

typedef struct {
    uint16_t channels;
    int8_t value;
} pl_pad;

pl_kernel pl_pad_row;

typedef struct {
    const int32_t *exp; /* [256]: exp(-scale * d) for the distance d below the maximum, in Q31 */
    uint16_t channels;
} pl_softmax;

pl_kernel pl_softmax_row;

#endif
