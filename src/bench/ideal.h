// SPDX-License-Identifier: BSD-3-Clause
#ifndef VIREO_BENCH_IDEAL_H
#define VIREO_BENCH_IDEAL_H

// The idealised forwarder as a subject (bench/subject.h), mode 'circulate'. An exit code.
int bench_ideal_main(void);

#endif
