/* The row executor: walks the plan's tables (model.c) segment by segment, tile by tile, step by step.
 *
 * Within a step rows are pushed: the ready operator with the highest index fires; when none is ready the next input row
 * is asked for. The executor is resumable, so rows may come from a camera, a UART or a callback:
 *
 *     pl_request request;
 *     model_begin();
 *     while (model_step(&request) == MODEL_NEED_ROW) { fill request.to }
 */
#ifndef PATCHLINE_EXECUTOR_H
#define PATCHLINE_EXECUTOR_H

#include <stdint.h>

#include "patchline/kernels.h"

/* Where a tensor lies in the arena and which part of it each tile computes. Tensor 0 is the input, tensor i + 1 the
 * output of operator i. Row y is in slot y % slots, column x at x - (first column of the tile), in a whole map at x. */
typedef struct {
    const pl_range *rows, *columns; /* by tile row and strip of the segment that produces it */
    uint32_t offset;
    uint16_t slots, pitch; /* rows held, columns held */
    uint16_t height, width, channels;
    uint8_t whole;
} pl_tensor;

enum { PL_WINDOW, PL_GLOBAL }; /* what an operator consumes per firing */

typedef struct {
    pl_kernel *kernel;
    const void *constants;
    const uint16_t *inputs; /* tensors */
    uint32_t scratch;       /* offset of its working memory (or its accumulators) in the arena */
    uint16_t scan;          /* where to look for the next ready operator after this one fired */
    uint16_t kernel_h, pad_h, pad_w;
    uint8_t input_count;
    uint8_t stride_h, stride_w, up;
    uint8_t batch; /* rows of one firing, up to a multiple of it; above 1 only for 1x1 convolutions of whole rows */
    uint8_t kind;
} pl_op;

typedef struct {
    uint16_t first, end; /* operators */
} pl_phase;

typedef struct {
    const pl_phase *steps;
    const pl_range *source_rows, *source_columns; /* what each tile reads of the input */
    uint16_t step_count, tile_rows, tile_columns;
    uint16_t source_step; /* the step that fetches input rows; PL_NO_SOURCE: none does */
    uint16_t source_scan;
} pl_segment;

#define PL_NO_SOURCE 0xffffu

typedef struct {
    const pl_segment *segments;
    const pl_op *ops;
    const pl_tensor *tensors;
    uint32_t arena_bytes;
    uint16_t segment_count;
    uint16_t op_count;
    uint16_t output_count;
} pl_plan;

/* Defined by model.c */
extern const pl_plan pl_model;
extern int8_t pl_arena[];
extern uint16_t pl_next[]; /* per tensor: the next row to produce */

typedef struct {
    int8_t *to;          /* where the row goes */
    uint16_t y, x0, x1;  /* columns [x0, x1) of input row y */
    uint16_t bytes;
} pl_request;

enum { MODEL_DONE, MODEL_NEED_ROW };

void model_begin(void);

/* Runs until an input row is needed or everything is done. A row asked for before counts as delivered now. */
int model_step(pl_request *request);

/* Runs operator `index` for its next row or rows. Emulators hook its entry to attribute what follows to that operator. */
void pl_fire(uint32_t index);

extern uint16_t pl_current_op; /* the operator that runs; PL_NO_OP between inferences */
#define PL_NO_OP 0xffffu

/* Output `i` of the network, HWC; valid from MODEL_DONE until the next model_begin. */
const int8_t *model_output(uint32_t i);

typedef struct {
    uint32_t scale; /* in units of 10^-decimals; 255 * scale fits 32 bits */
    uint16_t tensor;
    int8_t zero;
    uint8_t decimals;
} pl_output;

extern const pl_output pl_outputs[];

/* Address of tensor `t` at (y, x) in the current tile. */
int8_t *pl_address(uint32_t t, int32_t y, int32_t x);

#ifdef PL_TRACE
/* For host builds: before and after every firing. The row is columns [x0, x0 + count) of row y of the output. */
void pl_trace_before(uint32_t index);
void pl_trace_row(uint32_t index, int32_t y, int32_t x0, int32_t count, const int8_t *row);
/* At the start of a step, operators [first, end): what they are going to compute is not in use. */
void pl_trace_step(uint32_t first, uint32_t end);
#endif

#ifdef PL_PROFILE
typedef struct {
    uint32_t fires, cycles;
} pl_op_profile;
extern pl_op_profile pl_profile[]; /* per operator */
#endif

#endif
