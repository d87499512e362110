#include "text.h"

#include "board.h"

void put_text(const char *text)
{
    while (*text) {
        board_put(*text++);
    }
}

void put_decimal(int32_t sign, uint32_t value, uint32_t decimals)
{
    char digits[12];
    uint32_t count = 0;
    do {
        digits[count++] = (char)('0' + value % 10u);
        value /= 10u;
        if (count == decimals) {
            digits[count++] = '.';
        }
    } while (value || (decimals && count < decimals + 2u));
    if (sign < 0) {
        board_put('-');
    }
    while (count) {
        board_put(digits[--count]);
    }
}

void put_unsigned(uint32_t value)
{
    put_decimal(1, value, 0);
}

void put_signed(int32_t value)
{
    put_decimal(value, value < 0 ? 0u - (uint32_t)value : (uint32_t)value, 0);
}

void put_hex(uint32_t value, uint32_t digits)
{
    while (digits) {
        board_put("0123456789abcdef"[value >> 4 * --digits & 15u]);
    }
}
