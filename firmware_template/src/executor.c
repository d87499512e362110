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
    int16_t scan;   /* operator to look at next, downwards */
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
    const int32_t slot = y % tensor->slots;
    return pl_arena + tensor->offset + (slot * tensor->pitch + column) * tensor->channels;
}

/* Row and column ranges that operator `index` walks: of its output, or of its input for a global pool. */
static const pl_range *walk_rows(uint32_t index)
{
    const pl_op *op = pl_model.ops + index;
    return op->kind == PL_GLOBAL ? ((const pl_global_pool *)op->constants)->rows + state.tile_row : rows_of(index + 1);
}

static const pl_range *walk_columns(uint32_t index)
{
    const pl_op *op = pl_model.ops + index;
    return op->kind == PL_GLOBAL ? ((const pl_global_pool *)op->constants)->columns + state.tile_column : columns_of(index + 1);
}

/* Tensor t is produced while the current step runs. */
static int in_step(uint32_t t)
{
    return t ? t > step_now()->first : state.source;
}

/* Row y of tensor t has been computed. A global pool counts rows of its input: its one row is there after the last. */
static int available(uint32_t t, int32_t y)
{
    if (t && pl_model.ops[t - 1].kind == PL_GLOBAL) {
        return pl_next[t] >= walk_rows(t - 1)->high;
    }
    return pl_next[t] > y;
}

static int32_t first_row(const pl_op *op, int32_t y)
{
    return y * op->stride_h / op->up - op->pad_h;
}

static int ready(uint32_t index)
{
    const pl_op *op = pl_model.ops + index;
    const int32_t y = pl_next[index + 1];
    if (y >= walk_rows(index)->high) {
        return 0;
    }
    for (uint32_t i = 0; i < op->input_count; i++) {
        const uint32_t t = op->inputs[i];
        if (in_step(t)) {
            const int32_t height = pl_model.tensors[t].height;
            const int32_t first = first_row(op, y);
            const int32_t last = first + op->kernel_h > height ? height - 1 : first + op->kernel_h - 1;
            if (first < height && !available(t, last)) {
                return 0;
            }
            if (height == 1 && !available(t, 0)) { /* the gate of a Mul */
                return 0;
            }
        }
    }
    return 1;
}

/* Not inlined, so that an emulator can hook its entry. */
__attribute__((noinline)) void pl_fire(uint32_t index)
{
    const pl_op *op = pl_model.ops + index;
    const int8_t *in[MODEL_MAX_ROWS];
    const int32_t y = pl_next[index + 1];
    const pl_range *columns = walk_columns(index);
    const int32_t padded = columns->low * op->stride_w / op->up - op->pad_w;
    const int32_t x = padded < 0 ? 0 : padded;
    pl_row row;
    uint32_t rows = 0;

    pl_current_op = (uint16_t)index;
    for (uint32_t i = 0; i < op->input_count; i++) {
        const uint32_t t = op->inputs[i];
        const int32_t height = pl_model.tensors[t].height;
        if (height == 1 && op->input_count > 1) { /* the gate of a Mul */
            in[rows++] = pl_address(t, 0, pl_model.tensors[t].width == 1 ? 0 : x);
            continue;
        }
        const int32_t first = first_row(op, y);
        for (int32_t k = first; k < first + op->kernel_h; k++) {
            in[rows++] = k >= 0 && k < height ? pl_address(t, k, x) : NULL;
        }
    }
    row.in = in;
    row.columns = columns->high - columns->low;
    row.left = x - padded;
    row.valid = pl_model.tensors[op->inputs[0]].width - x;
    row.first = columns->low;
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
    pl_next[index + 1]++;
#ifdef PL_TRACE
    if (op->kind != PL_GLOBAL) {
        pl_trace_row(index, y, row.first, row.columns, row.out);
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
    state.scan = (int16_t)(step->end - 1);
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
    if (state.asked) {
        state.asked = 0;
        pl_next[0]++;
        state.scan = (int16_t)segment_now()->source_scan;
    }
    do {
        const int32_t first = step_now()->first;
        while (state.scan >= first) {
            if (ready((uint32_t)state.scan)) {
                pl_fire((uint32_t)state.scan);
                state.scan = (int16_t)pl_model.ops[state.scan].scan;
            } else {
                state.scan--;
            }
        }
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
