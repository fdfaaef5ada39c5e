// SPDX-License-Identifier: BSD-3-Clause
// What the fuzz targets share. A target is built with libFuzzer (-fsanitize=fuzzer); some also with
// -DVIREO_FUZZ_REPLAY as a program that runs the files it is given, or a fixed pseudo-random
// sequence where it is given none: their main() calls fuzz_replay().
#ifndef VIREO_TESTS_FUZZ_H
#define VIREO_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

// Stays on whatever the build type.
#define MUST(cond)                                                                                 \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                             \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

// xorshift64; the state is not 0.
static inline uint64_t fuzz_random(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

#ifdef VIREO_FUZZ_REPLAY
static inline int fuzz_replay_file(const char *path)
{
    static uint8_t buf[65536];
    FILE *file = fopen(path, "rb");
    size_t len;

    if (!file) {
        perror(path);
        return 1;
    }
    len = fread(buf, 1, sizeof buf, file);
    fclose(file);
    return LLVMFuzzerTestOneInput(buf, len);
}

// Without files: `runs` inputs of `len` bytes, made in `buf`. The program's exit code.
static inline int fuzz_replay(int argc, char **argv, unsigned runs, uint8_t *buf, size_t len)
{
    uint64_t x = 0x9e3779b97f4a7c15;

    for (int i = 1; i < argc; i++) {
        if (fuzz_replay_file(argv[i]))
            return 1;
    }
    if (argc > 1)
        return 0;
    for (unsigned run = 0; run < runs; run++) {
        for (size_t i = 0; i < len; i++)
            buf[i] = (uint8_t)(fuzz_random(&x) >> 32);
        LLVMFuzzerTestOneInput(buf, len);
    }
    printf("%u inputs of %zu bytes\n", runs, len);
    return 0;
}
#endif

#endif
