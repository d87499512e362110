#ifndef PATCHLINE_TEXT_H
#define PATCHLINE_TEXT_H

#include <stdint.h>

/* The next character that is not of a line end; below 0 when the line is gone. */
int get_char(void);

void put_text(const char *text);
void put_unsigned(uint32_t value);
void put_signed(int32_t value);
void put_hex(uint32_t value, uint32_t digits);
/* value / 10^decimals with all its decimals */
void put_decimal(int32_t sign, uint32_t value, uint32_t decimals);

/* The same and a line end; a pair is `text`FIRST,SECOND] */
void put_line(const char *text);
void put_number_line(const char *text, uint32_t value);
void put_pair_line(const char *text, uint32_t first, uint32_t second);

void put_timestamp(void);

/* Reads a decimal number at *text and moves behind it and the blanks after it; -1: there is none, or it has more than nine digits. */
int32_t read_number(const char **text);

#endif
