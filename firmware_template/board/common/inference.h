#ifndef PATCHLINE_INFERENCE_H
#define PATCHLINE_INFERENCE_H

#include "patchline/model_api.h"

/* Before anything else. */
void inference_init(void);

/* The benchmark's one model. */
const pl_context *inference_context(void);

/* Where a resident image lies; NULL unless the input is resident. */
int8_t *inference_input(void);

void infer(const char *arguments);
void self_test(void);

/* The outputs of the last inference no longer belong to the input. */
void forget_outputs(void);

void put_results(void);
void put_stored_outputs(void);
void put_cycles(void);
void put_operators(void);

#endif
