// SPDX-License-Identifier: BSD-3-Clause
// The express lane's stages on processors with AVX-512: a head is one register, and so are four
// descriptors, which is a cache line of them. Same outcome as the plain way in express.c, which
// takes every frame that one of these stops at; test_express.c compares both.
#include "nic/express_batch.h"

#ifdef NIC_EXPRESS_AVX512

#include <immintrin.h>

#include "nic/copy.h"

#define VECTOR __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))

#define LINE_DESCS 4u // a line of descriptors
// Of the eight words of that line: addresses, and what stands behind each.
#define ADDRESSES 0x55
#define COMMANDS  0xaa

// Of a head's 16-bit words, those of an IPv4 header without options, which are put first.
static const uint16_t l3_words[32] = {7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

_Static_assert(NIC_PATH_L3_OFFSET == 2 * 7, "words");

// Memory that the guest may write meanwhile is read once: the compiler cannot read again what it
// has lost sight of.
static inline VECTOR __m512i read_once(const void *p)
{
    __m512i v = _mm512_loadu_si512(p);

    __asm__ volatile("" : "+v"(v));
    return v;
}

static inline VECTOR __m512i all(uint64_t word)
{
    return _mm512_set1_epi64((long long)word);
}

// Words 0, 2, 4, 6.
static inline VECTOR __m256i addresses_of(__m512i v)
{
    return _mm512_castsi512_si256(_mm512_maskz_compress_epi64(ADDRESSES, v));
}

// Whether dma_run_at() would be NULL for any of the four; their host addresses to *out.
static inline VECTOR bool outside(const struct dma_run *run, __m256i iova, __m256i len, void *out)
{
    __m256i size = _mm256_set1_epi64x((long long)run->len_bytes);
    __m256i offset = _mm256_sub_epi64(iova, _mm256_set1_epi64x((long long)run->iova));

    _mm256_storeu_si256(
        out, _mm256_add_epi64(offset, _mm256_set1_epi64x((long long)(uintptr_t)run->host)));
    return _mm256_cmpge_epu64_mask(offset, size) |
           _mm256_cmpgt_epu64_mask(len, _mm256_sub_epi64(size, offset));
}

static VECTOR uint32_t decode(struct nic_express_batch *b, const struct dma_run *from,
                              const struct hw_tx_data_desc *desc, uint32_t first, uint32_t end)
{
    uint32_t i = first;

    for (; i + LINE_DESCS <= end; i += LINE_DESCS) {
        __m512i v = _mm512_loadu_si512(desc + i);
        __m512i len = _mm512_and_si512(v, all(HW_TXD_LEN_MASK));
        __mmask8 odd = _mm512_mask_cmpneq_epi64_mask(
            COMMANDS, _mm512_and_si512(v, all(NIC_EXPRESS_PLAIN_MASK)),
            all(NIC_EXPRESS_PLAIN_WORD));

        odd |=
            _mm512_mask_cmpgt_epu64_mask(COMMANDS, _mm512_sub_epi64(len, all(NIC_EXPRESS_LEN_MIN)),
                                         all(NIC_FRAME_LEN_MAX - NIC_EXPRESS_LEN_MIN));
        len = _mm512_maskz_compress_epi64(COMMANDS, len);
        if (odd || outside(from, addresses_of(v), _mm512_castsi512_si256(len), b->data + i))
            break;
        _mm_storeu_si128((__m128i *)(b->len + i),
                         _mm256_cvtepi64_epi32(_mm512_castsi512_si256(len)));
        for (unsigned n = 0; n < LINE_DESCS; n++)
            nic_prefetch_read(b->data[i + n]);
    }
    return i;
}

static VECTOR uint32_t find(struct nic_express_batch *b, const struct nic_path *path,
                            uint32_t first, uint32_t end)
{
    __m512i key = _mm512_loadu_si512(path->key), mask = _mm512_loadu_si512(path->mask);
    const __m512i words = _mm512_loadu_si512(l3_words);
    _Alignas(32) uint8_t l3[32];
    uint32_t i = first;

    for (; i < end; i++) {
        __m512i head = read_once(b->data[i]);

        _mm512_store_si512(b->head[i], head);
        // A load across the halves of that store would wait until it, and all stores before it, are
        // done, some of which wait for a guest's lines.
        _mm256_store_si256((__m256i *)l3,
                           _mm512_castsi512_si256(_mm512_permutexvar_epi16(words, head)));
        if (_mm512_test_epi64_mask(_mm512_xor_si512(head, key), mask) ||
            !nic_express_decide(b, i, path, l3))
            break;
    }
    return i;
}

static VECTOR uint32_t assign(struct nic_express_batch *b, struct nic_express_receiver *to,
                              uint32_t first, uint32_t end)
{
    const __m256i len_max = _mm256_set1_epi64x(to->rx.len_max);
    __m256i bytes = _mm256_setzero_si256();
    uint32_t i = first;

    for (; i + LINE_DESCS <= end && to->filled + LINE_DESCS <= to->rx.room; i += LINE_DESCS) {
        __m256i len = _mm256_cvtepu32_epi64(_mm_loadu_si128((const __m128i *)(b->len + i)));
        uint64_t queues;

        memcpy(&queues, b->queue + i, sizeof queues);
        if (queues != to->queue * 0x0001000100010001u ||
            outside(&to->to, addresses_of(read_once(to->rx.desc + to->filled)), len, b->dst + i) ||
            _mm256_cmpgt_epu64_mask(len, len_max))
            break;
        for (unsigned n = 0; n < LINE_DESCS; n++)
            nic_prefetch_write(b->dst[i + n]);
        _mm512_storeu_si512(to->words + (to->filled - to->written),
                            _mm512_loadu_si512(b->words + i));
        to->filled += LINE_DESCS;
        bytes = _mm256_add_epi64(bytes, len);
    }
    to->bytes += (uint64_t)(bytes[0] + bytes[1] + bytes[2] + bytes[3]);
    return i;
}

// The last 64 bytes first, which may be in part the head's again; the head last.
static VECTOR void copy(const struct nic_express_batch *b, uint32_t first, uint32_t end)
{
    for (uint32_t i = first; i < end; i++) {
        const uint8_t *data = b->data[i];
        uint8_t *dst = b->dst[i];
        uint32_t len = b->len[i], at;

        nic_prefetch_pages(dst, data, len);
        if (len > NIC_EXPRESS_HEAD_LEN) {
            for (at = NIC_EXPRESS_HEAD_LEN; at + 64 < len; at += 64)
                _mm512_storeu_si512(dst + at, _mm512_loadu_si512(data + at));
            _mm512_storeu_si512(dst + len - 64, _mm512_loadu_si512(data + len - 64));
        }
        _mm512_storeu_si512(dst, _mm512_load_si512(b->head[i]));
    }
}

// A line in one store. Processors with AVX-512 write aligned 16 bytes, which is a descriptor, at
// once, and stores in order.
static VECTOR void hand_over(union nic_rx_desc *desc, const struct nic_rx_words *words,
                             uint32_t count)
{
    // Release: pairs with the driver's read barrier, as in nic_rx_write_back().
    atomic_thread_fence(memory_order_release);
    for (uint32_t i = 0; i < count; i += LINE_DESCS)
        _mm512_storeu_si512(desc + i, _mm512_loadu_si512(words + i));
}

const struct nic_express_kernels nic_express_avx512 = {decode, find, assign, copy, hand_over};

bool nic_express_avx512_usable(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

#endif
