// SPDX-License-Identifier: BSD-3-Clause
#include "bench/stats.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

double bench_no_sample(void)
{
    return NAN;
}

bool bench_is_sample(double value)
{
    return !isnan(value);
}

static int compare_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

struct bench_spread bench_spread_of(const double *values, unsigned count)
{
    double sorted[BENCH_ROUNDS_MAX];
    unsigned n = 0;

    assert(count <= BENCH_ROUNDS_MAX);
    for (unsigned i = 0; i < count; i++) {
        if (bench_is_sample(values[i]))
            sorted[n++] = values[i];
    }
    if (!n)
        return (struct bench_spread){0};
    qsort(sorted, n, sizeof sorted[0], compare_double);
    return (struct bench_spread){
        .median = n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2,
        .min = sorted[0],
        .max = sorted[n - 1],
        .count = n,
    };
}

void bench_ratios(const double *ours, const double *theirs, unsigned count, double *out)
{
    for (unsigned i = 0; i < count; i++) {
        bool both = bench_is_sample(ours[i]) && bench_is_sample(theirs[i]) && theirs[i] > 0;

        out[i] = both ? ours[i] / theirs[i] : bench_no_sample();
    }
}

bool bench_is_contended(double wait_share)
{
    return wait_share > BENCH_WAIT_SHARE_MAX;
}

double bench_slope(const double *x, const double *y, unsigned count)
{
    double n = 0, sum_x = 0, sum_y = 0, sum_xx = 0, sum_xy = 0, spread;

    for (unsigned i = 0; i < count; i++) {
        if (!bench_is_sample(y[i]))
            continue;
        n++;
        sum_x += x[i];
        sum_y += y[i];
        sum_xx += x[i] * x[i];
        sum_xy += x[i] * y[i];
    }
    spread = n * sum_xx - sum_x * sum_x;
    return spread > 0 ? (n * sum_xy - sum_x * sum_y) / spread : bench_no_sample();
}

double bench_jain(const uint64_t *shares, unsigned count)
{
    double sum = 0, squares = 0;

    for (unsigned i = 0; i < count; i++) {
        sum += (double)shares[i];
        squares += (double)shares[i] * (double)shares[i];
    }
    return squares > 0 ? sum * sum / (count * squares) : 0;
}
