// SPDX-License-Identifier: BSD-3-Clause
#include "bench/capture.h"

#include <errno.h>
#include <pcap/pcap.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/frames.h"

// Many, since the replay pauses when it starts over.
#define FRAME_COUNT 65536u

int bench_capture_make(uint32_t size, char path[BENCH_CAPTURE_PATH_LEN])
{
    static const uint8_t everybody[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    static const uint8_t sender[6] = {0x02, 0, 0, 0, 0xbe, 0xef};
    uint8_t frame[BENCH_FRAME_MAX];
    pcap_dumper_t *dump;
    pcap_t *pcap;
    int fd;

    strcpy(path, "/tmp/vireo-bench-XXXXXX");
    fd = mkstemp(path);
    if (fd < 0)
        return -errno;
    pcap = pcap_open_dead(DLT_EN10MB, BENCH_FRAME_MAX);
    dump = pcap ? pcap_dump_fopen(pcap, fdopen(fd, "w")) : NULL;
    for (unsigned n = 0; dump && n < FRAME_COUNT; n++) {
        struct pcap_pkthdr header = {.caplen = bench_frame_len(size, n)};

        header.len = header.caplen;
        bench_frame_fill(frame, header.caplen, everybody, sender, n);
        pcap_dump((uint8_t *)dump, &header, frame);
    }
    if (dump)
        pcap_dump_close(dump);
    if (pcap)
        pcap_close(pcap);
    return dump ? 0 : -ENOMEM;
}
