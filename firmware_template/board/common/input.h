#ifndef PATCHLINE_INPUT_H
#define PATCHLINE_INPUT_H

#include <stdint.h>

/* Rows of one inference. A camera's board_read_row need not touch it. */
typedef struct {
    uint32_t waited; /* ticks spent waiting for rows */
    uint8_t failed;  /* a row did not come as asked for */
} pl_rows;

extern pl_rows pl_rows_read;

int is_hex_digit(int c);

/* Skips to the end of the command. Returns `c`, or what ended the line. */
int skip_command(int c);

/* An image was announced that is not all there, or was refused: what to answer. NULL: inferences may run. */
const char *input_missing(void);

/* Something else lies where the image was. */
void forget_input(void);

void db_load(const char *arguments);
void load_stored(const char *arguments);
void db_print(void);

/* Takes `db HEX` from its first digit on. 0 where no input is expected; the memory of the input is untouched then. */
int db_hex(int first_digit);

#endif
