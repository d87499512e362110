#include "patchline/model_api.h"

#include <stddef.h>

int8_t *pl_input(const pl_context *context)
{
    const pl_tensor *input = context->model->tensors;
    return input->whole ? context->arena + input->offset : NULL;
}

void pl_run(pl_context *context, pl_read_row *read, void *source)
{
    pl_request request;
    pl_begin(context);
    while (pl_advance(context, &request) == PL_NEED_ROW) {
        read(source, &request);
    }
}
