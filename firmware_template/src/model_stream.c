#include <string.h>

#include "patchline/model_api.h"

int pl_push_row(pl_stream *stream, const int8_t *row)
{
    pl_context *context = stream->context;
    const pl_tensor *input = context->model->tensors;
    int8_t *resident = pl_input(context);
    if (resident) {
        const int32_t bytes = input->width * input->channels;
        memcpy(resident + stream->row * bytes, row, (size_t)bytes);
        if (++stream->row < input->height) {
            return PL_NEED_ROW;
        }
        pl_begin(context);
        (void)pl_advance(context, &stream->request);
    } else {
        if (stream->row == 0) {
            pl_begin(context);
            stream->wanted = pl_advance(context, &stream->request) == PL_NEED_ROW;
        }
        if (stream->wanted && stream->request.y == stream->row) {
            memcpy(stream->request.to, row + stream->request.x0 * input->channels, stream->request.bytes);
            stream->wanted = pl_advance(context, &stream->request) == PL_NEED_ROW;
        }
        if (++stream->row < input->height) {
            return PL_NEED_ROW;
        }
    }
    stream->row = 0;
    return PL_DONE;
}
