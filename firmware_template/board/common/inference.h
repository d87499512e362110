#ifndef PATCHLINE_INFERENCE_H
#define PATCHLINE_INFERENCE_H

void infer(const char *arguments);
void self_test(void);

/* The outputs of the last inference no longer belong to the input. */
void forget_outputs(void);

void put_results(void);
void put_stored_outputs(void);
void put_cycles(void);
void put_operators(void);

#endif
