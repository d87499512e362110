/* How an application runs a network; the pieces stand in executor.h. */
#ifndef PATCHLINE_MODEL_API_H
#define PATCHLINE_MODEL_API_H

#include "patchline/executor.h"

/* Copies the columns that `request` asks for to `request->to`. */
typedef void pl_read_row(void *source, const pl_request *request);

/* One inference; `read` fills every row that is asked for. A resident input must lie at pl_input() before. */
void pl_run(pl_context *context, pl_read_row *read, void *source);

/* The whole input image in the arena; NULL unless the input is resident. */
int8_t *pl_input(const pl_context *context);

/* An image whose rows come by themselves, for instance from a camera. */
typedef struct {
    pl_context *context;
    pl_request request;
    uint16_t row;
    uint8_t wanted;
} pl_stream;

/* Offer whole rows 0, 1, 2... of an image as they come; PL_DONE after the last one, and the next image may follow. A stream begins
 * with NAME_stream_init of the model's header, which does not compile where the plan pulls its input. */
int pl_push_row(pl_stream *stream, const int8_t *row);

#endif
