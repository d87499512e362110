/* A firmware small enough to read: the protocol, two "operators" and the symbols that the bench looks for.
   Compiled with -DBREAK_... it misbehaves in one chosen way. The network: out[c] = sum over rows and columns of
   (c + 1) * pixel, shifted right by 6; op 0 sums a row, op 1 makes the output from the sums. */
#include <stdint.h>

#define HEIGHT 8
#define WIDTH 8
#define CHANNELS 2
#ifndef GAIN
#define GAIN 1 /* another value: wrong weights */
#endif

#ifndef REPEAT
#define REPEAT 1 /* time wasted in front of each row */
#endif

#define REG(address) (*(volatile uint32_t *)(address))

__attribute__((section(".arena"))) int8_t arena[64];
static int32_t sums[CHANNELS];
static int8_t outputs[2];
static uint32_t waited, total;

static void print(const char *text);
void __attribute__((noinline, used)) board_halt(void) {
    print("e-[fault]\r\n");
    for (;;) { }
}

static uint32_t cycles(void) {
#ifdef UART_CMSDK
    return (uint32_t)0xFFFFFFFFu - REG(0x40000004u);
#else
    return REG(0xE0001004u);
#endif
}

static void uart_init(void) {
#if defined(UART_CMSDK)
    REG(UART + 0x10u) = 16u;
    REG(UART + 0x08u) = 3u;
    (void)REG(UART); /* empties the receiver; QEMU looks at its input again only after such a read */
    REG(0x40000008u) = 0xFFFFFFFFu; /* timer 0: reload, value, enable */
    REG(0x40000004u) = 0xFFFFFFFFu;
    REG(0x40000000u) = 1u;
#elif defined(UART_STM32F7)
    REG(UART + 0x0Cu) = 139u;
    REG(UART) = 0xDu;
#else
    REG(UART + 0x08u) = 139u;
    REG(UART + 0x0Cu) = 0x200Cu;
#endif
#ifndef UART_CMSDK
    REG(0xE000EDFCu) |= 1u << 24;
    REG(0xE0001000u) |= 1u;
#endif
}

static void put(char c) {
#if defined(UART_CMSDK)
    while (REG(UART + 4u) & 1u) { }
    REG(UART) = (uint8_t)c;
#elif defined(UART_STM32F7)
    while (!(REG(UART + 0x1Cu) & 0x80u)) { }
    REG(UART + 0x28u) = (uint8_t)c;
#else
    while (!(REG(UART) & 0x80u)) { }
    REG(UART + 4u) = (uint8_t)c;
#endif
}

static char get(void) {
#if defined(UART_CMSDK)
    while (!(REG(UART + 4u) & 2u)) { }
    return (char)REG(UART);
#elif defined(UART_STM32F7)
    while (!(REG(UART + 0x1Cu) & 0x20u)) { }
    return (char)REG(UART + 0x24u);
#else
    while (!(REG(UART) & 0x20u)) { }
    return (char)REG(UART + 4u);
#endif
}

static void print(const char *text) { while (*text) { put(*text++); } }

static void number(int32_t value) {
    char digits[12];
    int n = 0;
    uint32_t rest = value < 0 ? (uint32_t)-value : (uint32_t)value;
    if (value < 0) { put('-'); }
    do { digits[n++] = (char)('0' + rest % 10u); rest /= 10u; } while (rest);
    while (n) { put(digits[--n]); }
}

static void pair(const char *name, int32_t a, int32_t b) {
    print(name); number(a); put(','); number(b); print("]\r\n");
}

static int nibble(char c) { return c <= '9' ? c - '0' : (c | 32) - 'a' + 10; }

int __attribute__((noinline)) board_read_row(int y, int x0, int x1, int8_t *into) {
    uint32_t start = cycles();
    print("x-row-["); number(y); put(','); number(x0); put(','); number(x1); print("]\r\n");
    while (get() != ' ') { }
    for (int i = 0; i < (x1 - x0) * CHANNELS; i++) {
        int high = nibble(get());
        into[i] = (int8_t)(high << 4 | nibble(get()));
    }
    while (get() != '%') { }
    waited += cycles() - start;
    return 0;
}

int __attribute__((noinline)) recurse(int depth) {
    volatile int8_t frame[64];
    for (int i = 0; i < 64; i++) { frame[i] = (int8_t)depth; }
    return depth == 0 ? frame[3] : recurse(depth - 1) + frame[5];
}

int __attribute__((noinline)) pl_fire(uint32_t op) {
    if (op == 0) {
        for (int x = 0; x < WIDTH; x++) {
            for (int c = 0; c < CHANNELS; c++) { sums[c] += (c + GAIN) * arena[x * CHANNELS + c]; }
        }
    } else {
#ifdef BREAK_WRITE
        REG(BREAK_WRITE) = 1u;
#endif
#ifdef BREAK_LOOP
        for (volatile int forever = 0;; forever++) { }
#endif
#ifdef BREAK_STACK
        (void)recurse(BREAK_STACK);
#endif
#ifdef BREAK_UNDEFINED
        __asm volatile("udf #7");
#endif
        for (int c = 0; c < CHANNELS; c++) { outputs[c] = (int8_t)(sums[c] >> 6); }
    }
    return 0;
}

void __attribute__((noinline)) pl_infer(void) {
    uint32_t start = cycles();
    waited = 0;
    for (int c = 0; c < CHANNELS; c++) { sums[c] = 0; }
    for (int y = 0; y < HEIGHT; y++) {
        (void)board_read_row(y, 0, WIDTH, arena);
        for (volatile int i = 1; i < REPEAT; i++) { }
        (void)pl_fire(0);
    }
    (void)pl_fire(1);
    total = cycles() - start;
}

static int starts(const char *line, const char *with) {
    while (*with) { if (*line++ != *with++) { return 0; } }
    return 1;
}

int main(void) {
    static char line[32];
    uart_init();
    print("m-init-done\r\nm-ready\r\n");
    for (;;) {
        unsigned n = 0;
        char c;
        while ((c = get()) != '%') { if (n < sizeof line - 1) { line[n++] = c; } }
        line[n] = 0;
        if (starts(line, "infer")) { pl_infer(); print("m-infer-done\r\n"); }
        else if (starts(line, "x-out")) { pair("x-out-[", outputs[0], outputs[1]); }
        else if (starts(line, "x-cycles")) { pair("x-cycles-[", (int32_t)total, (int32_t)waited); }
        else if (starts(line, "x-stack")) { pair("x-stack-[", 0, 512); }
        else if (starts(line, "name")) { print("m-name-dut-[tiny]\r\n"); }
        else { print("e-[unknown command]\r\n"); }
        print("m-ready\r\n");
    }
}

extern uint32_t stack_low[], stack_top[], data_load[], data_start[], data_end[], bss_start[], bss_end[];

void __attribute__((noreturn, naked)) reset(void) {
    __asm volatile("ldr r0, =0xE000ED88\n ldr r1, [r0]\n orr r1, r1, #0xF00000\n str r1, [r0]\n"
                   "ldr r0, =stack_low\n ldr r1, =stack_top\n ldr r2, =0xA5A5A5A5\n"
                   "1: cmp r0, r1\n it lo\n strlo r2, [r0], #4\n blo 1b\n"
                   "ldr r0, =bss_start\n ldr r1, =bss_end\n movs r2, #0\n"
                   "2: cmp r0, r1\n it lo\n strlo r2, [r0], #4\n blo 2b\n"
                   "bl main\n b .\n .ltorg\n");
}

__attribute__((section(".vectors"), used)) static void (*const vectors[16])(void) = {
    (void (*)(void))stack_top, reset, board_halt, board_halt, board_halt, board_halt, board_halt,
};
