/* Where the assembly finds what C hands it: bytes from the start of each struct, and values with a meaning.
 *
 * Assembly includes this, so it holds definitions only. layouts.c holds it against the structs. Fields that stand side by side here
 * are loaded together (LDM, LDRD): who moves one must read the code that loads it.
 */
#ifndef PATCHLINE_LAYOUTS_H
#define PATCHLINE_LAYOUTS_H

/* pl_scale: read one after the other */
#define PL_SCALE_BIAS 0
#define PL_SCALE_MULTIPLIER 4
#define PL_SCALE_SIZE 8

/* pl_requant.fast */
#define PL_FAST_BY_RULE 0
#define PL_FAST_SINGLE 1
#define PL_FAST_TFLITE 2

/* pl_block */
#define PL_BLOCK_X 0
#define PL_BLOCK_WEIGHTS 4
#define PL_BLOCK_SCALE 8
#define PL_BLOCK_OUT 12
#define PL_BLOCK_PAIR_BYTES 16
#define PL_BLOCK_OUT_STRIDE 20
#define PL_BLOCK_PAIRS 24
#define PL_BLOCK_FINISH 28
#define PL_BLOCK_SHIFTS 32
#define PL_BLOCK_ZERO 36

/* pl_block.finish, other than a zero point */
#define PL_FINISH_TFLITE 0x100
#define PL_FINISH_RAW 0x200

/* pl_dw3 */
#define PL_DW3_ROW1 0
#define PL_DW3_ROW2 4
#define PL_DW3_STORE 8
#define PL_DW3_CHANNELS 12
#define PL_DW3_END 16
#define PL_DW3_MODE 20
#define PL_DW3_WEIGHTS 24
#define PL_DW3_SCALE 28
#define PL_DW3_PADDING 32
#define PL_DW3_LENGTH 36
#define PL_DW3_WEIGHTS_END 40
#define PL_DW3_OUT 44
#define PL_DW3_SHIFTS 48
#define PL_DW3_TWICE 52
#define PL_DW3_LAST 56
#define PL_DW3_MASK01 60
#define PL_DW3_MASK2 64
#define PL_DW3_ENTRY 68
#define PL_DW3_ZERO 72

/* pl_dw3.mode, and a value of pl_dw3.last */
#define PL_DW3_NO_LEAD 1
#define PL_DW3_BORDER 2
#define PL_DW3_INSIDE 0x80000000

/* pl_dwl */
#define PL_DWL_WEIGHTS 0
#define PL_DWL_SCALE 4
#define PL_DWL_SHIFTS 8
#define PL_DWL_OUT 12
#define PL_DWL_CHANNELS 16
#define PL_DWL_OUTPUTS 20
#define PL_DWL_PITCH 24
#define PL_DWL_X 28
#define PL_DWL_X_BYTES 32
#define PL_DWL_X_STEP 36
#define PL_DWL_WEIGHTS_BYTES 40
#define PL_DWL_ADDEND 44
#define PL_DWL_RULE 48
#define PL_DWL_ZERO_SUM 52
#define PL_DWL_SKIPPED 56
#define PL_DWL_TO 72
#define PL_DWL_COLUMN_BYTES 76
#define PL_DWL_IN_PITCH 80
#define PL_DWL_SPAN 84
#define PL_DWL_ROWS 88
#define PL_DWL_LINES 92

/* pl_add_job, and values of a round */
#define PL_ADD_A 0
#define PL_ADD_B 4
#define PL_ADD_OUT 8
#define PL_ADD_END 12
#define PL_ADD_MULTIPLIER_A 16
#define PL_ADD_MULTIPLIER_B 20
#define PL_ADD_OFFSET 24
#define PL_ADD_SHIFT 28
#define PL_ADD_BLOCK 8

/* pl_add_tflite_job */
#define PL_ADD_TFLITE_A 0
#define PL_ADD_TFLITE_B 4
#define PL_ADD_TFLITE_OUT 8
#define PL_ADD_TFLITE_OFFSET_A 12
#define PL_ADD_TFLITE_OFFSET_B 16
#define PL_ADD_TFLITE_MULTIPLIER_B 20
#define PL_ADD_TFLITE_HALF_B 24
#define PL_ADD_TFLITE_RIGHT_B 28
#define PL_ADD_TFLITE_MULTIPLIER 32
#define PL_ADD_TFLITE_ADDEND 36
#define PL_ADD_TFLITE_RIGHT 40
#define PL_ADD_TFLITE_END 44

#endif
