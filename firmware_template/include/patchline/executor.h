/* The row executor: walks the plan's tables (a generated model) segment by segment, tile by tile, step by step.
 *
 * Within a step rows are pushed: the ready operator with the highest index fires; when none is ready the next input row
 * is asked for. The executor is resumable, so rows may come from a camera, a UART or a callback:
 *
 *     static int8_t arena[MY_ARENA_BYTES] __attribute__((aligned(8)));
 *     static PL_CONTEXT(memory, MY_OPS);
 *     pl_context *context = &memory.context;
 *     pl_request request;
 *
 *     pl_init(context, &my_model, arena);
 *     pl_begin(context);
 *     while (pl_advance(context, &request) == PL_NEED_ROW) { fill request.to }
 *     result = pl_output(context, 0);
 *
 * There are no globals: a program may hold several models, each with a context of its own. Models that do not run at the
 * same time may share one arena, as large as the largest of them needs; an output is valid until another model begins.
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
} pl_step;

typedef struct {
    const pl_step *steps;
    const pl_range *source_rows, *source_columns; /* what each tile reads of the input */
    uint16_t step_count, tile_rows, tile_columns;
    uint16_t source_step; /* the step that fetches input rows; PL_NO_SOURCE: none does */
    uint16_t source_scan;
} pl_segment;

#define PL_NO_SOURCE 0xffffu

typedef struct {
    uint32_t scale; /* in units of 10^-decimals; 255 * scale fits 32 bits */
    uint16_t tensor;
    int8_t zero;
    uint8_t decimals;
} pl_output_format;

/* A network and the plan by which it runs: constant, in flash. */
typedef struct {
    const pl_segment *segments;
    const pl_op *ops;
    const pl_tensor *tensors;
    const pl_output_format *outputs;
    uint32_t arena_bytes;
    uint16_t segment_count;
    uint16_t op_count;
    uint16_t output_count;
} pl_model;

/* One running model. Everything behind `model` and `arena` belongs to the executor. */
typedef struct {
    const pl_model *model;
    int8_t *arena; /* model->arena_bytes, aligned to 8 bytes; not the last bytes of a memory: kernels load up to 12 bytes ahead */
    uint16_t segment;
    uint8_t tile_row, tile_column;
    uint16_t step;
    uint16_t op;     /* the operator that runs, PL_AWAITS_ROW or PL_NO_OP */
    uint16_t next[]; /* per tensor: the next row to produce */
} pl_context;

/* Declares `name`, a union with room for the context (`name.context`) of a model of `ops` operators. */
#define PL_CONTEXT(name, ops)                                                                                                  \
    union {                                                                                                                    \
        pl_context context;                                                                                                    \
        uint8_t room[sizeof(pl_context) + sizeof(uint16_t) * ((ops) + 1)];                                                     \
    } name

#define PL_NO_OP 0xffffu
#define PL_AWAITS_ROW 0xfffeu

/* Rows that one firing may read. A build of one model sets the model's own number, a program of several models the
 * largest of theirs; a model that needs more does not compile. */
#ifndef PL_MAX_ROWS
#define PL_MAX_ROWS 32
#endif

typedef struct {
    int8_t *to;          /* where the row goes */
    uint16_t y, x0, x1;  /* columns [x0, x1) of input row y */
    uint16_t bytes;
} pl_request;

enum { PL_DONE, PL_NEED_ROW };

/* Once, before anything else. */
void pl_init(pl_context *context, const pl_model *model, int8_t *arena);

/* At the start of every inference. */
void pl_begin(pl_context *context);

/* Runs until an input row is needed or everything is done. A row asked for before counts as delivered now. */
int pl_advance(pl_context *context, pl_request *request);

/* Output `i` of the network, HWC; valid from PL_DONE until the next pl_begin. */
const int8_t *pl_output(const pl_context *context, uint32_t i);

/* Runs operator `index` for its next row or rows. Emulators hook its entry to attribute what follows to that operator. */
void pl_fire(uint32_t index, pl_context *context);

/* Address of tensor `t` at (y, x) in the current tile. */
int8_t *pl_address(const pl_context *context, uint32_t t, int32_t y, int32_t x);

#ifdef PL_TRACE
/* For host builds: before and after every firing. The row is columns [x0, x0 + count) of row y of the output. */
void pl_trace_before(const pl_context *context, uint32_t index);
void pl_trace_row(const pl_context *context, uint32_t index, int32_t y, int32_t x0, int32_t count, const int8_t *row);
/* At the start of a step, operators [first, end): what they are going to compute is not in use. */
void pl_trace_step(const pl_context *context, uint32_t first, uint32_t end);
#endif

#ifdef PL_PROFILE
typedef struct {
    uint32_t fires, cycles;
} pl_op_profile;
extern pl_op_profile pl_profile[]; /* per operator; the benchmark firmware has it */
#endif

#endif
