#include "text.h"

#include "board.h"

void put_text(const char *text)
{
    while (*text) {
        board_put(*text++);
    }
}

int get_char(void)
{
    int c;
    do {
        c = board_get();
    } while (c == '\r' || c == '\n');
    return c;
}

void put_line(const char *text)
{
    put_text(text);
    put_text("\r\n");
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

void put_number_line(const char *text, uint32_t value)
{
    put_text(text);
    put_unsigned(value);
    put_text("\r\n");
}

void put_pair_line(const char *text, uint32_t first, uint32_t second)
{
    put_text(text);
    put_unsigned(first);
    board_put(',');
    put_unsigned(second);
    put_line("]");
}

void put_timestamp(void)
{
    const uint32_t micros = board_micros();
    put_number_line("m-timestamp-", micros);
    put_number_line("m-lap-us-", micros); /* what MLPerf Tiny's runner reads */
}

int32_t read_number(const char **text)
{
    int32_t value = 0;
    const char *at = *text;
    if (*at < '0' || *at > '9') {
        return -1;
    }
    for (; *at >= '0' && *at <= '9'; at++) {
        if (value > 99999999) {
            return -1;
        }
        value = value * 10 + (*at - '0');
    }
    while (*at == ' ') {
        at++;
    }
    *text = at;
    return value;
}
