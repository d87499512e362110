/* The row executor; see executor.h. */
#include "patchline/executor.h"

#include <string.h>

#ifdef PL_PROFILE
#include "board.h"
#endif

static const pl_segment *segment_now(const pl_context *c)
{
    return c->model->segments + c->segment;
}

static const pl_step *step_now(const pl_context *c)
{
    return segment_now(c)->steps + c->step;
}

/* The current step fetches input rows. */
static int fetches_input(const pl_context *c)
{
    return c->step == segment_now(c)->source_step;
}

/* Rows and columns that the current tile computes of tensor t. */
static const pl_range *rows_of(const pl_context *c, uint32_t t)
{
    return (t ? c->model->tensors[t].rows : segment_now(c)->source_rows) + c->tile_row;
}

static const pl_range *columns_of(const pl_context *c, uint32_t t)
{
    return (t ? c->model->tensors[t].columns : segment_now(c)->source_columns) + c->tile_column;
}

static int empty(const pl_range *range)
{
    return range->high <= range->low;
}

int8_t *pl_address(const pl_context *c, uint32_t t, int32_t y, int32_t x)
{
    const pl_tensor *tensor = c->model->tensors + t;
    const int32_t column = tensor->whole ? x : x - columns_of(c, t)->low;
    const int32_t slot = tensor->whole ? y : y % tensor->slots;
    return c->arena + tensor->offset + (slot * tensor->pitch + column) * tensor->channels;
}

/* Row and column ranges that operator `index` walks: of its output, or of its input for a global pool. */
static inline const pl_range *walk_rows(const pl_context *c, uint32_t index)
{
    const pl_op *op = c->model->ops + index;
    return op->kind == PL_GLOBAL ? ((const pl_global_pool *)op->constants)->rows + c->tile_row : rows_of(c, index + 1);
}

static const pl_range *walk_columns(const pl_context *c, uint32_t index)
{
    const pl_op *op = c->model->ops + index;
    return op->kind == PL_GLOBAL ? ((const pl_global_pool *)op->constants)->columns + c->tile_column : columns_of(c, index + 1);
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
static inline int available(const pl_context *c, uint32_t t, int32_t first, int32_t end)
{
    const int32_t done = c->next[t];
    if (t && c->model->ops[t - 1].kind == PL_GLOBAL) { /* counts rows of its input: its one row is there after the last */
        return done >= walk_rows(c, t - 1)->high;
    }
    if (done >= end && end > 0) {
        return 1;
    }
    const int32_t height = c->model->tensors[t].height;
    const int32_t needed = end < height && height > 1 ? end : height; /* the gate of a Mul has one row for all */
    return done >= needed || (first >= height && height > 1);
}

/* Operator `index` of a step that begins with operator `begin` can fire. */
static inline int ready(const pl_context *c, uint32_t index, uint32_t begin, int source)
{
    const pl_op *op = c->model->ops + index;
    const int32_t y = c->next[index + 1];
    const int32_t high = walk_rows(c, index)->high;
    if (y >= high) {
        return 0;
    }
    const int32_t first = first_row(op, y);
    const int32_t end = first + op->kernel_h + rows_due(op, y, high) - 1;
    const uint16_t *t = op->inputs;
    for (uint32_t left = op->input_count; left; left--, t++) {
        const int made_here = *t ? *t > begin : source;
        if (made_here && !available(c, *t, first, end)) {
            return 0;
        }
    }
    return 1;
}

/* Addresses of column x of rows [first, first + count) of tensor t, NULL above and below the map; returns the end of the list. */
static const int8_t **window_rows(const pl_context *c, uint32_t t, int32_t first, int32_t count, int32_t x, const int8_t **in)
{
    const pl_tensor *tensor = c->model->tensors + t;
    const int32_t end = first + count < tensor->height ? first + count : tensor->height;
    int32_t y = first;
    for (; y < 0 && y < first + count; y++) {
        *in++ = NULL;
    }
    if (y < end) {
        const int8_t *row = pl_address(c, t, y, x);
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
__attribute__((noinline)) void pl_fire(uint32_t index, pl_context *c)
{
    const pl_op *op = c->model->ops + index;
    const int8_t *in[PL_MAX_ROWS];
    const int32_t y = c->next[index + 1];
    const pl_range *columns = walk_columns(c, index);
    const int32_t padded = window_start(op, columns->low * op->stride_w, op->pad_w);
    const int32_t x = padded < 0 ? 0 : padded;
    pl_row row;
    const int8_t **next_in = in;

    c->op = (uint16_t)index;
    for (uint32_t i = 0; i < op->input_count; i++) {
        const uint32_t t = op->inputs[i];
        const int32_t height = c->model->tensors[t].height;
        if (height == 1 && op->input_count > 1) { /* the gate of a Mul */
            *next_in++ = pl_address(c, t, 0, c->model->tensors[t].width == 1 ? 0 : x);
        } else {
            next_in = window_rows(c, t, first_row(op, y), op->kernel_h, x, next_in);
        }
    }
    row.in = in;
    const int32_t width = columns->high - columns->low;
    const int32_t due = rows_due(op, y, walk_rows(c, index)->high);
    row.columns = due * width; /* to a 1x1 convolution several rows are a long one */
    row.left = x - padded;
    row.valid = due * c->model->tensors[op->inputs[0]].width - x;
    row.first = columns->low;
    row.y = y;
    row.scratch = c->arena + op->scratch;
    if (op->kind == PL_GLOBAL) {
        const pl_range *rows_read = walk_rows(c, index);
        if (y == rows_read->low && c->tile_row == 0 && c->tile_column == 0) {
            memset(row.scratch, 0, 4u * c->model->tensors[index + 1].channels);
        }
        const int last = y + 1 == rows_read->high && !empty(rows_of(c, index + 1)) && !empty(columns_of(c, index + 1));
        row.out = last ? pl_address(c, index + 1, 0, 0) : NULL;
    } else {
        row.out = pl_address(c, index + 1, y, columns->low);
    }
#ifdef PL_TRACE
    pl_trace_before(c, index);
#endif
#ifdef PL_PROFILE
    const uint32_t start = board_cycles();
    op->kernel(op->constants, &row);
    pl_profile[index].cycles += board_cycles() - start;
    pl_profile[index].fires++;
#else
    op->kernel(op->constants, &row);
#endif
    c->next[index + 1] += (uint16_t)due;
#ifdef PL_TRACE
    if (op->kind != PL_GLOBAL) {
        for (int32_t i = 0; i < due; i++) {
            pl_trace_row(c, index, y + i, row.first, width, row.out + i * width * c->model->tensors[index + 1].channels);
        }
    } else if (row.out) {
        pl_trace_row(c, index, 0, 0, 1, row.out);
    }
#endif
}

/* A tensor starts at the first row of its tile; one without columns in this strip is as good as done. */
static uint16_t start_row(const pl_range *rows, const pl_range *columns)
{
    return empty(columns) ? rows->high : rows->low;
}

static void begin_step(pl_context *c)
{
    const pl_step *step = step_now(c);
    for (uint32_t i = step->first; i < step->end; i++) {
        c->next[i + 1] = start_row(walk_rows(c, i), walk_columns(c, i));
    }
    if (fetches_input(c)) {
        c->next[0] = start_row(rows_of(c, 0), columns_of(c, 0));
    }
#ifdef PL_TRACE
    pl_trace_step(c, step->first, step->end);
#endif
}

void pl_init(pl_context *c, const pl_model *model, int8_t *arena)
{
    memset(c, 0, sizeof *c);
    c->model = model;
    c->arena = arena;
    c->segment = model->segment_count; /* nothing to do before pl_begin */
    c->op = PL_NO_OP;
}

const int8_t *pl_output(const pl_context *c, uint32_t i)
{
    return pl_address(c, c->model->outputs[i].tensor, 0, 0);
}

void pl_begin(pl_context *c)
{
    c->segment = 0;
    c->tile_row = c->tile_column = 0;
    c->step = 0;
    c->op = PL_NO_OP;
    begin_step(c);
}

/* 0 when the last step of the last tile of the last segment is done. */
static int next_step(pl_context *c)
{
    const pl_segment *segment = segment_now(c);
    if (++c->step == segment->step_count) {
        c->step = 0;
        if (++c->tile_column == segment->tile_columns) {
            c->tile_column = 0;
            if (++c->tile_row == segment->tile_rows) {
                c->tile_row = 0;
                if (++c->segment == c->model->segment_count) {
                    return 0;
                }
            }
        }
    }
    begin_step(c);
    return 1;
}

int pl_advance(pl_context *c, pl_request *request)
{
    if (c->segment >= c->model->segment_count) {
        return PL_DONE;
    }
    int32_t scan = -1; /* operator to look at next, downwards */
    if (c->op == PL_AWAITS_ROW) {
        c->next[0]++;
        scan = segment_now(c)->source_scan;
    }
    do {
        const pl_step *step = step_now(c);
        const int32_t first = step->first;
        const int source = fetches_input(c);
        if (scan < 0) {
            scan = step->end - 1;
        }
        while (scan >= first) {
            if (ready(c, (uint32_t)scan, (uint32_t)first, source)) {
                pl_fire((uint32_t)scan, c);
                scan = c->model->ops[scan].scan;
            } else {
                scan--;
            }
        }
        scan = -1;
        if (source && c->next[0] < rows_of(c, 0)->high) {
            const pl_range *columns = columns_of(c, 0);
            c->op = PL_AWAITS_ROW;
            request->y = c->next[0];
            request->x0 = columns->low;
            request->x1 = columns->high;
            request->bytes = (uint16_t)((columns->high - columns->low) * c->model->tensors[0].channels);
            request->to = pl_address(c, 0, request->y, request->x0);
            return PL_NEED_ROW;
        }
    } while (next_step(c));
    c->op = PL_NO_OP;
    return PL_DONE;
}
