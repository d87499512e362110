/* pl_dwl_5s1, 5s2, 7s1 and 7s2 for ARMv7E-M: depthwise 5x5 and 7x7, channel by channel; depthwise_dsp.c says the same in C.
 *
 * A channel begins with its columns, widened to int16 into scratch: n rows take n LDRSB and n STRH, on a Cortex-M4 2 n + 6 cycles a
 * column. Then blocks of five or three outputs, whose sums stay in registers over all pairs of rows. A tap is one column of
 * the kernel in two rows: five SMLAD, one new x, half a word of weights and its SXTB16. At stride 2 the even taps come first and the
 * odd ones behind them, so that either kind moves by one x a tap.
 * Cortex-M4, five outputs, two rows of 7x7 at stride 1: 35 SMLAD, 16 loads in 23 cycles, 7 SXTB16, loop 4: 69 cycles for 70
 * products; 5x5: 51 for 50. Beside its products a block costs about 60 cycles, a channel about 50.
 * On a Cortex-M7 loads and SXTB16 stand between the SMLADs.
 */
#if defined(__ARM_FEATURE_DSP) && !defined(PL_PORTABLE)

    .syntax unified
    .thumb
    .altmacro

#include "layouts.h"

/* pl_dwl */
    .equ WEIGHTS, PL_DWL_WEIGHTS
    .equ SCALE, PL_DWL_SCALE
    .equ SHIFTS, PL_DWL_SHIFTS
    .equ OUT, PL_DWL_OUT
    .equ CHANNELS, PL_DWL_CHANNELS
    .equ OUTPUTS, PL_DWL_OUTPUTS
    .equ PITCH, PL_DWL_PITCH
    .equ X, PL_DWL_X
    .equ X_BYTES, PL_DWL_X_BYTES
    .equ X_STEP, PL_DWL_X_STEP
    .equ WEIGHTS_BYTES, PL_DWL_WEIGHTS_BYTES
    .equ ADDEND, PL_DWL_ADDEND
    .equ RULE, PL_DWL_RULE
    .equ ZERO_SUM, PL_DWL_ZERO_SUM
    .equ SKIPPED, PL_DWL_SKIPPED
    .equ TO, PL_DWL_TO
    .equ COLUMN_BYTES, PL_DWL_COLUMN_BYTES
    .equ IN_PITCH, PL_DWL_IN_PITCH
    .equ SPAN, PL_DWL_SPAN
    .equ ROWS, PL_DWL_ROWS
    .equ LINES, PL_DWL_LINES

/* frame */
    .equ F_END, 0       /* of the scratch that the block's products go through, in its first column */
    .equ F_W, 4         /* the channel's weights of the first pair that counts */
    .equ F_BIAS, 8
    .equ F_LEFT, 12     /* outputs to do */
    .equ F_COUNT, 16    /* outputs of the block */
    .equ F_MULTIPLIER, 20
    .equ F_ADDEND, 24
    .equ F_RIGHT, 28    /* 0: PL_SINGLE, positive: PL_TFLITE, negative: accumulators */
    .equ F_OUT, 32
    .equ F_PITCH, 36
    .equ F_STEP, 40     /* bytes of scratch from output to output */
    .equ F_BYTES, 44    /* of the pairs that count, in a column */
    .equ F_FIVE, 48
    .equ F_THREE, 52
    .equ F_JOB, 56
    .equ F_CHANNEL, 60
    .equ F_SCALE, 64
    .equ F_SIZE, 68

/* Products.
 *
 * r0 x, r1 weights, r2 and lr pairs of weights, r3-r7 sums, r8-r12 five (three: r8-r10) x, the n-th of a chain of taps in r8 + n mod 5.
 * The two taps of a word: the first is expanded into the other register, the second in place; so the registers change roles from
 * word to word.
 */
.macro product sum, weight, x
    smlad   r\sum, r\weight, r\x, r\sum
.endm

.macro load_x x, column
    ldr     r\x, [r0, #(\column) * COLUMN - 4]    /* r0 is at the next pair already */
.endm

.macro load_word to
    ldr     r\to, [r1], #4
.endm

.macro load_end to
    ldr     r\to, [sp, #F_END]
.endm

.macro compare_end with
    cmp     r0, r\with
.endm

.macro first_of_word to, word
    sxtb16  r\to, r\word
.endm

.macro second_of_word word
    sxtb16  r\word, r\word, ror #8
.endm

/* Tap `slot`, number i0 of a chain of `taps` that take columns phase, phase + stride, ... */
.macro tap taps, stride, phase
    .set second, slot % 2               /* of its word */
    .set more, (slot < KERNEL - 1)
    .set slides, (i0 < \taps - 1)       /* the chain goes on */
    .set own, 2 + 12 * (slot / 2 % 2)   /* where its word was loaded */
    .set other, 16 - own
    .set weight, second * own + (1 - second) * other
    .set j, 0
    .rept BLOCK
#if PL_DUAL_ISSUE
    .ifeq slot
    .if j + 3 < BLOCK
    load_x  %(11 + j), %(\stride * (3 + j))
    .endif
    .endif
#endif
    product %(3 + j), %weight, %(8 + (i0 + j) % BLOCK)
#if PL_DUAL_ISSUE
    .if slides
    .ifeq j
    load_x  %(8 + i0 % BLOCK), %(\phase + \stride * (i0 + BLOCK))
    .endif
    .elseif more
    load_x  %(8 + (i0 + j) % BLOCK), %(1 + \stride * ((i0 + j) % BLOCK))
    .endif
#endif
    .ifeq j + second
    .if more
    second_of_word %own
    .endif
    .endif
    .set j, j + 1
    .endr
    .if second
    first_of_word %own, %other
    .endif
#if !PL_DUAL_ISSUE
    .if slides
    load_x  %(8 + i0 % BLOCK), %(\phase + \stride * (i0 + BLOCK))
    .elseif more
    .set j, 0
    .rept BLOCK
    load_x  %(8 + j), %(1 + \stride * j)
    .set j, j + 1
    .endr
    .endif
#endif
    .ifeq second
    .if more
    load_word %other
    .endif
    .endif
    .ifeq slot - KERNEL + 2
    load_end %other
    .set end, other
    .endif
    .set slot, slot + 1
.endm

.macro chain taps, stride, phase
    .set i0, 0
    .rept \taps
    tap     \taps, \stride, \phase
    .set i0, i0 + 1
    .endr
.endm

.macro products name, kernel, stride, block
    .set KERNEL, \kernel
    .set BLOCK, \block
    .set COLUMN, 2 * (\kernel + 1)
    .set slot, 0
    .section .text.\name, "ax", %progbits
    .type   \name, %function
    .thumb_func
    .balign 4
\name:
    load_word 2
    ldr     r8, [r0], #4
#if PL_DUAL_ISSUE
    load_x  9, \stride
    load_x  10, %(2 * \stride)
    first_of_word 14, 2
#else
    .set i0, 1
    .rept BLOCK - 1
    load_x  %(8 + i0), %(\stride * i0)
    .set i0, i0 + 1
    .endr
    first_of_word 14, 2
#endif
    .if \stride == 1
    chain   \kernel, 1, 0
    .else
    chain   %((\kernel + 1) / 2), 2, 0
    chain   %(\kernel / 2), 2, 1
    .endif
    compare_end %end
    bne     \name
    b.w     pl_dwl_finish
    .size   \name, . - \name
.endm

.macro kernel name, size, stride
    products \name\()_five, \size, \stride, 5
    products \name\()_three, \size, \stride, 3
    .section .text.\name, "ax", %progbits
    .global \name
    .type   \name, %function
    .thumb_func
    .balign 4
\name:
    ldr     r1, =\name\()_five
    ldr     r2, =\name\()_three
    b.w     pl_dwl_run
    .ltorg
    .size   \name, . - \name
.endm

    kernel  pl_dwl_5s1, 5, 1
    kernel  pl_dwl_5s2, 5, 2
    kernel  pl_dwl_7s1, 7, 1
    kernel  pl_dwl_7s2, 7, 2

/* Gathering: a column of so many rows after the other. r0-r6 ends of the rows; r7 the way from there to the column, which counts up
 * from negative values and is the channel, with a carry, when all are done; r8 scratch, r9 bytes from column to column, r10 the same
 * in scratch but for six and seven rows, which are those of a 7x7. `fourth` and `fifth`: registers that are left.
 */
.macro get rows, row, to
    .if \row < \rows
    ldrsb   \to, [r\row, r7]
    .endif
.endm

.macro put rows, row, from
    .if \row < \rows
    strh    \from, [r8, #2 * \row]
    .endif
.endm

.macro gather rows, last, fourth, fifth
gather\rows:
    .if \rows > 1
    ldm     r0, {r0-\last}
    .else
    ldr     r0, [r0]
    .endif
    .if \rows > 5
    subs    r8, #16
    .endif
1:
    get     \rows, 0, r11
    get     \rows, 1, r12
    get     \rows, 2, lr
#if !PL_DUAL_ISSUE
    get     \rows, 3, \fourth
    .if \rows == 5
    get     \rows, 4, \fifth
    .endif
#endif
    .if \rows > 5
    strh    r11, [r8, #16]!
    .else
    strh    r11, [r8]
    .endif
#if PL_DUAL_ISSUE
    get     \rows, 3, \fourth
#endif
    put     \rows, 1, r12
#if PL_DUAL_ISSUE
    .if \rows == 5
    get     \rows, 4, \fifth
    .else
    get     \rows, 4, r11
    .endif
    put     \rows, 2, lr
    get     \rows, 5, r12
    put     \rows, 3, \fourth
    get     \rows, 6, lr
#else
    put     \rows, 2, lr
    put     \rows, 3, \fourth
    .if \rows > 5
    get     \rows, 4, r11
    get     \rows, 5, r12
    get     \rows, 6, lr
    .endif
#endif
    .if \rows == 5
    put     \rows, 4, \fifth
    .else
    put     \rows, 4, r11
    .endif
    put     \rows, 5, r12
    put     \rows, 6, lr
    .if \rows < 6
    add     r8, r10
    .endif
    adds    r7, r9
    bcc     1b
    b       gathered
.endm

/* TFLite's rule, see pl_tflite_fast. */
.macro tflite sum
    add     r1, lr, \sum, asr #31
    lsls    \sum, #1
    smmlar  \sum, \sum, r2, r1
    asrs    \sum, r8
    ssat    \sum, #8, \sum
.endm

    .section .text.pl_dwl_run, "ax", %progbits
    .type   pl_dwl_run, %function
    .thumb_func
    .balign 4
pl_dwl_run:
    push    {r4-r11, lr}
    sub     sp, #F_SIZE
    str     r0, [sp, #F_JOB]
    str     r1, [sp, #F_FIVE]
    str     r2, [sp, #F_THREE]
    ldr     r1, [r0, #WEIGHTS]  /* of the first pair that counts */
    ldr     r2, [r0, #SCALE]
    ldr     r3, [r0, #PITCH]
    ldr     r4, [r0, #ADDEND]
    ldr     r5, [r0, #X_STEP]
    ldr     r6, [r0, #X_BYTES]
    ldr     r7, [r0, #RULE]
    str     r1, [sp, #F_W]
    str     r2, [sp, #F_SCALE]
    str     r3, [sp, #F_PITCH]
    str     r4, [sp, #F_ADDEND]
    str     r5, [sp, #F_STEP]
    str     r6, [sp, #F_BYTES]
    subs    r7, #PL_FAST_SINGLE /* -1 PL_BY_RULE, 0 PL_SINGLE, 1 PL_TFLITE */
    str     r7, [sp, #F_RIGHT]
    movs    r7, #0

/* A channel begins: r0 = job, r7 = channel. */
channel:
    str     r7, [sp, #F_CHANNEL]
    ldr     r1, [r0, #SPAN]
    ldr     r2, [r0, #ROWS]
    ldr     r8, [r0, #TO]
    ldr     r9, [r0, #IN_PITCH]
    ldr     r10, [r0, #COLUMN_BYTES]
    subs    r7, r1
    adds    r0, #LINES
    tbb     [pc, r2]
2:
    .byte   (gathered - 2b) / 2, (gather1 - 2b) / 2, (gather2 - 2b) / 2, (gather3 - 2b) / 2
    .byte   (gather4 - 2b) / 2, (gather5 - 2b) / 2, (gather6 - 2b) / 2, (gather7 - 2b) / 2
    gather 7, r6, r10
    gather 6, r5, r10
    gather 5, r4, r5, r6
    gather 4, r3, r4
    gather 3, r2
    gather 2, r1
    gather 1, r0

/* Pairs of rows that are padding as a whole: r3 bias, r5 offset of the first one's sum. */
skip:
    ldr     r7, [r0, #ZERO_SUM]
    add     r6, r0, #SKIPPED + 4
4:
    ldr     r4, [r1, r5]
    ldr     r5, [r6], #4
    sxtb16  r4, r4, ror #8
    smlad   r3, r4, r7, r3
    lsls    r4, r5, #31
    beq     4b
    b       skipped

/* TFLite's rule: this channel's shift, and the addend by it. */
shift:
    ldr     r4, [sp, #F_CHANNEL]
    ldr     r5, [r0, #SHIFTS]
    ldr     r7, [r0, #ADDEND]
    ldrsb   r5, [r5, r4]
    rsbs    r6, r5, #0
    str     r6, [sp, #F_RIGHT]
    subs    r6, #1
    lsls    r7, r6
    str     r7, [sp, #F_ADDEND]
    b       shifted

gathered:
    ldr     r0, [sp, #F_JOB]
    ldr     r4, [sp, #F_SCALE]
    ldr     r1, [sp, #F_W]
    ldr     r8, [sp, #F_RIGHT]
    ldr     r9, [sp, #F_CHANNEL]
    ldr     r3, [r4], #4        /* bias */
    ldr     r6, [r4], #4
    ldr     r5, [r0, #SKIPPED]
    ldr     r2, [r0, #OUT]
    str     r4, [sp, #F_SCALE]
    str     r6, [sp, #F_MULTIPLIER]
    add     r2, r9
    str     r2, [sp, #F_OUT]
    lsls    r4, r5, #31
    beq     skip
skipped:
    cmp     r8, #0
    bgt     shift
shifted:
    ldr     r2, [r0, #OUTPUTS]
    ldr     r6, [r0, #X_BYTES]
    ldr     r0, [r0, #X]
    str     r3, [sp, #F_BIAS]
    add     r6, r0
    str     r6, [sp, #F_END]

/* A block begins: r0 = x, r1 = weights, r2 = outputs to do, r3 = bias. Five outputs, but three where three and three are left or less. */
block:
    str     r2, [sp, #F_LEFT]
    mov     r4, r3
    mov     r5, r3
    cmp     r2, #3
    bls     7f
    cmp     r2, #6
    beq     8f
    mov     r6, r3
    mov     r7, r3
    it      hs
    movhs   r2, #5
    str     r2, [sp, #F_COUNT]
    ldr     pc, [sp, #F_FIVE]
8:
    movs    r2, #3
7:
    str     r2, [sp, #F_COUNT]
    ldr     pc, [sp, #F_THREE]

/* The sums of a block are in r3-r7, r0 is where its products ended. */
    .global pl_dwl_finish
    .hidden pl_dwl_finish
    .type   pl_dwl_finish, %function
    .thumb_func
pl_dwl_finish:
    ldr     r2, [sp, #F_MULTIPLIER]
    ldr     lr, [sp, #F_ADDEND]
    ldr     r8, [sp, #F_RIGHT]
    ldr     r9, [sp, #F_OUT]
    ldr     r10, [sp, #F_PITCH]
    ldr     r11, [sp, #F_COUNT]
    cmp     r8, #0
    bne     finish_other
    smmlar  r3, r3, r2, lr
    smmlar  r4, r4, r2, lr
    smmlar  r5, r5, r2, lr
    smmlar  r6, r6, r2, lr
    smmlar  r7, r7, r2, lr
    ssat    r3, #8, r3
    ssat    r4, #8, r4
    ssat    r5, #8, r5
    ssat    r6, #8, r6
    ssat    r7, #8, r7
store:
    strb    r3, [r9]
    cmp     r11, #2
    blo     next
    strb    r4, [r9, r10]
    beq     next
    strb    r5, [r9, r10, lsl #1]
    cmp     r11, #4
    blo     next
    add     r1, r9, r10, lsl #1
    strb    r6, [r1, r10]
    beq     next
    strb    r7, [r1, r10, lsl #1]
next:
    ldr     r2, [sp, #F_LEFT]
    ldr     r4, [sp, #F_STEP]
    subs    r2, r11
    beq     channel_done
    ldr     r5, [sp, #F_BYTES]
    ldr     r1, [sp, #F_W]
    ldr     r3, [sp, #F_BIAS]
    mla     r9, r10, r11, r9
    mla     r0, r4, r11, r0
    str     r9, [sp, #F_OUT]
    str     r0, [sp, #F_END]
    subs    r0, r5
    b       block

channel_done:
    ldr     r0, [sp, #F_JOB]
    ldr     r7, [sp, #F_CHANNEL]
    ldr     r1, [sp, #F_W]
    ldr     r2, [r0, #WEIGHTS_BYTES]
    ldr     r3, [r0, #CHANNELS]
    adds    r7, #1
    add     r1, r2
    str     r1, [sp, #F_W]
    cmp     r7, r3
    blo     channel
    add     sp, #F_SIZE
    pop     {r4-r11, pc}

finish_other:
    bmi     9f
    tflite  r3
    tflite  r4
    tflite  r5
    cmp     r11, #4
    blo     store
    tflite  r6
    tflite  r7
    b       store
9:
    stm     r9, {r3-r7}
    b       next
    .size   pl_dwl_run, . - pl_dwl_run

#endif
