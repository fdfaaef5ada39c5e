// SPDX-License-Identifier: BSD-3-Clause
// libFuzzer target: any bytes as vireod's config file.
#include <assert.h>
#include <string.h>

#include "fuzz.h"

#include "machine/config.h"

const char *__lsan_default_suppressions(void);

// libconfig 1.5 leaks the string that it holds when a syntax error comes. vireod reads one config
// and ends where it is bad.
const char *__lsan_default_suppressions(void)
{
    return "leak:libconfig";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct card_config config;
    char error[512] = "";
    int ret = card_config_parse((const char *)data, size, "fuzz", &config, error, sizeof error);

    if (ret) {
        assert(error[0] && strlen(error) < sizeof error);
    } else {
        assert(config.port_count >= 1 && config.port_count <= NIC_PORTS_MAX);
        for (unsigned i = 0; i < config.port_count; i++) {
            const struct pf_config *pf = &config.port[i].pf;
            assert(pf->vf_count >= 1 && pf->vf_count <= PF_VFS_MAX);
            for (unsigned n = 0; n < pf->vf_count; n++)
                assert(pf->vf[n].vlan <= 4094 && pf->vf[n].qos <= 7 && !(pf->vf[n].mac[0] & 1));
        }
    }
    return 0;
}
