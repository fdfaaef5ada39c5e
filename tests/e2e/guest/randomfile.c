// SPDX-License-Identifier: BSD-3-Clause
// Writes random bytes to stdout: splitmix64 with a seed from the kernel, since /dev/urandom takes
// long on an emulated CPU. Usage: randomfile BYTES (a multiple of 8)
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

int main(int argc, char **argv)
{
    static uint64_t block[8192];
    uint64_t seed, left = argc == 2 ? strtoull(argv[1], NULL, 10) / sizeof(block[0]) : 0;

    if (left == 0 || getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed)) {
        fprintf(stderr, "usage: randomfile BYTES\n");
        return 2;
    }
    while (left > 0) {
        size_t n = left < 8192 ? (size_t)left : 8192;

        for (size_t i = 0; i < n; i++) {
            uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);

            z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
            z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
            block[i] = z ^ (z >> 31);
        }
        if (fwrite(block, sizeof(block[0]), n, stdout) != n) {
            perror("randomfile");
            return 1;
        }
        left -= n;
    }
    return fflush(stdout) == 0 ? 0 : 1;
}
