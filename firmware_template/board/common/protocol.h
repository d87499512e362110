#ifndef PATCHLINE_PROTOCOL_H
#define PATCHLINE_PROTOCOL_H

/* Serves commands; returns only where the line can end (host builds). */
void protocol_run(void);

#endif
