/* pl_dwl_5s1, 5s2, 7s1 and 7s2 for ARMv7E-M: depthwise 5x5 and 7x7, channel by channel; depthwise_dsp.c says the same in C.
 *
 * A channel begins with its columns, widened to int16 into scratch: 5 LDRSB and 5 STRH, 11 cycles on a Cortex-M4, and about 12 a row
 * beside them. Then blocks of five or three outputs, whose sums stay in registers over all pairs of rows. A tap is one column of
 * the kernel in two rows: five SMLAD, one new x, half a word of weights and its SXTB16. At stride 2 the even taps come first and the
 * odd ones behind them, so that either kind moves by one x a tap.
 * Cortex-M4, five outputs, two rows of 7x7 at stride 1: 35 SMLAD, 15 loads in 22 cycles, 7 SXTB16, loop 5: 69 cycles for 70
 * products; 5x5: 52 for 50. Beside its products a block costs about 55 cycles, a channel about 35.
 * On a Cortex-M7 loads and SXTB16 stand between the SMLADs and cost nothing but at the start of a pair of rows.
 */
#if defined(__ARM_FEATURE_DSP) && !defined(PL_PORTABLE)

    .syntax unified
    .thumb
    .altmacro

/* pl_dwl */
    .equ WEIGHTS, 0
    .equ SCALE, 4
    .equ SHIFTS, 8
    .equ OUT, 12
    .equ CHANNELS, 16
    .equ OUTPUTS, 20
    .equ PITCH, 24
    .equ IN_PITCH, 28
    .equ X, 32
    .equ X_BYTES, 36
    .equ X_STEP, 40
    .equ WEIGHTS_FIRST, 44
    .equ WEIGHTS_BYTES, 48
    .equ ADDEND, 52
    .equ RULE, 56
    .equ ZERO_SUM, 60
    .equ SKIPPED, 64
    .equ UNIT, 80
    .equ UNITS, 84
    .equ TAIL, 88
    .equ LINES, 92

/* frame */
    .equ F_END, 0       /* of the scratch that the block's products go through */
    .equ F_X, 4         /* of the block */
    .equ F_W, 8         /* weights of the first pair that counts */
    .equ F_BIAS, 12
    .equ F_LEFT, 16     /* outputs to do */
    .equ F_COUNT, 20    /* outputs of the block */
    .equ F_MULTIPLIER, 24
    .equ F_ADDEND, 28
    .equ F_RIGHT, 32    /* 0: PL_SINGLE, positive: PL_TFLITE, negative: accumulators */
    .equ F_OUT, 36
    .equ F_PITCH, 40
    .equ F_FIVE, 44
    .equ F_THREE, 48
    .equ F_JOB, 52
    .equ F_CHANNEL, 56
    .equ F_WEIGHTS, 60  /* of the next channel */
    .equ F_SCALE, 64
    .equ F_UNITS, 68    /* gathering: units of a row, and where they go */
    .equ F_TO, 72
    .equ F_STEP, 76     /* bytes of scratch from output to output */
    .equ F_SIZE, 80

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
    ldr     r\x, [r0, #4 * (\column) - BYTES]
.endm

.macro load_word to
    ldr     r\to, [r1], #4
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
    .set BYTES, 4 * (15 * \stride + \kernel)
    .set slot, 0
    .section .text.\name, "ax", %progbits
    .type   \name, %function
    .thumb_func
    .balign 4
\name:
    load_word 2
    ldr     r8, [r0], #BYTES
    .set i0, 1
    .rept BLOCK - 1
    load_x  %(8 + i0), %(\stride * i0)
    .set i0, i0 + 1
    .endr
    first_of_word 14, 2
    .if \stride == 1
    chain   \kernel, 1, 0
    .else
    chain   %((\kernel + 1) / 2), 2, 0
    chain   %(\kernel / 2), 2, 1
    .endif
    ldr     r2, [sp, #F_END]
    cmp     r0, r2
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

/* One row of a channel after the other, by units of so many columns. r0 next line, r1 channel (of a tail: and its first column),
 * r2 input, r3 scratch, r4 units to do, r10, r11, r12 and lr one to four columns.
 */
.macro gather unit, last
1:
    ldr     r2, [r0], #4
    ldr     r3, [r0], #4
    ldr     r4, [sp, #F_UNITS]
    ldr     r5, [sp, #F_TO]
    cmp     r2, #0
    beq     pl_dwl_gathered
    add     r2, r1
    add     r3, r5
2:
    ldrsb   r5, [r2]
    .if \unit > 1
    ldrsb   r6, [r2, r10]
    ldrsb   r7, [r2, r11]
    .endif
#if PL_DUAL_ISSUE
    strh    r5, [r3]
    .if \unit > 3
    ldrsb   r8, [r2, r12]
    strh    r6, [r3, #4]
    ldrsb   r9, [r2, lr]
    .elseif \unit > 1
    strh    r6, [r3, #4]
    .endif
#else
    .if \unit > 3
    ldrsb   r8, [r2, r12]
    ldrsb   r9, [r2, lr]
    .endif
    strh    r5, [r3]
    .if \unit > 1
    strh    r6, [r3, #4]
    .endif
#endif
    .if \unit > 1
    strh    r7, [r3, #8]
    .endif
    .if \unit > 3
    strh    r8, [r3, #12]
    strh    r9, [r3, #16]
    .endif
    subs    r4, #1
    beq     1b
    .if \unit > 3
    add     r2, lr
    add     r2, r10
    .else
    add     r2, \last
    .endif
    add     r3, #4 * \unit
    b       2b
.endm

.macro tflite sum, addend
    add     \addend, r1, \sum, asr #31
    lsls    \sum, #1
    smmlar  \sum, \sum, r0, \addend
    asrs    \sum, r2
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
    ldr     r1, [r0, #WEIGHTS]
    ldr     r2, [r0, #SCALE]
    ldr     r3, [r0, #PITCH]
    ldr     r4, [r0, #ADDEND]
    str     r1, [sp, #F_WEIGHTS]
    str     r2, [sp, #F_SCALE]
    str     r3, [sp, #F_PITCH]
    str     r4, [sp, #F_ADDEND]
    ldr     r4, [r0, #X_STEP]
    str     r4, [sp, #F_STEP]
    ldr     r5, [r0, #RULE]
    subs    r5, #1              /* -1 PL_BY_RULE, 0 PL_SINGLE, 1 PL_TFLITE */
    str     r5, [sp, #F_RIGHT]
    movs    r1, #0

/* A channel begins: r0 = job, r1 = channel. */
channel:
    str     r1, [sp, #F_CHANNEL]
    movs    r2, #0
    ldr     r3, [r0, #UNITS]
again:
    str     r2, [sp, #F_TO]
    str     r3, [sp, #F_UNITS]
    ldr     r10, [r0, #IN_PITCH]
    ldr     r4, [r0, #UNIT]
    adds    r0, #LINES
    lsl     r11, r10, #1
    add     r12, r11, r10
    lsl     lr, r10, #2
    cmp     r4, #3
    blo     gather1
    beq     gather3
    gather  5
gather3:
    gather  3, r12
gather1:
    gather  1, r10

/* Another unit of every row that ends where the row does? */
pl_dwl_gathered:
    ldr     r0, [sp, #F_JOB]
    ldr     r2, [r0, #TAIL]
    cmp     r5, r2, lsl #2
    beq     3f
    ldr     r4, [r0, #IN_PITCH]
    mla     r1, r2, r4, r1
    lsls    r2, #2
    movs    r3, #1
    b       again

3:
    ldr     r1, [sp, #F_WEIGHTS]
    ldr     r2, [sp, #F_SCALE]
    ldr     r3, [r2], #4        /* bias */
    ldr     r4, [r2], #4
    str     r2, [sp, #F_SCALE]
    str     r4, [sp, #F_MULTIPLIER]
    ldr     r5, [r0, #SKIPPED]
    cmp     r5, #0
    blt     5f
    ldr     r7, [r0, #ZERO_SUM]
    add     r6, r0, #SKIPPED + 4
4:
    ldr     r4, [r1, r5]
    ldr     r5, [r6], #4
    sxtb16  r4, r4, ror #8
    smlad   r3, r4, r7, r3
    cmp     r5, #0
    bge     4b
5:
    str     r3, [sp, #F_BIAS]
    ldr     r4, [r0, #WEIGHTS_BYTES]
    ldr     r5, [r0, #WEIGHTS_FIRST]
    ldr     r6, [sp, #F_RIGHT]
    add     r4, r1
    add     r1, r5
    str     r4, [sp, #F_WEIGHTS]
    str     r1, [sp, #F_W]
    ldr     r4, [sp, #F_CHANNEL]
    cmp     r6, #0
    ble     6f
    ldr     r5, [r0, #SHIFTS]
    ldr     r7, [r0, #ADDEND]
    ldrsb   r5, [r5, r4]
    rsbs    r6, r5, #0
    str     r6, [sp, #F_RIGHT]
    subs    r6, #1
    lsls    r7, r6
    str     r7, [sp, #F_ADDEND]
6:
    ldr     r5, [r0, #OUT]
    ldr     r2, [r0, #OUTPUTS]
    ldr     r6, [r0, #X_BYTES]
    ldr     r0, [r0, #X]
    add     r5, r4
    add     r6, r0
    str     r5, [sp, #F_OUT]
    str     r6, [sp, #F_END]

/* A block begins: r0 = x, r1 = weights, r2 = outputs to do, r3 = bias. Five outputs, but three where three and three are left or less. */
block:
    str     r0, [sp, #F_X]
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

/* The sums of a block are in r3-r7. */
    .global pl_dwl_finish
    .hidden pl_dwl_finish
    .type   pl_dwl_finish, %function
    .thumb_func
pl_dwl_finish:
    ldr     r0, [sp, #F_MULTIPLIER]
    ldr     r1, [sp, #F_ADDEND]
    ldr     r2, [sp, #F_RIGHT]
    ldr     r8, [sp, #F_OUT]
    ldr     r9, [sp, #F_PITCH]
    ldr     r10, [sp, #F_COUNT]
    cmp     r2, #0
    bne     finish_other
    smmlar  r3, r3, r0, r1
    smmlar  r4, r4, r0, r1
    smmlar  r5, r5, r0, r1
    smmlar  r6, r6, r0, r1
    smmlar  r7, r7, r0, r1
    ssat    r3, #8, r3
    ssat    r4, #8, r4
    ssat    r5, #8, r5
    ssat    r6, #8, r6
    ssat    r7, #8, r7
store:
    strb    r3, [r8]
    cmp     r10, #2
    blo     next
    strb    r4, [r8, r9]
    beq     next
    strb    r5, [r8, r9, lsl #1]
    cmp     r10, #4
    blo     next
    add     r11, r8, r9, lsl #1
    strb    r6, [r11, r9]
    beq     next
    strb    r7, [r11, r9, lsl #1]
next:
    ldr     r2, [sp, #F_LEFT]
    ldr     r4, [sp, #F_STEP]
    ldr     r0, [sp, #F_X]
    ldr     r5, [sp, #F_END]
    ldr     r1, [sp, #F_W]
    ldr     r3, [sp, #F_BIAS]
    subs    r2, r10
    beq     channel_done
    mul     r4, r4, r10
    mla     r8, r9, r10, r8
    add     r0, r4
    add     r5, r4
    str     r8, [sp, #F_OUT]
    str     r5, [sp, #F_END]
    b       block

channel_done:
    ldr     r0, [sp, #F_JOB]
    ldr     r1, [sp, #F_CHANNEL]
    ldr     r2, [r0, #CHANNELS]
    adds    r1, #1
    cmp     r1, r2
    blo     channel
    add     sp, #F_SIZE
    pop     {r4-r11, pc}

finish_other:
    bmi     9f
    tflite  r3, r11
    tflite  r4, r12
    tflite  r5, r11
    cmp     r10, #4
    blo     store
    tflite  r6, r12
    tflite  r7, r11
    b       store
9:
    stm     r8, {r3-r7}
    b       next
    .size   pl_dwl_run, . - pl_dwl_run

#endif
