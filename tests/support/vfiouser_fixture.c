// SPDX-License-Identifier: BSD-3-Clause
#include "support/vfiouser_fixture.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/le.h"
#include "support/raw_vfiouser.h"

void fixture_pump(struct fixture *f)
{
    unsigned turns = 0;

    while (sd_event_run(f->loop, 0) > 0)
        assert_true(++turns < 100000); // or it spins
}

int fixture_client(struct fixture *f)
{
    int sock = raw_connect(f->path);

    assert_true(sock >= 0);
    fixture_pump(f);
    return sock;
}

void fixture_client_end(struct fixture *f, int sock)
{
    close(sock);
    fixture_pump(f);
}

int fixture_reply(struct fixture *f, int sock)
{
    struct vfiouser_header header;
    unsigned fd_count = 0;
    int fds[VFIOUSER_FDS_MAX];
    ssize_t n = raw_receive(sock, f->reply, 16, fds, &fd_count);

    if (n == -EAGAIN)
        return NO_REPLY_CAME;
    if (n == 0 || n == -ECONNRESET)
        return CLOSED;
    assert_int_equal(n, 16);
    assert_true(fd_count <= 1);
    f->reply_fd = fd_count ? fds[0] : -1;
    assert_int_equal(vfiouser_header_parse(f->reply, &header), 0);
    assert_int_equal(header.flags & ~VFIOUSER_FLAG_ERROR, VFIOUSER_TYPE_REPLY);
    assert_true(header.size <= sizeof f->reply);
    f->reply_len = header.size;
    if (header.size > 16)
        assert_int_equal(raw_receive(sock, f->reply + 16, header.size - 16, NULL, NULL),
                         header.size - 16);
    if (!(header.flags & VFIOUSER_FLAG_ERROR))
        return 0;
    assert_int_equal(header.size, 16);
    assert_true(header.error > 0);
    return -(int)header.error;
}

int fixture_request_fds(struct fixture *f, int sock, unsigned command, const void *payload,
                        size_t len, const int *fds, unsigned fd_count)
{
    static uint8_t bytes[16 + VFIOUSER_PAYLOAD_MAX];
    size_t total = raw_message(bytes, 0x4242, command, 0, payload, len);
    int err;

    assert_int_equal(raw_send(sock, bytes, total, fds, fd_count), total);
    fixture_pump(f);
    err = fixture_reply(f, sock);
    if (err > NO_REPLY_CAME) {
        assert_int_equal(le16_get(f->reply), 0x4242);
        assert_int_equal(le16_get(f->reply + 2), command);
    }
    return err;
}

int fixture_request(struct fixture *f, int sock, unsigned command, const void *payload, size_t len)
{
    return fixture_request_fds(f, sock, command, payload, len, NULL, 0);
}

int fixture_version(struct fixture *f, int sock)
{
    uint8_t bytes[512];
    size_t len = raw_version(bytes, 1);

    assert_int_equal(raw_send(sock, bytes, len, NULL, 0), len);
    fixture_pump(f);
    return fixture_reply(f, sock);
}

int fixture_attached_client(struct fixture *f)
{
    int sock = fixture_client(f);

    assert_int_equal(fixture_version(f, sock), 0);
    return sock;
}

int fixture_region_access(struct fixture *f, int sock, bool write, unsigned region, uint64_t offset,
                          uint32_t count)
{
    static uint8_t payload[16 + 8192];

    assert_true(count <= 8192 || !write);
    le64_put(payload, offset);
    le32_put(payload + 8, region);
    le32_put(payload + 12, count);
    return fixture_request(f, sock, write ? VFIOUSER_REGION_WRITE : VFIOUSER_REGION_READ, payload,
                           16 + (write ? count : 0));
}

int fixture_dma_map(struct fixture *f, int sock, uint64_t iova, uint64_t len, const int *fds,
                    unsigned fd_count)
{
    struct vfiouser_dma_map_request map = {iova, len, 0, true, true};
    uint8_t payload[32];

    vfiouser_dma_map_build(payload, &map);
    return fixture_request_fds(f, sock, VFIOUSER_DMA_MAP, payload, sizeof payload, fds, fd_count);
}

int fixture_set_vectors(struct fixture *f, int sock, unsigned start, unsigned count, const int *fds,
                        unsigned fd_count)
{
    struct vfiouser_irq_set_request set = {TOY_MSIX, start, count, false};
    uint8_t payload[20];

    vfiouser_irq_set_build(payload, &set);
    return fixture_request_fds(f, sock, VFIOUSER_DEVICE_SET_IRQS, payload, sizeof payload, fds,
                               fd_count);
}

struct vfiouser_counts fixture_counts(struct fixture *f)
{
    struct vfiouser_counts c;

    vfiouser_server_counts_get(f->server, &c);
    return c;
}

void fixture_assert_well(struct fixture *f)
{
    unsigned attaches = f->toy->attaches;
    int sock = fixture_attached_client(f);
    int fd = memfd_create("ram", MFD_CLOEXEC);

    assert_int_equal(ftruncate(fd, 0x2000), 0);
    assert_int_equal(f->toy->attaches, attaches + 1);
    assert_int_equal(f->toy->map_count, 0);
    assert_int_equal(vfiouser_server_client_pid(f->server), getpid());
    assert_int_equal(fixture_dma_map(f, sock, 0x10000, 0x2000, &fd, 1), 0);
    assert_int_equal(fixture_region_access(f, sock, true, TOY_BAR0, 0x40, 4), 0);
    assert_int_equal(fixture_region_access(f, sock, false, TOY_BAR0, 0x40, 4), 0);
    assert_int_equal(f->toy->map_count, 1);
    close(fd);
    fixture_client_end(f, sock);
    assert_int_equal(f->toy->detaches, f->toy->attaches);
    assert_int_equal(vfiouser_server_client_pid(f->server), 0);
}

int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct vfiouser_device device;
    char error[256];

    f->reply_fd = -1;
    strcpy(f->dir, "/tmp/vireo-test-XXXXXX");
    if (!mkdtemp(f->dir))
        return -1;
    snprintf(f->path, sizeof f->path, "%s/toy.sock", f->dir);
    if (toy_device_create(&f->toy) || sd_event_new(&f->loop) < 0)
        return -1;
    toy_device_describe(f->toy, "toy0", true, &device);
    if (vfiouser_server_create(f->loop, f->path, &device, &f->server, error, sizeof error))
        return -1;
    fixture_pump(f);
    f->free_fd = raw_lowest_free_fd();
    *state = f;
    return 0;
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    int leaked;

    fixture_assert_well(f);
    leaked = !raw_fds_are_back(f->free_fd);
    vfiouser_server_destroy(f->server);
    sd_event_unref(f->loop);
    toy_device_destroy(f->toy);
    leaked |= !access(f->path, F_OK);
    rmdir(f->dir);
    free(f);
    return leaked;
}
