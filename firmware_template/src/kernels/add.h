/* The additions that have short forms: full clamp, whole blocks of values. */
#ifndef PATCHLINE_ADD_H
#define PATCHLINE_ADD_H

#include <stdint.h>

#include "layouts.h"

/* out = clamp((a * multiplier_a + b * multiplier_b + offset) >> shift). add_armv7em.S reads these two, see layouts.h. */
typedef struct {
    const int8_t *a, *b;
    int8_t *out;
    const int8_t *end; /* of the output; a multiple of PL_ADD_BLOCK values */
    int32_t multiplier_a, multiplier_b, offset, shift;
} pl_add_job;

/* TFLite's sum where one input's multiplier is one half, as the larger scale's always is:
 *
 *     b' = ((b << 21) + offset_b) * multiplier_b / 2^32, rounded; that / 2^right_b, halves away from zero
 *     s = (a << 20) + offset_a + 2 * b'
 *     out = s * multiplier / 2^32, rounded; that / 2^right, halves away from zero; plus the zero point
 *
 * `half_b` and `addend` as in pl_tflite_fast. All sums stay below 2^30. */
typedef struct {
    const int8_t *a, *b;
    int8_t *out;
    int32_t offset_a, offset_b, multiplier_b, half_b, right_b, multiplier, addend, right;
    const int8_t *end;
} pl_add_tflite_job;

void pl_add_blocks(const pl_add_job *job);
void pl_add_tflite_blocks(const pl_add_tflite_job *job);

#endif
