/* layouts.h against the compiler: what the assembly reads lies where it looks for it. No code. */
#include "layouts.h"

#include <stddef.h>

#include "add.h"
#include "conv_block.h"
#include "depthwise_3x3.h"
#include "depthwise_large.h"

_Static_assert(PL_BY_RULE == PL_FAST_BY_RULE && PL_SINGLE == PL_FAST_SINGLE && PL_TFLITE == PL_FAST_TFLITE, "pl_requant.fast");

#if __SIZEOF_POINTER__ == 4 /* a host reads none of it, and its pointers are longer */

/* `field` is a word at `offset`. */
#define WORD(type, field, offset)                                                                              \
    _Static_assert(offsetof(type, field) == (offset) && sizeof(((type *)0)->field) == 4, #type "." #field " moved")

WORD(pl_scale, bias, PL_SCALE_BIAS);
WORD(pl_scale, multiplier, PL_SCALE_MULTIPLIER);
_Static_assert(sizeof(pl_scale) == PL_SCALE_SIZE, "pl_scale");

WORD(pl_block, x, PL_BLOCK_X);
WORD(pl_block, weights, PL_BLOCK_WEIGHTS);
WORD(pl_block, scale, PL_BLOCK_SCALE);
WORD(pl_block, out, PL_BLOCK_OUT);
WORD(pl_block, pair_bytes, PL_BLOCK_PAIR_BYTES);
WORD(pl_block, out_stride, PL_BLOCK_OUT_STRIDE);
WORD(pl_block, pairs, PL_BLOCK_PAIRS);
WORD(pl_block, finish, PL_BLOCK_FINISH);
WORD(pl_block, shifts, PL_BLOCK_SHIFTS);
WORD(pl_block, zero, PL_BLOCK_ZERO);

WORD(pl_dw3, row1, PL_DW3_ROW1);
WORD(pl_dw3, row2, PL_DW3_ROW2);
WORD(pl_dw3, store, PL_DW3_STORE);
WORD(pl_dw3, channels, PL_DW3_CHANNELS);
WORD(pl_dw3, end, PL_DW3_END);
WORD(pl_dw3, mode, PL_DW3_MODE);
WORD(pl_dw3, weights, PL_DW3_WEIGHTS);
WORD(pl_dw3, scale, PL_DW3_SCALE);
WORD(pl_dw3, padding, PL_DW3_PADDING);
WORD(pl_dw3, length, PL_DW3_LENGTH);
WORD(pl_dw3, weights_end, PL_DW3_WEIGHTS_END);
WORD(pl_dw3, out, PL_DW3_OUT);
WORD(pl_dw3, shifts, PL_DW3_SHIFTS);
WORD(pl_dw3, twice, PL_DW3_TWICE);
WORD(pl_dw3, last, PL_DW3_LAST);
WORD(pl_dw3, mask01, PL_DW3_MASK01);
WORD(pl_dw3, mask2, PL_DW3_MASK2);
WORD(pl_dw3, entry, PL_DW3_ENTRY);
WORD(pl_dw3, zero, PL_DW3_ZERO);

WORD(pl_dwl, weights, PL_DWL_WEIGHTS);
WORD(pl_dwl, scale, PL_DWL_SCALE);
WORD(pl_dwl, shifts, PL_DWL_SHIFTS);
WORD(pl_dwl, out, PL_DWL_OUT);
WORD(pl_dwl, channels, PL_DWL_CHANNELS);
WORD(pl_dwl, outputs, PL_DWL_OUTPUTS);
WORD(pl_dwl, pitch, PL_DWL_PITCH);
WORD(pl_dwl, x, PL_DWL_X);
WORD(pl_dwl, x_bytes, PL_DWL_X_BYTES);
WORD(pl_dwl, x_step, PL_DWL_X_STEP);
WORD(pl_dwl, weights_bytes, PL_DWL_WEIGHTS_BYTES);
WORD(pl_dwl, addend, PL_DWL_ADDEND);
WORD(pl_dwl, rule, PL_DWL_RULE);
WORD(pl_dwl, zero_sum, PL_DWL_ZERO_SUM);
WORD(pl_dwl, skipped[0], PL_DWL_SKIPPED);
WORD(pl_dwl, to, PL_DWL_TO);
WORD(pl_dwl, column_bytes, PL_DWL_COLUMN_BYTES);
WORD(pl_dwl, in_pitch, PL_DWL_IN_PITCH);
WORD(pl_dwl, span, PL_DWL_SPAN);
WORD(pl_dwl, rows, PL_DWL_ROWS);
WORD(pl_dwl, lines[0], PL_DWL_LINES);

WORD(pl_add_job, a, PL_ADD_A);
WORD(pl_add_job, b, PL_ADD_B);
WORD(pl_add_job, out, PL_ADD_OUT);
WORD(pl_add_job, end, PL_ADD_END);
WORD(pl_add_job, multiplier_a, PL_ADD_MULTIPLIER_A);
WORD(pl_add_job, multiplier_b, PL_ADD_MULTIPLIER_B);
WORD(pl_add_job, offset, PL_ADD_OFFSET);
WORD(pl_add_job, shift, PL_ADD_SHIFT);

WORD(pl_add_tflite_job, a, PL_ADD_TFLITE_A);
WORD(pl_add_tflite_job, b, PL_ADD_TFLITE_B);
WORD(pl_add_tflite_job, out, PL_ADD_TFLITE_OUT);
WORD(pl_add_tflite_job, offset_a, PL_ADD_TFLITE_OFFSET_A);
WORD(pl_add_tflite_job, offset_b, PL_ADD_TFLITE_OFFSET_B);
WORD(pl_add_tflite_job, multiplier_b, PL_ADD_TFLITE_MULTIPLIER_B);
WORD(pl_add_tflite_job, half_b, PL_ADD_TFLITE_HALF_B);
WORD(pl_add_tflite_job, right_b, PL_ADD_TFLITE_RIGHT_B);
WORD(pl_add_tflite_job, multiplier, PL_ADD_TFLITE_MULTIPLIER);
WORD(pl_add_tflite_job, addend, PL_ADD_TFLITE_ADDEND);
WORD(pl_add_tflite_job, right, PL_ADD_TFLITE_RIGHT);
WORD(pl_add_tflite_job, end, PL_ADD_TFLITE_END);

#endif
