// SPDX-License-Identifier: BSD-3-Clause
#include "uplink/capture.h"

#include <errno.h>
#include <fcntl.h>
#include <pcap/pcap.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "uplink/kind.h"

// A record in memory.
struct place {
    uint64_t stamp_ns, offset; // of its bytes in `bytes`
    uint32_t len_bytes;        // 0: no frame for the cable
};

struct capture {
    char path[256];
    pcap_t *pcap; // the file, while there is more to be read from it
    bool in_memory;
    // In memory: all records, and the sentence that ended them, if one did.
    uint8_t *bytes;
    struct place *places;
    size_t place_count, place_max, next;
    char why[PCAP_ERRBUF_SIZE + 1];
    // Else: the last ones' bytes, in turn.
    uint8_t (*at_hand)[UPLINK_FRAME_MAX];
    unsigned at_hand_next;
};

int capture_regular_file(const char *path, int flags, int *out, struct stat *st, char *error,
                         size_t error_len)
{
    int fd = open(path, flags | O_NONBLOCK | O_CLOEXEC, 0644), ret = 0;

    if (fd < 0 || fstat(fd, st))
        ret = -errno;
    else if (!S_ISREG(st->st_mode))
        ret = -EINVAL;
    if (!ret) {
        *out = fd;
        return 0;
    }
    snprintf(error, error_len, "pcap %s: %s", path,
             ret == -EINVAL ? "not a regular file" : strerror(-ret));
    if (fd >= 0)
        close(fd);
    return ret;
}

static int file_open(const char *path, pcap_t **out, struct stat *st, char *error, size_t error_len)
{
    char why[PCAP_ERRBUF_SIZE];
    FILE *file;
    pcap_t *pcap;
    int link_type, fd, ret = capture_regular_file(path, O_RDONLY, &fd, st, error, error_len);

    if (ret)
        return ret;
    file = fdopen(fd, "r");
    if (!file) {
        snprintf(error, error_len, "pcap %s: out of memory", path);
        close(fd);
        return -ENOMEM;
    }
    pcap = pcap_fopen_offline_with_tstamp_precision(file, PCAP_TSTAMP_PRECISION_NANO, why);
    if (!pcap) {
        snprintf(error, error_len, "pcap %s: no capture that can be read: %s", path, why);
        fclose(file);
        return -EINVAL;
    }
    link_type = pcap_datalink(pcap);
    if (link_type != DLT_EN10MB) {
        const char *name = pcap_datalink_val_to_name(link_type);

        snprintf(error, error_len,
                 "pcap %s: link type %s, not Ethernet (EN10MB): capture on an Ethernet interface, "
                 "not on 'any'",
                 path, name ? name : "unknown");
        pcap_close(pcap);
        return -EINVAL;
    }
    *out = pcap;
    return 0;
}

// The next record of the file, as capture_next() has it; its bytes last until the next call.
static int file_next(pcap_t *pcap, struct capture_record *out)
{
    struct pcap_pkthdr *header;
    const u_char *data;
    int ret = pcap_next_ex(pcap, &header, &data);

    if (ret == PCAP_ERROR_BREAK)
        return 0;
    if (ret != 1)
        return -EIO;
    // tv_usec holds nanoseconds here. Stamps are the file's word: wrapping arithmetic.
    out->stamp_ns = (uint64_t)header->ts.tv_sec * NS_PER_S + (uint64_t)header->ts.tv_usec;
    out->len_bytes = header->len;
    out->data = data;
    // Cut by the snap length, a runt, or larger than the cable takes.
    if (header->caplen != header->len || header->len < UPLINK_FRAME_MIN ||
        header->len > UPLINK_FRAME_MAX)
        out->data = NULL;
    return 1;
}

static int place_add(struct capture *c, const struct capture_record *record, uint64_t offset)
{
    if (c->place_count == c->place_max) {
        size_t more = c->place_max ? c->place_max * 2 : 1024;
        struct place *places = realloc(c->places, more * sizeof *places);

        if (!places)
            return -ENOMEM;
        c->places = places;
        c->place_max = more;
    }
    c->places[c->place_count++] =
        (struct place){record->stamp_ns, offset, record->data ? record->len_bytes : 0};
    return 0;
}

// Reads all of a file of `size` bytes. One that grows meanwhile is read as far as that goes.
static int load(struct capture *c, uint64_t size)
{
    struct capture_record record;
    uint64_t used = 0;
    int ret;

    c->bytes = malloc(size);
    if (!c->bytes)
        return -ENOMEM;
    while ((ret = file_next(c->pcap, &record)) == 1) {
        if (record.data && record.len_bytes > size - used)
            break;
        ret = place_add(c, &record, used);
        if (ret)
            return ret;
        if (!record.data)
            continue;
        memcpy(c->bytes + used, record.data, record.len_bytes);
        used += record.len_bytes;
    }
    if (ret < 0)
        snprintf(c->why, sizeof c->why, "%s", pcap_geterr(c->pcap));
    pcap_close(c->pcap);
    c->pcap = NULL;
    c->in_memory = true;
    return 0;
}

int capture_open(const char *path, uint64_t memory_max, struct capture **out, struct stat *st,
                 char *error, size_t error_len)
{
    struct capture *c = calloc(1, sizeof *c);
    int ret;

    if (!c || strlen(path) >= sizeof c->path) {
        snprintf(error, error_len, "pcap %s: %s", path, c ? "path too long" : "out of memory");
        free(c);
        return c ? -ENAMETOOLONG : -ENOMEM;
    }
    strcpy(c->path, path);
    ret = file_open(path, &c->pcap, st, error, error_len);
    if (!ret && (uint64_t)st->st_size <= memory_max) {
        ret = load(c, (uint64_t)st->st_size);
    } else if (!ret) {
        c->at_hand = calloc(CAPTURE_AT_HAND, sizeof *c->at_hand);
        ret = c->at_hand ? 0 : -ENOMEM;
    }
    if (ret == -ENOMEM)
        snprintf(error, error_len, "pcap %s: out of memory", path);
    if (ret)
        capture_close(c);
    else
        *out = c;
    return ret;
}

void capture_close(struct capture *c)
{
    if (!c)
        return;
    if (c->pcap)
        pcap_close(c->pcap);
    free(c->bytes);
    free(c->places);
    free(c->at_hand);
    free(c);
}

static int stream_next(struct capture *c, struct capture_record *out, const char **why)
{
    int ret = file_next(c->pcap, out);

    if (ret < 0)
        *why = pcap_geterr(c->pcap);
    if (ret != 1 || !out->data)
        return ret;
    memcpy(c->at_hand[c->at_hand_next], out->data, out->len_bytes);
    out->data = c->at_hand[c->at_hand_next];
    c->at_hand_next = (c->at_hand_next + 1) % CAPTURE_AT_HAND;
    return 1;
}

int capture_next(struct capture *c, struct capture_record *out, const char **why)
{
    const struct place *place;

    if (!c->in_memory)
        return stream_next(c, out, why);
    if (c->next == c->place_count) {
        *why = c->why;
        return c->why[0] ? -EIO : 0;
    }
    place = &c->places[c->next++];
    *out = (struct capture_record){place->len_bytes ? c->bytes + place->offset : NULL,
                                   place->len_bytes, place->stamp_ns};
    return 1;
}

int capture_rewind(struct capture *c, char *error, size_t error_len)
{
    struct stat st;
    pcap_t *again;
    int ret;

    if (c->in_memory) {
        c->next = 0;
        return 0;
    }
    ret = file_open(c->path, &again, &st, error, error_len);
    if (ret)
        return ret;
    pcap_close(c->pcap);
    c->pcap = again;
    return 0;
}
