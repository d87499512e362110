/* pl_dw3_s1 and pl_dw3_s2 for ARMv7E-M, each for both fast rules: a row of a 3x3 depthwise convolution, channel by channel.
 *
 * A column is loaded once; rows 0 and 1 become a pair (PKHBT), and its products go to every output that it takes part in.
 * Cortex-M4, per output at stride 1: 3 loads 4, pointer 1, PKHBT 1, 6 multiplies 6, bias 1, multiplier and zero point 2, SMMLAR,
 * SSAT, STRB, a sixth of the loop's end 1: 19 cycles for 9 products. Stride 2: two columns, 25.5 cycles. Rule tflite: 4 more; its
 * doubling of the accumulator is done once, to weights and bias. Cortex-M7: 10 and 13 cycles, by rule tflite 11 and 14.
 * A channel takes about 40 cycles beside that, 55 by rule tflite (M4).
 *
 * The loop is entered in its middle, so that it ends with the row: where depends on the width, what follows it does not.
 * The first columns (`stub_s1`, `stub_s2`) put their sums into the registers of that place.
 *
 * r0 next column, r1 and r2 distances to rows 1 and 2, r3 output minus r0 (stride 2: output), r4-r6 sums, r7 the column's pair,
 * lr its row 2; r8-r10 weight pairs 00 10, 01 11, 02 12, r11 weights 20 21, r12 channels and, above, weight 22.
 */
#if defined(__ARM_FEATURE_DSP) && !defined(PL_PORTABLE)

    .syntax unified
    .thumb

#include "keep_armv7em.h"
#include "layouts.h"

/* frame; up to F_MASK2 as in pl_dw3 */
    .equ F_END, PL_DW3_END - PL_DW3_END
    .equ F_MODE, PL_DW3_MODE - PL_DW3_END
    .equ F_WEIGHTS, PL_DW3_WEIGHTS - PL_DW3_END
    .equ F_SCALE, PL_DW3_SCALE - PL_DW3_END
    .equ F_PADDING, PL_DW3_PADDING - PL_DW3_END
    .equ F_LENGTH, PL_DW3_LENGTH - PL_DW3_END
    .equ F_WEIGHTS_END, PL_DW3_WEIGHTS_END - PL_DW3_END
    .equ F_OUT, PL_DW3_OUT - PL_DW3_END
    .equ F_SHIFTS, PL_DW3_SHIFTS - PL_DW3_END
    .equ F_TWICE, PL_DW3_TWICE - PL_DW3_END
    .equ F_LAST, PL_DW3_LAST - PL_DW3_END
    .equ F_MASK01, PL_DW3_MASK01 - PL_DW3_END
    .equ F_MASK2, PL_DW3_MASK2 - PL_DW3_END
    .equ F_ENTRY, 52
    .equ F_MULTIPLIER, 56
    .equ F_ZERO, 60     /* rule tflite: pl_tflite_addend */
    .equ F_BIAS, 64
    .equ F_RIGHT, 68
    .equ F_STORE, 72
    .equ F_SIZE, 76     /* with the nine registers a multiple of 8 */

    .equ NO_LEAD, PL_DW3_NO_LEAD
    .equ BORDER, PL_DW3_BORDER
    .equ INSIDE, PL_DW3_INSIDE

.macro column t
    ldrsb   r7, [r0]
    ldrsb   \t, [r0, r1]
    ldrsb   lr, [r0, r2]
    uxtah   r0, r0, r12
    pkhbt   r7, r7, \t, lsl #16
.endm

/* What a step at stride 1 finds loaded of its column, and the rest. */
.macro ahead_s1
.if PL_DUAL_ISSUE
    ldrsb   r7, [r0]
    ldrsb.w r3, [r0, r2]
.endif
.endm

.macro rest_s1 t
.if PL_DUAL_ISSUE
    ldrsb   \t, [r0, r1]
    mov     lr, r3
    ldr     r3, [sp, #F_STORE]
    uxtah   r0, r0, r12
    pkhbt   r7, r7, \t, lsl #16
.else
    column  \t
.endif
.endm

/* The same at stride 2. */
.macro ahead_s2
.if PL_DUAL_ISSUE
    ldrsb   r7, [r0]
    ldrsb.w lr, [r0, r1]
    ldrsb.w r5, [r0, r2]
    uxtah   r0, r0, r12
.endif
.endm

.macro rest_s2 t
.if PL_DUAL_ISSUE
    pkhbt   r7, r7, lr, lsl #16
    mov     lr, r5
.else
    column  \t
.endif
.endm

/* The products of a column as the left, middle and right one of a window. */
.macro left sum, from, third=lr
    smlad   \sum, r7, r8, \from
    smlabb  \sum, \third, r11, \sum
.endm

.macro middle sum, from
    smlad   \sum, r7, r9, \from
    smlabt  \sum, lr, r11, \sum
.endm

.macro right sum, pair=r7, third=lr
    smlad   \sum, \pair, r10, \sum
    smlabt  \sum, \third, r12, \sum
.endm

#if PL_FPU_HOLDS
#define MULTIPLIER s0
#define ZERO s1
#define BIAS s2
#else
#define MULTIPLIER F_MULTIPLIER
#define ZERO F_ZERO
#define BIAS F_BIAS
#endif

.macro constants
#if PL_FPU_HOLDS
    vmov    r7, lr, MULTIPLIER, ZERO
#else
    take    r7, MULTIPLIER
    take    lr, ZERO
#endif
.endm

/* With `constants` in r7 and lr. */
.macro requantise sum
.if TFLITE
    add     lr, lr, \sum, asr #31
    smmlar  \sum, \sum, r7, lr
    ldr     r7, [sp, #F_RIGHT]
    asr     \sum, \sum, r7
.else
    smmlar  \sum, \sum, r7, lr
.endif
    ssat    \sum, #8, \sum
.endm

/* Stride 1: a column finishes `a`, is the middle of `b` and begins `t`. A core that issues two instructions at once gets the loads
 * between the multiplies: rows 0 and 2 of a column come with the step before, and r3 is reloaded for every store. */
.macro step_s1 a, b, t
.if PL_DUAL_ISSUE
    ldrsb   lr, [r0, r1]
    take    \t, BIAS
    smlabt  \b, r3, r11, \b
    smlabt  \a, r3, r12, \a
    pkhbt   r7, r7, lr, lsl #16
    take    lr, ZERO
    smlad   \a, r7, r10, \a
    smlabb  \t, r3, r11, \t
    take    r3, MULTIPLIER
    smlad   \t, r7, r8, \t
.if TFLITE
    add     lr, lr, \a, asr #31
.endif
    uxtah   r0, r0, r12
    smlad   \b, r7, r9, \b
.if TFLITE
    ldr     r7, [sp, #F_RIGHT]
.endif
    smmlar  \a, \a, r3, lr
    ldr     lr, [sp, #F_STORE]
    ldrsb   r3, [r0, r2]
.if TFLITE
    asr     \a, \a, r7
.endif
    ldrsb   r7, [r0]
    ssat    \a, #8, \a
    strb    \a, [r0, lr]
.else
    column  \t
    right   \a
    middle  \b, \b
    take    \t, BIAS
    left    \t, \t
    constants
    requantise \a
    strb    \a, [r0, r3]
.endif
.endm

/* Stride 2: the second column finishes `a` and begins `t`. r5 is the bias; for a core that issues two instructions at once it is
 * row 2 of a column, whose three rows come with the step before. r3 is one output behind. */
.macro step_s2 a, t
.if PL_DUAL_ISSUE
    take    \t, BIAS
    smlabt  \a, r5, r11, \a
    ldrsb   r5, [r0, r2]
    pkhbt   r7, r7, lr, lsl #16
    ldrsb   lr, [r0, r1]
    smlad   \a, r7, r9, \a
    ldrsb   r7, [r0]
    uxtah   r0, r0, r12
    smlabt  \a, r5, r12, \a
    pkhbt   r7, r7, lr, lsl #16
    uxtah   r3, r3, r12
    smlad   \a, r7, r10, \a
    take    lr, MULTIPLIER
    smlabb  \t, r5, r11, \t
    take    r5, ZERO
    smlad   \t, r7, r8, \t
    ldrsb   r7, [r0]
.if TFLITE
    add     r5, r5, \a, asr #31
.endif
    smmlar  \a, \a, lr, r5
.if TFLITE
    ldr     r5, [sp, #F_RIGHT]
.endif
    ldrsb   lr, [r0, r1]
.if TFLITE
    asr     \a, \a, r5
.endif
    ldrsb   r5, [r0, r2]
    ssat    \a, #8, \a
    uxtah   r0, r0, r12
    strb    \a, [r3]
.else
    column  \t
    middle  \a, \a
    column  \t
    right   \a
    left    \t, r5
    constants
    requantise \a
    uxtah   r3, r3, r12
    strb    \a, [r3]
.endif
.endm

/* Function and frame; `stub` is the bytes of an entry. */
.macro begin name, stub, stride
    .section .text.\name, "ax", %progbits
    .global \name
    .type   \name, %function
    .thumb_func
    .balign 4
\name:
    push    {r4-r11, lr}
    sub     sp, #F_SIZE
    ldm     r0!, {r1-r3, r12}
    mov     lr, sp
    ldm     r0!, {r4-r11}
.if PL_DUAL_ISSUE && \stride == 2
    add     r4, r4, r12         /* the loop ends with a column loaded */
    add     r9, r9, r12
.endif
    stm     lr!, {r4-r11}
    ldm     r0, {r4-r10}
    stm     lr, {r4-r8}
    adr     r11, 30f
    movs    r4, #\stub
    mla     r9, r9, r4, r11
    adds    r9, #1              /* Thumb */
    str     r9, [sp, #F_ENTRY]
    keep    r10, ZERO
.if PL_DUAL_ISSUE
    str     r3, [sp, #F_STORE]
.endif
.endm

/* A channel begins: bias to r5, its first window's first column to r7 and lr. */
.macro begin_channel stride
10:
.if TFLITE
    ldm     sp, {r0, r4-r11, lr}
.elseif \stride == 2
    ldm     sp, {r0, r4-r10}
.else
    ldm     sp, {r0, r4-r9}
.endif
    cmp     r5, r9
    beq     29f
    adds    r0, #1
    str     r0, [sp, #F_END]
    sub     r0, r0, r8
.if \stride == 2
    add     r3, r10, #1
    str     r3, [sp, #F_OUT]
.endif
.if TFLITE
    ldrsb   r9, [r11], #1
    str     r11, [sp, #F_SHIFTS]
    rsb     r8, r9, #0
    mvn     r9, r9              /* right - 1 */
    lsl     lr, lr, r9
    str     r8, [sp, #F_RIGHT]
    keep    lr, ZERO
.endif
    ldm     r5!, {r8, r10, lr}
    str     r5, [sp, #F_WEIGHTS]
    sxtb16  r9, r8, ror #8
    sxtb16  r8, r8
    sxtb16  r11, r10, ror #8
    sxtb16  r10, r10
    sxtb    lr, lr
.if TFLITE
    sadd16  r8, r8, r8
    sadd16  r9, r9, r9
    sadd16  r10, r10, r10
    sadd16  r11, r11, r11
    pkhbt   r12, r12, lr, lsl #17
.else
    pkhbt   r12, r12, lr, lsl #16
.endif
    ldrd    r5, lr, [r6], #8
.if TFLITE
    lsl     r5, r5, #1
.endif
    str     r6, [sp, #F_SCALE]
    keep    lr, MULTIPLIER
    keep    r5, BIAS
    cbnz    r4, 8f
.endm

/* Rows outside the map: their products are a constant, their weights 0. r4 mode, r5 bias, r7 padding. */
.macro border
    tst     r4, #BORDER
    beq     9f
    ldr     lr, [sp, #F_MASK01]
.irp weights, r8, r9, r10
    bic     r6, \weights, lr
    smlad   r5, r6, r7, r5
    and     \weights, \weights, lr
.endr
    ldr     lr, [sp, #F_MASK2]
    bic     r6, r11, lr
    smlad   r5, r6, r7, r5
    and     r11, r11, lr
    bic     r6, r12, lr
    smlatb  r5, r6, r7, r5
    bfc     r6, #0, #16
    sub     r12, r12, r6
    keep    r5, BIAS
    tst     r4, #NO_LEAD
    beq     11b
9:
.endm

/* The last window's last column, then the next channel: r7 and lr hold `constants`, r6 what F_LAST holds. */
.macro last_column sum, stride
    cmp     r6, #INSIDE
    beq     27f
    right   \sum, r6, r6
.if \stride == 1
    uxtah   r0, r0, r12
.endif
28:
    requantise \sum
.endm

.macro last_inside sum
27:
    column  r6
    right   \sum
    constants
    b       28b
29:
    add     sp, #F_SIZE
    pop     {r4-r11, pc}
.endm

/* The second column of a row at stride 1: the middle one of `a`, which is in r4, and the left one of `b`. */
.macro stub_s1 a, b, to
.ifc \a, r5
    left    \b, r5
    middle  \a, r4
.else
    middle  \a, r4
    left    \b, r5
.endif
    ahead_s1
    b.w     \to
.endm

/* The first column of a row at stride 2. */
.macro stub_s2 a, to
    left    \a, r5
    ahead_s2
    b.w     \to
.endm

.macro stride_1 name
    begin   \name, 20 + 8 * PL_DUAL_ISSUE, 1
    begin_channel 1
11:
    left    r4, r5, r7
12:
    column  r6
    ldr     pc, [sp, #F_ENTRY]
8:
    border
    column  r6
    left    r4, r5
    b       12b
30:
    stub_s1 r4, r5, 20f
    stub_s1 r5, r6, 21f
    stub_s1 r6, r4, 22f
    stub_s1 r4, r5, 23f
    stub_s1 r5, r6, 24f
    stub_s1 r6, r4, 25f
    stub_s1 r4, r5, 26f
    middle  r5, r4              /* one output only */
    ldr     r6, [sp, #F_LAST]
    constants
    b       13f
20:
    step_s1 r4, r5, r6
21:
    step_s1 r5, r6, r4
22:
    step_s1 r6, r4, r5
23:
    step_s1 r4, r5, r6
24:
    step_s1 r5, r6, r4
25:
    step_s1 r6, r4, r5
    ldr     r6, [sp, #F_END]
    cmp     r0, r6
    bne     20b
26:
    rest_s1 r6
    right   r4
    middle  r5, r5
    ldr     r6, [sp, #F_LAST]
    constants
    requantise r4
    strb    r4, [r0, r3]
.if TFLITE
    constants
.endif
13:
    last_column r5, 1
    strb    r5, [r0, r3]
    b       10b
    last_inside r5
    .size   \name, . - \name
.endm

.macro stride_2 name
    begin   \name, 12 + 16 * PL_DUAL_ISSUE, 2
    begin_channel 2
11:
    mov     lr, r7
    ldr     pc, [sp, #F_ENTRY]
8:
    border
    column  r6
    ldr     pc, [sp, #F_ENTRY]
30:
    stub_s2 r4, 20f
    stub_s2 r6, 21f
    stub_s2 r4, 22f
    stub_s2 r6, 23f
    stub_s2 r4, 24f
20:
    step_s2 r4, r6
21:
    step_s2 r6, r4
22:
    step_s2 r4, r6
23:
    step_s2 r6, r4
    ldr     r6, [sp, #F_END]
    cmp     r0, r6
    bne     20b
24:
    rest_s2 r6
    middle  r4, r4
    ldr     r6, [sp, #F_LAST]
    constants
    last_column r4, 2
    uxtah   r3, r3, r12
    strb    r4, [r3]
    b       10b
    last_inside r4
    .size   \name, . - \name
.endm

    .set    TFLITE, 0
    stride_1 pl_dw3_s1
    stride_2 pl_dw3_s2
    .set    TFLITE, 1
    stride_1 pl_dw3_s1_tflite
    stride_2 pl_dw3_s2_tflite

#endif
