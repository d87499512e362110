/* The row executor; see executor.h. */
#include "patchline/executor.h"

#include <string.h>

#include "model_config.h"

#ifdef PL_PROFILE
#include "board.h"
pl_op_profile pl_profile[MODEL_OPS];
#endif

static struct {
    uint16_t segment, tile_row, tile_column, step;
    uint8_t asked;  /* an input row has been asked for */
    uint8_t source; /* this step fetches input rows */
} state;

uint16_t pl_current_op;

static const pl_segment *segment_now(void)
{
    return pl_model.segments + state.segment;
}

static const pl_phase *step_now(void)
{
    return segment_now()->steps + state.step;
}

/* Rows and columns that the current tile computes of tensor t. */
static const pl_range *rows_of(uint32_t t)
{
    return (t ? pl_model.tensors[t].rows : segment_now()->source_rows) + state.tile_row;
}

static const pl_range *columns_of(uint32_t t)
{
    return (t ? pl_model.tensors[t].columns : segment_now()->source_columns) + state.tile_column;
}

static int empty(const pl_range *range)
{
    return range->high <= range->low;
}

int8_t *pl_address(uint32_t t, int32_t y, int32_t x)
{
    const pl_tensor *tensor = pl_model.tensors + t;
    const int32_t column = tensor->whole ? x : x - columns_of(t)->low;
    const int32_t slot = tensor->whole ? y : y % tensor->slots;
    return pl_arena + tensor->offset + (slot * tensor->pitch + column) * tensor->channels;
}

/* Row and column ranges that operator `index` walks: of its output, or of its input for a global pool. */
static inline const pl_range *walk_rows(uint32_t index)
{
    const pl_op *op = pl_model.ops + index;
    return op->kind == PL_GLOBAL ? ((const pl_global_pool *)op->constants)->rows + state.tile_row : rows_of(index + 1);
}

static const pl_range *walk_columns(uint32_t index)
{
    const pl_op *op = pl_model.ops + index;
    return op->kind == PL_GLOBAL ? ((const pl_global_pool *)op->constants)->columns + state.tile_column : columns_of(index + 1);
}

/* Where the window of an output row or column begins in the input; `strided` is its number times the stride. */
static int32_t window_start(const pl_op *op, int32_t strided, int32_t pad)
{
    return (__builtin_expect(op->up != 1, 0) ? strided / op->up : strided) - pad;
}

static int32_t first_row(const pl_op *op, int32_t y)
{
    return window_start(op, y * op->stride_h, op->pad_h);
}

/* Rows that an operator computes when it fires at row y: where a call ends at a multiple of the batch, its rows lie one behind the
 * other in every ring. */
static int32_t rows_due(const pl_op *op, int32_t y, int32_t high)
{
    if (op->batch == 1) {
        return 1;
    }
    const int32_t rows = op->batch - y % op->batch;
    return rows < high - y ? rows : high - y;
}

/* Rows [first, end) of tensor t, which the current step makes, are there as far as it has them. */
static inline int available(uint32_t t, int32_t first, int32_t end)
{
    const int32_t done = pl_next[t];
    if (t && pl_model.ops[t - 1].kind == PL_GLOBAL) { /* counts rows of its input: its one row is there after the last */
        return done >= walk_rows(t - 1)->high;
    }
    if (done >= end && end > 0) {
        return 1;
    }
    const int32_t height = pl_model.tensors[t].height;
    const int32_t needed = end < height && height > 1 ? end : height; /* the gate of a Mul has one row for all */
    return done >= needed || (first >= height && height > 1);
}

/* Operator `index` of a step that begins with operator `begin` can fire. */
static inline int ready(uint32_t index, uint32_t begin)
{
    const pl_op *op = pl_model.ops + index;
    const int32_t y = pl_next[index + 1];
    const int32_t high = walk_rows(index)->high;
    if (y >= high) {
        return 0;
    }
    const int32_t first = first_row(op, y);
    const int32_t end = first + op->kernel_h + rows_due(op, y, high) - 1;
    const uint16_t *t = op->inputs;
    for (uint32_t left = op->input_count; left; left--, t++) {
        const int made_here = *t ? *t > begin : state.source;
        if (made_here && !available(*t, first, end)) {
            return 0;
        }
    }
    return 1;
}

/* Addresses of column x of rows [first, first + count) of tensor t, NULL above and below the map; returns the end of the list. */
static const int8_t **window_rows(uint32_t t, int32_t first, int32_t count, int32_t x, const int8_t **in)
{
    const pl_tensor *tensor = pl_model.tensors + t;
    const int32_t end = first + count < tensor->height ? first + count : tensor->height;
    int32_t y = first;
    for (; y < 0 && y < first + count; y++) {
        *in++ = NULL;
    }
    if (y < end) {
        const int8_t *row = pl_address(t, y, x);
        const int32_t pitch = tensor->pitch * tensor->channels;
        int32_t slot = tensor->whole ? y : y % tensor->slots;
        for (; y < end; y++) {
            *in++ = row;
            row += pitch;
            if (++slot == tensor->slots) {
                slot = 0;
                row -= pitch * tensor->slots;
            }
        }
    }
    for (; y < first + count; y++) {
        *in++ = NULL;
    }
    return in;
}

/* Not inlined, so that an emulator can hook its entry. */
__attribute__((noinline)) void pl_fire(uint32_t index)
{
    const pl_op *op = pl_model.ops + index;
    const int8_t *in[MODEL_MAX_ROWS];
    const int32_t y = pl_next[index + 1];
    const pl_range *columns = walk_columns(index);
    const int32_t padded = window_start(op, columns->low * op->stride_w, op->pad_w);
    const int32_t x = padded < 0 ? 0 : padded;
    pl_row row;
    const int8_t **next_in = in;

    pl_current_op = (uint16_t)index;
    for (uint32_t i = 0; i < op->input_count; i++) {
        const uint32_t t = op->inputs[i];
        const int32_t height = pl_model.tensors[t].height;
        if (height == 1 && op->input_count > 1) { /* the gate of a Mul */
            *next_in++ = pl_address(t, 0, pl_model.tensors[t].width == 1 ? 0 : x);
        } else {
            next_in = window_rows(t, first_row(op, y), op->kernel_h, x, next_in);
        }
    }
    row.in = in;
    const int32_t width = columns->high - columns->low;
    const int32_t due = rows_due(op, y, walk_rows(index)->high);
    row.columns = due * width; /* to a 1x1 convolution several rows are a long one */
    row.left = x - padded;
    row.valid = due * pl_model.tensors[op->inputs[0]].width - x;
    row.first = columns->low;
    row.y = y;
    row.scratch = pl_arena + op->scratch;
    if (op->kind == PL_GLOBAL) {
        const pl_range *rows_read = walk_rows(index);
        if (y == rows_read->low && state.tile_row == 0 && state.tile_column == 0) {
            memset(row.scratch, 0, 4u * pl_model.tensors[index + 1].channels);
        }
        const int last = y + 1 == rows_read->high && !empty(rows_of(index + 1)) && !empty(columns_of(index + 1));
        row.out = last ? pl_address(index + 1, 0, 0) : NULL;
    } else {
        row.out = pl_address(index + 1, y, columns->low);
    }
#ifdef PL_TRACE
    pl_trace_before(index);
#endif
#ifdef PL_PROFILE
    const uint32_t start = board_cycles();
    op->kernel(op->constants, &row);
    pl_profile[index].cycles += board_cycles() - start;
    pl_profile[index].fires++;
#else
    op->kernel(op->constants, &row);
#endif
    pl_next[index + 1] += (uint16_t)due;
#ifdef PL_TRACE
    if (op->kind != PL_GLOBAL) {
        for (int32_t i = 0; i < due; i++) {
            pl_trace_row(index, y + i, row.first, width, row.out + i * width * pl_model.tensors[index + 1].channels);
        }
    } else if (row.out) {
        pl_trace_row(index, 0, 0, 1, row.out);
    }
#endif
}

/* A tensor starts at the first row of its tile; one without columns in this strip is as good as done. */
static uint16_t start_row(const pl_range *rows, const pl_range *columns)
{
    return empty(columns) ? rows->high : rows->low;
}

static void begin_step(void)
{
    const pl_phase *step = step_now();
    state.source = state.step == segment_now()->source_step;
    for (uint32_t i = step->first; i < step->end; i++) {
        pl_next[i + 1] = start_row(walk_rows(i), walk_columns(i));
    }
    if (state.source) {
        pl_next[0] = start_row(rows_of(0), columns_of(0));
    }
#ifdef PL_TRACE
    pl_trace_step(step->first, step->end);
#endif
}

const int8_t *model_output(uint32_t i)
{
    return pl_address(pl_outputs[i].tensor, 0, 0);
}

void model_begin(void)
{
    memset(&state, 0, sizeof state);
    begin_step();
}

/* 0 when the last step of the last tile of the last segment is done. */
static int next_step(void)
{
    const pl_segment *segment = segment_now();
    if (++state.step == segment->step_count) {
        state.step = 0;
        if (++state.tile_column == segment->tile_columns) {
            state.tile_column = 0;
            if (++state.tile_row == segment->tile_rows) {
                state.tile_row = 0;
                if (++state.segment == pl_model.segment_count) {
                    return 0;
                }
            }
        }
    }
    begin_step();
    return 1;
}

int model_step(pl_request *request)
{
    if (state.segment >= pl_model.segment_count) {
        return MODEL_DONE;
    }
    int32_t scan = -1; /* operator to look at next, downwards */
    if (state.asked) {
        state.asked = 0;
        pl_next[0]++;
        scan = segment_now()->source_scan;
    }
    do {
        const int32_t first = step_now()->first;
        if (scan < 0) {
            scan = step_now()->end - 1;
        }
        while (scan >= first) {
            if (ready((uint32_t)scan, (uint32_t)first)) {
                pl_fire((uint32_t)scan);
                scan = pl_model.ops[scan].scan;
            } else {
                scan--;
            }
        }
        scan = -1;
        if (state.source && pl_next[0] < rows_of(0)->high) {
            const pl_range *columns = columns_of(0);
            state.asked = 1;
            request->y = pl_next[0];
            request->x0 = columns->low;
            request->x1 = columns->high;
            request->bytes = (uint16_t)((columns->high - columns->low) * pl_model.tensors[0].channels);
            request->to = pl_address(0, request->y, request->x0);
            return MODEL_NEED_ROW;
        }
    } while (next_step());
    pl_current_op = PL_NO_OP;
    return MODEL_DONE;
}
