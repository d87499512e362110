#ifndef PATCHLINE_TEXT_H
#define PATCHLINE_TEXT_H

#include <stdint.h>

void put_text(const char *text);
void put_unsigned(uint32_t value);
void put_signed(int32_t value);
void put_hex(uint32_t value, uint32_t digits);
/* value / 10^decimals with all its decimals */
void put_decimal(int32_t sign, uint32_t value, uint32_t decimals);

#endif
