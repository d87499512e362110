/* How an application calls the network. */
#ifndef PATCHLINE_MODEL_API_H
#define PATCHLINE_MODEL_API_H

#include "model_config.h"
#include "patchline/executor.h"

typedef void model_read_row(void *context, const pl_request *request);

/* One inference; `read` fills every row that is asked for. A resident input must lie at model_input() before. */
void model_infer(model_read_row *read, void *context);

/* Streamed input: offer whole rows 0, 1, 2... of an image as they come. MODEL_DONE after the last one. Where the plan pulls its
 * input it may ask for parts of rows and for some of them again: there this function does not exist. */
#if !MODEL_PULLED
int model_push_row(const int8_t *row);
#elif defined(__GNUC__)
__attribute__((error("this model pulls its input and may ask for rows again: use model_infer, or compile it with --input pushed")))
int model_push_row(const int8_t *row);
#endif

/* The whole input image in the arena; NULL unless the input is resident. */
int8_t *model_input(void);

#endif
