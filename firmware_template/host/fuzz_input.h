/* Right, nearly right and wrong input for the command loop, the same for the same seed. */
#ifndef PATCHLINE_FUZZ_INPUT_H
#define PATCHLINE_FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>

enum { FUZZ_INPUT_BYTES = 1 << 17 };

typedef struct {
    uint64_t random; /* the generator's state; start with the seed */
    size_t length;
    unsigned char bytes[FUZZ_INPUT_BYTES];
} fuzz_input;

uint32_t fuzz_random(fuzz_input *input, uint32_t below);

/* Replaces `bytes` by the next input: some commands, as they should be or damaged. */
void fuzz_next(fuzz_input *input);

#endif
