/* pl_dw3_s1 and pl_dw3_s2 for ARMv7E-M: a row of a 3x3 depthwise convolution, channel by channel.
 *
 * A column is loaded once; rows 0 and 1 become a pair (PKHBT), and its products go to every output that it takes part in.
 * Cortex-M4, per output at stride 1: 3 loads 4, PKHBT 1, 6 multiplies 6, bias 2, multiplier and zero point 3, SMMLAR, SSAT,
 * STRB, pointer 4, a third of the loop's end 2: 22 cycles for 9 products. Stride 2: two columns, 28 cycles.
 *
 * r0 next column, r1 and r2 distances to rows 1 and 2, r3 output minus r0 (stride 2: output), r4 channels and, above, weight
 * 22; r5-r7 weight pairs 00 10, 01 11, 02 12, r8 weights 20 21; r9-r11 sums, r12 the column's pair, lr its row 2.
 */
#if defined(__ARM_FEATURE_DSP) && !defined(PL_PORTABLE)

    .syntax unified
    .thumb

/* pl_dw3 */
    .equ IN, 0
    .equ ROW1, 4
    .equ OUT, 12
    .equ WEIGHTS, 16
    .equ SCALE, 20
    .equ CHANNELS, 24
    .equ MASK01, 28
    .equ MASK2, 32
    .equ PADDING, 36
    .equ ZERO, 40
    .equ LEAD, 44
    .equ MAIN, 48
    .equ TAIL, 52

/* frame */
    .equ F_MULTIPLIER, 0
    .equ F_ZERO, 4
    .equ F_BIAS, 8
    .equ F_END, 12      /* of the unrolled loop */
    .equ F_END_MAIN, 16
    .equ F_IN, 20
    .equ F_OUT, 24
    .equ F_WEIGHTS, 28
    .equ F_SCALE, 32
    .equ F_LEFT, 36     /* channels to do */
    .equ F_JOB, 40
    .equ F_UNROLLED, 44 /* bytes of input that the unrolled loop goes through */
    .equ F_MAIN, 48
    .equ F_TAIL, 52
    .equ F_SIZE, 56

.macro column t
    ldrsb   r12, [r0]
    ldrsb   \t, [r0, r1]
    ldrsb   lr, [r0, r2]
    uxtah   r0, r0, r4
    pkhbt   r12, r12, \t, lsl #16
.endm

.macro padding_column
    ldr     r12, [sp, #F_JOB]
    ldr     r12, [r12, #PADDING]
    mov     lr, r12
.endm

/* The products of a column as the left, middle and right one of a window. */
.macro left sum
    smlad   \sum, r12, r5, \sum
    smlabb  \sum, lr, r8, \sum
.endm

.macro middle sum
    smlad   \sum, r12, r6, \sum
    smlabt  \sum, lr, r8, \sum
.endm

.macro right sum
    smlad   \sum, r12, r7, \sum
    smlabt  \sum, lr, r4, \sum
.endm

.macro requantise sum
    ldrd    r12, lr, [sp, #F_MULTIPLIER]
    smmlar  \sum, \sum, r12, lr
    ssat    \sum, #8, \sum
.endm

/* Stride 1: the column finishes `a`, is the middle of `b` and begins `t`. */
.macro finish_s1 a, b, t
    right   \a
    middle  \b
    ldr     \t, [sp, #F_BIAS]
    left    \t
    requantise \a
    strb    \a, [r0, r3]
.endm

.macro step_s1 a, b, t
    column  \t
    finish_s1 \a, \b, \t
.endm

/* Stride 2 (r10 is the bias): the second column finishes `a` and begins `t`. */
.macro finish_s2 a, t
    right   \a
    smlad   \t, r12, r5, r10
    smlabb  \t, lr, r8, \t
    requantise \a
    strb    \a, [r3]
    uxtah   r3, r3, r4
.endm

.macro step_s2 a, t
    column  \t
    middle  \a
    column  \t
    finish_s2 \a, \t
.endm

/* Frame from the job; `per` is how many outputs the unrolled loop does a round, `columns` how many columns one takes. */
.macro begin name, per, columns
    .section .text.\name, "ax", %progbits
    .global \name
    .type   \name, %function
    .thumb_func
    .balign 4
\name:
    push    {r4-r11, lr}
    sub     sp, #F_SIZE
    str     r0, [sp, #F_JOB]
    ldr     r1, [r0, #IN]
    ldr     r2, [r0, #OUT]
    ldr     r3, [r0, #WEIGHTS]
    ldr     r4, [r0, #SCALE]
    ldr     r5, [r0, #CHANNELS]
    ldr     r6, [r0, #ZERO]
    ldr     r7, [r0, #MAIN]
    str     r1, [sp, #F_IN]
    str     r2, [sp, #F_OUT]
    str     r3, [sp, #F_WEIGHTS]
    str     r4, [sp, #F_SCALE]
    str     r5, [sp, #F_LEFT]
    str     r6, [sp, #F_ZERO]
    mov     r1, #\per
    udiv    r2, r7, r1
    mul     r2, r2, r1
    mov     r1, #\columns
    mul     r5, r5, r1
    mul     r2, r2, r5
    mul     r7, r7, r5
    str     r2, [sp, #F_UNROLLED]
    str     r7, [sp, #F_MAIN]
    b       10f

/* Rows outside the map: their products are a constant, their weights 0. r9 bias, lr weight 22. */
9:
    ldr     r12, [r11, #MASK01]
    ldr     r10, [r11, #PADDING]
    bic     r3, r5, r12
    smlad   r9, r3, r10, r9
    and     r5, r5, r12
    bic     r3, r6, r12
    smlad   r9, r3, r10, r9
    and     r6, r6, r12
    bic     r3, r7, r12
    smlad   r9, r3, r10, r9
    and     r7, r7, r12
    ldr     r12, [r11, #MASK2]
    bic     r3, r8, r12
    smlad   r9, r3, r10, r9
    and     r8, r8, r12
    bic     r3, lr, r12
    smlabb  r9, r3, r10, r9
    and     lr, lr, r12
    b       11f

/* A channel begins. */
10:
    ldr     r12, [sp, #F_WEIGHTS]
    ldr     r5, [r12]
    ldr     r7, [r12, #4]
    ldrsb   lr, [r12, #8]
    add     r12, #12
    str     r12, [sp, #F_WEIGHTS]
    sxtb16  r6, r5, ror #8
    sxtb16  r5, r5
    sxtb16  r8, r7, ror #8
    sxtb16  r7, r7
    ldr     r12, [sp, #F_SCALE]
    ldr     r11, [sp, #F_JOB]
    ldrd    r9, r10, [r12], #8
    str     r12, [sp, #F_SCALE]
    str     r10, [sp, #F_MULTIPLIER]
    ldrd    r10, r12, [r11, #MASK01]
    and     r10, r10, r12
    cmn     r10, #1
    bne     9b
11:
    str     r9, [sp, #F_BIAS]
    ldr     r4, [r11, #CHANNELS]
    ldr     r12, [r11, #LEAD]
    pkhbt   r4, r4, lr, lsl #16
    ldrd    r1, r2, [r11, #ROW1]
    ldr     r0, [sp, #F_IN]
    ldr     r3, [sp, #F_OUT]
    cmp     r12, #0
    bne     13f
.endm

/* The first column of the first window, into r9 which holds the bias. */
.macro first_column
12:
    column  r11
    b       14f
13:
    padding_column
14:
.endm

.macro ends
    ldr     r12, [sp, #F_UNROLLED]
    ldr     lr, [sp, #F_MAIN]
    add     r12, r0
    add     lr, r0
    str     r12, [sp, #F_END]
    str     lr, [sp, #F_END_MAIN]
    cmp     r0, r12
.endm

/* The next channel, or the end. */
.macro next_channel name
    ldr     r0, [sp, #F_IN]
    ldr     r1, [sp, #F_OUT]
    ldr     r2, [sp, #F_LEFT]
    adds    r0, #1
    adds    r1, #1
    str     r0, [sp, #F_IN]
    str     r1, [sp, #F_OUT]
    subs    r2, #1
    str     r2, [sp, #F_LEFT]
    bne     10b
    add     sp, #F_SIZE
    pop     {r4-r11, pc}
    .size   \name, . - \name
.endm

    begin   pl_dw3_s1, 3, 1
    first_column
    left    r9
    column  r11
    middle  r9
    ldr     r10, [sp, #F_BIAS]
    left    r10
    sub     r3, r0
    uxth    r12, r4
    sub     r3, r12             /* a column has been passed when its output is stored */
    ends
    beq     3f
2:
    step_s1 r9, r10, r11
    step_s1 r10, r11, r9
    step_s1 r11, r9, r10
    ldr     r12, [sp, #F_END]
    cmp     r0, r12
    bne     2b
3:
    ldr     r12, [sp, #F_END_MAIN]
    cmp     r0, r12
    beq     5f
4:
    step_s1 r9, r10, r11
    mov     r9, r10
    mov     r10, r11
    ldr     r12, [sp, #F_END_MAIN]
    cmp     r0, r12
    bne     4b
5:
    ldr     r12, [sp, #F_JOB]
    ldr     r12, [r12, #TAIL]
    cmp     r12, #0
    beq     7f
6:
    str     r12, [sp, #F_TAIL]
    padding_column
    uxtah   r0, r0, r4
    finish_s1 r9, r10, r11
    mov     r9, r10
    mov     r10, r11
    ldr     r12, [sp, #F_TAIL]
    subs    r12, #1
    bne     6b
7:
    next_channel pl_dw3_s1

    begin   pl_dw3_s2, 2, 2
    first_column
    left    r9
    ldr     r10, [sp, #F_BIAS]
    ends
    beq     3f
2:
    step_s2 r9, r11
    step_s2 r11, r9
    ldr     r12, [sp, #F_END]
    cmp     r0, r12
    bne     2b
3:
    ldr     r12, [sp, #F_END_MAIN]
    cmp     r0, r12
    beq     5f
    step_s2 r9, r11
    mov     r9, r11
5:
    ldr     r12, [sp, #F_JOB]
    ldr     r12, [r12, #TAIL]
    cmp     r12, #1
    blo     7f
    bhi     4f
    padding_column
    b       6f
4:
    column  r11
6:
    middle  r9
    padding_column
    finish_s2 r9, r11
7:
    next_channel pl_dw3_s2

#endif
