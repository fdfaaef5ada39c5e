// SPDX-License-Identifier: BSD-3-Clause
// Text that quotes what somebody typed or a file held, made fit for one line of a terminal. Pure;
// any thread.
#ifndef VIREO_TEXT_PRINTABLE_H
#define VIREO_TEXT_PRINTABLE_H

// In place: control characters (a line's end and ESC too) and bytes that are no UTF-8 become '?'; a
// character that was cut at the end goes.
void printable_make(char *text);

#endif
