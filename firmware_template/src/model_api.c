#include "patchline/model_api.h"

#include <stddef.h>

int8_t *model_input(void)
{
    return pl_model.tensors[0].whole ? pl_arena + pl_model.tensors[0].offset : NULL;
}

void model_infer(model_read_row *read, void *context)
{
    pl_request request;
    model_begin();
    while (model_step(&request) == MODEL_NEED_ROW) {
        read(context, &request);
    }
}
