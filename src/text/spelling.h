// SPDX-License-Identifier: BSD-3-Clause
// "Did you mean …?" for settings and commands. Pure; any thread.
#ifndef VIREO_TEXT_SPELLING_H
#define VIREO_TEXT_SPELLING_H

// The one of `names` that is closest to `word`, or NULL where none is close.
const char *spelling_nearest(const char *word, const char *const *names, unsigned count);

#endif
