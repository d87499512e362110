/* What the device must say to a command, written down a second time: regular expressions instead of a parser. */
#ifndef PATCHLINE_FUZZ_RULES_H
#define PATCHLINE_FUZZ_RULES_H

#include <stddef.h>
#include <stdint.h>

enum { FUZZ_ANSWER_BYTES = 1 << 16 };

typedef struct {
    uint64_t commands, accepted, refused, rows, inferences;
} fuzz_counts;

extern fuzz_counts fuzz_count;

void fuzz_rules_start(void);

/* The device waits for a row. */
int fuzz_row_expected(void);

/* A right answer to the row that the device waits for, out of a golden image. Returns its length. */
size_t fuzz_right_row(char *command);

/* Before a command goes to the device: `command` without its '%'. 0: it would keep the device busy for long, leave it out. */
int fuzz_expect(const unsigned char *command, size_t length);

/* After it: NULL, or what is wrong with the device's `answer`. */
const char *fuzz_check(const char *answer);

#endif
