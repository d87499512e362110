#ifndef PATCHLINE_DEPTHWISE_H
#define PATCHLINE_DEPTHWISE_H

#include "patchline/kernels.h"

/* Output columns [from, to) of one channel, padding included: slow and general. */
void pl_depthwise_columns(const pl_depthwise *op, const pl_row *row, int32_t channel, int32_t from, int32_t to);

#endif
